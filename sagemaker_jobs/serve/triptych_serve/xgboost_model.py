"""An XGBoost model from a model folder: the booster, and its compiled form where there is one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from triptych_serve.compiled import CompiledUnusable, Predict, load_compiled

MODEL_FILE = "xgboost-model"
MOST_COMPILED_ROWS = 256
"""above it XGBoost is as quick as the compiled model, and it may use several cores"""


class ModelUnusable(Exception):
    """The model folder or the inference script cannot be loaded; the server does not start."""


@dataclass(frozen=True)
class XGBoostModel:
    """A booster and what requests are checked against; ``rounds`` ends at the best one, (0, 0) is all.

    ``compiled`` gives the booster's own scores, quicker for few rows; None where there is none.
    """

    booster: Any
    names: Sequence[str] | None
    columns: int
    rounds: tuple[int, int] = (0, 0)
    compiled: Predict | None = None

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Scores for float32 rows, (rows, columns); for others as XGBoost takes them."""
        if self.compiled is None or len(rows) > MOST_COMPILED_ROWS or rows.dtype != np.float32:
            return self.predict_with_xgboost(rows)
        return self.compiled(rows)

    def predict_with_xgboost(self, rows: np.ndarray) -> np.ndarray:
        """Scores by the booster itself."""
        scores: np.ndarray = self.booster.inplace_predict(
            rows, iteration_range=self.rounds, missing=np.nan, validate_features=False
        )
        return scores


def load_xgboost(model_dir: Path) -> XGBoostModel:
    """The booster in ``model_dir/xgboost-model`` (or its one .json/.ubj file); JSON or UBJ, never pickle.

    Raises ModelUnusable.
    """
    import xgboost

    path = _find_model(model_dir)
    content = path.read_bytes()
    if content[:1] != b"{":
        raise ModelUnusable(
            f"{path.name} is neither JSON nor UBJ. Pickled models are refused, since loading one runs "
            "its code: save it with Booster.save_model('model.ubj')."
        )
    booster = xgboost.Booster()
    try:
        booster.load_model(bytearray(content))
        columns = int(booster.num_features())
    except Exception as error:
        reason = " ".join(str(error).split("Stack trace", 1)[0].split())[:300]
        raise ModelUnusable(f"{path.name} cannot be read as an XGBoost model: {reason}") from error
    threads = os.environ.get("TRIPTYCH_SERVE_THREADS")
    if threads:
        booster.set_param({"nthread": int(threads)})
    best = booster.attr("best_iteration")
    model = XGBoostModel(booster, booster.feature_names, columns, (0, int(best) + 1) if best else (0, 0))
    try:
        compiled = load_compiled(model_dir, content, columns, model.predict_with_xgboost)
    except CompiledUnusable as error:
        print(f"the compiled model is not used, XGBoost serves: {error}", flush=True)
        return model
    return XGBoostModel(booster, model.names, columns, model.rounds, compiled)


def _find_model(model_dir: Path) -> Path:
    path = model_dir / MODEL_FILE
    if path.is_file():
        return path
    others = sorted(p for p in model_dir.glob("*") if p.suffix in (".json", ".ubj", ".model"))
    if len(others) == 1:
        return others[0]
    found = ", ".join(sorted(p.name for p in model_dir.glob("*"))) or "nothing"
    raise ModelUnusable(
        f"no model in {model_dir}: expected the file '{MODEL_FILE}' (an XGBoost model saved as JSON or "
        f"UBJ), found {found}. Give an inference.py with a model_fn for any other kind of model."
    )
