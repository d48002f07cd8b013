"""The explanation job as SageMaker starts it: Clarify's files, a page, and errors that say what is wrong."""

from __future__ import annotations

import csv
import importlib
import json
import math
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost
from job_splits import FEATURES, write_data, write_table

from triptych import packaging

PROJECT = Path(__file__).parents[2]
EXPLAIN = PROJECT / "sagemaker_jobs" / "explain"
EVERYTHING = {
    "version": "1.0",
    "dataset_type": "application/x-parquet",
    "label": "late",
    "label_values_or_threshold": [1],
    "probability_threshold": 0.4,
    "facet": [
        {"name_or_index": "origin", "value_or_threshold": ["EWR"]},
        {"name_or_index": "month"},
        {"name_or_index": "wind", "value_or_threshold": [0.5]},
    ],
    "group_variable": "month",
    "joinsource_name_or_index": "origin",
    "methods": {
        "shap": {"agg_method": "mean_sq", "save_local_shap_values": True, "seed": 3},
        "pre_training_bias": {"methods": "all"},
        "post_training_bias": {"methods": ["DPPL", "DI"]},
        "pdp": {"grid_resolution": 7, "top_k_features": 2},
        "report": {"name": "report", "title": "What the model sees"},
    },
}


def read_split(root: Path) -> tuple[np.ndarray, np.ndarray]:
    import pyarrow.parquet as parquet

    tables = [parquet.read_table(file) for file in sorted((root / "splits" / "test").glob("*.parquet"))]
    matrix = np.concatenate(
        [np.column_stack([table[name].to_numpy() for name in FEATURES]) for table in tables]
    )
    return matrix.astype(np.float32), np.concatenate([table["late"].to_numpy() for table in tables])


def save_model(root: Path, booster: xgboost.Booster) -> None:
    (root / "model").mkdir(exist_ok=True)
    (root / "model" / "xgboost-model").write_bytes(booster.save_raw("ubj"))
    with tarfile.open(root / "model" / "model.tar.gz", "w:gz") as archive:
        archive.add(root / "model" / "xgboost-model", "xgboost-model")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Splits, keys, features.json and a model of them."""
    root = tmp_path_factory.mktemp("explain")
    write_data(root)
    settings = {"objective": "binary:logistic", "max_depth": 3, "nthread": 1}
    save_model(root, xgboost.train(settings, xgboost.DMatrix(*read_split(root)), 15))
    return root


@pytest.fixture
def own(prepared: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(prepared, tmp_path / "own"))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive as it is deployed."""
    return packaging.build(PROJECT, "flights", tmp_path_factory.mktemp("build")).sagemaker["explain"]


def explain(program: Path, root: Path, output: Path, *more: str, config: Any = None) -> Any:
    words = [str(program), "--output", str(output), "--sample-rows", "300"]
    for name in ("model", "splits", "keys", "features"):
        words += [f"--{name}", str(root / name)]
    if config is not None:
        path = output.with_name("analysis_config.json")
        path.write_text(config if isinstance(config, str) else json.dumps(config))
        words += ["--config", str(path)]
    # away from the checkout, so that the archive's own triptych.core is what runs
    return subprocess.run(
        [sys.executable, "-P", *words, *more], cwd=output.parent, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def configured(program: Path, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of a run with every member of the configuration."""
    output = tmp_path_factory.mktemp("configured") / "out"
    done = explain(program, prepared, output, config=EVERYTHING)
    assert done.returncode == 0, done.stderr
    return output


def test_analysis_has_clarifys_shape(configured: Path) -> None:
    document = json.loads((configured / "analysis.json").read_text())
    assert list(document) == [
        "version",
        "explanations",
        "pre_training_bias_metrics",
        "post_training_bias_metrics",
    ]
    told = document["explanations"]["kernel_shap"]["label0"]
    assert set(told) == {"global_shap_values", "expected_value"}
    assert set(told["global_shap_values"]) == set(FEATURES)
    assert max(told["global_shap_values"], key=told["global_shap_values"].get) == "delay"
    after = document["post_training_bias_metrics"]
    assert (after["label"], after["label_value_or_threshold"]) == ("late", "1")
    assert list(after["facets"]) == ["origin", "month", "wind"]
    assert [entry["value_or_threshold"] for entry in after["facets"]["month"]] == ["11", "12"]
    assert [metric["name"] for metric in after["facets"]["origin"][0]["metrics"]] == ["DI", "DPPL"]
    assert after["facets"]["wind"][0]["value_or_threshold"].startswith("(0.5, ")
    before = document["pre_training_bias_metrics"]["facets"]["origin"][0]["metrics"]
    assert [metric["name"] for metric in before] == ["CDDL", "CI", "DPL", "JS", "KL", "KS", "LP", "TVD"]
    assert all(set(metric) == {"name", "description", "value"} for metric in before)


def test_partial_dependence_follows_the_configuration(configured: Path) -> None:
    found = json.loads((configured / "analysis.json").read_text())["explanations"]["pdp"]
    assert len(found) == 2
    assert found[0]["feature_name"] == "delay"
    for entry in found:
        assert entry["data_type"] == "numerical"
        assert len(entry["feature_values"]) == len(entry["data_distribution"]) == 7
        assert [len(scores) for scores in entry["model_predictions"]] == [7]
        assert sum(entry["data_distribution"]) == pytest.approx(1)
    delay = found[0]["model_predictions"][0]
    assert delay[-1] > delay[0] + 0.3, "a larger delay makes it likelier"


def test_the_sagemaker_sdk_reads_the_analysis(configured: Path) -> None:
    """The SDK's own readers, as model cards use them, and its schema of the configuration."""
    parsers = importlib.import_module("sagemaker.model_card.evaluation_metric_parsers")
    clarify = importlib.import_module("sagemaker.clarify")
    document = json.loads((configured / "analysis.json").read_text())
    groups = parsers.ClarifyExplainabilityParser().run(document)["metric_groups"]
    assert [group["name"] for group in groups] == [
        "explanations - global_shap_values, label=label0",
        "explanations - pdp",
    ]
    assert {metric["name"] for metric in groups[0]["metric_data"]} == set(FEATURES)
    metrics = {name: part for name, part in document.items() if name.endswith("bias_metrics")}
    groups = parsers.ClarifyBiasParser().run(metrics)["metric_groups"]
    assert "post_training_bias_metrics - label late = 1 and facet origin=EWR" in {
        group["name"] for group in groups
    }
    clarify.ANALYSIS_CONFIG_SCHEMA_V1_0.validate(EVERYTHING)


def test_local_values_are_the_models_and_carry_the_join_column(configured: Path, prepared: Path) -> None:
    with (configured / "explanations_shap" / "out.csv").open(newline="") as file:
        header, *lines = list(csv.reader(file))
    assert header == ["origin", *(f"{name}_label0" for name in FEATURES)]
    assert len(lines) == 300
    booster = xgboost.Booster(model_file=None)
    booster.load_model(bytearray((prepared / "model" / "xgboost-model").read_bytes()))
    chosen = np.sort(np.random.default_rng(3).choice(1000, 300, replace=False))
    expected = booster.predict(xgboost.DMatrix(read_split(prepared)[0][chosen]), pred_contribs=True)[:, :-1]
    np.testing.assert_array_equal(np.array([line[1:] for line in lines], dtype=np.float32), expected)


def test_bounds_stand_beside_the_analysis(configured: Path) -> None:
    details = json.loads((configured / "attributions.json").read_text())
    values = json.loads((configured / "analysis.json").read_text())["explanations"]["kernel_shap"]["label0"]
    assert [entry["rank"] for entry in details["features"]] == [1, 2, 3]
    for entry in details["features"]:
        assert entry["low"] < entry["value"] < entry["high"]
        assert entry["value"] == values["global_shap_values"][entry["name"]]
    assert (details["rows"], details["explained_rows"], details["seed"]) == (1000, 300, 3)
    assert details["aggregation"] == "mean_sq"
    assert details["largest_additivity_gap"] < 1e-4
    assert details["base_value"] == values["expected_value"]


def test_the_page_is_one_file_and_escapes(
    configured: Path, program: Path, prepared: Path, tmp_path: Path
) -> None:
    text = (configured / "explanation.html").read_text()
    assert text.count("<svg") >= 8
    assert "http" not in text
    assert "<script" not in text
    assert "What the model sees" in text
    assert explain(program, prepared, tmp_path / "out", "--facets", "origin").returncode == 0
    text = (tmp_path / "out" / "explanation.html").read_text()
    assert "&lt;b&gt;" in text
    assert '<td class=""><b></td>' not in text, "a value of the data was not escaped"


def test_a_wide_dataset_still_gives_a_small_page(program: Path, tmp_path: Path) -> None:
    root, chance = tmp_path / "wide", np.random.default_rng(0)
    names, rows, columns = [f"a_feature_{index}" for index in range(80)], 4000, 80
    matrix = chance.normal(size=(rows, columns)).astype(np.float32)
    matrix[:, 0] = chance.integers(0, 150, rows)
    labels = (matrix[:, 1:20].sum(axis=1) + matrix[:, 0] / 10 > 7.5).astype(float)
    write_table(root / "splits/test/part.parquet", {"y": labels, **dict(zip(names, matrix.T, strict=True))})
    keys = {f"key{index}": chance.integers(0, 120, rows) for index in range(4)}
    write_table(root / "keys/test/part.parquet", keys)
    entries = [{"name": name, "type": "number"} for name in names]
    entries[0]["categories"] = [f"category {index}" for index in range(150)]  # type: ignore[assignment]
    described = {"use_case": "wide", "label": {"name": "y"}, "keys": list(keys), "features": entries}
    (root / "features").mkdir()
    (root / "features" / "features.json").write_text(json.dumps(described))
    save_model(root, xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(matrix, labels), 10))
    done = explain(program, root, tmp_path / "out", "--facets", ",".join(keys), "--sample-rows", "4000")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "explanation.html").stat().st_size < 500_000
    pdp = json.loads((tmp_path / "out" / "analysis.json").read_text())["explanations"]["pdp"]
    category = [entry for entry in pdp if entry["data_type"] == "categorical"]
    assert [len(entry["feature_values"]) for entry in category] == [150]


def constant_label(root: Path) -> None:
    matrix, labels = read_split(root)
    replace_split(root, matrix, np.ones_like(labels))


def equal_predictions(root: Path) -> None:
    matrix, labels = read_split(root)
    settings = {"objective": "binary:logistic", "max_depth": 1, "min_child_weight": 1e9}
    save_model(root, xgboost.train(settings, xgboost.DMatrix(matrix, labels), 2))


def missing_feature(root: Path) -> None:
    matrix, labels = read_split(root)
    matrix[:, 1] = np.nan
    replace_split(root, matrix, labels)


def replace_split(root: Path, matrix: np.ndarray, labels: np.ndarray) -> None:
    shutil.rmtree(root / "splits" / "test")
    columns = {"late": labels, **dict(zip(FEATURES, matrix.T, strict=True))}
    write_table(root / "splits" / "test" / "part.parquet", columns)


def one_value(root: Path) -> None:
    shutil.rmtree(root / "keys" / "test")
    write_table(root / "keys" / "test" / "part.parquet", {"month": [11] * 1000, "origin": ["EWR"] * 1000})


Metrics = dict[str, dict[str, Any]]


@pytest.mark.parametrize(
    ("spoil", "values", "check"),
    [
        pytest.param(
            one_value,
            ["EWR"],
            lambda found: (
                found["CI"]["value"] is None
                and "every row has the value" in found["CI"]["error"]
                and found["GE"]["value"] is not None
            ),
            id="facet with one value",
        ),
        pytest.param(
            None,
            ["XXX"],
            lambda found: found["DPPL"]["value"] is None and "no row has the value" in found["DPPL"]["error"],
            id="empty facet",
        ),
        pytest.param(
            equal_predictions,
            ["EWR"],
            lambda found: found["DPPL"]["value"] == 0 and found["RD"]["value"] == 0,
            id="all predictions equal",
        ),
        pytest.param(
            constant_label,
            ["EWR"],
            lambda found: (
                found["DPL"]["value"] == 0 and found["KL"]["value"] == 0 and found["SD"]["value"] == 0
            ),
            id="constant label",
        ),
    ],
)
def test_degenerate_data_is_reported_not_refused(
    program: Path,
    own: Path,
    tmp_path: Path,
    spoil: Callable[[Path], None] | None,
    values: list[str],
    check: Callable[[Metrics], bool],
) -> None:
    if spoil:
        spoil(own)
    config = {
        **EVERYTHING,
        "facet": [{"name_or_index": "origin", "value_or_threshold": values}],
        "methods": {"shap": {}, "pre_training_bias": {}, "post_training_bias": {}, "pdp": {}},
    }
    done = explain(program, own, tmp_path / "out", config=config)
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "out" / "analysis.json").read_text())
    metrics: Metrics = {
        metric["name"]: metric
        for stage in ("pre_training_bias_metrics", "post_training_bias_metrics")
        for metric in document[stage]["facets"]["origin"][0]["metrics"]
    }
    assert check(metrics)
    assert (tmp_path / "out" / "explanation.html").stat().st_size > 10_000


def test_a_feature_that_is_always_missing_has_no_partial_dependence(
    program: Path, own: Path, tmp_path: Path
) -> None:
    missing_feature(own)
    config = {**EVERYTHING, "facet": [], "methods": {"pdp": {"features": ["delay", "wind"]}}}
    done = explain(program, own, tmp_path / "out", config=config)
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert list(document) == ["version", "explanations"]
    delay, wind = document["explanations"]["pdp"]
    assert set(delay) == {"feature_name", "data_type", "error"}
    assert "error" not in wind
    assert not (tmp_path / "out" / "explanations_shap").exists()


def changed(**members: Any) -> dict[str, Any]:
    return {**EVERYTHING, **members}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        pytest.param("{", "cannot be read as JSON", id="not JSON"),
        pytest.param(changed(baseline=[]), "has baseline, which this job does not use", id="unknown member"),
        pytest.param(
            changed(methods={"shap": {"num_samples": 9}}),
            "methods.shap has num_samples, which this job does not use",
            id="kernel SHAP's member",
        ),
        pytest.param(changed(methods={}), "methods names no analysis", id="nothing to do"),
        pytest.param(
            changed(dataset_type="text/csv"), "the splits are application/x-parquet", id="another format"
        ),
        pytest.param(changed(label="early"), "the dataset's label is 'late'", id="another label"),
        pytest.param(changed(label_values_or_threshold=[2]), "must be [1]", id="another positive label"),
        pytest.param(changed(probability_threshold=2), "must be a number from 0 to 1", id="threshold"),
        pytest.param(
            changed(methods={"post_training_bias": {"methods": ["FT"]}}),
            'must be "all" or a list of AD, CDDPL',
            id="unknown metric",
        ),
        pytest.param(
            changed(methods={"shap": {"agg_method": "max"}}),
            "valid are mean_abs, median, mean_sq",
            id="aggregation",
        ),
        pytest.param(
            changed(methods={"pdp": {}}), "methods.pdp.features is needed", id="no way to choose features"
        ),
        pytest.param(
            changed(methods={"pdp": {"features": ["x"]}}),
            "the features are wind, delay, noise",
            id="unknown feature",
        ),
        pytest.param(
            changed(facet=[{"name_or_index": "carrier"}]),
            "facet 'carrier' is no column of the split; there are month, origin, wind",
            id="unknown facet",
        ),
        pytest.param(changed(facet=[{"name_or_index": "wind"}]), "needs a threshold", id="continuous facet"),
        pytest.param(
            changed(facet=[{"name_or_index": "wind", "value_or_threshold": ["strong"]}]),
            "its threshold must be a number",
            id="threshold that is no number",
        ),
        pytest.param(changed(facet=[{"name_or_index": 0}]), "must be a column's name", id="facet by index"),
        pytest.param(
            changed(group_variable="carrier"), "group_variable 'carrier' is no column", id="unknown group"
        ),
    ],
)
def test_the_configuration_is_refused_by_name(
    program: Path, prepared: Path, tmp_path: Path, config: Any, message: str
) -> None:
    done = explain(program, prepared, tmp_path / "out", config=config)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def no_model(root: Path) -> None:
    (root / "model" / "model.tar.gz").unlink()


def spoilt_model(root: Path) -> None:
    (root / "model" / "xgboost-model").write_bytes(b"no model")
    with tarfile.open(root / "model" / "model.tar.gz", "w:gz") as archive:
        archive.add(root / "model" / "xgboost-model", "xgboost-model")


def narrow_model(root: Path) -> None:
    matrix, labels = read_split(root)
    save_model(
        root, xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(matrix[:, :2], labels), 2)
    )


def regression(root: Path) -> None:
    matrix, labels = read_split(root)
    save_model(root, xgboost.train({}, xgboost.DMatrix(matrix, labels * 10), 5))


def bad_label(root: Path) -> None:
    matrix, labels = read_split(root)
    replace_split(root, matrix, labels + 1)


def fewer_keys(root: Path) -> None:
    (root / "keys" / "test" / "part-1.parquet").unlink()


def no_split(root: Path) -> None:
    shutil.rmtree(root / "splits" / "test")


def no_column(root: Path) -> None:
    matrix, labels = read_split(root)
    shutil.rmtree(root / "splits" / "test")
    write_table(root / "splits" / "test" / "part.parquet", {"late": labels, "wind": matrix[:, 0]})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(no_model, "the model input must be a training job's artefact", id="no artefact"),
        pytest.param(spoilt_model, "is no model that XGBoost can read", id="spoilt model"),
        pytest.param(
            narrow_model, "the model takes 2 features and features.json names 3", id="another model"
        ),
        pytest.param(regression, "must give one probability a row", id="no classifier"),
        pytest.param(bad_label, "must be 0 or 1 in every row", id="label of another kind"),
        pytest.param(fewer_keys, "are not as many as its rows", id="fewer keys"),
        pytest.param(no_split, "split 'test' has no Parquet file", id="no split"),
        pytest.param(no_column, "split 'test' lacks delay, noise", id="missing columns"),
    ],
)
def test_the_job_says_what_is_wrong(
    program: Path, own: Path, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(own)
    done = explain(program, own, tmp_path / "out", "--facets", "origin")
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def modules() -> Iterator[Any]:
    sys.path.insert(0, str(EXPLAIN))
    try:
        yield importlib.import_module
    finally:
        sys.path.remove(str(EXPLAIN))


MANY = np.arange(1000) % 4


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        pytest.param(MANY, (), {"0": 250, "1": 250, "2": 250, "3": 250}, id="whole numbers are categories"),
        pytest.param(MANY, (1, "2"), {"1,2": 500}, id="several values are one group"),
        pytest.param(np.arange(1000), (899,), {"(899, 999]": 100}, id="many whole numbers are continuous"),
        pytest.param(MANY * 1.0, (1.5,), {"(1.5, 3]": 500}, id="fractions are continuous"),
        pytest.param(MANY * 1.0, (1, 2), {"1,2": 500}, id="several values of fractions are categories"),
        pytest.param(
            np.where(MANY == 0, math.nan, MANY), (1,), {"(1, 3]": 500}, id="missing is above no threshold"
        ),
        pytest.param(
            np.array(["b", None, "a"] * 5, dtype=object), (), {"a": 5, "b": 5}, id="missing is no category"
        ),
        pytest.param(np.array(["10", "9", "x"] * 5), (), {"9": 5, "10": 5, "x": 5}, id="numbers before text"),
    ],
)
def test_facets_are_read_as_clarify_reads_them(
    modules: Any, column: np.ndarray, values: tuple[Any, ...], expected: dict[str, int]
) -> None:
    facet = modules("configuration").Facet("column", values)
    found = {value: int(having.sum()) for value, having in modules("facets").facet_rows(facet, column)}
    assert list(found.items()) == list(expected.items())
