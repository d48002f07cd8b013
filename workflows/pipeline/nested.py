"""A nested execution that a redriven parent finds again, instead of starting its work anew.

The child has the parent's name. StartExecution with the name and input of a *running* execution gives it
back; of an ended one it is refused. Then the child is looked at: its output is taken if it succeeded, else it
is redriven from where it failed, and waited for by starting it "again".
"""

from __future__ import annotations

from stepfunctions.steps.choice_rule import ChoiceRule
from stepfunctions.steps.states import Catch, Chain, Choice, Pass, State

from workflows import retries
from workflows.steps import JsonObject, ServiceTask, catch_all, formatted


def nested_run(
    machine: str,
    substitution: str,
    *,
    comment: str,
    result: str,
    execution_input: JsonObject,
    timeout_seconds: int,
    failure: State,
    then: Chain | State,
) -> ServiceTask:
    """``Run <machine>`` and on to ``then``, with ``{execution_arn, output}`` at ``$.<result>``.

    The template puts the machine's ARN for ``${<substitution>Arn}`` and the beginning of its executions' ARNs
    for ``${<substitution>Executions}``.
    """
    run = ServiceTask(
        f"Run {machine}",
        integration="states:startExecution.sync:2",
        comment=comment,
        timeout_seconds=timeout_seconds,
        retry=retries.NESTED_EXECUTION,
        parameters={
            "StateMachineArn": "${" + substitution + "Arn}",
            "Name.$": "$$.Execution.Name",
            "Input": {
                **execution_input,
                # lets the console draw the link between parent and child
                "AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID.$": "$$.Execution.Id",
            },
        },
        result_selector={"execution_arn.$": "$.ExecutionArn", "output.$": "$.Output"},
        result_path=f"$.{result}",
    )
    run.next(then)
    look = ServiceTask(
        f"Find the earlier {machine} run",
        integration="aws-sdk:sfn:describeExecution",
        comment="This run was redriven: how far did its nested run get?",
        timeout_seconds=60,
        retry=retries.NESTED_EXECUTION_SDK,
        parameters={
            "ExecutionArn.$": formatted("{}:{}", "'${" + substitution + "Executions}'", "$$.Execution.Name")
        },
        result_path="$.earlier",
        catch=catch_all(failure),
    )
    run.add_catch(
        [
            Catch(
                error_equals=[
                    "StepFunctions.ExecutionAlreadyExistsException",
                    "StepFunctions.ExecutionAlreadyExists",
                ],
                result_path="$.already_exists",
                next_step=look,
            ),
            *catch_all(failure),
        ]
    )
    take = Pass(
        f"Take the earlier {machine} output",
        comment="It had succeeded: its work is not done twice",
        parameters={
            "execution_arn.$": "$.earlier.ExecutionArn",
            "output.$": "States.StringToJson($.earlier.Output)",
        },
        result_path=f"$.{result}",
    )
    take.next(then)
    redrive = ServiceTask(
        f"Redrive {machine}",
        integration="aws-sdk:sfn:redriveExecution",
        comment="From the state that failed",
        timeout_seconds=60,
        retry=retries.NESTED_EXECUTION_SDK,
        parameters={"ExecutionArn.$": "$.earlier.ExecutionArn"},
        result_path=None,
        catch=catch_all(failure),
    )
    redrive.next(run)
    choice = Choice(
        f"Did the earlier {machine} run succeed?", comment="If it did not, it goes on from where it failed"
    )
    choice.add_choice(ChoiceRule.StringEquals("$.earlier.Status", "SUCCEEDED"), take)
    choice.default_choice(redrive)
    look.next(choice)
    return run
