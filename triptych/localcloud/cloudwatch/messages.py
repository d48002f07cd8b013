"""What an alarm tells: to SNS, to Lambda, to EventBridge and in its history, in AWS's documented shapes.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Notify_Users_Alarm_Changes.html
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from triptych.localcloud.cloudwatch.alarms import COMPOSITE, Alarm
from triptych.localcloud.cloudwatch.evaluation import timestamp

_REGIONS: Mapping[str, str] = {
    "us-east-1": "US East (N. Virginia)",
    "us-east-2": "US East (Ohio)",
    "us-west-1": "US West (N. California)",
    "us-west-2": "US West (Oregon)",
    "ca-central-1": "Canada (Central)",
    "sa-east-1": "South America (Sao Paulo)",
    "eu-west-1": "EU (Ireland)",
    "eu-west-2": "EU (London)",
    "eu-west-3": "EU (Paris)",
    "eu-central-1": "EU (Frankfurt)",
    "eu-north-1": "EU (Stockholm)",
    "eu-south-1": "EU (Milan)",
    "ap-south-1": "Asia Pacific (Mumbai)",
    "ap-southeast-1": "Asia Pacific (Singapore)",
    "ap-southeast-2": "Asia Pacific (Sydney)",
    "ap-northeast-1": "Asia Pacific (Tokyo)",
    "ap-northeast-2": "Asia Pacific (Seoul)",
}
"""the regions' names as CloudWatch's messages give them; others stay ids"""


def region_name(region: str) -> str:
    return _REGIONS.get(region, region)


def sns_subject(alarm: Alarm) -> str:
    """At most 100 characters, SNS's limit."""
    return f'{alarm.state}: "{alarm.name}" in {region_name(alarm.region)}'[:100]


def sns_message(alarm: Alarm, previous: Alarm) -> dict[str, Any]:
    """The JSON message of an SNS action."""
    config = alarm.config
    message: dict[str, Any] = {
        "AlarmName": alarm.name,
        "AlarmDescription": config.get("AlarmDescription"),
        "AWSAccountId": alarm.account_id,
        "AlarmConfigurationUpdatedTimestamp": timestamp(alarm.configured_at),
        "NewStateValue": alarm.state,
        "NewStateReason": alarm.reason,
        "StateChangeTime": timestamp(alarm.updated_at),
        "Region": region_name(alarm.region),
        "AlarmArn": alarm.arn,
        "OldStateValue": previous.state,
        "OKActions": list(config.get("OKActions") or []),
        "AlarmActions": list(config.get("AlarmActions") or []),
        "InsufficientDataActions": list(config.get("InsufficientDataActions") or []),
    }
    if alarm.kind == COMPOSITE:
        message["AlarmRule"] = config["AlarmRule"]
        message["TriggeringChildren"] = [
            {
                "Arn": child["arn"],
                "State": {"Value": child["state"]["value"], "Timestamp": child["state"]["timestamp"]},
            }
            for child in (json.loads(alarm.reason_data) if alarm.reason_data else {}).get(
                "triggeringAlarms", []
            )
        ]
    else:
        message["Trigger"] = _trigger(config)
    return message


def _trigger(config: Mapping[str, Any]) -> dict[str, Any]:
    trigger: dict[str, Any] = {}
    if "Metrics" not in config:
        extended = config.get("ExtendedStatistic")
        trigger |= {
            "MetricName": config["MetricName"],
            "Namespace": config["Namespace"],
            "StatisticType": "ExtendedStatistic" if extended else "Statistic",
            ("ExtendedStatistic" if extended else "Statistic"): extended or config["Statistic"].upper(),
            "Unit": config.get("Unit"),
            "Dimensions": _sns_dimensions(config.get("Dimensions")),
            "Period": config["Period"],
        }
    trigger |= {
        "EvaluationPeriods": config["EvaluationPeriods"],
        "DatapointsToAlarm": config.get("DatapointsToAlarm", config["EvaluationPeriods"]),
        "ComparisonOperator": config["ComparisonOperator"],
        "Threshold": config["Threshold"],
        "TreatMissingData": config.get("TreatMissingData", "missing"),
        "EvaluateLowSampleCountPercentile": config.get("EvaluateLowSampleCountPercentile", ""),
    }
    if "Metrics" in config:
        trigger["Metrics"] = [_sns_metric(entry) for entry in config["Metrics"]]
    return trigger


def _sns_metric(entry: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: entry[name] for name in ("Expression", "Id", "Label", "Period") if name in entry}
    if "MetricStat" in entry:
        stat = entry["MetricStat"]
        metric = {**stat["Metric"], "Dimensions": _sns_dimensions(stat["Metric"].get("Dimensions"))}
        shown["MetricStat"] = {**stat, "Metric": metric}
    shown["ReturnData"] = entry.get("ReturnData", True)
    return shown


def _sns_dimensions(given: Any) -> list[dict[str, str]]:
    return [{"value": entry["Value"], "name": entry["Name"]} for entry in given or ()]


def event_detail(alarm: Alarm, previous: Alarm) -> dict[str, Any]:
    """The detail of ``CloudWatch Alarm State Change``."""
    configuration: dict[str, Any] = {}
    if alarm.config.get("AlarmDescription"):
        configuration["description"] = alarm.config["AlarmDescription"]
    if alarm.kind == COMPOSITE:
        configuration["alarmRule"] = alarm.config["AlarmRule"]
    else:
        configuration["metrics"] = _event_metrics(alarm)
    return {
        "alarmName": alarm.name,
        "configuration": configuration,
        "previousState": _event_state(previous),
        "state": _event_state(alarm),
    }


def configuration_detail(alarm: Alarm, operation: str, previous: Alarm | None) -> dict[str, Any]:
    """The detail of ``CloudWatch Alarm Configuration Change`` (``create``, ``update`` or ``delete``)."""
    detail: dict[str, Any] = {
        "alarmName": alarm.name,
        "operation": operation,
        "state": _event_state(alarm),
        "configuration": _event_configuration(alarm),
    }
    if previous is not None:
        detail["previousConfiguration"] = _event_configuration(previous)
    return detail


def lambda_payload(alarm: Alarm, previous: Alarm) -> dict[str, Any]:
    """The event that a Lambda action is invoked with."""
    return {
        "source": "aws.cloudwatch",
        "alarmArn": alarm.arn,
        "accountId": alarm.account_id,
        "time": timestamp(alarm.updated_at),
        "region": alarm.region,
        "alarmData": event_detail(alarm, previous),
    }


def _event_state(alarm: Alarm) -> dict[str, Any]:
    state: dict[str, Any] = {"value": alarm.state, "reason": alarm.reason}
    if alarm.reason_data:
        state["reasonData"] = alarm.reason_data
    state["timestamp"] = timestamp(alarm.updated_at)
    return state


def _event_configuration(alarm: Alarm) -> dict[str, Any]:
    config = alarm.config
    shown: dict[str, Any] = {"alarmName": alarm.name}
    if config.get("AlarmDescription"):
        shown["description"] = config["AlarmDescription"]
    if alarm.kind == COMPOSITE:
        shown["alarmRule"] = config["AlarmRule"]
    else:
        for name in (
            "EvaluationPeriods",
            "DatapointsToAlarm",
            "Threshold",
            "ComparisonOperator",
            "TreatMissingData",
        ):
            if name in config:
                shown[_lower(name)] = config[name]
        shown["metrics"] = _event_metrics(alarm)
    shown |= {
        "actionsEnabled": alarm.actions_enabled,
        "timestamp": timestamp(alarm.configured_at),
        "okActions": list(config.get("OKActions") or []),
        "alarmActions": list(config.get("AlarmActions") or []),
        "insufficientDataActions": list(config.get("InsufficientDataActions") or []),
    }
    return shown


def _event_metrics(alarm: Alarm) -> list[dict[str, Any]]:
    config = alarm.config
    if "Metrics" in config:
        return [_event_metric(entry) for entry in config["Metrics"]]
    stat = {
        "Metric": {
            "Namespace": config["Namespace"],
            "MetricName": config["MetricName"],
            "Dimensions": config.get("Dimensions") or [],
        },
        "Period": config["Period"],
        "Stat": config.get("Statistic") or config["ExtendedStatistic"],
        **({"Unit": config["Unit"]} if config.get("Unit") else {}),
    }
    return [_event_metric({"Id": "m1", "MetricStat": stat})]


def _event_metric(entry: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": entry["Id"]}
    for name in ("Expression", "Label", "Period"):
        if name in entry:
            shown[_lower(name)] = entry[name]
    if "MetricStat" in entry:
        stat = entry["MetricStat"]
        metric = stat["Metric"]
        shown["metricStat"] = {
            "metric": {
                "namespace": metric["Namespace"],
                "name": metric["MetricName"],
                "dimensions": {one["Name"]: one["Value"] for one in metric.get("Dimensions") or ()},
            },
            "period": stat["Period"],
            "stat": stat["Stat"],
            **({"unit": stat["Unit"]} if stat.get("Unit") else {}),
        }
    shown["returnData"] = entry.get("ReturnData", True)
    return shown


def state_history(alarm: Alarm, previous: Alarm) -> str:
    """HistoryData of a StateUpdate."""
    return json.dumps(
        {"version": "1.0", "oldState": _history_state(previous), "newState": _history_state(alarm)}
    )


def configuration_history(alarm: Alarm, operation: str) -> str:
    """HistoryData of a ConfigurationUpdate."""
    updated = {
        "alarmName": alarm.name,
        "alarmArn": alarm.arn,
        "stateValue": alarm.state,
        **{_lower(name): value for name, value in alarm.config.items()},
    }
    return json.dumps({"version": "1.0", "type": operation, f"{operation.lower()}dAlarm": updated})


def action_history(target: str, published: Any, succeeded: bool, error: str | None, updated: str) -> str:
    """HistoryData of an Action."""
    data: dict[str, Any] = {
        "actionState": "Succeeded" if succeeded else "Failed",
        "stateUpdateTimestamp": updated,
        "notificationResource": target,
        "publishedMessage": published,
    }
    if error:
        data["error"] = error
    return json.dumps(data)


def _history_state(alarm: Alarm) -> dict[str, Any]:
    state: dict[str, Any] = {"stateValue": alarm.state, "stateReason": alarm.reason}
    if alarm.reason_data:
        try:
            state["stateReasonData"] = json.loads(alarm.reason_data)
        except ValueError:
            state["stateReasonData"] = alarm.reason_data
    return state


def _lower(name: str) -> str:
    return "okActions" if name == "OKActions" else name[0].lower() + name[1:]
