"""The verdict over all files of a run: bad files, files that repeat another, tables left without a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from triptych.core.constraints import Verdict, worst
from triptych.core.contract import Contract

MOST_LISTED = 20


@dataclass(frozen=True)
class FileResult:
    """What was found of one file; ``problems`` are its failed checks. ``content_sha256`` may be unknown."""

    key: str
    table: str
    problems: tuple[str, ...]
    content_sha256: str | None
    rows: int = 0

    @staticmethod
    def from_answer(answer: Mapping[str, Any]) -> FileResult:
        """From the answer of ``validate_file``."""
        problems = tuple(
            f"{check['name']}: {check['detail']}" for check in answer["checks"] if not check["passed"]
        )
        return FileResult(answer["key"], answer["table"], problems, answer["content_sha256"], answer["rows"])

    @staticmethod
    def not_checked(key: str, table: str, cause: str) -> FileResult:
        """For a file whose check did not come to an end."""
        return FileResult(key, table, (f"the check itself failed: {cause}",), None)


@dataclass(frozen=True)
class Judgement:
    """The verdict; ``accepted`` are entries of objects.json, ``rejected`` keys with reasons."""

    verdict: Verdict
    accepted: list[dict[str, Any]]
    rejected: list[dict[str, Any]]

    def answer(self, accepted_uri: str) -> dict[str, Any]:
        """What the state machine goes on with."""
        return {
            "verdict": self.verdict,
            "accepted_uri": accepted_uri,
            "accepted": len(self.accepted),
            "rejected": self.rejected[:MOST_LISTED],
        }


def judge(
    contract: Contract, objects: Iterable[Mapping[str, Any]], results: Iterable[FileResult]
) -> Judgement:
    """Bad files are left out or stop the run, as their table's ``files.on_bad`` says.

    Of two files of a table with the same content the first by key is kept: the same month uploaded twice
    counts once. A table that is left without a file stops the run.
    """
    by_key = {result.key: result for result in results}
    accepted: list[dict[str, Any]] = []
    rejected: list[dict[str, Any]] = []
    verdicts: list[Verdict] = []
    seen: dict[tuple[str, str], str] = {}
    for entry in sorted(objects, key=lambda entry: entry["key"]):
        key, table = entry["key"], entry["table"]
        result = by_key.get(key) or FileResult.not_checked(key, table, "no result was written")
        if result.problems:
            rejected.append({"key": key, "reasons": list(result.problems)})
            verdicts.append(contract.tables[table].files.on_bad)
            continue
        content = (table, result.content_sha256 or key)
        if content in seen:
            reason = f"duplicate: the same content as {seen[content]}, which is kept"
            rejected.append({"key": key, "reasons": [reason]})
            verdicts.append("quarantine")
            continue
        seen[content] = key
        accepted.append(dict(entry))
    left = {entry["table"] for entry in accepted}
    for table in contract.tables:
        if table not in left:
            rejected.insert(
                0, {"key": table, "reasons": [f"table {table} is left without an acceptable file"]}
            )
            verdicts.append("stop")
    return Judgement(worst(verdicts), accepted, rejected)
