"""What became of tasks: results, failures, timeouts and heartbeats, with their history events."""

from __future__ import annotations

from typing import Any

from triptych.localcloud.stepfunctions import failures, history
from triptych.localcloud.stepfunctions.effects import CancelTask
from triptych.localcloud.stepfunctions.failures import ProcessingFailure, StateFailure
from triptych.localcloud.stepfunctions.frames import TaskCall
from triptych.localcloud.stepfunctions.jsontext import MAX_PAYLOAD_BYTES, encode, size_bytes
from triptych.localcloud.stepfunctions.walker import Walker, raiser


class TaskCalls(Walker):
    """The part of the interpreter that waits for tasks."""

    def _task_history(self, call: TaskCall, kind: str, details: dict[str, Any] | None) -> None:
        if call.kind == "service":
            details = {"resourceType": call.resource_type, "resource": call.resource_name, **(details or {})}
        self.emit(call.branch, kind, details)

    def _task_started(self, call: TaskCall, worker: str | None = None) -> None:
        if call.started:
            return
        call.started = True
        if call.kind == "lambda":
            self.emit(call.branch, "LambdaFunctionStarted")
        elif call.kind == "activity":
            self.emit(call.branch, "ActivityStarted", {"workerName": worker} if worker else {})
        else:
            self._task_history(call, "TaskStarted", None)

    def _task_submitted(self, call: TaskCall, output: Any) -> None:
        call.submitted, call.has_submitted = output, True
        if call.kind == "service":
            self._task_history(call, "TaskSubmitted", history.with_output(encode(output)))

    def _task_over(self, call: TaskCall) -> None:
        self.tasks.pop(call.request.task_id, None)
        self.clear_timer(call.timeout_timer)
        self.clear_timer(call.heartbeat_timer)
        call.branch.task = None

    def _task_succeeded(self, call: TaskCall, output: Any) -> None:
        branch, state = call.branch, call.branch.state
        assert state is not None
        self._task_over(call)
        prefix = {"lambda": "LambdaFunction", "activity": "Activity"}.get(call.kind, "Task")
        try:
            text = self.text_of(output)
        except StateFailure as failure:
            self.guard(branch, raiser(failure))
            return
        if size_bytes(text) > MAX_PAYLOAD_BYTES:
            cause = (
                f"The state/task '{call.request.resource}' returned a result with a size exceeding the "
                "maximum "
                "number of bytes service limit."
            )
            self._task_history(call, f"{prefix}Failed", history.error_details(failures.DATA_LIMIT, cause))
            self.guard(branch, raiser(StateFailure(failures.DATA_LIMIT, cause)))
            return
        self._task_history(call, f"{prefix}Succeeded", history.with_output(text))
        self.guard(branch, lambda: self.finish_with_result(branch, state, output))

    def _task_failed(self, call: TaskCall, kind: str, error: str | None, cause: str | None) -> None:
        self._task_over(call)
        if kind == "rejected":
            self.guard(call.branch, raiser(ProcessingFailure(cause or "")))
            return
        names = {
            "lambda": {"start_failed": "LambdaFunctionStartFailed", "submit_failed": "LambdaFunctionFailed"},
            "activity": {"start_failed": "ActivityScheduleFailed", "submit_failed": "ActivityFailed"},
            "service": {"start_failed": "TaskStartFailed", "submit_failed": "TaskSubmitFailed"},
        }[call.kind]
        usual = {"lambda": "LambdaFunctionFailed", "activity": "ActivityFailed", "service": "TaskFailed"}[
            call.kind
        ]
        self._task_history(call, names.get(kind, usual), history.error_details(error, cause))
        self.guard(call.branch, raiser(StateFailure(error, cause)))

    def task_timed_out(self, call: TaskCall) -> None:
        """Its TimeoutSeconds or HeartbeatSeconds passed."""
        self._task_started(call)
        self._task_over(call)
        self.effects.append(CancelTask(call.request, call.kind == "activity"))
        kind = {"lambda": "LambdaFunctionTimedOut", "activity": "ActivityTimedOut"}.get(
            call.kind, "TaskTimedOut"
        )
        self._task_history(call, kind, history.error_details(failures.TIMEOUT, None))
        self.guard(call.branch, raiser(StateFailure(failures.TIMEOUT, None)))

    def _beat(self, call: TaskCall) -> None:
        seconds = call.request.heartbeat_seconds
        if seconds is not None:
            self.clear_timer(call.heartbeat_timer)
            call.heartbeat_timer = self.set_timer(self.now + seconds, lambda: self.task_timed_out(call))
