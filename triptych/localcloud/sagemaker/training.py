"""Training jobs: script mode and managed algorithms, by SageMaker's training container contract."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from triptych.localcloud.jobs.spec import JobSpec, ScriptEntry
from triptych.localcloud.s3.store import split_uri
from triptych.localcloud.sagemaker import containers
from triptych.localcloud.sagemaker.errors import JobRefused, check_name, invalid, require
from triptych.localcloud.sagemaker.images import Image, resolve_image
from triptych.localcloud.sagemaker.inputs import fetch, link_source, require_data
from triptych.localcloud.sagemaker.layout import (
    Layout,
    base_environment,
    has_files,
    pack,
    unpack,
    with_environment,
)
from triptych.localcloud.sagemaker.metrics import XGBOOST_DEFINITIONS, MetricScan
from triptych.localcloud.sagemaker.process import JobControl, JobLog, failure_reason, run_process
from triptych.localcloud.sagemaker.records import Record, now
from triptych.localcloud.sagemaker.support import JobKind
from triptych.localcloud.sagemaker.training_contract import (
    arguments,
    container_environment,
    split_hyperparameters,
    training_environment,
    write_configuration,
)
from triptych.localcloud.service import Params

_log = logging.getLogger(__name__)

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
_KEPT = (
    "HyperParameters",
    "AlgorithmSpecification",
    "RoleArn",
    "InputDataConfig",
    "OutputDataConfig",
    "ResourceConfig",
    "VpcConfig",
    "StoppingCondition",
    "EnableNetworkIsolation",
    "EnableInterContainerTrafficEncryption",
    "EnableManagedSpotTraining",
    "CheckpointConfig",
    "DebugHookConfig",
    "DebugRuleConfigurations",
    "TensorBoardOutputConfig",
    "ExperimentConfig",
    "ProfilerConfig",
    "ProfilerRuleConfigurations",
    "Environment",
    "RetryStrategy",
)
_SUMMARY = (
    "TrainingJobName",
    "TrainingJobArn",
    "CreationTime",
    "TrainingEndTime",
    "LastModifiedTime",
    "TrainingJobStatus",
    "SecondaryStatus",
)
_MESSAGES = {
    "Starting": "Preparing the instances for training",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Uploading": "Uploading generated training model",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Stopping": "Stopping the training job",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job exceeded its maximum runtime",
}


class TrainingJobs(JobKind):
    """CreateTrainingJob and its family."""

    kind = "training_job"
    title = "Training Job"
    member = "TrainingJob"
    end_member = "TrainingEndTime"

    def create(self, params: Params) -> Params:
        """Check the request as SageMaker does, keep it, start the job."""
        name = check_name(params, "TrainingJobName")
        require(
            params, "AlgorithmSpecification", "RoleArn", "OutputDataConfig.S3OutputPath", "ResourceConfig"
        )
        algorithm = params["AlgorithmSpecification"]
        if not algorithm.get("TrainingImage"):
            raise invalid(
                "AlgorithmSpecification.TrainingImage is required; algorithms by AlgorithmName are "
                "not served."
            )
        image = resolve_image(algorithm["TrainingImage"])
        _, toolkit = split_hyperparameters(params.get("HyperParameters") or {})
        if "sagemaker_program" not in toolkit and image.runner.algorithm is None:
            raise invalid(
                f"The image '{image.uri}' trains nothing by itself: give a script with the hyperparameters "
                "sagemaker_program and sagemaker_submit_directory."
            )
        MetricScan(algorithm.get("MetricDefinitions") or [])
        channels = [channel["ChannelName"] for channel in params.get("InputDataConfig") or []]
        if len(set(channels)) < len(channels):
            raise invalid(
                "InputDataConfig contains duplicate channel names. Please provide unique channel names."
            )
        for channel in params.get("InputDataConfig") or []:
            source = channel["DataSource"].get("S3DataSource")
            if source is None:
                raise invalid(
                    f"Channel '{channel['ChannelName']}' has no S3DataSource, the only kind served locally."
                )
            if source.get("S3DataType", "S3Prefix") == "S3Prefix":
                require_data(self.cloud.store, source["S3Uri"], self.cloud.settings.region, params["RoleArn"])
        moment = now()
        record: Record = {member: params[member] for member in _KEPT if params.get(member) is not None}
        record.setdefault("StoppingCondition", {"MaxRuntimeInSeconds": 86400})
        record.setdefault("EnableNetworkIsolation", False)
        record.setdefault("EnableInterContainerTrafficEncryption", False)
        record.setdefault("EnableManagedSpotTraining", False)
        record |= {
            "ModelArtifacts": {"S3ModelArtifacts": self._model_uri(name, params)},
            "SecondaryStatus": "Starting",
            "SecondaryStatusTransitions": [
                {"Status": "Starting", "StartTime": moment, "StatusMessage": _MESSAGES["Starting"]}
            ],
            "CreationTime": moment,
            "LastModifiedTime": moment,
        }
        return {"TrainingJobArn": self.begin(name, record, params.get("Tags"))}

    def list_jobs(self, params: Params) -> Params:
        return self.list(params, _SUMMARY)

    def not_found(self, name: str) -> Exception:
        return invalid("Requested resource not found.")

    def work(self, name: str, record: Record, control: JobControl) -> Callable[[Record], None]:
        layout = Layout(self.cloud.home.scratch / "sagemaker" / f"training-{name}")
        layout.create()
        try:
            return self._train(name, record, control, layout)
        finally:
            layout.remove()

    def _train(
        self, name: str, record: Record, control: JobControl, layout: Layout
    ) -> Callable[[Record], None]:
        log = JobLog(self.cloud.logs, LOG_GROUP, f"{name}/algo-1-{int(record['CreationTime'].timestamp())}")
        image = resolve_image(record["AlgorithmSpecification"]["TrainingImage"])
        self._transition(name, "Downloading", TrainingStartTime=now())
        spec = self._prepare(record, layout, image, log)
        scan = self._scan(
            record,
            image,
            managed=isinstance(spec.entry, ScriptEntry) and spec.entry.path == containers.XGBOOST,
        )
        log.listeners.append(scan)
        self._transition(name, "Training")
        max_runtime = record["StoppingCondition"].get("MaxRuntimeInSeconds")
        how = run_process(self.cloud.jobs, spec, log, control, max_runtime)
        if self._closing:
            return lambda _: None
        self._publish_metrics(name, scan)
        if how is not None and not how.succeeded and not control.ended_early:
            message = layout.read_message("/opt/ml/output/failure")
            reason = failure_reason(how, message, log, spec.memory_limit_bytes)
            by_toolkit = not message and image.runner.algorithm != "own"
            if by_toolkit and isinstance(spec.entry, ScriptEntry) and not reason.startswith("ClientError"):
                reason = _script_error(reason, spec.entry)
            self._upload(name, record, layout, log, model=False)
            return self._outcome("Failed", "Failed", scan, FailureReason=reason)
        if how is not None:
            self._transition(name, "Uploading")
            self._upload(name, record, layout, log, model=True, warn=not control.ended_early)
        if control.expired:
            return self._outcome("Stopped", "MaxRuntimeExceeded", scan)
        if control.stopped:
            return self._outcome("Stopped", "Stopped", scan)
        return self._outcome("Completed", "Completed", scan)

    def _prepare(self, record: Record, layout: Layout, image: Image, log: JobLog) -> JobSpec:
        """Link the data, unpack the code, write the configuration: the process to start."""
        store = self.cloud.store
        for channel in record.get("InputDataConfig") or []:
            folder = layout.folder(f"/opt/ml/input/data/{channel['ChannelName']}")
            link_source(store, channel["DataSource"]["S3DataSource"], folder)
            mode = channel.get("InputMode") or record["AlgorithmSpecification"].get("TrainingInputMode")
            if mode == "Pipe":
                log([f"[local cloud] channel '{channel['ChannelName']}': Pipe mode is served as files"])
        for place in ("/opt/ml/model", "/opt/ml/output/data", "/opt/ml/output/intermediate", "/opt/ml/code"):
            layout.folder(place)
        self._restore_checkpoints(record, layout)
        write_configuration(layout, record)
        if (record["ResourceConfig"].get("InstanceCount") or 1) > 1:
            log(["[local cloud] the job asks for several instances; the laptop trains on one host, algo-1"])
        entry, given = self._entry(record, layout, image, log)
        settings = self.cloud.settings
        environment = base_environment(settings, layout.scratch)
        environment = with_environment(environment, record.get("Environment"), layout)
        environment |= given
        return JobSpec(
            name=f"training {record['TrainingJobName']}",
            pool="jobs",
            entry=entry,
            env=environment,
            cwd=layout.path("/opt/ml/code"),
            memory_limit_bytes=self.memory_limit(record["ResourceConfig"].get("InstanceType")),
        )

    def _entry(
        self, record: Record, layout: Layout, image: Image, log: JobLog
    ) -> tuple[ScriptEntry, dict[str, str]]:
        """What is run, and the variables that it is given."""
        if image.runner.algorithm == "own":
            return ScriptEntry(containers.OWN_TRAIN), container_environment(layout, record)
        own, toolkit = split_hyperparameters(record.get("HyperParameters") or {})
        program = toolkit.get("sagemaker_program")
        entry = ScriptEntry(containers.XGBOOST)
        if program is not None:
            entry = ScriptEntry(self._script(toolkit, layout, log), tuple(arguments(own)))
        return entry, training_environment(layout, record, program)

    def _script(self, toolkit: dict[str, Any], layout: Layout, log: JobLog) -> Path:
        """The training script, its source unpacked into ``/opt/ml/code``."""
        program, source = str(toolkit["sagemaker_program"]), toolkit.get("sagemaker_submit_directory")
        code = layout.path("/opt/ml/code")
        if not isinstance(source, str) or not source.startswith("s3://"):
            raise JobRefused(
                "ClientError: the hyperparameter sagemaker_submit_directory must be the S3 URI of a "
                ".tar.gz with "
                f"'{program}'; it is {source!r}."
            )
        unpack(fetch(self.cloud.store, source, "the source archive"), code, source)
        script = code / program
        if not script.is_file():
            names = ", ".join(sorted(path.name for path in code.iterdir())) or "nothing"
            raise JobRefused(f"ClientError: the script '{program}' is not in {source}; it holds {names}.")
        if (code / "requirements.txt").is_file():
            log(
                [
                    "[local cloud] requirements.txt is not installed: scripts use the local "
                    "environment's packages"
                ]
            )
        return script

    def _scan(self, record: Record, image: Image, *, managed: bool) -> MetricScan:
        definitions = record["AlgorithmSpecification"].get("MetricDefinitions") or []
        if managed and image.runner.algorithm == "xgboost":
            definitions = [*XGBOOST_DEFINITIONS, *definitions]
        return MetricScan(definitions)

    def _restore_checkpoints(self, record: Record, layout: Layout) -> None:
        config = record.get("CheckpointConfig")
        if config:
            bucket, prefix = split_uri(config["S3Uri"])
            folder = layout.folder(config.get("LocalPath") or "/opt/ml/checkpoints")
            for found in self.cloud.store.list(bucket, prefix.rstrip("/") + "/"):
                target = folder / found.key[len(prefix.rstrip("/")) + 1 :]
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(found.path.read_bytes())  # a copy: a script may write on in its checkpoint

    def _upload(
        self, name: str, record: Record, layout: Layout, log: JobLog, *, model: bool, warn: bool = False
    ) -> None:
        """Adopt what the job left: checkpoints, output data, and the model when ``model``."""
        store = self.cloud.store
        config = record.get("CheckpointConfig")
        if config:
            bucket, prefix = split_uri(config["S3Uri"])
            store.adopt_tree(bucket, prefix, layout.path(config.get("LocalPath") or "/opt/ml/checkpoints"))
        archives = [("/opt/ml/output/data", "output.tar.gz")]
        if model:
            archives.append(("/opt/ml/model", "model.tar.gz"))
        for place, archive_name in archives:
            folder = layout.path(place)
            if has_files(folder):
                archive = layout.scratch / archive_name
                pack(folder, archive)
                bucket, key = split_uri(self._model_uri(name, record).replace("model.tar.gz", archive_name))
                store.put_file(bucket, key, archive)
            elif warn and archive_name == "model.tar.gz":
                log(
                    [
                        "[local cloud] WARNING: no model artifact was saved under SM_MODEL_DIR "
                        "(/opt/ml/model). "
                        "As on AWS, the job completes and no model.tar.gz is written to S3."
                    ]
                )

    def _model_uri(self, name: str, record: Record) -> str:
        return f"{record['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{name}/output/model.tar.gz"

    def _publish_metrics(self, name: str, scan: MetricScan) -> None:
        """Push the metrics to CloudWatch, off the job's path."""
        points = scan.data_points([{"Name": "TrainingJobName", "Value": name}])
        clients = getattr(self.cloud, "clients", None)
        if not points or clients is None:
            return

        def push() -> None:
            try:
                client = clients.get("cloudwatch")
                for start in range(0, len(points), 500):
                    client.put_metric_data(Namespace=LOG_GROUP, MetricData=points[start : start + 500])
            except Exception:
                _log.exception("the metrics of training job %s could not be published", name)

        threading.Thread(target=push, name=f"metrics of {name}", daemon=True).start()

    def failed(self, reason: str) -> Callable[[Record], None]:
        return self._outcome("Failed", "Failed", None, FailureReason=reason)

    def stopped(self, record: Record) -> None:
        self._outcome("Stopped", "Stopped", None)(record)

    def _outcome(
        self, status: str, secondary: str, scan: MetricScan | None, **changes: Any
    ) -> Callable[[Record], None]:
        def mutate(record: Record) -> None:
            record["TrainingJobStatus"] = status
            if scan is not None and scan.values:
                record["FinalMetricDataList"] = scan.final()
            if "FailureReason" in changes:
                changes["FailureReason"] = changes["FailureReason"][:1024]
            record.update(changes)
            _add_transition(record, secondary, changes.get("FailureReason"))
            record["SecondaryStatusTransitions"][-1]["EndTime"] = now()

        return mutate

    def _transition(self, name: str, secondary: str, **changes: Any) -> None:
        def mutate(record: Record) -> None:
            if record["TrainingJobStatus"] == "InProgress":
                _add_transition(record, secondary)
            record.update(changes)

        record = self.change(name, mutate)
        if record is not None:
            self._announce(record)

    def _mark_stopping(self, record: Record) -> None:
        if record["TrainingJobStatus"] == "InProgress":
            record["TrainingJobStatus"] = "Stopping"
            _add_transition(record, "Stopping")

    def ended(self, record: Record) -> None:
        started = record.get("TrainingStartTime")
        if started is not None:
            seconds = max(1, round((record["TrainingEndTime"] - started).total_seconds()))
            record |= {"TrainingTimeInSeconds": seconds, "BillableTimeInSeconds": seconds}


def _add_transition(record: Record, status: str, message: str | None = None) -> None:
    moment = now()
    transitions = record["SecondaryStatusTransitions"]
    if transitions and "EndTime" not in transitions[-1]:
        transitions[-1]["EndTime"] = moment
    transitions.append(
        {"Status": status, "StartTime": moment, "StatusMessage": message or _MESSAGES.get(status, status)}
    )
    record["SecondaryStatus"] = status


def _script_error(reason: str, entry: ScriptEntry) -> str:
    """The training toolkit's wording for a script that failed."""
    text, _, code = reason.removeprefix("AlgorithmError: ").rpartition(", exit code: ")
    command = " ".join(["python3", Path(entry.path).name, *entry.argv])
    return (
        f'AlgorithmError: ExecuteUserScriptError:\nExitCode {code}\nErrorMessage "{text[:700]}"\n'
        f'Command "{command[:200]}", exit code: {code}'
    )
