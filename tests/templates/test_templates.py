"""The templates: clean for cfn-lint, complete for the definitions, and no wider than these need."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cloudformation_templates import FOLDER, NAMES, resources, statements, template

PROJECT = FOLDER.parent
MACHINES = {
    "DataEngineering": "data_engineering",
    "Model": "model",
    "Deployment": "deployment",
    "Pipeline": "pipeline",
}
FUNCTION_STACKS = ("functions_data_engineering", "functions_model", "functions_deployment")
ROLES = [
    pytest.param(name, logical, role, id=f"{name}: {logical}")
    for name in NAMES
    for logical, role in resources(name, "AWS::IAM::Role").items()
]
# what the service knows no resources for, or what is created under names that only AWS knows
UNSCOPED = {
    "xray:PutTraceSegments",
    "xray:PutTelemetryRecords",
    "xray:GetSamplingRules",
    "xray:GetSamplingTargets",
    "logs:CreateLogDelivery",
    "logs:GetLogDelivery",
    "logs:UpdateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:DescribeResourcePolicies",
    "logs:DescribeLogGroups",
    "cloudwatch:PutMetricData",
    "cloudwatch:GetMetricData",
    "application-autoscaling:DescribeScalableTargets",
    "application-autoscaling:DescribeScalingPolicies",
    "ecr:GetAuthorizationToken",
    "sagemaker:ListModelPackages",
    "sagemaker:ListTags",
}
SYNC = {
    "glue:startJobRun": {"glue:StartJobRun", "glue:GetJobRun", "glue:BatchStopJobRun"},
    "sagemaker:createTrainingJob": {"sagemaker:DescribeTrainingJob", "sagemaker:StopTrainingJob"},
    "sagemaker:createProcessingJob": {"sagemaker:DescribeProcessingJob", "sagemaker:StopProcessingJob"},
    "sagemaker:createTransformJob": {"sagemaker:DescribeTransformJob", "sagemaker:StopTransformJob"},
    "states:startExecution": {"states:DescribeExecution", "states:StopExecution"},
}


def test_cfn_lint_finds_nothing() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "cfn-lint")],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_outputs_are_described(name: str) -> None:
    parsed = template(name)
    assert parsed["Description"]
    for block in ("Parameters", "Outputs"):
        for key, value in parsed.get(block, {}).items():
            assert value.get("Description"), f"{block} {key}"


@pytest.mark.parametrize("name", resources("monitoring", "AWS::CloudWatch::Alarm"))
def test_an_alarm_says_when_it_rings_not_that_it_does(name: str) -> None:
    alarm = resources("monitoring", "AWS::CloudWatch::Alarm")[name]
    assert alarm["AlarmDescription"].startswith("Rings when ")


def test_every_parameter_of_the_root_is_grouped() -> None:
    groups = template("root")["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    grouped = [name for group in groups for name in group["Parameters"]]
    assert sorted(grouped) == sorted(template("root")["Parameters"])


@pytest.mark.parametrize("environment", ["local", "dev", "prod"])
def test_parameter_files_name_what_the_root_has(environment: str) -> None:
    given = json.loads((FOLDER / "parameters" / f"{environment}.json").read_text())
    unknown = {entry["ParameterKey"] for entry in given} - template("root")["Parameters"].keys()
    assert unknown == set()


@pytest.mark.parametrize("logical", template("root")["Resources"])
def test_nested_stacks_get_what_they_declare(logical: str) -> None:
    stack = template("root")["Resources"][logical]["Properties"]
    nested = template(Path(stack["TemplateURL"]).stem)
    given, declared = stack["Parameters"].keys(), nested["Parameters"]
    assert given <= declared.keys()
    assert {name for name, value in declared.items() if "Default" not in value} <= given


@pytest.mark.parametrize("machine", MACHINES)
def test_substitutions_are_those_of_the_definition(machine: str) -> None:
    properties = resources("workflows", "AWS::StepFunctions::StateMachine")[machine]
    location = (FOLDER / properties["DefinitionS3Location"]).resolve()
    used = set(re.findall(r"\$\{(\w+)\}", location.read_text()))
    assert used == properties["DefinitionSubstitutions"].keys()


@pytest.mark.parametrize("machine", MACHINES)
def test_a_machines_role_allows_what_its_definition_does(machine: str) -> None:
    text = (PROJECT / "workflows" / "rendered" / f"{MACHINES[machine]}.asl.json").read_text()
    role = resources("workflows", "AWS::IAM::Role")[f"{machine}Role"]
    allowed = {action for statement in statements(role) for action in statement["Action"]}
    needed = set()
    for resource in re.findall(r"states:::([\w:.-]+)", text):
        needed |= _actions(resource)
    assert needed <= allowed, f"the role lacks {sorted(needed - allowed)}"
    if "RoleArn" in text:
        assert "iam:PassRole" in allowed


def _actions(resource: str) -> set[str]:
    plain = re.sub(r"\.(sync|waitForTaskToken)(:2)?$", "", resource).removeprefix("aws-sdk:")
    service, action = plain.split(":")
    service = {"sfn": "states", "applicationautoscaling": "application-autoscaling"}.get(service, service)
    action = {"lambda:invoke": "InvokeFunction"}.get(plain, action[0].upper() + action[1:])
    extra = SYNC.get(plain, set()) if ".sync" in resource else set()
    return {f"{service}:{action}"} | extra


@pytest.mark.parametrize(("name", "logical", "role"), ROLES)
def test_roles_are_no_wider_than_they_need(name: str, logical: str, role: dict[str, Any]) -> None:
    for statement in statements(role):
        assert statement["Effect"] == "Allow"
        for action in statement["Action"]:
            assert not action.endswith(("*", ":")), f"{statement['Sid']} allows {action}"
            if "*" in statement["Resource"]:
                assert action in UNSCOPED, f"{statement['Sid']} allows {action} on everything"


@pytest.mark.parametrize("machine", ["Model", "Deployment"])
def test_roles_are_passed_to_sagemaker_only(machine: str) -> None:
    role = resources("workflows", "AWS::IAM::Role")[f"{machine}Role"]
    for statement in statements(role):
        if "iam:PassRole" in statement["Action"]:
            assert statement["Condition"] == {
                "StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}
            }
            assert "*" not in json.dumps(statement["Resource"])


def test_each_function_has_a_folder_a_role_and_a_log_group() -> None:
    found = set()
    for stack in FUNCTION_STACKS:
        groups = resources(stack, "AWS::Logs::LogGroup")
        for logical, function in resources(stack, "AWS::Lambda::Function").items():
            folder = Path(function["Code"]).stem
            found.add(folder)
            assert (PROJECT / "lambdas" / folder / "handler.py").is_file(), folder
            assert function["Handler"] == "handler.handler"
            own = logical.removesuffix("Function")
            assert function["Role"] == {"Fn::GetAtt": [f"{own}Role", "Arn"]}
            assert groups[f"{own}Logs"]["LogGroupName"]["Fn::Sub"].endswith(
                function["FunctionName"]["Fn::Sub"]
            )
            assert groups[f"{own}Logs"]["RetentionInDays"] == {"Ref": "LogRetentionDays"}
    folders = {path.parent.name for path in (PROJECT / "lambdas").glob("*/handler.py")}
    assert found == folders


@pytest.mark.parametrize("stack", FUNCTION_STACKS)
def test_functions_get_the_variables_they_read(stack: str) -> None:
    for function in resources(stack, "AWS::Lambda::Function").values():
        folder = PROJECT / "lambdas" / Path(function["Code"]).stem
        source = "".join(path.read_text() for path in folder.glob("*.py"))
        read = set(re.findall(r"environ(?:ment)?\[\"([A-Z_]+)\"\]", source))
        assert read <= function["Environment"]["Variables"].keys(), folder.name


def test_glue_jobs_run_committed_scripts() -> None:
    for job in resources("jobs", "AWS::Glue::Job").values():
        assert (FOLDER / job["Command"]["ScriptLocation"]).resolve().is_file()


def test_what_holds_data_is_kept() -> None:
    for name, logical in [("storage", "DataBucket"), ("jobs", "ModelPackages")]:
        resource = template(name)["Resources"][logical]
        kept = (resource["DeletionPolicy"], resource["UpdateReplacePolicy"])
        # what a failed first deployment made holds nothing yet, and would stand in the way of the next
        assert kept == ("RetainExceptOnCreate", "Retain")


def test_every_alarm_on_the_endpoint_takes_deployments_back() -> None:
    monitoring = template("monitoring")
    alarms = {
        logical
        for logical, resource in monitoring["Resources"].items()
        if resource["Type"] == "AWS::CloudWatch::Alarm" and logical.startswith(("Endpoint", "Challenger"))
    }
    outputs = monitoring["Outputs"]
    told = json.dumps([outputs[name]["Value"] for name in ("EndpointAlarmNames", "TrialAlarmNames")])
    assert len(alarms) == 5
    assert {logical for logical in alarms if f'"Ref": "{logical}"' in told} == alarms
    for logical in alarms:
        properties = monitoring["Resources"][logical]["Properties"]
        assert properties["TreatMissingData"] == "notBreaching", "no requests are no reason to go back"
        assert properties["AlarmActions"] == [{"Ref": "NotificationsTopic"}]


def test_production_bakes_for_longer_than_its_alarms_need() -> None:
    defaults = {
        name: value["Default"] for name, value in template("root")["Parameters"].items() if "Default" in value
    }
    for environment in ("local", "dev", "prod"):
        given = json.loads((FOLDER / "parameters" / f"{environment}.json").read_text())
        values = {**defaults, **{entry["ParameterKey"]: entry["ParameterValue"] for entry in given}}
        watched = min(int(values["ShiftWaitSeconds"]), int(values["BakeSeconds"]))
        needed = int(values["AlarmPeriodSeconds"]) * int(values["AlarmPeriods"])
        # the local cloud's periods end now, those of AWS when their minute does
        assert environment == "local" or watched >= needed, environment
        if environment == "local":
            assert watched < 10, "the laptop bakes seconds"


def test_triggers_say_why() -> None:
    rule = resources("triggers", "AWS::Events::Rule")["UploadRule"]["Targets"][0]
    transformer = rule["InputTransformer"]
    text = transformer["InputTemplate"]["Fn::Sub"].replace("${UseCase}", "flights")
    for name in transformer["InputPathsMap"]:
        text = text.replace(f"<{name}>", '"x"')
    assert json.loads(text)["trigger"]["kind"] == "upload"
    schedule = resources("triggers", "AWS::Scheduler::Schedule")["Schedule"]["Target"]["Input"]["Fn::Sub"]
    assert json.loads(schedule)["trigger"]["kind"] == "schedule"
