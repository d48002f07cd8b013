"""Running contestants as processes, and saying what came out: a table for people, one JSON line for machines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
XGBOOST_IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:3.0-5"


@dataclass(frozen=True)
class Measurement:
    """One process: its wall time, the peak resident memory of it and its children, and its standard output."""

    seconds: float
    peak_bytes: int
    output: str

    def last_json(self) -> dict[str, object]:
        """The last line of the output, which contestants print as JSON."""
        found: dict[str, object] = json.loads(self.output.strip().splitlines()[-1])
        return found


class ContestantFailed(Exception):
    """A contestant ended with an error: there is nothing to compare."""


def triptych_command() -> Path:
    """The product: of this interpreter's environment, or else of the checkout's ``.venv``."""
    for folder in (Path(sys.executable).parent, ROOT / ".venv" / "bin"):
        if (folder / "triptych").is_file():
            return folder / "triptych"
    raise ContestantFailed(
        f"triptych is installed neither beside {sys.executable} nor in {ROOT}/.venv; run `make test`"
    )


def measure(command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> Measurement:
    """Run a command to its end; raises ContestantFailed with the end of what it wrote."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command],
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watch = _MemoryWatch(process.pid)
    output, errors = process.communicate()
    seconds = time.perf_counter() - started
    peak = watch.stop()
    if process.returncode:
        raise ContestantFailed(
            f"{' '.join(map(str, command))} ended with {process.returncode}:\n{errors[-3000:]}"
        )
    return Measurement(seconds, peak, output)


class _MemoryWatch:
    """Samples the resident memory of a process and its descendants, ten times a second."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peak = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        self._ended.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        import psutil

        try:
            root = psutil.Process(self._pid)
        except psutil.NoSuchProcess:
            return
        while not self._ended.wait(0.1):
            total = 0
            try:
                for process in (root, *root.children(recursive=True)):
                    total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
            self._peak = max(self._peak, total)


def alternate(
    contestants: Mapping[str, Callable[[], Measurement]], rounds: int
) -> dict[str, list[Measurement]]:
    """Each contestant once a round, in turn, so that a busy machine is busy for all of them."""
    found: dict[str, list[Measurement]] = {name: [] for name in contestants}
    for number in range(rounds):
        for name, run in contestants.items():
            found[name].append(run())
            told = found[name][-1]
            print(f"round {number + 1}: {name:28} {told.seconds:8.2f} s", flush=True)
    return found


def median_seconds(measurements: Sequence[Measurement]) -> float:
    return median(measurement.seconds for measurement in measurements)


def say_machine() -> None:
    """How many cores there are and how busy they are: another load makes every figure worse, and some more so."""
    load = os.getloadavg()[0]
    print(
        f"{os.cpu_count()} cores, load {load:.1f}{' - busy with something else' if load > 1 else ''}",
        flush=True,
    )


def finish(name: str, figures: Mapping[str, object], goals: Mapping[str, tuple[float, float]]) -> int:
    """Print the verdicts and the JSON line; ``goals`` are figure and highest allowed value, by name. The exit code."""
    print()
    for goal, (value, highest) in goals.items():
        print(
            f"{'met   ' if value <= highest else 'MISSED'}  {goal:44} {value:10.3f}   goal: at most {highest}"
        )
    met = all(value <= highest for value, highest in goals.values())
    told = {goal: {"value": round(value, 4), "at_most": highest} for goal, (value, highest) in goals.items()}
    print(json.dumps({"benchmark": name, "figures": figures, "goals": told, "met": met}))
    return 0 if met else 1
