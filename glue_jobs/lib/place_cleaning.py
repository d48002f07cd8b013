"""Cleaning in one pass over the files, where an engine can lead a row's place back to its line.

A batch of files becomes a table of typed rows. What is suspect in it (bad values, keys that are there twice or were
there in a batch before) is read again as text, with its lines, and judged; then the rest is written, once. Of the
batches before, only hashes of their keys are kept: a hash that two keys share makes suspects, not duplicates.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from glue_lib.engine_io import CsvBatch, Engine
from glue_lib.row_rules import (
    DUPLICATE_KEY,
    IS_GOOD,
    KEPT_BEFORE,
    KEY_HASH,
    judge,
    marked_rows,
    no_bad_rows,
    repeated,
    transform,
)

from triptych.core.contract import Table
from triptych.core.features import Step

MOST_SUSPECTS = 1_000_000
"""Above so many in a batch a pass over all rows with their lines costs less than picking them"""


def clean_by_places(engine: Engine, table: Table, raw: str, clean_uri: str) -> int | None:
    """Write the good rows of opened CSV ``raw`` below ``clean_uri``, leave the others in view ``<table>_bad``.

    Answers how many rows there were; None when places are of no use here, and then nothing that was written counts.
    """
    numbers = [column.name for column in table.columns.values() if column.type in ("integer", "number")]
    batches = engine.batches(raw, numbers, table.files.null_values)
    if batches is None:
        return None
    cleaning = _Cleaning(engine, table, raw, clean_uri)
    try:
        for number, batch in enumerate(batches):
            if not cleaning.clean(batch, number):
                return None
        bad = " UNION ALL ".join(f"SELECT * FROM {view}" for view in cleaning.bad)
        engine.run([Step(f"{table.name}_bad", bad or no_bad_rows(table), keep=True)])
    finally:
        engine.forget(cleaning.kept)
    return sum(batch.data_lines for batch in batches)


@dataclass
class _Cleaning:
    """One table's, batch by batch."""

    engine: Engine
    table: Table
    raw: str
    clean_uri: str
    seen: list[tuple[str, str]] = field(default_factory=list)
    """Of each batch before, views of its keys' hashes, and of the lowest and highest values of its keys' columns"""
    lost: list[str] = field(default_factory=list)
    """Views of the rows that were refused for their keys alone: one that is the same again is a duplicate row"""
    bad: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    def clean(self, batch: CsvBatch, number: int) -> bool:
        """Write a batch's good rows; False if lines cannot be told apart."""
        name, values = self.table.name, f"{self.raw}_values"
        rows = f"{name}_rows"
        batch.open(values)
        self._keep(rows, marked_rows(self.table, self.engine, values, batch.doubles))
        if not batch.adds_up(self._count(rows)):
            return False
        every = ", ".join(f"`{column}`" for column in self.table.header)
        good = f"SELECT {every} FROM {rows} WHERE {IS_GOOD}"
        # Also lines that only the reader of numbers refused: their text may be good, and of a key that is known.
        odd = self.engine.integers(f"SELECT rowid FROM {rows} WHERE NOT {IS_GOOD} ORDER BY rowid")
        has_odd = bool(odd) or batch.has_unread
        if has_odd and not self._read_again(batch, odd, "odd", with_unread=True):
            return False
        has_twice = self._find_repeated(number, has_odd)
        if not (has_odd or has_twice):
            self.engine.write_parquet(good, self.clean_uri, number)
            return True
        suspects = [f"SELECT * FROM {name}_odd"] if has_odd else []
        if has_twice:
            same = self.engine.integers(
                f"SELECT r.rowid FROM {rows} r LEFT SEMI JOIN {name}_twice t ON r.{KEY_HASH} = t.{KEY_HASH} "
                f"WHERE r.{IS_GOOD} ORDER BY r.rowid"
            )
            if not self._read_again(batch, same, "same", with_unread=False):
                return False
            suspects += [f"SELECT * FROM {name}_same", *self._kept_before(number)]
        self._keep(f"{name}_suspects", " UNION ALL ".join(suspects))
        self.bad.append(f"{name}_bad_{number}")
        self.kept += [f"{name}_judged", self.bad[-1]]
        malformed = f"{name}_{'odd' if has_odd else 'same'}_malformed"
        judge(self.engine, self.table, malformed, self.bad[-1])
        self.lost.append(f"{name}_lost_{number}")
        self._keep(self.lost[-1], f"SELECT {every} FROM {name}_judged WHERE verdict = '{DUPLICATE_KEY}'")
        if has_twice:
            good = (
                f"SELECT {every} FROM {rows} r LEFT ANTI JOIN {name}_twice t ON r.{KEY_HASH} = t.{KEY_HASH} "
                f"WHERE r.{IS_GOOD}"
            )
        self.engine.write_parquet(
            f"{good} UNION ALL SELECT {every} FROM {name}_judged WHERE verdict = ''", self.clean_uri, number
        )
        return True

    def _read_again(self, batch: CsvBatch, places: list[int], kind: str, *, with_unread: bool) -> bool:
        """Views ``<table>_<kind>`` of these rows as text, with lines and reasons, and ``<table>_<kind>_malformed``."""
        if len(places) > MOST_SUSPECTS:
            return False
        picked = f"{self.table.name}_picked"
        if not batch.pick_lines(picked, places, with_unread=with_unread):
            return False
        typed = transform(self.table, self.engine, f"{picked}_numbered", with_lines=True)
        self._keep(f"{self.table.name}_{kind}", typed)
        self._keep(f"{self.table.name}_{kind}_malformed", f"SELECT * FROM {picked}_malformed")
        return True

    def _find_repeated(self, number: int, has_odd: bool) -> bool:
        """Views of the batch's keys, and ``<table>_twice``, the hashes that are there again; whether there are any."""
        name = self.table.name
        key = ", ".join(f"`{column}`" for column in self.table.key)
        found = f"SELECT {key}, {KEY_HASH} FROM {name}_rows WHERE {IS_GOOD}"
        if has_odd:
            found += f" UNION ALL SELECT {key}, hash({key}) AS {KEY_HASH} FROM {name}_odd WHERE reasons = ''"
        hashes, ends = f"{name}_hashes_{number}", f"{name}_ends_{number}"
        self._keep(hashes, f"SELECT {KEY_HASH} FROM ({found})")
        ordered = [f"`{column}`" for column in self.table.key if self.table.columns[column].type != "string"]
        columns = [f"min({column}) AS low_{i}, max({column}) AS high_{i}" for i, column in enumerate(ordered)]
        self._keep(ends, f"SELECT {', '.join(['count(*) AS n', *columns])} FROM ({found})")
        twice = repeated(KEY_HASH, hashes)
        if self.seen:
            # Most batches hold times or numbers of their own: only keys between another's ends are sought there.
            again = []
            for its_hashes, its_ends in self.seen:
                between = [
                    f"coalesce({column} >= (SELECT low_{i} FROM {its_ends}) "
                    f"AND {column} <= (SELECT high_{i} FROM {its_ends}), TRUE)"
                    for i, column in enumerate(ordered)
                ]
                near = f"SELECT {KEY_HASH} FROM ({found}) WHERE {' AND '.join(between) or 'TRUE'}"
                again.append(
                    f"SELECT k.{KEY_HASH} FROM ({near}) k LEFT SEMI JOIN {its_hashes} s "
                    f"ON k.{KEY_HASH} = s.{KEY_HASH}"
                )
            self._keep(f"{name}_again", " UNION ".join(again))
            twice += f" UNION SELECT {KEY_HASH} FROM {name}_again"
        self._keep(f"{name}_twice", twice)
        self.seen.append((hashes, ends))
        return self._count(f"{name}_twice") > 0

    def _kept_before(self, number: int) -> list[str]:
        """The rows of earlier batches whose keys are in this one again: those written, and those refused for them."""
        name = self.table.name
        if not number or not self._count(f"{name}_again"):
            return []
        every = ", ".join(f"`{column}`" for column in self.table.header)
        key = ", ".join(f"w.`{column}`" for column in self.table.key)
        self.engine.open_parquet(f"{name}_written", self.clean_uri)
        return [
            f"SELECT {KEPT_BEFORE} AS source_file, CAST(0 AS BIGINT) AS line, '' AS original, {every}, '' AS reasons "
            f"FROM {view} w LEFT SEMI JOIN {name}_again t ON hash({key}) = t.{KEY_HASH}"
            for view in (f"{name}_written", *self.lost)
        ]

    def _keep(self, name: str, sql: str) -> None:
        self.engine.run([Step(name, sql, keep=True)])
        self.kept.append(name)

    def _count(self, view: str) -> int:
        return int(self.engine.rows(f"SELECT count(*) AS n FROM {view}")[0]["n"])
