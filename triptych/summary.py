"""What a run came to: its results with their limits, or what went wrong and what to do about it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from triptych.executions import ExecutionRun, parse
from triptych.place import Place

_REPORTS = {"data exploration": ("dataset", "exploration_uri"), "evaluation": ("model", "report_uri")}


def as_json(place: Place, run: ExecutionRun) -> dict[str, Any]:
    """The summary for machines: what ``print_ending`` tells, as one object."""
    output: Mapping[str, Any] = run.output if isinstance(run.output, dict) else {}
    found: dict[str, Any] = {
        "run": run.name,
        "status": run.status,
        "seconds": round(run.seconds, 3),
        "trigger": run.input.get("trigger", {}),
    }
    if run.status != "SUCCEEDED":
        failed = run.failed_state()
        where = failed[1].name if failed else None
        found |= {"error": run.error, "cause": _plain(run.cause), "failed_state": where}
        return found
    found |= {"is_new": output.get("is_new"), "dataset": output.get("dataset")}
    dataset = output.get("dataset") or {}
    if dataset.get("run_uri"):
        found["cleaning"] = _read_json(place, f"{dataset['run_uri']}/cleaning.json")
    for part in ("model", "deployment"):
        if part in output:
            found[part] = output[part]
    found["reports"] = {
        name: str(place.file_of(uri) or uri)
        for name, (part, key) in _REPORTS.items()
        if (uri := (output.get(part) or {}).get(key))
    }
    return found


def _plain(cause: str | None) -> str | None:
    """A function's exception comes as JSON; its message is what a person reads."""
    found = parse(cause)
    return str(found["errorMessage"]) if isinstance(found, dict) and "errorMessage" in found else cause


def print_ending(place: Place, run: ExecutionRun) -> None:
    """Say what came out, for a person."""
    told = as_json(place, run)
    if run.status == "RUNNING":
        print(f"{run.name} is running, {run.seconds:.0f} s so far")
    elif run.status != "SUCCEEDED":
        _print_failure(run, told)
    elif told.get("is_new") is False:
        print(f"nothing new: dataset {told['dataset']['dataset_version']} was trained on already")
    else:
        for line in _results(told):
            print(line)


def _print_failure(run: ExecutionRun, told: Mapping[str, Any]) -> None:
    out = sys.stderr
    print(f"\n{run.name} {run.status.lower().replace('_', ' ')} after {run.seconds:.1f} s", file=out)
    for execution in list(run.walk())[::-1]:
        for state in execution.states:
            if state.error and state.kind in ("Task", "Map", "Parallel") and state.child_arn is None:
                print(f"  {execution.machine}: '{state.name}' failed with {state.error}", file=out)
    print(f"  {told['error'] or 'no error name'}: {told['cause'] or 'no cause given'}", file=out)
    print(f"  what it wrote: triptych logs {run.name}", file=out)
    if not (run.error or "").endswith("Rejected"):
        print(f"  go on from there, once mended: triptych resume {run.name}", file=out)


def _results(told: Mapping[str, Any]) -> list[str]:
    dataset, model, deployment = (told.get(part) or {} for part in ("dataset", "model", "deployment"))
    rows = dataset.get("rows", {})
    lines = [
        "",
        f"run         {told['run']}, {told['seconds']:.1f} s, started by {_starter(told['trigger'])}",
    ]
    lines.append(f"dataset     version {dataset.get('dataset_version')}")
    cleaning = told.get("cleaning") or {}
    for name, table in (cleaning.get("tables") or {}).items():
        lines.append(
            f"  {name:9} {table['rows_in']:,} rows in, {table['rows_out']:,} clean, "
            f"{table['quarantined']:,} quarantined{_reasons(table.get('by_reason', {}))}"
        )
    if rows:
        lines.append("  splits    " + ", ".join(f"{name} {count:,}" for name, count in rows.items()))
    lines.append(f"model       {model.get('training_job')}")
    lines += [f"  {line}" for line in _gate_lines(model)]
    lines.append(
        f"package     {model.get('model_package_arn', '').split(':model-package/')[-1]}{_champion(model)}"
    )
    test = deployment.get("test") or {}
    lines.append(f"endpoint    {deployment.get('endpoint_name')}, {_latency(test)}")
    lines += [f"  {line}" for line in _sample_lines(test.get("sample"))]
    for name, path in told.get("reports", {}).items():
        lines.append(f"report      {name}: {path}")
    lines.append(
        "look closer: open a report in a browser; triptych show last; triptych logs last 'Train model'"
    )
    return lines


def _starter(trigger: Mapping[str, Any]) -> str:
    user = (trigger.get("detail") or {}).get("user")
    return f"{trigger.get('kind', 'unknown')}{f' ({user})' if user else ''}"


def _reasons(reasons: Mapping[str, int]) -> str:
    if not reasons:
        return ""
    return " (" + ", ".join(f"{reason} {count:,}" for reason, count in reasons.items()) + ")"


def _gate_lines(model: Mapping[str, Any]) -> list[str]:
    lines = []
    for check in model.get("checks") or []:
        mark = "✓" if check.get("passed") else "✗"
        lines.append(f"{mark} {check['check']} {_number(check['value'])} ({_limits(check)})")
    return lines or [f"{name} {_number(value)}" for name, value in (model.get("metrics") or {}).items()]


def _limits(check: Mapping[str, Any]) -> str:
    limits = {"at least": check.get("min"), "at most": check.get("max")}
    return ", ".join(f"{word} {_number(value)}" for word, value in limits.items() if value is not None)


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _champion(model: Mapping[str, Any]) -> str:
    champion = model.get("champion") or {}
    before = (champion.get("model_package_arn") or "").split(":model-package/")[-1]
    return f", champion before: {before}" if before else ", the first champion"


def _latency(test: Mapping[str, Any]) -> str:
    latency = test.get("latency_ms")
    if isinstance(latency, dict):
        return "answers in " + ", ".join(f"{name} {value:.1f} ms" for name, value in latency.items())
    return f"answers in {latency:.1f} ms" if isinstance(latency, int | float) else "in service"


def _sample_lines(sample: object) -> list[str]:
    if not isinstance(sample, dict):
        return []
    features = str(sample.get("features", ""))
    shown = features if len(features) <= 60 else f"{features[:57]}..."
    return [f"sample {shown} -> {_number(sample.get('score'))}"]


def _read_json(place: Place, uri: str) -> Any:
    try:
        return json.loads(place.read(uri))
    except place.client("s3").exceptions.NoSuchKey:
        return None
