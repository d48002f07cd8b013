"""Deploy the stacks: build, upload, then the AWS CLI's own ``cloudformation package`` and ``deploy``.

The same path serves AWS and the local cloud; only the endpoint in the environment differs.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triptych import packaging

_PATIENCE_SECONDS = 1800.0
FINGERPRINT_TAG = "triptych-fingerprint"


class DeployFailed(Exception):
    """CloudFormation did not reach a complete state; the message names the resources and their reasons."""


@dataclass(frozen=True)
class Target:
    """One deployment of one use case."""

    use_case: str
    environment: str
    region: str
    account_id: str

    @property
    def stack_name(self) -> str:
        return f"triptych-{self.use_case}-{self.environment}"

    @property
    def deploy_bucket(self) -> str:
        return f"triptych-deploy-{self.account_id}-{self.region}"


def deploy(
    project: Path,
    target: Target,
    client: Callable[[str], Any],
    environment: Mapping[str, str],
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, str]:
    """Bring the stack to what the checkout holds; returns its outputs. Does nothing when it is there already.

    ``client`` gives boto3 clients, ``environment`` is the AWS CLI's (endpoint, credentials, region).
    """
    built = packaging.build(project, target.use_case)
    parameters = _parameters(project, target)
    fingerprint = _fingerprint(project, built, parameters)
    cloudformation = client("cloudformation")
    stack = _at_rest(cloudformation, target.stack_name, say)
    if (
        stack
        and stack["StackStatus"] in ("CREATE_COMPLETE", "UPDATE_COMPLETE")
        and _tag(stack) == fingerprint
    ):
        return outputs(stack)
    if stack and stack["StackStatus"] == "ROLLBACK_COMPLETE":
        # CloudFormation refuses to update what a failed creation left: it can only be deleted.
        say(f"removing what the failed creation of {target.stack_name} left")
        cloudformation.delete_stack(StackName=target.stack_name)
        cloudformation.get_waiter("stack_delete_complete").wait(StackName=target.stack_name)
    say(f"deploying stack {target.stack_name}")
    s3 = client("s3")
    _ensure_bucket(s3, target)
    parameters |= {
        "GitCommit": _commit(project),
        "LibsUri": _upload(s3, target, "libs", built.libs),
        "ContractUri": _upload(s3, target, "contracts", built.contract),
        **{
            f"{name.title().replace('_', '')}SourceUri": _upload(s3, target, f"sagemaker/{name}", path)
            for name, path in built.sagemaker.items()
            if (project / "sagemaker_jobs" / name).is_dir()
        },
    }
    packaged = built.folder / f"{target.stack_name}.packaged.yaml"
    _aws(
        environment,
        "cloudformation", "package",
        "--template-file", str(project / "cloudformation" / "root.yaml"),
        "--s3-bucket", target.deploy_bucket,
        "--s3-prefix", "packages",
        "--output-template-file", str(packaged),
    )  # fmt: skip
    declared = {
        entry["ParameterKey"]
        for entry in cloudformation.validate_template(TemplateBody=packaged.read_text())["Parameters"]
    }
    try:
        _aws(
            environment,
            "cloudformation", "deploy",
            "--template-file", str(packaged),
            "--stack-name", target.stack_name,
            "--s3-bucket", target.deploy_bucket,
            "--s3-prefix", "templates",
            "--capabilities", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND",
            "--no-fail-on-empty-changeset",
            "--tags", f"{FINGERPRINT_TAG}={fingerprint}",
            "--parameter-overrides", *(f"{key}={parameters[key]}" for key in declared & set(parameters)),
        )  # fmt: skip
    except DeployFailed as error:
        describe_stack(cloudformation, target.stack_name)  # says why if the operation cannot go on
        reasons = failure_reasons(cloudformation, target.stack_name)
        raise DeployFailed(
            "\n".join([f"stack {target.stack_name} was not deployed:", *(reasons or [str(error)])])
        ) from error
    stack = describe_stack(cloudformation, target.stack_name)
    if stack is None or not stack["StackStatus"].endswith("_COMPLETE") or "ROLLBACK" in stack["StackStatus"]:
        status = stack["StackStatus"] if stack else "missing"
        reasons = failure_reasons(cloudformation, target.stack_name)
        raise DeployFailed("\n".join([f"stack {target.stack_name} is {status}:", *reasons]))
    return outputs(stack)


def _at_rest(cloudformation: Any, name: str, say: Callable[[str], None]) -> dict[str, Any] | None:
    """The stack once no operation is under way on it: another deployment's, or a rollback after a crash."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    told = False
    while True:
        stack = describe_stack(cloudformation, name)
        status = stack["StackStatus"] if stack else ""
        if not status.endswith("_IN_PROGRESS") or status == "REVIEW_IN_PROGRESS":
            return stack
        if time.monotonic() > deadline:
            raise DeployFailed(f"stack {name} is {status} for {_PATIENCE_SECONDS / 60:.0f} minutes already")
        if not told:
            say(f"waiting for stack {name}: {status}")
            told = True
        time.sleep(0.5)


def describe_stack(cloudformation: Any, name: str) -> dict[str, Any] | None:
    """DescribeStacks' entry for ``name``, or None where there is no such stack.

    Raises DeployFailed where the stack's operation cannot go on.
    """
    try:
        stack: dict[str, Any] = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    except cloudformation.exceptions.ClientError as error:
        if "does not exist" in str(error):
            return None
        if error.response["Error"].get("Code") == "InternalFailure":
            raise DeployFailed(str(error)) from error
        raise
    return stack


def outputs(stack: Mapping[str, Any]) -> dict[str, str]:
    """A stack's outputs by key."""
    return {entry["OutputKey"]: entry["OutputValue"] for entry in stack.get("Outputs", [])}


def failure_reasons(cloudformation: Any, name: str) -> list[str]:
    """One line a failed resource of the stack and its nested stacks: what, which type, why."""
    lines: list[str] = []
    try:
        events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
    except cloudformation.exceptions.ClientError:
        return lines
    for event in events:
        if not event["ResourceStatus"].endswith("_FAILED"):
            continue
        nested = event.get("PhysicalResourceId", "")
        if (
            event["ResourceType"] == "AWS::CloudFormation::Stack"
            and nested.startswith("arn:")
            and nested != event["StackId"]
        ):
            lines += failure_reasons(cloudformation, nested)
        reason = event.get("ResourceStatusReason", "no reason given")
        lines.append(f"  {event['LogicalResourceId']} ({event['ResourceType']}): {reason}")
    return list(dict.fromkeys(lines))


def _parameters(project: Path, target: Target) -> dict[str, str]:
    """The environment's parameter file (the AWS CLI's format: a list of ParameterKey, ParameterValue)."""
    path = project / "cloudformation" / "parameters" / f"{target.environment}.json"
    if not path.is_file():
        known = sorted(entry.stem for entry in path.parent.glob("*.json"))
        raise DeployFailed(f"environment '{target.environment}' has no {path}; known: {', '.join(known)}")
    given = {entry["ParameterKey"]: entry["ParameterValue"] for entry in json.loads(path.read_text())}
    return {
        **_from_contract(project, target),
        **given,
        "UseCase": target.use_case,
        "EnvironmentName": target.environment,
        "DeployBucket": target.deploy_bucket,
    }


def _from_contract(project: Path, target: Target) -> dict[str, str]:
    """What the template needs to know of the contract; an environment's parameter file may say otherwise."""
    from triptych.core.contract import ContractError, load_contract

    try:
        contract = load_contract(project / "usecases" / target.use_case / "contract.yaml")
    except ContractError as error:
        raise DeployFailed(str(error)) from error
    deployment = contract.deployment
    found = {
        "PrimaryTable": contract.primary_table,
        "EndpointName": deployment.endpoint_name,
        "VariantName": deployment.variant_name,
        "MaxErrorRate": f"{deployment.alarms.max_error_rate:g}",
        "MaxLatencyMicroseconds": f"{deployment.alarms.max_latency_ms * 1000:.0f}",
    }
    business = deployment.alarms.business
    if business is not None:
        above = business.max is not None
        found |= {
            "BusinessNamespace": business.namespace,
            "BusinessMetric": business.metric,
            "BusinessComparison": "GreaterThanThreshold" if above else "LessThanThreshold",
            "BusinessThreshold": f"{business.max if above else business.min:g}",
        }
    return found


def _commit(project: Path) -> str:
    """The checkout's commit, ``unknown`` outside of a Git repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(project), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def _fingerprint(project: Path, built: packaging.Build, parameters: Mapping[str, str]) -> str:
    digest = hashlib.sha256(built.fingerprint().encode())
    digest.update(json.dumps(parameters, sort_keys=True).encode())
    sources = [
        *(project / "cloudformation").glob("*.yaml"),
        *(project / "workflows" / "rendered").glob("*.json"),
        *(project / "glue_jobs").glob("*.py"),
    ]
    for path in sorted(sources):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _tag(stack: Mapping[str, Any]) -> str | None:
    return next((tag["Value"] for tag in stack.get("Tags", []) if tag["Key"] == FINGERPRINT_TAG), None)


def _ensure_bucket(s3: Any, target: Target) -> None:
    try:
        s3.head_bucket(Bucket=target.deploy_bucket)
        return
    except s3.exceptions.ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
    where = (
        {}
        if target.region == "us-east-1"
        else {"CreateBucketConfiguration": {"LocationConstraint": target.region}}
    )
    s3.create_bucket(Bucket=target.deploy_bucket, **where)


def _upload(s3: Any, target: Target, prefix: str, path: Path) -> str:
    """Upload under a key that carries the content's hash, unless it is there; returns the S3 URI."""
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:16]
    key = f"{prefix}/{digest}/{path.name}"
    try:
        s3.head_object(Bucket=target.deploy_bucket, Key=key)
    except s3.exceptions.ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        s3.put_object(Bucket=target.deploy_bucket, Key=key, Body=content)
    return f"s3://{target.deploy_bucket}/{key}"


def _aws(environment: Mapping[str, str], *words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "awscli", *words],
        env={**os.environ, **environment, "AWS_PAGER": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DeployFailed(
            (done.stderr or done.stdout).strip() or f"aws {words[0]} {words[1]} ended with {done.returncode}"
        )
