"""Looks at the endpoint's CloudWatch alarms."""

from __future__ import annotations

from stepfunctions.steps.choice_rule import ChoiceRule
from stepfunctions.steps.states import Catch, Choice, State

from workflows import retries
from workflows.deployment import verdicts
from workflows.deployment.endpoint import PRODUCTION, wait_and
from workflows.steps import InlineMap, JsonObject, PassWithAssign, ServiceTask, catch_all, formatted

_MOST_LOOKS = 20


def one_is_raised() -> ChoiceRule:
    """Whether the last look saw an alarm in ALARM."""
    return ChoiceRule.IsPresent("$.record.alarms.raised[0]", True)


def once_quiet(then: State, undo: State) -> State:
    """On to ``then`` when no alarm is raised; one that stays so belongs to what serves now, not to the new model.

    SageMaker would take the new model back for it at once.
    """
    look = look_at_alarms(
        "Look at the alarms before",
        "One that rings already would be blamed on the new model",
        catch_all(undo),
    )
    count = PassWithAssign(
        "Count the looks before",
        comment="An alarm that stays is told, not waited for without end",
        assign={"looks_before.$": "States.MathAdd($looks_before, 1)"},
    )
    count.next(wait_and("Wait for quiet alarms", look))
    choice = Choice(
        "Are the alarms quiet?", comment="They may ring from a deployment that was just taken back"
    )
    choice.add_choice(ChoiceRule.Not(one_is_raised()), then)
    choice.add_choice(ChoiceRule.NumericLessThan("$looks_before", _MOST_LOOKS), count)
    choice.default_choice(
        verdicts.broken(
            "Note that an alarm rang before",
            "No fault of the new model: it is not rejected",
            "AlarmRaisedBefore",
            formatted(
                "Alarm {} of endpoint {} is raised by the model that serves, so no alarm could tell how the new one "
                "does; mend what it is about, or deploy with strategy all_at_once, which watches no alarms",
                "$.record.alarms.raised[0]",
                PRODUCTION.name,
            ),
            undo,
        )
    )
    look.next(choice)
    return look


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
