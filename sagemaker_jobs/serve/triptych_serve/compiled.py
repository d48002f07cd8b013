"""The compiled form of an XGBoost model, ``compiled/model.onnx``, run by ONNX Runtime where it is installed.

It is data from the model's archive like the booster itself, and is believed no more than it proves: it must
name the very ``xgboost-model`` beside it, and give the booster's scores on the rows it brings along.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

COMPILED_FILE = "compiled/model.onnx"
_ABSOLUTE_TOLERANCE, _RELATIVE_TOLERANCE = 1e-6, 1e-5
_LARGEST_FILE_BYTES = 1 << 30

Predict = Callable[[np.ndarray], np.ndarray]
"""from float32 rows, (rows, columns), to scores, (rows,) or (rows, groups)"""


class CompiledUnusable(Exception):
    """The compiled model must not be used; the message says why. XGBoost serves instead."""


def load_compiled(model_dir: Path, model_file: bytes, columns: int, reference: Predict) -> Predict | None:
    """The compiled model, once it agrees with ``reference``, XGBoost's own predict; None where there is none.

    ``model_file`` is the booster's file. Raises CompiledUnusable.
    """
    path = model_dir / COMPILED_FILE
    if not path.is_file():
        return None
    try:
        import onnxruntime
    except ImportError as error:
        raise CompiledUnusable(f"onnxruntime is not installed here ({error})") from error
    if path.stat().st_size > _LARGEST_FILE_BYTES:
        raise CompiledUnusable(f"it has more than {_LARGEST_FILE_BYTES} bytes")
    options = onnxruntime.SessionOptions()
    # One row's work is too small to share; a thread pool would only take the cores from the other servers.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        # From bytes, so that it cannot name further files to read.
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        properties = session.get_modelmeta().custom_metadata_map
    except Exception as error:
        raise CompiledUnusable(
            f"ONNX Runtime cannot load it: {' '.join(str(error).split())[:300]}"
        ) from error
    if properties.get("xgboost_model_sha256") != hashlib.sha256(model_file).hexdigest():
        raise CompiledUnusable("it was compiled from another xgboost-model than the one beside it")
    predict = _predict(session)
    _check(predict, reference, _probe_rows(properties, columns))
    return predict


def _predict(session: object) -> Predict:
    run = session.run  # type: ignore[attr-defined]

    def predict(rows: np.ndarray) -> np.ndarray:
        scores: np.ndarray = run(None, {"rows": rows})[0]
        return scores[:, 0] if scores.shape[1] == 1 else scores

    return predict


def _probe_rows(properties: dict[str, str], columns: int) -> np.ndarray:
    try:
        rows = np.frombuffer(base64.b64decode(properties["probe_rows"], validate=True), dtype="<f4")
        rows = rows.reshape(-1, columns).astype(np.float32)
    except (KeyError, ValueError) as error:
        raise CompiledUnusable(f"it holds no rows of {columns} columns to try it with") from error
    if not len(rows):
        raise CompiledUnusable("it holds no rows to try it with")
    return rows


def _check(predict: Predict, reference: Predict, rows: np.ndarray) -> None:
    expected = reference(rows)
    try:
        found = predict(rows)
    except Exception as error:
        raise CompiledUnusable(f"it cannot score a row: {' '.join(str(error).split())[:300]}") from error
    if found.shape != expected.shape:
        raise CompiledUnusable(f"it answers {found.shape} where XGBoost answers {expected.shape}")
    agree = np.isclose(found, expected, _RELATIVE_TOLERANCE, _ABSOLUTE_TOLERANCE, equal_nan=True)
    if not agree.all():
        first = tuple(np.argwhere(~agree)[0])
        raise CompiledUnusable(
            f"{int((~agree).sum())} of {agree.size} scores differ from XGBoost's; the first is "
            f"{found[first]:.7g} where it gives {expected[first]:.7g}"
        )
