"""Autoscaling: what was set before is remembered, lifted where it is in the way, set anew, or put back."""

from __future__ import annotations

from typing import Any

from stepfunctions.steps.choice_rule import ChoiceRule
from stepfunctions.steps.states import Catch, Choice, State

from workflows import retries
from workflows.steps import InlineMap, JsonObject, ServiceTask

_DIMENSION = "sagemaker:variant:DesiredInstanceCount"
_TARGET: JsonObject = {
    "ServiceNamespace": "sagemaker",
    "ResourceId.$": "$.ResourceId",
    "ScalableDimension": _DIMENSION,
}


def remember(catch: list[Catch]) -> tuple[ServiceTask, ServiceTask]:
    """Two states: the scalable target of the variant that serves, and its target-tracking policies."""
    targets = _call(
        "Remember autoscaling",
        "describeScalableTargets",
        "What a rollback sets again",
        {
            "ServiceNamespace": "sagemaker",
            "ResourceIds.$": "States.Array($.deployment.scaling.resource_id)",
        },
        result_selector={"targets.$": "$.ScalableTargets"},
        result_path="$.scaling",
        catch=catch,
    )
    policies = _call(
        "Remember scaling policies",
        "describeScalingPolicies",
        "What a rollback sets again",
        {"ServiceNamespace": "sagemaker", "ResourceId.$": "$.deployment.scaling.resource_id"},
        result_selector={"policies.$": "$.ScalingPolicies[?(@.PolicyType=='TargetTrackingScaling')]"},
        result_path="$.scaling_policies",
        catch=catch,
    )
    targets.next(policies)
    return targets, policies


def lift_where_needed(then: State, catch: list[Catch]) -> Choice:
    """SageMaker changes no instance type under a scalable target."""
    lift = InlineMap(
        "Lift autoscaling",
        _call(
            "Deregister for autoscaling",
            "deregisterScalableTarget",
            "It is registered again once the new model serves, or the old one again",
            _TARGET,
        ),
        comment="The instance type changes, and SageMaker refuses that for a variant that is scaled",
        items_path="$.scaling.targets",
        result_path=None,
        catch=catch,
    )
    lift.next(then)
    choice = Choice("Is autoscaling in the way?", comment="Only where the instance type changes")
    choice.add_choice(ChoiceRule.BooleanEquals("$.deployment.scaling.lift", True), lift)
    choice.default_choice(then)
    return choice


def set_where_asked(then: State, catch: list[Catch]) -> Choice:
    """What the contract says; without a word of it there, autoscaling is left as it is."""
    register = _call(
        "Register for autoscaling",
        "registerScalableTarget",
        "Between how many instances the variant is scaled",
        {
            "ServiceNamespace": "sagemaker",
            "ResourceId.$": "$.deployment.autoscaling.resource_id",
            "ScalableDimension": _DIMENSION,
            "MinCapacity.$": "$.deployment.autoscaling.min_instances",
            "MaxCapacity.$": "$.deployment.autoscaling.max_instances",
        },
        result_path=None,
        catch=catch,
    )
    policy = _call(
        "Set the scaling policy",
        "putScalingPolicy",
        "How many requests a minute an instance is to get",
        {
            "PolicyName.$": "$.deployment.autoscaling.policy_name",
            "PolicyType": "TargetTrackingScaling",
            "ServiceNamespace": "sagemaker",
            "ResourceId.$": "$.deployment.autoscaling.resource_id",
            "ScalableDimension": _DIMENSION,
            "TargetTrackingScalingPolicyConfiguration.$": "$.deployment.autoscaling.policy",
        },
        result_path=None,
        catch=catch,
    )
    register.next(policy)
    policy.next(then)
    choice = Choice("Is autoscaling asked for?", comment="The contract's deployment.autoscaling")
    choice.add_choice(ChoiceRule.IsNull("$.deployment.autoscaling", True), then)
    choice.default_choice(register)
    return choice


def put_back(then: State, catch: list[Catch]) -> State:
    """Register and set again what was remembered."""
    targets = InlineMap(
        "Put autoscaling back",
        _call(
            "Register again for autoscaling",
            "registerScalableTarget",
            "With the limits that it had",
            {**_TARGET, "MinCapacity.$": "$.MinCapacity", "MaxCapacity.$": "$.MaxCapacity"},
        ),
        comment="The limits as they were before the deployment",
        items_path="$.scaling.targets",
        result_path=None,
        catch=catch,
    )
    policies = InlineMap(
        "Put scaling policies back",
        _call(
            "Set the scaling policy again",
            "putScalingPolicy",
            "With the target that it had",
            {
                **_TARGET,
                "PolicyName.$": "$.PolicyName",
                "PolicyType": "TargetTrackingScaling",
                "TargetTrackingScalingPolicyConfiguration.$": "$.TargetTrackingScalingPolicyConfiguration",
            },
        ),
        comment="The policies as they were before the deployment",
        items_path="$.scaling_policies.policies",
        result_path=None,
        catch=catch,
    )
    targets.next(policies)
    policies.next(then)
    return targets


def _call(name: str, action: str, comment: str, parameters: JsonObject, **kwargs: Any) -> ServiceTask:
    return ServiceTask(
        name,
        integration=f"aws-sdk:applicationautoscaling:{action}",
        comment=comment,
        timeout_seconds=60,
        retry=retries.AUTOSCALING,
        parameters=parameters,
        **kwargs,
    )
