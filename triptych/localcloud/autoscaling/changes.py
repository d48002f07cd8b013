"""A change of a variant's count, from SageMaker's call to its activity's end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

from triptych.localcloud.autoscaling.records import Activity, Records, Target
from triptych.localcloud.autoscaling.variants import VariantId, Variants, VariantState
from triptych.localcloud.service import ServiceError


class Changes:
    """Begins changes and ends their activities; what is under way is in the records, also over a restart."""

    def __init__(self, records: Records, variants: Variants, now: Callable[[], float]) -> None:
        self._records = records
        self._variants = variants
        self._now = now

    def ready(self, target: Target) -> VariantState | None:
        """The variant's state, None while it is changing; raises ServiceError where it is not there."""
        if any(item.resource_id == target.resource_id for item in self._records.activities_under_way()):
            return None
        state = self._variants.state(VariantId.parse(target.resource_id))
        return state if state.stable else None

    def begin(
        self, target: Target, state: VariantState, count: int, cause: str, cooldown_seconds: float = 0.0
    ) -> None:
        """Ask SageMaker for another count."""
        activity = Activity(
            id=str(uuid4()),
            resource_id=target.resource_id,
            description=f"Setting desired instance count to {count}.",
            cause=cause,
            started=self._now(),
            status="InProgress",
            message=f"Successfully set desired instance count to {count}. Waiting for change to be fulfilled "
            "by sagemaker.",
            previous=state.count,
            wanted=count,
            cooldown_seconds=cooldown_seconds,
        )
        # Kept before it is done: after a crash in between the activity ends as failed.
        self._records.put_activity(activity)
        try:
            self._variants.set_count(VariantId.parse(target.resource_id), count)
        except ServiceError as error:
            self._end(activity, "Failed", f"Reason: {error.message}")

    def not_scaled(self, target: Target, code: str, cause: str) -> None:
        """Tell, once, why an alarm changed nothing."""
        reason: dict[str, Any] = {"Code": code}
        if code == "AlreadyAtMaxCapacity":
            reason["MaxCapacity"] = target.maximum
        else:
            reason["MinCapacity"] = target.minimum
        latest = self._records.last_activity(target.resource_id)
        if latest is not None and (latest.cause, latest.not_scaled) == (cause, reason):
            return
        now = self._now()
        self._records.put_activity(
            Activity(
                id=str(uuid4()),
                resource_id=target.resource_id,
                description="Attempting to scale due to alarm triggered",
                cause=cause,
                started=now,
                ended=now,
                status="Failed",
                not_scaled=reason,
            )
        )

    def settle(self) -> None:
        """End the activities whose change was made, or has failed."""
        for activity in self._records.activities_under_way():
            try:
                state = self._variants.state(VariantId.parse(activity.resource_id))
            except ServiceError as error:
                self._end(activity, "Failed", f"Reason: {error.message}")
                continue
            if not state.stable:
                continue
            if state.count == activity.wanted:
                self._end(activity, "Successful", "Change successfully fulfilled by sagemaker.")
            else:
                reason = state.failure or f"the endpoint is in service with {state.count}"
                self._end(activity, "Failed", f"Reason: {reason}")

    def _end(self, activity: Activity, status: str, more: str) -> None:
        done = "Successfully set" if status == "Successful" else "Failed to set"
        message = f"{done} desired instance count to {activity.wanted}. {more}"
        self._records.put_activity(replace(activity, status=status, message=message, ended=self._now()))
