"""What each type of state does with its data, in both query languages."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from triptych.localcloud.stepfunctions import failures, history
from triptych.localcloud.stepfunctions.definition import Catcher, State
from triptych.localcloud.stepfunctions.effects import Effect, StartTask
from triptych.localcloud.stepfunctions.failures import ProcessingFailure, QueryFailure, StateFailure
from triptych.localcloud.stepfunctions.frames import Branch, Join, TaskCall
from triptych.localcloud.stepfunctions.intrinsics import uuid_text
from triptych.localcloud.stepfunctions.jsonata_query import compile_json
from triptych.localcloud.stepfunctions.jsonpath import JsonPath, PathNotFound
from triptych.localcloud.stepfunctions.jsontext import encode, is_number
from triptych.localcloud.stepfunctions.mapping import Mapper, unexpected
from triptych.localcloud.stepfunctions.references import insert
from triptych.localcloud.stepfunctions.resources import resource_parts
from triptych.localcloud.stepfunctions.scope import Scope
from triptych.localcloud.stepfunctions.tasks import TaskRequest
from triptych.localcloud.stepfunctions.templates import compile_template
from triptych.localcloud.stepfunctions.timestamps import parse_timestamp

if TYPE_CHECKING:
    from triptych.localcloud.stepfunctions.facts import Facts


class Processing(Mapper):
    """The data side of the interpreter; ``Interpreter`` adds walking, waiting and failing."""

    facts: Facts
    tasks: dict[str, TaskCall]
    effects: list[Effect]
    now: float

    # given by Interpreter

    def leave(
        self, branch: Branch, value: Any, next_name: str | None, assigned: dict[str, Any] | None = None
    ) -> bool:
        raise NotImplementedError

    def guard(self, branch: Branch, action: Callable[[], bool | None]) -> None:
        raise NotImplementedError

    def set_timer(self, due: float, action: Callable[[], None]) -> int:
        raise NotImplementedError

    def task_timed_out(self, call: TaskCall) -> None:
        raise NotImplementedError

    # ------------------------------------------------------------------------------------- by state type

    def execute(self, branch: Branch, state: State) -> bool:
        """Do a state that was just entered (or is tried again); ``True`` when it is over already.

        Raises StateFailure.
        """
        method: Callable[[Branch, State], bool] = getattr(self, f"_{state.type.lower()}")
        return method(branch, state)

    def _pass(self, branch: Branch, state: State) -> bool:
        if state.jsonata:
            return self._leave_jsonata(branch, state)
        value = self.effective_input(branch, state)
        if state.parameters is not None:
            value = state.parameters(self.scope(branch, value))
        if "Result" in state.raw:
            value = state.raw["Result"]
        return self._leave_jsonpath(branch, state, value)

    def _succeed(self, branch: Branch, state: State) -> bool:
        if state.jsonata:
            return self._leave_jsonata(branch, state)
        return self.leave(branch, self._output(branch, state, self.effective_input(branch, state)), None)

    def _fail(self, branch: Branch, state: State) -> bool:
        scope = self.scope(branch, branch.value)
        texts: dict[str, str | None] = {}
        for name in ("Error", "Cause"):
            value: Any = None
            if f"{name}Path" in state.raw:
                value = state.evaluator(state.raw[f"{name}Path"], f"{name}Path")(scope)
            elif (query := state.query(name) if state.jsonata else None) is not None:
                value = query(scope, {"input": branch.value})
            else:
                value = state.raw.get(name)
            if value is not None and not isinstance(value, str):
                if state.jsonata:
                    raise unexpected(state.raw[name], name, "string", value)
                value = encode(value)
            texts[name] = value
        raise StateFailure(texts["Error"], texts["Cause"])

    def _choice(self, branch: Branch, state: State) -> bool:
        if state.jsonata:
            return self._choose_jsonata(branch, state)
        value = self.effective_input(branch, state)
        scope = self.scope(branch, value)
        for choice in state.choices:
            if choice.rule is not None and choice.rule(scope):
                assign: Any = choice.assign
                assigned = assign(scope) if assign is not None else None
                return self.leave(branch, self._output(branch, state, value), choice.next, assigned)
        if "Default" not in state.raw:
            raise ProcessingFailure(_NO_CHOICE, failures.NO_CHOICE)
        assigned = state.assign(scope) if state.assign is not None else None
        return self.leave(branch, self._output(branch, state, value), state.raw["Default"], assigned)

    def _choose_jsonata(self, branch: Branch, state: State) -> bool:
        scope = self.scope(branch, branch.value)
        states = {"input": branch.value}
        for number, choice in enumerate(state.choices):
            assert choice.condition is not None
            holds = choice.condition(scope, states)
            if not isinstance(holds, bool):
                raise unexpected(choice.raw["Condition"], f"Choices[{number}]/Condition", "boolean", holds)
            if holds:
                assign: Any = choice.assign
                value = choice.output(scope, states) if choice.output is not None else branch.value
                assigned = assign(scope, states) if assign is not None else None
                return self.leave(branch, value, choice.next, assigned)
        if "Default" not in state.raw:
            raise ProcessingFailure(_NO_CHOICE, failures.NO_CHOICE)
        return self._leave_jsonata(branch, state, next_name=state.raw["Default"])

    def _wait(self, branch: Branch, state: State) -> bool:
        value = self.effective_input(branch, state)
        due = self._due(branch, state, value)

        def over() -> bool:
            branch.timer = None
            if state.jsonata:
                return self._leave_jsonata(branch, state)
            assigned = state.assign(self.scope(branch, value)) if state.assign is not None else None
            return self.leave(branch, self._output(branch, state, value), state.next, assigned)

        if due <= self.now:
            return over()
        branch.timer = self.set_timer(due, lambda: self.guard(branch, over))
        return False

    def _due(self, branch: Branch, state: State, value: Any) -> float:
        """When a Wait ends, in seconds since the epoch."""
        raw, scope = state.raw, self.scope(branch, value)
        if "Seconds" in raw:
            seconds: Any = raw["Seconds"]
            query = state.query("Seconds") if state.jsonata else None
            if query is not None:
                seconds = query(scope, {"input": branch.value})
                if not is_number(seconds) or seconds != int(seconds):
                    raise QueryFailure(
                        f"The Seconds field cannot be parsed as a long value: {encode(seconds)}", "Seconds"
                    )
                if seconds < 0:
                    raise QueryFailure(
                        f"The Seconds field references a negative value: {encode(seconds)}", "Seconds"
                    )
            return branch.entered_time + float(seconds)
        if "SecondsPath" in raw:
            return branch.entered_time + self._seconds_at(scope, raw["SecondsPath"])
        if "Timestamp" in raw:
            query = state.query("Timestamp") if state.jsonata else None
            text = raw["Timestamp"] if query is None else query(scope, {"input": branch.value})
            moment = parse_timestamp(text) if isinstance(text, str) else None
            if moment is None:
                raise QueryFailure(
                    "The Timestamp field cannot be parsed as an ISO-8601 extended offset date-time "
                    "format string: "
                    f"{text if isinstance(text, str) else encode(text)}",
                    "Timestamp",
                )
            return moment.timestamp()
        path = raw["TimestampPath"]
        try:
            text = self.at(scope, path)
        except PathNotFound as error:
            raise ProcessingFailure(
                f"The TimestampPath parameter does not reference an input value: {path}"
            ) from error
        moment = parse_timestamp(text) if isinstance(text, str) else None
        if moment is None:
            raise ProcessingFailure(
                "The TimestampPath parameter does not reference a valid ISO-8601 extended offset "
                "date-time format "
                f"string: {path} == {text if isinstance(text, str) else encode(text)}"
            )
        return moment.timestamp()

    def _seconds_at(self, scope: Scope, path: str) -> float:
        try:
            value = self.at(scope, path)
        except PathNotFound as error:
            raise ProcessingFailure(
                f"The SecondsPath parameter does not reference an input value: {path}"
            ) from error
        if not isinstance(value, int) or isinstance(value, bool):
            raise ProcessingFailure(
                f"The SecondsPath parameter cannot be parsed as a long value: {path} == "
                f"{value if isinstance(value, str) else encode(value)}"
            )
        if value < 0:
            raise ProcessingFailure(
                f"The SecondsPath parameter references a negative value: {path} == {value}"
            )
        return float(value)

    # ------------------------------------------------------------------------------------- Task

    def _task(self, branch: Branch, state: State) -> bool:
        raw, facts = state.raw, self.facts
        resource: str = raw["Resource"]
        kind, resource_type, resource_name = resource_parts(resource)
        task_id = f"{facts.arn}#{self.counter()}"
        token = None
        if kind == "activity" or resource.endswith(".waitForTaskToken"):
            token = _token(task_id, uuid_text(self.random))
        parameters, credentials = self._task_arguments(branch, state, token)
        timeout = self._seconds_field(branch, state, "TimeoutSeconds")
        heartbeat = self._seconds_field(branch, state, "HeartbeatSeconds")
        request = TaskRequest(
            task_id, facts.arn, resource, parameters, facts.region, facts.account_id, facts.role_arn,
            credentials,
            token, timeout, heartbeat,
        )  # fmt: skip
        call = TaskCall(branch, request, kind, resource_type, resource_name)
        branch.task = call
        self.tasks[task_id] = call
        text = encode(parameters)
        limits: dict[str, Any] = {}
        if timeout is not None:
            limits["timeoutInSeconds"] = _integral(timeout)
        if heartbeat is not None and kind != "lambda":
            limits["heartbeatInSeconds"] = _integral(heartbeat)
        if kind == "lambda":
            details = history.with_input(text, resource=resource, **limits)
            self.emit(branch, "LambdaFunctionScheduled", _with_credentials(details, credentials))
        elif kind == "activity":
            self.emit(branch, "ActivityScheduled", history.with_input(text, resource=resource, **limits))
        else:
            details = {"resourceType": resource_type, "resource": resource_name, "region": facts.region}
            details |= {"parameters": text, **limits}
            self.emit(branch, "TaskScheduled", _with_credentials(details, credentials))
        if timeout is not None:
            call.timeout_timer = self.set_timer(self.now + timeout, lambda: self.task_timed_out(call))
        if heartbeat is not None:
            call.heartbeat_timer = self.set_timer(self.now + heartbeat, lambda: self.task_timed_out(call))
        self.effects.append(StartTask(request, kind == "activity"))
        return False

    def _task_arguments(self, branch: Branch, state: State, token: str | None) -> tuple[Any, Any]:
        if state.jsonata:
            scope, states = self.scope(branch, branch.value, token), {"input": branch.value}
            arguments, credentials = state.query("Arguments"), state.query("Credentials")
            return (
                arguments(scope, states) if arguments is not None else branch.value,
                credentials(scope, states) if credentials is not None else None,
            )
        value = self.effective_input(branch, state)
        scope = self.scope(branch, value, token)
        return (
            state.parameters(scope) if state.parameters is not None else value,
            state.credentials(scope) if state.credentials is not None else None,
        )

    def _seconds_field(self, branch: Branch, state: State, name: str) -> float | None:
        """TimeoutSeconds or HeartbeatSeconds, from the field, its path or its expression."""
        raw = state.raw
        if name in raw:
            query = state.query(name) if state.jsonata else None
            value = (
                raw[name]
                if query is None
                else query(self.scope(branch, branch.value), {"input": branch.value})
            )
            if not is_number(value) or value <= 0:
                raise unexpected(raw[name], name, "positive integer", value)
            return float(value)
        if f"{name}Path" not in raw:
            return None
        path = raw[f"{name}Path"]
        value = self.value_at(self.scope(branch, self.effective_input(branch, state)), path)
        if not is_number(value) or value != int(value) or value <= 0:
            raise ProcessingFailure(
                f'The {name}Path field refers to value "{_bare(value)}" which is not a valid positive '
                f"integer: {path}"
            )
        return float(value)

    # ------------------------------------------------------------------------------------- Parallel

    def _parallel(self, branch: Branch, state: State) -> bool:
        value = branch.value
        if state.jsonata:
            arguments = state.query("Arguments")
            if arguments is not None:
                value = arguments(self.scope(branch, value), {"input": value})
        else:
            value = self.effective_input(branch, state)
            if state.parameters is not None:
                value = state.parameters(self.scope(branch, value))
        started = self.emit(branch, "ParallelStateStarted")
        count = len(state.raw["Branches"])
        join = Join(branch, "Parallel", [None] * count, [value], remaining=count, started_event=started)
        branch.join = join
        self.begin_children(join)
        return False

    # ------------------------------------------------------------------------------------- results

    def finish_with_result(self, branch: Branch, state: State, result: Any) -> bool:
        """A Task, Parallel or Map got its result: shape it and leave the state."""
        if state.jsonata:
            states = {"input": branch.value, "result": result}
            scope = self.scope(branch, branch.value)
            output, assign = state.query("Output"), state.query("Assign")
            value = output(scope, states) if output is not None else result
            assigned = assign(scope, states) if assign is not None else None
        else:
            assigned = state.assign(self.scope(branch, result)) if state.assign is not None else None
            if state.result_selector is not None:
                result = state.result_selector(self.scope(branch, result))
            value = self._combine(branch, state, result)
        self.leave(branch, value, state.next, assigned)
        branch.join = None
        return True

    def caught(
        self, branch: Branch, state: State, catcher: Catcher, number: int, output: dict[str, Any]
    ) -> tuple[Any, dict[str, Any] | None]:
        """The output of a state whose failure is caught, and the variables that the Catch assigns."""
        if state.jsonata:
            scope, where = self.scope(branch, branch.value), f"Catch[{number}]"
            states = {"input": branch.value, "errorOutput": output}
            value: Any = output
            if "Output" in catcher.raw:
                value = compile_json(catcher.raw["Output"], f"{where}/Output")(scope, states)
            assigned = None
            if catcher.assign is not None:
                assigned = compile_json(catcher.assign, f"{where}/Assign")(scope, states)
            return value, assigned
        assigned = None
        if catcher.assign is not None:
            assigned = compile_template(catcher.assign)(self.scope(branch, output))
        if catcher.result_path is None:
            return branch.value, assigned
        return insert(branch.value, catcher.result_path, output), assigned

    def effective_input(self, branch: Branch, state: State) -> Any:
        """What InputPath selects."""
        if state.passes_input:
            return branch.value
        return (
            {}
            if state.input_path is None
            else self._select(self.scope(branch, branch.value), state.input_path)
        )

    def _output(self, branch: Branch, state: State, value: Any) -> Any:
        """What OutputPath selects."""
        if state.passes_output:
            return value
        return {} if state.output_path is None else self._select(self.scope(branch, value), state.output_path)

    def _combine(self, branch: Branch, state: State, result: Any) -> Any:
        """ResultPath, then OutputPath."""
        path = state.result_path
        if path is None:
            value = branch.value
        else:
            value = result if not path.keys else insert(branch.value, path, result)
        return self._output(branch, state, value)

    def _leave_jsonpath(self, branch: Branch, state: State, result: Any) -> bool:
        assigned = state.assign(self.scope(branch, result)) if state.assign is not None else None
        return self.leave(branch, self._combine(branch, state, result), state.next, assigned)

    def _leave_jsonata(self, branch: Branch, state: State, next_name: str | None = None) -> bool:
        output, assign = state.query("Output"), state.query("Assign")
        value, assigned = branch.value, None
        if output is not None or assign is not None:
            scope, states = self.scope(branch, branch.value), {"input": branch.value}
            if output is not None:
                value = output(scope, states)
            if assign is not None:
                assigned = assign(scope, states)
        return self.leave(branch, value, next_name or state.next, assigned)

    # ------------------------------------------------------------------------------------- paths

    def _select(self, scope: Scope, path: JsonPath) -> Any:
        try:
            return scope.find(path)
        except PathNotFound as error:
            raise ProcessingFailure(f"Invalid path '{path.text}' : {error}") from error


_NO_CHOICE = "Failed to transition out of the state. The state does not point to a next state."


def _integral(seconds: float) -> int:
    return math.ceil(seconds)


def _bare(value: Any) -> str:
    return value if isinstance(value, str) else encode(value)


def _token(task_id: str, nonce: str) -> str:
    """A task token says which task it belongs to, and a nonce that cannot be guessed."""
    return base64.urlsafe_b64encode(encode([task_id, nonce]).encode()).decode()


def _with_credentials(details: dict[str, Any], credentials: Any) -> dict[str, Any]:
    if isinstance(credentials, Mapping) and "RoleArn" in credentials:
        details["taskCredentials"] = {"roleArn": credentials["RoleArn"]}
    return details
