"""Checks on a CSV file's bytes: size, encoding, header, line shape. Streams; holds one chunk and one line."""

from __future__ import annotations

import codecs
import csv
import hashlib
from dataclasses import asdict, dataclass
from typing import Any

from triptych.core.contract import Table

_OTHER_DELIMITERS = (b";", b"\t", b"|", b",")
_QUOTE = b'"'


@dataclass(frozen=True)
class Check:
    """One check's outcome; ``detail`` says what was found."""

    name: str
    passed: bool
    detail: str


class FileCheck:
    """Feed a file's bytes in order, then ``finish``."""

    def __init__(self, table: Table, key: str) -> None:
        self._table = table
        self._key = key
        self._delimiter = table.files.delimiter.encode()
        self._expected = len(table.columns)
        self._decoder = codecs.getincrementaldecoder(table.files.encoding)()
        self._sha256 = hashlib.sha256()
        self._size = 0
        self._rest = b""
        self._quoted: list[bytes] = []
        self._header: bytes | None = None
        self._rows = 0
        self._ragged: list[int] = []
        self._ragged_total = 0
        self._last_fields = self._expected
        self._found: list[Check] = []
        self._broken_encoding: str | None = None
        self._nul_at: int | None = None

    def missing(self, version_id: str) -> None:
        """The object is not there (any more)."""
        self._found.append(Check("exists", False, f"version {version_id} is not in the bucket any more"))

    def feed(self, chunk: bytes) -> None:
        """The next bytes of the file."""
        self._sha256.update(chunk)
        if self._nul_at is None and (at := chunk.find(b"\0")) >= 0:
            self._nul_at = self._size + at
        if self._broken_encoding is None:
            self._decode(chunk, final=False)
        self._size += len(chunk)
        lines = (self._rest + chunk).split(b"\n")
        self._rest = lines.pop()
        self._take(lines)

    def finish(self) -> dict[str, Any]:
        """The answer: ``{key, table, verdict, checks, rows, content_sha256}``; checks hold failures first."""
        if self._rest or self._quoted:
            self._take([self._rest])
            complete = self._last_fields == self._expected
            detail = (
                "the last line has no line break, but all its fields"
                if complete
                else f"the last line ends in the middle: {self._last_fields} of {self._expected} fields"
            )
            self._found.append(Check("truncated_last_line", complete, detail))
        if self._broken_encoding is None:
            self._decode(b"", final=True)
        if not any(check.name == "exists" for check in self._found):
            self._judge()
        checks = sorted(self._found, key=lambda check: check.passed)
        bad = any(not check.passed for check in checks)
        return {
            "key": self._key,
            "table": self._table.name,
            "verdict": self._table.files.on_bad if bad else "pass",
            "checks": [asdict(check) for check in checks],
            "rows": self._rows,
            "content_sha256": self._sha256.hexdigest(),
        }

    def _decode(self, chunk: bytes, *, final: bool) -> None:
        pending = len(self._decoder.getstate()[0])
        try:
            self._decoder.decode(chunk, final)
        except UnicodeDecodeError as error:
            at = self._size - pending + error.start
            self._broken_encoding = f"byte {at} (0x{error.object[error.start]:02x}) is not {error.encoding}"

    def _take(self, lines: list[bytes]) -> None:
        for line in lines:
            if self._quoted or (_QUOTE in line and line.count(_QUOTE) % 2):
                # a quoted field goes on over the line break
                self._quoted.append(line)
                if sum(part.count(_QUOTE) for part in self._quoted) % 2:
                    continue
                line, self._quoted = b"\n".join(self._quoted), []
            if self._header is None:
                self._header = line.rstrip(b"\r").removeprefix(codecs.BOM_UTF8)
                continue
            if not line.strip(b"\r"):
                continue
            self._rows += 1
            fields = self._fields(line)
            self._last_fields = fields
            if fields != self._expected:
                self._ragged_total += 1
                if len(self._ragged) < 5:
                    self._ragged.append(self._rows + 1)

    def _fields(self, line: bytes) -> int:
        if _QUOTE not in line:
            return line.count(self._delimiter) + 1
        text = line.decode("utf-8", "replace")
        return len(next(csv.reader([text], delimiter=self._table.files.delimiter), []))

    def _judge(self) -> None:
        files = self._table.files
        if not self._size:
            self._found.append(Check("not_empty", False, "the file is empty"))
            return
        self._size_and_rows(self._size, files.size_bytes.min, files.size_bytes.max, "size", "bytes")
        encoding = self._broken_encoding or f"valid {files.encoding}"
        self._found.append(Check("encoding", self._broken_encoding is None, encoding))
        self._found.append(
            Check(
                "no_nul_bytes",
                self._nul_at is None,
                "none" if self._nul_at is None else f"NUL at byte {self._nul_at}",
            )
        )
        if not self._header_matches():
            return
        self._size_and_rows(self._rows, files.rows.min, files.rows.max, "rows", "rows")
        share = self._ragged_total / self._rows if self._rows else 0.0
        limit = self._table.max_bad_rows
        detail = "every line has the header's fields"
        if self._ragged_total:
            detail = (
                f"{self._ragged_total:,} of {self._rows:,} lines do not have {self._expected} fields, first "
                f"at line {', '.join(map(str, self._ragged))}; allowed are {limit:.2%} of the lines"
            )
        self._found.append(Check("line_shape", share <= limit, detail))

    def _size_and_rows(self, value: int, low: float | None, high: float | None, name: str, unit: str) -> None:
        if low is not None and value < low:
            self._found.append(
                Check(name, False, f"{value:,} {unit}; the contract wants at least {low:,.0f}")
            )
        elif high is not None and value > high:
            self._found.append(Check(name, False, f"{value:,} {unit}; the contract allows {high:,.0f}"))
        else:
            self._found.append(Check(name, True, f"{value:,} {unit}"))

    def _header_matches(self) -> bool:
        """Adds the outcome for delimiter and header."""
        header = (self._header or b"").decode("utf-8", "replace")
        expected = list(self._table.columns)
        delimiter = self._table.files.delimiter
        names = next(csv.reader([header], delimiter=delimiter), [])
        if len(names) == 1 and len(expected) > 1:
            others = [
                d.decode() for d in _OTHER_DELIMITERS if d in header.encode() and d.decode() != delimiter
            ]
            if others:
                text = f"fields are separated by {others[0]!r}, not by {delimiter!r}"
                self._found.append(Check("delimiter", False, text))
                return False
        missing = [name for name in expected if name not in names]
        unexpected = [name for name in names if name not in expected]
        problems = []
        if missing:
            problems.append(f"missing {', '.join(missing)}")
        if unexpected:
            problems.append(f"unexpected {', '.join(unexpected)}")
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            problems.append(f"repeated {', '.join(repeated)}")
        if not problems and names != expected:
            at = next(
                index for index, pair in enumerate(zip(names, expected, strict=True)) if pair[0] != pair[1]
            )
            problems.append(f"out of order: column {at + 1} is {names[at]}, not {expected[at]}")
        detail = "; ".join(problems) or f"{len(expected)} columns as in the contract"
        self._found.append(Check("header", not problems, detail))
        return not problems
