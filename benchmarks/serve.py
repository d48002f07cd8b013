"""Live inference of one CSV row of the flights model: an endpoint behind the inference router, and Flask with gunicorn.

Both serve the same model (trained by `triptych run flights`) on the same cores, asked by the same load generator,
which checks every answer. The endpoint is one instance; Flask has a worker process a core, as SageMaker's own
containers have, with each of gunicorn's worker classes in turn: the goals are against the best of them.

    python benchmarks/serve.py [--rounds 3] [--seconds 5] [--model model.tar.gz --rows test.csv]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from measuring import XGBOOST_IMAGE, ContestantFailed, finish, measure, say_machine, triptych_command

BENCHMARKS = Path(__file__).parent
BASELINES = BENCHMARKS / "baselines"
ENDPOINT, BUCKET = "serve", "serve-benchmark"
ROLE = "arn:aws:iam::123456789012:role/serve"
ROWS = 2000
CONCURRENCIES = (1, 16)
ROUTER = "triptych endpoint"
WORKERS = {
    "gunicorn, sync workers": ["--worker-class", "sync"],
    "gunicorn, 8 threads a worker": ["--worker-class", "gthread", "--threads", "8", "--keep-alive", "75"],
    "gunicorn, gevent workers": ["--worker-class", "gevent", "--keep-alive", "75"],
}
_START_SECONDS = 60.0
_FIGURES = ("per_second", "p50_ms", "p90_ms", "p99_ms")

Result = dict[str, Any]


def main() -> int:
    """Measure, print, and return 0 when every goal is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--model", type=Path, help="a model.tar.gz that is there already")
    parser.add_argument("--rows", type=Path, help="rows for it, as CSV")
    options = parser.parse_args()
    say_machine()
    folder = Path(tempfile.mkdtemp(prefix="triptych-serve-"))
    triptych = triptych_command()
    try:
        artefact, rows = (options.model, options.rows) if options.model else train(triptych, folder)
        return compare(options, triptych, artefact, rows, folder)
    finally:
        measure([triptych, "down", "--home", folder / "home"])
        shutil.rmtree(folder, ignore_errors=True)


def train(triptych: Path, folder: Path) -> tuple[Path, Path]:
    """The flights pipeline's model and its batch input."""
    home = folder / "home"
    ran = measure([triptych, "run", "flights", "--home", home, "--port", "0", "--json"]).last_json()
    files = [ran["model"]["model_uri"], ran["dataset"]["batch_uri"]]  # type: ignore[index]
    artefact, rows = (home / "s3" / uri.removeprefix("s3://") for uri in files)
    return artefact, rows


def compare(options: argparse.Namespace, triptych: Path, artefact: Path, rows: Path, folder: Path) -> int:
    """All measurements in ``folder``."""
    model = folder / "model"
    with tarfile.open(artefact) as archive:
        archive.extractall(model, filter="data")
    asked = write_rows(model / "xgboost-model", rows, folder / "rows.json")
    compiled = sorted(path.name for path in model.rglob("*.onnx"))
    print(f"model: {', '.join(compiled) or 'not compiled'}; {asked['columns']} columns", flush=True)

    contestants: dict[str, Callable[[], Any]] = {ROUTER: lambda: endpoint(triptych, artefact, folder)}
    for name, arguments in WORKERS.items():
        contestants[name] = lambda arguments=arguments: flask(arguments, model, folder)
    found: dict[str, dict[int, list[Result]]] = {name: {n: [] for n in CONCURRENCIES} for name in contestants}
    for number in range(options.rounds):
        for name, start in contestants.items():
            with start() as (port, path):
                for concurrency in CONCURRENCIES:
                    result = ask(port, path, folder, concurrency, options.seconds)
                    found[name][concurrency].append(result)
                    say(f"round {number + 1}: {name}", concurrency, result)
    return judge(found, compiled)


def write_rows(model: Path, rows: Path, target: Path) -> Result:
    """The rows to ask and the scores XGBoost gives them."""
    import numpy as np
    import xgboost

    lines = rows.read_text().splitlines()[:ROWS]
    values = [[float(cell) if cell else np.nan for cell in line.split(",")] for line in lines]
    booster = xgboost.Booster()
    booster.load_model(model)
    best = booster.attributes().get("best_iteration")
    scores = booster.inplace_predict(
        np.array(values, dtype=np.float32),
        iteration_range=(0, int(best) + 1) if best is not None else (0, 0),
        missing=np.nan,
        validate_features=False,
    )
    target.write_text(json.dumps({"rows": lines, "scores": [float(score) for score in scores]}))
    return {"columns": len(values[0])}


def ask(port: int, path: str, folder: Path, concurrency: int, seconds: float) -> Result:
    """One measurement by the load generator; raises ContestantFailed over a single wrong answer."""
    command = [sys.executable, BENCHMARKS / "load.py", str(port), path, folder / "rows.json"]
    command += ["--concurrency", str(concurrency), "--seconds", str(seconds)]
    result = measure(command).last_json()
    if result["failures"]:
        raise ContestantFailed(f"{result['failures']} wrong answers: {result['first_failures']}")
    return result


@contextmanager
def endpoint(triptych: Path, artefact: Path, folder: Path) -> Iterator[tuple[int, str]]:
    """The model behind an endpoint of a local cloud, on one instance; its port and path."""
    import boto3

    home = folder / "home"
    variables = exports(triptych, home)
    access: dict[str, Any] = {
        "endpoint_url": variables["AWS_ENDPOINT_URL"],
        "region_name": variables["AWS_REGION"],
        "aws_access_key_id": variables["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": variables["AWS_SECRET_ACCESS_KEY"],
    }
    s3, sagemaker = boto3.client("s3", **access), boto3.client("sagemaker", **access)
    if not sagemaker.list_models(NameContains=ENDPOINT)["Models"]:
        s3.create_bucket(Bucket=BUCKET)
        s3.upload_file(str(artefact), BUCKET, "model.tar.gz")
        container = {"Image": XGBOOST_IMAGE, "ModelDataUrl": f"s3://{BUCKET}/model.tar.gz"}
        sagemaker.create_model(ModelName=ENDPOINT, PrimaryContainer=container, ExecutionRoleArn=ROLE)
        variant = {
            "VariantName": "AllTraffic",
            "ModelName": ENDPOINT,
            "InitialInstanceCount": 1,
            "InstanceType": "ml.m5.large",
            "InitialVariantWeight": 1.0,
        }
        sagemaker.create_endpoint_config(EndpointConfigName=ENDPOINT, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=ENDPOINT, EndpointConfigName=ENDPOINT)
    sagemaker.get_waiter("endpoint_in_service").wait(
        EndpointName=ENDPOINT, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    try:
        port = int(variables["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"].rsplit(":", 1)[1])
        yield port, f"/endpoints/{ENDPOINT}/invocations"
    finally:
        sagemaker.delete_endpoint(EndpointName=ENDPOINT)
        sagemaker.get_waiter("endpoint_deleted").wait(
            EndpointName=ENDPOINT, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )


def exports(triptych: Path, home: Path) -> Mapping[str, str]:
    """The environment of the home's local cloud, which is started where it does not run."""
    python = triptych.with_name("python")
    start = (
        "import sys; from triptych.localcloud import daemon; from triptych.localcloud.cloud import Settings; "
    )
    start += "daemon.start(sys.argv[1], Settings(port=0))"
    measure([python, "-c", start, home])
    lines = measure([triptych, "env", "--home", home]).output.splitlines()
    return dict(line.removeprefix("export ").split("=", 1) for line in lines)


@contextmanager
def flask(arguments: list[str], model: Path, folder: Path) -> Iterator[tuple[int, str]]:
    """The model behind Flask and gunicorn, a worker a core; its port and path."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "--chdir", str(BASELINES), "--bind", f"127.0.0.1:{port}"]
    command += ["--workers", str(os.cpu_count()), *arguments, "serve_flask:app"]
    environment = {**os.environ, "MODEL": str(model / "xgboost-model"), "OMP_NUM_THREADS": "1"}
    with (folder / "gunicorn.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        else:
            raise ContestantFailed(
                f"gunicorn did not start:\n{(folder / 'gunicorn.log').read_text()[-3000:]}"
            )
        time.sleep(2)  # the workers import XGBoost after the port is open
        yield port, "/invocations"
    finally:
        process.terminate()
        process.wait()


def say(name: str, concurrency: int, result: Result) -> None:
    figures = "  ".join(f"{figure} {result[figure]:9.3f}" for figure in _FIGURES)
    print(f"{name:40} {concurrency:3} at a time  {figures}", flush=True)


def judge(found: dict[str, dict[int, list[Result]]], compiled: list[str]) -> int:
    """The table of medians, the goals, and the exit code."""
    figures: dict[str, Any] = {"compiled": compiled}
    medians: dict[str, dict[int, dict[str, float]]] = {}
    print(f"\n{'medians':40}")
    for name, by_concurrency in found.items():
        medians[name] = {
            concurrency: {figure: median(result[figure] for result in results) for figure in _FIGURES}
            for concurrency, results in by_concurrency.items()
        }
        for concurrency, values in medians[name].items():
            say(name, concurrency, values)
    figures["medians"] = medians
    ours, others = medians.pop(ROUTER), list(medians.values())
    throughput = max(other[16]["per_second"] for other in others) / ours[16]["per_second"]
    latency = ours[1]["p50_ms"] / min(other[1]["p50_ms"] for other in others)
    goals = {
        "p50 at 1, of the best gunicorn's": (latency, 0.5),
        "the best gunicorn's requests/s at 16, of ours": (throughput, 0.25),
        "p99 / p50 at 1": (ours[1]["p99_ms"] / ours[1]["p50_ms"], 10.0),
        "p99 / p50 at 16": (ours[16]["p99_ms"] / ours[16]["p50_ms"], 10.0),
    }
    medians[ROUTER] = ours
    return finish("serve", figures, goals)


if __name__ == "__main__":
    sys.exit(main())
