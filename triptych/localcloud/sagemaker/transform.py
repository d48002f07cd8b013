"""Batch transform jobs: a model's handlers over every object of an S3 source."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from triptych.localcloud.cloud import Cloud
from triptych.localcloud.jobs.spec import JobSpec, ScriptEntry
from triptych.localcloud.s3.store import ObjectRecord, split_uri
from triptych.localcloud.sagemaker import containers
from triptych.localcloud.sagemaker.containers.transform_task import (
    Report,
    SourceObject,
    TransformTask,
    read_report,
)
from triptych.localcloud.sagemaker.errors import JobRefused, check_name
from triptych.localcloud.sagemaker.inputs import link, source_objects
from triptych.localcloud.sagemaker.layout import Layout, base_environment
from triptych.localcloud.sagemaker.models import Models
from triptych.localcloud.sagemaker.process import JobControl, JobLog, failure_reason, run_process
from triptych.localcloud.sagemaker.records import Record, Records, now
from triptych.localcloud.sagemaker.support import JobKind
from triptych.localcloud.sagemaker.transform_request import TransformRequest, read_request
from triptych.localcloud.service import Params

LOG_GROUP = "/aws/sagemaker/TransformJobs"
_KEPT = (
    "ModelName",
    "MaxConcurrentTransforms",
    "ModelClientConfig",
    "MaxPayloadInMB",
    "BatchStrategy",
    "Environment",
    "TransformInput",
    "TransformOutput",
    "DataCaptureConfig",
    "TransformResources",
    "DataProcessing",
    "ExperimentConfig",
)
_SUMMARY = (
    "TransformJobName",
    "TransformJobArn",
    "CreationTime",
    "TransformEndTime",
    "LastModifiedTime",
    "TransformJobStatus",
    "FailureReason",
)


class TransformJobs(JobKind):
    """CreateTransformJob and its family."""

    kind = "transform_job"
    title = "Transform Job"
    member = "TransformJob"
    end_member = "TransformEndTime"

    def __init__(self, cloud: Cloud, records: Records, models: Models, **limits: Any) -> None:
        super().__init__(cloud, records, **limits)
        self._models = models

    def create(self, params: Params) -> Params:
        """Check the request as SageMaker does, keep it, start the job."""
        name = check_name(params, "TransformJobName")
        read_request(params)
        self._models.find_model(params["ModelName"])
        record: Record = {member: params[member] for member in _KEPT if params.get(member) is not None}
        record |= {"CreationTime": now()}
        return {"TransformJobArn": self.begin(name, record, params.get("Tags"))}

    def list_jobs(self, params: Params) -> Params:
        return self.list(params, _SUMMARY)

    def work(self, name: str, record: Record, control: JobControl) -> Callable[[Record], None]:
        layout = Layout(self.cloud.home.scratch / "sagemaker" / f"transform-{name}")
        layout.create()
        try:
            return self._transform(name, record, control, layout)
        finally:
            layout.remove()

    def _transform(
        self, name: str, record: Record, control: JobControl, layout: Layout
    ) -> Callable[[Record], None]:
        stream = f"{name}/i-local-{int(record['CreationTime'].timestamp())}"
        log = JobLog(self.cloud.logs, LOG_GROUP, stream)
        self.change(name, lambda kept: kept.update(TransformStartTime=now()))
        request = read_request(record)
        bucket, prefix = split_uri(record["TransformOutput"]["S3OutputPath"])
        if not self.cloud.store.has_bucket(bucket):
            raise JobRefused(f"ClientError: the bucket of S3OutputPath, {bucket}, does not exist.")
        task = self._task(record, request, layout)
        spec = self._job(record, request, task, layout)
        how = run_process(self.cloud.jobs, spec, log, control, None)
        if self._closing:
            return lambda _: None
        if control.stopped:
            return lambda kept: kept.update({self.status: "Stopped"})
        assert how is not None
        report = read_report(Path(task.report))
        self._tell(f"{stream}/data-log", request, report)
        # Whole answers are kept, as on AWS, also when other objects failed: all at once.
        self.cloud.store.adopt_tree(bucket, prefix, Path(task.outputs))
        if how.succeeded:
            return lambda kept: kept.update({self.status: "Completed"})
        if report is None or report.trouble:
            trouble = report.trouble or "" if report else ""
            return self.failed(failure_reason(how, trouble, log, spec.memory_limit_bytes))
        return self.failed(_reason(report, len(task.objects)))

    def _task(self, record: Record, request: TransformRequest, layout: Layout) -> TransformTask:
        source = record["TransformInput"]["DataSource"]["S3DataSource"]
        container = self._models.container(record["ModelName"])
        inputs = layout.folder("/opt/ml/input/data")
        objects = []
        for number, (relative, found) in enumerate(source_objects(self.cloud.store, source)):
            linked = inputs / str(number)
            link(found.path, linked)
            uri = f"s3://{found.bucket}/{found.key}"
            objects.append(SourceObject(uri, str(linked), _output_name(relative, found)))
        return TransformTask(
            objects=tuple(objects),
            outputs=str(layout.folder("/opt/ml/output/data")),
            drafts=str(layout.folder("/opt/ml/output/drafts")),
            report=str(layout.path("/opt/ml/output/report.json")),
            model_dir=str(container.model_dir),
            code_dir=str(container.code_dir) if container.code_dir else None,
            program=container.environment.get("SAGEMAKER_PROGRAM"),
            content_type=request.content_type,
            accept=request.accept,
            split=request.split == "Line",
            single_record=request.strategy == "SingleRecord",
            gzip=request.compressed,
            assemble_lines=request.assemble_lines,
            max_payload_bytes=request.payload_mb * 2**20,
            max_concurrent=request.concurrent,
            timeout_seconds=request.timeout_seconds,
            max_retries=request.retries,
            input_filter=request.input_filter,
            output_filter=request.output_filter,
            join_source=request.join_source,
        )

    def _job(self, record: Record, request: TransformRequest, task: TransformTask, layout: Layout) -> JobSpec:
        task_file = layout.scratch / "task.json"
        task.write(task_file)
        container = self._models.container(record["ModelName"])
        environment = base_environment(self.cloud.settings, layout.scratch)
        environment |= container.serving_environment() | (record.get("Environment") or {})
        # What SageMaker tells a container in a batch transform job
        environment |= {
            "SAGEMAKER_BATCH": "true",
            "SAGEMAKER_MAX_PAYLOAD_IN_MB": str(request.payload_mb),
            "SAGEMAKER_BATCH_STRATEGY": _loud(request.strategy),
            "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": str(request.concurrent),
        }
        return JobSpec(
            name=f"transform {record['TransformJobName']}",
            pool="jobs",
            entry=ScriptEntry(containers.BATCH_TRANSFORM, (str(task_file),)),
            env=environment,
            cwd=layout.root,
            python_path=(str(containers.SERVE),),
            memory_limit_bytes=self.memory_limit(record["TransformResources"].get("InstanceType")),
        )

    def _tell(self, stream: str, request: TransformRequest, report: Report | None) -> None:
        """The ``data-log`` stream: the settings, and each object that failed, in the shape of SageMaker's own."""
        lines = [
            f"MaxConcurrentTransforms={request.concurrent}, MaxPayloadInMB={request.payload_mb}, "
            f"BatchStrategy={_loud(request.strategy)}"
        ]
        for uri, failure in (report.failures if report else {}).items():
            key = uri.removeprefix("s3://")
            status = f": {failure.status}" if failure.status else ""
            at = f"line {failure.line}: " if failure.line else ""
            lines += [f"{key}: {failure.kind}{status}", f"{key}: ", f"{key}: Message:"]
            lines += [f"{key}: {at}{line}" for line in failure.message.splitlines()]
        moment = now()
        stamp = moment.isoformat(timespec="milliseconds").split("+", 1)[0]
        told = [(moment, f"{stamp}:[sagemaker logs]: {line}") for line in lines]
        self.cloud.logs.append(LOG_GROUP, stream, told)


def _loud(strategy: str) -> str:
    return "SINGLE_RECORD" if strategy == "SingleRecord" else "MULTI_RECORD"


def _output_name(relative: str, found: ObjectRecord) -> str:
    """Where the object's answers go below the output path; raises JobRefused where no file can be named so."""
    name = f"{relative}.out"
    parts = PurePosixPath(name).parts
    if os.path.normpath(name) != name or name.startswith("/") or ".." in parts:
        raise JobRefused(
            f"ClientError: s3://{found.bucket}/{found.key} cannot be transformed locally: '{relative}' is no path "
            "of a file. Copy the object to another key."
        )
    return name


def _reason(report: Report, objects: int) -> str:
    """Every object that failed, the first ones with why; FailureReason has room for 1,024 characters."""
    first = next(iter(report.failures.values()))
    count = len(report.failures)
    told = [
        f"{uri}{f', line {failure.line}' if failure.line else ''}: {' '.join(failure.message.split())}"
        for uri, failure in report.failures.items()
    ]
    head = f"{first.kind}: {count} of {objects} object{'s' if objects > 1 else ''} failed. "
    for detailed in range(len(told), 0, -1):
        rest = list(report.failures)[detailed:]
        text = head + "; ".join(told[:detailed]) + (f"; also {', '.join(rest)}" if rest else "")
        if len(text) <= 1000:
            return text
    return f"{head}{told[0][:600]}; also {', '.join(list(report.failures)[1:])}"
