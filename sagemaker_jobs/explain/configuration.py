"""What to analyse: the members of SageMaker Clarify's ``analysis_config.json`` that have a meaning here.

A member that this job does not use is refused by name rather than passed over: most of them would change the numbers.
Schema: docs.aws.amazon.com/sagemaker/latest/dg/clarify-processing-job-configure-analysis.html
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triptych.core import bias

PARQUET = "application/x-parquet"
AGGREGATIONS = ("mean_abs", "median", "mean_sq")


class BadConfiguration(Exception):
    """The analysis configuration cannot be followed; the message says which member, and what it may be."""


@dataclass(frozen=True)
class Facet:
    """A column whose values divide the rows; without values each category is one in turn."""

    column: str
    values: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Configuration:
    """The analyses to make; those that are None or empty are left out."""

    facets: tuple[Facet, ...] = ()
    group_variable: str = ""
    join_source: str = ""
    probability_threshold: float = 0.5
    aggregation: str | None = "mean_abs"
    """How local SHAP values become global ones; None: no SHAP values."""
    save_local: bool = True
    seed: int = 0
    pre_training: tuple[str, ...] = tuple(bias.PRE_TRAINING)
    post_training: tuple[str, ...] = tuple(bias.POST_TRAINING)
    dependence_features: tuple[str, ...] | None = ()
    """Empty: the ``dependence_top`` with the largest global SHAP values; None: no partial dependence."""
    dependence_top: int = 10
    grid_resolution: int = 15
    title: str = ""


def for_slices(columns: Iterable[str]) -> Configuration:
    """Every analysis, with each of these columns as a facet and no group variable."""
    facets = tuple(Facet(column) for column in dict.fromkeys(columns))
    return Configuration(facets=facets)


def read(path: Path, label: str) -> Configuration:
    """Raises BadConfiguration; ``label`` is the label's name in features.json."""
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadConfiguration(f"{path} cannot be read as JSON: {error}") from error
    return parse(given, label)


def parse(given: Any, label: str) -> Configuration:
    """A document like ``analysis_config.json``; raises BadConfiguration."""
    _members(
        given,
        "the analysis configuration",
        (
            "version",
            "dataset_type",
            "label",
            "label_values_or_threshold",
            "probability_threshold",
            "facet",
            "group_variable",
            "joinsource_name_or_index",
            "methods",
        ),
    )
    if given.get("dataset_type", PARQUET) != PARQUET:
        raise BadConfiguration(f"dataset_type is {given['dataset_type']!r}; the splits are {PARQUET}")
    if given.get("label", label) != label:
        raise BadConfiguration(f"label is '{given['label']}', but the dataset's label is '{label}'")
    if [str(value) for value in given.get("label_values_or_threshold", [1])] != ["1"]:
        raise BadConfiguration("label_values_or_threshold must be [1]: the label is 0 or 1")
    methods = _members(
        given.get("methods", {}),
        "methods",
        ("shap", "pre_training_bias", "post_training_bias", "pdp", "report"),
    )
    if not methods:
        raise BadConfiguration(
            "methods names no analysis; valid are shap, pre_training_bias, post_training_bias, pdp"
        )
    shap = _members(methods.get("shap", {}), "methods.shap", ("agg_method", "save_local_shap_values", "seed"))
    pdp = _members(methods.get("pdp", {}), "methods.pdp", ("features", "top_k_features", "grid_resolution"))
    report = _members(methods.get("report", {}), "methods.report", ("name", "title"))
    aggregation = shap.get("agg_method", "mean_abs")
    if aggregation not in AGGREGATIONS:
        raise BadConfiguration(
            f"methods.shap.agg_method is {aggregation!r}; valid are {', '.join(AGGREGATIONS)}"
        )
    if "pdp" in methods and "shap" not in methods and not pdp.get("features"):
        raise BadConfiguration(
            "methods.pdp.features is needed where there is no methods.shap to choose them by"
        )
    return Configuration(
        facets=_facets(given.get("facet", [])),
        group_variable=_name(given.get("group_variable", ""), "group_variable"),
        join_source=_name(given.get("joinsource_name_or_index", ""), "joinsource_name_or_index"),
        probability_threshold=_number(given.get("probability_threshold", 0.5), "probability_threshold", 0, 1),
        aggregation=aggregation if "shap" in methods else None,
        save_local=bool(shap.get("save_local_shap_values", True)),
        seed=int(_number(shap.get("seed", 0), "methods.shap.seed", 0, 2**32 - 1)),
        pre_training=_metrics(methods, "pre_training_bias", bias.PRE_TRAINING),
        post_training=_metrics(methods, "post_training_bias", bias.POST_TRAINING),
        dependence_features=tuple(pdp.get("features", ())) if "pdp" in methods else None,
        dependence_top=int(_number(pdp.get("top_k_features", 10), "methods.pdp.top_k_features", 1, 1000)),
        grid_resolution=int(_number(pdp.get("grid_resolution", 15), "methods.pdp.grid_resolution", 2, 200)),
        title=str(report.get("title", "")),
    )


def _members(given: Any, what: str, known: Sequence[str]) -> Mapping[str, Any]:
    if not isinstance(given, dict):
        raise BadConfiguration(f"{what} must be a JSON object, not {type(given).__name__}")
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise BadConfiguration(
            f"{what} has {', '.join(unknown)}, which this job does not use; it knows {', '.join(known)}"
        )
    return given


def _facets(given: Any) -> tuple[Facet, ...]:
    if not isinstance(given, list):
        raise BadConfiguration("facet must be a list of objects with name_or_index")
    found = []
    for index, one in enumerate(given):
        member = _members(one, f"facet[{index}]", ("name_or_index", "value_or_threshold"))
        name = _name(member.get("name_or_index", ""), f"facet[{index}].name_or_index")
        if not name:
            raise BadConfiguration(f"facet[{index}] has no name_or_index")
        values = member.get("value_or_threshold", [])
        if not isinstance(values, list):
            raise BadConfiguration(f"facet[{index}].value_or_threshold must be a list")
        found.append(Facet(name, tuple(values)))
    return tuple(found)


def _name(given: Any, what: str) -> str:
    if not isinstance(given, str):
        raise BadConfiguration(f"{what} must be a column's name: the columns have no fixed order here")
    return given


def _number(given: Any, what: str, low: float, high: float) -> float:
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not low <= given <= high:
        raise BadConfiguration(f"{what} must be a number from {low} to {high}, not {given!r}")
    return given


def _metrics(methods: Mapping[str, Any], name: str, known: Mapping[str, Any]) -> tuple[str, ...]:
    if name not in methods:
        return ()
    wanted = _members(methods[name], f"methods.{name}", ("methods",)).get("methods", "all")
    if wanted == "all":
        return tuple(known)
    if not isinstance(wanted, list) or not set(wanted) <= set(known):
        raise BadConfiguration(
            f'methods.{name}.methods must be "all" or a list of {", ".join(known)}; not {wanted!r}'
        )
    return tuple(metric for metric in known if metric in wanted)
