"""The endpoint test, on staging and in production."""

from __future__ import annotations

from stepfunctions.steps.choice_rule import ChoiceRule
from stepfunctions.steps.states import Catch, Choice, State

from workflows.deployment.endpoint import Endpoint
from workflows.steps import ServiceTask, invoke_function

_ANSWER = (
    "verdict",
    "reasons",
    "rows",
    "requests",
    "latency_ms",
    "parity_difference",
    "refused",
    "sample",
)


def test_endpoint(name: str, endpoint: Endpoint, stage: str, catch: list[Catch]) -> ServiceTask:
    """The verdict and its numbers, at ``$.record.test``."""
    return invoke_function(
        name,
        "TestEndpointFunction",
        comment="Rows of the test split: the answers must equal the batch predictions, in time",
        payload={"endpoint_name.$": endpoint.name, "stage": stage, "test.$": "$.deployment.test"},
        result={member: member for member in _ANSWER},
        result_path="$.record.test",
        catch=catch,
    )


def judged_well(name: str, then: State, otherwise: State) -> Choice:
    verdict = Choice(name, comment="Anything but pass takes the new model back")
    verdict.add_choice(ChoiceRule.StringEquals("$.record.test.verdict", "pass"), then)
    verdict.default_choice(otherwise)
    return verdict
