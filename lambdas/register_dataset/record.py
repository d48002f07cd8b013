"""The dataset record: where a dataset version's files are, what they hold, where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any


def dataset_record(
    request: Mapping[str, Any],
    splits: Mapping[str, Any],
    cleaning: Mapping[str, Any],
    registered: datetime,
    known: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The record of ``request``'s run; ``known`` is the record that stands already for this version.

    The same run registered again keeps its time, so that a repeated call changes nothing.
    """
    run_uri = request["run_uri"]
    again = known is not None and known["run_uri"] == run_uri
    return {
        "dataset_version": request["dataset_version"],
        "run_uri": run_uri,
        "manifest_uri": request["manifest_uri"],
        "execution_name": request["execution_name"],
        "registered": known["registered"] if known and again else registered.isoformat(timespec="seconds"),
        "train_uri": f"{run_uri}/splits/train/",
        "validation_uri": f"{run_uri}/splits/validation/",
        "test_uri": f"{run_uri}/splits/test/",
        "batch_uri": f"{run_uri}/batch/test.csv",
        "features_uri": f"{run_uri}/features.json",
        "splits_uri": f"{run_uri}/splits.json",
        "exploration_uri": f"{run_uri}/exploration.html",
        "rows": {name: split["rows"] for name, split in splits["splits"].items()},
        "quarantined": cleaning["quarantined"],
    }


def supersedes(record: Mapping[str, Any], latest: Mapping[str, Any] | None) -> bool:
    """Whether ``record`` becomes the latest: not when a repeated call comes after a newer version."""
    if latest is None:
        return True
    if record["run_uri"] == latest["run_uri"]:
        return record != latest
    return datetime.fromisoformat(record["registered"]) >= datetime.fromisoformat(latest["registered"])
