"""Task states: results, retries, catches, timeouts, tokens, activities, and what the history says of them."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from stepfunctions_fakes import FakeTasks
from stepfunctions_harness import Harness

from triptych.localcloud.service import ServiceError
from triptych.localcloud.stepfunctions.tasks import TaskError, TaskRequest, TaskSink

GLUE = "arn:aws:states:::glue:startJobRun.sync"
INVOKE = "arn:aws:states:::lambda:invoke"
FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:f"
TOKEN = "arn:aws:states:::sqs:sendMessage.waitForTaskToken"


def a_task(resource: str = INVOKE, **fields: Any) -> dict[str, Any]:
    return {"T": {"Type": "Task", "Resource": resource, "End": True, **fields}}


def answer(output: Any) -> Any:
    return lambda request, sink: sink.succeeded(request.task_id, output)


class Failing:
    """Fails with the errors in turn, then succeeds."""

    def __init__(self, *errors: str) -> None:
        self.errors = list(errors)

    def __call__(self, request: TaskRequest, sink: TaskSink) -> None:
        if self.errors:
            sink.failed(request.task_id, self.errors.pop(0), "because")
        else:
            sink.succeeded(request.task_id, "done")


def waiting_task(sfn: Harness, count: int = 1) -> TaskRequest:
    sfn.tasks.wait_for(lambda: len(sfn.tasks.started) >= count)
    return sfn.tasks.started[count - 1]


def test_payload_fields(sfn: Harness) -> None:
    sfn.tasks.on("invoke", answer({"Payload": {"x": 1, "y": 2}, "StatusCode": 200}))
    fields = {
        "InputPath": "$.in",
        "Parameters": {"FunctionName": "f", "Payload.$": "$.p"},
        "ResultSelector": {"picked.$": "$.Payload.x"},
        "ResultPath": "$.out",
        "OutputPath": "$.out",
        "Assign": {"status.$": "$.StatusCode"},
    }
    execution = sfn.start(a_task(**fields), {"in": {"p": [7]}})
    assert json.loads(sfn.wait(execution)["output"]) == {"picked": 1}
    assert sfn.tasks.started[0].parameters == {"FunctionName": "f", "Payload": [7]}
    exited = next(event for event in sfn.history(execution) if event["type"] == "TaskStateExited")
    assert exited["stateExitedEventDetails"]["assignedVariables"] == {"status": "200"}


def test_history_of_a_job(sfn: Harness) -> None:
    def run(request: TaskRequest, sink: TaskSink) -> None:
        sink.started(request.task_id)
        sink.submitted(request.task_id, {"JobRunId": "jr"})
        sink.succeeded(request.task_id, {"JobRunState": "SUCCEEDED"})

    sfn.tasks.on("startJobRun.sync", run)
    execution = sfn.start(a_task(GLUE, Parameters={"JobName": "j"}, TimeoutSeconds=60))
    sfn.wait(execution)
    events = sfn.history(execution)
    assert [event["type"] for event in events] == [
        "ExecutionStarted", "TaskStateEntered", "TaskScheduled", "TaskStarted", "TaskSubmitted",
        "TaskSucceeded", "TaskStateExited", "ExecutionSucceeded",
    ]  # fmt: skip
    assert events[2]["taskScheduledEventDetails"] == {
        "resourceType": "glue",
        "resource": "startJobRun.sync",
        "region": "us-east-1",
        "parameters": '{"JobName":"j"}',
        "timeoutInSeconds": 60,
    }
    assert events[4]["taskSubmittedEventDetails"]["output"] == '{"JobRunId":"jr"}'
    assert [event["previousEventId"] for event in events] == [0, 0, 2, 3, 4, 5, 6, 7]


def test_history_of_a_function_by_its_arn(sfn: Harness) -> None:
    sfn.tasks.on("f", answer({"ok": True}))
    execution = sfn.start(a_task(FUNCTION), {"a": 1})
    assert json.loads(sfn.wait(execution)["output"]) == {"ok": True}
    events = sfn.history(execution)
    assert [event["type"] for event in events[2:5]] == [
        "LambdaFunctionScheduled",
        "LambdaFunctionStarted",
        "LambdaFunctionSucceeded",
    ]
    scheduled = events[2]["lambdaFunctionScheduledEventDetails"]
    assert (scheduled["resource"], scheduled["input"]) == (FUNCTION, '{"a":1}')


@pytest.mark.parametrize(
    ("kind", "event"),
    [("failed", "TaskFailed"), ("start_failed", "TaskStartFailed"), ("submit_failed", "TaskSubmitFailed")],
)
def test_ways_to_fail(sfn: Harness, kind: str, event: str) -> None:
    sfn.tasks.on(
        "startJobRun.sync", lambda request, sink: getattr(sink, kind)(request.task_id, "Glue.X", "no job")
    )
    execution = sfn.start(a_task(GLUE))
    ended = sfn.wait(execution)
    assert (ended["error"], ended["cause"]) == ("Glue.X", "no job")
    assert sfn.types(execution)[-2:] == [event, "ExecutionFailed"]


@pytest.mark.parametrize(
    ("errors", "retry", "attempts", "status"),
    [
        (["A"], [{"ErrorEquals": ["A"]}], 2, "SUCCEEDED"),
        (["A", "A"], [{"ErrorEquals": ["A"], "MaxAttempts": 1}], 2, "FAILED"),
        (["A"], [{"ErrorEquals": ["A"], "MaxAttempts": 0}], 1, "FAILED"),
        (["A"], [{"ErrorEquals": ["B"]}], 1, "FAILED"),
        (["A", "B"], [{"ErrorEquals": ["A"]}, {"ErrorEquals": ["B"]}], 3, "SUCCEEDED"),
        (["A"], [{"ErrorEquals": ["States.ALL"]}], 2, "SUCCEEDED"),
        (["A"], [{"ErrorEquals": ["States.TaskFailed"]}], 2, "SUCCEEDED"),
        (["States.Timeout"], [{"ErrorEquals": ["States.TaskFailed"]}], 1, "FAILED"),
        (["States.DataLimitExceeded"], [{"ErrorEquals": ["States.ALL"]}], 1, "FAILED"),
        (["States.Runtime"], [{"ErrorEquals": ["States.ALL"]}], 1, "FAILED"),
        (["A"], [{"ErrorEquals": ["A"], "JitterStrategy": "FULL", "MaxDelaySeconds": 1}], 2, "SUCCEEDED"),
    ],
)
def test_retry(sfn: Harness, errors: list[str], retry: list[Any], attempts: int, status: str) -> None:
    sfn.tasks.on("invoke", Failing(*errors))
    execution = sfn.start(a_task(Retry=retry))
    for attempt in range(1, attempts + 1):
        sfn.tasks.wait_for(lambda at_least=attempt: len(sfn.tasks.started) >= at_least)  # type: ignore[misc]
        sfn.advance(5)
    assert sfn.wait(execution)["status"] == status
    assert len(sfn.tasks.started) == attempts
    assert len({request.task_id for request in sfn.tasks.started}) == attempts


def test_retries_back_off(sfn: Harness) -> None:
    sfn.tasks.on("invoke", Failing("A", "A", "A"))
    retry = [{"ErrorEquals": ["A"], "IntervalSeconds": 100, "BackoffRate": 3, "MaxDelaySeconds": 400}]
    execution = sfn.start(a_task(Retry=retry, Parameters={"n.$": "$$.State.RetryCount"}))
    for attempt, delay in enumerate((100, 300, 400), start=1):
        waiting_task(sfn, attempt)
        sfn.advance(delay - 5)
        assert len(sfn.tasks.started) == attempt
        sfn.advance(6)
    assert sfn.wait(execution)["status"] == "SUCCEEDED"
    assert [request.parameters["n"] for request in sfn.tasks.started] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("catch", "expected"),
    [
        ({"ErrorEquals": ["A"]}, {"Error": "A", "Cause": "because"}),
        (
            {"ErrorEquals": ["States.ALL"], "ResultPath": "$.e"},
            {"i": 1, "e": {"Error": "A", "Cause": "because"}},
        ),
        ({"ErrorEquals": ["States.TaskFailed"], "ResultPath": None}, {"i": 1}),
    ],
)
def test_catch(sfn: Harness, catch: dict[str, Any], expected: Any) -> None:
    sfn.tasks.on("invoke", Failing("A"))
    states = {**a_task(Catch=[{**catch, "Next": "C"}]), "C": {"Type": "Pass", "End": True}}
    execution = sfn.start(states, {"i": 1})
    assert json.loads(sfn.wait(execution)["output"]) == expected
    assert sfn.types(execution)[4:7] == ["TaskFailed", "TaskStateExited", "PassStateEntered"]


def test_an_output_that_is_too_large_fails_the_task(sfn: Harness) -> None:
    sfn.tasks.on("invoke", answer("x" * 300_000))
    ended = sfn.run(a_task())
    assert ended["error"] == "States.DataLimitExceeded"
    assert ended["cause"].startswith("The state/task 'arn:aws:states:::lambda:invoke' returned a result")


@pytest.mark.parametrize(
    ("fields", "value"),
    [({"TimeoutSeconds": 100}, {}), ({"TimeoutSecondsPath": "$.t"}, {"t": 100})],
    ids=["TimeoutSeconds", "TimeoutSecondsPath"],
)
def test_timeout(sfn: Harness, fields: dict[str, Any], value: Any) -> None:
    execution = sfn.start(a_task(GLUE, **fields), value)
    request = waiting_task(sfn)
    assert request.timeout_seconds == 100
    sfn.advance(99)
    assert sfn.call("DescribeExecution", executionArn=execution)["status"] == "RUNNING"
    sfn.advance(2)
    ended = sfn.wait(execution)
    assert (ended["status"], ended["error"], ended.get("cause")) == ("FAILED", "States.Timeout", None)
    assert sfn.types(execution)[-2:] == ["TaskTimedOut", "ExecutionFailed"]
    assert [request.task_id for request in sfn.tasks.cancelled] == [request.task_id]


def test_a_result_that_comes_too_late_is_ignored(sfn: Harness) -> None:
    late: list[tuple[TaskRequest, TaskSink]] = []
    sfn.tasks.on("startJobRun.sync", lambda request, sink: late.append((request, sink)))
    execution = sfn.start(a_task(GLUE, TimeoutSeconds=5))
    waiting_task(sfn)
    sfn.advance(6)
    assert sfn.wait(execution)["error"] == "States.Timeout"
    count = len(sfn.history(execution))
    request, sink = late[0]
    sink.succeeded(request.task_id, "late")
    sfn.advance(0)
    assert len(sfn.history(execution)) == count


def test_task_token(sfn: Harness) -> None:
    parameters = {"QueueUrl": "q", "MessageBody": {"token.$": "$$.Task.Token"}}
    execution = sfn.start(a_task(TOKEN, Parameters=parameters))
    request = waiting_task(sfn)
    token = request.parameters["MessageBody"]["token"]
    assert token == request.task_token
    sfn.call("SendTaskSuccess", taskToken=token, output='{"approved": true}')
    assert json.loads(sfn.wait(execution)["output"]) == {"approved": True}
    with pytest.raises(ServiceError) as caught:
        sfn.call("SendTaskSuccess", taskToken=token, output="{}")
    assert caught.value.code == "TaskTimedOut"


@pytest.mark.parametrize("token", ["nonsense", "WyJhIiwgImIiXQ==", ""])
def test_a_forged_token_is_refused(sfn: Harness, token: str) -> None:
    execution = sfn.start(a_task(TOKEN))
    waiting_task(sfn)
    with pytest.raises(ServiceError) as caught:
        sfn.call("SendTaskSuccess", taskToken=token, output="{}")
    assert caught.value.code == "InvalidToken"
    assert sfn.call("DescribeExecution", executionArn=execution)["status"] == "RUNNING"


def test_token_failure_and_bad_output(sfn: Harness) -> None:
    execution = sfn.start(a_task(TOKEN))
    token = waiting_task(sfn).task_token
    with pytest.raises(ServiceError) as caught:
        sfn.call("SendTaskSuccess", taskToken=token, output="{nope")
    assert caught.value.code == "InvalidOutput"
    sfn.call("SendTaskFailure", taskToken=token, error="Rejected", cause="not good enough")
    assert sfn.wait(execution)["error"] == "Rejected"


def test_heartbeats_keep_a_task_alive(sfn: Harness) -> None:
    execution = sfn.start(a_task(TOKEN, HeartbeatSeconds=100))
    token = waiting_task(sfn).task_token
    for _ in range(3):
        sfn.advance(80)
        sfn.call("SendTaskHeartbeat", taskToken=token)
    sfn.advance(101)
    assert sfn.wait(execution)["error"] == "States.Timeout"


def test_activity(sfn: Harness) -> None:
    activity = sfn.call("CreateActivity", name="people")["activityArn"]
    execution = sfn.start(a_task(activity, TimeoutSeconds=60), {"q": 1})
    task = sfn.call("GetActivityTask", activityArn=activity, workerName="ann")
    assert json.loads(task["input"]) == {"q": 1}
    sfn.call("SendTaskSuccess", taskToken=task["taskToken"], output='"fine"')
    assert json.loads(sfn.wait(execution)["output"]) == "fine"
    assert sfn.types(execution)[2:5] == ["ActivityScheduled", "ActivityStarted", "ActivitySucceeded"]
    assert sfn.call("GetActivityTask", activityArn=activity) == {}


def test_a_worker_that_came_first_gets_the_task(sfn: Harness) -> None:
    activity = sfn.call("CreateActivity", name="people")["activityArn"]
    got: list[dict[str, Any]] = []

    def work() -> None:
        while not (task := sfn.call("GetActivityTask", activityArn=activity)):
            pass
        got.append(task)
        sfn.call("SendTaskSuccess", taskToken=task["taskToken"], output="1")

    worker = threading.Thread(target=work)
    worker.start()
    assert sfn.output(a_task(activity)) == 1
    worker.join()
    assert len(got) == 1


def test_stop_cancels_the_task(sfn: Harness) -> None:
    execution = sfn.start(a_task(GLUE))
    waiting_task(sfn)
    sfn.call("StopExecution", executionArn=execution, error="Mine", cause="changed my mind")
    ended = sfn.wait(execution)
    assert (ended["status"], ended["error"], ended["cause"]) == ("ABORTED", "Mine", "changed my mind")
    sfn.tasks.wait_for(lambda: len(sfn.tasks.cancelled) == 1)
    assert sfn.types(execution)[-1] == "ExecutionAborted"


def test_a_runner_that_raises_fails_the_task(sfn: Harness) -> None:
    def broken(request: TaskRequest, sink: TaskSink) -> None:
        raise OSError("no such thing")

    sfn.tasks.on("invoke", broken)
    ended = sfn.run(a_task())
    assert (ended["error"], ended["cause"]) == ("States.Runtime", "OSError: no such thing")


def test_parameters_that_cannot_be_used(sfn: Harness) -> None:
    def refuse(request: TaskRequest, sink: TaskSink) -> None:
        raise TaskError("States.Runtime", "The Parameters '{}' could not be used to start the Task")

    sfn.tasks.on("invoke", refuse)
    execution = sfn.start(a_task())
    assert sfn.wait(execution)["cause"] == (
        "An error occurred while executing the state 'T' (entered at the event id #2). "
        "The Parameters '{}' could not be used to start the Task"
    )
    assert sfn.types(execution)[-2:] == ["TaskScheduled", "ExecutionFailed"]


def test_a_runner_may_call_the_api_while_it_starts_a_task(sfn: Harness) -> None:
    child = sfn.machine({"P": {"Type": "Pass", "Result": "child", "End": True}})

    def nested(request: TaskRequest, sink: TaskSink) -> None:
        started = sfn.call("StartExecution", stateMachineArn=child)
        sink.succeeded(request.task_id, started["executionArn"])

    sfn.tasks.on("startExecution", nested)
    arn = sfn.output(a_task("arn:aws:states:::states:startExecution"))
    assert sfn.call("DescribeExecution", executionArn=arn)["output"] == '"child"'


def test_global_timeout(sfn: Harness) -> None:
    definition = {"StartAt": "T", "States": a_task(GLUE), "TimeoutSeconds": 50}
    execution = sfn.start(definition)
    waiting_task(sfn)
    sfn.advance(51)
    assert sfn.wait(execution)["status"] == "TIMED_OUT"
    assert sfn.types(execution)[-1] == "ExecutionTimedOut"


def test_credentials(sfn: Harness) -> None:
    role = "arn:aws:iam::210987654321:role/other"
    sfn.tasks.on("invoke", answer(1))
    execution = sfn.start(a_task(Credentials={"RoleArn.$": "$.role"}), {"role": role})
    sfn.wait(execution)
    assert sfn.tasks.started[0].credentials == {"RoleArn": role}
    scheduled = sfn.history(execution)[2]["taskScheduledEventDetails"]
    assert scheduled["taskCredentials"] == {"roleArn": role}


def test_fake_is_a_task_runner() -> None:
    from triptych.localcloud.stepfunctions.tasks import TaskRunner

    runner: TaskRunner = FakeTasks()
    assert runner.check(INVOKE) is None
