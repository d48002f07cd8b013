"""Bias metrics: hand-computed values, the cases without a value, and properties that hold for any rows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from triptych.core import bias

# (label, prediction): how many rows, of the advantaged side and of the side asked about
A = {(1, 1): 3, (0, 1): 1, (0, 0): 4, (1, 0): 2}
D = {(1, 1): 1, (0, 1): 2, (0, 0): 1, (1, 0): 1}


def rows(a: dict[tuple[int, int], int], d: dict[tuple[int, int], int]) -> tuple[np.ndarray, ...]:
    """The facet, labels and predictions of these counts."""
    told = [
        (side, *pair) for side, counts in ((0, a), (1, d)) for pair, n in counts.items() for _ in range(n)
    ]
    facet, labels, predictions = np.array(told, dtype=bool).reshape(-1, 3).T
    return facet, labels, predictions


def measured(
    a: dict[tuple[int, int], int], d: dict[tuple[int, int], int], groups: np.ndarray | None = None
) -> dict[str, bias.Result]:
    facet, labels, predictions = rows(a, d)
    found = bias.pre_training(facet, labels, groups) + bias.post_training(facet, labels, predictions, groups)
    return {result.name: result for result in found}


VALUES = {
    "CI": 1 / 3,
    "DPL": 0.1,
    "KL": 0.5 * math.log(0.5 / 0.6) + 0.5 * math.log(0.5 / 0.4),
    "JS": (
        0.25 * math.log(0.5 / 0.55)
        + 0.25 * math.log(0.5 / 0.45)
        + 0.3 * math.log(0.6 / 0.55)
        + 0.2 * math.log(0.4 / 0.45)
    ),
    "LP": math.sqrt(0.02),
    "TVD": 0.1,
    "KS": 0.1,
    "CDDL": 3 / 8 - 2 / 7,
    "DPPL": -0.2,
    "DI": 1.5,
    "DCA": 5 / 4 - 2 / 3,
    "DCR": 3 / 2 - 5 / 6,
    "RD": 0.1,
    "SD": 1 / 3 - 4 / 5,
    "DAR": 3 / 4 - 1 / 3,
    "DRR": 1 / 2 - 4 / 6,
    "AD": 0.3,
    "TE": 1 / 2 - 2,
    "CDDPL": 2 / 8 - 3 / 7,
    "GE": 0.2,
}


@pytest.mark.parametrize("name", [*bias.PRE_TRAINING, *bias.POST_TRAINING])
def test_values(name: str) -> None:
    assert measured(A, D, np.zeros(15))[name].value == pytest.approx(VALUES[name])


def test_conditional_disparity_weighs_the_groups_by_their_rows() -> None:
    # group x: 2 of 2 rejected and 0 of 2 accepted are of the facet; group y: 0 of 1 and 1 of 1
    facet = np.array([1, 1, 0, 0, 0, 1], dtype=bool)
    labels = np.array([0, 0, 1, 1, 0, 1], dtype=bool)
    groups = np.array(["x", "x", "x", "x", "y", "y"])
    found = bias.pre_training(facet, labels, groups, ["CDDL"])[0]
    assert found.value == pytest.approx((4 * (1 - 0) + 2 * (0 - 1)) / 6)


ERRORS = {
    "no facet row": (A, {}, "Facet set is empty"),
    "every row has the value": ({}, D, "Negated facet set is empty"),
    "no rows": ({}, {}, "There are no rows"),
    "nothing in common": ({(1, 1): 3}, {(0, 0): 3}, "no outcome in common"),
    "all false negatives": ({(1, 0): 3}, {(1, 0): 2}, "All predictions are false negatives"),
    "label constant": ({(1, 1): 3, (1, 0): 1}, {(1, 1): 2}, "No row is negative"),
    "all predicted negative": ({(1, 0): 3, (0, 0): 1}, {(1, 0): 2}, "No row is positive"),
}
WITHOUT_VALUE = {
    "no facet row": {"CI", "DPL", "KL", "DI", "TE", "AD"},
    "every row has the value": {"CI", "DPL", "JS", "DPPL", "DRR"},
    "no rows": set(bias.PRE_TRAINING) | set(bias.POST_TRAINING),
    "nothing in common": {"KL", "JS", "LP", "TVD", "KS"},
    "all false negatives": {"GE"},
    "label constant": {"CDDL"},
    "all predicted negative": {"CDDPL"},
}


@pytest.mark.parametrize("case", ERRORS)
def test_what_has_no_value_says_why(case: str) -> None:
    a, d, message = ERRORS[case]
    found = measured(a, d, np.zeros(sum(a.values()) + sum(d.values())))
    for name in WITHOUT_VALUE[case]:
        assert found[name].value is None, name
        assert message in found[name].error, name
        entry = found[name].to_json()
        assert (entry["value"], entry["error"]) == (None, found[name].error)


def test_without_a_group_variable_only_the_conditional_metrics_lack_a_value() -> None:
    missing = {name for name, result in measured(A, D).items() if result.value is None}
    assert missing == {"CDDL", "CDDPL"}


@pytest.mark.parametrize(
    ("a", "d", "name", "expected"),
    [
        pytest.param(
            {(1, 0): 1, (0, 0): 3}, {(1, 1): 1}, "DI", "Infinity", id="only the facet is predicted so"
        ),
        pytest.param({(1, 0): 1, (0, 0): 3}, {(0, 0): 1}, "DI", 0.0, id="all predictions equal: 0/0 is 0"),
        pytest.param({(1, 0): 1, (0, 0): 3}, {(0, 0): 1}, "TE", "-Infinity", id="no false positives at all"),
        pytest.param({(1, 0): 1}, {(1, 0): 1}, "TE", 0.0, id="both rates infinite"),
        pytest.param({(1, 1): 2}, {(1, 0): 2}, "DCA", "-Infinity", id="nobody of the facet accepted"),
        pytest.param({(1, 1): 2}, {(1, 1): 2}, "SD", 0.0, id="label constant: no specificity"),
    ],
)
def test_divisions_by_zero_are_as_clarify_writes_them(
    a: dict[tuple[int, int], int], d: dict[tuple[int, int], int], name: str, expected: object
) -> None:
    assert measured(a, d)[name].to_json()["value"] == expected


@pytest.mark.parametrize("seed", range(5))
def test_swapping_the_sides_swaps_the_signs(seed: int) -> None:
    facet, labels, predictions = np.random.default_rng(seed).random((3, 400)) < 0.4
    one = bias.pre_training(facet, labels) + bias.post_training(facet, labels, predictions)
    other = bias.pre_training(~facet, labels) + bias.post_training(~facet, labels, predictions)
    both = {left.name: (left.value, right.value) for left, right in zip(one, other, strict=True)}
    for name in ("CI", "DPL", "DPPL", "DCA", "DCR", "RD", "SD", "DAR", "DRR", "AD", "TE"):
        left, right = both[name]
        assert left == pytest.approx(-right), name  # type: ignore[operator]
    for name in ("JS", "LP", "TVD", "KS", "GE"):
        assert both[name][0] == pytest.approx(both[name][1]), name


@pytest.mark.parametrize(
    ("facet", "groups", "message"),
    [
        pytest.param(np.array([0, 1]), None, "facet must be booleans", id="not boolean"),
        pytest.param(np.array([True]), None, "labels must be booleans of shape", id="another length"),
        pytest.param(
            np.array([True, False]), np.array([1]), "groups must have one value", id="groups too short"
        ),
    ],
)
def test_refuses_what_does_not_fit(facet: np.ndarray, groups: np.ndarray | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bias.pre_training(facet, np.array([True, False]), groups)
