"""The interpreter of one execution: an input and the time go in, history events and effects come out.

It is deterministic: the same inputs at the same times give the same events and effects. So the inputs in the
journal are all that a restart needs; running them again rebuilds what was in memory.
"""

from __future__ import annotations

from typing import Any

from triptych.localcloud.stepfunctions import history
from triptych.localcloud.stepfunctions.branching import Branching
from triptych.localcloud.stepfunctions.facts import ABORTED, RUNNING
from triptych.localcloud.stepfunctions.failures import StateFailure


class Interpreter(Branching):
    """One execution. Feed it with ``begin`` once, then with the other public methods as things happen.

    After each call the caller takes ``events`` (new ones,
    in order) and ``effects`` (to be carried out once the
    events are kept) and empties both lists.
    """

    def begin(self) -> None:
        facts = self.facts
        details = history.with_input(facts.input_text, roleArn=facts.role_arn)
        if facts.version_arn:
            details["stateMachineVersionArn"] = facts.version_arn
        if facts.alias_arn:
            details["stateMachineAliasArn"] = facts.alias_arn
        self.emit(None, "ExecutionStarted", details)
        self._limit_time()
        self._begin_block(self.root)
        self._run()

    def fire(self, now: float, key: int) -> bool:
        """A timer is due; ``False`` when nobody waits for it any more."""
        found = self.timers.pop(key, None)
        if found is None:
            return False
        self.now = now
        self._ready.append(found[1])
        self._run()
        return True

    def task_event(self, now: float, task_id: str, kind: str, data: dict[str, Any]) -> bool:
        """What became of a task; ``False`` when the task is over already.

        Kinds: ``started``, ``submitted`` {output}, ``succeeded`` {output}, ``failed`` / ``start_failed`` /
        ``submit_failed`` {error, cause}, ``rejected`` {cause} (its parameters cannot be used), ``heartbeat``.
        """
        call = self.tasks.get(task_id)
        if call is None:
            return False
        self.now = now
        if kind not in ("heartbeat", "start_failed", "rejected"):
            self._ready.append(lambda: self._task_started(call, data.get("worker")))
        if kind == "heartbeat":
            self._beat(call)
        elif kind == "submitted":
            self._ready.append(lambda: self._task_submitted(call, data["output"]))
        elif kind == "succeeded":
            self._ready.append(lambda: self._task_succeeded(call, data["output"]))
        elif kind != "started":
            self._ready.append(lambda: self._task_failed(call, kind, data.get("error"), data.get("cause")))
        self._run()
        return True

    def items_read(self, now: float, key: int, data: dict[str, Any]) -> bool:
        """A Distributed Map's items have been read: ``{items}`` or ``{error, cause}``."""
        join = self.map_runs.get(key)
        if join is None or self.reads.pop(key, None) is None:
            return False
        self.now = now

        def go_on() -> None:
            if "items" in data:
                self.guard(join.owner, lambda: self.launch_map_run(join, data["items"]))
            else:
                del self.map_runs[key]
                self._join_failed(join, StateFailure(data["error"], data["cause"]))

        self._ready.append(go_on)
        self._run()
        return True

    def map_run_ended(self, now: float, key: int, data: dict[str, Any]) -> bool:
        """A map run is over: ``{result}`` or ``{error, cause}``."""
        join = self.map_runs.pop(key, None)
        if join is None:
            return False
        self.now = now
        self._ready.append(lambda: self._map_run_ended(join, data))
        self._run()
        return True

    def stop(self, now: float, error: str | None, cause: str | None) -> None:
        """StopExecution."""
        self.now = now
        self._cancel_below(self.root, record=False)
        self.emit(self.root, "ExecutionAborted", history.error_details(error, cause))
        self._end(ABORTED, error=error, cause=cause)

    def redrive(self, now: float) -> None:
        """RedriveExecution: go on from what did not succeed."""
        self.now = now
        self.status, self.output, self.error, self.cause = RUNNING, None, None, None
        self.redrive_count += 1
        self.redrive_time = now
        self.emit(self.root, "ExecutionRedriven", {"redriveCount": self.redrive_count})
        self._limit_time()
        self._revive(self.root)
        self._run()
