"""What a forked process does with itself before and after the job's own code runs."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import importlib
import io
import os
import resource
import signal
import socket
import sys
import threading
import time
import traceback
import types
import zipimport
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from triptych.localcloud.jobs.isolation import hide_project, prefer
from triptych.localcloud.jobs.spec import CHANNEL_VARIABLE

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def run(request: dict[str, Any], output: int, channel: int | None, server_pid: int) -> NoReturn:
    """Become the job ``request`` describes, in a freshly forked process; never returns."""
    code = 1
    try:
        _detach(request["name"], output, server_pid)
        code = _run_entry(request, channel)
    except SystemExit as error:
        code = _exit_code(error)
    except BaseException:
        # Frames of the fork server mean nothing to the job's author.
        _print_exception(*sys.exc_info())
    finally:
        _finish(code)


def _detach(name: str, output: int, server_pid: int) -> None:
    """A session and process group of its own; stdout and stderr to the pipe; dies with its fork server."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setsid()
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        _LIBC.prctl(_PR_SET_NAME, name.encode()[-15:])
        if os.getppid() != server_pid:  # it died before we asked
            os._exit(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(nothing)
    os.close(output)
    # Line by line, so that logs are live; never a UnicodeEncodeError from a print.
    for descriptor, stream in ((1, "stdout"), (2, "stderr")):
        file = io.TextIOWrapper(
            io.FileIO(descriptor, "w", closefd=False), "utf-8", "backslashreplace", line_buffering=True
        )
        setattr(sys, stream, file)
        setattr(sys, f"__{stream}__", file)


def _run_entry(request: dict[str, Any], channel: int | None) -> int:
    entry = request["entry"]
    environment = dict(request["env"])
    if channel is not None:
        os.set_inheritable(channel, True)
        environment[CHANNEL_VARIABLE] = str(channel)
    os.chdir(request["cwd"])
    if entry["kind"] == "command":
        argv = entry["argv"]
        try:
            os.execvpe(argv[0], argv, environment)
        except OSError as error:
            print(f"cannot start {argv[0]}: {error.strerror}", file=sys.stderr)
            return 127
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    if (numpy_random := sys.modules.get("numpy.random")) is not None:
        numpy_random.seed()  # else every job would draw the same numbers; ``random`` does this by itself
    if entry["kind"] == "function":
        function = _resolve(entry["function"])
        hide_project()
        prefer(request["python_path"])
        result = function(**entry["kwargs"])
        return result if isinstance(result, int) else 0
    hide_project()
    path = str(Path(entry["path"]).absolute())
    prefer([str(Path(path).parent), *request["python_path"]])
    sys.argv = [path, *entry["argv"]]
    run_script(path)
    return 0


def run_script(path: str) -> None:
    """Execute the file as ``__main__``; its exceptions carry only its own frames."""
    main = types.ModuleType("__main__")
    main.__file__ = path
    main.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = main
    exec(_code(path), main.__dict__)


def _code(path: str) -> types.CodeType:
    """A script's code; of an archive (``.pyz``) its ``__main__``, the archive being first on ``sys.path``."""
    if path.endswith(".pyz"):
        sys.path.insert(0, path)
        return zipimport.zipimporter(path).get_code("__main__")
    with open(path, "rb") as file:
        return compile(file.read(), path, "exec")


def _resolve(name: str) -> Callable[..., Any]:
    module_name, _, attribute = name.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module_name), attribute)
    return function


def _exit_code(error: SystemExit) -> int:
    """What ``sys.exit(x)`` means: None is 0, a number itself, anything else is printed and 1."""
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    print(error.code, file=sys.stderr)
    return 1


def _print_exception(kind: Any, value: Any, trace: Any) -> None:
    own = (str(Path(__file__)), str(Path(__file__).with_name("forkserver.py")))
    while trace is not None and trace.tb_frame.f_code.co_filename in own and trace.tb_next is not None:
        trace = trace.tb_next
    if sys.excepthook is not sys.__excepthook__:
        with contextlib.suppress(Exception):
            sys.excepthook(kind, value, trace)
            return
    traceback.print_exception(kind, value, trace)


def _finish(code: int) -> NoReturn:
    """Leave as an interpreter does (threads joined, exit handlers run, streams flushed), but without tearing
    down the inherited modules, which takes longer than many jobs."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
        code = code or 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)


def open_channel() -> socket.socket:
    """The job's end of ``JobSpec.channel``."""
    return socket.socket(fileno=int(os.environ.pop(CHANNEL_VARIABLE)))
