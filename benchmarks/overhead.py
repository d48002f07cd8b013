"""What the pipeline costs above the work itself: against a plain script, and against the same as a Metaflow flow.

A contestant's figure is the wall time of its whole command, imports included. The pipeline runs in a home folder of
its own that has run once before; everything is computed again, and it does more than the others: file checks,
statistics, an exploration and an evaluation report, lineage, a registry, batch transform, an endpoint that is tested.
All of them compute the same features (compared value by value here) and the same model.

    python benchmarks/overhead.py [--rounds 3] [--skip metaflow]
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import sys
import tempfile
import time
import zipfile
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from measuring import (
    ROOT,
    Measurement,
    alternate,
    finish,
    measure,
    median_seconds,
    say_machine,
    triptych_command,
)

BASELINES = Path(__file__).parent / "baselines"
CHAIN = 50
# Threads that wait for each other by spinning lose minutes when anything else wants a core; all contestants get this.
PATIENT = {"OMP_WAIT_POLICY": "PASSIVE"}


def main() -> int:
    """Measure, print, and return 0 when every goal is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skip", action="append", default=[], choices=["metaflow", "states", "features"])
    options = parser.parse_args()
    say_machine()
    print(f"scikit-learn here: {'yes: it triples the import of xgboost' if find_spec('sklearn') else 'no'}")
    folder = Path(tempfile.mkdtemp(prefix="triptych-overhead-"))
    triptych, home = triptych_command(), folder / "home"
    try:
        return compare(options, triptych, home, folder)
    finally:
        measure([triptych, "down", "--home", home])
        shutil.rmtree(folder, ignore_errors=True)


def compare(options: argparse.Namespace, triptych: Path, home: Path, folder: Path) -> int:
    """All measurements in ``folder``."""
    raw = write_raw(folder)
    pipeline = [triptych, "run", "flights", "--home", home, "--port", "0", "--json"]
    script = [sys.executable, BASELINES / "plain_pandas.py", raw, folder / "script"]
    flow = [sys.executable, BASELINES / "metaflow_flow.py", "--quiet", "--no-pylint", "run"]
    flow += ["--raw", raw, "--output", folder / "flow"]
    metaflow = {
        "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(folder / "metaflow"),
        "METAFLOW_HOME": str(folder / "metaflow_home"),
        "USERNAME": "benchmark",
    }
    contestants = {
        "triptych run": lambda: measure(pipeline, PATIENT),
        "plain script": lambda: measure(script, PATIENT),
    }
    if "metaflow" not in options.skip:
        contestants["Metaflow flow"] = lambda: measure(flow, PATIENT | metaflow)

    cold = measure(pipeline, PATIENT)
    measure(script, PATIENT)
    print(f"first run, with the deployment: {cold.seconds:.1f} s; now it is warm")
    found = alternate(contestants, options.rounds)
    medians = {name: median_seconds(measurements) for name, measurements in found.items()}
    last = found["triptych run"][-1].last_json()
    figures: dict[str, Any] = {"seconds": {name: round(value, 3) for name, value in medians.items()}}
    figures["first_run_seconds"] = round(cold.seconds, 3)
    figures["auc"] = aucs(last, found, folder)
    figures["script_seconds"] = found["plain script"][-1].last_json()["seconds"]

    print(f"\n{'median of ' + str(options.rounds):30} {'seconds':>8}  test AUC")
    for name, value in medians.items():
        print(f"{name:30} {value:8.2f}  {figures['auc'][name]:.6f}")
    print("script: " + ", ".join(f"{name} {value}" for name, value in figures["script_seconds"].items()))
    figures["states"] = say_states(triptych, home)

    goals = {"pipeline / plain script": (medians["triptych run"] / medians["plain script"], 2.0)}
    if "metaflow" not in options.skip:
        goals["pipeline / Metaflow flow"] = (medians["triptych run"] / medians["Metaflow flow"], 1.0)
    if "features" not in options.skip:
        measure([*script, "--save-features"], PATIENT)
        rows, difference = features_difference(
            folder / "script" / "features.parquet", features_folder(home, last)
        )
        figures["features_compared"] = {"rows": rows, "max_difference": difference}
        print(f"\nfeatures of {rows} rows compared with the pipeline's: largest difference {difference:g}")
        goals["largest difference of a feature"] = (difference, 1e-4)
    if "states" not in options.skip:
        state, invocation = task_milliseconds(triptych, home)
        figures["task_state_ms"], figures["direct_invocation_ms"] = round(state, 3), round(invocation, 3)
        print(
            f"a Task state with a function that does nothing: {state:.2f} ms; invoking it: {invocation:.2f} ms"
        )
        goals["a Task state, its invocation included (ms)"] = (state, 20.0)
    help_seconds = median(measure([triptych, "--help"]).seconds for _ in range(11))
    figures["help_seconds"] = round(help_seconds, 4)
    goals["triptych --help (s)"] = (help_seconds, 0.15)
    return finish("overhead", figures, goals)


def write_raw(folder: Path) -> Path:
    """The shipped data as the raw uploads that the pipeline reads too."""
    sys.path.insert(0, str(ROOT))
    from usecases.flights.sample import write_raw as write

    write(folder)
    return folder / "raw"


def aucs(last: dict[str, Any], found: dict[str, list[Measurement]], folder: Path) -> dict[str, float]:
    """The test AUC of each contestant: they must have done the same."""
    result = {
        "triptych run": float(last["model"]["metrics"]["auc"]),
        "plain script": float(found["plain script"][-1].last_json()["metrics"]["auc"]),
    }
    if "Metaflow flow" in found:
        written = json.loads((folder / "flow" / "metrics.json").read_text())
        result["Metaflow flow"] = float(written["test"]["auc"])
    return {name: round(value, 6) for name, value in result.items()}


def say_states(triptych: Path, home: Path) -> dict[str, float]:
    """Print where the last run's seconds went, state by state, in time; those over 10 ms are returned."""
    shown = json.loads(measure([triptych, "show", "last", "--json", "--home", home]).output)
    found: dict[str, float] = {}
    start = None
    print(f"\nthe last run: {shown['seconds']:.2f} s in Step Functions")

    def walk(run: dict[str, Any], depth: int) -> None:
        nonlocal start
        from datetime import datetime

        for state in run["states"]:
            entered = datetime.fromisoformat(state["entered"])
            start = start or entered
            seconds = state["seconds"] or 0.0
            if seconds >= 0.01:
                found[state["name"]] = seconds
                at = (entered - start).total_seconds()
                print(f"{at:7.2f} {'  ' * depth}{state['name']:{44 - 2 * depth}} {seconds:7.2f} s")
            if state["execution"]:
                walk(state["execution"], depth + 1)

    walk(shown, 0)
    return found


def features_folder(home: Path, last: dict[str, Any]) -> Path:
    """Where the pipeline's feature rows are, as plain files."""
    return home / "s3" / last["dataset"]["run_uri"].removeprefix("s3://") / "features"


def features_difference(script: Path, pipeline: Path) -> tuple[int, float]:
    """Rows compared, and the largest difference of any feature of any row; infinite where one of them is missing."""
    import numpy as np
    import pandas as pd

    ours = pd.read_parquet(pipeline)
    ours = ours[ours["late"].notna()]
    theirs = pd.read_parquet(script)
    keys = [name.removeprefix("key_") for name in ours.columns if name.startswith("key_")]
    ours["key_flight_date"] = pd.to_datetime(ours["key_flight_date"])
    ours = ours.sort_values([f"key_{name}" for name in keys]).reset_index(drop=True)
    theirs = theirs.sort_values(keys).reset_index(drop=True)
    if len(ours) != len(theirs):
        return min(len(ours), len(theirs)), float("inf")
    largest = 0.0
    for column in theirs.columns:
        if not column.startswith("feature_"):
            continue
        one = theirs[column].to_numpy(dtype=np.float64)
        other = ours[column.removeprefix("feature_")].to_numpy(dtype=np.float64)
        if (np.isnan(one) != np.isnan(other)).any():
            return len(ours), float("inf")
        largest = max(largest, float(np.nanmax(np.abs(one - other))))
    return len(ours), largest


def task_milliseconds(triptych: Path, home: Path) -> tuple[float, float]:
    """Per state of a chain of Lambda Tasks, and per direct invocation of the same warm function; medians of 5."""
    import boto3

    exports = measure([triptych, "env", "--home", home]).output.splitlines()
    values = dict(line.removeprefix("export ").split("=", 1) for line in exports)
    access = {
        "endpoint_url": values["AWS_ENDPOINT_URL"],
        "region_name": values["AWS_REGION"],
        "aws_access_key_id": values["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": values["AWS_SECRET_ACCESS_KEY"],
    }
    functions, machines = boto3.client("lambda", **access), boto3.client("stepfunctions", **access)
    role = "arn:aws:iam::123456789012:role/benchmark"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("handler.py", "def handle(event, context):\n    return event\n")
    boto3.client("iam", **access).create_role(
        RoleName="benchmark",
        AssumeRolePolicyDocument=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Principal": {"Service": ["lambda.amazonaws.com", "states.amazonaws.com"]},
                        "Action": "sts:AssumeRole",
                    }
                ],
            }
        ),
    )
    arn = functions.create_function(
        FunctionName="nothing",
        Runtime="python3.11",
        Role=role,
        Handler="handler.handle",
        Code={"ZipFile": archive.getvalue()},
    )["FunctionArn"]
    states: dict[str, Any] = {
        f"Task {number}": {"Type": "Task", "Resource": arn, "Next": f"Task {number + 1}"}
        for number in range(CHAIN)
    }
    states[f"Task {CHAIN - 1}"] = {"Type": "Task", "Resource": arn, "End": True}
    machine = machines.create_state_machine(
        name="chain", roleArn=role, definition=json.dumps({"StartAt": "Task 0", "States": states})
    )["stateMachineArn"]
    chains, invocations = [], []
    for round_number in range(6):
        execution = machines.start_execution(stateMachineArn=machine, input="{}")["executionArn"]
        while (described := machines.describe_execution(executionArn=execution))["status"] == "RUNNING":
            time.sleep(0.05)
        if described["status"] != "SUCCEEDED":
            raise RuntimeError(
                f"the chain of Task states ended {described['status']}: {described.get('cause')}"
            )
        chain = (described["stopDate"] - described["startDate"]).total_seconds()
        started = time.perf_counter()
        for _ in range(CHAIN):
            functions.invoke(FunctionName="nothing", Payload=b"{}")["Payload"].read()
        if round_number:  # the first one warms up
            chains.append(chain)
            invocations.append(time.perf_counter() - started)
    return median(chains) / CHAIN * 1000, median(invocations) / CHAIN * 1000


if __name__ == "__main__":
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    sys.exit(main())
