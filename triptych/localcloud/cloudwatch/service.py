"""The service ``cloudwatch``: metrics and alarms are ours; dashboards and the rest stay moto's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from triptych.localcloud.cloudwatch.actions import RETRY_SECONDS, ActionCourier
from triptych.localcloud.cloudwatch.alarms import AlarmStore
from triptych.localcloud.cloudwatch.alarms_api import AlarmsApi
from triptych.localcloud.cloudwatch.evaluator import AlarmEvaluator, utc_now
from triptych.localcloud.cloudwatch.metrics_api import MetricsApi
from triptych.localcloud.cloudwatch.vended import publish_executions
from triptych.localcloud.service import Operation

if TYPE_CHECKING:
    from triptych.localcloud.cloud import Cloud


class CloudWatchService:
    """Metrics in ``cloud.metrics``, alarms in a database of their own, evaluated once a second."""

    service_id = "cloudwatch"

    def __init__(
        self,
        cloud: Cloud,
        now: Callable[[], datetime] = utc_now,
        retry_seconds: Sequence[float] = RETRY_SECONDS,
    ) -> None:
        self._metrics = cloud.metrics
        self._alarms = AlarmStore(cloud.home)
        self._courier = ActionCourier(cloud, self._alarms, now, retry_seconds)
        publish_executions(cloud.bus, cloud.metrics)
        self._evaluator = AlarmEvaluator(self._alarms, cloud.metrics, cloud.bus, self._courier, now)
        self.operations: Mapping[str, Operation] = {
            **MetricsApi(cloud.metrics, now).operations,
            **AlarmsApi(self._alarms, self._evaluator, self._courier, now).operations,
        }

    def start(self) -> None:
        """Send what was not sent, begin to evaluate."""
        self._courier.start()
        self._evaluator.start()

    def stop(self) -> None:
        """No more evaluations; what has gathered is written."""
        self._evaluator.stop()
        self._courier.stop()
        self._metrics.flush()

    def evaluate(self) -> None:
        """Evaluate every alarm, as the thread does each second."""
        self._evaluator.evaluate_all()

    def deliver(self) -> None:
        """Send what the alarms' changes have left to be sent, as the thread does when there is something."""
        self._courier.deliver_all()

    def alarm_states(self, names: Iterable[str]) -> dict[str, str]:
        """The states of alarms by name: ``OK``, ``ALARM``, ``INSUFFICIENT_DATA``; unknown names are absent."""
        found = {name: self._alarms.get(name) for name in names}
        return {name: alarm.state for name, alarm in found.items() if alarm is not None}
