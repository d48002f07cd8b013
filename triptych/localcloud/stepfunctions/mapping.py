"""Map states: their items, what each iteration gets, and the hand-over to a map run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triptych.localcloud.stepfunctions.definition import State
from triptych.localcloud.stepfunctions.effects import Effect, ReadItems, StartMapRun
from triptych.localcloud.stepfunctions.failures import ProcessingFailure, QueryFailure
from triptych.localcloud.stepfunctions.frames import Branch, Join
from triptych.localcloud.stepfunctions.intrinsics import uuid_text
from triptych.localcloud.stepfunctions.jsonata_query import compile_json, inner_text, is_expression
from triptych.localcloud.stepfunctions.jsonpath import PathNotFound, compile_path
from triptych.localcloud.stepfunctions.jsontext import encode, is_number, size_bytes
from triptych.localcloud.stepfunctions.scope import Scope
from triptych.localcloud.stepfunctions.tasks import ItemsRequest
from triptych.localcloud.stepfunctions.templates import compile_template

if TYPE_CHECKING:
    import random

    from triptych.localcloud.stepfunctions.facts import Facts

MAX_INLINE_CONCURRENCY = 40


class Mapper:
    """The part of the interpreter that knows Map states."""

    facts: Facts
    effects: list[Effect]
    random: random.Random
    now: float
    map_runs: dict[int, Join]
    reads: dict[int, ReadItems]

    # given by Interpreter

    def emit(
        self, branch: Branch | None, kind: str, details: dict[str, Any] | None = None, advance: bool = True
    ) -> int:
        raise NotImplementedError

    def scope(self, branch: Branch, value: Any, token: str | None = None) -> Scope:
        raise NotImplementedError

    def context(
        self, branch: Branch, token: str | None = None, item: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        raise NotImplementedError

    def counter(self) -> int:
        raise NotImplementedError

    def begin_children(self, join: Join) -> None:
        raise NotImplementedError

    def finish_join(self, join: Join) -> bool:
        raise NotImplementedError

    def effective_input(self, branch: Branch, state: State) -> Any:
        raise NotImplementedError

    # ------------------------------------------------------------------------------------- the state

    def _map(self, branch: Branch, state: State) -> bool:
        value = self.effective_input(branch, state)
        concurrency = self._count(branch, state, "MaxConcurrency", value) or 0
        if concurrency < 0:
            raise ProcessingFailure("MaxConcurrency cannot be negative.")
        reads = state.distributed and "ItemReader" in state.raw
        items = [] if reads else self._items(branch, state, value)
        started = self.emit(branch, "MapStateStarted", {"length": len(items)})
        tolerated = self._tolerance(branch, state, value)
        if state.distributed:
            join = Join(branch, "MapRun", [], started_event=started, concurrency=int(concurrency))
            branch.join = join
            self._begin_map_run(join, state, value, items, tolerated, reads)
            return False
        join = Join(branch, "Map", [None] * len(items), remaining=len(items), started_event=started)
        join.concurrency = min(int(concurrency) or MAX_INLINE_CONCURRENCY, MAX_INLINE_CONCURRENCY)
        branch.join = join
        if not items:
            return self.finish_join(join)
        join.raw_items = items
        join.items = self._selected(branch, state, value, items)
        self.begin_children(join)
        return False

    def _items(self, branch: Branch, state: State, value: Any) -> list[Any]:
        if state.jsonata:
            query = state.query("Items")
            if query is None:
                if not isinstance(value, list):
                    raise QueryFailure(f"Map state input must be an array but was: {encode(value)}", None)
                return value
            items = query(self.scope(branch, value), {"input": value})
            if not isinstance(items, list):
                raise unexpected(state.raw["Items"], "Items", "array", items)
            return items
        path = state.raw.get("ItemsPath", "$")
        items = self.value_at(self.scope(branch, value), path)
        if not isinstance(items, list):
            raise ProcessingFailure(f'Reference path "{path}" must point to array.')
        return items

    def _selected(self, branch: Branch, state: State, value: Any, items: list[Any]) -> list[Any]:
        """What each iteration gets: the item, or what ItemSelector makes of it."""
        if state.jsonata:
            query = state.query("ItemSelector")
            if query is None:
                return items
            return [
                query(self._item_scope(branch, value, index, item), {"input": branch.value})
                for index, item in enumerate(items)
            ]
        selector = state.item_selector
        if selector is None:
            return items
        return [selector(self._item_scope(branch, value, index, item)) for index, item in enumerate(items)]

    def _item_scope(self, branch: Branch, value: Any, index: int, item: Any) -> Scope:
        about = {"Index": index, "Value": item}
        scope = self.scope(branch, value)
        scope.context = lambda: self.context(branch, item=about)
        return scope

    # ------------------------------------------------------------------------------------- distributed

    def _begin_map_run(
        self, join: Join, state: State, value: Any, items: list[Any], tolerated: tuple[Any, Any], reads: bool
    ) -> None:
        facts, branch = self.facts, join.owner
        label = state.raw.get("Label") or uuid_text(self.random)
        machine = facts.machine_arn.rsplit(":", 1)[-1]
        join.key = self.counter()
        join.map_run_arn = (
            f"arn:{facts.partition}:states:{facts.region}:{facts.account_id}:mapRun:{machine}/{label}:"
            f"{uuid_text(self.random)}"
        )
        join.items = [label, value, tolerated]
        self.map_runs[join.key] = join
        join.started_event = self.emit(branch, "MapRunStarted", {"mapRunArn": join.map_run_arn})
        if not reads:
            self.launch_map_run(join, items)
            return
        reader = state.raw["ItemReader"]
        config = dict(reader.get("ReaderConfig", {}))
        if "MaxItemsPath" in config:
            config["MaxItems"] = self._integer(branch, value, "MaxItems", config.pop("MaxItemsPath"))
        if state.jsonata:
            config = compile_json(config, "ItemReader/ReaderConfig")(
                self.scope(branch, value), {"input": value}
            )
        request = ItemsRequest(
            facts.arn, facts.region, facts.account_id, facts.role_arn, reader["Resource"],
            self._arguments(branch, state, value, "ItemReader"), config,
        )  # fmt: skip
        read = ReadItems(join.key, request, config.get("MaxItems") or None)
        self.reads[join.key] = read
        self.effects.append(read)

    def launch_map_run(self, join: Join, items: list[Any]) -> None:
        """The items are known: shape them and start the children."""
        branch, state = join.owner, join.owner.state
        assert state is not None
        label, value, (count, percentage) = join.items
        inputs = self._selected(branch, state, value, items)
        counts = [1] * len(inputs)
        if "ItemBatcher" in state.raw:
            inputs, counts = self._batched(branch, state, value, inputs)
        config = state.processor.raw.get("ProcessorConfig", {})
        join.launched = True
        assert join.map_run_arn is not None
        writer = None
        if state.raw.get("ResultWriter", {}).get("Resource"):
            where = self._arguments(branch, state, value, "ResultWriter")
            writer = {
                "bucket": where.get("Bucket"),
                "prefix": where.get("Prefix", ""),
                "config": state.raw["ResultWriter"].get("WriterConfig", {}),
            }
        self.effects.append(
            StartMapRun(
                join.key, join.map_run_arn, label, state.processor.pointer,
                config.get("ExecutionType") == "EXPRESS",
                inputs, counts, join.concurrency, count, percentage, writer,
            )
        )  # fmt: skip

    def _batched(
        self, branch: Branch, state: State, value: Any, inputs: list[Any]
    ) -> tuple[list[Any], list[int]]:
        raw, scope = state.raw["ItemBatcher"], self.scope(branch, value)
        limits: list[int | None] = []
        for name in ("MaxItemsPerBatch", "MaxInputBytesPerBatch"):
            limit = raw.get(name)
            if f"{name}Path" in raw:
                limit = self._integer(branch, value, name, raw[f"{name}Path"])
            elif state.jsonata and limit is not None:
                limit = compile_json(limit, f"ItemBatcher/{name}")(scope, {"input": value})
            if limit is not None and (not is_number(limit) or limit < 1):
                raise ProcessingFailure(f"{name} must be a positive integer.")
            limits.append(limit)
        most_items, most_bytes = limits
        shared: dict[str, Any] = {}
        if "BatchInput" in raw:
            template = raw["BatchInput"]
            if state.jsonata:
                shared["BatchInput"] = compile_json(template, "ItemBatcher/BatchInput")(
                    scope, {"input": value}
                )
            else:
                shared["BatchInput"] = compile_template(template)(scope)
        frame = size_bytes(encode({**shared, "Items": []}))
        batches: list[list[Any]] = []
        size = 0
        for item in inputs:
            width = size_bytes(encode(item)) + 1
            full = not batches or (most_items is not None and len(batches[-1]) >= most_items)
            if full or (most_bytes is not None and size + width > most_bytes):
                batches.append([])
                size = frame
            batches[-1].append(item)
            size += width
        return [{**shared, "Items": batch} for batch in batches], [len(batch) for batch in batches]

    def _arguments(self, branch: Branch, state: State, value: Any, field: str) -> dict[str, Any]:
        """``Parameters`` or ``Arguments`` of an ItemReader or ResultWriter, evaluated."""
        raw, scope = state.raw[field], self.scope(branch, value)
        if state.jsonata:
            evaluated = compile_json(raw.get("Arguments", {}), f"{field}/Arguments")(scope, {"input": value})
        else:
            evaluated = compile_template(raw.get("Parameters", {}))(scope)
        if not isinstance(evaluated, dict):
            raise ProcessingFailure(
                f"The arguments of {field} must be an object but were: {encode(evaluated)}"
            )
        return evaluated

    # ------------------------------------------------------------------------------------- numbers

    def _tolerance(self, branch: Branch, state: State, value: Any) -> tuple[int | None, float | None]:
        count = self._count(branch, state, "ToleratedFailureCount", value)
        if count is not None and count < 0:
            raise ProcessingFailure("ToleratedFailureCount cannot be negative.")
        percentage = self._count(branch, state, "ToleratedFailurePercentage", value)
        if percentage is not None and not 0 <= percentage <= 100:
            raise ProcessingFailure("ToleratedFailurePercentage must be between 0 and 100.")
        return (None if count is None else int(count)), percentage

    def _count(self, branch: Branch, state: State, name: str, value: Any) -> float | None:
        raw = state.raw
        if f"{name}Path" in raw:
            return self._integer(branch, value, name, raw[f"{name}Path"])
        if name not in raw:
            return None
        found = raw[name]
        query = state.query(name) if state.jsonata else None
        if query is not None:
            found = query(self.scope(branch, branch.value), {"input": branch.value})
        if not is_number(found):
            raise unexpected(raw[name], name, "number", found)
        return float(found) if isinstance(found, float) else found

    def _integer(self, branch: Branch, value: Any, name: str, path: str) -> float:
        found = self.value_at(self.scope(branch, value), path)
        fraction = name.endswith("Percentage")
        try:
            if isinstance(found, str) or is_number(found):
                return float(found) if fraction else int(found)
        except ValueError:
            pass
        shown = found if isinstance(found, str) else encode(found)
        raise ProcessingFailure(
            f'The {name}Path field refers to value "{shown}" which is not a valid integer: {path}'
        )

    # ------------------------------------------------------------------------------------- paths

    def at(self, scope: Scope, path: str) -> Any:
        """The value at a path in text; raises PathNotFound."""
        return scope.find(compile_path(path))

    def value_at(self, scope: Scope, path: str) -> Any:
        """The value at a path in text; raises ProcessingFailure."""
        try:
            return self.at(scope, path)
        except PathNotFound as error:
            raise ProcessingFailure(f"Invalid path '{path}' : {error}") from error


def unexpected(text: Any, location: str, expected: str, value: Any) -> QueryFailure:
    """An expression's value has the wrong type."""
    shown = inner_text(text) if isinstance(text, str) and is_expression(text) else encode(text)
    return QueryFailure(
        f"The JSONata expression '{shown}' specified for the field '{location}' returned an unexpected "
        "result type. "
        f"Expected '{expected}', but was '{json_kind(value)}' for value: {encode(value)}",
        location,
    )


def json_kind(value: Any) -> str:
    """A JSON value's type as error causes name it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, list):
        return "array"
    return "object" if isinstance(value, dict) else "number"
