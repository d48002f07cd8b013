"""SHAP values of the flights model: the explanation job's own function against XGBoost's bare call, and the whole job.

Both contestants are processes that load the same model and rows, explain every row, and say how long that took; their
values must be the same. The job is ``explain.pyz`` as it is deployed: SHAP values of its sample with bounds, partial
dependence, bias metrics of three facets, ``analysis.json`` and the page, from the start of its process to the end.

Where the package ``shap`` is installed beside this interpreter, its TreeExplainer's own values of 500 rows are
compared.

    python benchmarks/shap.py [--rows 5000] [--rounds 3] [--cache FOLDER]
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

# This file has the name of a package that it imports: its folder goes behind the installed packages.
HERE = Path(__file__).resolve().parent
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE]
sys.path += [str(HERE), str(HERE.parent)]

from measuring import (  # noqa: E402
    ROOT,
    ContestantFailed,
    Measurement,
    alternate,
    finish,
    measure,
    median_seconds,
    say_machine,
    triptych_command,
)

CONTESTANT = HERE / "baselines" / "shap_values.py"
PATIENT = {"OMP_WAIT_POLICY": "PASSIVE"}
FACETS = "origin,month,carrier"
RATIO_GOAL, SECONDS_GOAL, DIFFERENCE_GOAL, PAGE_GOAL_KB = 1.05, 10.0, 1e-4, 500.0
SHAP_ROWS = 500


def main() -> int:
    """Measure, print, and return 0 when every goal is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "triptych-shap")
    options = parser.parse_args()
    say_machine()
    inputs = prepare(options.cache)
    return compare(options, inputs)


def prepare(cache: Path) -> Path:
    """The flights model, its splits, keys and features.json, made by the pipeline in the cache's home once."""
    inputs, home, triptych = cache / "inputs", cache / "home", triptych_command()
    if inputs.is_dir():
        return inputs
    shutil.rmtree(cache, ignore_errors=True)
    try:
        run = measure([triptych, "run", "flights", "--home", home, "--port", "0", "--json"]).last_json()
    finally:
        measure([triptych, "down", "--home", home])
    model = home / "s3" / str(run["model"]["model_uri"]).removeprefix("s3://")  # type: ignore[index]
    batch = home / "s3" / str(run["model"]["batch_uri"]).removeprefix("s3://")  # type: ignore[index]
    dataset, draft = batch.parent.parent, cache / "draft"
    for kind in ("splits", "keys"):
        shutil.copytree(dataset / kind / "test", draft / kind / "test")
    for kind, file in (("features", dataset / "features.json"), ("model", model)):
        (draft / kind).mkdir()
        shutil.copy(file, draft / kind)
    draft.rename(inputs)
    return inputs


def compare(options: argparse.Namespace, inputs: Path) -> int:
    """All measurements."""
    from triptych import packaging

    python = triptych_command().with_name("python")
    program = packaging.build(ROOT, "flights", options.cache / "build").sagemaker["explain"]
    folders: list[str | Path] = []
    for name in ("model", "splits", "keys", "features"):
        folders += [f"--{name}", inputs / name]

    def values(how: str) -> Measurement:
        output = options.cache / f"{how}.npy"
        source = ROOT / "sagemaker_jobs" / "explain"
        return measure([python, CONTESTANT, how, inputs, source, output, str(options.rows)], PATIENT)

    def job() -> Measurement:
        output = options.cache / "out"
        words: Sequence[str | Path] = [
            "--output",
            output,
            "--facets",
            FACETS,
            "--sample-rows",
            str(options.rows),
        ]
        return measure([python, "-P", program, *folders, *words], PATIENT)

    found = alternate(
        {
            "XGBoost's pred_contribs": lambda: values("xgboost"),
            "the job's SHAP values": lambda: values("triptych"),
            "the whole explanation job": job,
        },
        options.rounds,
    )
    bare, ours = (
        median(float(str(one.last_json()["seconds"])) for one in found[name])
        for name in ("XGBoost's pred_contribs", "the job's SHAP values")
    )
    whole = median_seconds(found["the whole explanation job"])
    page_kb = (options.cache / "out" / "explanation.html").stat().st_size / 1000
    different = check_equal(options.cache)
    print(
        f"\n{options.rows} rows: XGBoost {bare:.2f} s, the job's function {ours:.2f} s; the whole job {whole:.2f} s"
    )
    figures: dict[str, object] = {
        "rows": options.rows,
        "xgboost_seconds": round(bare, 3),
        "shap_values_seconds": round(ours, 3),
        "job_seconds": round(whole, 3),
        "page_kb": round(page_kb),
    }
    goals = {
        "SHAP values, times XGBoost's own time": (ours / bare, RATIO_GOAL),
        "largest difference to XGBoost's values": (different, DIFFERENCE_GOAL),
        "the whole report, seconds": (whole, SECONDS_GOAL),
        "the page, kB": (page_kb, PAGE_GOAL_KB),
    }
    explained = tree_explainer_difference(inputs, options.cache)
    if explained is not None:
        goals["largest difference to shap.TreeExplainer"] = (explained, DIFFERENCE_GOAL)
    return finish("shap", figures, goals)


def check_equal(cache: Path) -> float:
    """The largest difference between the contestants' values; raises ContestantFailed for other shapes."""
    import numpy as np

    bare, ours = np.load(cache / "xgboost.npy"), np.load(cache / "triptych.npy")
    if bare.shape != ours.shape:
        raise ContestantFailed(f"the values have the shapes {bare.shape} and {ours.shape}")
    return float(np.max(np.abs(bare - ours)))


def tree_explainer_difference(inputs: Path, cache: Path) -> float | None:
    """The largest difference to ``shap.TreeExplainer``'s values of the first rows; None where shap is missing."""
    try:
        import shap
    except ImportError:
        print("shap is not installed here: TreeExplainer is not compared")
        return None
    import numpy as np

    sys.path.append(str(CONTESTANT.parent))
    from shap_values import load

    booster, matrix = load(inputs, SHAP_ROWS)
    explainer = shap.TreeExplainer(booster, feature_perturbation="tree_path_dependent")
    # else it asks XGBoost itself, and the two would be equal whatever they are
    explainer.model.model_type = "internal"
    explained = explainer.shap_values(matrix, check_additivity=False)
    return float(np.max(np.abs(explained - np.load(cache / "triptych.npy")[:SHAP_ROWS])))


if __name__ == "__main__":
    sys.exit(main())
