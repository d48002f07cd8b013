"""What is known of an experiment: the losses of each variant's labelled requests, and what became of the labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from triptych.core.captures import Captured, Label
from triptych.core.experiment import LOSSES, Losses
from triptych.core.idtable import IdTable

MOST_LABELS = 5_000_000
"""85 MB; labels beyond it wait for nothing: the first ones are far more than any test needs"""


@dataclass
class Labels:
    """What became of the labels that arrived since the experiment began.

    ``duplicate`` labels repeat an id (the newest counts), ``conflicting`` ones say something else about it;
    ``late`` ones are known to be of requests answered before the experiment began, ``orphan`` ones of no request
    that was read: unknown ones, or answered so long before that their capture file was finished by then. Only
    reading everything ever captured would tell these apart. ``malformed`` lines are no label of 0 or 1;
    ``left_out`` came after the table was full.
    """

    read: int = 0
    duplicate: int = 0
    conflicting: int = 0
    late: int = 0
    orphan: int = 0
    malformed: int = 0
    left_out: int = 0


@dataclass
class Evidence:
    """Requests are those captured since the experiment began; ``unusable`` ones have not exactly one score, or
    an id that another request had."""

    labels: Labels = field(default_factory=Labels)
    requests: dict[str, int] = field(default_factory=dict)
    unusable: int = 0
    losses: dict[str, Losses] = field(default_factory=dict)


def gather(
    metric: str,
    began: datetime,
    labels: Iterable[Label],
    captured: Mapping[str, Iterable[Captured]],
    most_labels: int = MOST_LABELS,
) -> Evidence:
    """Join the captured requests of each variant with the labels; memory grows with the labels alone."""
    evidence = Evidence()
    table = _table(labels, evidence.labels, most_labels)
    first = began.replace(microsecond=0)  # captured times have no fractions
    loss = LOSSES[metric]
    for variant, requests in captured.items():
        losses = evidence.losses[variant] = Losses()
        count = 0
        for request in requests:
            if request.at < first:
                found = table.take(request.id)
                evidence.labels.late += found is not None and found[1] == 0
                continue
            count += 1
            if len(request.scores) != 1:
                evidence.unusable += 1
                continue
            found = table.take(request.id)
            if found is None:
                continue
            label, before = found
            if before:
                evidence.unusable += 1
                continue
            losses.add(loss(request.scores[0], label))
        evidence.requests[variant] = count
    evidence.labels.orphan = table.untaken
    return evidence


def _table(labels: Iterable[Label], counts: Labels, most: int) -> IdTable:
    table = IdTable(most)
    for label in labels:
        counts.read += 1
        if label.value not in (0.0, 1.0):
            counts.malformed += 1
        elif not table.put(label.id, label.value):
            counts.left_out += 1
    table.seal()
    counts.duplicate, counts.conflicting = table.duplicate, table.conflicting
    return table
