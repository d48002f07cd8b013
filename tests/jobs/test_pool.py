"""The job pool, with real fork servers and processes."""

from __future__ import annotations

import itertools
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from triptych.localcloud.home import Home
from triptych.localcloud.jobs.pool import JobPool, JobProcess, JobServerFailed
from triptych.localcloud.jobs.spec import CommandEntry, Entry, FunctionEntry, JobExit, JobSpec, ScriptEntry

ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": "/tmp", "GREETING": "hello"}


class Job:
    """One started job: its lines as they come, and its end."""

    def __init__(self, pool: JobPool, spec: JobSpec) -> None:
        self.lines: list[str] = []
        self.arrived: queue.Queue[str] = queue.Queue()
        self.exits: queue.Queue[JobExit] = queue.Queue()
        self.process: JobProcess = pool.start(spec, self._on_line, self.exits.put)

    def _on_line(self, line: str) -> None:
        self.lines.append(line)
        self.arrived.put(line)

    def until(self, line: str) -> None:
        while self.arrived.get(timeout=30) != line:
            pass

    def end(self) -> JobExit:
        return self.exits.get(timeout=30)


StartScript = Callable[..., Job]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobPool]:
    home = Home(tmp_path_factory.mktemp("pool"))
    home.create()
    pool = JobPool(home)
    yield pool
    pool.stop()


@pytest.fixture
def start(pool: JobPool, tmp_path: Path) -> StartScript:
    numbers = itertools.count()

    def start(source: str, *argv: str, owner: JobPool = pool, **changes: Any) -> Job:
        script = tmp_path / f"script{next(numbers)}.py"
        script.write_text(textwrap.dedent(source))
        return Job(owner, spec(ScriptEntry(script, argv), tmp_path, **changes))

    return start


def spec(entry: Entry, cwd: Path, **changes: Any) -> JobSpec:
    return JobSpec(
        **{"name": "test", "pool": "jobs", "entry": entry, "env": ENVIRONMENT, "cwd": cwd, **changes}
    )


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(2000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it did not come to be in 20 seconds")


ENDINGS = {
    "ends": ("print('done')", {"code": 0}, "done"),
    "exits with 0": ("import sys; sys.exit()", {"code": 0}, None),
    "exits with 3": ("import sys; sys.exit(3)", {"code": 3}, None),
    "exits with a message": ("import sys; sys.exit('no rows')", {"code": 1}, "no rows"),
    "raises": ("raise ValueError('bad')", {"code": 1}, "ValueError: bad"),
    "has a syntax error": ("def (:", {"code": 1}, "SyntaxError: invalid syntax"),
    "is killed": ("import os; os.kill(os.getpid(), 9)", {"signal": 9}, None),
    "crashes": ("import os; os.kill(os.getpid(), 11)", {"signal": 11}, None),
    "ends hard": ("import os; os._exit(7)", {"code": 7}, None),
    "fails while exiting": (
        "import atexit\n@atexit.register\ndef bye(): print('bye', flush=True)\nraise OSError('x')",
        {"code": 1},
        "bye",
    ),
}


@pytest.mark.parametrize(("source", "expected", "last"), ENDINGS.values(), ids=ENDINGS)
def test_how_a_script_ends(
    start: StartScript, source: str, expected: dict[str, int], last: str | None
) -> None:
    job = start(source)
    end = job.end()
    assert {"code": end.code, "signal": end.signal} == {"code": None, "signal": None, **expected}
    assert (end.timed_out, end.out_of_memory) == (False, False)
    assert end.duration_seconds > 0
    assert end.peak_memory_bytes > 10 << 20
    assert (job.lines[-1] if job.lines else None) == last


def test_a_traceback_shows_the_scripts_frames_only(start: StartScript, tmp_path: Path) -> None:
    job = start("def f():\n    raise KeyError('k')\n\nf()\n")
    assert job.end().code == 1
    assert job.lines == [
        "Traceback (most recent call last):",
        f'  File "{tmp_path}/script0.py", line 4, in <module>',
        "    f()",
        f'  File "{tmp_path}/script0.py", line 2, in f',
        "    raise KeyError('k')",
        "KeyError: 'k'",
    ]


def test_what_a_script_finds(start: StartScript, tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("WHERE = 'beside the script'")
    job = start(
        """
        import json, os, sys, __main__, beside
        print(json.dumps({
            "argv": sys.argv[1:], "name": __name__, "main": __main__.__file__ == __file__, "cwd": os.getcwd(),
            "env": dict(os.environ), "leader": os.getpid() == os.getpgid(0) == os.getsid(0),
            "stdin": sys.stdin.read(), "beside": beside.WHERE,
            "project": [name for name in sys.modules if name.startswith("triptych")],
            "checkout": [path for path in sys.path if os.path.exists(os.path.join(path, "triptych"))],
        }))
        """,
        "--x",
        "1",
    )
    assert job.end().succeeded
    assert json.loads(job.lines[0]) == {
        "argv": ["--x", "1"],
        "name": "__main__",
        "main": True,
        "cwd": str(tmp_path),
        "env": ENVIRONMENT,
        "leader": True,
        "stdin": "",
        "beside": "beside the script",
        "project": [],
        "checkout": [],
    }


def test_the_archive_s_package_runs_and_not_the_checkouts(start: StartScript, tmp_path: Path) -> None:
    package = tmp_path / "archive" / "triptych"
    (package / "core").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "core" / "__init__.py").write_text("WHENCE = 'archive'")
    job = start("from triptych import core; print(core.WHENCE)", python_path=(str(package.parent),))
    assert job.end().succeeded
    assert job.lines == ["archive"]
    without = start("import triptych.core")
    assert without.end().code == 1
    assert without.lines[-1].startswith("ModuleNotFoundError: No module named 'triptych'")


def test_output_is_merged_whole_and_in_order(start: StartScript) -> None:
    job = start(
        """
        import sys
        for number in range(50_000):
            print(number, file=sys.stderr if number % 1000 == 0 else sys.stdout)
        sys.stdout.write("schön\\r\\n")
        sys.stdout.buffer.write(b"broken \\xff\\n")
        sys.stdout.write("no line end")
        """
    )
    assert job.end().succeeded
    assert job.lines[:50_000] == [str(number) for number in range(50_000)]
    assert job.lines[50_000:] == ["schön", "broken \ufffd", "no line end"]


def test_a_line_without_end_is_cut(start: StartScript) -> None:
    job = start("import sys; sys.stdout.write('x' * 1_000_000)")
    assert job.end().succeeded
    assert "".join(job.lines) == "x" * 1_000_000
    assert max(map(len, job.lines)) == 256 * 1024


def test_lines_arrive_while_the_job_runs(start: StartScript) -> None:
    job = start("import time\nprint('up')\ntime.sleep(60)")
    job.until("up")
    job.process.kill()
    assert job.end().signal == signal.SIGKILL


LIMITS = {
    "too much memory": (
        "x = bytearray(600 << 20)\nimport time; time.sleep(60)",
        {"memory_limit_bytes": 400 << 20},
        (False, True),
    ),
    "too much memory in a child": (
        "import subprocess, sys\n"
        "subprocess.run([sys.executable, '-c', 'x = bytearray(600 << 20); import time; time.sleep(60)'])",
        {"memory_limit_bytes": 400 << 20},
        (False, True),
    ),
    "too long": ("while True: pass", {"timeout_seconds": 0.3}, (True, False)),
    "too long, deaf to signals": (
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)",
        {"timeout_seconds": 0.3},
        (True, False),
    ),
}


@pytest.mark.parametrize(("source", "limits", "expected"), LIMITS.values(), ids=LIMITS)
def test_limits(start: StartScript, source: str, limits: dict[str, Any], expected: tuple[bool, bool]) -> None:
    end = start(source, **limits).end()
    assert (end.timed_out, end.out_of_memory) == expected
    assert end.signal == signal.SIGKILL
    assert not end.succeeded


def test_terminate_asks_first_and_kills_later(start: StartScript) -> None:
    polite = start(
        "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(5))\n"
        "print('up')\ntime.sleep(60)"
    )
    deaf = start(
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up')\ntime.sleep(60)"
    )
    for job in (polite, deaf):
        job.until("up")
        job.process.terminate(grace_seconds=0.2 if job is deaf else 30)
    assert polite.end().code == 5
    assert deaf.end().signal == signal.SIGKILL
    deaf.process.terminate(1)  # of no effect any more


FAMILY = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
escaped = subprocess.Popen(
    [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True, stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
)
print(child.pid, escaped.pid, flush=True)
"""


def test_nothing_outlives_its_job(start: StartScript) -> None:
    job = start(FAMILY)
    assert job.end().succeeded
    child, escaped = map(int, job.lines[0].split())
    wait_for(lambda: gone(child) and gone(escaped))


def test_a_process_that_holds_the_output_does_not_hold_up_the_end(start: StartScript) -> None:
    job = start(FAMILY.replace("stdout=subprocess.DEVNULL,\n    stderr=subprocess.DEVNULL,", ""))
    assert job.end().succeeded


def test_a_function_of_the_project(pool: JobPool, tmp_path: Path) -> None:
    entry = FunctionEntry("triptych.localcloud.glue.runner:run", {"nothing": 1})
    job = Job(pool, spec(entry, tmp_path))
    assert job.end().code == 1
    assert "unexpected keyword argument 'nothing'" in job.lines[-1]


COMMANDS = {
    "a program": (("sh", "-c", "echo $GREETING; exit 4"), 4, ["hello"]),
    "none": (("no-such-program",), 127, ["cannot start no-such-program: No such file or directory"]),
}


@pytest.mark.parametrize(("argv", "code", "lines"), COMMANDS.values(), ids=COMMANDS)
def test_a_command(pool: JobPool, tmp_path: Path, argv: tuple[str, ...], code: int, lines: list[str]) -> None:
    job = Job(pool, spec(CommandEntry(argv), tmp_path))
    assert (job.end().code, job.lines) == (code, lines)


def test_a_folder_that_is_not_there(pool: JobPool, tmp_path: Path) -> None:
    job = Job(pool, spec(CommandEntry(("true",)), tmp_path / "nowhere"))
    assert job.end().code == 1
    assert "FileNotFoundError" in job.lines[-1]


def test_a_channel(start: StartScript) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        job = start(
            """
            import os, socket
            channel = socket.socket(fileno=int(os.environ["TRIPTYCH_CHANNEL_FD"]))
            channel.sendall(channel.recv(100).upper())
            """,
            channel=theirs,
        )
        ours.sendall(b"ping")
        assert ours.recv(100) == b"PING"
        assert job.end().succeeded
        assert ours.recv(100) == b""


def test_jobs_run_side_by_side(start: StartScript, tmp_path: Path) -> None:
    source = """
        import os, sys, time
        open(sys.argv[1], "w").close()
        while not all(os.path.exists(f"met{number}") for number in range(4)):
            time.sleep(0.005)
        """
    jobs = [start(source, f"met{number}") for number in range(4)]
    assert all(job.end().succeeded for job in jobs)


def test_heavy_libraries_work_after_the_fork(start: StartScript) -> None:
    source = """
        import os, duckdb, numpy, pyarrow, pyarrow.parquet, xgboost
        x = numpy.random.rand(4000, 5)
        y = x[:, 0] > 0.5
        model = xgboost.train(
            {"nthread": 2, "objective": "binary:logistic"}, xgboost.DMatrix(x, y), num_boost_round=5
        )
        assert ((model.predict(xgboost.DMatrix(x)) > 0.5) == y).mean() > 0.95
        assert duckdb.sql("select sum(range) from range(1000000)").fetchall() == [(499999500000,)]
        file = f"{os.getpid()}.parquet"  # the two share a folder
        pyarrow.parquet.write_table(pyarrow.table({"y": y}), file)
        assert pyarrow.parquet.read_table(file).num_rows == 4000
        assert (numpy.ones((300, 300)) @ numpy.ones((300, 300)))[0, 0] == 300
        print(numpy.random.rand())
        """
    jobs = [start(source), start(source)]
    ends = [job.end() for job in jobs]
    assert all(end.succeeded for end in ends), [job.lines for job in jobs]
    assert jobs[0].lines != jobs[1].lines, "each job draws its own random numbers"


def test_a_dead_fork_server_is_replaced(tmp_path: Path, start: StartScript) -> None:
    pool = JobPool(Home(tmp_path))
    try:
        job = start("import os, time\nprint(os.getppid())\nprint('up')\ntime.sleep(600)", owner=pool)
        job.until("up")
        os.kill(int(job.lines[0]), signal.SIGKILL)
        assert job.end().signal == signal.SIGKILL
        wait_for(lambda: gone(job.process.pid))
        assert start("print('again')", owner=pool).end().succeeded
    finally:
        pool.stop()


def test_stop_kills_every_job(tmp_path: Path, start: StartScript) -> None:
    pool = JobPool(Home(tmp_path))
    job = start(FAMILY + "print('up')\ntime.sleep(600)\n", owner=pool)
    job.until("up")
    pool.stop()
    pids = [job.process.pid, *map(int, job.lines[0].split())]
    wait_for(lambda: all(map(gone, pids)))
    with pytest.raises(JobServerFailed, match="stopped"):
        start("print(1)", owner=pool)


OWNER = """
import sys, time
from pathlib import Path
from triptych.localcloud.home import Home
from triptych.localcloud.jobs.pool import JobPool
from triptych.localcloud.jobs.spec import JobSpec, ScriptEntry
folder = Path(sys.argv[1])
pool = JobPool(Home(folder))
spec = JobSpec("t", "jobs", ScriptEntry(folder / "family.py"), {"PATH": ""}, folder)
job = pool.start(spec, lambda line: print(job.pid, line, flush=True), print)
time.sleep(600)
"""


def test_when_the_gateway_is_killed_every_job_dies(tmp_path: Path) -> None:
    (tmp_path / "family.py").write_text(FAMILY + "time.sleep(600)\n")
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        pids = [int(pid) for pid in owner.stdout.readline().split()]
        assert len(pids) == 3
        servers = [child.pid for child in psutil.Process(owner.pid).children()]
        owner.kill()
    wait_for(lambda: all(map(gone, [*pids, *servers])))
