"""The deployment report: made at every end that the deployment itself decides."""

from __future__ import annotations

from typing import Any

from stepfunctions.steps.states import Catch, Pass, State, Succeed

from workflows.deployment.endpoint import PRODUCTION
from workflows.steps import ServiceTask, invoke_function


def report(name: str, then: State, failure: str | None = None) -> ServiceTask:
    """The page's URI at ``$.record.report``; one that cannot be made stops nothing.

    ``failure`` is the path of what took the deployment back.
    """
    why: dict[str, Any] = {"failure.$": failure} if failure else {"failure": None}
    task = invoke_function(
        name,
        "ReportDeploymentFunction",
        comment="Weights, requests, errors, latency, alarms and the decision, as a page",
        payload={
            "execution_id.$": "$$.Execution.Id",
            "execution_name.$": "$$.Execution.Name",
            "started_at.$": "$$.Execution.StartTime",
            "endpoint_name.$": "$.deployment.endpoint_name",
            "variant_names.$": "$.deployment.report.variant_names",
            "outcome.$": "$outcome",
            "strategy.$": "$.deployment.strategy",
            "model_package_arn.$": "$.deployment.model_package_arn",
            "alarms.$": "$.record.alarms.seen",
            "decision.$": "$.record.judged.decision",
            "test.$": "$.record.test",
            "report_prefix_uri.$": "$.deployment.report.prefix_uri",
            **why,
        },
        result={"report_uri": "report_uri"},
        result_path="$.record.report",
        catch=[Catch(error_equals=["States.ALL"], result_path="$.record.report_failure", next_step=then)],
    )
    task.next(then)
    return task


def summed_up(name: str, comment: str, done: Succeed, **told: Any) -> Pass:
    """The machine's output at a good end: what serves and why, and what ``told`` adds."""
    summary = Pass(
        name,
        comment=comment,
        parameters={
            "endpoint_name.$": PRODUCTION.name,
            "model_package_arn.$": "$.deployment.model_package_arn",
            "strategy.$": "$.deployment.strategy",
            "decision.$": "$.record.judged.decision",
            "test.$": "$.record.test",
            "report_uri.$": "$.record.report.report_uri",
            **told,
        },
    )
    summary.next(done)
    return summary
