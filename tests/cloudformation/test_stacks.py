"""Stacks as a deployer sees them: values, statuses, events, rollback, change sets, nesting, refusals."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cloudformation.conftest import Deployer


def parameter(value: Any, **more: Any) -> dict[str, Any]:
    return {"Type": "AWS::SSM::Parameter", "Properties": {"Type": "String", "Value": value}, **more}


def body(resources: dict[str, Any], **sections: Any) -> str:
    return json.dumps({"Resources": resources, **sections})


BROKEN = {
    "Type": "AWS::SNS::Subscription",
    "Properties": {
        "TopicArn": "arn:aws:sns:us-east-1:210987654321:missing",
        "Protocol": "sqs",
        "Endpoint": "x",
    },
}

VALUES: dict[str, tuple[Any, str]] = {
    "pseudo parameters": (
        {"Fn::Sub": "${AWS::Region}/${AWS::AccountId}/${AWS::Partition}"},
        "us-east-1/210987654321/aws",
    ),
    "join, select, split": (
        {"Fn::Join": ["-", ["a", {"Fn::Select": ["1", {"Fn::Split": [",", "b,c"]}]}]]},
        "a-c",
    ),
    "sub with values and a literal": ({"Fn::Sub": ["${x}${!y}", {"x": {"Ref": "Size"}}]}, "3${y}"),
    "a mapping": ({"Fn::FindInMap": ["Sizes", {"Ref": "AWS::Region"}, "Main"]}, "large"),
    "if": ({"Fn::If": ["IsProd", "prod", {"Fn::If": ["IsSmall", "small", "big"]}]}, "small"),
    "a list parameter": ({"Fn::Join": ["|", {"Ref": "Names"}]}, "a|b"),
    "base64": ({"Fn::Base64": {"Fn::Sub": "x${Size}"}}, "eDM="),
    "json text": ({"Fn::ToJsonString": {"a": {"Ref": "Size"}}}, '{"a":"3"}'),
    "cidr": ({"Fn::Select": [1, {"Fn::Cidr": ["10.0.0.0/16", 2, 8]}]}, "10.0.1.0/24"),
    "a resource's attribute inside sub": ({"Fn::Sub": "${Topic.TopicName}!"}, "values-topic!"),
    "an SSM parameter": ("{{resolve:ssm:/triptych/shared}}", "shared value"),
}


def test_values_are_resolved(stacks: Deployer) -> None:
    stacks.running.client("ssm").put_parameter(Name="/triptych/shared", Type="String", Value="shared value")
    resources = {f"P{index}": parameter(value) for index, (value, _) in enumerate(VALUES.values())}
    resources["Topic"] = {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "values-topic"}}
    resources["Never"] = parameter("x", Condition="IsProd")
    name = stacks.create(
        body(
            resources,
            Parameters={
                "Size": {"Type": "Number", "Default": 3},
                "Names": {"Type": "CommaDelimitedList", "Default": "a, b"},
                "Stage": {"Type": "String", "AllowedValues": ["dev", "prod"], "Default": "dev"},
            },
            Mappings={"Sizes": {"us-east-1": {"Main": "large"}}},
            Conditions={
                "IsProd": {"Fn::Equals": [{"Ref": "Stage"}, "prod"]},
                "IsSmall": {"Fn::And": [{"Fn::Not": [{"Condition": "IsProd"}]}, {"Fn::Equals": [1, "1"]}]},
            },
            Outputs={
                f"O{index}": {"Value": {"Fn::GetAtt": [f"P{index}", "Value"]}} for index in range(len(VALUES))
            },
        )
    )
    assert stacks.status(name) == "CREATE_COMPLETE", stacks.reasons(name)
    outputs = stacks.outputs(name)
    found = {case: outputs[f"O{index}"] for index, case in enumerate(VALUES)}
    assert found == {case: expected for case, (_, expected) in VALUES.items()}
    assert "Never" not in stacks.resources(name)


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "no yaml": ("a: [", {}, "not well-formed"),
    "no resources": ("{}", {}, "At least one Resources member"),
    "a resource without a type": (body({"A": {}}), {}, "Every resource must contain a Type"),
    "an unknown type": (
        body({"Net": {"Type": "AWS::Nobody::Knows"}}),
        {},
        r"AWS::Nobody::Knows \(Net\).*AwsOnly",
    ),
    "a dangling reference": (
        body({"A": parameter({"Ref": "B"})}),
        {},
        r"Unresolved resource dependencies \[B\]",
    ),
    "a circle": (
        body({"A": parameter({"Ref": "B"}), "B": parameter({"Ref": "A"})}),
        {},
        "Circular dependency",
    ),
    "a parameter without a value": (
        body({"A": parameter({"Ref": "P"})}, Parameters={"P": {"Type": "String"}}),
        {},
        r"Parameters: \[P\] must have values",
    ),
    "a value that is not allowed": (
        body({"A": parameter({"Ref": "P"})}, Parameters={"P": {"Type": "String", "AllowedValues": ["x"]}}),
        {"Parameters": [{"ParameterKey": "P", "ParameterValue": "y"}]},
        "AllowedValues",
    ),
    "a value that breaks the pattern": (
        body(
            {"A": parameter({"Ref": "P"})},
            Parameters={
                "P": {"Type": "String", "AllowedPattern": "[a-z]+", "ConstraintDescription": "be lower"}
            },
        ),
        {"Parameters": [{"ParameterKey": "P", "ParameterValue": "Y"}]},
        "be lower",
    ),
    "a parameter that the template lacks": (
        body({"A": parameter("x")}),
        {"Parameters": [{"ParameterKey": "P", "ParameterValue": "y"}]},
        r"\[P\] do not exist",
    ),
    "a transform": (body({"A": parameter("x")}, Transform="AWS::Serverless-2016-10-31"), {}, "not supported"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_templates_are_refused_before_anything_is_made(
    case: str, stacks: Deployer, stack_name: str
) -> None:
    template, options, message = REFUSED[case]
    with pytest.raises(ClientError, match=message) as refusal:
        stacks.create(template, stack_name, **options)
    assert refusal.value.response["Error"]["Code"] == "ValidationError"
    with pytest.raises(ClientError, match="does not exist"):
        stacks.status(stack_name)


def test_iam_needs_a_capability(stacks: Deployer) -> None:
    template = body(
        {"Role": {"Type": "AWS::IAM::Role", "Properties": {"RoleName": "x", "AssumeRolePolicyDocument": {}}}}
    )
    with pytest.raises(ClientError, match="CAPABILITY_NAMED_IAM") as refusal:
        stacks.api.create_stack(StackName="nocap", TemplateBody=template, Capabilities=["CAPABILITY_IAM"])
    assert refusal.value.response["Error"]["Code"] == "InsufficientCapabilitiesException"


def test_aws_only_resources_are_left_out_and_listed(stacks: Deployer) -> None:
    name = stacks.create(
        body(
            {
                "Budget": {
                    "Type": "AWS::Budgets::Budget",
                    "Metadata": {"Triptych": {"AwsOnly": "nothing costs money here"}},
                },
                "Uses": {
                    "Type": "AWS::SNS::Topic",
                    "Properties": {"DisplayName": {"Ref": "Budget"}, "TopicName": "uses-budget"},
                },
            },
            Outputs={"Budget": {"Value": {"Ref": "Budget"}}, "Topic": {"Value": {"Ref": "Uses"}}},
        )
    )
    assert stacks.status(name) == "CREATE_COMPLETE", stacks.reasons(name)
    skipped = stacks.resources(name)["Budget"]
    assert skipped["ResourceStatus"] == "CREATE_SKIPPED"
    assert "nothing costs money here" in skipped["ResourceStatusReason"]
    assert set(stacks.outputs(name)) == {"Topic"}


def test_a_failure_rolls_back_with_its_reason(stacks: Deployer) -> None:
    name = stacks.create(body({"Good": parameter("x"), "Bad": {**BROKEN, "DependsOn": "Good"}}))
    assert stacks.status(name) == "ROLLBACK_COMPLETE"
    assert stacks.events(name) == [
        (name, "CREATE_IN_PROGRESS"),
        ("Good", "CREATE_IN_PROGRESS"),
        ("Good", "CREATE_COMPLETE"),
        ("Bad", "CREATE_IN_PROGRESS"),
        ("Bad", "CREATE_FAILED"),
        (name, "ROLLBACK_IN_PROGRESS"),
        ("Good", "DELETE_IN_PROGRESS"),
        ("Good", "DELETE_COMPLETE"),
        (name, "ROLLBACK_COMPLETE"),
    ]
    assert "Topic does not exist" in stacks.reasons(name)
    assert stacks.resources(name) == {}
    with pytest.raises(ClientError, match="ROLLBACK_COMPLETE state and can not be updated"):
        stacks.update(name, body({"Good": parameter("x")}))
    with pytest.raises(ClientError, match="ROLLBACK_COMPLETE state and can not be updated"):
        stacks.api.create_change_set(
            StackName=name, ChangeSetName="again", TemplateBody=body({"Good": parameter("x")})
        )
    stacks.api.delete_stack(StackName=name)
    stacks.create(body({"Good": parameter("x")}), name)
    assert stacks.status(name) == "CREATE_COMPLETE"


def test_a_failure_can_be_left_as_it_is(stacks: Deployer) -> None:
    name = stacks.create(
        body({"Good": parameter("x"), "Bad": {**BROKEN, "DependsOn": "Good"}}), OnFailure="DO_NOTHING"
    )
    assert stacks.status(name) == "CREATE_FAILED"
    assert stacks.resources(name)["Good"]["ResourceStatus"] == "CREATE_COMPLETE"
    assert stacks.resources(name)["Bad"]["ResourceStatus"] == "CREATE_FAILED"


def test_a_failed_update_goes_back_to_what_was(stacks: Deployer) -> None:
    before = body(
        {"Kept": parameter("one"), "Dropped": parameter("two")}, Outputs={"Value": {"Value": "before"}}
    )
    name = stacks.create(before)
    resources = {logical: one["PhysicalResourceId"] for logical, one in stacks.resources(name).items()}
    stacks.update(
        name,
        body(
            {
                "Kept": parameter("changed"),
                "New": parameter("three"),
                "Bad": {**BROKEN, "DependsOn": ["Kept", "New"]},
            },
            Outputs={"Value": {"Value": "after"}},
        ),
    )
    assert stacks.status(name) == "UPDATE_ROLLBACK_COMPLETE", stacks.reasons(name)
    assert {
        logical: one["PhysicalResourceId"] for logical, one in stacks.resources(name).items()
    } == resources
    ssm = stacks.running.client("ssm")
    assert ssm.get_parameter(Name=resources["Kept"])["Parameter"]["Value"] == "one"
    assert ssm.get_parameter(Name=resources["Dropped"])["Parameter"]["Value"] == "two"
    assert stacks.outputs(name) == {"Value": "before"}
    stacks.update(name, body({"Kept": parameter("works")}))
    assert stacks.status(name) == "UPDATE_COMPLETE"
    assert ssm.get_parameter(Name=resources["Kept"])["Parameter"]["Value"] == "works"
    with pytest.raises(ClientError, match="ParameterNotFound"):
        ssm.get_parameter(Name=resources["Dropped"])


def test_an_update_without_changes_is_refused(stacks: Deployer) -> None:
    template = body({"A": parameter("x")})
    name = stacks.create(template)
    with pytest.raises(ClientError, match="No updates are to be performed"):
        stacks.update(name, template)


def test_replacement_makes_the_new_before_it_deletes_the_old(stacks: Deployer) -> None:
    topic = {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "first-name"}}
    name = stacks.create(body({"Topic": topic, "Ref": parameter({"Ref": "Topic"})}))
    topic = {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "second-name"}}
    stacks.update(name, body({"Topic": topic, "Ref": parameter({"Ref": "Topic"})}))
    assert stacks.status(name) == "UPDATE_COMPLETE", stacks.reasons(name)
    arns = [one["TopicArn"] for one in stacks.running.client("sns").list_topics()["Topics"]]
    assert any(arn.endswith(":second-name") for arn in arns)
    assert not any(arn.endswith(":first-name") for arn in arns)
    value = stacks.resources(name)["Ref"]["PhysicalResourceId"]
    got = stacks.running.client("ssm").get_parameter(Name=value)["Parameter"]["Value"]
    assert got.endswith(":second-name")


def test_retained_resources_outlive_their_stack(stacks: Deployer) -> None:
    name = stacks.create(body({"Kept": parameter("x", DeletionPolicy="Retain")}))
    kept = stacks.resources(name)["Kept"]["PhysicalResourceId"]
    stack_id = stacks.api.describe_stacks(StackName=name)["Stacks"][0]["StackId"]
    stacks.api.delete_stack(StackName=name)
    assert stacks.status(stack_id) == "DELETE_COMPLETE"
    assert ("Kept", "DELETE_SKIPPED") in stacks.events(stack_id)
    assert stacks.running.client("ssm").get_parameter(Name=kept)["Parameter"]["Value"] == "x"


KEPT_UNLESS_NEW = parameter("x", DeletionPolicy="RetainExceptOnCreate")


def test_what_a_rolled_back_creation_made_is_not_retained(stacks: Deployer) -> None:
    name = stacks.create(body({"Kept": KEPT_UNLESS_NEW, "Bad": {**BROKEN, "DependsOn": "Kept"}}))
    assert stacks.status(name) == "ROLLBACK_COMPLETE"
    assert ("Kept", "DELETE_COMPLETE") in stacks.events(name)


def test_what_a_rolled_back_update_made_is_not_retained_but_what_was_there_is(stacks: Deployer) -> None:
    name = stacks.create(body({"Kept": KEPT_UNLESS_NEW}))
    old = stacks.resources(name)["Kept"]["PhysicalResourceId"]
    resources = {"Kept": KEPT_UNLESS_NEW, "New": KEPT_UNLESS_NEW, "Bad": {**BROKEN, "DependsOn": "New"}}
    stacks.update(name, body(resources))
    assert stacks.status(name) == "UPDATE_ROLLBACK_COMPLETE"
    assert ("New", "DELETE_COMPLETE") in stacks.events(name)
    stack_id = stacks.api.describe_stacks(StackName=name)["Stacks"][0]["StackId"]
    stacks.api.delete_stack(StackName=name)
    assert ("Kept", "DELETE_SKIPPED") in stacks.events(stack_id)
    assert stacks.running.client("ssm").get_parameter(Name=old)["Parameter"]["Value"] == "x"


def test_a_rolled_back_creation_takes_its_nested_stacks_along(stacks: Deployer) -> None:
    stacks.running.objects.put_bytes("deploy", "kept.json", body({"Kept": KEPT_UNLESS_NEW}).encode())
    child = {
        "Type": "AWS::CloudFormation::Stack",
        "DeletionPolicy": "RetainExceptOnCreate",
        "Properties": {"TemplateURL": "s3://deploy/kept.json"},
    }
    name = stacks.create(body({"Child": child, "Bad": {**BROKEN, "DependsOn": "Child"}}))
    assert stacks.status(name) == "ROLLBACK_COMPLETE"
    assert ("Child", "DELETE_COMPLETE") in stacks.events(name)
    events = stacks.api.describe_stack_events(StackName=name)["StackEvents"]
    [child_id] = {e["PhysicalResourceId"] for e in events if e["ResourceStatus"] == "DELETE_COMPLETE"}
    assert ("Kept", "DELETE_COMPLETE") in stacks.events(child_id)


def test_exports_are_imported_and_guarded(stacks: Deployer) -> None:
    exporter = stacks.create(
        body({"A": parameter("x")}, Outputs={"Out": {"Value": "shared-42", "Export": {"Name": "the-export"}}})
    )
    importer = stacks.create(body({"B": parameter({"Fn::ImportValue": "the-export"})}))
    assert stacks.status(importer) == "CREATE_COMPLETE", stacks.reasons(importer)
    assert stacks.api.list_imports(ExportName="the-export")["Imports"] == [importer]
    with pytest.raises(ClientError, match="in use by"):
        stacks.api.delete_stack(StackName=exporter)
    stacks.api.delete_stack(StackName=importer)
    stacks.api.delete_stack(StackName=exporter)
    assert stacks.api.list_exports()["Exports"] == []


CHILD = body(
    {"Inner": parameter({"Ref": "Value"})},
    Parameters={"Value": {"Type": "String"}},
    Outputs={"Name": {"Value": {"Ref": "Inner"}}, "Echo": {"Value": {"Ref": "Value"}}},
)


def nested(value: str, url: str = "https://s3.us-east-1.amazonaws.com/deploy/child.json") -> str:
    return body(
        {
            "Child": {
                "Type": "AWS::CloudFormation::Stack",
                "Properties": {"TemplateURL": url, "Parameters": {"Value": value}},
            },
            "Outer": parameter({"Fn::GetAtt": ["Child", "Outputs.Echo"]}),
        },
        Outputs={"Inner": {"Value": {"Fn::GetAtt": ["Child", "Outputs.Name"]}}},
    )


@pytest.mark.parametrize(
    "url",
    [
        "https://s3.us-east-1.amazonaws.com/deploy/child.json",
        "https://deploy.s3.amazonaws.com/child.json",
        "http://127.0.0.1:4599/deploy/child.json",
        "s3://deploy/child.json",
    ],
)
def test_nested_stacks_take_parameters_and_give_outputs(url: str, stacks: Deployer) -> None:
    stacks.running.objects.put_bytes("deploy", "child.json", CHILD.encode())
    name = stacks.create(nested("one", url))
    assert stacks.status(name) == "CREATE_COMPLETE", stacks.reasons(name)
    inner, ssm = stacks.outputs(name)["Inner"], stacks.running.client("ssm")
    assert ssm.get_parameter(Name=inner)["Parameter"]["Value"] == "one"
    stacks.update(name, nested("two", url))
    assert stacks.status(name) == "UPDATE_COMPLETE", stacks.reasons(name)
    assert ssm.get_parameter(Name=inner)["Parameter"]["Value"] == "two"
    child = stacks.resources(name)["Child"]["PhysicalResourceId"]
    described = stacks.api.describe_stacks(StackName=child)["Stacks"][0]
    assert described["RootId"] == described["ParentId"]
    stacks.api.delete_stack(StackName=name)
    assert stacks.status(child) == "DELETE_COMPLETE"


def test_a_failure_in_a_nested_stack_names_the_resource_within(stacks: Deployer) -> None:
    stacks.running.objects.put_bytes("deploy", "broken.json", body({"Inside": BROKEN}).encode())
    name = stacks.create(
        body(
            {
                "Child": {
                    "Type": "AWS::CloudFormation::Stack",
                    "Properties": {"TemplateURL": "s3://deploy/broken.json"},
                }
            }
        )
    )
    assert stacks.status(name) == "ROLLBACK_COMPLETE"
    assert "Inside: Topic does not exist" in stacks.reasons(name)


def test_change_sets_plan_and_execute(stacks: Deployer, stack_name: str) -> None:
    api = stacks.api
    first = body({"A": parameter("x"), "B": parameter("y")})
    api.create_change_set(
        StackName=stack_name, ChangeSetName="one", ChangeSetType="CREATE", TemplateBody=first
    )
    assert stacks.status(stack_name) == "REVIEW_IN_PROGRESS"
    planned = api.describe_change_set(StackName=stack_name, ChangeSetName="one")
    assert [change["ResourceChange"]["Action"] for change in planned["Changes"]] == ["Add", "Add"]
    api.execute_change_set(StackName=stack_name, ChangeSetName="one")
    assert stacks.status(stack_name) == "CREATE_COMPLETE"
    second = body({"A": parameter("changed"), "C": parameter("z")})
    api.create_change_set(StackName=stack_name, ChangeSetName="two", TemplateBody=second)
    planned = api.describe_change_set(StackName=stack_name, ChangeSetName="two")
    actions = {
        change["ResourceChange"]["LogicalResourceId"]: change["ResourceChange"]["Action"]
        for change in planned["Changes"]
    }
    assert actions == {"A": "Modify", "B": "Remove", "C": "Add"}
    api.execute_change_set(StackName=stack_name, ChangeSetName="two")
    assert stacks.status(stack_name) == "UPDATE_COMPLETE"
    assert set(stacks.resources(stack_name)) == {"A", "C"}
    api.create_change_set(StackName=stack_name, ChangeSetName="three", TemplateBody=second)
    planned = api.describe_change_set(StackName=stack_name, ChangeSetName="three")
    assert (planned["Status"], planned["ExecutionStatus"]) == ("FAILED", "UNAVAILABLE")
    assert "didn't contain changes" in planned["StatusReason"]


def test_yaml_short_forms(stacks: Deployer) -> None:
    template = """
AWSTemplateFormatVersion: "2010-09-09"
Parameters:
  Stage: {Type: String, Default: dev}
Conditions:
  IsDev: !Equals [!Ref Stage, dev]
Resources:
  Topic:
    Type: AWS::SNS::Topic
    Properties:
      TopicName: !Sub "${Stage}-${AWS::Region}"
  Value:
    Type: AWS::SSM::Parameter
    Condition: IsDev
    Properties:
      Type: String
      Value: !Join ["/", [!GetAtt Topic.TopicName, !If [IsDev, yes-it-is, !Ref "AWS::NoValue"], 2013-01-01]]
Outputs:
  Value: {Value: !GetAtt Value.Value}
"""
    name = stacks.create(template)
    assert stacks.outputs(name) == {"Value": "dev-us-east-1/yes-it-is/2013-01-01"}
    assert stacks.api.get_template(StackName=name)["TemplateBody"].strip() == template.strip()
    summary = stacks.api.validate_template(TemplateBody=template)
    assert summary["Parameters"] == [{"ParameterKey": "Stage", "DefaultValue": "dev", "NoEcho": False}]


def test_hidden_parameters_stay_hidden(stacks: Deployer) -> None:
    template = body({"A": parameter("x")}, Parameters={"Secret": {"Type": "String", "NoEcho": True}})
    name = stacks.create(template, Parameters=[{"ParameterKey": "Secret", "ParameterValue": "hush"}])
    shown = stacks.api.describe_stacks(StackName=name)["Stacks"][0]["Parameters"]
    assert shown == [{"ParameterKey": "Secret", "ParameterValue": "****"}]


def test_termination_protection(stacks: Deployer) -> None:
    name = stacks.create(body({"A": parameter("x")}), EnableTerminationProtection=True)
    with pytest.raises(ClientError, match="TerminationProtection is enabled"):
        stacks.api.delete_stack(StackName=name)
    stacks.api.update_termination_protection(StackName=name, EnableTerminationProtection=False)
    stacks.api.delete_stack(StackName=name)
