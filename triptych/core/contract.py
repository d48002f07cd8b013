"""The contract: what a use case promises about its data, label, model, gates and deployment, as typed values.

``load_contract(path)`` and ``parse_contract(text, source)`` read the YAML, check it against
``contract.schema.json`` and then against itself (names that must exist, windows that must not overlap).
Every error names the file, the line and the path inside the document. PyYAML and jsonschema are imported only
when something is read, since this module ships in Lambdas.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal

from triptych.core import deployment as deployment_section
from triptych.core.deployment import Deployment

ColumnType = Literal["string", "integer", "number", "timestamp"]
SplitName = Literal["train", "validation", "test"]
OWN_IMAGE = "triptych"
"""what a contract calls the project's own image, whose URI the stack knows"""
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "validation", "test")


class ContractError(Exception):
    """The contract cannot be used; the message has one line a problem: ``file:line: path: what is wrong``."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True)
class Limits:
    """An inclusive range; None is open."""

    min: float | None = None
    max: float | None = None

    def allows(self, value: float) -> bool:
        """Whether ``value`` lies in the range."""
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)


@dataclass(frozen=True)
class Reference:
    """The column's values should be found in ``table.column``; at least the share ``min_match``."""

    table: str
    column: str
    min_match: float = 1.0


@dataclass(frozen=True)
class Column:
    """One column's promises. ``pattern`` must match the whole value; timestamps are UTC."""

    name: str
    type: ColumnType
    description: str = ""
    unit: str = ""
    nullable: bool = True
    completeness: float = 0.0  # least share of present values, 0..1
    min: float | None = None
    max: float | None = None
    allowed: tuple[str, ...] = ()
    pattern: str | None = None
    references: Reference | None = None
    on_bad: Literal["quarantine", "make_null"] = (
        "quarantine"  # what cleaning does with a row whose value is bad
    )


@dataclass(frozen=True)
class Files:
    """Where a table's raw CSV files are and what each must look like. They always have a header."""

    prefix: str
    pattern: str  # of the file's name below the prefix, whole
    delimiter: str = ","
    encoding: str = "utf-8"
    null_values: tuple[str, ...] = ("",)
    rows: Limits = field(default_factory=Limits)
    size_bytes: Limits = field(default_factory=Limits)
    on_bad: Literal["quarantine", "stop"] = "stop"  # a bad file is left out, or ends the run

    def matches(self, key: str) -> bool:
        """Whether an object key is one of this table's files."""
        return key.startswith(self.prefix) and bool(re.fullmatch(self.pattern, key[len(self.prefix) :]))


@dataclass(frozen=True)
class Freshness:
    """The newest ``column`` is at most ``max_age_hours`` behind ``relative_to``."""

    column: str
    relative_to: Literal["now", "primary", "previous_version"]
    max_age_hours: float


@dataclass(frozen=True)
class Table:
    """One source table: its files, columns in file order, unique key and limits."""

    name: str
    description: str
    files: Files
    key: tuple[str, ...]
    columns: Mapping[str, Column]
    rows: Limits = field(default_factory=Limits)
    max_bad_rows: float = 0.0  # greatest share of quarantined rows, 0..1
    max_duplicate_rows: float = 0.0
    freshness: Freshness | None = None

    @property
    def header(self) -> tuple[str, ...]:
        """The column names, in file order."""
        return tuple(self.columns)


@dataclass(frozen=True)
class Label:
    """The label is ``column > above``; rows where the column is missing are excluded, or stop the run."""

    name: str
    column: str
    above: float
    description: str = ""
    missing: Literal["exclude", "stop"] = "exclude"
    rate: Limits = field(default_factory=Limits)
    leakage: tuple[str, ...] = ()  # columns not known at the prediction time: no feature may be one of them


@dataclass(frozen=True)
class PredictionTime:
    """A prediction is made ``hours_before`` the time ``of`` the features module's column."""

    hours_before: float
    of: str
    description: str = ""


@dataclass(frozen=True)
class Features:
    """The use case's own module, importable from the Glue libraries."""

    module: str


@dataclass(frozen=True)
class Window:
    """A half-open range of days, ``start <= day < before``."""

    start: date
    before: date

    @property
    def last(self) -> date:
        """The last day inside."""
        return self.before - timedelta(days=1)


@dataclass(frozen=True)
class Splits:
    """Which rows train, validate and test: by days of ``column`` (a date column of the features)."""

    method: Literal["time"]
    column: str
    windows: Mapping[SplitName, Window]
    min_rows: Mapping[SplitName, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Drift:
    """Greatest population stability index against the last version, by primary column."""

    psi: float
    columns: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """What trains, where, and with which hyperparameters (strings, as SageMaker takes them).

    ``image`` is ``xgboost-<version>``, OWN_IMAGE, or an image's whole URI.
    """

    algorithm: Literal["script", "container", "xgboost"]
    image: str
    objective: str
    hyperparameters: Mapping[str, str]
    instance_type: str
    instance_count: int = 1
    volume_gb: int = 10
    max_runtime_seconds: int = 3600


@dataclass(frozen=True)
class MetricGate:
    """``metric`` on ``split`` must lie in the limits."""

    metric: str
    split: SplitName = "test"
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class ChampionGate:
    """The challenger's ``metric`` must be at least the champion's plus ``margin``."""

    metric: str
    split: SplitName = "test"
    margin: float = 0.0


@dataclass(frozen=True)
class SliceGate:
    """For each value of ``column`` with ``min_rows`` test rows or more, ``metric`` is in the limits."""

    column: str
    metric: str
    limits: Limits = field(default_factory=Limits)
    min_rows: int = 0


@dataclass(frozen=True)
class Gates:
    """What a model must reach before it is packaged."""

    metrics: tuple[MetricGate, ...]
    champion: ChampionGate | None = None
    slices: tuple[SliceGate, ...] = ()


@dataclass(frozen=True)
class Contract:
    """A whole use case; ``document`` is the plain JSON form it was built from."""

    use_case: str
    description: str
    primary_table: str
    tables: Mapping[str, Table]
    label: Label
    prediction_time: PredictionTime
    features: Features
    splits: Splits
    drift: Drift
    model: Model
    gates: Gates
    deployment: Deployment
    document: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def primary(self) -> Table:
        """The table whose rows are predicted and whose uploads start the pipeline."""
        return self.tables[self.primary_table]

    def table_of(self, key: str) -> Table | None:
        """The table that an object key belongs to, or None."""
        return next((table for table in self.tables.values() if table.files.matches(key)), None)


def load_contract(path: Path | str, *, check: bool = True) -> Contract:
    """Read a contract file; raises ContractError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError([f"{path}: cannot be read: {error}"]) from error
    return parse_contract(text, str(path), check=check)


def parse_contract(text: str, source: str = "contract.yaml", *, check: bool = True) -> Contract:
    """Build a contract from YAML (or JSON) text; raises ContractError with every problem found.

    ``check=False`` skips the schema (and importing jsonschema): for jobs that get a contract which the
    deployment and the pipeline's first step have checked already.
    """
    import yaml

    loader = _loader(yaml)
    try:
        document = yaml.load(text, loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{source}:{mark.line + 1}" if mark else source
        raise ContractError([f"{place}: is not YAML: {getattr(error, 'problem', error)}"]) from error
    if check:
        problems = _schema_problems(document) or _own_problems(document)
        if problems:
            lines = _LineIndex(yaml.compose(text, loader))
            found = sorted((lines.of(path), path, message) for path, message in problems)
            raise ContractError(
                f"{source}:{line}: {_dotted(path) or 'document'}: {message}" for line, path, message in found
            )
    return _build(document)


def _loader(yaml: Any) -> Any:
    """PyYAML's C loader where built, without its guess that 2013-01-01 is a date object."""
    base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    resolvers = {
        first: [(tag, pattern) for tag, pattern in entries if tag != "tag:yaml.org,2002:timestamp"]
        for first, entries in base.yaml_implicit_resolvers.items()
    }
    return type("ContractLoader", (base,), {"yaml_implicit_resolvers": resolvers})


Path_ = tuple[str | int, ...]
Problem = tuple[Path_, str]


def _schema_problems(document: Any) -> list[Problem]:
    from jsonschema import Draft202012Validator

    schema = json.loads(Path(__file__).with_name("contract.schema.json").read_text(encoding="utf-8"))
    problems: list[Problem] = []
    for error in Draft202012Validator(schema).iter_errors(document):
        path: Path_ = tuple(error.absolute_path)
        if error.validator == "additionalProperties":
            known = sorted(error.schema.get("properties", {}))
            unknown = sorted(set(error.instance) - set(known), key=str)
            problems += [
                ((*path, name), f"is not known here; valid names are {', '.join(known)}") for name in unknown
            ]
        elif error.validator == "required":
            missing = [name for name in error.validator_value if name not in error.instance]
            problems += [(path, f"'{name}' is missing") for name in missing]
        elif error.validator == "enum":
            problems.append(
                (path, f"{error.instance!r} is not one of {', '.join(map(str, error.validator_value))}")
            )
        elif error.validator == "anyOf":
            problems.append((path, "needs 'min' or 'max'"))
        elif error.validator == "oneOf":
            problems.append((path, "needs either 'min' or 'max'"))
        else:
            problems.append((path, error.message))
    # `required` reports once for each missing name, each time listing all.
    return list(dict.fromkeys(problems))


def _own_problems(document: dict[str, Any]) -> list[Problem]:
    """What a schema cannot say: names that must exist elsewhere, ranges the right way round."""
    problems: list[Problem] = []
    tables: dict[str, Any] = document["tables"]

    def need(known: Iterable[str], name: str, path: Path_, what: str) -> None:
        names = list(known)
        if name not in names:
            problems.append((path, f"{name!r} is not {what}; known: {', '.join(names)}"))

    need(tables, document["primary_table"], ("primary_table",), "a table")
    for table_name, table in tables.items():
        here: Path_ = ("tables", table_name)
        for index, name in enumerate(table["key"]):
            need(table["columns"], name, (*here, "key", index), f"a column of {table_name}")
        if "freshness" in table:
            name = table["freshness"]["column"]
            need(table["columns"], name, (*here, "freshness", "column"), f"a column of {table_name}")
        problems += _pattern_problems(table["files"], (*here, "files"))
        for column_name, column in table["columns"].items():
            at: Path_ = (*here, "columns", column_name)
            problems += _pattern_problems(column, at)
            problems += _range_problems(column, at)
            if column["type"] in ("string", "timestamp") and ("min" in column or "max" in column):
                problems.append((at, f"min and max are for numbers; the type is {column['type']}"))
            if column["type"] != "string" and ("allowed" in column or "pattern" in column):
                problems.append((at, f"allowed and pattern are for strings; the type is {column['type']}"))
            if column.get("on_bad") == "make_null" and not column.get("nullable", True):
                problems.append(
                    ((*at, "on_bad"), "a column that is not nullable cannot have bad values made null")
                )
            if "references" in column:
                target = column["references"]
                need(tables, target["table"], (*at, "references", "table"), "a table")
                if target["table"] in tables:
                    columns = tables[target["table"]]["columns"]
                    need(
                        columns,
                        target["column"],
                        (*at, "references", "column"),
                        f"a column of {target['table']}",
                    )
    if document["primary_table"] in tables:
        columns = tables[document["primary_table"]]["columns"]
        label = document["label"]
        need(columns, label["column"], ("label", "column"), "a column of the primary table")
        for index, name in enumerate(label.get("leakage", [])):
            need(columns, name, ("label", "leakage", index), "a column of the primary table")
        if label["column"] not in label.get("leakage", []):
            problems.append((("label", "leakage"), f"must list {label['column']!r}, the label's own column"))
        for name in document["drift"].get("columns", {}):
            need(columns, name, ("drift", "columns", name), "a column of the primary table")
    problems += _model_problems(document["model"])
    section = deployment_section.build(document["deployment"])
    problems += [(("deployment", *path), message) for path, message in deployment_section.problems(section)]
    return problems + _split_problems(document["splits"])


def _model_problems(block: dict[str, Any]) -> list[Problem]:
    """Which image trains what: the own one with the script that it holds, AWS's with the others."""
    algorithm, image = block["algorithm"], block["image"]
    if algorithm == "container" and image != OWN_IMAGE and "/" not in image:
        return [
            (
                ("model", "image"),
                f"algorithm container trains in the project's own image: {OWN_IMAGE}, or an image's URI; "
                f"not {image}",
            )
        ]
    if algorithm != "container" and image == OWN_IMAGE:
        return [
            (
                ("model", "algorithm"),
                f"image {OWN_IMAGE} trains with the script that it holds: algorithm container, not {algorithm}",
            )
        ]
    return []


def _pattern_problems(block: dict[str, Any], path: Path_) -> list[Problem]:
    try:
        re.compile(block.get("pattern", ""))
    except re.error as error:
        return [((*path, "pattern"), f"is not a regular expression: {error}")]
    return []


def _range_problems(block: dict[str, Any], path: Path_) -> list[Problem]:
    if "min" in block and "max" in block and block["min"] > block["max"]:
        return [((*path, "min"), f"{block['min']} is above max {block['max']}")]
    return []


def _split_problems(splits: dict[str, Any]) -> list[Problem]:
    problems: list[Problem] = []
    previous: date | None = None
    for name in SPLIT_NAMES:
        try:
            start, before = (date.fromisoformat(splits[name][edge]) for edge in ("from", "before"))
        except ValueError as error:
            problems.append((("splits", name), f"is not a date: {error}"))
            continue
        if start >= before:
            problems.append((("splits", name), f"is empty: from {start} is not before {before}"))
        if previous is not None and start < previous:
            problems.append(
                (("splits", name, "from"), f"{start} overlaps the split before it, which ends at {previous}")
            )
        previous = before
    return problems


class _LineIndex:
    """Finds the line (1-based) of a path in a composed YAML document."""

    def __init__(self, root: Any) -> None:
        self._root = root

    def of(self, path: Path_) -> int:
        """The line of the deepest part of ``path`` that exists."""
        node, line = self._root, 1
        for part in path:
            child = None
            if isinstance(getattr(node, "value", None), list):
                if isinstance(part, int) and node.id == "sequence":
                    child = node.value[part] if part < len(node.value) else None
                    if child is not None:
                        line = child.start_mark.line + 1
                elif node.id == "mapping":
                    for key, value in node.value:
                        if key.value == str(part):
                            child, line = value, key.start_mark.line + 1
            if child is None:
                break
            node = child
        return line


def _dotted(path: Path_) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _limits(block: dict[str, Any] | None) -> Limits:
    return Limits(**(block or {}))


def _table(name: str, block: dict[str, Any]) -> Table:
    files = dict(block["files"])
    files["null_values"] = tuple(files.get("null_values", ("",)))
    files["rows"], files["size_bytes"] = _limits(files.get("rows")), _limits(files.get("size_bytes"))
    columns: dict[str, Column] = {}
    for column_name, column in block["columns"].items():
        values = dict(column)
        values["allowed"] = tuple(values.get("allowed", ()))
        if "references" in values:
            values["references"] = Reference(**values["references"])
        columns[column_name] = Column(name=column_name, **values)
    return Table(
        name=name,
        description=block.get("description", ""),
        files=Files(**files),
        key=tuple(block["key"]),
        columns=columns,
        rows=_limits(block.get("rows")),
        max_bad_rows=block.get("max_bad_rows", 0.0),
        max_duplicate_rows=block.get("max_duplicate_rows", 0.0),
        freshness=Freshness(**block["freshness"]) if "freshness" in block else None,
    )


def _gates(block: dict[str, Any]) -> Gates:
    def limits(entry: dict[str, Any]) -> Limits:
        return Limits(entry.get("min"), entry.get("max"))

    return Gates(
        metrics=tuple(
            MetricGate(entry["metric"], entry.get("split", "test"), limits(entry))
            for entry in block["metrics"]
        ),
        champion=ChampionGate(**block["champion"]) if "champion" in block else None,
        slices=tuple(
            SliceGate(entry["column"], entry["metric"], limits(entry), entry.get("min_rows", 0))
            for entry in block.get("slices", [])
        ),
    )


def _hyperparameter(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _build(document: dict[str, Any]) -> Contract:
    label = dict(document["label"])
    label["rate"] = _limits(label.get("rate"))
    label["leakage"] = tuple(label.get("leakage", ()))
    splits = document["splits"]
    model = dict(document["model"])
    model["hyperparameters"] = {
        name: _hyperparameter(value) for name, value in model["hyperparameters"].items()
    }
    return Contract(
        use_case=document["use_case"],
        description=document.get("description", ""),
        primary_table=document["primary_table"],
        tables={name: _table(name, block) for name, block in document["tables"].items()},
        label=Label(**label),
        prediction_time=PredictionTime(**document["prediction_time"]),
        features=Features(**document["features"]),
        splits=Splits(
            method=splits["method"],
            column=splits["column"],
            windows={
                name: Window(*(date.fromisoformat(splits[name][edge]) for edge in ("from", "before")))
                for name in SPLIT_NAMES
            },
            min_rows=splits.get("min_rows", {}),
        ),
        drift=Drift(document["drift"]["psi"], document["drift"].get("columns", {})),
        model=Model(**model),
        gates=_gates(document["gates"]),
        deployment=deployment_section.build(document["deployment"]),
        document=document,
    )
