"""Records of job runs, in botocore's JobRun shape, kept in the home folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from triptych.localcloud.home import Home

JobRun = dict[str, Any]

ENDED = frozenset({"SUCCEEDED", "FAILED", "TIMEOUT", "STOPPED", "ERROR", "EXPIRED"})
_TIMES = ("StartedOn", "LastModifiedOn", "CompletedOn")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS job_run (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    job TEXT NOT NULL,
    ended INTEGER NOT NULL DEFAULT 0,
    record TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS job_run_by_job ON job_run (job, number)
"""


class TooManyRuns(Exception):
    """The job already has as many unfinished runs as it may."""


class RunStore:
    """All runs of one home folder."""

    def __init__(self, home: Home) -> None:
        self._database = home.database("glue", _SCHEMA)

    def add(self, run: JobRun, most_at_once: int) -> None:
        """Keep a new run; raises TooManyRuns when ``most_at_once`` runs of its job are unfinished."""
        with self._database.write() as connection:
            (unfinished,) = connection.execute(
                "SELECT count(*) FROM job_run WHERE job = ? AND NOT ended", (run["JobName"],)
            ).fetchone()
            if unfinished >= most_at_once:
                raise TooManyRuns
            connection.execute(
                "INSERT INTO job_run (id, job, record) VALUES (?, ?, ?)",
                (run["Id"], run["JobName"], _to_text(run)),
            )

    def change(self, run_id: str, edit: Callable[[JobRun], None]) -> JobRun:
        """Edit a run that has not ended and keep it; a run that has ended comes back as it is."""
        with self._database.write() as connection:
            row = connection.execute("SELECT record, ended FROM job_run WHERE id = ?", (run_id,)).fetchone()
            run = _from_text(row["record"])
            if not row["ended"]:
                edit(run)
                run["LastModifiedOn"] = datetime.now(UTC)
                connection.execute(
                    "UPDATE job_run SET record = ?, ended = ? WHERE id = ?",
                    (_to_text(run), run["JobRunState"] in ENDED, run_id),
                )
        return run

    def get(self, job: str, run_id: str) -> JobRun | None:
        row = self._database.connection.execute(
            "SELECT record FROM job_run WHERE id = ? AND job = ?", (run_id, job)
        ).fetchone()
        return _from_text(row["record"]) if row else None

    def page(self, job: str, before: int | None, most: int) -> tuple[list[JobRun], int | None]:
        """The job's runs, latest first, and where the next page starts."""
        rows = self._database.connection.execute(
            "SELECT number, record FROM job_run WHERE job = ? AND number < ? ORDER BY number DESC LIMIT ?",
            (job, before if before is not None else 1 << 62, most + 1),
        ).fetchall()
        more = rows[most - 1]["number"] if len(rows) > most else None
        return [_from_text(row["record"]) for row in rows[:most]], more

    def unfinished(self) -> list[JobRun]:
        """Runs that had not ended when this home was last served."""
        rows = self._database.connection.execute("SELECT record FROM job_run WHERE NOT ended ORDER BY number")
        return [_from_text(row["record"]) for row in rows]


def _to_text(run: JobRun) -> str:
    return json.dumps(
        {name: value.isoformat() if isinstance(value, datetime) else value for name, value in run.items()}
    )


def _from_text(text: str) -> JobRun:
    run: JobRun = json.loads(text)
    for name in _TIMES:
        if name in run:
            run[name] = datetime.fromisoformat(run[name])
    return run
