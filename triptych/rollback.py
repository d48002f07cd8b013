"""Rolling an endpoint back by hand, on AWS as on the laptop.

What served before stands on the endpoint's tags, where the deployment state machine notes it. While a deployment is
shifting traffic, SageMaker takes no other update: then one of the deployment's own alarms is set off, which makes
SageMaker itself go back. During an A/B or shadow test the champion's configuration is put back, and nothing else is
changed here: the deployment sees it at its next look, and rejects the package on trial.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

PREVIOUS_CONFIGURATION = "triptych:previous-configuration"
PREVIOUS_PACKAGE = "triptych:previous-model-package"
PACKAGE = "triptych:model-package"
CHAMPION_CONFIGURATION = "triptych:champion-configuration"
"""on the endpoint configuration of a trial: what serves when the trial is over"""

_CHANGING = ("Creating", "Updating", "SystemUpdating", "RollingBack")
_LONGEST_REASON = 900
_SUGGESTED = 5
_PASSING = re.compile(r"-(staging|ab|shadow)-\d+-\d+$")
"""configurations of a staging endpoint or a trial: made to be left again"""


class CannotRollBack(Exception):
    """Nothing was changed; the message says why and what to do."""


def find_endpoint(sagemaker: Any, name: str) -> dict[str, Any] | None:
    """DescribeEndpoint's answer; None where there is no such endpoint."""
    try:
        found: dict[str, Any] = sagemaker.describe_endpoint(EndpointName=name)
    except sagemaker.exceptions.ClientError as error:
        if "Could not find" in str(error):
            return None
        raise
    return found


def tags_of(sagemaker: Any, arn: str) -> dict[str, str]:
    """The tags of a SageMaker resource."""
    pages = sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)
    return {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}


@dataclass(frozen=True)
class RolledBack:
    """What serves now, and what served until now."""

    endpoint_name: str
    configuration: str
    left: str
    rejected: str | None
    """the model package that was marked Rejected"""


@dataclass
class Rollback:
    """One rollback of one endpoint. Clients are boto3's; ``say`` gets a line for each step."""

    sagemaker: Any
    cloudwatch: Any
    endpoint_name: str
    reason: str
    say: Callable[[str], None]
    sleep: Callable[[float], None] = time.sleep
    poll_seconds: float = 1.0

    def run(self, to: str | None = None) -> RolledBack:
        """Go back to ``to``, or to what served before. Raises CannotRollBack."""
        described = self._describe()
        status = described["EndpointStatus"]
        tags = tags_of(self.sagemaker, described["EndpointArn"])
        if status == "Updating" and to is None:
            return self._stop_deployment(described)
        if status not in ("InService", "OutOfService", "UpdateRollbackFailed"):
            raise CannotRollBack(f"endpoint {self.endpoint_name} is {status}; wait until it is at rest")
        left = described["EndpointConfigName"]
        champion = self._champion(left) if to is None else None
        target = to or champion or tags.get(PREVIOUS_CONFIGURATION)
        if not target:
            raise CannotRollBack(
                f"nothing is noted as having served before on endpoint {self.endpoint_name}; name an endpoint "
                f"configuration with --to{self._known_configurations(left)}"
            )
        if target == left:
            raise CannotRollBack(f"endpoint {self.endpoint_name} serves {target} already")
        self._check(target)
        self.say(f"{self.endpoint_name}: from {left} back to {target}")
        self.sagemaker.update_endpoint(EndpointName=self.endpoint_name, EndpointConfigName=target)
        ended = self._wait()
        if ended["EndpointStatus"] != "InService" or ended["EndpointConfigName"] != target:
            raise CannotRollBack(
                f"endpoint {self.endpoint_name} is {ended['EndpointStatus']} with {ended['EndpointConfigName']}: "
                f"{ended.get('FailureReason', 'no reason given')}"
            )
        if champion:
            self.say(f"{self.endpoint_name}: the trial is over; its deployment ends at its next look")
            return RolledBack(self.endpoint_name, target, left, None)
        rejected = self._reject(tags.get(PACKAGE)) if to is None else None
        self._note(described["EndpointArn"], tags)
        return RolledBack(self.endpoint_name, target, left, rejected)

    def _stop_deployment(self, described: dict[str, Any]) -> RolledBack:
        deployment = described.get("LastDeploymentConfig") or {}
        alarms = (deployment.get("AutoRollbackConfiguration") or {}).get("Alarms") or []
        pending = (described.get("PendingDeploymentSummary") or {}).get("EndpointConfigName", "")
        if not alarms:
            raise CannotRollBack(
                f"endpoint {self.endpoint_name} is being updated, and its deployment names no alarm that could turn it "
                "back; wait until the update has ended, then roll back"
            )
        name = alarms[0]["AlarmName"]
        self.say(f"{self.endpoint_name}: a deployment is under way; alarm {name} is set off to turn it back")
        self.cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason=self.reason[:1023])
        ended = self._wait()
        if (
            ended["EndpointStatus"] != "InService"
            or ended["EndpointConfigName"] != described["EndpointConfigName"]
        ):
            raise CannotRollBack(
                f"the deployment ended before it could be turned back: endpoint {self.endpoint_name} is "
                f"{ended['EndpointStatus']} with {ended['EndpointConfigName']}; roll back once more"
            )
        return RolledBack(self.endpoint_name, ended["EndpointConfigName"], pending, None)

    def _describe(self) -> dict[str, Any]:
        found = find_endpoint(self.sagemaker, self.endpoint_name)
        if found is None:
            names = [
                entry["EndpointName"] for entry in self.sagemaker.list_endpoints(MaxResults=20)["Endpoints"]
            ]
            known = f"; there are {', '.join(names)}" if names else "; there is none at all"
            raise CannotRollBack(f"there is no endpoint {self.endpoint_name}{known}")
        return found

    def _champion(self, configuration: str) -> str | None:
        """What serves when a trial is over, where ``configuration`` is that of a trial."""
        described = self.sagemaker.describe_endpoint_config(EndpointConfigName=configuration)
        return tags_of(self.sagemaker, described["EndpointConfigArn"]).get(CHAMPION_CONFIGURATION)

    def _known_configurations(self, left: str) -> str:
        found = self.sagemaker.list_endpoint_configs(
            SortBy="CreationTime", SortOrder="Descending", MaxResults=50
        )["EndpointConfigs"]
        names = [entry["EndpointConfigName"] for entry in found if entry["EndpointConfigName"] != left]
        production = [name for name in names if not _PASSING.search(name)][:_SUGGESTED]
        return f": {', '.join(production)}" if production else ""

    def _check(self, configuration: str) -> None:
        """What is gone back to must still be there: a configuration without its models cannot start."""
        missing = self.sagemaker.exceptions.ClientError
        try:
            described = self.sagemaker.describe_endpoint_config(EndpointConfigName=configuration)
            for variant in described["ProductionVariants"]:
                self.sagemaker.describe_model(ModelName=variant["ModelName"])
        except missing as error:
            raise CannotRollBack(
                f"{configuration} cannot serve any more: {error.response['Error']['Message']}"
            ) from error

    def _wait(self) -> dict[str, Any]:
        while True:
            described = self._describe()
            if described["EndpointStatus"] not in _CHANGING:
                return described
            self.sleep(self.poll_seconds)

    def _reject(self, package: str | None) -> str | None:
        if not package:
            return None
        self.sagemaker.update_model_package(
            ModelPackageArn=package,
            ModelApprovalStatus="Rejected",
            ApprovalDescription=f"Rolled back by hand: {self.reason}"[:_LONGEST_REASON],
        )
        self.say(f"model package {package} is Rejected now")
        return package

    def _note(self, arn: str, tags: dict[str, str]) -> None:
        """What serves now is noted; nothing is left that a second rollback could go "back" to by mistake."""
        if tags.get(PREVIOUS_PACKAGE):
            self.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": PACKAGE, "Value": tags[PREVIOUS_PACKAGE]}])
        gone = [PREVIOUS_CONFIGURATION, PREVIOUS_PACKAGE]
        if not tags.get(PREVIOUS_PACKAGE):
            gone.append(PACKAGE)
        self.sagemaker.delete_tags(ResourceArn=arn, TagKeys=gone)
