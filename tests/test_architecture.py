"""The import directions that docs/architecture.md promises."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
OURS = {"triptych", "workflows", "lambdas", "glue_jobs", "glue_lib", "sagemaker_jobs", "usecases"}

RULES = {
    # what: (folder, of ours it may import, third-party packages it must not import)
    "core imports nothing of ours": ("triptych/core", {"triptych.core"}, {"moto", "boto3"}),
    "workflows import only core": ("workflows", {"workflows", "triptych.core"}, {"moto", "boto3"}),
    "lambdas import only core": ("lambdas", {"triptych.core"}, {"moto"}),
    "glue jobs import core and their lib": ("glue_jobs", {"glue_lib", "triptych.core", "usecases"}, {"moto"}),
    "sagemaker jobs import only core": ("sagemaker_jobs", {"triptych.core"}, {"moto"}),
    "commands do not import moto": ("triptych/commands", {"triptych"}, {"moto"}),
    "the engine's core is pure": (
        "triptych/localcloud/stepfunctions",
        {"triptych.localcloud"},
        {"moto", "boto3", "botocore"},
    ),
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module


@pytest.mark.parametrize("rule", RULES)
def test_import_direction(rule: str) -> None:
    folder, allowed, forbidden = RULES[rule]
    files = sorted((PROJECT / folder).rglob("*.py"))
    assert files, f"{folder} holds no Python files"
    own = {path.stem for path in files} | {path.parent.name for path in files}
    wrong = [
        f"{path.relative_to(PROJECT)} imports {name}"
        for path in files
        for name in imports(path)
        if name.split(".")[0] in forbidden
        or (
            name.split(".")[0] in OURS - own
            and not any(name == prefix or name.startswith(f"{prefix}.") for prefix in allowed)
        )
    ]
    assert wrong == []


def test_only_the_local_cloud_imports_moto() -> None:
    elsewhere = [
        str(path.relative_to(PROJECT))
        for path in sorted((PROJECT / "triptych").rglob("*.py"))
        if "localcloud" not in path.parts and any(name.split(".")[0] == "moto" for name in imports(path))
    ]
    assert elsewhere == []
