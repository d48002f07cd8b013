"""Batch transform of ten million rows: the local cloud's job against a bare loop of read, predict, write.

The rows are those of the flights model's test split, over and over, each time with another wind, as CSV and as
Parquet. Both contestants read the same files with pyarrow, score with the same booster and must write the same bytes.
The script is one process with XGBoost's own threads; the job goes through CreateTransformJob, from the request until
DescribeTransformJob says Completed, so that its start, its log and its outputs in S3 are in the time. Its memory is
that of its processes, as the sum of their proportional set sizes: pages that several share count once.

The model and the rows are made once, in the cache folder.

    python benchmarks/transform.py [--rows 10000000] [--rounds 3] [--cache FOLDER]
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from measuring import (
    XGBOOST_IMAGE,
    ContestantFailed,
    Measurement,
    alternate,
    finish,
    measure,
    median_seconds,
    say_machine,
    triptych_command,
)

BASELINE = Path(__file__).parent / "baselines" / "transform_booster.py"
BUCKET = "transform-benchmark"
ROLE = "arn:aws:iam::123456789012:role/transform"
FILE_ROWS = 500_000
CHANGED = "wind_speed"
"""the feature that differs from copy to copy"""
KINDS = {"csv": ("text/csv", "Line"), "parquet": ("application/x-parquet", "None")}
# As in overhead.py: threads that spin while they wait only disturb.
PATIENT = {"OMP_WAIT_POLICY": "PASSIVE"}
RATIO_GOAL, MEMORY_GOAL_GB = 1.3, 1.0


def main() -> int:
    """Measure, print, and return 0 when every goal is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "triptych-transform")
    options = parser.parse_args()
    say_machine()
    home = options.cache / "home"
    try:
        model = prepare_model(options.cache, home)
        place = Place(home)
        prepare_rows(options.cache, place, options.rows)
        return compare(options, place, model)
    finally:
        measure([triptych_command(), "down", "--home", home])


class Place:
    """The running local cloud of a home: its clients, and its S3 as plain files."""

    def __init__(self, home: Path) -> None:
        import boto3

        told = json.loads(measure([triptych_command(), "env", "--json", "--home", home]).output)
        endpoint, region = told["AWS_ENDPOINT_URL"], told.get("AWS_DEFAULT_REGION", "us-east-1")
        keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
        self.sagemaker = boto3.client("sagemaker", region, endpoint_url=endpoint, **keys)
        self.s3 = boto3.client("s3", region, endpoint_url=endpoint, **keys)
        self.files = home / "s3" / BUCKET
        self.gateway_pid = int(json.loads((home / "gateway.json").read_text())["pid"])


def prepare_model(cache: Path, home: Path) -> Path:
    """The flights model, trained by the pipeline in the cache's home once; the local cloud is up afterwards."""
    triptych, kept = triptych_command(), cache / "model"
    if kept.is_dir():
        measure([triptych, "up", "flights", "--home", home, "--port", "0"])
        return kept / "xgboost-model"
    shutil.rmtree(cache, ignore_errors=True)
    run = measure([triptych, "run", "flights", "--home", home, "--port", "0", "--json"]).last_json()
    files = home / "s3"
    archive = files / str(run["model"]["model_uri"]).removeprefix("s3://")  # type: ignore[index]
    shutil.copy(files / str(run["model"]["batch_uri"]).removeprefix("s3://"), cache / "test.csv")  # type: ignore[index]
    draft = cache / "model.draft"
    with tarfile.open(archive) as tar:
        tar.extractall(draft, filter="data")
    shutil.copy(archive, draft / "model.tar.gz")
    draft.rename(kept)
    return kept / "xgboost-model"


def prepare_rows(cache: Path, place: Place, rows: int) -> None:
    """The bucket's CSV and Parquet files of ``rows`` rows, written once."""
    import numpy as np
    import pyarrow
    import xgboost
    from pyarrow import csv, parquet

    made = cache / f"rows-{rows}"
    if made.exists():
        return
    print(f"writing {rows} rows as CSV and Parquet, once", flush=True)
    booster = xgboost.Booster()
    booster.load_model(bytearray((cache / "model" / "xgboost-model").read_bytes()))
    names = booster.feature_names
    test = csv.read_csv(
        cache / "test.csv",
        read_options=csv.ReadOptions(column_names=names),
        convert_options=csv.ConvertOptions(
            column_types=dict.fromkeys(names, pyarrow.float32()), null_values=[""]
        ),
    )
    if BUCKET not in {bucket["Name"] for bucket in place.s3.list_buckets()["Buckets"]}:
        place.s3.create_bucket(Bucket=BUCKET)
    for old in cache.glob("rows-*"):
        old.unlink()
    for page in place.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for found in page.get("Contents", []):
            place.s3.delete_object(Bucket=BUCKET, Key=found["Key"])
    chance = np.random.default_rng(7)
    with tempfile.TemporaryDirectory(dir=cache) as draft:
        for number, start in enumerate(range(0, rows, FILE_ROWS)):
            count = min(FILE_ROWS, rows - start)
            table = test.take(pyarrow.array((np.arange(start, start + count)) % len(test)))
            moved = table[CHANGED].to_numpy() + chance.normal(0, 3, count).astype(np.float32).round(1)
            table = table.set_column(
                names.index(CHANGED), CHANGED, pyarrow.array(moved.astype(np.float32), from_pandas=True)
            )
            paths = {kind: Path(draft) / f"part-{number:03}.{kind}" for kind in KINDS}
            csv.write_csv(table, paths["csv"], csv.WriteOptions(include_header=False))
            parquet.write_table(table, paths["parquet"])
            for kind, path in paths.items():
                place.s3.upload_file(str(path), BUCKET, f"{kind}/{path.name}")
                path.unlink()
    made.touch()


class JobWatch:
    """The memory of a transform job's processes, sampled ten times a second."""

    def __init__(self, gateway_pid: int, job: str) -> None:
        self.peak_bytes = 0
        self._gateway, self._comm = gateway_pid, f"transform {job}"[-15:]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        self._ended.set()
        self._thread.join()
        return self.peak_bytes

    def _watch(self) -> None:
        import psutil

        gateway = psutil.Process(self._gateway)
        while not self._ended.wait(0.1):
            total = 0
            for process in gateway.children(recursive=True):
                try:
                    if process.name() == self._comm:
                        total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            self.peak_bytes = max(self.peak_bytes, total)


def transform(place: Place, kind: str, number: int) -> Measurement:
    """One job, from its request to its end as a client sees it."""
    content_type, split = KINDS[kind]
    name = f"{kind}-{number}-{int(time.time())}"
    output = f"s3://{BUCKET}/out/{kind}"
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/{kind}/"}}
    watch = JobWatch(place.gateway_pid, name)
    started = time.perf_counter()
    place.sagemaker.create_transform_job(
        TransformJobName=name,
        ModelName="transform-benchmark",
        MaxPayloadInMB=100,
        BatchStrategy="MultiRecord",
        Environment=PATIENT,
        TransformInput={"DataSource": source, "ContentType": content_type, "SplitType": split},
        TransformOutput={"S3OutputPath": output, "Accept": "text/csv", "AssembleWith": "Line"},
        TransformResources={"InstanceType": "ml.m5.xlarge", "InstanceCount": 1},
    )
    while True:
        job = place.sagemaker.describe_transform_job(TransformJobName=name)
        if job["TransformJobStatus"] not in ("InProgress", "Stopping"):
            break
        time.sleep(0.05)
    seconds = time.perf_counter() - started
    peak = watch.stop()
    if job["TransformJobStatus"] != "Completed":
        raise ContestantFailed(f"{name}: {job.get('FailureReason')}")
    if not peak:
        raise ContestantFailed(f"no process of the job {name} was seen: its memory is not known")
    return Measurement(seconds, peak, "")


def compare(options: argparse.Namespace, place: Place, model: Path) -> int:
    """All measurements."""
    archive = model.with_name("model.tar.gz")
    place.s3.upload_file(str(archive), BUCKET, "model/model.tar.gz")
    known = place.sagemaker.list_models(NameContains="transform-benchmark")["Models"]
    if not known:
        container = {"Image": XGBOOST_IMAGE, "ModelDataUrl": f"s3://{BUCKET}/model/model.tar.gz"}
        place.sagemaker.create_model(
            ModelName="transform-benchmark", PrimaryContainer=container, ExecutionRoleArn=ROLE
        )
    sizes = {
        kind: sum(file.stat().st_size for file in (place.files / kind).iterdir()) / 1e6 for kind in KINDS
    }
    print(f"{options.rows} rows: " + ", ".join(f"{size:.0f} MB of {kind}" for kind, size in sizes.items()))

    def script(kind: str, output: Path) -> Measurement:
        shutil.rmtree(output / kind, ignore_errors=True)
        python = triptych_command().with_name("python")
        command = [python, BASELINE, kind, place.files / kind, output / kind, model]
        found = measure(command, PATIENT)
        if found.last_json() != {"rows": options.rows}:
            raise ContestantFailed(f"the script found {found.output} instead of {options.rows} rows")
        return found

    counter = iter(range(10**6))
    with tempfile.TemporaryDirectory(dir=options.cache) as folder:
        contestants = {}
        for kind in KINDS:
            contestants[f"{kind}: bare loop"] = lambda kind=kind: script(kind, Path(folder))
            contestants[f"{kind}: transform job"] = lambda kind=kind: transform(place, kind, next(counter))
        found = alternate(contestants, options.rounds)
        for kind in KINDS:
            check_equal(Path(folder) / kind, place.files / "out" / kind)
    print("the outputs are the same, byte for byte")
    return say(options, found, sizes)


def check_equal(expected: Path, found: Path) -> None:
    """Raise ContestantFailed unless the folders hold the same files."""
    names = sorted(file.name for file in expected.iterdir())
    if names != sorted(file.name for file in found.iterdir()):
        raise ContestantFailed(f"{found} and {expected} hold different files")
    for name in names:
        if (expected / name).read_bytes() != (found / name).read_bytes():
            raise ContestantFailed(f"{found / name} and {expected / name} differ")


def say(options: argparse.Namespace, found: dict[str, list[Measurement]], sizes: dict[str, float]) -> int:
    """The table and the verdicts."""
    seconds = {name: median_seconds(measurements) for name, measurements in found.items()}
    memory = {name: max(one.peak_bytes for one in measurements) / 1e9 for name, measurements in found.items()}
    print(f"\n{'median of ' + str(options.rounds):24} {'seconds':>8} {'rows/s':>10} {'peak GB':>8}")
    for name, value in seconds.items():
        print(f"{name:24} {value:8.2f} {options.rows / value:10.0f} {memory[name]:8.2f}")
    ratios = {kind: seconds[f"{kind}: transform job"] / seconds[f"{kind}: bare loop"] for kind in KINDS}
    print(", ".join(f"{kind}: {ratio:.2f} times the bare loop" for kind, ratio in ratios.items()))
    figures: dict[str, Any] = {
        "rows": options.rows,
        "megabytes": {kind: round(size) for kind, size in sizes.items()},
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "peak_gb": {name: round(value, 3) for name, value in memory.items()},
        "ratios": {kind: round(ratio, 3) for kind, ratio in ratios.items()},
    }
    goals = {"transform job / bare loop, mean of both": (sum(ratios.values()) / len(ratios), RATIO_GOAL)}
    for kind in KINDS:
        goals[f"the job's peak memory, {kind} (GB)"] = (memory[f"{kind}: transform job"], MEMORY_GOAL_GB)
    return finish("transform", figures, goals)


if __name__ == "__main__":
    sys.exit(main())
