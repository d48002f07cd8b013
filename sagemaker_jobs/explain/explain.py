"""Explain a trained model: SHAP values, partial dependence and bias, as SageMaker Clarify writes them.

Writes ``analysis.json`` and ``explanations_shap/out.csv`` (Clarify's documented files), ``attributions.json`` (the
bounds that Clarify has no place for) and ``explanation.html``. Runs as a SageMaker Processing job in AWS's XGBoost
image (Python 3.10 or later); every path is an argument.

Format: docs.aws.amazon.com/sagemaker/latest/dg/clarify-processing-job-analysis-results.html
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import configuration
import numpy as np
import xgboost
from analysed_rows import CannotExplain, Rows, load_model, read_rows
from attribution import Attributions, Strength, global_strengths, sample_rows, shap_values
from configuration import BadConfiguration, Configuration
from dependence import ROWS as DEPENDENCE_ROWS
from dependence import Dependence, partial_dependence
from explanation_page import render
from facets import facet_rows

from triptych.core import bias

LABEL = "label0"
"""Clarify's name for the only output of a binary model"""


@dataclass(frozen=True)
class FacetBias:
    """The metrics of one value of a facet, with the counts that they rest on."""

    column: str
    value: str
    rows: int
    label_share: float | None
    predicted_share: float | None
    pre_training: list[bias.Result]
    post_training: list[bias.Result]


@dataclass(frozen=True)
class Explanation:
    """Everything found; ``chosen`` are the rows of the split that ``attributions`` explains."""

    rows: Rows
    settings: Configuration
    chosen: np.ndarray
    attributions: Attributions | None
    strengths: list[Strength]
    largest_gap: float
    """The largest difference between a row's margin and its values' sum, log-odds"""
    dependence: list[Dependence]
    facets: list[FacetBias]


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    started = time.monotonic()
    try:
        described = json.loads((options.features / "features.json").read_text())
        label = described["label"]["name"]
        settings = (
            configuration.read(options.config, label)
            if options.config
            else configuration.for_slices(filter(None, options.facets.split(",")))
        )
        booster = load_model(options.model)
        rows = read_rows(booster, options.splits / options.split, options.keys / options.split, described)
        found = explain(booster, rows, settings, options.sample_rows)
    except (CannotExplain, BadConfiguration) as error:
        print(f"cannot explain: {error}", file=sys.stderr, flush=True)
        return 1
    options.output.mkdir(parents=True, exist_ok=True)
    _write_json(options.output / "analysis.json", analysis(found, label))
    details = attributions(found, described, options.split)
    _write_json(options.output / "attributions.json", details)
    (options.output / "explanation.html").write_text(render(found, details), encoding="utf-8")
    if found.attributions is not None and settings.save_local:
        write_local(options.output / "explanations_shap" / "out.csv", found)
    print(
        f"explained {len(found.chosen)} of {len(rows.labels)} rows; {len(found.facets)} facet values; "
        f"{time.monotonic() - started:.2f} s",
        flush=True,
    )
    return 0


def explain(booster: xgboost.Booster, rows: Rows, settings: Configuration, wanted: int) -> Explanation:
    """All analyses; SHAP values of at most ``wanted`` rows. Raises CannotExplain."""
    facets = list(measure_bias(rows, settings))
    chosen = sample_rows(len(rows.labels), wanted, settings.seed)
    told: Attributions | None = None
    strengths: list[Strength] = []
    gap = 0.0
    if settings.aggregation:
        matrix = rows.matrix[chosen]
        told = shap_values(booster, matrix)
        strengths = global_strengths(told.values, settings.aggregation, settings.seed)
        margins = booster.inplace_predict(matrix, predict_type="margin", validate_features=False)
        gap = float(np.max(np.abs(told.values.sum(axis=1, dtype=np.float64) + told.base - margins)))
    names = [feature.name for feature in rows.features]
    asked = settings.dependence_features
    if asked is None:
        columns: list[int] = []
    elif asked:
        unknown = [name for name in asked if name not in names]
        if unknown:
            raise CannotExplain(
                f"methods.pdp.features names {', '.join(unknown)}; the features are {', '.join(names)}"
            )
        columns = [names.index(name) for name in asked]
    else:
        columns = sorted(range(len(names)), key=lambda column: strengths[column].rank)[
            : settings.dependence_top
        ]
    few = rows.matrix[sample_rows(len(rows.labels), DEPENDENCE_ROWS, settings.seed)]
    dependence = [
        partial_dependence(booster, few, column, rows.features[column], settings.grid_resolution)
        for column in columns
    ]
    return Explanation(rows, settings, chosen, told, strengths, gap, dependence, facets)


def measure_bias(rows: Rows, settings: Configuration) -> Iterable[FacetBias]:
    """One entry a facet and value, over all rows; the positive outcome is the label 1."""
    labels = rows.labels > 0.5
    predictions = rows.scores >= settings.probability_threshold
    groups = rows.column(settings.group_variable, "group_variable") if settings.group_variable else None
    if groups is not None:
        groups = groups.astype(str)
    for facet in settings.facets:
        for value, having in facet_rows(facet, rows.column(facet.column, "facet")):
            yield FacetBias(
                facet.column,
                value,
                int(having.sum()),
                float(labels[having].mean()) if having.any() else None,
                float(predictions[having].mean()) if having.any() else None,
                bias.pre_training(having, labels, groups, settings.pre_training),
                bias.post_training(having, labels, predictions, groups, settings.post_training),
            )


def analysis(found: Explanation, label: str) -> dict[str, Any]:
    """``analysis.json``, with nothing in it that Clarify does not document."""
    document: dict[str, Any] = {"version": "1.0"}
    explanations: dict[str, Any] = {}
    if found.attributions is not None:
        names = [feature.name for feature in found.rows.features]
        values = {name: strength.value for name, strength in zip(names, found.strengths, strict=True)}
        explanations["kernel_shap"] = {
            LABEL: {"global_shap_values": values, "expected_value": found.attributions.base}
        }
    if found.dependence:
        explanations["pdp"] = [dict(dependence.to_json()) for dependence in found.dependence]
    if explanations:
        document["explanations"] = explanations
    for stage, names_of_metrics in (
        ("pre_training", found.settings.pre_training),
        ("post_training", found.settings.post_training),
    ):
        if not names_of_metrics or not found.facets:
            continue
        facets: dict[str, list[Any]] = {}
        for one in found.facets:
            metrics = [result.to_json() for result in getattr(one, stage)]
            facets.setdefault(one.column, []).append({"value_or_threshold": one.value, "metrics": metrics})
        document[f"{stage}_bias_metrics"] = {
            "label": label,
            "label_value_or_threshold": "1",
            "facets": facets,
        }
    return document


def attributions(found: Explanation, described: Mapping[str, Any], split: str) -> dict[str, Any]:
    """``attributions.json``: global SHAP values with bounds, and what they were found on."""
    told = found.attributions
    return {
        "use_case": described["use_case"],
        "label": described["label"],
        "split": split,
        "rows": len(found.rows.labels),
        "explained_rows": len(found.chosen) if told is not None else 0,
        "seed": found.settings.seed,
        "method": "tree_path_dependent",
        "unit": "log-odds",
        "aggregation": found.settings.aggregation,
        "confidence": 0.95,
        "base_value": told.base if told is not None else None,
        "largest_additivity_gap": found.largest_gap,
        "probability_threshold": found.settings.probability_threshold,
        "features": [
            {"name": feature.name, "description": feature.description, **asdict(strength)}
            for feature, strength in sorted(
                zip(found.rows.features, found.strengths, strict=bool(found.strengths)),
                key=lambda pair: pair[1].rank,
            )
        ],
    }


def write_local(path: Path, found: Explanation) -> None:
    """``out.csv``: a line an explained row, with the join column first where one is configured."""
    told, source = found.attributions, found.settings.join_source
    if told is None:
        return
    join = found.rows.column(source, "joinsource_name_or_index")[found.chosen] if source else None
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        header = [f"{feature.name}_{LABEL}" for feature in found.rows.features]
        writer.writerow([source, *header] if source else header)
        for index, values in enumerate(told.values.tolist()):
            # nine digits are a 32-bit float exactly
            row = [f"{value:.9g}" for value in values]
            writer.writerow(row if join is None else [join[index], *row])


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=1, allow_nan=False), encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("model", "splits", "keys", "features", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--split", default="test", help="which split is explained")
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--facets", help="comma-separated columns; every analysis is made")
    chosen.add_argument("--config", type=Path, help="a file like Clarify's analysis_config.json")
    parser.add_argument("--sample-rows", type=int, default=5000, help="how many rows get SHAP values at most")
    return parser
