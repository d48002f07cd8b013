"""CloudWatch Logs' API over the log store; what it does not serve (subscriptions, queries …) stays moto's."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from triptych.localcloud.cloud import Cloud
from triptych.localcloud.logs.patterns import compile_pattern
from triptych.localcloud.logs.store import LogEvent, LogStore
from triptych.localcloud.service import Operation, Params, RequestContext, ServiceError

_SCAN = 2_000
_MOST = 10_000


class LogsService:
    """Groups are kept by us and made in moto too, so that tags find them."""

    service_id = "logs"

    def __init__(self, cloud: Cloud) -> None:
        self._store: LogStore = cloud.logs
        self._settings = cloud.settings
        self.operations: Mapping[str, Operation] = {
            "CreateLogGroup": self._create_group,
            "DeleteLogGroup": self._delete_group,
            "DescribeLogGroups": self._describe_groups,
            "PutRetentionPolicy": self._put_retention,
            "DeleteRetentionPolicy": self._delete_retention,
            "CreateLogStream": self._create_stream,
            "DeleteLogStream": self._delete_stream,
            "DescribeLogStreams": self._describe_streams,
            "PutLogEvents": self._put_events,
            "GetLogEvents": self._get_events,
            "FilterLogEvents": self._filter_events,
            "PutMetricFilter": self._put_metric_filter,
            "DeleteMetricFilter": self._delete_metric_filter,
            "DescribeMetricFilters": self._describe_metric_filters,
        }

    def start(self) -> None:
        """Drop what is past its retention."""
        self._store.expire()

    def stop(self) -> None:
        """Nothing runs here."""

    def _create_group(self, context: RequestContext, params: Params) -> Params:
        self._store.create_group(params["logGroupName"])
        _in_moto(context, params, "ResourceAlreadyExistsException")
        return {}

    def _delete_group(self, context: RequestContext, params: Params) -> Params:
        self._store.delete_group(params["logGroupName"])
        _in_moto(context, params, "ResourceNotFoundException")
        return {}

    def _describe_groups(self, context: RequestContext, params: Params) -> Params:
        rows = self._store.groups(params.get("logGroupNamePrefix", ""), params.get("logGroupNamePattern", ""))
        page, token = _page(rows, params, 50)
        filters = Counter(row["log_group"] for row in self._store.metric_filters())
        groups = []
        for row in page:
            arn = self._arn(context, f"log-group:{row['name']}")
            entry = {
                "logGroupName": row["name"],
                "creationTime": row["created_ms"],
                "metricFilterCount": filters.get(row["name"], 0),
                "arn": f"{arn}:*",
                "logGroupArn": arn,
                "storedBytes": row["stored_bytes"],
                "logGroupClass": "STANDARD",
            }
            if row["retention_days"] is not None:
                entry["retentionInDays"] = row["retention_days"]
            groups.append(entry)
        return {"logGroups": groups, **token}

    def _put_retention(self, context: RequestContext, params: Params) -> Params:
        self._store.set_retention(params["logGroupName"], params["retentionInDays"])
        _in_moto(context, params, "ResourceNotFoundException")
        return {}

    def _delete_retention(self, context: RequestContext, params: Params) -> Params:
        self._store.set_retention(params["logGroupName"], None)
        _in_moto(context, params, "ResourceNotFoundException")
        return {}

    def _create_stream(self, context: RequestContext, params: Params) -> Params:
        self._store.create_stream(params["logGroupName"], params["logStreamName"])
        return {}

    def _delete_stream(self, context: RequestContext, params: Params) -> Params:
        self._store.delete_stream(params["logGroupName"], params["logStreamName"])
        return {}

    def _describe_streams(self, context: RequestContext, params: Params) -> Params:
        group = _group(params)
        rows = self._store.streams(group, params.get("logStreamNamePrefix", ""))
        if params.get("orderBy") == "LastEventTime":
            rows.sort(key=lambda row: row["last_ms"] or 0)
        if params.get("descending"):
            rows.reverse()
        page, token = _page(rows, params, 50)
        streams = []
        for row in page:
            entry = {
                "logStreamName": row["name"],
                "creationTime": row["created_ms"],
                "arn": self._arn(context, f"log-group:{group}:log-stream:{row['name']}"),
                "uploadSequenceToken": "1",
                "storedBytes": 0,
            }
            if row["last_ms"] is not None:
                entry |= {
                    "firstEventTimestamp": row["first_ms"],
                    "lastEventTimestamp": row["last_ms"],
                    "lastIngestionTime": row["ingested_ms"],
                }
            streams.append(entry)
        return {"logStreams": streams, **token}

    def _put_events(self, context: RequestContext, params: Params) -> Params:
        events = [(event["timestamp"], event["message"]) for event in params["logEvents"]]
        if any(earlier[0] > later[0] for earlier, later in pairwise(events)):
            raise ServiceError(
                "InvalidParameterException",
                "Log events in a single PutLogEvents request must be in chronological order.",
            )
        self._store.put(params["logGroupName"], params["logStreamName"], events)
        return {"nextSequenceToken": "1"}

    def _get_events(self, context: RequestContext, params: Params) -> Params:
        group, stream = _group(params), params["logStreamName"]
        self._store.require_stream(group, stream)
        limit = min(params.get("limit") or _MOST, _MOST)
        token = params.get("nextToken")
        position = _position(token[2:]) if token else None
        backwards = token.startswith("b/") if token else not params.get("startFromHead", False)
        found = self._store.events(
            group,
            streams=[stream],
            start_ms=params.get("startTime"),
            end_ms=params.get("endTime"),
            after=position if not backwards else None,
            before=position if backwards else None,
            newest_first=backwards,
            limit=limit,
        )
        if backwards:
            found.reverse()
        first = _token(found[0]) if found else (token or "f/")[2:]
        last = _token(found[-1]) if found else (token or "f/")[2:]
        return {
            "events": [
                {"timestamp": e.timestamp_ms, "message": e.message, "ingestionTime": e.ingested_ms}
                for e in found
            ],
            "nextForwardToken": f"f/{last}",
            "nextBackwardToken": f"b/{first}",
        }

    def _filter_events(self, context: RequestContext, params: Params) -> Params:
        group = _group(params)
        self._store.require_group(group)
        matches = compile_pattern(params.get("filterPattern") or "")
        limit = min(params.get("limit") or _MOST, _MOST)
        after = _position(params["nextToken"]) if params.get("nextToken") else None
        found: list[LogEvent] = []
        exhausted = False
        while not exhausted and len(found) < limit:
            scanned = self._store.events(
                group,
                streams=params.get("logStreamNames") or None,
                stream_prefix=params.get("logStreamNamePrefix"),
                start_ms=params.get("startTime"),
                # FilterLogEvents leaves out what is later than endTime, GetLogEvents also what is equal
                end_ms=None if params.get("endTime") is None else params["endTime"] + 1,
                after=after,
                limit=_SCAN,
            )
            exhausted = len(scanned) < _SCAN
            for event in scanned:
                after = (event.timestamp_ms, event.id)
                if matches(event.message):
                    found.append(event)
                    if len(found) == limit:
                        exhausted = exhausted and event is scanned[-1]
                        break
        answer: Params = {
            "events": [
                {
                    "logStreamName": e.stream,
                    "timestamp": e.timestamp_ms,
                    "message": e.message,
                    "ingestionTime": e.ingested_ms,
                    "eventId": f"{e.id:056d}",
                }
                for e in found
            ],
            "searchedLogStreams": [],
        }
        if not exhausted and after is not None:
            answer["nextToken"] = _encode(after)
        return answer

    def _put_metric_filter(self, context: RequestContext, params: Params) -> Params:
        self._store.put_metric_filter(
            params["logGroupName"],
            params["filterName"],
            params.get("filterPattern") or "",
            params["metricTransformations"],
        )
        return {}

    def _delete_metric_filter(self, context: RequestContext, params: Params) -> Params:
        self._store.delete_metric_filter(params["logGroupName"], params["filterName"])
        return {}

    def _describe_metric_filters(self, context: RequestContext, params: Params) -> Params:
        if params.get("logGroupName"):
            self._store.require_group(params["logGroupName"])
        metric = {name: params[name] for name in ("metricName", "metricNamespace") if params.get(name)}
        found = []
        for row in self._store.metric_filters():
            transformations = json.loads(row["transformations"])
            if (
                params.get("logGroupName") in (None, row["log_group"])
                and row["name"].startswith(params.get("filterNamePrefix") or "")
                and any(metric.items() <= one.items() for one in transformations)
            ):
                found.append(
                    {
                        "filterName": row["name"],
                        "filterPattern": row["pattern"],
                        "metricTransformations": transformations,
                        "creationTime": row["created_ms"],
                        "logGroupName": row["log_group"],
                    }
                )
        page, token = _page(found, params, 50)
        return {"metricFilters": page, **token}

    def _arn(self, context: RequestContext, resource: str) -> str:
        return f"arn:{context.partition}:logs:{context.region}:{context.account_id}:{resource}"


def _group(params: Params) -> str:
    """The group's name; an identifier may be its ARN."""
    name: str = params.get("logGroupName") or params["logGroupIdentifier"]
    return name.split(":log-group:")[-1].removesuffix(":*") if name.startswith("arn:") else name


def _in_moto(context: RequestContext, params: Params, expected: str) -> None:
    """The same in moto; ``expected`` is the error of a group that only one of the two knows."""
    if context.forward is not None:
        try:
            context.forward(params)
        except ServiceError as error:
            if error.code != expected:
                raise


def _page(rows: list[Any], params: Params, most: int) -> tuple[list[Any], Params]:
    start = int(params.get("nextToken") or 0)
    end = start + min(params.get("limit") or most, most)
    return rows[start:end], ({"nextToken": str(end)} if end < len(rows) else {})


def _token(event: LogEvent) -> str:
    return _encode((event.timestamp_ms, event.id))


def _encode(position: tuple[int, int]) -> str:
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode()


def _position(token: str) -> tuple[int, int] | None:
    if not token:
        return None
    try:
        timestamp, number = json.loads(base64.urlsafe_b64decode(token))
        return int(timestamp), int(number)
    except (ValueError, TypeError) as error:
        raise ServiceError("InvalidParameterException", "The specified nextToken is invalid.") from error
