"""Restarts, kill -9, a journal that cannot be written: nothing acknowledged is lost, nothing runs twice."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from stepfunctions_fakes import FakeTasks
from stepfunctions_harness import Harness

from triptych.localcloud.service import ServiceError
from triptych.localcloud.stepfunctions.tasks import TaskRequest, TaskSink

GLUE = "arn:aws:states:::glue:startJobRun.sync"
TASK = {"Type": "Task", "Resource": GLUE, "End": True}
TOKEN = {"Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken", "End": True}


def restart(sfn: Harness) -> None:
    sfn.close()
    sfn.open()


def test_a_wait_keeps_its_due_time(sfn: Harness) -> None:
    execution = sfn.start({"W": {"Type": "Wait", "Seconds": 1000, "End": True}})
    sfn.advance(900)
    restart(sfn)
    assert sfn.call("DescribeExecution", executionArn=execution)["status"] == "RUNNING"
    sfn.advance(101)
    assert sfn.wait(execution)["status"] == "SUCCEEDED"


def test_a_time_that_came_while_it_was_down(sfn: Harness) -> None:
    execution = sfn.start({"W": {"Type": "Wait", "Seconds": 1000, "End": True}})
    sfn.close()
    sfn.clock.offset += 2000
    sfn.open()
    assert sfn.wait(execution)["status"] == "SUCCEEDED"


def test_running_tasks_are_recovered_with_what_they_had_submitted(sfn: Harness) -> None:
    def submit(request: TaskRequest, sink: TaskSink) -> None:
        sink.submitted(request.task_id, {"JobRunId": "jr_1"})

    sfn.tasks.on("startJobRun.sync", submit)
    execution = sfn.start({"T": {**TASK, "Parameters": {"JobName": "j"}, "TimeoutSeconds": 600}})
    sfn.tasks.wait_for(lambda: len(sfn.tasks.started) == 1)
    sfn.service.engine.call(lambda: None)
    history = sfn.history(execution)
    restart(sfn)
    sfn.tasks.wait_for(lambda: len(sfn.tasks.recovered) == 1)
    request, submitted = sfn.tasks.recovered[0]
    assert submitted == {"JobRunId": "jr_1"}
    assert request == sfn.tasks.started[0]
    assert len(sfn.tasks.started) == 1
    assert sfn.history(execution) == history
    sfn.service.engine.sink.succeeded(request.task_id, "found again")
    assert json.loads(sfn.wait(execution)["output"]) == "found again"


def test_tokens_outlive_a_restart(sfn: Harness) -> None:
    execution = sfn.start({"T": TOKEN})
    sfn.tasks.wait_for(lambda: len(sfn.tasks.started) == 1)
    restart(sfn)
    sfn.call("SendTaskSuccess", taskToken=sfn.tasks.started[0].task_token, output='"yes"')
    assert json.loads(sfn.wait(execution)["output"]) == "yes"


def test_activities_that_no_worker_took_wait_on(sfn: Harness) -> None:
    activity = sfn.call("CreateActivity", name="a")["activityArn"]
    execution = sfn.start({"T": {"Type": "Task", "Resource": activity, "End": True}})
    restart(sfn)
    task = sfn.call("GetActivityTask", activityArn=activity)
    sfn.call("SendTaskSuccess", taskToken=task["taskToken"], output="1")
    assert sfn.wait(execution)["status"] == "SUCCEEDED"


def test_branches_retries_and_variables_come_back(sfn: Harness) -> None:
    sfn.tasks.on("startJobRun.sync", lambda request, sink: sink.failed(request.task_id, "E", "c"))
    retries = {**TASK, "Retry": [{"ErrorEquals": ["E"], "IntervalSeconds": 500, "MaxAttempts": 1}]}
    states = {
        "Set": {"Type": "Pass", "Assign": {"v": 7, "u.$": "States.UUID()"}, "Next": "P"},
        "P": {
            "Type": "Parallel",
            "Branches": [
                {"StartAt": "R", "States": {"R": retries}},
                {
                    "StartAt": "W",
                    "States": {
                        "W": {"Type": "Wait", "Seconds": 700, "Next": "X"},
                        "X": {"Type": "Pass", "Parameters": {"v.$": "$v", "u.$": "$u"}, "End": True},
                    },
                },
            ],
            "End": True,
        },
    }
    execution = sfn.start(states)
    sfn.tasks.wait_for(lambda: len(sfn.tasks.started) == 1)
    sfn.service.engine.call(lambda: None)
    assigned = json.loads(sfn.history(execution)[2]["stateExitedEventDetails"]["assignedVariables"]["u"])
    restart(sfn)
    sfn.tasks.on("startJobRun.sync", lambda request, sink: sink.succeeded(request.task_id, "second time"))
    sfn.advance(501)
    sfn.tasks.wait_for(lambda: len(sfn.tasks.started) == 2)
    restart(sfn)
    sfn.advance(300)
    assert json.loads(sfn.wait(execution)["output"]) == ["second time", {"v": 7, "u": assigned}]


def test_a_distributed_map_goes_on(sfn: Harness) -> None:
    processor = {
        "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
        "StartAt": "I",
        "States": {"I": TASK},
    }
    states = {"M": {"Type": "Map", "ItemProcessor": processor, "MaxConcurrency": 2, "End": True}}
    execution = sfn.start(states, list(range(5)))
    sfn.tasks.wait_for(lambda: len(sfn.tasks.started) == 2)
    first = sfn.tasks.started[0]
    sfn.service.engine.sink.succeeded(first.task_id, first.parameters)
    sfn.tasks.wait_for(lambda: len(sfn.tasks.started) == 3)
    restart(sfn)
    sfn.tasks.wait_for(lambda: len(sfn.tasks.recovered) == 2)
    sfn.tasks.on(
        "startJobRun.sync", lambda request, sink: sink.succeeded(request.task_id, request.parameters)
    )
    for request, _ in sfn.tasks.recovered:
        sfn.service.engine.sink.succeeded(request.task_id, request.parameters)
    assert json.loads(sfn.wait(execution)["output"]) == [0, 1, 2, 3, 4]
    assert len(sfn.tasks.started) == 5


def test_a_failed_execution_is_redriven_after_a_restart(sfn: Harness) -> None:
    sfn.tasks.on("startJobRun.sync", lambda request, sink: sink.failed(request.task_id, "E", "c"))
    execution = sfn.start({"T": TASK})
    sfn.wait(execution)
    restart(sfn)
    sfn.tasks.on("startJobRun.sync", lambda request, sink: sink.succeeded(request.task_id, 1))
    sfn.call("RedriveExecution", executionArn=execution)
    assert sfn.wait(execution)["status"] == "SUCCEEDED"
    types = sfn.types(execution)
    assert [event["id"] for event in sfn.history(execution)] == list(range(1, len(types) + 1))


WORKER = """
import json, sys
from pathlib import Path
from stepfunctions_harness import Harness
from stepfunctions_fakes import FakeTasks
tasks = FakeTasks()
echo = lambda request, sink: sink.succeeded(request.task_id, request.parameters)
tasks.on("startJobRun.sync", echo)
tasks.recover = lambda request, submitted, sink: echo(request, sink)
harness = Harness(Path(sys.argv[1]), tasks)
if sys.argv[2] == "start":
    print(harness.start(json.loads(sys.argv[3]), list(range(40))), flush=True)
else:
    print(json.dumps(harness.wait(sys.argv[3], 60), default=str), flush=True)
    sys.exit()
while True:
    print(len(harness.types(sys.stdin.readline().strip())), flush=True)
"""


def worker(*arguments: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])])
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_kill_9_in_the_middle(tmp_path: Path) -> None:
    """Iterations of a wait of a second and a task, killed before the end; the next process ends it."""
    states = {
        "W": {"Type": "Wait", "Seconds": 1, "Next": "T"},
        "T": TASK,
    }
    definition = {
        "M": {
            "Type": "Map",
            "MaxConcurrency": 20,
            "ItemProcessor": {"StartAt": "W", "States": states},
            "End": True,
        }
    }
    process = worker(str(tmp_path), "start", json.dumps(definition))
    assert process.stdout is not None
    assert process.stdin is not None
    execution = process.stdout.readline().strip()
    while True:
        process.stdin.write(execution + "\n")
        process.stdin.flush()
        events = int(process.stdout.readline())
        if events > 60:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdin.close()
    process.stdout.close()

    second = worker(str(tmp_path), "wait", execution)
    try:
        output, _ = second.communicate(timeout=60)
    finally:
        second.kill()
    ended = json.loads(output)
    assert ended["status"] == "SUCCEEDED"
    assert json.loads(ended["output"]) == list(range(40))


def test_a_locked_journal_refuses_and_recovers(sfn: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    arn = sfn.machine({"T": TASK})
    running = sfn.start(arn)
    sfn.tasks.wait_for(lambda: len(sfn.tasks.started) == 1)
    task_id = sfn.tasks.started[0].task_id
    journal = sfn.service.engine.journal
    sfn.service.engine.call(lambda: journal.run("PRAGMA busy_timeout = 50"))
    other = sqlite3.connect(journal.database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ServiceError) as caught:
        sfn.start(arn, name="refused")
    assert (caught.value.code, caught.value.status) == ("ServiceUnavailable", 503)
    # A task's answer cannot be refused: it is kept until the journal takes it.
    sfn.service.engine.sink.succeeded(task_id, "kept")
    other.execute("ROLLBACK")
    other.close()
    assert json.loads(sfn.wait(running)["output"]) == "kept"
    names = [each["name"] for each in sfn.call("ListExecutions", stateMachineArn=arn)["executions"]]
    assert "refused" not in names


def test_a_torn_journal_ends_in_the_last_transaction_that_was_whole(tmp_path: Path) -> None:
    """As after a crash in the middle of writing the WAL: its last bytes are garbage."""
    source, copy = tmp_path / "source", tmp_path / "copy"
    harness = Harness(source)
    execution = harness.start({"A": TOKEN})
    harness.tasks.wait_for(lambda: len(harness.tasks.started) == 1)
    token = harness.tasks.started[0].task_token
    for folder in (copy / "state",):
        folder.mkdir(parents=True)
    database = source / "state" / "stepfunctions.sqlite"
    for suffix in ("", "-wal"):
        data = Path(f"{database}{suffix}").read_bytes()
        if suffix:
            data += b"\x37\x7f\x06\x82" + os.urandom(3000)
        Path(f"{copy / 'state' / database.name}{suffix}").write_bytes(data)
    harness.close()
    survivor = Harness(copy, FakeTasks())
    survivor.call("SendTaskSuccess", taskToken=token, output="3")
    assert json.loads(survivor.wait(execution)["output"]) == 3
    survivor.close()


def test_a_journal_of_another_version_fails_the_execution_with_the_reason(sfn: Harness) -> None:
    execution = sfn.start({"T": TASK})
    sfn.close()
    database = sqlite3.connect(sfn.root / "state" / "stepfunctions.sqlite")
    database.execute("UPDATE revisions SET definition = ?", (json.dumps(_longer()),))
    database.commit()
    database.close()
    sfn.open()
    ended = sfn.wait(execution)
    assert ended["status"] == "FAILED"
    assert "could not be resumed" in ended["cause"]


def _longer() -> dict[str, Any]:
    return {"StartAt": "P", "States": {"P": {"Type": "Pass", "Next": "T"}, "T": TASK}}
