"""Batch transform jobs: a model's handlers over every object of an S3 source."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from triptych.localcloud.cloud import Cloud
from triptych.localcloud.jobs.spec import JobSpec, ScriptEntry
from triptych.localcloud.s3.store import split_uri
from triptych.localcloud.sagemaker import containers
from triptych.localcloud.sagemaker.containers.record_filters import BadFilter, check_filter
from triptych.localcloud.sagemaker.errors import check_name, check_one_of, invalid, require
from triptych.localcloud.sagemaker.inputs import link, source_objects
from triptych.localcloud.sagemaker.layout import Layout, base_environment
from triptych.localcloud.sagemaker.models import Models
from triptych.localcloud.sagemaker.process import JobControl, JobLog, failure_reason, run_process
from triptych.localcloud.sagemaker.records import Record, Records, now
from triptych.localcloud.sagemaker.support import JobKind
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
_DEFAULT_PAYLOAD_MB = 6


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
        require(
            params,
            "ModelName",
            "TransformInput.DataSource.S3DataSource.S3Uri",
            "TransformOutput.S3OutputPath",
            "TransformResources",
        )
        self._models.find_model(params["ModelName"])
        check_one_of(params.get("BatchStrategy"), "batchStrategy", ("MultiRecord", "SingleRecord"))
        split = params["TransformInput"].get("SplitType", "None")
        if split not in ("None", "Line"):
            raise invalid(f"SplitType '{split}' is not served by the local cloud; use Line or None.")
        if params["TransformInput"].get("CompressionType", "None") != "None":
            raise invalid("CompressionType Gzip is not served by the local cloud; give plain objects.")
        for member in ("InputFilter", "OutputFilter"):
            try:
                check_filter((params.get("DataProcessing") or {}).get(member))
            except BadFilter as error:
                raise invalid(f"DataProcessing.{member}: {error}") from error
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
        spec = self._prepare(record, layout)
        how = run_process(self.cloud.jobs, spec, log, control, None)
        if self._closing:
            return lambda _: None
        if control.stopped:
            return lambda kept: kept.update({self.status: "Stopped"})
        assert how is not None
        if not how.succeeded:
            message = layout.read_message("/opt/ml/output/failure")
            return self.failed(failure_reason(how, message, log, spec.memory_limit_bytes))
        bucket, prefix = split_uri(record["TransformOutput"]["S3OutputPath"])
        self.cloud.store.adopt_tree(bucket, prefix, layout.path("/opt/ml/output/data"))
        return lambda kept: kept.update({self.status: "Completed"})

    def _prepare(self, record: Record, layout: Layout) -> JobSpec:
        source = record["TransformInput"]["DataSource"]["S3DataSource"]
        container = self._models.container(record["ModelName"])
        inputs = layout.folder("/opt/ml/input/data")
        outputs = layout.folder("/opt/ml/output/data")
        files: list[dict[str, Any]] = []
        for number, (relative, found) in enumerate(source_objects(self.cloud.store, source)):
            linked = inputs / str(number)
            link(found.path, linked)
            files.append(
                {
                    "uri": f"s3://{found.bucket}/{found.key}",
                    "input": str(linked),
                    "output": str(outputs / f"{relative}.out"),
                }
            )
        megabytes = record.get("MaxPayloadInMB")
        megabytes = _DEFAULT_PAYLOAD_MB if megabytes is None else megabytes
        task = {
            "files": files,
            "failure": str(layout.path("/opt/ml/output/failure")),
            "model_dir": str(container.model_dir),
            "code_dir": str(container.code_dir) if container.code_dir else None,
            "program": container.environment.get("SAGEMAKER_PROGRAM"),
            "content_type": record["TransformInput"].get("ContentType"),
            "accept": record["TransformOutput"].get("Accept"),
            "assemble_with": record["TransformOutput"].get("AssembleWith", "None"),
            "split_type": record["TransformInput"].get("SplitType", "None"),
            "strategy": record.get("BatchStrategy") or "MultiRecord",
            "max_payload_bytes": megabytes * 2**20,
            "data_processing": record.get("DataProcessing") or {},
        }
        task_file = layout.scratch / "task.json"
        task_file.write_text(json.dumps(task))
        settings = self.cloud.settings
        environment = base_environment(settings, layout.scratch)
        environment |= container.serving_environment() | (record.get("Environment") or {})
        environment |= {"SAGEMAKER_BATCH": "true"}
        return JobSpec(
            name=f"transform {record['TransformJobName']}",
            pool="jobs",
            entry=ScriptEntry(containers.BATCH_TRANSFORM, (str(task_file),)),
            env=environment,
            cwd=layout.root,
            python_path=(str(containers.SERVE),),
            memory_limit_bytes=self.memory_limit(record["TransformResources"].get("InstanceType")),
        )
