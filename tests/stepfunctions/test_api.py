"""The API beside running states: machines, versions, aliases, tags, names, pages, Express, events."""

from __future__ import annotations

import json
from typing import Any

import pytest
from stepfunctions_harness import ROLE, Harness

from triptych.localcloud.service import ServiceError

ONE = {"StartAt": "P", "States": {"P": {"Type": "Pass", "Result": 1, "End": True}}}
TWO = {"StartAt": "P", "States": {"P": {"Type": "Pass", "Result": 2, "End": True}}}
WAITS = {"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 1000, "End": True}}}


def refused(sfn: Harness, operation: str, **params: Any) -> str:
    with pytest.raises(ServiceError) as caught:
        sfn.call(operation, **params)
    return caught.value.code


def create(sfn: Harness, definition: Any = ONE, name: str = "m", **more: Any) -> dict[str, Any]:
    return sfn.call("CreateStateMachine", name=name, definition=json.dumps(definition), roleArn=ROLE, **more)


def test_life_of_a_machine(sfn: Harness) -> None:
    created = create(sfn, tags=[{"key": "team", "value": "ml"}])
    arn = created["stateMachineArn"]
    assert arn == "arn:aws:states:us-east-1:123456789012:stateMachine:m"
    assert create(sfn)["creationDate"] == created["creationDate"]
    described = sfn.call("DescribeStateMachine", stateMachineArn=arn)
    assert (json.loads(described["definition"]), described["type"], described["status"]) == (
        ONE,
        "STANDARD",
        "ACTIVE",
    )
    assert described["loggingConfiguration"] == {"level": "OFF", "includeExecutionData": False}
    running = sfn.start(arn)
    updated = sfn.call("UpdateStateMachine", stateMachineArn=arn, definition=json.dumps(TWO))
    assert sfn.call("DescribeStateMachine", stateMachineArn=arn)["revisionId"] == updated["revisionId"]
    assert sfn.output(arn) == 2
    about = sfn.call("DescribeStateMachineForExecution", executionArn=running)
    assert json.loads(about["definition"]) == ONE
    assert [machine["name"] for machine in sfn.call("ListStateMachines")["stateMachines"]] == ["m"]
    sfn.call("DeleteStateMachine", stateMachineArn=arn)
    assert refused(sfn, "DescribeStateMachine", stateMachineArn=arn) == "StateMachineDoesNotExist"
    assert refused(sfn, "StartExecution", stateMachineArn=arn) == "StateMachineDoesNotExist"
    assert create(sfn, TWO)["stateMachineArn"] == arn


def test_executions_finish_on_the_definition_they_began_with(sfn: Harness) -> None:
    definition = {
        "StartAt": "W",
        "States": {"W": {"Type": "Wait", "Seconds": 100, "Next": "P"}, **ONE["States"]},
    }
    arn = create(sfn, definition)["stateMachineArn"]
    execution = sfn.start(arn)
    sfn.call("UpdateStateMachine", stateMachineArn=arn, definition=json.dumps(TWO))
    sfn.close()
    sfn.open()
    sfn.advance(101)
    assert sfn.wait(execution)["output"] == "1"


@pytest.mark.parametrize(
    ("operation", "params", "code"),
    [
        ("CreateStateMachine", {"name": "m", "definition": json.dumps(TWO), "roleArn": ROLE},
         "StateMachineAlreadyExists"),
        ("CreateStateMachine", {"name": "a b", "definition": json.dumps(ONE), "roleArn": ROLE},
         "InvalidName"),
        ("CreateStateMachine", {"name": "x" * 81, "definition": json.dumps(ONE), "roleArn": ROLE},
         "InvalidName"),
        ("CreateStateMachine", {"name": "n", "definition": json.dumps(ONE), "roleArn": "me"}, "InvalidArn"),
        ("CreateStateMachine", {"name": "n", "definition": "{}", "roleArn": ROLE}, "InvalidDefinition"),
        ("CreateStateMachine", {"name": "n", "definition": " " * 1_048_577, "roleArn": ROLE},
         "InvalidDefinition"),
        ("CreateStateMachine", {"name": "n", "definition": "{}", "roleArn": ROLE, "type": "SLOW"},
         "StateMachineTypeNotSupported"),
        ("UpdateStateMachine", {"stateMachineArn": "ARN"}, "MissingRequiredParameter"),
        ("DescribeStateMachine", {"stateMachineArn": "nonsense"}, "InvalidArn"),
        ("DescribeExecution", {"executionArn": "ARN"}, "InvalidArn"),
        ("DescribeExecution", {"executionArn": "arn:aws:states:us-east-1:123456789012:execution:m:none"},
         "ExecutionDoesNotExist"),
        ("StartExecution", {"stateMachineArn": "ARN", "input": "{nope"}, "InvalidExecutionInput"),
        ("StartExecution", {"stateMachineArn": "ARN", "input": '{"a": NaN}'}, "InvalidExecutionInput"),
        ("StartExecution", {"stateMachineArn": "ARN", "input": "[" * 100_000}, "InvalidExecutionInput"),
        ("StartExecution", {"stateMachineArn": "ARN", "input": json.dumps("x" * 262_144)},
         "InvalidExecutionInput"),
        ("StartExecution", {"stateMachineArn": "ARN", "name": "a/b"}, "InvalidName"),
        ("StartSyncExecution", {"stateMachineArn": "ARN"}, "StateMachineTypeNotSupported"),
        ("ListExecutions", {"stateMachineArn": "ARN", "nextToken": "zzz"}, "InvalidToken"),
        ("ListExecutions", {}, "ValidationException"),
        ("GetActivityTask", {"activityArn": "arn:aws:states:us-east-1:123456789012:activity:none"},
         "ActivityDoesNotExist"),
        ("DescribeMapRun", {"mapRunArn": "arn:aws:states:us-east-1:123456789012:mapRun:m/x:1"},
         "ResourceNotFound"),
        ("ListTagsForResource", {"resourceArn": "arn:aws:states:us-east-1:123456789012:stateMachine:no"},
         "ResourceNotFound"),
    ],
    ids=lambda part: part if isinstance(part, str) else json.dumps(part)[:40],
)  # fmt: skip
def test_refusals(sfn: Harness, operation: str, params: dict[str, Any], code: str) -> None:
    arn = create(sfn)["stateMachineArn"]
    params = {name: arn if value == "ARN" else value for name, value in params.items()}
    assert refused(sfn, operation, **params) == code


def test_an_input_of_exactly_256_kb_is_taken(sfn: Harness) -> None:
    text = "x" * (262_144 - 2)
    execution = sfn.start({"S": {"Type": "Succeed"}}, text)
    assert sfn.wait(execution)["status"] == "SUCCEEDED"


def test_names_of_executions(sfn: Harness) -> None:
    arn = create(sfn, WAITS)["stateMachineArn"]
    first = sfn.call("StartExecution", stateMachineArn=arn, name="once", input='{"a":1}')
    assert sfn.call("StartExecution", stateMachineArn=arn, name="once", input='{"a":1}') == first
    taken = {"stateMachineArn": arn, "name": "once"}
    assert refused(sfn, "StartExecution", **taken, input='{"a":2}') == "ExecutionAlreadyExists"
    sfn.call("StopExecution", executionArn=first["executionArn"])
    assert refused(sfn, "StartExecution", **taken, input='{"a":1}') == "ExecutionAlreadyExists"
    unnamed = {sfn.start(arn) for _ in range(3)}
    assert len(unnamed) == 3
    assert all(len(execution.rsplit(":", 1)[1]) == 36 for execution in unnamed)


def test_list_executions_filters_and_pages(sfn: Harness) -> None:
    arn = create(sfn)["stateMachineArn"]
    for number in range(5):
        sfn.wait(sfn.start(arn, name=f"e{number}"))
    slow = create(sfn, WAITS, name="slow")["stateMachineArn"]
    sfn.start(slow)
    first = sfn.call("ListExecutions", stateMachineArn=arn, maxResults=2)
    rest = sfn.call("ListExecutions", stateMachineArn=arn, maxResults=10, nextToken=first["nextToken"])
    names = [each["name"] for each in first["executions"] + rest["executions"]]
    assert names == ["e4", "e3", "e2", "e1", "e0"]
    assert "nextToken" not in rest
    assert sfn.call("ListExecutions", stateMachineArn=arn, statusFilter="RUNNING")["executions"] == []
    assert len(sfn.call("ListExecutions", stateMachineArn=slow, statusFilter="RUNNING")["executions"]) == 1


def test_history_pages_and_reverses(sfn: Harness) -> None:
    chain = {
        f"S{n}": {"Type": "Pass", **({"Next": f"S{n + 1}"} if n < 9 else {"End": True})} for n in range(10)
    }
    execution = sfn.start({"StartAt": "S0", "States": chain})
    sfn.wait(execution)
    forward = [event["id"] for event in sfn.history(execution, maxResults=4)]
    assert forward == list(range(1, 23))
    assert [event["id"] for event in sfn.history(execution, maxResults=5, reverseOrder=True)] == forward[::-1]
    bare = sfn.history(execution, includeExecutionData=False)[1]["stateEnteredEventDetails"]
    assert bare == {"name": "S0"}


def test_a_reversed_history_that_grows_is_told_once(sfn: Harness) -> None:
    states = {
        "A": {"Type": "Pass", "Next": "W"},
        "W": {"Type": "Wait", "Seconds": 1000, "Next": "P"},
        "P": {"Type": "Pass", "End": True},
    }
    execution = sfn.start({"StartAt": "A", "States": states})
    sfn.advance(0)
    asked: dict[str, Any] = {"executionArn": execution, "reverseOrder": True}
    newest = sfn.call("GetExecutionHistory", **asked, maxResults=2)
    sfn.advance(1001)
    sfn.wait(execution)
    older = sfn.call("GetExecutionHistory", **asked, maxResults=100, nextToken=newest["nextToken"])
    assert [event["id"] for event in newest["events"] + older["events"]] == [4, 3, 2, 1]
    assert "nextToken" not in older


def test_versions_and_aliases(sfn: Harness) -> None:
    created = create(sfn, publish=True, versionDescription="first")
    arn, first = created["stateMachineArn"], created["stateMachineVersionArn"]
    second = sfn.call("UpdateStateMachine", stateMachineArn=arn, definition=json.dumps(TWO), publish=True)
    second = second["stateMachineVersionArn"]
    assert (first, second) == (f"{arn}:1", f"{arn}:2")
    assert sfn.call("PublishStateMachineVersion", stateMachineArn=arn)["stateMachineVersionArn"] == second
    listed = sfn.call("ListStateMachineVersions", stateMachineArn=arn)["stateMachineVersions"]
    assert [version["stateMachineVersionArn"] for version in listed] == [second, first]
    assert (sfn.output(first), sfn.output(second), sfn.output(arn)) == (1, 2, 2)
    routing = [{"stateMachineVersionArn": first, "weight": 100}]
    alias = sfn.call("CreateStateMachineAlias", name="live", routingConfiguration=routing)[
        "stateMachineAliasArn"
    ]
    execution = sfn.start(alias)
    ended = sfn.wait(execution)
    assert (ended["output"], ended["stateMachineAliasArn"], ended["stateMachineVersionArn"]) == (
        "1",
        alias,
        first,
    )
    assert refused(sfn, "DeleteStateMachineVersion", stateMachineVersionArn=first) == "ConflictException"
    split = [
        {"stateMachineVersionArn": first, "weight": 50},
        {"stateMachineVersionArn": second, "weight": 50},
    ]
    sfn.call("UpdateStateMachineAlias", stateMachineAliasArn=alias, routingConfiguration=split)
    assert {sfn.output(alias) for _ in range(40)} == {1, 2}
    listed = sfn.call("ListStateMachineAliases", stateMachineArn=arn)["stateMachineAliases"]
    assert [each["stateMachineAliasArn"] for each in listed] == [alias]
    bad = [{"stateMachineVersionArn": first, "weight": 99}]
    assert (
        refused(sfn, "CreateStateMachineAlias", name="x", routingConfiguration=bad) == "ValidationException"
    )
    sfn.call("DeleteStateMachineAlias", stateMachineAliasArn=alias)
    sfn.call("DeleteStateMachineVersion", stateMachineVersionArn=first)
    assert refused(sfn, "StartExecution", stateMachineArn=first) == "StateMachineDoesNotExist"


def test_tags(sfn: Harness) -> None:
    arn = create(sfn, tags=[{"key": "a", "value": "1"}])["stateMachineArn"]
    sfn.call("TagResource", resourceArn=arn, tags=[{"key": "b", "value": "2"}, {"key": "a", "value": "3"}])
    sfn.call("UntagResource", resourceArn=arn, tagKeys=["b"])
    assert sfn.call("ListTagsForResource", resourceArn=arn)["tags"] == [{"key": "a", "value": "3"}]
    many = [{"key": f"k{n}", "value": ""} for n in range(50)]
    assert refused(sfn, "TagResource", resourceArn=arn, tags=many) == "TooManyTags"


def test_express(sfn: Harness) -> None:
    arn = create(sfn, type="EXPRESS")["stateMachineArn"]
    answer = sfn.call("StartSyncExecution", stateMachineArn=arn, input='{"a":1}')
    assert (answer["status"], answer["output"], answer["stateMachineArn"]) == ("SUCCEEDED", "1", arn)
    assert answer["executionArn"].startswith("arn:aws:states:us-east-1:123456789012:express:m:")
    failing = create(
        sfn, {"StartAt": "F", "States": {"F": {"Type": "Fail", "Error": "E"}}}, "f", type="EXPRESS"
    )
    answer = sfn.call("StartSyncExecution", stateMachineArn=failing["stateMachineArn"])
    assert (answer["status"], answer["error"]) == ("FAILED", "E")
    assert ":express:" in sfn.start(arn)
    assert refused(sfn, "ListExecutions", stateMachineArn=arn) == "StateMachineTypeNotSupported"


def test_express_takes_five_minutes_at_most(sfn: Harness) -> None:
    execution = sfn.start(create(sfn, WAITS, type="EXPRESS")["stateMachineArn"])
    sfn.advance(301)
    assert sfn.wait(execution)["status"] == "TIMED_OUT"


def test_events_of_start_and_end(sfn: Harness) -> None:
    execution = sfn.start(create(sfn)["stateMachineArn"], {"a": 1})
    sfn.wait(execution)
    sfn.service.engine.call(lambda: None)
    events = sfn.service_events
    assert [event.detail["status"] for event in events] == ["RUNNING", "SUCCEEDED"]
    assert {(event.source, event.detail_type, event.resources) for event in events} == {
        ("aws.states", "Step Functions Execution Status Change", (execution,))
    }
    assert events[0].detail["output"] is None
    assert events[1].detail["output"] == "1"
    assert events[1].detail["stopDate"] >= events[1].detail["startDate"] > 1_600_000_000_000


def test_many_executions_at_once(sfn: Harness) -> None:
    chain = {
        f"S{n}": {"Type": "Pass", **({"Next": f"S{n + 1}"} if n < 9 else {"End": True})} for n in range(10)
    }
    arn = sfn.machine({"StartAt": "S0", "States": chain})
    executions = [sfn.start(arn, number) for number in range(200)]
    assert [json.loads(sfn.wait(execution)["output"]) for execution in executions] == list(range(200))
    assert sfn.service.engine.live == {}


def test_every_operation_but_test_state_is_served(sfn: Harness) -> None:
    from botocore.loaders import Loader

    model = Loader().load_service_model("stepfunctions", "service-2")
    assert set(model["operations"]) - set(sfn.service.operations) == {"TestState"}


def test_answers_fit_the_service_model(sfn: Harness) -> None:
    """Each answer has only members that botocore's model knows, all that it requires, in the right types."""
    from botocore.loaders import Loader
    from botocore.model import ServiceModel
    from botocore.validate import ParamValidator

    model = ServiceModel(Loader().load_service_model("stepfunctions", "service-2"))
    processor = {
        "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
        **_with(ONE, "Inner"),
    }
    arn = sfn.machine({"M": {"Type": "Map", "ItemProcessor": processor, "End": True}})
    execution = sfn.start(arn, [1, 2])
    sfn.wait(execution)
    map_run = sfn.call("ListMapRuns", executionArn=execution)["mapRuns"][0]["mapRunArn"]
    activity = sfn.call("CreateActivity", name="a")["activityArn"]
    calls: list[tuple[str, dict[str, Any]]] = [
        ("DescribeStateMachine", {"stateMachineArn": arn}),
        ("ListStateMachines", {}),
        ("DescribeExecution", {"executionArn": execution}),
        ("ListExecutions", {"stateMachineArn": arn}),
        ("ListExecutions", {"mapRunArn": map_run}),
        ("GetExecutionHistory", {"executionArn": execution}),
        ("DescribeStateMachineForExecution", {"executionArn": execution}),
        ("ListMapRuns", {"executionArn": execution}),
        ("DescribeMapRun", {"mapRunArn": map_run}),
        ("PublishStateMachineVersion", {"stateMachineArn": arn}),
        ("DescribeActivity", {"activityArn": activity}),
        ("ListActivities", {}),
        ("ValidateStateMachineDefinition", {"definition": "{}"}),
    ]
    for operation, params in calls:
        shape = model.operation_model(operation).output_shape
        answer = sfn.call(operation, **params)
        assert not (found := ParamValidator().validate(answer, shape)).has_errors(), (
            operation,
            found.generate_report(),
        )
        assert set(answer) <= set(shape.members), operation


def _with(definition: dict[str, Any], name: str) -> dict[str, Any]:
    [state] = definition["States"].values()
    return {"StartAt": name, "States": {name: state}}
