"""Which rows a facet's value stands for, as Clarify reads ``value_or_threshold``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from analysed_rows import CannotExplain
from configuration import Facet

_MANY = 0.05


def facet_rows(facet: Facet, column: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Each value or threshold as Clarify writes it, with a boolean array of the rows that have it.

    Numbers with a fraction, and whole numbers of which more than one in twenty is another one, are continuous and
    need a threshold: the rows above it. Other columns are categories: the rows with one of the values, or each
    category in turn where none is given. Missing values belong to no category. Raises CannotExplain.
    """
    missing = np.array([value is None or value != value for value in column], dtype=bool)
    if len(facet.values) <= 1 and _continuous(column[~missing]):
        yield _above(facet, column)
        return
    distinct, codes = np.unique(column[~missing].astype(str), return_inverse=True)
    if column.dtype.kind == "f":
        distinct = np.array([_text(float(value)) for value in distinct])
    chosen = np.zeros(len(column), dtype=bool)
    if facet.values:
        wanted = [_text(value) for value in facet.values]
        chosen[~missing] = np.isin(distinct, wanted)[codes]
        yield ",".join(wanted), chosen
        return
    for code in sorted(range(len(distinct)), key=lambda code: _natural(str(distinct[code]))):
        rows = chosen.copy()
        rows[~missing] = codes == code
        yield str(distinct[code]), rows


def _continuous(known: np.ndarray) -> bool:
    if known.dtype.kind == "f":
        return True
    return known.dtype.kind in "iu" and len(np.unique(known)) > _MANY * len(known)


def _above(facet: Facet, column: np.ndarray) -> tuple[str, np.ndarray]:
    if not facet.values:
        raise CannotExplain(
            f"facet '{facet.column}' is continuous and needs a threshold in value_or_threshold"
        )
    try:
        threshold = float(facet.values[0])
    except (TypeError, ValueError) as error:
        raise CannotExplain(
            f"facet '{facet.column}' is continuous: its threshold must be a number"
        ) from error
    values = column.astype(np.float64)
    highest = np.nanmax(values, initial=threshold)
    return f"({threshold:g}, {highest:g}]", values > threshold


def _text(value: object) -> str:
    """Whole numbers without a fraction, so that 1, 1.0 and "1" are one category."""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _natural(text: str) -> tuple[int, float, str]:
    """Numbers by value, before text."""
    return (0, float(text), "") if text.replace(".", "", 1).lstrip("-").isdigit() else (1, 0.0, text)
