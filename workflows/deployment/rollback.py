"""The way back: what served before serves again, the package is rejected, and the operators are told why.

``$.failure`` holds the reason and is kept; what fails on the way back is noted beside it, at
``$.record.undo_failure``, and told with it.
"""

from __future__ import annotations

from typing import Any

from stepfunctions.steps.choice_rule import ChoiceRule
from stepfunctions.steps.states import Catch, Choice, Pass, State, Succeed

from workflows import retries
from workflows.deployment import autoscaling, verdicts
from workflows.deployment.alarms import look_at_alarms, look_at_history
from workflows.deployment.change import serves_previous
from workflows.deployment.endpoint import (
    CHANGING,
    PRODUCTION,
    delete,
    describe,
    update,
    wait_and,
)
from workflows.deployment.report import report, summed_up
from workflows.failure import notify, rejection
from workflows.steps import InlineMap, ServiceTask, formatted, invoke_function

_UNDO_FAILURE = "$.record.undo_failure"


def undo(ending: State) -> tuple[State, State]:
    """Two ways to ``ending``: take back whatever the endpoint serves, and put the former configuration back."""
    keep_reason = [Catch(error_equals=["States.ALL"], result_path=_UNDO_FAILURE, next_step=ending)]
    scaling = autoscaling.put_back(ending, keep_reason)
    put_back = update(
        "Put the old configuration back",
        "The endpoint goes on serving what it served; at once, with no baking",
        "$.previous.EndpointConfigName",
        keep_reason,
    )
    put_back.next(_until_back(scaling, ending, keep_reason))
    remove = delete(
        "Remove the new endpoint", "It is new and was never good: nothing may use it", PRODUCTION, keep_reason
    )
    remove.next(ending)
    look = describe(
        "Look at the failed endpoint",
        "What is there to take back?",
        PRODUCTION,
        keep_reason,
        retries.SAGEMAKER_LOOKUP,
    )
    choice = Choice(
        "What is to be taken back?",
        comment="An update goes back; a new endpoint goes away; what somebody else put there is left alone",
    )
    choice.add_choice(PRODUCTION.status_in(*CHANGING), wait_and("Wait before taking back", look))
    choice.add_choice(serves_previous(), scaling)
    choice.add_choice(_serves_somebody_elses(), ending)
    choice.add_choice(ChoiceRule.IsPresent("$.previous", True), put_back)
    choice.default_choice(remove)
    look.next(choice)
    return look, put_back


def _serves_somebody_elses() -> ChoiceRule:
    on_trial = ChoiceRule.And(
        [
            ChoiceRule.IsPresent("$.trial_configuration", True),
            PRODUCTION.configured("$.trial_configuration.name"),
        ]
    )
    ours = ChoiceRule.Or([PRODUCTION.configured("$.configuration.name"), on_trial])
    return ChoiceRule.And([PRODUCTION.status_in("InService"), ChoiceRule.Not(ours)])


def _until_back(then: State, ending: State, keep_reason: list[Catch]) -> State:
    """Until the former configuration serves, with the weights and instances that it had, not those it began with."""
    look = describe("Check the old configuration", "Does it serve again?", PRODUCTION, keep_reason)
    former = InlineMap(
        "Recall weights and instances",
        Pass(
            "A variant as it was",
            comment="SageMaker calls what it has current and what is asked for desired",
            parameters={
                "VariantName.$": "$.VariantName",
                "DesiredWeight.$": "$.CurrentWeight",
                "DesiredInstanceCount.$": "$.CurrentInstanceCount",
            },
        ),
        comment="Each variant as the deployment found it",
        items_path="$.previous.ProductionVariants",
        result_path="$.former_variants",
        catch=keep_reason,
    )
    restore = ServiceTask(
        "Put weights and instances back",
        integration="aws-sdk:sagemaker:updateEndpointWeightsAndCapacities",
        comment="They may have been changed since the configuration was made",
        timeout_seconds=300,
        retry=[retries.SAGEMAKER_CAPACITY, retries.SAGEMAKER_SDK],
        parameters={
            "EndpointName.$": PRODUCTION.name,
            "DesiredWeightsAndCapacities.$": "$.former_variants",
        },
        result_path=None,
        catch=keep_reason,
    )
    former.next(restore)
    restore.next(look)
    stuck = Pass(
        "Note that the way back failed",
        comment="A person must look at the endpoint",
        parameters={
            "Error": "NotPutBack",
            "Cause.$": formatted(
                "endpoint {} is {} with configuration {}, not with {}",
                PRODUCTION.name,
                "$.endpoint.EndpointStatus",
                "$.endpoint.EndpointConfigName",
                "$.previous.EndpointConfigName",
            ),
        },
        result_path=_UNDO_FAILURE,
    )
    stuck.next(ending)
    choice = Choice("Is the old configuration back?", comment="The end is told once the endpoint is at rest")
    choice.add_choice(PRODUCTION.status_in(*CHANGING), wait_and("Wait for the old configuration", look))
    choice.add_choice(
        ChoiceRule.And([serves_previous(), ChoiceRule.IsPresent("$.former_variants", True)]), then
    )
    choice.add_choice(serves_previous(), former)
    choice.default_choice(stuck)
    look.next(choice)
    return look


def ending(machine: str, failure: State) -> Choice:
    """Where every way back leads: a champion kept, a model rolled back, or the failure path."""
    choice = Choice(
        "How did it end?", comment="Only a model that is at fault, or lost its trial, is rejected"
    )
    choice.add_choice(
        ChoiceRule.And([verdicts.outcome_is("kept"), ChoiceRule.IsNull(_UNDO_FAILURE, True)]),
        _champion_kept(),
    )
    choice.add_choice(
        verdicts.outcome_is("kept"),
        verdicts.broken(
            "Note that the champion is not back",
            "The trial is over, but its endpoint could not be brought back",
            "NotPutBack",
            formatted(
                "The trial is over, but endpoint {} does not serve its former configuration: {}",
                PRODUCTION.name,
                f"States.JsonToString({_UNDO_FAILURE})",
            ),
            failure,
        ),
    )
    choice.add_choice(verdicts.outcome_is("rolled_back"), _rolled_back(machine))
    choice.default_choice(failure)
    return choice


def _champion_kept() -> State:
    done = Succeed("Champion kept", comment="The trial showed no better model; what served goes on serving")
    summary = summed_up(
        "Sum up the trial",
        "What serves, and what the trial showed",
        done,
        **{"endpoint_configuration.$": "$.previous.EndpointConfigName", "outcome": "kept"},
    )
    tell = notify(
        "Notify that the champion stays",
        "Tell the operators",
        formatted("{} keeps its model", PRODUCTION.name),
        formatted(
            "{}. Report: {}",
            "$.failure.Cause",
            "$.record.report.report_uri",
        ),
        catch=_whatever("$.notification_failure", summary),
    )
    tell.next(summary)
    reported = report("Report the trial", tell, failure="$.failure")
    return _reject("Reject the challenger", "Is the challenger another package?", "$.failure.Cause", reported)


def _rolled_back(machine: str) -> State:
    end = rejection("Rolled back", "DeploymentRolledBack")
    tell = notify(
        "Notify rollback",
        "Tell the operators",
        "$.failure.Subject",
        formatted("{}\nReport: {}", "$.failure.Message", "$.record.report.report_uri"),
        catch=_whatever("$.notification_failure", end),
    )
    tell.next(end)
    reported = report("Report the rollback", tell, failure="$.failure")
    reject = _reject(
        "Reject the model package",
        "Is it another package than the one that serves?",
        "$.failure.Description",
        reported,
    )
    in_short = Pass(
        "Explain the rollback in short",
        comment="The explanation itself failed; what is known is told as it is",
        parameters={
            "Error": "DeploymentRolledBack",
            "Cause.$": "$.failure.Cause",
            "Subject": f"{machine}: rolled back",
            "Message.$": "$.failure.Cause",
            "Description.$": "$.failure.Cause",
        },
        result_path="$.failure",
    )
    in_short.next(reject)
    explain = invoke_function(
        "Explain the rollback",
        "ExplainFailureFunction",
        comment="What happened and which alarm saw it, as a sentence an operator understands",
        payload={
            "machine": machine,
            "execution_id.$": "$$.Execution.Id",
            "execution_name.$": "$$.Execution.Name",
            "rollback": {
                "failure.$": "$.failure",
                "undo_failure.$": _UNDO_FAILURE,
                "alarms.$": "$.record.alarms.seen",
                "alarm_history.$": "$.record.alarm_history",
                "endpoint_name.$": PRODUCTION.name,
                "model_package_arn.$": "$.deployment.model_package_arn",
            },
        },
        result={
            "Error": "error",
            "Cause": "cause",
            "Subject": "subject",
            "Message": "message",
            "Description": "description",
        },
        result_path="$.failure",
        timeout_seconds=60,
        catch=_whatever("$.explanation_failure", in_short),
    )
    explain.next(reject)
    history = look_at_history(
        "Look up what the alarms did", "Which one was raised, and by which data", explain
    )
    look = look_at_alarms(
        "Look up the alarms", "Their states and reasons", _whatever("$.alarms_failure", history)
    )
    look.next(history)
    return look


def _reject(name: str, question: str, reason: str, then: State) -> Choice:
    """Reject the package, unless it is the one that serves: a deployment of it anew says nothing against it."""
    task = ServiceTask(
        name,
        integration="aws-sdk:sagemaker:updateModelPackage",
        comment="So that nobody deploys it again; the reason stands in the registry",
        timeout_seconds=60,
        retry=retries.SAGEMAKER_SDK,
        parameters={
            "ModelPackageArn.$": "$.deployment.model_package_arn",
            "ModelApprovalStatus": "Rejected",
            "ApprovalDescription.$": reason,
        },
        result_path=None,
        catch=_whatever("$.rejection_failure", then),
    )
    task.next(then)
    choice = Choice(question, comment="Not the package that serves: it may have been deployed anew")
    choice.add_choice(ChoiceRule.BooleanEquals("$.deployment.serves_already", True), then)
    choice.default_choice(task)
    return choice


def _whatever(result_path: str, then: State) -> list[Catch]:
    """A way back goes on, whatever fails on it."""
    keep: dict[str, Any] = {"error_equals": ["States.ALL"], "result_path": result_path}
    return [Catch(**keep, next_step=then)]
