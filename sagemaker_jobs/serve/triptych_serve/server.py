"""The server's process: load the model, listen, answer until SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from triptych_serve.handlers import Handlers, load_handlers
from triptych_serve.protocol import Connection, Dispatcher
from triptych_serve.supervisor import Heartbeat, Supervisor
from triptych_serve.xgboost_model import ModelUnusable

CHANNEL_VARIABLE = "TRIPTYCH_CHANNEL_FD"
_DRAIN_SECONDS = 30.0
_BEAT_SECONDS = 1.0


@dataclass(frozen=True)
class ServeSettings:
    """What the container's environment says. ``listening`` is an inherited socket's file descriptor."""

    model_dir: Path
    code: str | None
    program: str | None
    port: int
    workers: int
    hang_seconds: float
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
        hang_seconds=float(environment.get("SAGEMAKER_MODEL_SERVER_TIMEOUT") or 60),
        max_body_bytes=int(environment.get("MAX_CONTENT_LENGTH") or 100 * 2**20),
        listening=int(fd) if fd else None,
    )


def main() -> int:
    """Serve; the exit code is 1 when the model cannot be loaded."""
    settings = read_settings(os.environ)
    # One core a server, as in AWS's containers: the servers of a machine share its cores among themselves.
    os.environ.setdefault("TRIPTYCH_SERVE_THREADS", "1")
    if settings.listening is not None:
        return _serve(settings, socket.socket(fileno=settings.listening), None)
    listener = socket.create_server(("0.0.0.0", settings.port), backlog=1024)
    return Supervisor(partial(_serve, settings, listener), settings.workers, settings.hang_seconds).run()


def _serve(settings: ServeSettings, listener: socket.socket, heartbeat: Heartbeat | None) -> int:
    started = time.monotonic()
    try:
        handlers = load_handlers(settings.model_dir, _code_dir(settings.code), settings.program)
    except ModelUnusable as error:
        print(f"ModelUnusable: {error}", file=sys.stderr, flush=True)
        return 1
    print(f"model loaded from {settings.model_dir} in {time.monotonic() - started:.3f} s", flush=True)
    # What is loaded stays: a full collection over all of it would be a pause of many requests' length.
    gc.collect()
    gc.freeze()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_run(handlers, listener, settings.max_body_bytes, heartbeat))
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's event loop, about twice as quick, where it is installed."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


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


async def _run(
    handlers: Handlers, listener: socket.socket, max_body_bytes: int, heartbeat: Heartbeat | None
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    dispatcher = Dispatcher(handlers, loop, max_body_bytes)
    listener.setblocking(False)
    listen = loop.create_unix_server if listener.family == socket.AF_UNIX else loop.create_server
    server = await listen(lambda: Connection(dispatcher), sock=listener, backlog=1024)
    beats = loop.create_task(_beat(heartbeat)) if heartbeat is not None else None
    await stop.wait()
    server.close()
    deadline = loop.time() + _DRAIN_SECONDS
    while any(connection.busy for connection in dispatcher.connections) and loop.time() < deadline:
        await asyncio.sleep(0.01)
    for connection in list(dispatcher.connections):
        connection.close()
    if beats is not None:
        beats.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beats


async def _beat(heartbeat: Heartbeat) -> None:
    """Beats as long as the event loop goes round; a model that never answers stops it."""
    while True:
        heartbeat.beat()
        await asyncio.sleep(_BEAT_SECONDS)
