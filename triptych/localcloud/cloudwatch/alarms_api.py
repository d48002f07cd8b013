"""PutMetricAlarm, PutCompositeAlarm, DescribeAlarms and the other operations on alarms."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from triptych.localcloud.cloudwatch.actions import ActionCourier, event
from triptych.localcloud.cloudwatch.alarms import (
    ACTIONS_OF,
    COMPOSITE,
    METRIC,
    Alarm,
    AlarmStore,
    HistoryItem,
)
from triptych.localcloud.cloudwatch.evaluation import INSUFFICIENT_DATA
from triptych.localcloud.cloudwatch.evaluator import AlarmEvaluator
from triptych.localcloud.cloudwatch.messages import configuration_detail, configuration_history
from triptych.localcloud.cloudwatch.metrics_api import page_start, page_token
from triptych.localcloud.cloudwatch.queries import metric_dimensions
from triptych.localcloud.cloudwatch.requests import (
    check_composite,
    check_metric_alarm,
    check_model,
    invalid,
)
from triptych.localcloud.cloudwatch.rules import InvalidRule, alarm_name, parse_rule
from triptych.localcloud.service import Operation, Params, RequestContext, ServiceError

_NOT_CONFIGURATION = ("AlarmName", "Tags")
_MOST_TAGS = 50
_CONFIGURATION_EVENT = "CloudWatch Alarm Configuration Change"


class AlarmsApi:
    """The operations on alarms, over their store and evaluator."""

    def __init__(
        self,
        alarms: AlarmStore,
        evaluator: AlarmEvaluator,
        courier: ActionCourier,
        now: Callable[[], datetime],
    ) -> None:
        self._alarms = alarms
        self._evaluator = evaluator
        self._courier = courier
        self._now = now
        self.operations: Mapping[str, Operation] = {
            "PutMetricAlarm": self.put_metric_alarm,
            "PutCompositeAlarm": self.put_composite_alarm,
            "DescribeAlarms": self.describe_alarms,
            "DescribeAlarmsForMetric": self.describe_alarms_for_metric,
            "DescribeAlarmHistory": self.describe_alarm_history,
            "SetAlarmState": self.set_alarm_state,
            "DeleteAlarms": self.delete_alarms,
            "EnableAlarmActions": self.enable_alarm_actions,
            "DisableAlarmActions": self.disable_alarm_actions,
            "ListTagsForResource": self.list_tags,
            "TagResource": self.tag,
            "UntagResource": self.untag,
        }

    # -- made, changed, deleted

    def put_metric_alarm(self, context: RequestContext, params: Params) -> Params:
        check_metric_alarm(params)
        self._put(context, METRIC, {**params, "Threshold": float(params["Threshold"])})
        self._evaluator.wake()
        return {}

    def put_composite_alarm(self, context: RequestContext, params: Params) -> Params:
        check_composite(params)
        try:
            rule = parse_rule(params["AlarmRule"])
        except InvalidRule as error:
            raise invalid(f"AlarmRule is not valid: {error}.") from None
        for child in rule.children:
            if child == params["AlarmName"]:
                raise invalid(f"AlarmRule must not refer to the alarm itself, {child}.")
            if self._alarms.get(child) is None:
                raise invalid(f"AlarmRule refers to an alarm that does not exist: {child}. Create it first.")
        self._evaluator.evaluate_composite(self._put(context, COMPOSITE, params))
        return {}

    def _put(self, context: RequestContext, kind: str, params: Params) -> Alarm:
        name = params["AlarmName"]
        config = {key: value for key, value in params.items() if key not in _NOT_CONFIGURATION}
        config.setdefault("ActionsEnabled", True)
        now = self._now()
        with self._alarms.lock:
            previous = self._alarms.get(name)
            if previous is None:
                arn = f"arn:{context.partition}:cloudwatch:{context.region}:{context.account_id}:alarm:{name}"
                alarm = Alarm(name, arn, kind, config, now, updated_at=now, transitioned_at=now)
                # As on AWS: tags of a Put count only where it makes the alarm.
                tags = {tag["Key"]: tag["Value"] for tag in params.get("Tags") or ()}
            elif previous.kind != kind:
                raise invalid(
                    f"The alarm {name} exists and is no {kind}: choose another name or delete it first."
                )
            else:
                alarm, tags = replace(previous, config=config, configured_at=now), self._alarms.tags(name)
            operation = "Create" if previous is None else "Update"
            detail = configuration_detail(alarm, operation.lower(), previous)
            self._alarms.save(
                alarm,
                [self._configured(alarm, operation, f'Alarm "{name}" {operation.lower()}d')],
                [event(alarm, _CONFIGURATION_EVENT, detail, now)],
                tags,
            )
        self._courier.wake()
        return alarm

    def delete_alarms(self, context: RequestContext, params: Params) -> Params:
        check_model("DeleteAlarms", params)
        gone = []
        for name in params["AlarmNames"]:
            with self._alarms.lock:
                alarm = self._alarms.get(name)
                if alarm is None:
                    continue
                detail = configuration_detail(alarm, "delete", None)
                self._alarms.delete(
                    name,
                    [self._configured(alarm, "Delete", f'Alarm "{name}" deleted')],
                    [event(alarm, _CONFIGURATION_EVENT, detail, self._now())],
                )
            self._evaluator.forget(name)
            gone.append(alarm)
        self._courier.wake()
        for alarm in gone:
            self._evaluator.evaluate_parents(replace(alarm, state=INSUFFICIENT_DATA))
        return {}

    def set_alarm_state(self, context: RequestContext, params: Params) -> Params:
        check_model("SetAlarmState", params)
        data = params.get("StateReasonData", "")
        if data:
            try:
                json.loads(data)
            except ValueError:
                raise ServiceError(
                    "InvalidFormat", "StateReasonData was not syntactically valid JSON"
                ) from None
        alarm = self._require(params["AlarmName"])
        self._evaluator.change(alarm, params["StateValue"], params["StateReason"], data, hold=True)
        return {}

    def enable_alarm_actions(self, context: RequestContext, params: Params) -> Params:
        check_model("EnableAlarmActions", params)
        return self._set_actions_enabled(params["AlarmNames"], True)

    def disable_alarm_actions(self, context: RequestContext, params: Params) -> Params:
        check_model("DisableAlarmActions", params)
        return self._set_actions_enabled(params["AlarmNames"], False)

    def _set_actions_enabled(self, names: list[str], enabled: bool) -> Params:
        for name in names:
            with self._alarms.lock:
                alarm = self._alarms.get(name)
                if alarm is not None and alarm.actions_enabled != enabled:
                    changed = replace(
                        alarm, config={**alarm.config, "ActionsEnabled": enabled}, configured_at=self._now()
                    )
                    words = "enabled" if enabled else "disabled"
                    summary = f'Alarm actions {words} for "{name}"'
                    self._alarms.save(changed, [self._configured(changed, "Update", summary)])
        return {}

    def _configured(self, alarm: Alarm, operation: str, summary: str) -> HistoryItem:
        return HistoryItem(
            alarm.name,
            alarm.kind,
            self._now(),
            "ConfigurationUpdate",
            summary,
            configuration_history(alarm, operation),
        )

    # -- described

    def describe_alarms(self, context: RequestContext, params: Params) -> Params:
        check_model("DescribeAlarms", params)
        names, prefix = params.get("AlarmNames"), params.get("AlarmNamePrefix", "")
        if names and prefix:
            raise ServiceError(
                "InvalidParameterCombination", "AlarmNames and AlarmNamePrefix exclude each other."
            )
        kinds = params.get("AlarmTypes") or [METRIC]
        related = self._related(params)
        found = [
            alarm
            for alarm in self._alarms.all()
            if (not names or alarm.name in names)
            and alarm.name.startswith(prefix)
            and (alarm.kind in kinds if related is None else alarm.name in related)
            and params.get("StateValue") in (None, alarm.state)
            and _has_action(alarm, params.get("ActionPrefix"))
        ]
        start, most = page_start(params.get("NextToken")), params.get("MaxRecords") or 50
        if names and not params.get("MaxRecords"):
            most = len(names)
        page = found[start : start + most]
        answer: Params = {
            "MetricAlarms": [_described(alarm) for alarm in page if alarm.kind == METRIC],
            "CompositeAlarms": [_described(alarm) for alarm in page if alarm.kind == COMPOSITE],
        }
        if len(found) > start + most:
            answer["NextToken"] = page_token(start + most)
        return answer

    def _related(self, params: Params) -> set[str] | None:
        """The children or parents asked for; None where neither is."""
        if params.get("ChildrenOfAlarmName"):
            parent = self._require(params["ChildrenOfAlarmName"])
            return set(_children(parent))
        if params.get("ParentsOfAlarmName"):
            child = self._require(params["ParentsOfAlarmName"]).name
            return {alarm.name for alarm in self._alarms.all() if child in _children(alarm)}
        return None

    def describe_alarms_for_metric(self, context: RequestContext, params: Params) -> Params:
        check_model("DescribeAlarmsForMetric", params)
        dimensions = metric_dimensions(params.get("Dimensions"))
        found = []
        for alarm in self._alarms.all():
            config = alarm.config
            if (
                alarm.kind == METRIC
                and config.get("Namespace") == params["Namespace"]
                and config.get("MetricName") == params["MetricName"]
                and metric_dimensions(config.get("Dimensions")) == dimensions
                and all(
                    params.get(name) in (None, config.get(name))
                    for name in ("Statistic", "ExtendedStatistic", "Period", "Unit")
                )
            ):
                found.append(_described(alarm))
        return {"MetricAlarms": found}

    def describe_alarm_history(self, context: RequestContext, params: Params) -> Params:
        check_model("DescribeAlarmHistory", params)
        most = params.get("MaxRecords") or 100
        token = params.get("NextToken")
        items = self._alarms.history(
            params.get("AlarmName"),
            params.get("AlarmTypes") or [METRIC],
            params.get("HistoryItemType"),
            params.get("StartDate"),
            params.get("EndDate"),
            params.get("ScanBy", "TimestampDescending") == "TimestampDescending",
            page_start(token) if token else None,
            most + 1,
        )
        page = items[:most]
        answer: Params = {
            "AlarmHistoryItems": [
                {
                    "AlarmName": item.alarm,
                    "AlarmType": item.kind,
                    "Timestamp": item.at,
                    "HistoryItemType": item.type,
                    "HistorySummary": item.summary,
                    "HistoryData": item.data,
                }
                for item in page
            ]
        }
        if len(items) > most:
            answer["NextToken"] = page_token(page[-1].id)
        return answer

    # -- tags

    def list_tags(self, context: RequestContext, params: Params) -> Params:
        check_model("ListTagsForResource", params)
        alarm = self._of_arn(params["ResourceARN"])
        if alarm is None:
            return _forwarded(context, params)
        tags = self._alarms.tags(alarm.name)
        return {"Tags": [{"Key": key, "Value": tags[key]} for key in sorted(tags)]}

    def tag(self, context: RequestContext, params: Params) -> Params:
        check_model("TagResource", params)
        alarm = self._of_arn(params["ResourceARN"])
        if alarm is None:
            return _forwarded(context, params)
        with self._alarms.lock:
            tags = self._alarms.tags(alarm.name) | {tag["Key"]: tag["Value"] for tag in params["Tags"]}
            if len(tags) > _MOST_TAGS:
                raise ServiceError("InvalidParameterValue", f"An alarm has at most {_MOST_TAGS} tags.")
            self._alarms.set_tags(self._require(alarm.name), tags)
        return {}

    def untag(self, context: RequestContext, params: Params) -> Params:
        check_model("UntagResource", params)
        alarm = self._of_arn(params["ResourceARN"])
        if alarm is None:
            return _forwarded(context, params)
        with self._alarms.lock:
            kept = {
                key: value
                for key, value in self._alarms.tags(alarm.name).items()
                if key not in params["TagKeys"]
            }
            self._alarms.set_tags(self._require(alarm.name), kept)
        return {}

    def _of_arn(self, arn: str) -> Alarm | None:
        """The alarm of an ARN; None for another kind of resource."""
        if ":alarm:" not in arn:
            return None
        alarm = self._alarms.get(alarm_name(arn))
        if alarm is None:
            raise ServiceError("ResourceNotFoundException", f"Unknown resource: {arn}", 404)
        return alarm

    def _require(self, name: str) -> Alarm:
        alarm = self._alarms.get(name)
        if alarm is None:
            raise ServiceError("ResourceNotFound", f"There is no alarm named '{name}'.", 404)
        return alarm


def _forwarded(context: RequestContext, params: Params) -> Params:
    """Dashboards' tags and the like are moto's."""
    assert context.forward is not None
    return context.forward(params)


def _children(alarm: Alarm) -> tuple[str, ...]:
    return parse_rule(alarm.config["AlarmRule"]).children if alarm.kind == COMPOSITE else ()


def _has_action(alarm: Alarm, prefix: str | None) -> bool:
    if prefix is None:
        return True
    return any(action.startswith(prefix) for state in ACTIONS_OF for action in alarm.actions(state))


def _described(alarm: Alarm) -> dict[str, Any]:
    """As DescribeAlarms answers."""
    shown: dict[str, Any] = {
        "AlarmName": alarm.name,
        "AlarmArn": alarm.arn,
        "AlarmConfigurationUpdatedTimestamp": alarm.configured_at,
        "OKActions": [],
        "AlarmActions": [],
        "InsufficientDataActions": [],
        **alarm.config,
        "StateValue": alarm.state,
        "StateReason": alarm.reason,
        "StateUpdatedTimestamp": alarm.updated_at,
        "StateTransitionedTimestamp": alarm.transitioned_at,
    }
    if alarm.reason_data:
        shown["StateReasonData"] = alarm.reason_data
    if alarm.kind == METRIC and "Metrics" not in alarm.config:
        shown.setdefault("Dimensions", [])
    if "Metrics" in alarm.config:
        shown["Metrics"] = [{"ReturnData": True, **entry} for entry in alarm.config["Metrics"]]
    return shown
