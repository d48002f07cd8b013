"""The language, through the API: tables of states, inputs and what comes out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from stepfunctions_harness import Harness

PASS = {"Type": "Pass", "End": True}


def a_pass(**fields: Any) -> dict[str, Any]:
    return {"P": {"Type": "Pass", "End": True, **fields}}


@pytest.mark.parametrize(
    ("fields", "value", "expected"),
    [
        pytest.param({}, {"a": 1}, {"a": 1}, id="as it is"),
        pytest.param({"Result": {"b": 2}}, {"a": 1}, {"b": 2}, id="Result"),
        pytest.param(
            {"Result": 2, "ResultPath": "$.x.y"}, {"a": 1}, {"a": 1, "x": {"y": 2}}, id="ResultPath deep"
        ),
        pytest.param({"Result": 2, "ResultPath": None}, {"a": 1}, {"a": 1}, id="ResultPath null"),
        pytest.param({"InputPath": "$.a"}, {"a": {"b": 1}}, {"b": 1}, id="InputPath"),
        pytest.param({"InputPath": None}, {"a": 1}, {}, id="InputPath null"),
        pytest.param({"OutputPath": "$.a"}, {"a": 7}, 7, id="OutputPath"),
        pytest.param({"OutputPath": None}, {"a": 7}, {}, id="OutputPath null"),
        pytest.param(
            {"Parameters": {"k": [1, {"v.$": "$.a"}], "c.$": "$$.State.Name"}},
            {"a": 7},
            {"k": [1, {"v": 7}], "c": "P"},
            id="Parameters",
        ),
        pytest.param(
            {"InputPath": "$.a", "ResultPath": "$.c"}, {"a": 1}, {"a": 1, "c": 1}, id="raw input kept"
        ),
        pytest.param({"Parameters": {"x.$": "$['a b'][0]"}}, {"a b": [3]}, {"x": 3}, id="bracket path"),
    ],
)
def test_pass(sfn: Harness, fields: dict[str, Any], value: Any, expected: Any) -> None:
    assert sfn.output(a_pass(**fields), value) == expected


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("States.Format('{} is {}', $.name, $.n)", "Ada is 3"),
        ("States.Format('a \\{\\} {} \\'q\\'', $.n)", "a {} 3 'q'"),
        ("States.StringToJson($.json)", {"x": [1, None]}),
        ("States.JsonToString($.list)", "[1,2,3]"),
        ("States.Array($.n, 'x', null, true, 1.5, States.MathAdd($.n, 1))", [3, "x", None, True, 1.5, 4]),
        ("States.ArrayPartition($.list, 2)", [[1, 2], [3]]),
        ("States.ArrayContains($.list, 2)", True),
        ("States.ArrayRange(1, 9, 4)", [1, 5, 9]),
        ("States.ArrayRange(3, 1, -1)", [3, 2, 1]),
        ("States.ArrayGetItem($.list, 1)", 2),
        ("States.ArrayLength($.list)", 3),
        ("States.ArrayUnique(States.Array(1, 2, 1, 'a', 'a'))", [1, 2, "a"]),
        ("States.Base64Encode($.name)", "QWRh"),
        ("States.Base64Decode('QWRh')", "Ada"),
        ("States.Hash('x', 'MD5')", "9dd4e461268c8034f5c8564e155c67a6"),
        ("States.JsonMerge($.left, $.right, false)", {"a": 1, "b": {"c": 2}}),
        ("States.MathAdd($.n, -5)", -2),
        ("States.StringSplit('a.b+c', '.+')", ["a", "b", "c"]),
        ("States.StringSplit('abc', '')", ["abc"]),
    ],
)
def test_intrinsic_functions(sfn: Harness, call: str, expected: Any) -> None:
    value = {
        "name": "Ada",
        "n": 3,
        "list": [1, 2, 3],
        "json": '{"x": [1, null]}',
        "left": {"a": 1, "b": {"d": 1}},
        "right": {"b": {"c": 2}},
    }
    assert sfn.output(a_pass(Parameters={"r.$": call}), value) == {"r": expected}


def test_random_numbers_and_uuids(sfn: Harness) -> None:
    calls = {
        "a.$": "States.MathRandom(1, 9, 42)",
        "b.$": "States.MathRandom(1, 9, 42)",
        "u.$": "States.UUID()",
    }
    found = sfn.output(a_pass(Parameters=calls))
    assert found["a"] == found["b"]
    assert 1 <= found["a"] < 9
    assert len(found["u"]) == 36
    assert found["u"][14] == "4"


@pytest.mark.parametrize(
    ("fields", "error", "cause"),
    [
        ({"InputPath": "$.no"}, "States.Runtime", "Invalid path '$.no' : No results for path: $['no']"),
        (
            {"Parameters": {"x.$": "$.no"}},
            "States.Runtime",
            "The JSONPath '$.no' specified for the field 'x.$' could not be found in the input '{\"a\":1}'",
        ),
        (
            {"Parameters": {"x.$": "States.Format('{}', $.no)"}},
            "States.Runtime",
            "The function 'States.Format('{}', $.no)' had the following error: The JsonPath argument "
            "for the field "
            "'$.no' could not be found in the input '{\"a\":1}'",
        ),
        ({"Parameters": {"x.$": "States.ArrayLength($.a)"}}, "States.IntrinsicFailure", "expected an array"),
        ({"Parameters": {"x.$": "States.ArrayRange(0, 5000, 1)"}}, "States.IntrinsicFailure",
         "more than 1000"),
        ({"Result": 1, "ResultPath": "$.a.b"}, "States.ResultPathMatchFailure",
         "Unable to apply ReferencePath"),
        ({"Parameters": {"x.$": "$unknown"}}, "States.Runtime", "has not been assigned"),
    ],
)  # fmt: skip
def test_data_that_cannot_be_processed(sfn: Harness, fields: dict[str, Any], error: str, cause: str) -> None:
    ended = sfn.run(a_pass(**fields), {"a": 1})
    assert (ended["status"], ended["error"]) == ("FAILED", error)
    assert ended["cause"].startswith(
        "An error occurred while executing the state 'P' (entered at the event id #2). "
    )
    assert cause in ended["cause"]


def test_too_large_an_output(sfn: Harness) -> None:
    double = {"Type": "Pass", "Parameters": {"a.$": "$", "b.$": "$"}, "End": True}
    ended = sfn.run({"P": double}, "x" * 200_000)
    assert ended["error"] == "States.DataLimitExceeded"
    assert "'P' returned a result with a size exceeding" in ended["cause"]


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ({"Variable": "$.s", "StringEquals": "ab"}, True),
        ({"Variable": "$.s", "StringLessThan": "b"}, True),
        ({"Variable": "$.s", "StringGreaterThanEqualsPath": "$.s"}, True),
        ({"Variable": "$.s", "StringMatches": "a*"}, True),
        ({"Variable": "$.star", "StringMatches": "a\\*c"}, True),
        ({"Variable": "$.s", "StringMatches": "a\\*"}, False),
        ({"Variable": "$.n", "NumericEquals": 3.0}, True),
        ({"Variable": "$.n", "NumericLessThanPath": "$.m"}, True),
        ({"Variable": "$.s", "NumericEquals": 3}, False),
        ({"Variable": "$.b", "BooleanEquals": True}, True),
        ({"Variable": "$.b", "NumericEquals": 1}, False),
        ({"Variable": "$.t", "TimestampLessThan": "2024-01-01T00:00:00+02:00"}, True),
        ({"Variable": "$.t", "TimestampEqualsPath": "$.t2"}, True),
        ({"Variable": "$.s", "TimestampEquals": "2024-01-01T00:00:00Z"}, False),
        ({"Variable": "$.x", "IsPresent": False}, True),
        ({"Variable": "$.null", "IsPresent": True}, True),
        ({"Variable": "$.null", "IsNull": True}, True),
        ({"Variable": "$.t", "IsTimestamp": True}, True),
        ({"Variable": "$.s", "IsTimestamp": True}, False),
        ({"Variable": "$.b", "IsNumeric": True}, False),
        ({"Variable": "$.s", "IsString": True}, True),
        ({"Not": {"Variable": "$.b", "BooleanEquals": True}}, False),
        ({"And": [{"Variable": "$.n", "IsNumeric": True}, {"Variable": "$.n", "NumericEquals": 3}]}, True),
        ({"Or": [{"Variable": "$.n", "NumericEquals": 1}, {"Variable": "$.n", "NumericEquals": 3}]}, True),
        ({"Variable": "$$.Execution.Input.n", "NumericEquals": 3}, True),
    ],
    ids=lambda part: json.dumps(part)[:60] if isinstance(part, dict) else None,
)
def test_choice_operators(sfn: Harness, rule: dict[str, Any], holds: bool) -> None:
    value = {"s": "ab", "star": "a*c", "n": 3, "m": 4, "b": True, "null": None}
    value |= {"t": "2023-12-31T21:59:59Z", "t2": "2023-12-31T22:59:59+01:00"}
    states = {
        "C": {"Type": "Choice", "Choices": [{**rule, "Next": "Yes"}], "Default": "No"},
        "Yes": {"Type": "Pass", "Result": True, "End": True},
        "No": {"Type": "Pass", "Result": False, "End": True},
    }
    assert sfn.output(states, value) is holds


def test_choice_without_a_match(sfn: Harness) -> None:
    states = {
        "C": {"Type": "Choice", "Choices": [{"Variable": "$.n", "NumericEquals": 1, "Next": "Y"}]},
        "Y": PASS,
    }
    assert sfn.run(states, {"n": 2})["error"] == "States.NoChoiceMatched"
    ended = sfn.run(states, {})
    assert ended["error"] == "States.Runtime"
    assert (
        "Invalid path '$.n': The choice state's condition path references an invalid value." in ended["cause"]
    )


def test_variables_reach_inner_scopes_and_stay_there(sfn: Harness) -> None:
    states = {
        "Set": {"Type": "Pass", "Assign": {"outer": 1, "from.$": "$.a"}, "Next": "Inner"},
        "Inner": {
            "Type": "Parallel",
            "ResultPath": "$.branches",
            "Branches": [
                {
                    "StartAt": "A",
                    "States": {
                        "A": {"Type": "Pass", "Assign": {"mine.$": "States.MathAdd($outer, 1)"}, "Next": "B"},
                        "B": {"Type": "Pass", "Parameters": {"m.$": "$mine", "f.$": "$from"}, "End": True},
                    },
                }
            ],
            "Next": "After",
        },
        "After": {"Type": "Pass", "Parameters": {"o.$": "$outer", "b.$": "$.branches"}, "End": True},
    }
    assert sfn.output(states, {"a": 5}) == {"o": 1, "b": [{"m": 2, "f": 5}]}


JSONATA = {"QueryLanguage": "JSONata"}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("{% $states.input.n + 1 %}", 4),
        ("{% $sum($states.input.list) / 2 %}", 3),
        ("{% $states.input.list[$ > 1] %}", [2, 3]),
        ("{% $states.input.none %}", None),
        ("{% $partition($states.input.list, 2) %}", [[1, 2], [3]]),
        ("{% $range(1, 5, 2) %}", [1, 3, 5]),
        ("{% $hash('x', 'MD5') %}", "9dd4e461268c8034f5c8564e155c67a6"),
        ("{% $parse('{\"a\":1}') %}", {"a": 1}),
        ("{% $states.context.State.Name %}", "P"),
        ({"a": "{% $states.input.n %}", "b": [1, "{% 'x' & 'y' %}"]}, {"a": 3, "b": [1, "xy"]}),
        ("no expression", "no expression"),
    ],
    ids=str,
)
def test_jsonata(sfn: Harness, expression: Any, expected: Any) -> None:
    value = {"n": 3, "list": [1, 2, 3], "none": None}
    assert sfn.output({**JSONATA, "StartAt": "P", "States": a_pass(Output=expression)}, value) == expected


@pytest.mark.parametrize(
    ("expression", "cause"),
    [
        ("{% $states.input.none %}", "returned nothing (undefined)."),
        ("{% 'a' + 1 %}", "threw an error during evaluation. T2001: "),
        ("{% $error('boom') %}", "threw an error during evaluation. D3137: boom"),
        ("{% function($x){$x} %}", "returned an unsupported result type."),
        ("{% ($f := function($n){$f($n + 1)}; $f(0)) %}", "threw an error during evaluation. D1012: "),
        ("{% ($f := function($n){1 + $f($n + 1)}; $f(0)) %}", "threw an error during evaluation. "),
        ("{% $eval('1') %}", "the function $eval is not supported"),
    ],
)
def test_jsonata_that_fails(sfn: Harness, expression: str, cause: str) -> None:
    execution = sfn.start({**JSONATA, "StartAt": "P", "States": a_pass(Output=expression)}, {})
    ended = sfn.wait(execution)
    assert ended["error"] == "States.QueryEvaluationError"
    assert cause in ended["cause"]
    failed = sfn.history(execution)[-2]
    assert (failed["type"], failed["evaluationFailedEventDetails"]["location"]) == (
        "EvaluationFailed",
        "Output",
    )


def test_jsonata_randomness_is_the_executions_own(sfn: Harness) -> None:
    states = a_pass(Output="{% [$random(7), $random(7), $length($uuid())] %}")
    first, second, length = sfn.output({**JSONATA, "StartAt": "P", "States": states})
    assert first == second
    assert length == 36


def test_jsonata_variables_choice_and_catch(sfn: Harness) -> None:
    sfn.tasks.on("invoke", lambda request, sink: sink.failed(request.task_id, "Boom", "it broke"))
    states = {
        "Set": {"Type": "Pass", "Assign": {"v": "{% $states.input.n * 2 %}"}, "Next": "Choose"},
        "Choose": {
            "Type": "Choice",
            "Choices": [{"Condition": "{% $v > 5 %}", "Next": "Do", "Output": {"v": "{% $v %}"}}],
            "Default": "Do",
        },
        "Do": {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke",
            "Arguments": {"FunctionName": "f", "Payload": "{% $states.input.v %}"},
            "Catch": [
                {
                    "ErrorEquals": ["Boom"],
                    "Next": "End",
                    "Output": "{% $states.errorOutput.Cause %}",
                    "Assign": {"e": "{% $states.errorOutput.Error %}"},
                }
            ],
            "End": True,
        },
        "End": {"Type": "Pass", "Output": "{% $e & ': ' & $states.input %}", "End": True},
    }
    assert sfn.output({**JSONATA, "StartAt": "Set", "States": states}, {"n": 3}) == "Boom: it broke"
    assert sfn.tasks.started[0].parameters == {"FunctionName": "f", "Payload": 6}


def test_query_languages_mix_by_state(sfn: Harness) -> None:
    states = {
        "J": {"Type": "Pass", "QueryLanguage": "JSONata", "Output": {"x": "{% 1 + 1 %}"}, "Next": "P"},
        "P": {"Type": "Pass", "Parameters": {"y.$": "$.x"}, "End": True},
    }
    assert sfn.output(states) == {"y": 2}


@pytest.mark.parametrize(
    ("wait", "value", "seconds"),
    [
        ({"Seconds": 3600}, {}, 3600),
        ({"SecondsPath": "$.n"}, {"n": 3600}, 3600),
        ({"TimestampPath": "$.t"}, {"t": "2999-01-01T00:00:00Z"}, 10**11),
        ({"Timestamp": "2999-01-01T00:00:00Z"}, {}, 10**11),
        ({"Seconds": "{% $states.input.n %}", "QueryLanguage": "JSONata"}, {"n": 60}, 60),
    ],
    ids=["Seconds", "SecondsPath", "TimestampPath", "Timestamp", "JSONata"],
)
def test_wait_ends_when_its_time_has_come(
    sfn: Harness, wait: dict[str, Any], value: Any, seconds: float
) -> None:
    execution = sfn.start({"W": {"Type": "Wait", **wait, "End": True}}, value)
    assert sfn.types(execution) == ["ExecutionStarted", "WaitStateEntered"]
    sfn.advance(seconds / 2 if seconds < 10**9 else 3600)
    assert sfn.types(execution) == ["ExecutionStarted", "WaitStateEntered"]
    if seconds < 10**9:
        sfn.advance(seconds)
        assert sfn.wait(execution)["status"] == "SUCCEEDED"


def test_a_time_in_the_past_is_no_wait(sfn: Harness) -> None:
    wait = {"Type": "Wait", "TimestampPath": "$.t", "End": True}
    assert sfn.output({"W": wait}, {"t": "2001-01-01T00:00:00Z"}) == {"t": "2001-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("fields", "error", "cause"),
    [
        ({"Error": "E", "Cause": "why"}, "E", "why"),
        ({"ErrorPath": "$.e", "CausePath": "States.Format('n={}', $.n)"}, "Named", "n=3"),
        ({}, None, None),
    ],
)
def test_fail(sfn: Harness, fields: dict[str, Any], error: str | None, cause: str | None) -> None:
    ended = sfn.run({"F": {"Type": "Fail", **fields}}, {"e": "Named", "n": 3})
    assert (ended["status"], ended.get("error"), ended.get("cause")) == ("FAILED", error, cause)


def test_context_object(sfn: Harness) -> None:
    execution = sfn.start(a_pass(Parameters={"c.$": "$$"}), {"i": 1}, name="mine")
    context = json.loads(sfn.wait(execution)["output"])["c"]
    assert context["Execution"]["Id"] == execution
    assert context["Execution"]["Name"] == "mine"
    assert context["Execution"]["Input"] == {"i": 1}
    assert context["State"]["Name"] == "P"
    assert context["StateMachine"]["Name"] == "machine-1"


def test_an_endless_loop_ends_with_its_history(sfn: Harness) -> None:
    execution = sfn.start({"P": {"Type": "Pass", "Next": "P"}})
    ended = sfn.wait(execution)
    assert (ended["status"], ended["error"]) == ("FAILED", "States.Runtime")
    assert "maximum number of history events" in ended["cause"]
    last = sfn.call("GetExecutionHistory", executionArn=execution, reverseOrder=True, maxResults=1)["events"][
        0
    ]
    assert (last["id"], last["type"]) == (25_000, "ExecutionFailed")


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ("{", "INVALID_JSON_DESCRIPTION"),
        ({"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "B"}}},
         "MISSING_TRANSITION_TARGET: Missing 'Next' target: B"),
        ({"StartAt": "X", "States": {"A": PASS}}, "Missing 'Next' target: X at /StartAt"),
        ({"StartAt": "A", "States": {"A": PASS, "B": PASS}}, 'State "B" is not reachable. at /States/B'),
        ({"StartAt": "A", "States": {"A": {"Type": "Pass"}}}, "'Next' or 'End'"),
        ({"StartAt": "A", "States": {"A": {"Type": "Nope", "End": True}}}, "/States/A/Type"),
        ({"StartAt": "A", "States": {"A": {**PASS, "Foo": 1}}}, "Field is not supported at /States/A/Foo"),
        ({"StartAt": "A", "States": {"A": {**PASS, "InputPath": "nope"}}}, "/States/A/InputPath"),
        ({"StartAt": "A", "States": {"A": {**PASS, "ResultPath": "$.a[*]"}}}, "Reference Path"),
        ({"StartAt": "A", "States": {"A": {**PASS, "Parameters": {"x.$": "States.Nope()"}}}},
         "valid intrinsic function call at /States/A/Parameters"),
        ({"StartAt": "A", "States": {"A": {"Type": "Task", "End": True}}},
         "'Resource' is required but was missing at /States/A"),
        ({"StartAt": "A", "States": {"A": {"Type": "Task", "Resource": "arn:x", "End": True}}},
         "is not recognized"),
        ({"StartAt": "A", "States": {"A": {"Type": "Choice", "Choices": []}}}, "/States/A/Choices"),
        ({"StartAt": "A", "States": {"A": {"Type": "Wait", "End": True}}}, "Exactly one of"),
        ({"StartAt": "A", "QueryLanguage": "JSONata", "States": {"A": {**PASS, "Output": "{% ( %}"}}},
         "Invalid JSONata"),
        ({"StartAt": "A", "QueryLanguage": "JSONata", "States": {"A": {**PASS, "InputPath": "$"}}},
         "not supported by JSONata"),
    ],
    ids=lambda part: None if isinstance(part, str) else json.dumps(part)[:50],
)  # fmt: skip
def test_definitions_that_are_refused(sfn: Harness, definition: Any, message: str) -> None:
    from triptych.localcloud.service import ServiceError

    text = definition if isinstance(definition, str) else json.dumps(definition)
    with pytest.raises(ServiceError) as caught:
        sfn.call(
            "CreateStateMachine", name="bad", definition=text, roleArn="arn:aws:iam::123456789012:role/r"
        )
    assert caught.value.code == "InvalidDefinition"
    assert message in caught.value.message
    found = sfn.call("ValidateStateMachineDefinition", definition=text)
    assert found["result"] == "FAIL"
