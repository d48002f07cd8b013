"""The own image: its Dockerfile and its lock as they are written, and the image carried out without Docker."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dockerfile
import numpy as np
import psutil
import pytest
from dockerfile import Image
from job_splits import FEATURES, ROWS, write_data

from triptych import packaging

PROJECT = Path(__file__).parents[2]
CONTEXT = PROJECT / "sagemaker_jobs"
CONTAINERS = CONTEXT / "containers"
DOCKERFILE = CONTAINERS / "Dockerfile"
ARGUMENTS, STAGES = dockerfile.read(DOCKERFILE)
BUILT_WITH, SHIPPED = STAGES
# the module that a distribution brings, where they are not called the same
MODULES = {"xgboost-cpu": "xgboost"}


def locked(path: Path) -> dict[str, str]:
    """Versions by distribution."""
    return dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", path.read_text(), re.MULTILINE))


def asked() -> set[str]:
    lines = (CONTAINERS / "requirements.in").read_text().splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def imported(*folders: str) -> set[str]:
    """Top-level modules that the folders' sources import and that are neither Python's nor their own."""
    found: set[str] = set()
    for folder in folders:
        for path in (CONTEXT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    found |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    found.add(node.module.split(".")[0])
    own = {path.stem for folder in folders for path in (CONTEXT / folder).iterdir()}
    return found - own - set(sys.stdlib_module_names) - {"triptych"}


def test_what_is_copied_is_there_and_not_ignored() -> None:
    hidden = dockerfile.ignored(CONTEXT, DOCKERFILE.with_name("Dockerfile.dockerignore"))
    names = {stage.name for stage in STAGES}
    copied = [dockerfile.copy_of(text) for stage in STAGES for text in stage.texts("COPY")]
    for copy in copied:
        if copy.stage:
            assert copy.stage in names
            continue
        for source in copy.sources:
            assert (CONTEXT / source).exists(), f"COPY {source}: not below {CONTEXT}"
            assert source not in hidden
    assert "evaluate/evaluate.py" in hidden  # it reaches a processing job through S3
    assert not any(name.endswith(".py") and not name.startswith("evaluate/") for name in hidden)


@pytest.mark.parametrize("command", ["train", "serve"])
def test_the_commands_are_programs_on_the_path(command: str) -> None:
    program = CONTAINERS / command
    assert os.access(program, os.X_OK)
    assert program.read_text().startswith("#!/usr/bin/env python3\n")
    (copy,) = [
        found
        for found in map(dockerfile.copy_of, SHIPPED.texts("COPY"))
        if f"containers/{command}" in found.sources
    ]
    path = next(word for text in SHIPPED.texts("ENV") for word in text.split() if word.startswith("PATH="))
    assert path.removeprefix("PATH=").split(":")[0] == copy.target.rstrip("/")
    assert SHIPPED.texts("ENTRYPOINT") == []


def test_the_base_is_an_argument_of_every_stage() -> None:
    assert list(ARGUMENTS) == ["PYTHON_IMAGE"]
    assert re.search(r"python:3\.11-slim", ARGUMENTS["PYTHON_IMAGE"])
    assert {stage.base for stage in STAGES} == {"${PYTHON_IMAGE}"}


def test_only_hashed_wheels_are_installed_and_no_tools_are_left() -> None:
    (install,) = [text for stage in STAGES for text in stage.texts("RUN") if " install " in text]
    assert install in BUILT_WITH.texts("RUN")
    for option in ("--only-binary :all:", "--require-hashes", "--no-deps", "--no-cache-dir"):
        assert option in install
    assert "--without-pip" in install
    blocks = re.split(r"^(?=[a-z0-9-]+==)", (CONTAINERS / "requirements.txt").read_text(), flags=re.MULTILINE)
    assert [block for block in blocks[1:] if "--hash=sha256:" not in block] == []


def test_the_requirements_are_what_the_sources_import() -> None:
    assert {MODULES.get(name, name) for name in asked()} == imported("train", "serve", "evaluate")


def test_the_lock_is_that_of_the_requirements() -> None:
    text = (CONTAINERS / "requirements.txt").read_text()
    lock = locked(CONTAINERS / "requirements.txt")
    direct = {
        block.split("==")[0]
        for block in re.split(r"^(?=[a-z0-9-]+==)", text, flags=re.MULTILINE)[1:]
        if "-r sagemaker_jobs/containers/requirements.in" in block
    }
    assert direct == asked()
    assert lock.keys() >= asked()
    assert not lock.keys() & {"scikit-learn", "boto3", "pip", "nvidia-nccl-cu12"}


def test_the_locks_versions_are_those_of_the_laptop() -> None:
    laptop = locked(PROJECT / "requirements-run.txt")
    assert {name: laptop.get(name) for name in locked(CONTAINERS / "requirements.txt")} == locked(
        CONTAINERS / "requirements.txt"
    )


@pytest.mark.slow
def test_the_lock_is_what_make_lock_writes(tmp_path: Path) -> None:
    """But for its hashes: their owners may add a wheel to a version at any time."""
    lock = CONTAINERS / "requirements.txt"
    shutil.copy2(lock, tmp_path)  # what is pinned stays, so that only a change of ours makes a difference
    (line,) = [
        line for line in (PROJECT / "Makefile").read_text().splitlines() if "containers/requirements" in line
    ]
    words = line.strip().replace("$(BIN)", str(Path(sys.executable).parent)).split()
    words[words.index("-o") + 1] = str(tmp_path / "requirements.txt")
    subprocess.run(words, cwd=PROJECT, check=True)
    written, committed = (
        [line for line in path.read_text().splitlines() if "--hash=" not in line]
        for path in (tmp_path / "requirements.txt", lock)
    )
    assert written == committed


# The image itself


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    if not dockerfile.namespaces_allowed():
        pytest.skip("this machine allows no mount namespaces, which stand in for a container's file system")
    return dockerfile.build(DOCKERFILE, CONTEXT, tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_data(root)
    return root


@pytest.fixture(scope="module")
def trained(image: Image, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``/opt/ml`` after ``train``."""
    ml = training_folder(tmp_path_factory.mktemp("train"), data, num_round="30", max_depth="3", eta="0.3")
    done = image.run("train", ml=ml)
    assert done.returncode == 0, done.stderr
    assert "trained 30 rounds" in done.stdout
    return ml


def training_folder(ml: Path, data: Path, **hyperparameters: str) -> Path:
    """What SageMaker puts below ``/opt/ml`` for a training job: hyperparameters are text."""
    for place in ("input/config", "input/data", "model", "output/data"):
        (ml / place).mkdir(parents=True)
    settings = {"objective": "binary:logistic", "log_every": "10", "seed": "7", **hyperparameters}
    (ml / "input" / "config" / "hyperparameters.json").write_text(json.dumps(settings))
    for name in ("train", "validation"):
        shutil.copytree(data / "splits" / name, ml / "input" / "data" / name)
    shutil.copytree(data / "features", ml / "input" / "data" / "features")
    return ml


@contextmanager
def running(
    image: Image, command: str, ml: Path, log: Path, code: int, **environment: str
) -> Iterator[psutil.Process]:
    """``docker run IMAGE command``; the process that is number 1 in it, which must end with ``code``."""
    with log.open("w") as output:
        outside = subprocess.Popen(
            image.words(command, ml=ml),
            env=image.environment | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            first = await_that(lambda: psutil.Process(outside.pid).children(), "a process in the container")[
                0
            ]
            yield first
            assert outside.wait(timeout=60) == code
        finally:
            outside.kill()
            outside.wait()


def await_that(condition: Any, what: str, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"no {what} in {seconds:g} s"
        time.sleep(0.05)
    return found


def ask(port: int, path: str, body: bytes | None = None, content_type: str = "text/csv") -> tuple[int, bytes]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data=body, headers={"Content-Type": content_type}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except (urllib.error.URLError, ConnectionError):
        return 0, b""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.mark.slow
def test_the_image_holds_what_is_locked_and_no_more(image: Image) -> None:
    listed = image.run(
        "python",
        "-c",
        "import importlib.metadata as m, json, sys;"
        "print(json.dumps([sys.prefix, {d.name: d.version for d in m.distributions()}]))",
    )
    assert listed.returncode == 0, listed.stderr
    prefix, found = json.loads(listed.stdout)
    assert prefix == "/opt/venv"
    installed = {name.lower().replace("_", "-"): version for name, version in found.items()}
    assert installed == locked(CONTAINERS / "requirements.txt")
    assert image.command == ["serve"]
    assert sorted(path.name for path in (image.opt / "triptych").iterdir()) == [
        "containers",
        "serve",
        "train",
    ]


@pytest.mark.slow
def test_the_image_trains(trained: Path) -> None:
    report = json.loads((trained / "model" / "about" / "training.json").read_text())
    assert report["rows"] == {name: ROWS[name] for name in ("train", "validation")}
    assert report["hyperparameters"]["num_round"] == 30
    assert report["xgboost"] == locked(CONTAINERS / "requirements.txt")["xgboost-cpu"]
    assert report["history"][-1]["validation-auc"] > 0.75
    assert (trained / "model" / report["compiled"]["file"]).is_file()
    assert not (trained / "output" / "failure").exists()


@pytest.mark.slow
def test_training_that_is_stopped_ends_at_once_and_leaves_no_model(
    image: Image, data: Path, tmp_path: Path
) -> None:
    ml = training_folder(tmp_path / "ml", data, num_round="1000000")
    log = tmp_path / "log"
    with running(image, "train", ml, log, 128 + signal.SIGTERM) as first:
        await_that(lambda: "validation-auc" in log.read_text(), "round")
        asked_at = time.monotonic()
        first.send_signal(signal.SIGTERM)
        psutil.wait_procs([first], timeout=60)
        assert time.monotonic() - asked_at < 120, "SageMaker kills what goes on for two minutes"
    assert list((ml / "model").iterdir()) == []
    assert not (ml / "output" / "failure").exists()


@pytest.mark.slow
def test_the_image_serves_what_it_trained(image: Image, trained: Path, data: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as parquet
    import xgboost

    archive = tmp_path / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(trained / "model", ".")
    (tmp_path / "ml").mkdir()
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "ml" / "model", filter="data")
    table = parquet.read_table(data / "splits" / "test" / "part-0.parquet")
    rows = np.column_stack([table[name].to_numpy() for name in FEATURES]).astype(np.float32)[:50]
    booster = xgboost.Booster()
    booster.load_model(bytearray((trained / "model" / "xgboost-model").read_bytes()))
    body = "\n".join(",".join("" if np.isnan(value) else repr(float(value)) for value in row) for row in rows)
    port, log = free_port(), tmp_path / "log"
    variables = {"SAGEMAKER_BIND_TO_PORT": str(port), "SAGEMAKER_MODEL_SERVER_WORKERS": "2"}
    with running(image, "serve", tmp_path / "ml", log, 0, **variables) as first:
        await_that(lambda: ask(port, "/ping")[0] == 200, "answer to /ping")
        assert psutil.Process(first.pid).cmdline()[1] == "/opt/triptych/containers/serve"
        status, answer = ask(port, "/invocations", body.encode())
        assert status == 200
        scores = np.array([float(line) for line in answer.decode().split()])
        assert scores == pytest.approx(booster.inplace_predict(rows), abs=1e-5)
        assert ask(port, "/invocations", b"1,2")[0] == 400
        assert ask(port, "/execution-parameters")[0] == 404  # batch transform asks, and goes by its own then
        first.send_signal(signal.SIGTERM)
        psutil.wait_procs([first], timeout=30)
    assert ask(port, "/ping")[0] == 0
    assert "the compiled model is not used" not in log.read_text()


@pytest.mark.slow
def test_a_processing_job_evaluates_in_the_image(
    image: Image, trained: Path, data: Path, tmp_path: Path
) -> None:
    ml = tmp_path / "ml"
    shutil.copytree(data, ml / "processing" / "input")
    code = ml / "processing" / "input" / "code"
    code.mkdir()
    shutil.copy2(packaging.build(PROJECT, "flights", tmp_path / "build").sagemaker["evaluate"], code)
    (ml / "processing" / "input" / "model").mkdir()
    with tarfile.open(ml / "processing" / "input" / "model" / "model.tar.gz", "w:gz") as tar:
        tar.add(trained / "model", ".")
    place = "/opt/ml/processing"
    places = [("--model", "model"), ("--splits", "splits"), ("--keys", "keys"), ("--features", "features")]
    words = [word for option, name in places for word in (option, f"{place}/input/{name}")]
    words += ["--output", f"{place}/output", "--use-splits", "test", "--slices", "month,origin"]
    done = image.run("python3", f"{place}/input/code/evaluate.pyz", *words, ml=ml)
    assert done.returncode == 0, done.stderr
    document = json.loads((ml / "processing" / "output" / "evaluation.json").read_text())
    assert document["binary_classification_metrics"]["auc"]["value"] > 0.75
