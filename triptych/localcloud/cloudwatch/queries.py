"""MetricDataQueries: metrics read from the store, expressions over them, in the order they need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from triptych.localcloud.cloudwatch.expressions import Expression, parse
from triptych.localcloud.cloudwatch.store import Dimensions, MetricStore, milliseconds
from triptych.localcloud.cloudwatch.summaries import SIMPLE_STATISTICS, UnknownStatistic, reader
from triptych.localcloud.cloudwatch.timeseries import Environment, InvalidExpression, Series, Value


@dataclass(frozen=True)
class MetricQuery:
    """A statistic of one metric by period."""

    id: str
    namespace: str
    name: str
    dimensions: Dimensions
    period_seconds: int
    statistic: str
    unit: str | None = None


@dataclass(frozen=True)
class ExpressionQuery:
    """Metric math over other queries."""

    id: str
    expression: Expression
    period_seconds: int | None = None


Query = MetricQuery | ExpressionQuery


def parse_queries(given: Sequence[Mapping[str, Any]]) -> list[Query]:
    """Queries of GetMetricData or of an alarm; raises InvalidExpression on what does not hold together."""
    queries: list[Query] = []
    for entry in given:
        identity = entry["Id"]
        if not (identity[:1].islower() and identity.replace("_", "a").isalnum() and identity.isascii()):
            raise InvalidExpression(
                f"The id '{identity}' must begin with a lowercase letter and hold letters, digits and _ only."
            )
        if any(query.id == identity for query in queries):
            raise InvalidExpression(f"The id '{identity}' is used twice.")
        if ("MetricStat" in entry) == ("Expression" in entry):
            raise InvalidExpression(f"Query '{identity}' needs either MetricStat or Expression.")
        if "Expression" in entry:
            queries.append(ExpressionQuery(identity, parse(entry["Expression"]), entry.get("Period")))
        else:
            queries.append(_metric_query(identity, entry["MetricStat"]))
    known = {query.id for query in queries}
    for query in queries:
        if isinstance(query, ExpressionQuery):
            for name in sorted(query.expression.names - known):
                raise InvalidExpression(
                    f"Expression '{query.expression.text}' refers to '{name}', which is no id."
                )
    _ordered(queries)
    return queries


def metric_dimensions(given: Sequence[Mapping[str, Any]] | None) -> Dimensions:
    """AWS's list of names and values, sorted as the store keys them."""
    return tuple(sorted((entry["Name"], entry["Value"]) for entry in given or ()))


def check_statistic(text: str) -> None:
    """Raises InvalidExpression where it is none."""
    try:
        reader(text)
    except UnknownStatistic as error:
        raise InvalidExpression(str(error)) from None


def longest_period(queries: Sequence[Query]) -> int:
    """The longest period of any query, in seconds; 60 where none has one."""
    return max((query.period_seconds for query in queries if query.period_seconds), default=60)


def evaluate(
    store: MetricStore, queries: Sequence[Query], start: datetime, end: datetime, align: bool
) -> dict[str, Value]:
    """Each query's value by id. ``align`` moves the start back to a whole period since 1970."""
    metrics = {
        query.id: read_series(store, query, start, end, align)
        for query in queries
        if isinstance(query, MetricQuery)
    }
    values: dict[str, Value] = dict(metrics)
    whole = grid(start, end, longest_period(queries), align)
    for query in _ordered(queries):
        own = grid(start, end, query.period_seconds, align) if query.period_seconds else whole
        values[query.id] = query.expression.evaluate(Environment(values, metrics, own))
    return values


def read_series(
    store: MetricStore, query: MetricQuery, start: datetime, end: datetime, align: bool
) -> Series:
    """One metric's statistic over the window."""
    periods = grid(start, end, query.period_seconds, align)
    if not periods:
        return Series({}, periods)
    read = reader(query.statistic)
    found = store.summaries(
        query.namespace,
        query.name,
        query.dimensions,
        datetime.fromtimestamp(periods.start / 1000, UTC),
        end,
        query.period_seconds,
        query.unit,
        distributions=query.statistic not in SIMPLE_STATISTICS,
    )
    points, samples = {}, {}
    for number in sorted(found):
        value = read(found[number])
        if value is not None:
            at = periods.start + number * periods.step
            points[at] = value
            samples[at] = found[number].count
    return Series(points, periods, samples)


def grid(start: datetime, end: datetime, period_seconds: int, align: bool) -> range:
    """The starts of the window's periods in milliseconds."""
    first, length = milliseconds(start), period_seconds * 1000
    if align:
        first -= first % length
    return range(first, milliseconds(end), length)


def _metric_query(identity: str, stat: Mapping[str, Any]) -> MetricQuery:
    metric = stat["Metric"]
    for member in ("Namespace", "MetricName"):
        if not metric.get(member):
            raise InvalidExpression(f"Query '{identity}': MetricStat.Metric.{member} is missing.")
    check_statistic(stat["Stat"])
    return MetricQuery(
        identity,
        metric["Namespace"],
        metric["MetricName"],
        metric_dimensions(metric.get("Dimensions")),
        int(stat["Period"]),
        stat["Stat"],
        stat.get("Unit"),
    )


def _ordered(queries: Sequence[Query]) -> list[ExpressionQuery]:
    """The expressions, each after those it refers to."""
    waiting = {query.id: query for query in queries if isinstance(query, ExpressionQuery)}
    ordered: list[ExpressionQuery] = []
    while waiting:
        ready = [query for query in waiting.values() if not query.expression.names & waiting.keys()]
        if not ready:
            raise InvalidExpression(f"The expressions {', '.join(sorted(waiting))} refer to each other.")
        for query in ready:
            ordered.append(waiting.pop(query.id))
    return ordered
