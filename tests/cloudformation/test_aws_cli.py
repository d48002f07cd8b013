"""The AWS CLI's own package and deploy bring up, change and leave alone a stack with nested ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.localcloud_fixture import RunningCloud

ROOT = """
Parameters:
  Greeting: {Type: String}
Resources:
  Role:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument: &trust
        Version: "2012-10-17"
        Statement:
          - Effect: Allow
            Principal: {Service: [states.amazonaws.com, lambda.amazonaws.com]}
            Action: "sts:AssumeRole"
  Function:
    Type: AWS::Lambda::Function
    Properties:
      Runtime: python3.11
      Handler: handler.handler
      Role: !GetAtt Role.Arn
      Code: function
  Job:
    Type: AWS::Glue::Job
    Properties:
      Role: !GetAtt Role.Arn
      Command: {Name: glueetl, ScriptLocation: job.py}
  Machines:
    Type: AWS::CloudFormation::Stack
    Properties:
      TemplateURL: child.yaml
      Parameters: {RoleArn: !GetAtt Role.Arn, Greeting: !Ref Greeting}
  Budget:
    Type: AWS::Budgets::Budget
    Metadata: {Triptych: {AwsOnly: costs exist on AWS only}}
    Properties: {Budget: {BudgetType: COST, TimeUnit: MONTHLY}}
Outputs:
  Machine: {Value: !GetAtt Machines.Outputs.Machine}
  Job: {Value: !Ref Job}
  Function: {Value: !Ref Function}
"""
CHILD = """
Parameters:
  RoleArn: {Type: String}
  Greeting: {Type: String}
Resources:
  Machine:
    Type: AWS::StepFunctions::StateMachine
    Properties:
      RoleArn: !Ref RoleArn
      DefinitionS3Location: machine.asl.json
      DefinitionSubstitutions: {Greeting: !Ref Greeting}
Outputs:
  Machine: {Value: !Ref Machine}
"""
MACHINE = {"StartAt": "Greet", "States": {"Greet": {"Type": "Pass", "Result": "${Greeting}", "End": True}}}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "root.yaml").write_text(ROOT)
    (tmp_path / "child.yaml").write_text(CHILD)
    (tmp_path / "machine.asl.json").write_text(json.dumps(MACHINE))
    (tmp_path / "job.py").write_text("print('job')\n")
    (tmp_path / "function").mkdir()
    (tmp_path / "function" / "handler.py").write_text("def handler(event, context):\n    return event\n")
    return tmp_path


def aws(cloud: RunningCloud, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "aws"), *arguments]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **cloud.environment}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def deploy(cloud: RunningCloud, project: Path, greeting: str) -> subprocess.CompletedProcess[str]:
    packaged = aws(
        cloud, project, "cloudformation", "package", "--template-file", "root.yaml", "--s3-bucket",
        "cli-deploy", "--output-template-file", "packaged.yaml",
    )  # fmt: skip
    assert packaged.returncode == 0, packaged.stderr
    return aws(
        cloud, project, "cloudformation", "deploy", "--template-file", "packaged.yaml", "--stack-name",
        "by-cli", "--capabilities", "CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND",
        "--parameter-overrides", f"Greeting={greeting}",
    )  # fmt: skip


def definition(cloud: RunningCloud, outputs: dict[str, str]) -> Any:
    found = cloud.client("stepfunctions").describe_state_machine(stateMachineArn=outputs["Machine"])
    return json.loads(found["definition"])


@pytest.mark.cloud
def test_package_and_deploy(local_cloud: RunningCloud, project: Path) -> None:
    local_cloud.client("s3").create_bucket(Bucket="cli-deploy")
    api = local_cloud.client("cloudformation")

    def outputs() -> dict[str, str]:
        stack = api.describe_stacks(StackName="by-cli")["Stacks"][0]
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    created = deploy(local_cloud, project, "hello")
    assert created.returncode == 0, created.stderr
    first = outputs()
    assert definition(local_cloud, first)["States"]["Greet"]["Result"] == "hello"
    script = local_cloud.client("glue").get_job(JobName=first["Job"])["Job"]["Command"]["ScriptLocation"]
    bucket, _, key = script.removeprefix("s3://").partition("/")
    assert local_cloud.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read() == b"print('job')\n"
    assert (
        local_cloud.client("lambda").get_function(FunctionName=first["Function"])["Configuration"]["CodeSize"]
        > 0
    )

    again = deploy(local_cloud, project, "hello")
    assert "No changes to deploy" in again.stderr + again.stdout

    updated = deploy(local_cloud, project, "good evening")
    assert updated.returncode == 0, updated.stderr
    assert outputs() == first
    assert definition(local_cloud, first)["States"]["Greet"]["Result"] == "good evening"

    api.delete_stack(StackName="by-cli")
    api.get_waiter("stack_delete_complete").wait(StackName="by-cli", WaiterConfig={"Delay": 1})
    with pytest.raises(ClientError):
        local_cloud.client("stepfunctions").describe_state_machine(stateMachineArn=first["Machine"])
