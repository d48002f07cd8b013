"""The data-quality monitor: is what is served like what the model was trained on?

``baseline`` counts a data set into ``statistics.json`` and suggests ``constraints.json``, which a person may edit.
``check`` counts later data in the same bins and writes ``statistics.json``, ``constraints.json`` (the ones that held),
``constraint_violations.json`` and ``drift.html``; CloudWatch metrics, where the schedule wants them. Runs as a
SageMaker Processing job, by itself or for a monitoring schedule, whose environment variables are the defaults of the
arguments
(https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-byoc-contract-inputs.html). Python 3.10 or later.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from captured_rows import Skipped, parse_time
from constraints_file import (
    Violation,
    compared,
    enabled,
    suggest,
    tolerance_of,
    violations,
)
from documents import baseline_columns, metrics, statistics_document
from measured import Dataset, Kind, Measured, measure_baseline, measure_current
from page import render
from sources import CannotMonitor, Source

from triptych.core.drift import DEFAULT_TOLERANCE, DriftReport, compare_profiles
from triptych.core.profiles import empty_like

_PROCESSING = "/processing/"


def main(arguments: Sequence[str]) -> int:
    options = _parser(os.environ).parse_args(arguments)
    started = time.monotonic()
    try:
        told = make_baseline(options) if options.command == "baseline" else check(options)
    except CannotMonitor as error:
        print(f"cannot monitor: {error}", file=sys.stderr, flush=True)
        return 1
    print(f"{told}; {time.monotonic() - started:.2f} s", flush=True)
    return 0


def make_baseline(options: argparse.Namespace) -> str:
    """``statistics.json`` and ``constraints.json`` of the data; a sentence of what was found."""
    kinds = _kinds(options.features)
    source = Source(options.data, list(kinds), options.score, (None, None))
    wanted: dict[str, Kind] = {**kinds, options.score: "number"} if kinds and options.score else kinds
    dataset = measure_baseline(source, wanted)
    _refuse_unreadable(dataset)
    if not dataset.rows:
        raise CannotMonitor(f"{options.data} holds no rows; a baseline needs some")
    absent = [name for name in kinds if name not in dataset.columns]
    if absent:
        raise CannotMonitor(f"the baseline data lacks {', '.join(absent)} of {options.features}")
    _write(options.output / "statistics.json", statistics_document(dataset, None))
    _write(options.output / "constraints.json", suggest(dataset, DEFAULT_TOLERANCE))
    return f"baseline of {dataset.rows} rows, {len(dataset.columns)} columns"


def check(options: argparse.Namespace) -> str:
    """All outputs; a sentence of what was found."""
    for name in ("statistics", "data", "output"):
        if getattr(options, name) is None:
            raise CannotMonitor(f"--{name} is not given, nor is its environment variable")
    baseline = baseline_columns(_json(options.statistics, "statistics.json"), str(options.statistics))
    constraints = _constraints(options.constraints, baseline)
    if not isinstance(constraints.get("features"), list) or any(
        "name" not in one for one in constraints["features"]
    ):
        raise CannotMonitor(f"{options.constraints} has no list 'features', each with a name")
    tolerance = tolerance_of(constraints)
    names = [name for name in baseline if name != options.score]
    window = _moment(options.start_time), _moment(options.end_time)
    current = measure_current(
        Source(options.data, names, options.score, window),
        {name: _without_rows(one) for name, one in baseline.items()},
    )
    _refuse_unreadable(current)
    pairs = {
        name: (baseline[name].profile, current.columns[name].profile)
        for name in compared(constraints)
        if name in baseline and name in current.columns
    }
    report = compare_profiles(pairs, tolerance)
    found = (
        violations(constraints, baseline, current, report)
        if enabled(constraints, "evaluate_constraints")
        else []
    )
    _write(options.output / "statistics.json", statistics_document(current, report))
    _write(options.output / "constraints.json", constraints)
    _write(options.output / "constraint_violations.json", {"violations": [vars(one) for one in found]})
    about = (
        " to ".join(one.strftime("%Y-%m-%d %H:%M UTC") for one in window if one) or f"{current.rows:,} rows"
    )
    title = f"Data quality of {options.endpoint}" if options.endpoint else "Data quality"
    page = render(title, about, report, found, baseline, current)
    (options.output / "drift.html").write_text(page, encoding="utf-8")
    if options.publish and enabled(constraints, "emit_metrics"):
        _write_metrics(options, current, report, found)
    _write_message(options, current, found)
    return (
        f"{current.rows} rows, verdict {report.verdict}, {len(report.drifted)} of {len(report.features)} features "
        f"drifted, {len(found)} violations, {current.skipped.lines} lines not readable"
    )


def _constraints(path: Path | None, baseline: Mapping[str, Measured]) -> dict[str, Any]:
    """The file, or without one what the baseline suggests."""
    if path is not None:
        return _json(path, "constraints.json")
    return suggest(Dataset(0, baseline, Skipped()), DEFAULT_TOLERANCE)


def _without_rows(baseline: Measured) -> Measured:
    return Measured(baseline.inferred_type, empty_like(baseline.profile))


def _refuse_unreadable(dataset: Dataset) -> None:
    skipped = dataset.skipped
    if skipped.lines and skipped.lines == skipped.read:
        raise CannotMonitor(
            f"none of the {skipped.read} captured lines can be read; the first: {skipped.first}"
        )


def _write_metrics(
    options: argparse.Namespace, current: Dataset, report: DriftReport, found: Sequence[Violation]
) -> None:
    folder = options.metrics or _beside_processing(options.output, "output/metrics/cloudwatch")
    if folder is None:
        raise CannotMonitor("metrics are to be published, but --metrics does not say in which folder")
    named = {"Endpoint": options.endpoint, "MonitoringSchedule": options.schedule}
    dimensions = [{"Name": name, "Value": value} for name, value in named.items() if value]
    at = _moment(options.end_time) or datetime.now(timezone.utc)  # noqa: UP017 (Python 3.10)
    lines = metrics(current, report, len(found), at.strftime("%Y-%m-%dT%H:%M:%SZ"), dimensions)
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
    (folder / "cloudwatch_metrics.jsonl").write_text(text)


def _write_message(options: argparse.Namespace, current: Dataset, found: Sequence[Violation]) -> None:
    """The job's ExitMessage, from which a monitoring execution learns that it is CompletedWithViolations."""
    folder = _beside_processing(options.output, "output")
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    if found:
        text = f"CompletedWithViolations: Job completed successfully with {len(found)} violations."
    else:
        text = "Completed: Job completed successfully with no violations."
    (folder / "message").write_text(text if current.rows else "Completed: There was no data in this window.")


def _beside_processing(output: Path, name: str) -> Path | None:
    """``/opt/ml/<name>`` of the container that ``output`` lies in; None elsewhere."""
    root, found, _ = f"{output.resolve().as_posix()}/".partition(_PROCESSING)
    return Path(root, name) if found else None


def _kinds(features: Path | None) -> dict[str, Kind]:
    """What ``features.json`` says of the columns, in its order; nothing without it."""
    if features is None:
        return {}
    described = _json(features, "features.json")
    try:
        return {
            one["name"]: "category" if one["type"] == "category" else "number"
            for one in described["features"]
        }
    except (KeyError, TypeError) as error:
        raise CannotMonitor(f"{features} does not describe features: {error!r}") from error


def _json(path: Path, name: str) -> dict[str, Any]:
    """A file, or the file ``name`` in a folder (a processing input is one)."""
    file = path / name if path.is_dir() else path
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CannotMonitor(
            f"{file} cannot be read ({error.strerror}); is it an input of the job?"
        ) from error
    except ValueError as error:
        raise CannotMonitor(f"{file} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise CannotMonitor(f"{file} holds no JSON object")
    return content


def _moment(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        return parse_time(text)
    except ValueError:
        raise CannotMonitor(f"'{text}' is no time in ISO 8601") from None


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, allow_nan=False), encoding="utf-8")


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    baseline = commands.add_parser("baseline")
    baseline.add_argument("--data", type=Path, required=True)
    baseline.add_argument("--output", type=Path, required=True)
    baseline.add_argument(
        "--features", type=Path, help="features.json: the columns that are wanted, and their types"
    )
    baseline.add_argument("--score", help="the column of the predictions, watched too")
    checking = commands.add_parser("check")

    def option(name: str, variable: str, kind: Any = str) -> None:
        value = environment.get(variable) or None
        checking.add_argument(
            f"--{name}", type=kind, default=kind(value) if value else None, help=f"or {variable}"
        )

    option("data", "dataset_source", Path)
    option("output", "output_path", Path)
    option("statistics", "baseline_statistics", Path)
    option("constraints", "baseline_constraints", Path)
    option("start-time", "start_time")
    option("end-time", "end_time")
    option("endpoint", "sagemaker_endpoint_name")
    option("schedule", "sagemaker_monitoring_schedule_name")
    checking.add_argument("--score", help="the baseline's column that is compared with captured predictions")
    checking.add_argument(
        "--metrics", type=Path, help="folder of cloudwatch_metrics.jsonl; else the container's own"
    )
    published = environment.get("publish_cloudwatch_metrics") == "Enabled"
    checking.add_argument(
        "--publish", action="store_true", default=published, help="or publish_cloudwatch_metrics"
    )
    return parser
