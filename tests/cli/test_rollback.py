"""Rolling back by hand: what is changed, in which order, and when nothing is."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from triptych.rollback import (
    CHAMPION_CONFIGURATION,
    PACKAGE,
    PREVIOUS_CONFIGURATION,
    PREVIOUS_PACKAGE,
    CannotRollBack,
    Rollback,
)

KNOWN = ("new", "flights-2-staging-0-0", "flights-2-ab-0-1", "flights-1-shadow-1-0", "old", "older")
TAGS = {PACKAGE: "arn:new", PREVIOUS_CONFIGURATION: "old", PREVIOUS_PACKAGE: "arn:old"}


class _SageMaker:
    """One endpoint, as far as a rollback sees it. ``ends_as``: what an update comes to."""

    class exceptions:
        ClientError = ClientError

    def __init__(
        self, status: str = "InService", tags: dict[str, str] | None = None, ends_as: str = "InService"
    ) -> None:
        self.endpoint: dict[str, Any] = {
            "EndpointName": "flights",
            "EndpointArn": "arn:endpoint",
            "EndpointStatus": status,
            "EndpointConfigName": "new",
        }
        self.tags = dict(TAGS if tags is None else tags)
        self.configuration_tags: dict[str, str] = {}
        self.packages: dict[str, dict[str, str]] = {}
        self.gone: set[str] = set()
        self._ends_as = ends_as
        self._polls = 0

    def describe_endpoint(self, EndpointName: str) -> dict[str, Any]:
        if EndpointName != "flights":
            self._refuse("Could not find endpoint")
        if self.endpoint["EndpointStatus"] in ("Updating", "RollingBack") and "_next" in self.endpoint:
            self._polls += 1
            if self._polls > 2:
                self.endpoint |= {"EndpointStatus": self._ends_as} | self.endpoint.pop("_next")
        return dict(self.endpoint)

    def list_endpoints(self, **_: Any) -> dict[str, Any]:
        return {"Endpoints": [{"EndpointName": "flights"}]}

    def list_endpoint_configs(self, **_: Any) -> dict[str, Any]:
        return {"EndpointConfigs": [{"EndpointConfigName": name} for name in KNOWN]}

    def describe_endpoint_config(self, EndpointConfigName: str) -> dict[str, Any]:
        if EndpointConfigName in self.gone:
            self._refuse(f'Could not find endpoint configuration "{EndpointConfigName}"')
        return {
            "EndpointConfigArn": f"arn:config/{EndpointConfigName}",
            "ProductionVariants": [{"ModelName": f"model-{EndpointConfigName}"}],
        }

    def describe_model(self, ModelName: str) -> dict[str, Any]:
        if ModelName in self.gone:
            self._refuse(f'Could not find model "{ModelName}"')
        return {}

    def update_endpoint(self, EndpointName: str, EndpointConfigName: str) -> None:
        after = {"EndpointConfigName": EndpointConfigName} if self._ends_as == "InService" else {}
        self.endpoint |= {"EndpointStatus": "Updating", "_next": after}

    def update_model_package(self, ModelPackageArn: str, **given: str) -> None:
        self.packages[ModelPackageArn] = given

    def add_tags(self, ResourceArn: str, Tags: list[dict[str, str]]) -> None:
        self.tags |= {tag["Key"]: tag["Value"] for tag in Tags}

    def delete_tags(self, ResourceArn: str, TagKeys: list[str]) -> None:
        for key in TagKeys:
            self.tags.pop(key, None)

    def get_paginator(self, name: str) -> Any:
        assert name == "list_tags"

        def paginate(_: object, ResourceArn: str) -> list[dict[str, Any]]:
            tags = self.tags if ResourceArn == "arn:endpoint" else self.configuration_tags
            return [{"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}]

        return type("Pages", (), {"paginate": paginate})()

    @staticmethod
    def _refuse(message: str) -> None:
        raise ClientError({"Error": {"Code": "ValidationException", "Message": message}}, "Describe")


class _CloudWatch:
    def __init__(self, sagemaker: _SageMaker, goes_back: bool = True) -> None:
        self.set: list[tuple[str, str]] = []
        self._sagemaker, self._goes_back = sagemaker, goes_back

    def set_alarm_state(self, AlarmName: str, StateValue: str, StateReason: str) -> None:
        self.set.append((AlarmName, StateValue))
        after = {} if self._goes_back else {"EndpointConfigName": "newer"}
        self._sagemaker.endpoint["_next"] = after


def _rollback(
    sagemaker: _SageMaker, cloudwatch: _CloudWatch | None = None, name: str = "flights"
) -> Rollback:
    return Rollback(
        sagemaker,
        cloudwatch or _CloudWatch(sagemaker),
        name,
        "too many late answers",
        say=lambda line: None,
        sleep=lambda seconds: None,
    )


def test_the_former_configuration_serves_and_the_package_is_rejected() -> None:
    sagemaker = _SageMaker()
    done = _rollback(sagemaker).run()
    assert (done.configuration, done.left, done.rejected) == ("old", "new", "arn:new")
    assert sagemaker.packages == {
        "arn:new": {
            "ModelApprovalStatus": "Rejected",
            "ApprovalDescription": "Rolled back by hand: too many late answers",
        }
    }
    assert sagemaker.tags == {PACKAGE: "arn:old"}


def test_a_second_rollback_does_not_go_forward_again() -> None:
    sagemaker = _SageMaker()
    _rollback(sagemaker).run()
    with pytest.raises(CannotRollBack, match=r"nothing is noted .* --to: new, older"):
        _rollback(sagemaker).run()


def test_a_named_configuration_rejects_nothing() -> None:
    sagemaker = _SageMaker()
    done = _rollback(sagemaker).run("older")
    assert (done.configuration, done.rejected, sagemaker.packages) == ("older", None, {})


def test_in_a_trial_the_champion_serves_again_and_stays_approved() -> None:
    sagemaker = _SageMaker()
    sagemaker.configuration_tags = {CHAMPION_CONFIGURATION: "champion"}
    done = _rollback(sagemaker).run()
    assert (done.configuration, done.left, done.rejected) == ("champion", "new", None)
    assert (sagemaker.packages, sagemaker.tags) == ({}, TAGS)


def test_a_deployment_under_way_is_turned_back_by_its_alarm() -> None:
    sagemaker = _SageMaker("Updating")
    sagemaker.endpoint |= {
        "LastDeploymentConfig": {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}]}},
        "PendingDeploymentSummary": {"EndpointConfigName": "newer"},
    }
    cloudwatch = _CloudWatch(sagemaker)
    done = _rollback(sagemaker, cloudwatch).run()
    assert cloudwatch.set == [("errors", "ALARM")]
    assert (done.configuration, done.left, done.rejected) == ("new", "newer", None)


@pytest.mark.parametrize(
    ("sagemaker", "name", "to", "told"),
    [
        (_SageMaker(), "other", None, "there is no endpoint other; there are flights"),
        (_SageMaker("Creating"), "flights", None, "is Creating; wait"),
        (_SageMaker("Updating"), "flights", None, "names no alarm"),
        (_SageMaker(tags={}), "flights", None, "nothing is noted"),
        (_SageMaker(), "flights", "new", "serves new already"),
    ],
    ids=[
        "unknown endpoint",
        "being created",
        "updating without alarms",
        "nothing noted",
        "serves it already",
    ],
)
def test_nothing_is_changed_where_there_is_nothing_to_go_back_to(
    sagemaker: _SageMaker, name: str, to: str | None, told: str
) -> None:
    before = dict(sagemaker.endpoint)
    with pytest.raises(CannotRollBack, match=told):
        _rollback(sagemaker, name=name).run(to)
    assert sagemaker.endpoint == before
    assert not sagemaker.packages


@pytest.mark.parametrize("gone", ["old", "model-old"], ids=["configuration", "model"])
def test_a_configuration_that_cannot_serve_any_more_is_not_gone_back_to(gone: str) -> None:
    sagemaker = _SageMaker()
    sagemaker.gone = {gone}
    with pytest.raises(CannotRollBack, match="old cannot serve any more: Could not find"):
        _rollback(sagemaker).run()
    assert sagemaker.endpoint["EndpointConfigName"] == "new"


def test_an_update_that_fails_is_told_and_nothing_is_rejected() -> None:
    sagemaker = _SageMaker(ends_as="Failed")
    with pytest.raises(CannotRollBack, match="is Failed with new"):
        _rollback(sagemaker).run()
    assert not sagemaker.packages


def test_a_deployment_that_ended_first_is_told() -> None:
    sagemaker = _SageMaker("Updating")
    sagemaker.endpoint["LastDeploymentConfig"] = {
        "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}]}
    }
    with pytest.raises(CannotRollBack, match="ended before it could be turned back"):
        _rollback(sagemaker, _CloudWatch(sagemaker, goes_back=False)).run()
