"""The server's process: load the model, listen, answer until SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from triptych_serve.handlers import Handlers, ModelUnusable, load_handlers
from triptych_serve.protocol import Connection, Router

CHANNEL_VARIABLE = "TRIPTYCH_CHANNEL_FD"
_DRAIN_SECONDS = 30.0


@dataclass(frozen=True)
class ServeSettings:
    """What the container's environment says. ``listening`` is an inherited socket's file descriptor."""

    model_dir: Path
    code: str | None
    program: str | None
    port: int
    workers: int
    max_body_bytes: int
    listening: int | None


def read_settings(environment: Mapping[str, str]) -> ServeSettings:
    """The settings in SageMaker's variables, with the container contract's defaults."""
    fd = environment.get(CHANNEL_VARIABLE)
    return ServeSettings(
        model_dir=Path(environment.get("SM_MODEL_DIR") or "/opt/ml/model"),
        code=environment.get("SAGEMAKER_SUBMIT_DIRECTORY") or None,
        program=environment.get("SAGEMAKER_PROGRAM") or None,
        port=int(environment.get("SAGEMAKER_BIND_TO_PORT") or 8080),
        workers=int(environment.get("SAGEMAKER_MODEL_SERVER_WORKERS") or os.cpu_count() or 1),
        max_body_bytes=int(environment.get("MAX_CONTENT_LENGTH") or 100 * 2**20),
        listening=int(fd) if fd else None,
    )


def main() -> int:
    """Serve; the exit code is 1 when the model cannot be loaded."""
    settings = read_settings(os.environ)
    if settings.listening is not None:
        return _serve(settings, socket.socket(fileno=settings.listening))
    listener = socket.create_server(("0.0.0.0", settings.port), backlog=1024)
    return _serve_with_workers(settings, listener)


def _serve_with_workers(settings: ServeSettings, listener: socket.socket) -> int:
    """Fork the workers, which share the listening socket; a worker that dies is replaced."""
    children: set[int] = set()
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True
        for pid in children:
            os.kill(pid, signal.SIGTERM)

    def spawn() -> None:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os._exit(_serve(settings, listener))
        children.add(pid)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    for _ in range(settings.workers):
        spawn()
    while children:
        born = time.monotonic()
        try:
            pid, status = os.wait()
        except InterruptedError:
            continue
        children.discard(pid)
        if not stopping and os.waitstatus_to_exitcode(status) == 1:
            stop()
            return 1
        if not stopping:
            if time.monotonic() - born < 0.1:
                time.sleep(1)  # a worker that dies at once must not fill the log
            spawn()
    return 0


def _serve(settings: ServeSettings, listener: socket.socket) -> int:
    started = time.monotonic()
    try:
        handlers = load_handlers(settings.model_dir, _code_dir(settings.code), settings.program)
    except ModelUnusable as error:
        print(f"ModelUnusable: {error}", file=sys.stderr, flush=True)
        return 1
    print(f"model loaded from {settings.model_dir} in {time.monotonic() - started:.3f} s", flush=True)
    asyncio.run(_run(handlers, listener, settings.max_body_bytes))
    return 0


def _code_dir(code: str | None) -> Path | None:
    """The source: a folder as it is, a .tar.gz unpacked; a URI is not fetched (the model holds code/)."""
    if code is None or "://" in code:
        return None
    path = Path(code)
    if path.is_file():
        folder = Path(tempfile.mkdtemp(prefix="code-"))
        try:
            with tarfile.open(path) as archive:
                archive.extractall(folder, filter="data")
        except tarfile.TarError as error:
            raise ModelUnusable(f"{path} is not a readable tar archive: {error}") from error
        return folder
    return path if path.is_dir() else None


async def _run(handlers: Handlers, listener: socket.socket, max_body_bytes: int) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    router = Router(handlers, loop, max_body_bytes)
    listener.setblocking(False)
    server = await loop.create_server(lambda: Connection(router), sock=listener, backlog=1024)
    await stop.wait()
    server.close()
    deadline = loop.time() + _DRAIN_SECONDS
    while any(connection.busy for connection in router.connections) and loop.time() < deadline:
        await asyncio.sleep(0.01)
    for connection in list(router.connections):
        connection.close()
