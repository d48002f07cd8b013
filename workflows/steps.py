"""What the Data Science SDK (2.3.0) lacks, added by subclassing its states.

The SDK's own service steps read the partition from the environment and fix image, output path and
hyperparameters when the definition is written. ``ServiceTask`` does neither: a definition is a pure function,
and whatever differs between executions comes from their payload.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from stepfunctions.steps.states import Catch, Fail, Graph, Map, Parallel, Pass, State, Task

from workflows import retries

JsonObject = dict[str, Any]

INTEGRATIONS = "arn:${Partition}:states:::"
"""Where service integrations live; the template fills in the partition."""


class ExtraField(Enum):
    """Fields of the Amazon States Language that the SDK does not know."""

    ResultSelector = "result_selector"
    Assign = "assign"
    ErrorPath = "error_path"
    CausePath = "cause_path"
    ItemReader = "item_reader"
    ItemSelector = "item_selector"
    ResultWriter = "result_writer"
    Label = "label"
    ToleratedFailurePercentage = "tolerated_failure_percentage"


class ServiceTask(Task):
    """A Task that calls ``integration``: ``lambda:invoke``, ``glue:startJobRun.sync`` …

    Comment, timeout and retry are not optional: a Task without them is a bug.
    """

    def __init__(
        self,
        state_id: str,
        *,
        integration: str,
        comment: str,
        timeout_seconds: int,
        retry: retries.RetryPolicy | list[retries.RetryPolicy],
        parameters: JsonObject,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            state_id,
            resource=INTEGRATIONS + integration,
            comment=comment,
            timeout_seconds=timeout_seconds,
            retry=retry,
            parameters=parameters,
            **kwargs,
        )

    def allowed_fields(self) -> list[Enum]:
        return [*super().allowed_fields(), ExtraField.ResultSelector]


class ParallelWithSelector(Parallel):
    """A Parallel state that can select from its branches' results."""

    def allowed_fields(self) -> list[Enum]:
        return [*super().allowed_fields(), ExtraField.ResultSelector]


class PassWithAssign(Pass):
    """A Pass state that sets variables."""

    def allowed_fields(self) -> list[Enum]:
        return [*super().allowed_fields(), ExtraField.Assign]


class FailWithPaths(Fail):
    """A Fail state whose error and cause come from the payload."""

    def allowed_fields(self) -> list[Enum]:
        return [*super().allowed_fields(), ExtraField.ErrorPath, ExtraField.CausePath]


class DistributedMap(Map):
    """A Map whose items come from S3 and whose iterations are executions of their own."""

    def allowed_fields(self) -> list[Enum]:
        return [
            *super().allowed_fields(),
            ExtraField.ItemReader,
            ExtraField.ItemSelector,
            ExtraField.Label,
            ExtraField.ResultSelector,
            ExtraField.ResultWriter,
            ExtraField.ToleratedFailurePercentage,
        ]

    def to_dict(self) -> JsonObject:
        result: JsonObject = super().to_dict()
        result["ItemProcessor"] = {
            "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
            **result.pop("Iterator"),
        }
        return result


class InlineMap(Map):
    """A Map whose iterations are part of the execution; ``iterator`` gets one item as its input."""

    def __init__(self, state_id: str, iterator: State, **kwargs: Any) -> None:
        super().__init__(state_id, **kwargs)
        self.attach_iterator(iterator)

    def to_dict(self) -> JsonObject:
        result: JsonObject = super().to_dict()
        result["ItemProcessor"] = {"ProcessorConfig": {"Mode": "INLINE"}, **result.pop("Iterator")}
        return result


def invoke_function(
    state_id: str,
    function: str,
    *,
    payload: JsonObject,
    result: JsonObject | None = None,
    timeout_seconds: int = 300,
    **kwargs: Any,
) -> ServiceTask:
    """Invoke the Lambda function whose ARN the template puts for ``${function}``.

    ``result`` selects from the answer (``$.Payload``), so that a payload holds only what later states read.
    """
    selector = _select_from_payload(result or {})
    return ServiceTask(
        state_id,
        integration="lambda:invoke",
        timeout_seconds=timeout_seconds,
        retry=retries.LAMBDA,
        parameters={"FunctionName": "${" + function + "}", "Payload": payload},
        **({"result_selector": selector} if selector else {}),
        **kwargs,
    )


def _select_from_payload(names: JsonObject) -> JsonObject:
    return {
        **{f"{name}.$": f"$.Payload.{path}" for name, path in names.items() if isinstance(path, str)},
        **{name: _select_from_payload(inner) for name, inner in names.items() if isinstance(inner, dict)},
    }


def run_glue_job(
    state_id: str, job: str, *, arguments: JsonObject, timeout_seconds: int = 14_400, **kwargs: Any
) -> ServiceTask:
    """Run the Glue job whose name the template puts for ``${job}``, to its end; its answer is dropped."""
    return ServiceTask(
        state_id,
        integration="glue:startJobRun.sync",
        timeout_seconds=timeout_seconds,
        retry=retries.GLUE_JOB,
        parameters={"JobName": "${" + job + "}", "Arguments": arguments},
        result_path=None,
        **kwargs,
    )


def formatted(template: str, *paths: str) -> str:
    """The intrinsic that puts the values at ``paths`` into ``template``'s ``{}``."""
    return f"States.Format('{template}', {', '.join(paths)})"


def attempt_name(template: str, *paths: str) -> str:
    """The same with redrive and retry counts appended: no attempt meets the name of an earlier one."""
    return formatted(template + "-{}-{}", *paths, "$$.Execution.RedriveCount", "$$.State.RetryCount")


def catch_all(next_step: State) -> list[Catch]:
    """Any error leads to ``next_step``, with ``{Error, Cause}`` at ``$.failure``."""
    return [Catch(error_equals=["States.ALL"], result_path="$.failure", next_step=next_step)]


def read_request(defaults: JsonObject) -> tuple[Pass, Pass]:
    """Two states that put the execution's input, completed by ``defaults``, at ``$.request``."""
    first = Pass(
        "Set defaults",
        comment="What an execution's input may leave out",
        result=defaults,
        result_path="$.defaults",
    )
    second = Pass(
        "Read the request",
        comment="The execution's input over the defaults; everything else starts from this",
        parameters={"request.$": "States.JsonMerge($.defaults, $$.Execution.Input, false)"},
    )
    first.next(second)
    return first, second


def definition(start: State, comment: str, timeout_seconds: int) -> JsonObject:
    """The whole machine as ASL."""
    result: JsonObject = Graph(start, comment=comment, timeout_seconds=timeout_seconds).to_dict()
    return result
