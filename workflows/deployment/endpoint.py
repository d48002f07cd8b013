"""What is done to an endpoint, and how its state is read: the states that staging, production and rollback are made of.

Step Functions has no ``.sync`` for endpoints, so each change is followed by a loop: describe, decide, wait.
The first look comes at once. SageMaker itself ends every change, so the loops end too. What a look saw is kept
whole: the report reads the weights and statuses of every look from the history.
"""

from __future__ import annotations

from dataclasses import dataclass

from stepfunctions.steps.choice_rule import ChoiceRule
from stepfunctions.steps.states import Catch, State, Wait

from workflows import retries
from workflows.steps import JsonObject, ServiceTask

CHANGING = ("Creating", "Updating", "SystemUpdating", "RollingBack")
"""The statuses that SageMaker leaves by itself; ``Deleting`` too, but not towards a serving endpoint"""


@dataclass(frozen=True)
class Endpoint:
    """An endpoint whose name is at the path ``name``; the last look at it is kept at ``at``."""

    name: str
    at: str

    def status_in(self, *statuses: str) -> ChoiceRule:
        rules = [ChoiceRule.StringEquals(f"{self.at}.EndpointStatus", status) for status in statuses]
        return rules[0] if len(rules) == 1 else ChoiceRule.Or(rules)

    def configured(self, configuration: str) -> ChoiceRule:
        """Whether it has the configuration whose name is at a path."""
        return ChoiceRule.StringEqualsPath(f"{self.at}.EndpointConfigName", configuration)

    def serves(self, configuration: str) -> ChoiceRule:
        return ChoiceRule.And([self.status_in("InService"), self.configured(configuration)])

    def lacks_capacity(self) -> ChoiceRule:
        """AWS had no instances to give, or the account may have no more: no fault of the model's."""
        reason = f"{self.at}.FailureReason"
        patterns = ("*apacity*", "*ResourceLimitExceeded*")
        return ChoiceRule.And(
            [
                ChoiceRule.IsPresent(reason, True),
                ChoiceRule.Or([ChoiceRule.StringMatches(reason, pattern) for pattern in patterns]),
            ]
        )


PRODUCTION = Endpoint("$.deployment.endpoint_name", "$.endpoint")
STAGING = Endpoint("$.deployment.staging_endpoint_name", "$.staging")


def describe(
    name: str,
    comment: str,
    endpoint: Endpoint,
    catch: list[Catch],
    retry: retries.RetryPolicy = retries.SAGEMAKER_SDK,
) -> ServiceTask:
    """One look; give ``SAGEMAKER_LOOKUP`` where the endpoint may not exist."""
    return ServiceTask(
        name,
        integration="aws-sdk:sagemaker:describeEndpoint",
        comment=comment,
        timeout_seconds=60,
        retry=retry,
        parameters={"EndpointName.$": endpoint.name},
        result_path=endpoint.at,
        catch=catch,
    )


def not_found(next_step: State) -> Catch:
    """DescribeEndpoint's "Could not find endpoint" has no error of its own in SageMaker's model."""
    return Catch(
        error_equals=["SageMaker.SageMakerException"], result_path="$.not_found", next_step=next_step
    )


def create(
    name: str, comment: str, endpoint: Endpoint, configuration: str, catch: list[Catch]
) -> ServiceTask:
    return _change(name, "aws-sdk:sagemaker:createEndpoint", comment, endpoint, configuration, catch)


def update(
    name: str,
    comment: str,
    configuration: str,
    catch: list[Catch],
    traffic: str | None = None,
) -> ServiceTask:
    """Another configuration for production; without ``traffic`` all requests go over at once, when it is ready."""
    shift = {"DeploymentConfig.$": traffic} if traffic else {}
    return _change(name, "aws-sdk:sagemaker:updateEndpoint", comment, PRODUCTION, configuration, catch, shift)


def _change(
    name: str,
    integration: str,
    comment: str,
    endpoint: Endpoint,
    configuration: str,
    catch: list[Catch],
    more: JsonObject | None = None,
) -> ServiceTask:
    return ServiceTask(
        name,
        integration=integration,
        comment=comment,
        timeout_seconds=300,
        retry=[retries.SAGEMAKER_CAPACITY, retries.SAGEMAKER_SDK],
        parameters={"EndpointName.$": endpoint.name, "EndpointConfigName.$": configuration, **(more or {})},
        result_path=None,
        catch=catch,
    )


def delete(name: str, comment: str, endpoint: Endpoint, catch: list[Catch]) -> ServiceTask:
    return ServiceTask(
        name,
        integration="aws-sdk:sagemaker:deleteEndpoint",
        comment=comment,
        timeout_seconds=300,
        retry=retries.SAGEMAKER_SDK,
        parameters={"EndpointName.$": endpoint.name},
        result_path=None,
        catch=catch,
    )


def wait_and(name: str, then: State) -> Wait:
    """Wait before the next look at a changing endpoint."""
    wait = Wait(name, comment="Seconds from the stack's settings", seconds_path="$.deployment.poll_seconds")
    wait.next(then)
    return wait
