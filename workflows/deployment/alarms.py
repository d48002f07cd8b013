"""Looks at the endpoint's CloudWatch alarms."""

from __future__ import annotations

from stepfunctions.steps.states import Catch, State

from workflows import retries
from workflows.steps import InlineMap, JsonObject, ServiceTask


def look_at_alarms(name: str, comment: str, catch: list[Catch]) -> ServiceTask:
    """All alarms at ``$.record.alarms.seen``, the names of those in ALARM at ``$.record.alarms.raised``."""
    return ServiceTask(
        name,
        integration="aws-sdk:cloudwatch:describeAlarms",
        comment=comment,
        timeout_seconds=60,
        retry=retries.CLOUDWATCH,
        parameters={"AlarmNames.$": "$.deployment.alarms"},
        result_selector={
            "seen.$": "$.MetricAlarms",
            "raised.$": "$.MetricAlarms[?(@.StateValue=='ALARM')].AlarmName",
        },
        result_path="$.record.alarms",
        catch=catch,
    )


def look_at_history(name: str, comment: str, then: State) -> InlineMap:
    """What each alarm did since the execution began, at ``$.record.alarm_history``: it may be quiet again by now."""
    parameters: JsonObject = {
        "AlarmName.$": "$",
        "HistoryItemType": "StateUpdate",
        "StartDate.$": "$$.Execution.StartTime",
        "MaxRecords": 10,
    }
    history = ServiceTask(
        "Read the alarm's history",
        integration="aws-sdk:cloudwatch:describeAlarmHistory",
        comment="Newest first",
        timeout_seconds=60,
        retry=retries.CLOUDWATCH,
        parameters=parameters,
    )
    look = InlineMap(
        name,
        history,
        comment=comment,
        items_path="$.deployment.alarms",
        result_path="$.record.alarm_history",
        catch=[Catch(error_equals=["States.ALL"], result_path="$.alarms_failure", next_step=then)],
    )
    look.next(then)
    return look
