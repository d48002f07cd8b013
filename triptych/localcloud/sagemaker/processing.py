"""Processing jobs: an image's entrypoint with inputs from S3 and outputs to S3."""

from __future__ import annotations

import os
import re
import sys
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

from triptych.localcloud.jobs.spec import CommandEntry, Entry, JobSpec, ScriptEntry
from triptych.localcloud.s3.store import split_uri
from triptych.localcloud.sagemaker import containers
from triptych.localcloud.sagemaker.errors import check_name, invalid, require
from triptych.localcloud.sagemaker.images import resolve_image
from triptych.localcloud.sagemaker.inputs import link_source
from triptych.localcloud.sagemaker.layout import (
    Layout,
    base_environment,
    has_files,
    with_environment,
)
from triptych.localcloud.sagemaker.process import JobControl, JobLog, failure_reason, run_process
from triptych.localcloud.sagemaker.records import Record, now
from triptych.localcloud.sagemaker.support import JobKind
from triptych.localcloud.sagemaker.training_contract import HOST
from triptych.localcloud.service import Params

LOG_GROUP = "/aws/sagemaker/ProcessingJobs"
_KEPT = (
    "ProcessingInputs",
    "ProcessingOutputConfig",
    "ProcessingResources",
    "StoppingCondition",
    "AppSpecification",
    "Environment",
    "NetworkConfig",
    "RoleArn",
    "ExperimentConfig",
)
_SUMMARY = (
    "ProcessingJobName",
    "ProcessingJobArn",
    "CreationTime",
    "ProcessingEndTime",
    "LastModifiedTime",
    "ProcessingJobStatus",
    "FailureReason",
    "ExitMessage",
)
_PYTHON = re.compile(r"(.*/)?python(3(\.\d+)?)?")


class ProcessingJobs(JobKind):
    """CreateProcessingJob and its family."""

    kind = "processing_job"
    title = "Processing Job"
    member = "ProcessingJob"
    end_member = "ProcessingEndTime"

    def create(self, params: Params) -> Params:
        """Check the request as SageMaker does, keep it, start the job."""
        name = check_name(params, "ProcessingJobName")
        require(params, "AppSpecification.ImageUri", "RoleArn", "ProcessingResources.ClusterConfig")
        application = params["AppSpecification"]
        resolve_image(application["ImageUri"])
        if not application.get("ContainerEntrypoint"):
            raise invalid(
                "AppSpecification.ContainerEntrypoint is required on the local cloud: there is no "
                "container whose "
                'own entrypoint could run. Give ["python3", "/opt/ml/processing/input/code/script.py"].'
            )
        names = [item["InputName"] for item in params.get("ProcessingInputs") or []]
        if len(set(names)) < len(names):
            raise invalid("ProcessingInputs contains duplicate input names.")
        for item in params.get("ProcessingInputs") or []:
            if "S3Input" not in item:
                raise invalid(f"Processing input '{item['InputName']}' has no S3Input, the only kind served.")
        for item in (params.get("ProcessingOutputConfig") or {}).get("Outputs", []):
            if "S3Output" not in item:
                raise invalid(
                    f"Processing output '{item['OutputName']}' has no S3Output, the only kind served."
                )
        moment = now()
        record: Record = {member: params[member] for member in _KEPT if params.get(member) is not None}
        record.setdefault("StoppingCondition", {"MaxRuntimeInSeconds": 86400})
        record |= {"CreationTime": moment, "LastModifiedTime": moment}
        return {"ProcessingJobArn": self.begin(name, record, params.get("Tags"))}

    def list_jobs(self, params: Params) -> Params:
        return self.list(params, _SUMMARY)

    def work(self, name: str, record: Record, control: JobControl) -> Callable[[Record], None]:
        layout = Layout(self.cloud.home.scratch / "sagemaker" / f"processing-{name}")
        layout.create()
        try:
            return self._process(name, record, control, layout)
        finally:
            layout.remove()

    def _process(
        self, name: str, record: Record, control: JobControl, layout: Layout
    ) -> Callable[[Record], None]:
        stream = f"{name}/algo-1-{int(record['CreationTime'].timestamp())}"
        log = JobLog(self.cloud.logs, LOG_GROUP, stream)
        spec = self._prepare(record, layout)
        self.change(name, lambda kept: kept.update(ProcessingStartTime=now()))
        max_runtime = record["StoppingCondition"].get("MaxRuntimeInSeconds")
        how = run_process(self.cloud.jobs, spec, log, control, max_runtime)
        if self._closing:
            return lambda _: None
        message = layout.read_message("/opt/ml/output/message")
        changes: dict[str, Any] = {"ExitMessage": message} if message else {}
        if control.stopped:
            return lambda kept: kept.update(changes | {self.status: "Stopped"})
        if control.expired:
            reason = f"MaxRuntimeExceeded: the job ran longer than {max_runtime} seconds and was stopped."
            return lambda kept: kept.update(changes | {self.status: "Stopped", "FailureReason": reason})
        assert how is not None
        if not how.succeeded:
            reason = failure_reason(how, message, log, spec.memory_limit_bytes)[:1024]
            return lambda kept: kept.update(changes | {self.status: "Failed", "FailureReason": reason})
        self._upload(record, layout)
        return lambda kept: kept.update(changes | {self.status: "Completed"})

    def _prepare(self, record: Record, layout: Layout) -> JobSpec:
        for item in record.get("ProcessingInputs") or []:
            source = item["S3Input"]
            local = source.get("LocalPath") or f"/opt/ml/processing/input/{item['InputName']}"
            link_source(self.cloud.store, source, layout.folder(local))
        for item in self._outputs(record):
            layout.folder(
                item["S3Output"].get("LocalPath") or f"/opt/ml/processing/output/{item['OutputName']}"
            )
        layout.folder("/opt/ml/output")
        cluster = record["ProcessingResources"]["ClusterConfig"]
        layout.write_json("/opt/ml/config/processingjobconfig.json", _job_config(record))
        layout.write_json("/opt/ml/config/resourceconfig.json", {"current_host": HOST, "hosts": [HOST]})
        settings = self.cloud.settings
        environment = base_environment(settings, layout.scratch)
        environment = with_environment(environment, record.get("Environment"), layout)
        environment |= {"PROCESSING_JOB_NAME": record["ProcessingJobName"]}
        application = record["AppSpecification"]
        argv = layout.rewrite_all(
            [*application["ContainerEntrypoint"], *(application.get("ContainerArguments") or [])]
        )
        return JobSpec(
            name=f"processing {record['ProcessingJobName']}",
            pool="jobs",
            entry=_entry(argv),
            env=environment,
            cwd=layout.root,
            memory_limit_bytes=self.memory_limit(cluster.get("InstanceType")),
        )

    def _outputs(self, record: Record) -> list[dict[str, Any]]:
        outputs: list[dict[str, Any]] = (record.get("ProcessingOutputConfig") or {}).get("Outputs", [])
        return outputs

    def _upload(self, record: Record, layout: Layout) -> None:
        """Adopt each output folder below its S3Uri; only what the job wrote, all of an output at once."""
        for item in self._outputs(record):
            output = item["S3Output"]
            local = output.get("LocalPath") or f"/opt/ml/processing/output/{item['OutputName']}"
            folder = layout.path(local)
            if has_files(folder):
                bucket, prefix = split_uri(output["S3Uri"])
                self.cloud.store.adopt_tree(bucket, prefix, folder)


def _entry(argv: Sequence[str]) -> Entry:
    """A Python script or zip application starts from the fork server, all else as a program."""
    if _PYTHON.fullmatch(argv[0]):
        rest = list(argv[1:])
        while rest and rest[0] in ("-u", "-B", "-I"):
            del rest[0]
        if rest and rest[0].endswith((".py", ".pyz")):
            return ScriptEntry(rest[0], tuple(rest[1:]))
        if rest and (zipfile.is_zipfile(rest[0]) or os.path.isfile(f"{rest[0]}/__main__.py")):
            return ScriptEntry(containers.RUN_ARCHIVE, tuple(rest))
        return CommandEntry((sys.executable, *argv[1:]))
    if argv[0].endswith(".py") and not os.access(argv[0], os.X_OK):
        return ScriptEntry(argv[0], tuple(argv[1:]))
    return CommandEntry(tuple(argv))


def _job_config(record: Record) -> dict[str, Any]:
    """``processingjobconfig.json``: the request, as the container finds it."""
    members = {member: record.get(member) for member in ("ProcessingJobArn", "ProcessingJobName", *_KEPT)}
    return {member: value for member, value in members.items() if value is not None}
