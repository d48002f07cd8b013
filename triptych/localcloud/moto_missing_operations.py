"""Gap filled: operations that moto lacks for resources it keeps, added to its own response classes.

So they are routed, journalled and replayed like moto's own. Each has a test that fails once moto brings it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

_ADDED: dict[str, dict[str, Callable[[Any], Any]]] = {}


def install_missing_operations() -> None:
    """Adds them; what moto has by now stays moto's."""
    from moto.glue.responses import GlueResponse
    from moto.sagemaker.responses import SageMakerResponse

    for response_class, methods in (
        (GlueResponse, {"update_job": _update_job, "update_crawler": _update_crawler}),
        (
            SageMakerResponse,
            {
                "delete_model_package_group": _delete_model_package_group,
                "delete_feature_group": _delete_feature_group,
            },
        ),
    ):
        added = _ADDED.setdefault(response_class.__name__, {})
        for name, method in methods.items():
            if not hasattr(response_class, name):
                setattr(response_class, name, method)
                added[name] = method


def added_operations() -> dict[str, set[str]]:
    """Response class -> the methods that are ours."""
    return {name: set(methods) for name, methods in _ADDED.items()}


def _pascal(name: str) -> str:
    return "".join(part.title() for part in name.split("_"))


def _update_job(response: Any) -> Any:
    """Glue UpdateJob: the whole definition is overwritten; tags, runs and the creation time stay."""
    from moto.core.responses import ActionResult
    from moto.glue.models import FakeJob

    backend, name = response.glue_backend, response._get_param("JobName")
    update = response._get_param("JobUpdate") or {}
    old = backend.get_job(name)
    accepted = [
        key for key in inspect.signature(FakeJob.__init__).parameters if key not in ("self", "backend")
    ]
    given = {key: update.get(_pascal(key)) for key in accepted}
    backend.create_job(**{**given, "name": name, "tags": {}})
    new = backend.jobs[name]
    new.created_on, new.job_runs = old.created_on, old.job_runs
    return ActionResult({"JobName": name})


def _update_crawler(response: Any) -> Any:
    """Glue UpdateCrawler: what is given is overwritten."""
    from moto.core.responses import EmptyResult
    from moto.core.utils import utcnow

    crawler = response.glue_backend.get_crawler(response._get_param("Name"))
    for attribute in (
        "role", "database_name", "description", "targets", "schedule", "classifiers", "table_prefix",
        "schema_change_policy", "recrawl_policy", "lineage_configuration", "configuration",
        "crawler_security_configuration",
    ):  # fmt: skip
        value = response._get_param(_pascal(attribute))
        if value is not None:
            setattr(crawler, attribute, value)
    crawler.last_updated = utcnow()
    crawler.version += 1
    return EmptyResult()


def _delete_model_package_group(response: Any) -> Any:
    """SageMaker DeleteModelPackageGroup: refused while it has packages."""
    from moto.core.responses import EmptyResult
    from moto.sagemaker.exceptions import ValidationError

    backend, name = response.sagemaker_backend, response._get_param("ModelPackageGroupName")
    group = backend.describe_model_package_group(name)
    if any(package.model_package_group_name == name for package in backend.model_packages.values()):
        raise ValidationError(
            f"Cannot delete model package group {group.arn}: it contains model packages. Delete those first."
        )
    del backend.model_package_groups[name]
    return EmptyResult()


def _delete_feature_group(response: Any) -> Any:
    """SageMaker DeleteFeatureGroup."""
    from moto.core.responses import EmptyResult

    backend, name = response.sagemaker_backend, response._get_param("FeatureGroupName")
    group = backend.describe_feature_group(name)
    arn = group["FeatureGroupArn"] if isinstance(group, dict) else group.arn
    del backend.feature_groups[arn]
    return EmptyResult()
