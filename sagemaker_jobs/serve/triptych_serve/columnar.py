"""Large bodies by pyarrow, where it is installed: CSV and Parquet to rows, scores to lines and Parquet.

A container without pyarrow still answers: ``formats`` then reads and writes in Python, and refuses Parquet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

_BLOCK_ROWS = 16_384
"""rows of a Parquet file that are read at once: few enough to stay in a core's cache"""
_MISSING = ("", "NA", "na", "Na", "NaN", "nan", "NAN", "null", "NULL", "Null", "None", "none", "NONE")


class Unreadable(Exception):
    """The body is not what its content type says, or a column holds no numbers."""


@cache
def available() -> bool:
    """Whether pyarrow is installed; it is imported with the first large body only."""
    return find_spec("pyarrow") is not None


def read_csv(body: bytes, width: int) -> np.ndarray | None:
    """float32 rows of ``width`` columns, NaN where missing; None for what only a careful reader can explain."""
    import pyarrow
    from pyarrow import csv

    columns = [str(index) for index in range(width)]
    number = pyarrow.float32()
    try:
        table = csv.read_csv(
            pyarrow.BufferReader(body),
            read_options=csv.ReadOptions(
                use_threads=False, block_size=min(len(body) + 1, 2**31 - 1), column_names=columns
            ),
            # A line without anything is a missing value when there is one column, and no row otherwise.
            parse_options=csv.ParseOptions(ignore_empty_lines=width != 1),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(columns, number), null_values=list(_MISSING)
            ),
        )
    except pyarrow.ArrowException:
        return None
    rows = np.empty((table.num_rows, width), dtype=np.float32)
    for index, column in enumerate(table.columns):
        rows[:, index] = column.to_numpy()
    return rows


def read_parquet(
    source: bytes | Path, names: Sequence[str] | None, width: int | None
) -> Iterator[np.ndarray]:
    """The float32 rows of a file's content, or of a file, in blocks; in the order of ``names``, NaN for null.

    Columns are found by name. A file that knows none of the names is taken by position. Raises Unreadable.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        file = (
            parquet.ParquetFile(source, memory_map=True)
            if isinstance(source, Path)
            else parquet.ParquetFile(pyarrow.BufferReader(source))
        )
        schema = file.schema_arrow
        chosen = _choose_columns(schema.names, names, width)
        for number, index in enumerate(chosen, 1):
            _check_type(number, schema.field(index))
        for batch in file.iter_batches(_BLOCK_ROWS, use_threads=False):
            rows = np.empty((batch.num_rows, len(chosen)), dtype=np.float32)
            for number, index in enumerate(chosen):
                rows[:, number] = _as_floats(batch.column(index))
            yield rows
    except (pyarrow.ArrowException, OSError) as error:
        raise Unreadable(
            f"the body is not Parquet that can be read: {' '.join(str(error).split())}"
        ) from error


def _choose_columns(found: Sequence[str], names: Sequence[str] | None, width: int | None) -> list[int]:
    if len(set(found)) < len(found):
        raise Unreadable("the Parquet file has two columns of one name")
    if names is not None and set(names) & set(found):
        missing = [name for name in names if name not in found]
        unknown = [name for name in found if name not in names]
        parts = [f"lacks {', '.join(missing)}"] if missing else []
        parts += [f"has unknown {', '.join(unknown)}"] if unknown else []
        if parts:
            raise Unreadable(f"the Parquet file {' and '.join(parts)}")
        return [found.index(name) for name in names]
    if width is not None and len(found) != width:
        wanted = f": {', '.join(names)}" if names else ""
        raise Unreadable(
            f"the Parquet file has {len(found)} columns, but the model was trained on {width}{wanted}"
        )
    return list(range(len(found)))


def _check_type(number: int, field: Any) -> None:
    from pyarrow import types

    kind = field.type
    numeric = (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean, types.is_null)
    if not any(test(kind) for test in numeric):
        raise Unreadable(f"column {number} ({field.name}) of the Parquet file holds {kind}, not numbers")


def _as_floats(column: Any) -> np.ndarray:
    import pyarrow

    if pyarrow.types.is_null(column.type):
        return np.full(len(column), np.nan, dtype=np.float32)
    floats = column.cast(pyarrow.float32(), safe=False)
    result: np.ndarray = floats.to_numpy(zero_copy_only=False)
    return result


def lines_of(scores: np.ndarray, before: str, between: str, after: str, write: Callable[[Any], str]) -> bytes:
    """``before score between score … after`` for each row of float32 scores, (rows,) or (rows, classes).

    A score is written with the fewest digits that give the same float32, as ``write`` does: it is asked for the
    few that Arrow would write in another way.
    """
    from pyarrow import compute

    columns = [scores] if scores.ndim == 1 else [scores[:, index] for index in range(scores.shape[1])]
    parts: list[Any] = [before]
    for index, column in enumerate(columns):
        parts += [between] if index else []
        parts.append(_texts(np.ascontiguousarray(column), write))
    lines = compute.binary_join_element_wise(*parts, after, "")
    _, offsets, content = lines.buffers()
    ends = np.frombuffer(offsets, dtype=np.int32)
    return bytes(memoryview(content)[: ends[len(lines)]])


def _texts(scores: np.ndarray, write: Callable[[Any], str]) -> Any:
    import pyarrow
    from pyarrow import compute

    texts = pyarrow.array(scores).cast(pyarrow.string())
    size = np.abs(scores)
    # Whole, tiny and huge numbers, NaN and infinity
    other = ~((size >= 1e-3) & (size < 1e6) & (scores != np.trunc(scores)))
    if other.any():
        written = [write(score) for score in scores[other]]
        texts = compute.replace_with_mask(texts, other, pyarrow.array(written, pyarrow.string()))
    return texts


def write_parquet(scores: np.ndarray) -> bytes:
    """One file with the column ``score``, or ``score_0`` and so on for several classes."""
    import pyarrow
    from pyarrow import parquet

    if scores.ndim == 1:
        table = pyarrow.table({"score": scores})
    else:
        table = pyarrow.table({f"score_{index}": scores[:, index] for index in range(scores.shape[1])})
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(table, sink)
    result: bytes = sink.getvalue().to_pybytes()
    return result
