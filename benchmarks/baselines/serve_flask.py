"""The flights model behind Flask, as SageMaker's scikit-learn and XGBoost containers serve one: gunicorn in front.

MODEL=…/xgboost-model gunicorn --chdir benchmarks/baselines serve_flask:app
"""

from __future__ import annotations

import os

import numpy as np
import xgboost
from flask import Flask, Response, request

app = Flask(__name__)
booster = xgboost.Booster(params={"nthread": 1})
booster.load_model(os.environ["MODEL"])
best = booster.attributes().get("best_iteration")
rounds = (0, int(best) + 1) if best is not None else (0, 0)


@app.get("/ping")
def ping() -> Response:
    return Response("\n", content_type="text/plain")


@app.post("/invocations")
def invocations() -> Response:
    """CSV rows in, one score a line out."""
    lines = request.get_data(as_text=True).splitlines()
    rows = np.array(
        [[float(cell) if cell else np.nan for cell in line.split(",")] for line in lines], dtype=np.float32
    )
    scores = booster.inplace_predict(rows, iteration_range=rounds, missing=np.nan, validate_features=False)
    return Response("\n".join(map(str, scores)) + "\n", content_type="text/csv")
