"""One deployment at a time: of two executions of the machine that run, the one that began first goes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any


class DeploymentUnderWay(Exception):
    """Another execution is deploying; it goes on, this one does not."""


def refuse_a_second(running: Iterable[Mapping[str, Any]], execution_id: str) -> None:
    """Raises DeploymentUnderWay where another of the running executions (ListExecutions') began before this one.

    A redriven execution begins anew. One that is not listed yet is the youngest.
    """
    listed = {entry["executionArn"]: _began(entry) for entry in running}
    own = listed.get(execution_id)
    for arn, began in sorted(listed.items(), key=lambda item: (item[1], item[0])):
        if arn != execution_id and (own is None or (began, arn) < (own, execution_id)):
            raise DeploymentUnderWay(
                f"execution {arn.rpartition(':')[2]} has been deploying since {began:%Y-%m-%d %H:%M:%S %Z}; "
                "wait until it has ended, or stop it, then redrive this one"
            )


def _began(entry: Mapping[str, Any]) -> datetime:
    began: datetime = entry.get("redriveDate") or entry["startDate"]
    return began
