"""The model behind the server: the user's ``inference.py``, or the default for XGBoost."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from triptych_serve.formats import CSV, RequestRefused, choose_accept, decode, encode, is_text
from triptych_serve.xgboost_model import ModelUnusable, XGBoostModel, load_xgboost

HANDLERS = ("model_fn", "input_fn", "predict_fn", "output_fn", "transform_fn")


@dataclass(frozen=True)
class Request:
    """One ``/invocations`` body. ``content_type`` and ``accept`` are None where the client sent none."""

    body: bytes
    content_type: str | None = None
    accept: str | None = None


@dataclass(frozen=True)
class Response:
    """What to answer; a ``status`` of 4xx is the client's mistake, 5xx ours."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


def default_input_fn(model: Any, body: bytes, content_type: str | None) -> Any:
    """Rows as float32; names and width are checked when the model is an XGBoostModel."""
    if isinstance(model, XGBoostModel):
        return decode(body, content_type, model.names, model.columns)
    return decode(body, content_type, None, None)


def default_predict_fn(rows: Any, model: Any) -> Any:
    """Scores of an XGBoost model, by its own predict otherwise."""
    if isinstance(model, XGBoostModel):
        if isinstance(rows, np.ndarray):
            return model.predict(rows)
        return model.booster.predict(rows, iteration_range=model.rounds)
    return model.predict(rows)


def default_output_fn(prediction: Any, accept: str | None) -> tuple[bytes, str]:
    """Scores in the wanted format, with its content type."""
    kind = choose_accept(accept, os.environ.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT") or CSV)
    content_type = f"{CSV}; charset=utf-8" if kind == CSV else kind
    return encode(np.asarray(prediction), kind), content_type


@dataclass
class Handlers:
    """The functions that answer requests; ``own`` are the ones the user's script defines."""

    model: Any
    own: dict[str, Callable[..., Any]] = field(default_factory=dict)

    @property
    def joins_requests(self) -> bool:
        """Whether rows of several requests may be predicted together: not with functions of the user's."""
        return isinstance(self.model, XGBoostModel) and not (
            self.own.keys() & {"input_fn", "predict_fn", "transform_fn"}
        )

    def ping(self) -> Response:
        """Whether the model still answers: an XGBoost model scores a row of missing values.

        What a model of another kind can score is known to the user's functions only; it is loaded, that is all.
        """
        if isinstance(self.model, XGBoostModel):
            try:
                scores = self.model.predict(np.full((1, self.model.columns), np.nan, dtype=np.float32))
            except Exception as error:
                return _failure(error)
            if len(scores) != 1:
                return Response(500, f"the model gives {len(scores)} scores for one row".encode())
        return Response(200, b"\n", "text/plain")

    def answer(self, requests: Sequence[Request]) -> list[Response]:
        """The answers, in order. A failing request never harms its neighbours."""
        if len(requests) == 1 or not self.joins_requests:
            return [self._answer_one(request) for request in requests]
        answers: list[Response | None] = [None] * len(requests)
        parts: list[tuple[int, np.ndarray]] = []
        for index, request in enumerate(requests):
            try:
                parts.append((index, default_input_fn(self.model, request.body, request.content_type)))
            except Exception as error:
                answers[index] = _failure(error)
        if parts:
            try:
                scores = self.model.predict(np.concatenate([rows for _, rows in parts]))
            except Exception:
                return [answer or self._answer_one(requests[i]) for i, answer in enumerate(answers)]
            start = 0
            for index, rows in parts:
                part = scores[start : start + len(rows)]
                start += len(rows)
                answers[index] = self._output(part, requests[index].accept)
        return [answer for answer in answers if answer is not None]

    def _answer_one(self, request: Request) -> Response:
        try:
            if "transform_fn" in self.own:
                accept = request.accept or CSV
                made = self.own["transform_fn"](
                    self.model, _text(request), request.content_type or CSV, accept
                )
                return _as_response(made, accept)
            if "input_fn" in self.own:
                rows = self.own["input_fn"](_text(request), request.content_type or CSV)
            else:
                rows = default_input_fn(self.model, request.body, request.content_type)
            predict = self.own.get("predict_fn")
            if predict is None:
                return self._output(default_predict_fn(rows, self.model), request.accept)
            # AWS's XGBoost container hands a predict_fn a DMatrix and the plain booster
            if isinstance(self.model, XGBoostModel):
                if "input_fn" not in self.own:
                    rows = self._as_matrix(rows)
                return self._output(predict(rows, self.model.booster), request.accept)
            return self._output(predict(rows, self.model), request.accept)
        except Exception as error:
            return _failure(error)

    def _as_matrix(self, rows: np.ndarray) -> Any:
        import xgboost

        return xgboost.DMatrix(rows, feature_names=self.model.booster.feature_names)

    def _output(self, prediction: Any, accept: str | None) -> Response:
        try:
            if "output_fn" in self.own:
                wanted = accept or CSV
                return _as_response(self.own["output_fn"](prediction, wanted), wanted)
            body, content_type = default_output_fn(prediction, accept)
            return Response(200, body, content_type)
        except Exception as error:
            return _failure(error)


def load_handlers(model_dir: Path, code_dir: Path | None = None, program: str | None = None) -> Handlers:
    """Import the inference script, when there is one, and load the model; raises ModelUnusable.

    The script is ``program`` below ``code_dir``, else ``model_dir/code/inference.py`` or
    ``model_dir/inference.py``.
    """
    own: dict[str, Callable[..., Any]] = {}
    script = _find_script(model_dir, code_dir, program)
    if script is not None:
        own = _import_handlers(script)
    try:
        model: Any = own["model_fn"](str(model_dir)) if "model_fn" in own else load_xgboost(model_dir)
    except ModelUnusable:
        raise
    except Exception as error:
        raise ModelUnusable(f"model_fn of {script} failed: {traceback.format_exc()}") from error
    if type(model).__name__ == "Booster" and type(model).__module__.startswith("xgboost"):
        model = XGBoostModel(model, model.feature_names, int(model.num_features()))
    return Handlers(model, own)


def _find_script(model_dir: Path, code_dir: Path | None, program: str | None) -> Path | None:
    if program:
        folders = [folder for folder in (code_dir, model_dir / "code", model_dir) if folder is not None]
        for folder in folders:
            if (folder / program).is_file():
                return folder / program
        looked = ", ".join(str(folder) for folder in folders)
        raise ModelUnusable(f"the inference script '{program}' (SAGEMAKER_PROGRAM) is not in {looked}")
    for candidate in (code_dir, model_dir / "code", model_dir):
        if candidate is not None and (candidate / "inference.py").is_file():
            return candidate / "inference.py"
    return None


def _import_handlers(script: Path) -> dict[str, Callable[..., Any]]:
    sys.path.insert(0, str(script.parent))
    try:
        module = importlib.import_module(script.stem)
    except Exception as error:
        raise ModelUnusable(f"{script} cannot be imported:\n{traceback.format_exc()}") from error
    found = {
        name: getattr(module, name) for name in HANDLERS if inspect.isroutine(getattr(module, name, None))
    }
    if "transform_fn" in found and found.keys() & {"input_fn", "predict_fn", "output_fn"}:
        raise ModelUnusable(
            f"{script} defines transform_fn beside input_fn, predict_fn or output_fn; choose one"
        )
    return found


def _text(request: Request) -> Any:
    """Text formats arrive as str in a user's function, as the SageMaker toolkits hand them over."""
    if not is_text(request.content_type):
        return request.body
    try:
        return request.body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestRefused(
            f"the request body is not UTF-8: {error.reason} at byte {error.start}"
        ) from error


def _as_response(made: Any, accept: str) -> Response:
    body, content_type = made if isinstance(made, tuple) else (made, accept)
    if isinstance(body, str):
        body = body.encode()
    if not isinstance(body, bytes | bytearray):
        raise TypeError(
            f"output_fn returned {type(body).__name__}; return str or bytes, or (body, content type)"
        )
    return Response(200, bytes(body), content_type)


def _failure(error: Exception) -> Response:
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and 400 <= status < 600:
        return Response(status, str(error).encode())
    traceback.print_exception(error)
    return Response(500, f"{type(error).__name__}: {error}".encode())
