"""Parallel and Map states at work: branches begin, join, fail, are stopped and are revived."""

from __future__ import annotations

from typing import Any

from triptych.localcloud.stepfunctions import history
from triptych.localcloud.stepfunctions.effects import CancelTask, RedriveMapRun, StopMapRun
from triptych.localcloud.stepfunctions.failures import StateFailure
from triptych.localcloud.stepfunctions.frames import Branch, Join
from triptych.localcloud.stepfunctions.taskcalls import TaskCalls
from triptych.localcloud.stepfunctions.walker import raiser


class Branching(TaskCalls):
    """The part of the interpreter that has several branches."""

    def begin_children(self, join: Join) -> None:
        """Start as many branches or iterations as may run at once."""
        limit = join.concurrency or len(join.results)
        while join.next_index < len(join.results) and len(join.children) < limit:
            self._begin_child(join, join.next_index, join.started_event)
            join.next_index += 1

    def _begin_child(self, join: Join, index: int, after: int) -> None:
        owner, state = join.owner, join.owner.state
        assert state is not None
        if join.kind == "Parallel":
            value = join.items[0]
            child = Branch(
                state.branches[index],
                value,
                None,
                owner.variables,
                join,
                index,
                owner.map_item,
                last_event=after,
            )
            if value is owner.value:
                child.text = owner.text
        else:
            item = {"Index": index, "Value": join.raw_items[index]}
            child = Branch(
                state.processor, join.items[index], None, owner.variables, join, index, item, last_event=after
            )
            self.emit(child, "MapIterationStarted", {"name": state.name, "index": index})
        join.children[index] = child
        self._begin_block(child)

    def _child_done(self, join: Join, child: Branch) -> None:
        del join.children[child.index]
        join.results[child.index] = child.value
        join.remaining -= 1
        owner, state = join.owner, join.owner.state
        assert state is not None
        owner.last_event = child.last_event
        if join.kind == "Map":
            done = self.emit(
                child, "MapIterationSucceeded", {"name": state.name, "index": child.index}, advance=False
            )
            if join.next_index < len(join.results):
                self._begin_child(join, join.next_index, child.last_event)
                join.next_index += 1
                return
            owner.last_event = done
        if join.remaining == 0:
            self.guard(owner, lambda: self.finish_join(join))

    def finish_join(self, join: Join) -> bool:
        """All branches ended well: the state succeeds."""
        owner, state = join.owner, join.owner.state
        assert state is not None
        self.emit(owner, f"{state.type}StateSucceeded", advance=False)
        return self.finish_with_result(owner, state, join.results)

    def _child_failed(self, join: Join, child: Branch, error: str | None, cause: str | None) -> None:
        state = join.owner.state
        assert state is not None
        join.owner.last_event = child.last_event
        if join.kind == "Map":
            self.emit(child, "MapIterationFailed", {"name": state.name, "index": child.index}, advance=False)
        for index in sorted(join.children):
            sibling = join.children[index]
            if sibling is not child:
                self._cancel_below(sibling, record=True)
        self.guard(join.owner, raiser(StateFailure(error, cause)))

    def _join_failed(self, join: Join, failure: StateFailure) -> None:
        self.emit(join.owner, "MapRunFailed", history.error_details(failure.error, failure.cause))
        self.guard(join.owner, raiser(failure))

    def _map_run_ended(self, join: Join, data: dict[str, Any]) -> None:
        if "result" not in data:
            self._join_failed(join, StateFailure(data["error"], data["cause"]))
            return

        def finish() -> bool:
            self.emit(join.owner, "MapRunSucceeded")
            join.results = data["result"]
            return self.finish_join(join)

        self.guard(join.owner, finish)

    # --------------------------------------------------------------------- stopping, redriving

    def _cancel_below(self, branch: Branch, record: bool) -> None:
        """Stop what a branch waits for; ``record`` writes the Aborted events of a sibling that failed."""
        self.clear_timer(branch.timer)
        branch.timer = None
        branch.stopped = True
        if branch.task is not None:
            call = branch.task
            self._task_over(call)
            self.effects.append(CancelTask(call.request, call.kind == "activity"))
        join = branch.join
        if join is not None:
            for index in sorted(join.children):
                self._cancel_below(join.children[index], record)
            if join.map_run_arn is not None and self.map_runs.pop(join.key, None) is not None:
                self.effects.append(StopMapRun(join.map_run_arn))
                if record:
                    self.emit(branch, "MapRunAborted")
        if record and not branch.done and not branch.failed and branch.state is not None:
            if branch.entered_event and branch.state.type in ("Task", "Wait", "Parallel", "Map"):
                self.emit(branch, f"{branch.state.type}StateAborted")
            parent = branch.parent
            if parent is not None and parent.kind == "Map" and parent.owner.state is not None:
                details = {"name": parent.owner.state.name, "index": branch.index}
                self.emit(branch, "MapIterationAborted", details, advance=False)

    def _revive(self, branch: Branch) -> None:
        """After RedriveExecution: run again what failed or was stopped, keep what succeeded."""
        branch.failed = branch.stopped = False
        branch.last_event = self.event_count
        branch.attempts = []
        branch.retry_count = 0
        join = branch.join
        if join is None or (join.kind == "MapRun" and not join.launched):
            branch.join = None

            def again() -> None:
                if not branch.entered_event or self._attempt(branch):
                    self._walk(branch)

            self._ready.append(again)
            return
        if join.map_run_arn is not None:
            self.map_runs[join.key] = join
            self.emit(
                branch, "MapRunRedriven", {"mapRunArn": join.map_run_arn, "redriveCount": self.redrive_count}
            )
            self.effects.append(RedriveMapRun(join.map_run_arn))
            return
        for index in sorted(join.children):
            self._revive(join.children[index])
