"""What the kinds of jobs have in common: threads, records' ends, and what they tell the others."""

from __future__ import annotations

import logging
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime
from typing import Any

from triptych.localcloud.bus import JobEnded, ServiceEvent
from triptych.localcloud.cloud import Cloud
from triptych.localcloud.sagemaker.errors import JobRefused, invalid, name_taken
from triptych.localcloud.sagemaker.process import STOP_GRACE_SECONDS, JobControl
from triptych.localcloud.sagemaker.records import Record, RecordExists, Records, now, public
from triptych.localcloud.service import Params

_log = logging.getLogger(__name__)

LOST = (
    "InternalServerError: The local cloud stopped twice while the job was running, and the job's process with "
    "it. Start the job again."
)
_RERUN = "_rerun"
"""kept in the record of a job that was begun anew after a restart"""
_GIB_PER_INSTANCE = {"medium": 4, "large": 8, "xlarge": 16}
_GIB_FACTOR = {"c": 0.5, "m": 1.0, "t": 1.0, "r": 2.0, "g": 1.0, "p": 4.0, "x": 4.0}


def instance_memory_bytes(instance_type: str | None) -> int | None:
    """The memory of ``ml.m5.xlarge`` and its like, by family and size; None when the name tells nothing."""
    match = re.fullmatch(r"ml\.([a-z])[a-z0-9-]*\.(\d*)(medium|large|xlarge)", instance_type or "")
    if match is None or match[1] not in _GIB_FACTOR:
        return None
    return int(int(match[2] or 1) * _GIB_PER_INSTANCE[match[3]] * _GIB_FACTOR[match[1]] * 2**30)


class Arns:
    """The ARNs of this account and region."""

    def __init__(self, cloud: Cloud) -> None:
        settings = cloud.settings
        self._prefix = f"arn:{settings.partition}:sagemaker:{settings.region}:{settings.account_id}:"
        self.log_prefix = f"arn:{settings.partition}:logs:{settings.region}:{settings.account_id}:log-group:"

    def of(self, kind: str, name: str) -> str:
        """``kind`` as in the ARN: ``training-job``, ``endpoint-config`` …; names are lower case there."""
        return f"{self._prefix}{kind}/{name.lower()}"

    def owns(self, arn: str) -> bool:
        return arn.startswith(self._prefix)

    def split(self, arn: str) -> tuple[str, str]:
        """Kind and name of one of our ARNs."""
        kind, _, name = arn.removeprefix(self._prefix).partition("/")
        return kind, name


def announce(cloud: Cloud, detail_type: str, arn: str, record: Record) -> None:
    """Put the resource's new state on the event bus, as SageMaker does: times in milliseconds."""
    cloud.bus.publish(ServiceEvent("aws.sagemaker", detail_type, _event_json(public(record)), (arn,)))


def _event_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _event_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_event_json(item) for item in value]
    return int(value.timestamp() * 1000) if isinstance(value, datetime) else value


class JobKind(ABC):
    """Training, processing or transform jobs: one thread a job, which waits for its process.

    ``stop_grace_seconds`` is the time between SIGTERM and SIGKILL; ``memory_limit_bytes`` replaces the limit
    that the instance type sets.
    """

    kind: str
    """the record's kind and ``JobEnded.kind``"""
    title: str
    """``Training Job``, in events' detail types"""
    member: str
    """``TrainingJob``: the prefix of the members Name, Arn and Status"""
    end_member: str
    """``TrainingEndTime``"""

    def __init__(
        self,
        cloud: Cloud,
        records: Records,
        *,
        memory_limit_bytes: int | None = None,
        stop_grace_seconds: float = STOP_GRACE_SECONDS,
    ) -> None:
        self.cloud = cloud
        self.records = records
        self.arns = Arns(cloud)
        self.status = f"{self.member}Status"
        self._memory_limit_bytes = memory_limit_bytes
        self._grace = stop_grace_seconds
        self._controls: dict[str, JobControl] = {}
        self._lock = threading.Lock()
        self._closing = False

    @abstractmethod
    def work(self, name: str, record: Record, control: JobControl) -> Callable[[Record], None]:
        """Do the job; the answer sets what its record says at the end. Raises JobRefused."""

    def memory_limit(self, instance_type: str | None) -> int | None:
        return self._memory_limit_bytes or instance_memory_bytes(instance_type)

    def begin(self, name: str, record: Record, tags: list[dict[str, str]] | None) -> str:
        """Keep the record and start the job's thread; the ARN. Raises ResourceInUse for a used name."""
        arn = self.arns.of(self.kind.replace("_", "-"), name)
        record |= {f"{self.member}Name": name, f"{self.member}Arn": arn, self.status: "InProgress"}
        try:
            self.records.insert(self.kind, name, record, "InProgress")
        except RecordExists:
            raise name_taken(self.title.capitalize(), arn) from None
        self.records.tag(arn, tags or [])
        self._announce(record)
        self._launch(name, record)
        return arn

    def _launch(self, name: str, record: Record) -> None:
        control = JobControl(self._grace)
        with self._lock:
            self._controls[name] = control
        threading.Thread(
            target=self._run, args=(name, record, control), name=f"{self.kind} {name}", daemon=True
        ).start()

    def find(self, name: str) -> Record:
        """The record; raises ValidationException as Describe does."""
        record = self.records.get(self.kind, name)
        if record is None:
            raise self.not_found(name)
        return record

    def not_found(self, name: str) -> Exception:
        return invalid(f"Could not find requested job with name: {name}")

    def describe(self, name: str) -> Record:
        return public(self.find(name))

    def list(self, params: Params, summary_members: tuple[str, ...]) -> Params:
        found, token = self.records.page(self.kind, params)
        answer: Params = {
            f"{self.member}Summaries": [
                {member: record[member] for member in summary_members if record.get(member) is not None}
                for record in found
            ]
        }
        return answer | ({"NextToken": token} if token else {})

    def stop(self, name: str) -> None:
        """Ask the job to end. Raises ValidationException when it has ended already."""
        record = self.find(name)
        if record[self.status] not in ("InProgress", "Stopping"):
            raise invalid(
                f"The request was rejected because the {self.title.lower()} is in status "
                f"{record[self.status]}."
            )
        self.change(name, self._mark_stopping)
        with self._lock:
            control = self._controls.get(name)
        if control is not None:
            control.stop()

    def _mark_stopping(self, record: Record) -> None:
        if record[self.status] == "InProgress":
            record[self.status] = "Stopping"

    def change(self, name: str, mutate: Callable[[Record], None]) -> Record | None:
        return self.records.change(self.kind, name, mutate, self.status)

    def recover(self) -> None:
        """Jobs that ran when the last process ended are begun anew: their processes ended with it.

        On AWS a job does not end with a client's machine, so no workflow has a Retry for that. Nothing of the
        lost attempt is left: outputs are adopted at a job's end. A job that is lost again has failed: it may be
        what brings the machine down. One that was being stopped is stopped.
        """
        for record in self.records.with_status(self.kind, "Stopping"):
            self._finish(record[f"{self.member}Name"], self.stopped)
        for record in self.records.with_status(self.kind, "InProgress"):
            name = record[f"{self.member}Name"]
            if record.get(_RERUN):
                self._finish(name, self.failed(LOST))
                continue
            begun = self.change(name, lambda kept: kept.update({_RERUN: True}))
            if begun is not None:
                _log.info("%s %s was lost with the last process and begins anew", self.kind, name)
                self._launch(name, begun)

    def stopped(self, record: Record) -> None:
        """What the record of a job that was stopped says."""
        record[self.status] = "Stopped"

    def close(self) -> None:
        """From now on ends are not recorded: the next start will find these jobs lost."""
        self._closing = True

    def failed(self, reason: str) -> Callable[[Record], None]:
        def mutate(record: Record) -> None:
            record |= {self.status: "Failed", "FailureReason": reason[:1024]}

        return mutate

    def _run(self, name: str, record: Record, control: JobControl) -> None:
        try:
            outcome = self.work(name, record, control)
        except JobRefused as error:
            outcome = self.failed(str(error))
        except Exception as error:
            if not self._closing:
                _log.exception("%s %s", self.kind, name)
            outcome = self.failed(f"InternalServerError: {type(error).__name__}: {error}")
        if not self._closing:
            self._finish(name, outcome)

    def _finish(self, name: str, outcome: Callable[[Record], None]) -> None:
        def mutate(record: Record) -> None:
            outcome(record)
            record[self.end_member] = now()
            self.ended(record)

        record = self.change(name, mutate)
        with self._lock:
            self._controls.pop(name, None)
        if record is not None:
            self._announce(record)
            self.cloud.bus.publish(JobEnded("sagemaker", self.kind, name, public(record)))

    def ended(self, record: Record) -> None:  # noqa: B027 - most kinds have nothing to add
        """Fill in what follows from the end time."""

    def _announce(self, record: Record) -> None:
        announce(self.cloud, f"SageMaker {self.title} State Change", record[f"{self.member}Arn"], record)
