"""Reading a run from Step Functions while it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from typing import Any

from triptych.history import History, parse
from triptych.states import ExecutionRun, StateRun

__all__ = ["ExecutionReader", "ExecutionRun", "StateRun", "parse"]

# A refresh mostly finds a few new events, the first reading hundreds.
_FIRST_PAGE, _NEXT_PAGES = 20, 500


class ExecutionReader:
    """Follows one execution and its nested ones; ``refresh`` reads only what came since the last time."""

    def __init__(self, stepfunctions: Any, arn: str) -> None:
        self._client = stepfunctions
        self._histories: dict[str, History] = {}
        self._counted: set[str] = set()
        self.run = self._open(arn)

    def refresh(self) -> ExecutionRun:
        """Read what is new; returns the root execution."""
        self._refresh(self.run)
        return self.run

    def _open(self, arn: str) -> ExecutionRun:
        run = ExecutionRun(arn)
        self._histories[arn] = History(run)
        return run

    def _refresh(self, run: ExecutionRun) -> None:
        history = self._histories[run.arn]
        # before its events: what it says of an end must not be newer than the states that are shown
        events = self._new_events(run.arn, history.last_id)
        for event in events:
            history.take(event)
        if events:
            self._describe(run)
        for state in run.states:
            if state.child_arn:
                if state.child_arn not in run.children:
                    run.children[state.child_arn] = self._open(state.child_arn)
                child = run.children[state.child_arn]
                # one that has ended goes on only by a redrive, of which this execution's events tell
                if events or child.status == "RUNNING":
                    self._refresh(child)
            if state.map_run_arn:
                self._count(state, state.map_run_arn)

    def _describe(self, run: ExecutionRun) -> None:
        described = self._client.describe_execution(executionArn=run.arn)
        run.status = described["status"]
        run.redrive_count = described.get("redriveCount", 0)
        run.started = described["startDate"].astimezone(UTC)
        stopped = described.get("stopDate")
        run.stopped = stopped.astimezone(UTC) if stopped else None
        run.input = parse(described.get("input")) or {}
        run.output = parse(described.get("output"))
        run.error, run.cause = described.get("error"), described.get("cause")

    def _count(self, state: StateRun, map_run_arn: str) -> None:
        """The items of a distributed Map; for the last time after it has ended."""
        ended = state.exited is not None or state.stopped is not None
        if not ended:
            self._counted.discard(map_run_arn)
        elif map_run_arn in self._counted:
            return
        else:
            self._counted.add(map_run_arn)
        counts = self._client.describe_map_run(mapRunArn=map_run_arn)["itemCounts"]
        state.items_total = counts["total"]
        state.items_done = counts["total"] - counts["pending"] - counts["running"]

    def _new_events(self, arn: str, last_id: int) -> list[dict[str, Any]]:
        """Events after ``last_id``, oldest first; read backwards, so that a refresh is cheap."""
        found: list[dict[str, Any]] = []
        for event in self._backwards(arn):
            if event["id"] <= last_id:
                break
            found.append(event)
        return found[::-1]

    def _backwards(self, arn: str) -> Iterator[dict[str, Any]]:
        asked: dict[str, Any] = {"executionArn": arn, "reverseOrder": True, "includeExecutionData": True}
        page = self._client.get_execution_history(**asked, maxResults=_FIRST_PAGE)
        yield from page["events"]
        while page.get("nextToken"):
            page = self._client.get_execution_history(
                **asked, maxResults=_NEXT_PAGES, nextToken=page["nextToken"]
            )
            yield from page["events"]
