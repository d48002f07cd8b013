"""The local cloud as a background process: one per home folder, started, found again and stopped.

Who serves a home is decided by a lock on ``gateway.lock`` that the process holds for its whole life: no stale
file can claim otherwise. ``gateway.json`` says where it is reached.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from triptych.localcloud.home import Home, HomeUnusable

if TYPE_CHECKING:
    from triptych.localcloud.cloud import Settings

_log = logging.getLogger(__name__)
_EXIT_LOCKED = 75


class DaemonFailed(Exception):
    """The local cloud could not be started or stopped; the message says why and what to do."""


@dataclass(frozen=True)
class Running:
    """A local cloud that answers."""

    pid: int
    host: str
    port: int
    home: str
    region: str
    account_id: str
    started_at: float
    """seconds since the epoch"""
    runtime_port: int
    """the inference router's: SageMaker Runtime has an endpoint of its own"""

    @property
    def endpoint_url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def runtime_endpoint_url(self) -> str:
        return f"http://{self.host}:{self.runtime_port}"


def status(home: Path | str) -> Running | None:
    """Who serves this home, or None. Quick: reads two files."""
    place = Home(home)
    if not _locked(place):
        return None
    try:
        return Running(**json.loads(place.gateway_file.read_text()))
    except (OSError, ValueError, TypeError):
        return None  # it is just starting


def last_port(home: Path | str) -> int | None:
    """The port that this home was served at last; None for a new home.

    Who is served there again keeps the exports of ``triptych env`` right over restarts.
    """
    try:
        port = int(Home(home).port_file.read_text())
    except (OSError, ValueError):
        return None
    return port if 0 < port <= 65535 else None


def start(home: Path | str, settings: Settings, timeout_seconds: float = 60.0) -> Running:
    """The local cloud of this home: the running one, or a new process that is ready when this returns.

    Raises DaemonFailed with the reason (port taken, and by whom; a service that could not recover) and
    HomeUnusable where the folder cannot be written.
    """
    place = Home(home)
    place.create()
    deadline = time.monotonic() + timeout_seconds
    while True:
        running = status(home)
        if running is not None:
            return _when_ready(running, deadline, place)
        if not _locked(place):
            outcome = _spawn(place, settings, deadline)
            if outcome is not None:
                return outcome
        if time.monotonic() > deadline:
            raise DaemonFailed(
                f"another process is starting the local cloud of {place.root} and does not finish"
            )
        time.sleep(0.05)


def stop(home: Path | str, timeout_seconds: float = 20.0) -> bool:
    """Stops the local cloud of this home; False when none runs. Raises DaemonFailed when it will not go."""
    place = Home(home)
    running = status(home)
    if running is None:
        return False
    try:
        _request(running.host, running.port, "POST", "/_triptych/stop", 5.0)
    except (OSError, HTTPException, ValueError):
        os.kill(running.pid, signal.SIGTERM)
    for limit, number in ((timeout_seconds, signal.SIGKILL), (5.0, None)):
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if not _locked(place):
                return True
            time.sleep(0.02)
        if number is not None:
            os.kill(running.pid, number)
    raise DaemonFailed(f"process {running.pid} serves {place.root} and cannot be stopped")


def _locked(place: Home) -> bool:
    try:
        with open(place.lock_file) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except (FileNotFoundError, NotADirectoryError):
        return False
    except BlockingIOError:
        return True


def _request(host: str, port: int, method: str, path: str, timeout_seconds: float) -> dict[str, Any]:
    connection = HTTPConnection(host, port, timeout=timeout_seconds)
    try:
        connection.request(method, path)
        document = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    if not isinstance(document, dict):
        raise ValueError("not the local cloud's answer")
    return document


def _when_ready(running: Running, deadline: float, place: Home) -> Running:
    while True:
        try:
            health = _request(running.host, running.port, "GET", "/_triptych/health", 5.0)
        except (OSError, HTTPException, ValueError):
            health = {}
        if health.get("failure"):
            raise DaemonFailed(f"the local cloud of {place.root} runs but is not well: {health['failure']}")
        if health.get("ready"):
            return running
        if time.monotonic() > deadline:
            raise DaemonFailed(
                f"the local cloud of {place.root} (process {running.pid}) does not get ready; "
                f"see {place.log_file}"
            )
        time.sleep(0.02)


def _spawn(place: Home, settings: Settings, deadline: float) -> Running | None:
    """A new process; None when another one was faster."""
    command = [sys.executable, "-m", "triptych.localcloud.daemon", "--home", str(place.root)]
    for name, value in asdict(settings).items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    with open(place.log_file, "ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            cwd=place.root,
        )
    assert process.stdout is not None
    with process.stdout as pipe:
        line = _first_line(pipe, deadline)
    if line is None:
        process.kill()
        process.wait()
        raise DaemonFailed(f"the local cloud did not start in time; see {place.log_file}")
    if not line:
        code = process.wait()
        raise DaemonFailed(f"the local cloud ended at once (exit code {code}); see {place.log_file}")
    outcome = json.loads(line)
    if outcome.get("locked"):
        process.wait()
        return None
    if "error" in outcome:
        process.wait()
        raise DaemonFailed(outcome["error"])
    return Running(**outcome["running"])


def _first_line(pipe: IO[bytes], deadline: float) -> bytes | None:
    import select

    remaining = max(0.0, deadline - time.monotonic())
    readable, _, _ = select.select([pipe], [], [], remaining)
    return pipe.readline() if readable else None


def _port_taken(settings: Settings) -> str:
    """Names who has the port, as far as can be told."""
    advice = "Choose another with --port (0 takes any free one)."
    try:
        other = _request(settings.host, settings.port, "GET", "/_triptych/health", 2.0)
    except (OSError, HTTPException, ValueError):
        return f"port {settings.port} of {settings.host} is in use by another program. {advice}"
    if other.get("product") == "triptych":
        return (
            f"port {settings.port} is in use by the local cloud of {other.get('home')} "
            f"(process {other.get('pid')}). "
            f"Stop that one with `triptych down --home {other.get('home')}`, or: {advice}"
        )
    return f"port {settings.port} of {settings.host} is in use by another program. {advice}"


# -- the process itself


def main(arguments: list[str] | None = None) -> int:
    """Serves a home until SIGTERM, SIGINT or ``/_triptych/stop``; tells its parent on stdout how the start
    went.
    """
    settings, place = _parse(arguments)
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    import warnings

    warnings.filterwarnings("ignore", module=r"moto\..*")
    lock = open(place.lock_file, "a")  # noqa: SIM115 - held until the process ends
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _tell({"locked": True}, _EXIT_LOCKED)
    place.gateway_file.unlink(missing_ok=True)
    try:
        return _serve(place, settings)
    except HomeUnusable as error:
        return _tell({"error": str(error)}, 1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return _tell({"error": _port_taken(settings)}, 1)
        _log.exception("the local cloud could not start")
        return _tell({"error": f"the local cloud could not start: {error}; see {place.log_file}"}, 1)
    except Exception as error:
        _log.exception("the local cloud could not start")
        return _tell({"error": f"the local cloud could not start: {error}; see {place.log_file}"}, 1)


def _parse(arguments: list[str] | None) -> tuple[Settings, Home]:
    from triptych.localcloud.cloud import Settings

    defaults = Settings()
    parser = argparse.ArgumentParser(prog="python -m triptych.localcloud.daemon")
    parser.add_argument("--home", required=True)
    for name, default in asdict(defaults).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    given = vars(parser.parse_args(arguments))
    home = Home(given.pop("home"))
    return Settings(**given), home


def _tell(outcome: dict[str, Any], code: int = 0) -> int:
    """One line to the parent; then stdout joins the log, so that nothing of ours can block on a closed
    pipe.
    """
    try:
        sys.stdout.write(json.dumps(outcome) + "\n")
        sys.stdout.flush()
    except OSError:
        pass  # the parent is gone
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return code


def _serve(place: Home, settings: Settings) -> int:
    import threading

    from triptych.localcloud.assembly import assemble

    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    local = assemble(place, settings)
    local.gateway.on_stop = ended.set
    local.start()
    running = Running(
        pid=os.getpid(),
        host=settings.host,
        port=local.server.port,
        home=str(place.root),
        region=settings.region,
        account_id=settings.account_id,
        started_at=time.time(),
        runtime_port=local.cloud.settings.runtime_port,
    )
    _write(place.port_file, str(running.port))
    _write(place.gateway_file, json.dumps(asdict(running)))
    try:
        local.wait_ready()
    except RuntimeError as error:
        _log.error("%s", error)
        local.stop()
        place.gateway_file.unlink(missing_ok=True)
        return _tell({"error": f"the local cloud of {place.root} could not start: {error}"}, 1)
    _log.info("ready at %s, process %d", running.endpoint_url, running.pid)
    _tell({"running": asdict(running)})
    while not ended.wait(1.0):
        pass  # a bare wait() would hold signals back on some platforms
    _log.info("stopping")
    local.stop()
    place.gateway_file.unlink(missing_ok=True)
    return 0


def _write(path: Path, text: str) -> None:
    """All of it or nothing, whenever the process ends."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(text)
    temporary.replace(path)


if __name__ == "__main__":
    sys.stdout.flush()
    code = main()
    logging.shutdown()
    os._exit(code)  # threads that wait in requests must not hold the process
