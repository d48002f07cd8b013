"""Glue's job runs: StartJobRun, GetJobRun(s), BatchStopJobRun. Definitions and the catalog stay moto's."""

from __future__ import annotations

import logging
import secrets
import shutil
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from triptych.localcloud.bus import JobEnded, ServiceEvent
from triptych.localcloud.cloud import Cloud
from triptych.localcloud.glue.arguments import RunArguments, resolve
from triptych.localcloud.glue.execution import RunExecution, RunOutcome
from triptych.localcloud.glue.runs import ENDED, JobRun, RunStore, TooManyRuns
from triptych.localcloud.service import Operation, Params, RequestContext, ServiceError

_log = logging.getLogger(__name__)

JobDefinition = dict[str, Any]
FindJob = Callable[[RequestContext, str], JobDefinition | None]

_DEFAULT_TIMEOUT_MINUTES = 2880
_MOST_RUNS_A_PAGE = 200
_LOST = (
    "The local cloud stopped twice while this run was in progress, and the run's process with it. Nothing that "
    "it wrote was kept. Start the job again."
)
_RERUN = "_rerun"
"""kept in the record of a run that was begun anew after a restart"""


class GlueService:
    """Runs jobs' own scripts.

    ``find_job`` answers a job's definition in botocore's shape (moto's by default); ``seconds_per_minute`` is
    what a minute of a job's Timeout lasts.
    """

    service_id = "glue"

    def __init__(
        self, cloud: Cloud, find_job: FindJob | None = None, seconds_per_minute: float = 60.0
    ) -> None:
        self._cloud = cloud
        self._find_job = find_job or self._registered_job
        self._seconds_per_minute = seconds_per_minute
        self._runs = RunStore(cloud.home)
        self._executions: dict[str, RunExecution] = {}
        self._lock = threading.Lock()
        self.operations: Mapping[str, Operation] = {
            "StartJobRun": self.start_job_run,
            "GetJobRun": self.get_job_run,
            "GetJobRuns": self.get_job_runs,
            "BatchStopJobRun": self.batch_stop_job_run,
        }

    def start(self) -> None:
        """Begin the runs anew that the last gateway left behind: their processes ended with it.

        On AWS a run does not end with a client's machine, so no workflow has a Retry for that. What a lost run
        staged is gone. A run that is lost again has failed: it may be what brings the machine down.
        """
        for run in self._runs.unfinished():
            if run["JobRunState"] == "STOPPING":
                self._end(run["Id"], RunOutcome("STOPPED"))
            elif run.get(_RERUN):
                self._end(run["Id"], RunOutcome("FAILED", _LOST))
            else:
                threading.Thread(
                    target=self._begin_anew, args=(run,), name=f"glue {run['JobName']}", daemon=True
                ).start()

    def _begin_anew(self, run: JobRun) -> None:
        def edit(kept: JobRun) -> None:
            kept[_RERUN] = True
            kept["JobRunState"] = "STARTING"

        name, run_id = run["JobName"], run["Id"]
        self._runs.change(run_id, edit)
        try:
            job = self._job(RequestContext("glue", "StartJobRun", self._cloud.settings.region), name)
            arguments = resolve(job, run.get("Arguments", {}), run_id, self._cloud.settings.glue_engine)
            shutil.rmtree(self._cloud.home.scratch / "glue" / run_id, ignore_errors=True)
        except ServiceError as error:
            self._end(
                run_id, RunOutcome("FAILED", f"The run was lost and cannot begin anew: {error.message}")
            )
            return
        _log.info("run %s of job %s was lost with the last process and begins anew", run_id, name)
        self._begin(job, run, arguments)

    def stop(self) -> None:
        """Nothing to do: the job pool ends the processes, and the next start fails their runs."""

    # Operations

    def start_job_run(self, context: RequestContext, params: Params) -> Params:
        name = params["JobName"]
        job = self._job(context, name)
        given = dict(params.get("Arguments") or {})
        previous: JobRun | None = None
        if params.get("JobRunId"):
            previous = self._run(name, params["JobRunId"])
            given = {**previous.get("Arguments", {}), **given}
        run_id = "jr_" + secrets.token_hex(32)
        arguments = resolve(job, given, run_id, self._cloud.settings.glue_engine)
        run = _new_run(job, params, run_id, given, previous)
        most = int((job.get("ExecutionProperty") or {}).get("MaxConcurrentRuns") or 1)
        try:
            self._runs.add(run, most)
        except TooManyRuns:
            raise ServiceError(
                "ConcurrentRunsExceededException", f"Concurrent runs exceeded for {name}"
            ) from None
        self._begin(job, run, arguments)
        return {"JobRunId": run_id}

    def get_job_run(self, context: RequestContext, params: Params) -> Params:
        return {"JobRun": _with_time(self._run(params["JobName"], params["RunId"]))}

    def get_job_runs(self, context: RequestContext, params: Params) -> Params:
        self._job(context, params["JobName"])
        try:
            before = int(params["NextToken"]) if params.get("NextToken") else None
        except ValueError:
            raise ServiceError("InvalidInputException", "Invalid NextToken.") from None
        most = min(params.get("MaxResults") or _MOST_RUNS_A_PAGE, _MOST_RUNS_A_PAGE)
        runs, more = self._runs.page(params["JobName"], before, most)
        answer: Params = {"JobRuns": [_with_time(run) for run in runs]}
        return answer | ({"NextToken": str(more)} if more is not None else {})

    def batch_stop_job_run(self, context: RequestContext, params: Params) -> Params:
        name = params["JobName"]
        stopped, errors = [], []
        for run_id in params["JobRunIds"]:
            error = self._stop_run(name, run_id)
            if error is None:
                stopped.append({"JobName": name, "JobRunId": run_id})
            else:
                detail = {"ErrorCode": error.code, "ErrorMessage": error.message}
                errors.append({"JobName": name, "JobRunId": run_id, "ErrorDetail": detail})
        return {"SuccessfulSubmissions": stopped, "Errors": errors}

    # Runs

    def _begin(self, job: JobDefinition, run: JobRun, arguments: RunArguments) -> None:
        run_id = run["Id"]
        execution = RunExecution(
            self._cloud,
            run_id,
            job,
            arguments,
            timeout_seconds=run["Timeout"] * self._seconds_per_minute,
            on_running=lambda: self._set_state(run_id, "RUNNING"),
            on_end=lambda outcome: self._end(run_id, outcome),
        )
        with self._lock:
            self._executions[run_id] = execution
        threading.Thread(target=execution.run, name=f"glue {job['Name']}", daemon=True).start()

    def _set_state(self, run_id: str, state: str) -> None:
        def edit(run: JobRun) -> None:
            if not (state == "RUNNING" and run["JobRunState"] == "STOPPING"):
                run["JobRunState"] = state

        self._runs.change(run_id, edit)

    def _stop_run(self, name: str, run_id: str) -> ServiceError | None:
        run = self._runs.get(name, run_id)
        if run is None:
            return ServiceError("EntityNotFoundException", f"Job run {run_id} of job {name} not found.")
        if run["JobRunState"] not in ("STARTING", "RUNNING"):
            return ServiceError(
                "JobRunInTerminalStateException"
                if run["JobRunState"] in ENDED
                else "JobRunNotInValidStateException",
                f"Job run {run_id} is {run['JobRunState']} and cannot be stopped.",
            )
        self._set_state(run_id, "STOPPING")
        with self._lock:
            execution = self._executions.get(run_id)
        if execution is not None:
            execution.stop()
        return None

    def _end(self, run_id: str, outcome: RunOutcome) -> None:
        def edit(run: JobRun) -> None:
            run["JobRunState"] = outcome.state
            run["CompletedOn"] = datetime.now(UTC)
            run["ExecutionTime"] = _seconds(run)
            if outcome.message:
                run["ErrorMessage"] = outcome.message

        run = self._runs.change(run_id, edit)
        with self._lock:
            self._executions.pop(run_id, None)
        self._cloud.bus.publish(JobEnded("glue", "job_run", run_id, _with_time(run)))
        self._cloud.bus.publish(
            ServiceEvent(
                "aws.glue",
                "Glue Job State Change",
                {
                    "jobName": run["JobName"],
                    "severity": "INFO" if outcome.state == "SUCCEEDED" else "ERROR",
                    "state": outcome.state,
                    "jobRunId": run_id,
                    "message": outcome.message or "Job run succeeded",
                },
            )
        )

    def _job(self, context: RequestContext, name: str) -> JobDefinition:
        job = self._find_job(context, name)
        if job is None:
            raise ServiceError("EntityNotFoundException", f"Job {name} not found.")
        return job

    def _registered_job(self, context: RequestContext, name: str) -> JobDefinition | None:
        """Asked of GetJob, which is moto's and waits, after a restart, until moto knows its jobs again."""
        try:
            job: JobDefinition = self._cloud.clients.call(
                "glue", "GetJob", {"JobName": name}, context.region
            )["Job"]
        except ServiceError as error:
            if error.code == "EntityNotFoundException":
                return None
            raise
        return job

    def _run(self, job: str, run_id: str) -> JobRun:
        run = self._runs.get(job, run_id)
        if run is None:
            raise ServiceError("EntityNotFoundException", f"Job Run {run_id} of job {job} not found.")
        return run


def _new_run(
    job: JobDefinition, params: Params, run_id: str, given: dict[str, str], previous: JobRun | None
) -> JobRun:
    now = datetime.now(UTC)
    run: JobRun = {
        "Id": run_id,
        "Attempt": previous["Attempt"] + 1 if previous else 0,
        "JobName": job["Name"],
        "JobMode": "SCRIPT",
        "StartedOn": now,
        "LastModifiedOn": now,
        "JobRunState": "STARTING",
        "PredecessorRuns": [],
        "ExecutionTime": 0,
        "Timeout": params.get("Timeout") or job.get("Timeout") or _DEFAULT_TIMEOUT_MINUTES,
        "LogGroupName": "/aws-glue/jobs",
        "ExecutionClass": params.get("ExecutionClass") or job.get("ExecutionClass") or "STANDARD",
    }
    if given:
        run["Arguments"] = given
    if previous:
        run["PreviousRunId"] = previous["Id"]
    for name in ("WorkerType", "NumberOfWorkers", "MaxCapacity", "GlueVersion", "SecurityConfiguration"):
        value = params.get(name) or job.get(name)
        if value:
            run[name] = value
    return run


def _with_time(run: JobRun) -> JobRun:
    """The run as AWS shows it."""
    shown = {name: value for name, value in run.items() if not name.startswith("_")}
    return shown if run["JobRunState"] in ENDED else {**shown, "ExecutionTime": _seconds(run)}


def _seconds(run: JobRun) -> int:
    started: datetime = run["StartedOn"]
    return round((datetime.now(UTC) - started).total_seconds())
