"""``glue:startJobRun``."""

from __future__ import annotations

from triptych.localcloud.integrations.action import Action, Job, JsonObject
from triptych.localcloud.integrations.failures import ErrorNames
from triptych.localcloud.integrations.resource import SYNC

_JOB_RUN = Job(
    bus_service="glue",
    bus_kind="job_run",
    identity=lambda parameters, submitted: submitted["JobRunId"],
    describe_operation="GetJobRun",
    describe_arguments=lambda parameters, submitted: {
        "JobName": parameters["JobName"],
        "RunId": submitted["JobRunId"],
    },
    member="JobRun",
    status_member="JobRunState",
    succeeded=frozenset({"SUCCEEDED"}),
    ended=frozenset({"SUCCEEDED", "FAILED", "TIMEOUT", "STOPPED", "ERROR", "EXPIRED"}),
    stop_operation="BatchStopJobRun",
    stop_arguments=lambda parameters, submitted: {
        "JobName": parameters["JobName"],
        "JobRunIds": [submitted["JobRunId"]],
    },
)


def _with_job_name(output: JsonObject, parameters: JsonObject) -> JsonObject:
    """StartJobRun answers the run's id only; Step Functions adds the name from the request."""
    return output | {"JobName": parameters["JobName"]}


ACTIONS = {
    "glue:startJobRun": Action(
        "glue",
        "StartJobRun",
        errors=ErrorNames(prefix="Glue", base="AWSGlueException", service="AWSGlue"),
        patterns=frozenset({"", SYNC}),
        job=_JOB_RUN,
        finish=_with_job_name,
    )
}
