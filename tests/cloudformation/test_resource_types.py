"""Each resource type is really made, updated and deleted: seen through its own service's API."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cloudformation.conftest import Deployer

TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}
POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}],
}
ROLE = {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": TRUST}}
Client = Callable[[str], Any]


@dataclass
class Case:
    """``look`` finds what the service says of the resource, None where it is gone."""

    properties: dict[str, Any]
    look: Callable[[Client, str], Any]
    changed: dict[str, Any] | None = None
    """properties after the update; None: the type has no update in place worth testing"""
    after: Callable[[Client, str], Any] | None = None
    """what to see after the update"""
    expected: Any = None
    replaced: bool = False
    around: dict[str, Any] | None = None
    """further resources"""
    outputs: tuple[str, ...] = ()
    """attributes that GetAtt must give"""


def gone(call: Callable[[], Any]) -> Any:
    from botocore.exceptions import ClientError

    try:
        return call()
    except ClientError as error:
        code = error.response["Error"]["Code"]
        words = ("NotFound", "NoSuch", "NonExistent", "404", "Validation", "DoesNotExist")
        if not any(word in code for word in words):
            raise
        return None


def rule_targets(client: Client, name: str) -> Any:
    return client("events").list_targets_by_rule(Rule=name)["Targets"]


VARIANT = {
    "ServiceNamespace": "sagemaker",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}


def scalable(resource: str, maximum: int, *actions: str) -> dict[str, Any]:
    scheduled = [
        {"ScheduledActionName": name, "Schedule": "rate(1 day)", "ScalableTargetAction": {"MinCapacity": 2}}
        for name in actions
    ]
    return {
        **VARIANT,
        "ResourceId": f"endpoint/{resource}/variant/v",
        "MinCapacity": 1,
        "MaxCapacity": maximum,
        **({"ScheduledActions": scheduled} if actions else {}),
    }


def tracking(resource: Any, target: float) -> dict[str, Any]:
    metric = {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}
    return {
        "ScalingTargetId": resource,
        "PolicyName": "load",
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {
            "PredefinedMetricSpecification": metric,
            "TargetValue": target,
        },
    }


def scalable_target(client: Client, name: str) -> Any:
    """Its maximum, and its scheduled actions' names."""
    found = client("application-autoscaling").describe_scalable_targets(
        ServiceNamespace="sagemaker", ResourceIds=[name.split("|")[0]]
    )["ScalableTargets"]
    actions = client("application-autoscaling").describe_scheduled_actions(
        ServiceNamespace="sagemaker", ResourceId=name.split("|")[0]
    )["ScheduledActions"]
    names = [action["ScheduledActionName"] for action in actions]
    return (found[0]["MaxCapacity"], names) if found else None


def scaling_policy(client: Client, name: str) -> Any:
    """Its target value."""
    found = client("application-autoscaling").describe_scaling_policies(ServiceNamespace="sagemaker")
    policies = [policy for policy in found["ScalingPolicies"] if policy["PolicyName"] in name]
    return policies[0]["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] if policies else None


CASES: dict[str, Case] = {
    "AWS::ApplicationAutoScaling::ScalableTarget": Case(
        scalable("one", 3, "morning", "evening"),
        look=scalable_target,
        changed=scalable("one", 5, "evening", "night"),
        after=scalable_target,
        expected=(5, ["evening", "night"]),
        outputs=("Id",),
    ),
    "AWS::ApplicationAutoScaling::ScalingPolicy": Case(
        tracking({"Ref": "Target"}, 50),
        look=scaling_policy,
        changed=tracking({"Ref": "Target"}, 70),
        after=scaling_policy,
        expected=70.0,
        around={
            "Target": {
                "Type": "AWS::ApplicationAutoScaling::ScalableTarget",
                "Properties": scalable("two", 3),
            }
        },
        outputs=("Arn",),
    ),
    "AWS::IAM::Role": Case(
        {
            "AssumeRolePolicyDocument": TRUST,
            "Policies": [{"PolicyName": "read", "PolicyDocument": POLICY}],
            "ManagedPolicyArns": ["arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"],
        },
        look=lambda client, name: gone(lambda: client("iam").get_role(RoleName=name)),
        changed={
            "AssumeRolePolicyDocument": TRUST,
            "Policies": [{"PolicyName": "other", "PolicyDocument": POLICY}],
        },
        after=lambda client, name: (
            client("iam").list_role_policies(RoleName=name)["PolicyNames"],
            client("iam").list_attached_role_policies(RoleName=name)["AttachedPolicies"],
        ),
        expected=(["other"], []),
        outputs=("Arn", "RoleId"),
    ),
    "AWS::IAM::Policy": Case(
        {"PolicyName": "inline", "PolicyDocument": POLICY, "Roles": [{"Ref": "Role"}]},
        look=lambda client, name: True,
        around={"Role": ROLE},
    ),
    "AWS::IAM::ManagedPolicy": Case(
        {"PolicyDocument": POLICY},
        look=lambda client, name: gone(lambda: client("iam").get_policy(PolicyArn=name)),
        changed={
            "PolicyDocument": {**POLICY, "Statement": [{**POLICY["Statement"][0], "Action": "s3:PutObject"}]}
        },
        after=lambda client, name: client("iam").get_policy(PolicyArn=name)["Policy"]["DefaultVersionId"],
        expected="v2",
    ),
    "AWS::S3::Bucket": Case(
        {
            "VersioningConfiguration": {"Status": "Enabled"},
            "BucketEncryption": {
                "ServerSideEncryptionConfiguration": [
                    {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
                ]
            },
            "PublicAccessBlockConfiguration": {
                "BlockPublicAcls": True,
                "BlockPublicPolicy": "true",
                "IgnorePublicAcls": True,
                "RestrictPublicBuckets": True,
            },
            "NotificationConfiguration": {"EventBridgeConfiguration": {"EventBridgeEnabled": True}},
            "LifecycleConfiguration": {
                "Rules": [
                    {
                        "Id": "old",
                        "Status": "Enabled",
                        "NoncurrentVersionExpiration": {"NoncurrentDays": 30},
                        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
                    }
                ]
            },
        },
        look=lambda client, name: gone(lambda: client("s3").head_bucket(Bucket=name)),
        changed={"VersioningConfiguration": {"Status": "Suspended"}},
        after=lambda client, name: client("s3").get_bucket_versioning(Bucket=name)["Status"],
        expected="Suspended",
        outputs=("Arn", "DomainName", "RegionalDomainName"),
    ),
    "AWS::Logs::LogGroup": Case(
        {"RetentionInDays": 14},
        look=lambda client, name: (
            client("logs").describe_log_groups(logGroupNamePrefix=name)["logGroups"] or None
        ),
        changed={"RetentionInDays": 30},
        after=lambda client, name: client("logs").describe_log_groups(logGroupNamePrefix=name)["logGroups"][
            0
        ]["retentionInDays"],
        expected=30,
        outputs=("Arn",),
    ),
    "AWS::SNS::Topic": Case(
        {"DisplayName": "news"},
        look=lambda client, name: gone(lambda: client("sns").get_topic_attributes(TopicArn=name)),
        changed={"DisplayName": "other"},
        after=lambda client, name: client("sns").get_topic_attributes(TopicArn=name)["Attributes"][
            "DisplayName"
        ],
        expected="other",
        outputs=("TopicArn", "TopicName"),
    ),
    "AWS::SNS::Subscription": Case(
        {
            "TopicArn": {"Ref": "Topic"},
            "Protocol": "sqs",
            "Endpoint": {"Fn::GetAtt": ["Queue", "Arn"]},
            "RawMessageDelivery": True,
        },
        look=lambda client, name: gone(
            lambda: client("sns").get_subscription_attributes(SubscriptionArn=name)
        ),
        around={"Topic": {"Type": "AWS::SNS::Topic"}, "Queue": {"Type": "AWS::SQS::Queue"}},
    ),
    "AWS::SNS::TopicPolicy": Case(
        {
            "Topics": [{"Ref": "Topic"}],
            "PolicyDocument": {**POLICY, "Statement": [{**POLICY["Statement"][0], "Principal": "*"}]},
        },
        look=lambda client, name: True,
        around={"Topic": {"Type": "AWS::SNS::Topic"}},
    ),
    "AWS::SQS::Queue": Case(
        {"VisibilityTimeout": "60"},
        look=lambda client, name: gone(
            lambda: client("sqs").get_queue_attributes(QueueUrl=name, AttributeNames=["All"])
        ),
        changed={"VisibilityTimeout": 90},
        after=lambda client, name: client("sqs").get_queue_attributes(QueueUrl=name, AttributeNames=["All"])[
            "Attributes"
        ]["VisibilityTimeout"],
        expected="90",
        outputs=("Arn", "QueueName"),
    ),
    "AWS::SQS::QueuePolicy": Case(
        {
            "Queues": [{"Ref": "Queue"}],
            "PolicyDocument": {
                **POLICY,
                "Statement": [{**POLICY["Statement"][0], "Action": "sqs:SendMessage", "Principal": "*"}],
            },
        },
        look=lambda client, name: True,
        around={"Queue": {"Type": "AWS::SQS::Queue"}},
    ),
    "AWS::SSM::Parameter": Case(
        {"Type": "String", "Value": "one"},
        look=lambda client, name: gone(lambda: client("ssm").get_parameter(Name=name)),
        changed={"Type": "String", "Value": "two"},
        after=lambda client, name: client("ssm").get_parameter(Name=name)["Parameter"]["Value"],
        expected="two",
        outputs=("Type", "Value"),
    ),
    "AWS::KMS::Key": Case(
        {"Description": "data", "EnableKeyRotation": True},
        look=lambda client, name: (
            client("kms").describe_key(KeyId=name)["KeyMetadata"]["KeyState"] == "Enabled" or None
        ),
        changed={"Description": "more", "EnableKeyRotation": False},
        after=lambda client, name: client("kms").get_key_rotation_status(KeyId=name)["KeyRotationEnabled"],
        expected=False,
        outputs=("Arn",),
    ),
    "AWS::KMS::Alias": Case(
        {"AliasName": "alias/triptych-test", "TargetKeyId": {"Ref": "Key"}},
        look=lambda client, name: (
            [one for one in client("kms").list_aliases()["Aliases"] if one["AliasName"] == name] or None
        ),
        around={"Key": {"Type": "AWS::KMS::Key", "Properties": {}}},
    ),
    "AWS::DynamoDB::Table": Case(
        {
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
            "TimeToLiveSpecification": {"AttributeName": "expires", "Enabled": True},
            "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
        },
        look=lambda client, name: gone(lambda: client("dynamodb").describe_table(TableName=name)),
        outputs=("Arn",),
    ),
    "AWS::CloudWatch::Alarm": Case(
        {
            "Namespace": "Triptych",
            "MetricName": "drift",
            "Threshold": "0.2",
            "ComparisonOperator": "GreaterThanThreshold",
            "EvaluationPeriods": 1,
            "Period": 60,
            "Statistic": "Maximum",
        },
        look=lambda client, name: (
            client("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"] or None
        ),
        changed={
            "Namespace": "Triptych",
            "MetricName": "drift",
            "Threshold": 0.5,
            "ComparisonOperator": "GreaterThanThreshold",
            "EvaluationPeriods": 1,
            "Period": 60,
            "Statistic": "Maximum",
        },
        after=lambda client, name: client("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"][0][
            "Threshold"
        ],
        expected=0.5,
        outputs=("Arn",),
    ),
    "AWS::CloudWatch::CompositeAlarm": Case(
        {"AlarmRule": {"Fn::Sub": "ALARM(${Child})"}},
        look=lambda client, name: (
            client("cloudwatch").describe_alarms(AlarmNames=[name], AlarmTypes=["CompositeAlarm"])[
                "CompositeAlarms"
            ]
            or None
        ),
        changed={"AlarmRule": {"Fn::Sub": "OK(${Child})"}, "AlarmDescription": "well"},
        after=lambda client, name: client("cloudwatch").describe_alarms(
            AlarmNames=[name], AlarmTypes=["CompositeAlarm"]
        )["CompositeAlarms"][0]["AlarmDescription"],
        expected="well",
        around={
            "Child": {
                "Type": "AWS::CloudWatch::Alarm",
                "Properties": {
                    "Namespace": "Triptych",
                    "MetricName": "drift",
                    "Threshold": 1,
                    "ComparisonOperator": "GreaterThanThreshold",
                    "EvaluationPeriods": 1,
                    "Period": 60,
                    "Statistic": "Maximum",
                },
            }
        },
        outputs=("Arn",),
    ),
    "AWS::CloudWatch::Dashboard": Case(
        {"DashboardBody": {"widgets": []}},
        look=lambda client, name: gone(lambda: client("cloudwatch").get_dashboard(DashboardName=name)),
    ),
    "AWS::Events::Rule": Case(
        {
            "EventPattern": {"source": ["aws.s3"]},
            "Targets": [
                {
                    "Id": "machine",
                    "Arn": "arn:aws:states:us-east-1:210987654321:stateMachine:pipeline",
                    "RoleArn": "arn:aws:iam::210987654321:role/start",
                    "InputTransformer": {
                        "InputPathsMap": {"key": "$.detail.object.key"},
                        "InputTemplate": '{"key": <key>}',
                    },
                }
            ],
        },
        look=lambda client, name: gone(lambda: client("events").describe_rule(Name=name)),
        changed={
            "EventPattern": {"source": ["aws.s3"]},
            "State": "DISABLED",
            "Targets": [{"Id": "queue", "Arn": "arn:aws:sqs:us-east-1:210987654321:queue"}],
        },
        after=lambda client, name: [target["Id"] for target in rule_targets(client, name)],
        expected=["queue"],
        outputs=("Arn",),
    ),
    "AWS::Scheduler::ScheduleGroup": Case(
        {},
        look=lambda client, name: gone(lambda: client("scheduler").get_schedule_group(Name=name)),
        outputs=("Arn",),
    ),
    "AWS::Scheduler::Schedule": Case(
        {
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "ScheduleExpression": "rate(1 day)",
            "Target": {
                "Arn": "arn:aws:states:us-east-1:210987654321:stateMachine:pipeline",
                "RoleArn": "arn:aws:iam::210987654321:role/start",
                "Input": "{}",
            },
        },
        look=lambda client, name: gone(lambda: client("scheduler").get_schedule(Name=name)),
        changed={
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "ScheduleExpression": "rate(2 days)",
            "Target": {
                "Arn": "arn:aws:states:us-east-1:210987654321:stateMachine:pipeline",
                "RoleArn": "arn:aws:iam::210987654321:role/start",
            },
        },
        after=lambda client, name: client("scheduler").get_schedule(Name=name)["ScheduleExpression"],
        expected="rate(2 days)",
        outputs=("Arn",),
    ),
    "AWS::Glue::Job": Case(
        {
            "Role": "arn:aws:iam::210987654321:role/glue",
            "Command": {"Name": "glueetl", "ScriptLocation": "s3://code/job.py", "PythonVersion": "3"},
            "GlueVersion": "5.0",
            "NumberOfWorkers": "2",
            "WorkerType": "G.1X",
            "DefaultArguments": {"--a": "b"},
            "Tags": {"team": "ml"},
        },
        look=lambda client, name: gone(lambda: client("glue").get_job(JobName=name)),
        changed={
            "Role": "arn:aws:iam::210987654321:role/glue",
            "Command": {"Name": "glueetl", "ScriptLocation": "s3://code/other.py", "PythonVersion": "3"},
        },
        after=lambda client, name: client("glue").get_job(JobName=name)["Job"]["Command"]["ScriptLocation"],
        expected="s3://code/other.py",
    ),
    "AWS::Glue::Database": Case(
        {
            "CatalogId": {"Ref": "AWS::AccountId"},
            "DatabaseInput": {"Name": "flights_test", "Description": "x"},
        },
        look=lambda client, name: gone(lambda: client("glue").get_database(Name=name)),
        changed={
            "CatalogId": {"Ref": "AWS::AccountId"},
            "DatabaseInput": {"Name": "flights_test", "Description": "y"},
        },
        after=lambda client, name: client("glue").get_database(Name=name)["Database"]["Description"],
        expected="y",
    ),
    "AWS::Glue::Table": Case(
        {
            "CatalogId": {"Ref": "AWS::AccountId"},
            "DatabaseName": {"Ref": "Database"},
            "TableInput": {
                "Name": "flights",
                "StorageDescriptor": {
                    "Location": "s3://data/flights",
                    "Columns": [{"Name": "day", "Type": "int"}],
                },
            },
        },
        look=lambda client, name: True,
        around={
            "Database": {
                "Type": "AWS::Glue::Database",
                "Properties": {"CatalogId": {"Ref": "AWS::AccountId"}, "DatabaseInput": {}},
            }
        },
    ),
    "AWS::Glue::Crawler": Case(
        {
            "Role": "arn:aws:iam::210987654321:role/glue",
            "DatabaseName": "flights_test",
            "Targets": {"S3Targets": [{"Path": "s3://data/raw"}]},
            "Schedule": {"ScheduleExpression": "cron(0 1 * * ? *)"},
        },
        look=lambda client, name: gone(lambda: client("glue").get_crawler(Name=name)),
    ),
    "AWS::Glue::SecurityConfiguration": Case(
        {"EncryptionConfiguration": {"S3Encryptions": [{"S3EncryptionMode": "SSE-S3"}]}},
        look=lambda client, name: gone(lambda: client("glue").get_security_configuration(Name=name)),
    ),
    "AWS::SageMaker::ModelPackageGroup": Case(
        {"ModelPackageGroupDescription": "delays"},
        look=lambda client, name: gone(
            lambda: client("sagemaker").describe_model_package_group(
                ModelPackageGroupName=name.rsplit("/", 1)[-1]
            )
        ),
        changed={"ModelPackageGroupDescription": "other"},
        after=lambda client, name: client("sagemaker").describe_model_package_group(
            ModelPackageGroupName=name.rsplit("/", 1)[-1]
        )["ModelPackageGroupDescription"],
        expected="other",
        replaced=True,
    ),
    "AWS::ECR::Repository": Case(
        {"ImageTagMutability": "IMMUTABLE"},
        look=lambda client, name: gone(lambda: client("ecr").describe_repositories(repositoryNames=[name])),
        outputs=("Arn", "RepositoryUri"),
    ),
    "AWS::Athena::WorkGroup": Case(
        {"WorkGroupConfiguration": {"ResultConfiguration": {"OutputLocation": "s3://data/athena/"}}},
        look=lambda client, name: (
            [group for group in client("athena").list_work_groups()["WorkGroups"] if group["Name"] == name]
            or None
        ),
    ),
    "AWS::StepFunctions::StateMachine": Case(
        {
            "RoleArn": {"Fn::GetAtt": ["Role", "Arn"]},
            "DefinitionString": '{"StartAt": "A", "States": {"A": {"Type": "Pass", "Result": "${what}",'
            ' "End": true}}}',
            "DefinitionSubstitutions": {"what": 'say "hi"'},
        },
        look=lambda client, name: gone(
            lambda: client("stepfunctions").describe_state_machine(stateMachineArn=name)
        ),
        changed={
            "RoleArn": {"Fn::GetAtt": ["Role", "Arn"]},
            "Definition": {"StartAt": "B", "States": {"B": {"Type": "Succeed"}}},
        },
        after=lambda client, name: json.loads(
            client("stepfunctions").describe_state_machine(stateMachineArn=name)["definition"]
        )["StartAt"],
        expected="B",
        around={"Role": ROLE},
        outputs=("Arn", "Name"),
    ),
    "AWS::Lambda::Function": Case(
        {
            "Runtime": "python3.11",
            "Handler": "index.handler",
            "Role": {"Fn::GetAtt": ["Role", "Arn"]},
            "Code": {"ZipFile": "def handler(event, context): return 1"},
            "Timeout": "30",
            "Environment": {"Variables": {"A": 1}},
        },
        look=lambda client, name: gone(lambda: client("lambda").get_function(FunctionName=name)),
        changed={
            "Runtime": "python3.11",
            "Handler": "index.handler",
            "Role": {"Fn::GetAtt": ["Role", "Arn"]},
            "Code": {"ZipFile": "def handler(event, context): return 1"},
            "Timeout": 60,
        },
        after=lambda client, name: client("lambda").get_function(FunctionName=name)["Configuration"][
            "Timeout"
        ],
        expected=60,
        around={"Role": ROLE},
        outputs=("Arn",),
    ),
}


def template(kind: str, case: Case, properties: dict[str, Any]) -> str:
    resource: dict[str, Any] = {"Type": kind, "Properties": properties}
    outputs = {name: {"Value": {"Fn::GetAtt": ["It", name]}} for name in case.outputs}
    return json.dumps({"Resources": {**(case.around or {}), "It": resource}, "Outputs": outputs})


@pytest.mark.parametrize("kind", CASES)
def test_a_resource_is_made_changed_and_deleted(kind: str, stacks: Deployer) -> None:
    case, client = CASES[kind], stacks.running.client
    name = stacks.create(template(kind, case, case.properties))
    assert stacks.status(name) == "CREATE_COMPLETE", stacks.reasons(name)
    physical_id = stacks.resources(name)["It"]["PhysicalResourceId"]
    assert case.look(client, physical_id) is not None
    assert all(stacks.outputs(name).values())
    assert set(stacks.outputs(name)) == set(case.outputs)
    if case.changed is not None and case.after is not None:
        stacks.update(name, template(kind, case, case.changed))
        assert stacks.status(name) == "UPDATE_COMPLETE", stacks.reasons(name)
        again = stacks.resources(name)["It"]["PhysicalResourceId"]
        assert (again != physical_id) == case.replaced
        physical_id = again
        assert case.after(client, physical_id) == case.expected
    stacks.api.delete_stack(StackName=name)
    assert name not in {stack["StackName"] for stack in stacks.api.describe_stacks()["Stacks"]}
    if case.look(client, physical_id) is not True:
        assert case.look(client, physical_id) is None


def test_lambda_code_and_layers_come_from_the_object_store(stacks: Deployer) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr("handler.py", "def handler(event, context): return event")
    stacks.running.objects.put_bytes("deploy", "code.zip", archive.getvalue())
    name = stacks.create(
        json.dumps(
            {
                "Resources": {
                    "Role": ROLE,
                    "Layer": {
                        "Type": "AWS::Lambda::LayerVersion",
                        "Properties": {"Content": {"S3Bucket": "deploy", "S3Key": "code.zip"}},
                    },
                    "Function": {
                        "Type": "AWS::Lambda::Function",
                        "Properties": {
                            "Runtime": "python3.11",
                            "Handler": "handler.handler",
                            "Role": {"Fn::GetAtt": ["Role", "Arn"]},
                            "Code": {"S3Bucket": "deploy", "S3Key": "code.zip"},
                            "Layers": [{"Ref": "Layer"}],
                        },
                    },
                    "Permission": {
                        "Type": "AWS::Lambda::Permission",
                        "Properties": {
                            "FunctionName": {"Fn::GetAtt": ["Function", "Arn"]},
                            "Action": "lambda:InvokeFunction",
                            "Principal": "events.amazonaws.com",
                        },
                    },
                    "Version": {
                        "Type": "AWS::Lambda::Version",
                        "Properties": {"FunctionName": {"Ref": "Function"}},
                    },
                    "Alias": {
                        "Type": "AWS::Lambda::Alias",
                        "Properties": {
                            "FunctionName": {"Ref": "Function"},
                            "Name": "live",
                            "FunctionVersion": {"Fn::GetAtt": ["Version", "Version"]},
                        },
                    },
                }
            }
        )
    )
    assert stacks.status(name) == "CREATE_COMPLETE", stacks.reasons(name)
    function = stacks.resources(name)["Function"]["PhysicalResourceId"]
    found = stacks.running.client("lambda").get_function(FunctionName=function)["Configuration"]
    assert found["CodeSize"] == len(archive.getvalue())
    assert len(found["Layers"]) == 1
    assert function in stacks.running.client("lambda").get_policy(FunctionName=function)["Policy"]
    stacks.api.delete_stack(StackName=name)
    assert name not in {stack["StackName"] for stack in stacks.api.describe_stacks()["Stacks"]}


def test_a_role_that_fails_half_way_leaves_nothing(stacks: Deployer) -> None:
    name = stacks.create(
        json.dumps(
            {
                "Resources": {
                    "Role": {
                        "Type": "AWS::IAM::Role",
                        "Properties": {
                            "RoleName": "half-made",
                            "AssumeRolePolicyDocument": TRUST,
                            "ManagedPolicyArns": ["arn:aws:iam::210987654321:policy/missing"],
                        },
                    }
                }
            }
        )
    )
    assert stacks.status(name) == "ROLLBACK_COMPLETE"
    assert "missing" in stacks.reasons(name)
    assert gone(lambda: stacks.running.client("iam").get_role(RoleName="half-made")) is None
