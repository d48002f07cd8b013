"""The model server when things go wrong: workers that die, hang or never start, models that are slow or fail."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sagemaker_laptop import booster_bytes

from triptych.localcloud.sagemaker.containers import SERVE

ROW = b"0.5,-0.25,1.0"
SLOW_START = "import time\ndef model_fn(folder):\n    time.sleep(1)\n    return None\n"
OWN = "def input_fn(body, kind): return body\ndef output_fn(answer, accept): return answer\n"


@dataclass
class Running:
    process: subprocess.Popen[str]
    port: int
    lines: list[str]

    def ask(self, body: bytes = ROW, seconds: float = 30, path: str = "/invocations") -> tuple[int, bytes]:
        """Status and body; (0, b"") where the server closed the connection instead."""
        method = b"POST" if path == "/invocations" else b"GET"
        head = b"%s %s HTTP/1.1\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            connection.sendall(head % (method, path.encode(), len(body)) + body)
            answer = b""
            try:
                while data := connection.recv(65536):
                    answer += data
            except ConnectionResetError:
                return 0, b""
        return (int(answer[9:12]), answer.split(b"\r\n\r\n", 1)[1]) if answer else (0, b"")

    def until(self, found: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 60
        while not found():
            assert time.monotonic() < deadline, f"{what}; the log: {self.lines}"
            time.sleep(0.02)

    def said(self, pattern: str) -> list[str]:
        return [line for line in self.lines if re.search(pattern, line)]

    def workers(self) -> set[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return {int(child) for child in children.split()}


@contextmanager
def serving(folder: Path, **environment: str) -> Iterator[Running]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, str(SERVE / "serve.py")],
        env={
            "PATH": os.environ["PATH"],
            "SM_MODEL_DIR": str(folder),
            "SAGEMAKER_BIND_TO_PORT": str(port),
            "PYTHONUNBUFFERED": "1",
            "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    running = Running(process, port, [])

    def read() -> None:
        assert process.stdout is not None
        running.lines.extend(line.rstrip() for line in process.stdout)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        finally:
            process.kill()
            reader.join()
            assert process.stdout is not None
            process.stdout.close()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "xgboost-model").write_bytes(booster_bytes(names=["a", "b", "c"]))
    return tmp_path


def loaded(running: Running, times: int = 1) -> bool:
    return len(running.said("model loaded")) >= times


def test_a_worker_that_dies_is_replaced(model: Path) -> None:
    with serving(model, SAGEMAKER_MODEL_SERVER_WORKERS="2") as running:
        running.until(lambda: loaded(running, 2), "two workers load the model")
        before = running.workers()
        for worker in before:
            os.kill(worker, signal.SIGKILL)
        running.until(lambda: loaded(running, 4), "both are replaced")
        assert running.ask()[0] == 200
        assert len(running.workers()) == 2
        assert not running.workers() & before
        assert len(running.said("ended with signal 9")) == 2
    assert running.process.returncode == 0


def test_a_worker_that_dies_over_a_request_answers_the_next(model: Path) -> None:
    code = "import os\ndef predict_fn(body, model):\n    if body == 'die': os._exit(3)\n    return body\n"
    (model / "inference.py").write_text(OWN + code)
    with serving(model) as running:
        running.until(lambda: loaded(running), "the worker starts")
        assert running.ask(b"die") == (0, b"")
        assert running.ask(b"live") == (200, b"live")
        assert running.said("ended with code 3")


def test_a_worker_that_hangs_is_killed_and_replaced(model: Path) -> None:
    code = (
        "import time\ndef predict_fn(body, model):\n    if body == 'hang': time.sleep(600)\n    return body\n"
    )
    (model / "inference.py").write_text(OWN + code)
    with serving(model, SAGEMAKER_MODEL_SERVER_TIMEOUT="2") as running:
        running.until(lambda: loaded(running), "the worker starts")
        assert running.ask(b"hang") == (0, b"")
        assert running.said(r"has hung for \d s: killed")
        assert running.ask(b"live") == (200, b"live")


def test_a_slow_start_is_no_hang_and_loses_no_request(model: Path) -> None:
    (model / "inference.py").write_text(OWN + SLOW_START + "def predict_fn(body, model): return body")
    with serving(model, SAGEMAKER_MODEL_SERVER_TIMEOUT="0.5") as running:
        running.until(lambda: running.process.poll() is None and _listens(running.port), "it listens")
        assert running.ask(b"early") == (200, b"early")
        assert not running.said("hung|ended")


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.parametrize(
    ("files", "said"),
    [
        pytest.param({}, "ModelUnusable: no model in .* found nothing", id="no-model"),
        pytest.param({"xgboost-model": b"\x80\x04pickle"}, "Pickled models are refused", id="pickle"),
        pytest.param(
            {"xgboost-model": b'{"learner": 1}'}, "cannot be read as an XGBoost model", id="corrupt"
        ),
        pytest.param({"inference.py": b"import nowhere_to_be_found"}, "No module named", id="import-fails"),
        pytest.param(
            {"inference.py": b"import os\ndef model_fn(folder): os.kill(os.getpid(), 9)"},
            "none of its workers came up",
            id="killed-while-loading",
        ),
    ],
)
def test_what_can_never_serve_ends_the_server(tmp_path: Path, files: dict[str, bytes], said: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with serving(tmp_path) as running:
        assert running.process.wait(60) == 1
    assert running.said(said)


def test_requests_under_way_are_answered_before_the_server_stops(model: Path) -> None:
    code = "import time\ndef predict_fn(body, model):\n    print('begun')\n    time.sleep(0.5)\n    return body\n"
    (model / "inference.py").write_text(OWN + code)
    with serving(model) as running:
        running.until(lambda: loaded(running), "the worker starts")
        answers: list[tuple[int, bytes]] = []
        asking = threading.Thread(target=lambda: answers.append(running.ask(b"last")))
        asking.start()
        running.until(lambda: bool(running.said("begun")), "the request arrives")
        running.process.send_signal(signal.SIGTERM)
        asking.join()
        assert answers == [(200, b"last")]
        assert running.process.wait(30) == 0


def test_answers_of_slow_functions_do_not_wait_for_each_other(model: Path) -> None:
    code = "import time\ndef predict_fn(body, model):\n    time.sleep(float(body))\n    return body\n"
    (model / "inference.py").write_text(OWN + code)
    request = b"POST /invocations HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s"
    with serving(model) as running:
        running.until(lambda: loaded(running), "the worker starts")
        with socket.create_connection(("127.0.0.1", running.port), timeout=30) as connection:
            connection.sendall(request % (3, b"0.0") + request % (2, b"30"))
            assert connection.recv(65536).endswith(b"0.0")
        for process in (running.process.pid, *running.workers()):
            os.kill(process, signal.SIGKILL)


def test_without_uvloop_the_server_runs_on_asyncio(model: Path, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "uvloop.py").write_text("raise ModuleNotFoundError('not here', name='uvloop')")
    with serving(model, PYTHONPATH=str(hidden)) as running:
        running.until(lambda: loaded(running), "the worker starts")
        assert running.ask()[0] == 200
        assert running.ask(b"", path="/ping") == (200, b"\n")
        assert running.ask(b"1,2")[0] == 400


@pytest.mark.parametrize("handlers", ["model", "own"])
def test_ping_tries_the_model(tmp_path: Path, handlers: str) -> None:
    """A model that no longer answers is not healthy, though its server is."""
    broken = "class Broken:\n    def inplace_predict(self, *args, **more): raise MemoryError('no more')\n"
    wrapped = "from triptych_serve.xgboost_model import XGBoostModel\n"
    model_fn = (
        "def model_fn(folder): return XGBoostModel(Broken(), None, 3)\n"
        if handlers == "model"
        else "def model_fn(folder): return Broken()\ndef predict_fn(rows, model): return [1]\n"
    )
    (tmp_path / "inference.py").write_text(wrapped + broken + model_fn)
    with serving(tmp_path) as running:
        running.until(lambda: loaded(running), "the worker starts")
        status, body = running.ask(b"", path="/ping")
        assert (status, body) == ((500, b"MemoryError: no more") if handlers == "model" else (200, b"\n"))
