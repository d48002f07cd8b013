"""What a run came to: its results with their limits, or what went wrong and what to do about it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from triptych.history import parse
from triptych.place import Place
from triptych.states import ExecutionRun, StateRun

_REPORTS = {
    "data exploration": ("dataset", "exploration_uri"),
    "evaluation": ("model", "report_uri"),
    "deployment": ("deployment", "report_uri"),
}
ROLLED_BACK = "DeploymentRolledBack"
"""the error of a deployment that was taken back"""


def as_json(place: Place, run: ExecutionRun) -> dict[str, Any]:
    """The summary for machines: what ``print_ending`` tells, as one object."""
    output: Mapping[str, Any] = run.output if isinstance(run.output, dict) else {}
    if "endpoint_name" in output:  # the deployment machine, started by itself
        output = {"deployment": output}
    found: dict[str, Any] = {
        "run": run.name,
        "status": run.status,
        "seconds": round(run.seconds, 3),
        "trigger": run.input.get("trigger", {}),
    }
    if run.status != "SUCCEEDED":
        failed = run.failed_state()
        where = {"machine": failed[0].machine, "failed_state": failed[1].name} if failed else {}
        found |= {"error": run.error, "cause": plain_cause(run.cause), "failed_state": None, **where}
        report = _rollback_report(run)
        return found | ({"reports": {"deployment": str(place.file_of(report) or report)}} if report else {})
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


def plain_cause(cause: str | None) -> str | None:
    """A function's exception comes as JSON; its message is what a person reads."""
    found = parse(cause)
    return str(found["errorMessage"]) if isinstance(found, dict) and "errorMessage" in found else cause


def print_ending(place: Place, run: ExecutionRun) -> None:
    """Say what came out, for a person."""
    told = as_json(place, run)
    if run.status == "RUNNING":
        print(f"{run.name} is running, {run.seconds:.0f} s so far")
    elif run.status != "SUCCEEDED":
        print("\n".join(failure_lines(place, run, told)), file=sys.stderr)
    elif told.get("is_new") is False:
        print(f"nothing new: dataset {told['dataset']['dataset_version']} was trained on already")
    else:
        print("\n".join(_results(place, run, told)))


def failure_lines(place: Place, run: ExecutionRun, told: Mapping[str, Any]) -> list[str]:
    """Where an unsuccessful run ended, why, and what to do."""
    rejected = is_rejected(run)
    use_case = place.use_case_of(run.machine)
    ended = "ended as rejected" if rejected else run.status.lower().replace("_", " ")
    if rejected and run.error == ROLLED_BACK:
        ended = "was rolled back"
    lines = ["", f"{run.name} {ended} after {run.seconds:.1f} s"]
    failed = run.failed_state()
    if failed:
        execution, state = failed
        path = " > ".join([*(each.name for each in [*state.ancestors()][::-1]), state.name])
        lines.append(f"  where     {execution.machine}: {path}")
    if told["error"] or told["cause"]:
        lines.append(f"  why       {': '.join(text for text in (told['error'], told['cause']) if text)}")
    task = failed is not None and failed[1].resource is not None
    asked = [run.name, failed[1].name] if failed and task else [run.name]
    lines.append(f"  its logs  {place.advise('logs', *asked, use_case=use_case)}")
    lines += [f"  report    {name}: {path}" for name, path in told.get("reports", {}).items()]
    if rejected and run.error == ROLLED_BACK:
        lines.append("  the former model serves again; once the new one is mended:")
        lines.append(f"            {place.advise('run', use_case)}")
    elif rejected:
        lines.append("  what is in use stays in use; once the data or the limits are mended:")
        lines.append(f"            {place.advise('run', use_case)}")
    else:
        lines.append(
            f"  go on     {place.advise('resume', run.name, use_case=use_case)}  (once it is mended)"
        )
    return lines


def is_rejected(run: ExecutionRun) -> bool:
    """Whether nothing broke: the data or the model did not meet its limits, or did not in production."""
    error = run.error or ""
    return run.status == "FAILED" and (error.endswith("Rejected") or error == ROLLED_BACK)


def _rollback_report(run: ExecutionRun) -> str | None:
    """The page about a deployment that was rolled back, where one was made."""
    for state in _states(run):
        record = (parse(state.output) or {}).get("record") if state.name == "Report the rollback" else None
        if record:
            uri: str | None = (record.get("report") or {}).get("report_uri")
            return uri
    return None


def _results(place: Place, run: ExecutionRun, told: Mapping[str, Any]) -> list[str]:
    use_case = place.use_case_of(run.machine)
    dataset, model, deployment = (told.get(part) or {} for part in ("dataset", "model", "deployment"))
    rows = dataset.get("rows", {})
    lines = [
        "",
        f"run         {told['run']}, {told['seconds']:.1f} s, started by {_starter(told['trigger'])}",
    ]
    if dataset:
        lines.append(f"dataset     version {dataset.get('dataset_version')}")
    cleaning = told.get("cleaning") or {}
    for name, table in (cleaning.get("tables") or {}).items():
        lines.append(
            f"  {name:9} {table['rows_in']:,} rows in, {table['rows_out']:,} clean, "
            f"{table['quarantined']:,} quarantined{_reasons(table.get('by_reason', {}))}"
        )
    if rows:
        lines.append("  splits    " + ", ".join(f"{name} {count:,}" for name, count in rows.items()))
    if model:
        lines.append(f"model       {model.get('training_job')}")
        lines += [f"  {line}" for line in _gate_lines(model)]
        package = str(model.get("model_package_arn", "")).split(":model-package/")[-1]
        lines.append(f"package     {package}{_champion(model)}")
    if deployment:
        test = deployment.get("test") or {}
        lines.append(f"endpoint    {deployment.get('endpoint_name')}, {_outcome(deployment)}{_latency(test)}")
        lines += [f"  because {reason}" for reason in _reasons_of_trial(deployment)]
        lines += [f"  {line}" for line in _sample_lines(test.get("sample"))]
    for name, path in told.get("reports", {}).items():
        lines.append(f"report      {name}: {path}")
    lines.append("look closer: open a report in a browser, or")
    lines.append(f"            {place.advise('show', run.name, use_case=use_case)}")
    training = next(
        (state.name for state in _states(run) if "createTrainingJob" in str(state.resource)), None
    )
    if training:
        lines.append(f"            {place.advise('logs', run.name, training, use_case=use_case)}")
    return lines


def _states(run: ExecutionRun) -> Iterator[StateRun]:
    for execution in run.walk():
        yield from execution.states


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


def _outcome(deployment: Mapping[str, Any]) -> str:
    named = str(deployment.get("strategy") or "")
    strategy = "A/B test" if named == "ab" else named.replace("_", " ")
    outcome = {"kept": "champion kept"}.get(found := str(deployment.get("outcome") or ""), found)
    return f"{outcome}{f' by {strategy}' if strategy else ''}, " if outcome else ""


def _reasons_of_trial(deployment: Mapping[str, Any]) -> list[str]:
    """Why an A/B or shadow test ended as it did; other strategies decide nothing."""
    decision = deployment.get("decision") or {}
    return [str(reason) for reason in [decision.get("reason"), *(decision.get("reasons") or [])] if reason]


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
