"""What the documents name exists: targets, options, AWS operations, states, files, links."""

from __future__ import annotations

import json
import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.docs.markdown import CHECKOUT, Command, anchors, commands, documents, links, paths
from triptych import cli

PLACEHOLDER = re.compile(r"\b[A-Z]{3,}\b")


def relative(path: Path) -> str:
    return str(path.relative_to(CHECKOUT))


@pytest.mark.parametrize("command", commands(), ids=str)
def test_each_command_is_one_that_exists(command: Command) -> None:
    text = re.sub(r'^eval "\$\((.*)\)"$', r"\1", command.text)
    for part in text.split(" | "):
        words = shlex.split(part)
        program = words[0].removeprefix(".venv/bin/")
        assert program in CHECKS, f"{command}: nothing here can check it"
        CHECKS[program](words[1:])


def check_make(words: list[str]) -> None:
    makefile = (CHECKOUT / "Makefile").read_text()
    for word in words:
        name, assigned, _ = word.partition("=")
        if assigned:
            assert re.search(rf"^{name} \?=", makefile, re.MULTILINE), f"the Makefile has no variable {name}"
            continue
        assert re.search(rf"^{re.escape(name)}:", makefile, re.MULTILINE) or benchmark(name), (
            f"no target {name}"
        )


def benchmark(target: str) -> bool:
    name = target.removeprefix("bench-")
    return target != name and (CHECKOUT / "benchmarks" / f"{name}.py").is_file()


def check_triptych(words: list[str]) -> None:
    given = cli.parser().parse_args(words)
    use_case = getattr(given, "use_case", None)
    if use_case is not None and not PLACEHOLDER.fullmatch(use_case):
        assert (CHECKOUT / "usecases" / use_case / "contract.yaml").is_file()
    if getattr(given, "state", None):
        assert given.state in states(), f"no machine has a state {given.state!r}"


@cache
def states() -> set[str]:
    found: set[str] = set()

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            found.update(value.get("States", {}))
            for part in value.values():
                walk(part)
        elif isinstance(value, list):
            for part in value:
                walk(part)

    for path in (CHECKOUT / "workflows" / "rendered").glob("*.asl.json"):
        walk(json.loads(path.read_text()))
    return found


def check_python(words: list[str]) -> None:
    from importlib.util import find_spec

    if words[0] == "-m":
        assert find_spec(words[1]) is not None, f"no module {words[1]}"
    else:
        assert (CHECKOUT / words[0]).is_file() or PLACEHOLDER.search(words[0]), f"no file {words[0]}"


@cache
def aws_cli() -> Any:
    from awscli.clidriver import create_clidriver

    return create_clidriver()


def check_aws(words: list[str]) -> None:
    command, name = words[:2]
    driver = aws_cli().create_help_command()
    commands = driver.command_table
    assert command in commands, f"aws has no {command}"
    operations = commands[command].create_help_command().command_table
    assert name in operations, f"aws has no {command} {name}"
    known = {*operations[name].create_help_command().arg_table, *driver.arg_table}
    given = {word.removeprefix("--").split("=")[0] for word in words if word.startswith("--")}
    assert given <= known, f"aws {command} {name} has no such option: {sorted(given - known)}"
    for word in words:
        if word.startswith(("cloudformation/", "usecases/")):
            assert (CHECKOUT / word).is_file(), f"no file {word}"


DOCKER = {
    "build": {"--file", "--tag"},
    "buildx build": {"--platform", "--provenance", "--file", "--output"},
    "run": {"--rm", "--volume", "--publish"},
    "login": {"--username", "--password-stdin"},
}
"""the options, as Docker's reference has them, of the commands that the documents use"""


def check_docker(words: list[str]) -> None:
    name = next((name for name in DOCKER if words[: len(name.split())] == name.split()), None)
    assert name is not None, f"docker {words[0]} is not among those known here: {', '.join(DOCKER)}"
    given = {word.split("=")[0] for word in words if word.startswith("--")}
    assert given <= DOCKER[name], f"docker {name} has no such option: {sorted(given - DOCKER[name])}"
    if name.endswith("build"):
        file, context = words[words.index("--file") + 1], words[-1]
        assert (CHECKOUT / file).is_file(), f"no file {file}"
        assert (CHECKOUT / context).is_dir(), f"no folder {context}"


CHECKS = {
    "make": check_make,
    "triptych": check_triptych,
    "python": check_python,
    "aws": check_aws,
    "docker": check_docker,
}


@pytest.mark.parametrize("document", documents(), ids=relative)
def test_each_link_leads_somewhere(document: Path) -> None:
    broken = []
    for link in links(document):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        path = (document.parent / target).resolve() if target else document
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("document", documents(), ids=relative)
def test_each_path_exists(document: Path) -> None:
    missing = [
        path
        for path in paths(document)
        if not (any(CHECKOUT.glob(path)) if "*" in path else (CHECKOUT / path).exists())
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("make fly", "no target fly"),
        ("make bench-nothing", "no target bench-nothing"),
        ("make run WINGS=2", "no variable WINGS"),
        (".venv/bin/triptych logs last 'Fly away'", "no machine has a state 'Fly away'"),
        (".venv/bin/aws stepfunctions list-birds", "aws has no stepfunctions list-birds"),
        (".venv/bin/aws s3 ls --wings", "no such option"),
        (".venv/bin/python benchmarks/nothing.py", "no file"),
        ("docker build --file nowhere/Dockerfile sagemaker_jobs", "no file nowhere/Dockerfile"),
        ("aws ecr get-login-password | docker login --wings", "no such option"),
        ("curl http://example.com", "nothing here can check it"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_wrong_command_is_found(text: str, told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        test_each_command_is_one_that_exists(Command("a test", text))


def test_a_wrong_option_of_our_own_is_found() -> None:
    with pytest.raises(SystemExit):
        check_triptych(["run", "flights", "--fast"])
