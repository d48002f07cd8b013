"""The training and the evaluation job as SageMaker starts them: a process, its environment, its arguments."""

from __future__ import annotations

import html.parser
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from job_splits import write_data, write_split, write_table

from triptych import packaging

PROJECT = Path(__file__).parents[2]
SETTINGS = {
    "num_round": 30,
    "max_depth": 3,
    "eta": 0.3,
    "log_every": 10,
    "seed": 7,
    "objective": "binary:logistic",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_data(root)
    return root


def train(data: Path, model: Path, settings: dict[str, Any] | None = None, **other: str) -> Any:
    environment = {
        **os.environ,
        "SM_CHANNEL_TRAIN": str(data / "splits" / "train"),
        "SM_CHANNEL_VALIDATION": str(data / "splits" / "validation"),
        "SM_CHANNEL_FEATURES": str(data / "features"),
        "SM_MODEL_DIR": str(model),
        "SM_OUTPUT_DIR": str(model / "output"),
        "SM_NUM_CPUS": "1",
        "SM_HPS": json.dumps({**SETTINGS, **(settings or {})}),
        **other,
    }
    script = PROJECT / "sagemaker_jobs" / "train" / "train.py"
    return subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = tmp_path_factory.mktemp("model")
    done = train(data, model)
    assert done.returncode == 0, done.stderr
    (model / "log").write_text(done.stdout)
    with tarfile.open(model / "model.tar.gz", "w:gz") as archive:
        archive.add(model / "xgboost-model", "xgboost-model")
    return model


def test_training_learns_logs_and_saves(trained: Path) -> None:
    lines = [line for line in (trained / "log").read_text().splitlines() if line.startswith("[")]
    assert [line.split("\t")[0] for line in lines] == ["[9]", "[19]", "[29]"]
    assert lines[-1].split("\t")[2].startswith("validation-auc:0.")
    report = json.loads((trained / "about" / "training.json").read_text())
    assert report["rounds"] == 30
    assert report["rows"] == {"train": 4000, "validation": 1000}
    assert report["history"][-1]["validation-auc"] > 0.75
    assert json.loads((trained / "about" / "features.json").read_text())["label"]["name"] == "late"


def test_training_compiles_the_model_and_says_how_well_it_agrees(trained: Path) -> None:
    compiled = json.loads((trained / "about" / "training.json").read_text())["compiled"]
    assert compiled["file"] == "compiled/model.onnx"
    assert (trained / compiled["file"]).stat().st_size > 1000
    assert compiled["parity"]["rows"] == compiled["parity"]["edge_rows"] + 1000
    assert compiled["parity"]["max_difference"] < 1e-6
    assert "compiled in" in (trained / "log").read_text()


def test_nothing_lies_beside_the_model(data: Path, tmp_path: Path) -> None:
    """AWS's XGBoost container loads every file there as a model."""
    assert train(data, tmp_path).returncode == 0
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["xgboost-model"]


def test_training_is_repeatable(data: Path, trained: Path, tmp_path: Path) -> None:
    assert train(data, tmp_path).returncode == 0
    for name in ("xgboost-model", "compiled/model.onnx"):
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes()


def test_early_stopping_goes_back_to_the_best_round(data: Path, tmp_path: Path) -> None:
    settings = {"num_round": 400, "log_every": 5, "early_stopping_rounds": 10, "eta": 0.5, "max_depth": 8}
    done = train(data, tmp_path, settings)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "about" / "training.json").read_text())
    best = max(report["history"], key=lambda entry: entry["validation-auc"])
    assert report["rounds"] == best["round"] + 1 < 400


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param("empty", "channel 'train' holds no Parquet file", id="empty channel"),
        pytest.param("constant", "all 100 labels of channel 'train' are the same", id="constant label"),
        pytest.param("narrow", "channel 'train' lacks the columns wind, delay, noise", id="missing columns"),
        pytest.param("unset", "SM_CHANNEL_TRAIN is missing", id="not a training job"),
    ],
)
def test_training_says_what_is_wrong(data: Path, tmp_path: Path, change: str, message: str) -> None:
    folder = tmp_path / "splits" / "train"
    folder.mkdir(parents=True)
    if change == "constant":
        write_split(tmp_path, "train", 100, 1, constant=True)
    if change == "narrow":
        write_table(folder / "part-0.parquet", {"late": [0.0, 1.0]})
    other = {"SM_CHANNEL_TRAIN": str(folder)}
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SM_")}
    if change == "unset":
        script = PROJECT / "sagemaker_jobs" / "train" / "train.py"
        done = subprocess.run(
            [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False
        )
    else:
        done = train(data, tmp_path / "model", **other)
        assert message in (tmp_path / "model" / "output" / "failure").read_text()
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "model" / "xgboost-model").exists()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive as it is deployed."""
    return packaging.build(PROJECT, "flights", tmp_path_factory.mktemp("build")).sagemaker["evaluate"]


def evaluate(program: Path, data: Path, model: Path, output: Path, slices: str = "month,origin") -> Any:
    words = [
        str(program),
        "--model",
        str(model),
        "--splits",
        str(data / "splits"),
        "--keys",
        str(data / "keys"),
    ]
    words += ["--features", str(data / "features"), "--output", str(output)]
    words += ["--use-splits", "test,validation", "--slices", slices]
    # away from the checkout, so that the archive's own triptych.core is what runs
    return subprocess.run(
        [sys.executable, "-P", *words], cwd=output.parent, capture_output=True, text=True, check=False
    )


class _Page(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_evaluation_measures_and_draws(program: Path, data: Path, trained: Path, tmp_path: Path) -> None:
    done = evaluate(program, data, trained, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    quality, extra = document["binary_classification_metrics"], document["triptych"]
    assert set(extra["splits"]) == {"test", "validation"}
    assert extra["splits"]["test"]["auc"] == quality["auc"]["value"] > 0.75
    assert sum(entry["rows"] for entry in extra["slices"]["origin"]) == 1000
    assert sum(map(sum, (row.values() for row in quality["confusion_matrix"].values()))) == 1000
    assert extra["importance"][0]["feature"] == "delay"
    assert sum(entry["share"] for entry in extra["importance"]) == pytest.approx(1, abs=1e-4)
    text = (tmp_path / "out" / "evaluation.html").read_text()
    page = _Page()
    page.feed(text)
    assert sum(tag == "svg" for tag, _ in page.tags) > 6
    assert not [attrs for _, attrs in page.tags if "http" in str(attrs.get("src") or attrs.get("href") or "")]
    assert "&lt;b&gt;" in text, "a value of the data was not escaped"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            "slices",
            "cannot slice by carrier: the keys of the test split are month, origin",
            id="unknown slice",
        ),
        pytest.param("no model", "the model input must be a training job's artefact", id="no artefact"),
        pytest.param("empty model", "model.tar.gz has no file 'xgboost-model'", id="no model in it"),
    ],
)
def test_evaluation_says_what_is_wrong(
    program: Path, data: Path, trained: Path, tmp_path: Path, change: str, message: str
) -> None:
    model = trained
    if change != "slices":
        model = tmp_path / "model"
        model.mkdir()
    if change == "empty model":
        with tarfile.open(model / "model.tar.gz", "w:gz") as archive:
            archive.add(trained / "about" / "training.json", "training.json")
    done = evaluate(program, data, model, tmp_path / "out", "carrier" if change == "slices" else "month")
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
