"""What CloudWatch's operations refuse: first by botocore's model, then by the documented rules."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from triptych.localcloud.cloudwatch.evaluation import COMPARISONS, MISSING_DATA
from triptych.localcloud.cloudwatch.queries import (
    MetricQuery,
    check_statistic,
    longest_period,
    parse_queries,
)
from triptych.localcloud.cloudwatch.timeseries import Environment, InvalidExpression, Series, Value
from triptych.localcloud.service import Params, ServiceError

_DAY_SECONDS = 86_400
_WEEK_SECONDS = 7 * _DAY_SECONDS
_TOPIC = re.compile(r"arn:[\w-]+:sns:[\w-]+:\d{12}:[\w.-]+$")
_FUNCTION = re.compile(r"arn:[\w-]+:lambda:[\w-]+:\d{12}:function:[\w-]+(:[\w$-]+)?$")
_POLICY = re.compile(r"arn:[\w-]+:autoscaling:[\w-]+:\d{12}:scalingPolicy:.+")
_ACTION_MEMBERS = ("OKActions", "AlarmActions", "InsufficientDataActions")
_NOT_SERVED = {
    "EvaluationCriteria": "PromQL alarms",
    "WarmUpConfiguration": "warm-up periods",
    "ThresholdMetricId": "anomaly detection",
    "EvaluationInterval": "PromQL alarms",
    "ActionConfiguration": "tags in alarm actions",
    "ActionsSuppressor": "suppressed actions",
}


def check_model(operation: str, params: Params) -> None:
    """Required members, types, lengths, ranges and enumerations; raises ValidationError."""
    from botocore.validate import ParamValidator

    shape = _input_shape(operation)
    report = ParamValidator().validate(params, shape)
    problems = report.generate_report() if report.has_errors() else "\n".join(_problems(params, shape, ""))
    if problems:
        raise invalid(f"{operation}: {problems}")


def invalid(message: str) -> ServiceError:
    return ServiceError("ValidationError", message)


def check_metric_alarm(params: Params) -> None:
    """PutMetricAlarm's own rules."""
    check_model("PutMetricAlarm", params)
    _refuse_not_served(params)
    for member in ("ComparisonOperator", "EvaluationPeriods"):
        if member not in params:
            raise invalid(f"{member} is required.")
    if params["ComparisonOperator"] not in COMPARISONS:
        raise invalid(
            f"ComparisonOperator {params['ComparisonOperator']} belongs to anomaly detection, which the local "
            "cloud does not serve."
        )
    if "Threshold" not in params:
        raise invalid("Threshold is required for alarms with a static threshold.")
    period = _check_metrics(params) if "Metrics" in params else _check_metric(params)
    wanted = params["EvaluationPeriods"]
    if params.get("DatapointsToAlarm", wanted) > wanted:
        raise invalid("DatapointsToAlarm must be less than or equal to EvaluationPeriods.")
    longest = _DAY_SECONDS if period < 3600 else _WEEK_SECONDS
    if period * wanted > longest:
        raise invalid(
            f"Metrics cannot be checked across more than {'a day' if longest == _DAY_SECONDS else 'seven days'} "
            f"(EvaluationPeriods * Period must be <= {longest})."
        )
    treat = params.get("TreatMissingData", "missing")
    if treat not in MISSING_DATA:
        raise invalid(f"TreatMissingData '{treat}' must be one of {', '.join(MISSING_DATA)}.")
    low = params.get("EvaluateLowSampleCountPercentile")
    if low is not None and (low not in ("evaluate", "ignore") or not params.get("ExtendedStatistic")):
        raise invalid("EvaluateLowSampleCountPercentile is evaluate or ignore, for percentile alarms only.")
    check_actions(params, scaling=True)


def check_actions(params: Params, scaling: bool) -> None:
    """The actions' ARNs: topics, functions, and for metric alarms scaling policies."""
    kinds = [_TOPIC, _FUNCTION, *([_POLICY] if scaling else [])]
    for member in _ACTION_MEMBERS:
        for arn in params.get(member) or ():
            if not any(kind.match(arn) for kind in kinds):
                allowed = "SNS topics, Lambda functions" + (" and scaling policies" if scaling else "")
                raise invalid(
                    f"Invalid arn syntax or action in {member}: {arn}. The local cloud acts on {allowed}."
                )


def check_composite(params: Params) -> None:
    """PutCompositeAlarm's own rules, but for the rule itself."""
    check_model("PutCompositeAlarm", params)
    _refuse_not_served(params)
    check_actions(params, scaling=False)


def check_period(period: int, what: str = "Period") -> None:
    if period not in (10, 20, 30) and period % 60:
        raise invalid(f"{what} must be 10, 20, 30 or a multiple of 60; it is {period}.")


def _refuse_not_served(params: Params) -> None:
    for member, what in _NOT_SERVED.items():
        if params.get(member) is not None:
            raise invalid(f"{member}: the local cloud does not serve {what}.")
    if "WallClockWindow" in (params.get("EvaluationWindow") or {}):
        raise invalid("EvaluationWindow.WallClockWindow: the local cloud evaluates sliding windows only.")


def _check_metric(params: Params) -> int:
    for member in ("MetricName", "Namespace", "Period"):
        if member not in params:
            raise invalid(f"{member} is required for an alarm on one metric.")
    if ("Statistic" in params) == ("ExtendedStatistic" in params):
        raise invalid("An alarm on one metric needs either Statistic or ExtendedStatistic.")
    if "ExtendedStatistic" in params:
        try:
            check_statistic(params["ExtendedStatistic"])
        except InvalidExpression as error:
            raise invalid(f"ExtendedStatistic: {error}") from None
    check_period(params["Period"])
    return int(params["Period"])


def _check_metrics(params: Params) -> int:
    for member in (
        "MetricName",
        "Namespace",
        "Statistic",
        "ExtendedStatistic",
        "Dimensions",
        "Period",
        "Unit",
    ):
        if member in params:
            raise invalid(f"{member} and Metrics exclude each other.")
    try:
        queries = parse_queries(params["Metrics"])
    except InvalidExpression as error:
        raise invalid(f"Metrics: {error}") from None
    returned = [entry["Id"] for entry in params["Metrics"] if entry.get("ReturnData", True)]
    if len(returned) != 1:
        raise invalid(
            f"Metrics: exactly one element must return data, not {len(returned)}; set ReturnData to false for "
            "the others."
        )
    metrics = [query for query in queries if isinstance(query, MetricQuery)]
    if not metrics:
        raise invalid("Metrics: at least one element must be a metric.")
    for query in metrics:
        check_period(query.period_seconds, f"The period of '{query.id}'")
    value = _on_nothing(queries)[returned[0]]
    if not isinstance(value, Series):
        raise invalid(f"Metrics: '{returned[0]}' must be one time series; it is {_named(value)}.")
    return longest_period(queries)


def _on_nothing(queries: list[Any]) -> dict[str, Value]:
    """Every expression evaluated on metrics without data: shows what kinds of values they give."""
    empty = Series({}, range(0, 60_000, 60_000))
    metrics = {query.id: empty for query in queries if isinstance(query, MetricQuery)}
    values: dict[str, Value] = dict(metrics)
    waiting = [query for query in queries if not isinstance(query, MetricQuery)]
    while waiting:
        for query in [one for one in waiting if one.expression.names <= values.keys()]:
            try:
                values[query.id] = query.expression.evaluate(Environment(values, metrics, empty.grid))
            except InvalidExpression as error:
                raise invalid(f"Metrics: {error}") from None
            waiting.remove(query)
    return values


def _named(value: Value) -> str:
    return "an array" if isinstance(value, list) else "a text" if isinstance(value, str) else "a number"


@cache
def _input_shape(operation: str) -> Any:
    from moto.core.utils import get_service_model

    return get_service_model("cloudwatch").operation_model(operation).input_shape


def _problems(value: Any, shape: Any, path: str) -> Iterable[str]:
    """What botocore's validator leaves to the service: longest texts and lists, and enumerations."""
    most = shape.metadata.get("max")
    if shape.type_name == "structure" and isinstance(value, Mapping):
        for name, member in shape.members.items():
            if name in value:
                yield from _problems(value[name], member, f"{path}.{name}" if path else name)
        return
    if shape.type_name == "list":
        if most is not None and len(value) > most:
            yield f"{path}: at most {most} elements, not {len(value)}."
        for index, one in enumerate(value):
            yield from _problems(one, shape.member, f"{path}[{index}]")
        return
    if shape.type_name == "string":
        if most is not None and len(value) > most:
            yield f"{path}: at most {most} characters, not {len(value)}."
        choices = shape.metadata.get("enum")
        if choices and value not in choices:
            yield f"Value '{value}' at '{path}' must be one of: {', '.join(choices)}."
    elif shape.type_name == "integer" and most is not None and value > most:
        yield f"{path}: at most {most}, not {value}."
