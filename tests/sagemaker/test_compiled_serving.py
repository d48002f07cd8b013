"""The server uses a compiled model only when it is this booster's, and agrees with it."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost
from sagemaker_laptop import booster_bytes

from triptych.localcloud.sagemaker.containers import SERVE

TRAIN = SERVE.parent / "train"
COMPILED = "compiled/model.onnx"


@pytest.fixture(scope="module", autouse=True)
def sources() -> Iterator[None]:
    sys.path[:0] = [str(SERVE), str(TRAIN)]
    try:
        yield
    finally:
        for source in (SERVE, TRAIN):
            sys.path.remove(str(source))


def write_model(folder: Path, **parameters: Any) -> Any:
    """A model folder as training leaves it; the booster."""
    compiling = importlib.import_module("compiled_model")
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(400, 3)).astype(np.float32)
    settings = {"objective": "binary:logistic", "max_depth": 4, "nthread": 1, **parameters}
    classes = settings.get("num_class", 2)
    labels = np.digitize(rows[:, 0] + rows[:, 1], np.linspace(-1, 1, classes - 1))
    booster = xgboost.train(settings, xgboost.DMatrix(rows, labels, feature_names=["a", "b", "c"]), 20)
    content = bytes(booster.save_raw("ubj"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "xgboost-model").write_bytes(content)
    compiled, _ = compiling.compile_checked(booster, content, rows)
    (folder / COMPILED).parent.mkdir(exist_ok=True)
    (folder / COMPILED).write_bytes(compiled)
    return booster


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    write_model(tmp_path / "model")
    return tmp_path / "model"


def load(folder: Path) -> Any:
    return importlib.import_module("triptych_serve.handlers").load_handlers(folder)


def ask(handlers: Any, body: bytes, kind: str = "text/csv") -> Any:
    return handlers.answer([importlib.import_module("triptych_serve.handlers").Request(body, kind)])[0]


@pytest.mark.parametrize(
    "parameters",
    [
        pytest.param({}, id="logistic"),
        pytest.param({"objective": "multi:softprob", "num_class": 3}, id="classes"),
        pytest.param({"objective": "reg:squarederror"}, id="regression"),
    ],
)
def test_it_answers_like_xgboost(tmp_path: Path, parameters: dict[str, Any]) -> None:
    write_model(tmp_path, **parameters)
    compiled = load(tmp_path)
    assert compiled.model.compiled is not None
    shutil.rmtree(tmp_path / "compiled")
    plain = load(tmp_path)
    assert plain.model.compiled is None
    for body in (b"0.1,-0.2,0.3", b",,", b"inf,-inf,nan", b"1,2,3\n4,5,6\n-1,-2,-3\n"):
        ours, theirs = ask(compiled, body), ask(plain, body)
        assert (
            (ours.status, ours.content_type)
            == (theirs.status, theirs.content_type)
            == (200, ours.content_type)
        )
        values = [
            np.array([[float(cell) for cell in line.split(b",")] for line in answer.body.split()])
            for answer in (ours, theirs)
        ]
        assert values[0].shape == values[1].shape
        np.testing.assert_allclose(values[0], values[1], rtol=1e-5)
    for refused in (b"1,2", b"1,2,x", b""):
        assert ask(compiled, refused) == ask(plain, refused)
        assert ask(compiled, refused).status == 400


def test_many_rows_go_to_xgboost_and_get_the_same_scores(model_dir: Path) -> None:
    model = load(model_dir).model
    rows = np.random.default_rng(0).normal(size=(257, 3)).astype(np.float32)
    np.testing.assert_array_equal(model.predict(rows), model.predict_with_xgboost(rows))
    np.testing.assert_allclose(model.predict(rows[:256]), model.predict(rows)[:256], rtol=1e-5)


def _replace_the_booster(folder: Path) -> None:
    (folder / "xgboost-model").write_bytes(booster_bytes(names=["a", "b", "c"]))


def _cut_short(folder: Path) -> None:
    path = folder / COMPILED
    path.write_bytes(path.read_bytes()[:-200])


def _nonsense(folder: Path) -> None:
    (folder / COMPILED).write_bytes(b"{}")


def _change(folder: Path, change: Callable[[Any], None]) -> None:
    import onnx

    model = onnx.load_from_string((folder / COMPILED).read_bytes())
    change(model)
    (folder / COMPILED).write_bytes(model.SerializeToString())


def _other_leaves(folder: Path) -> None:
    def change(model: Any) -> None:
        for attribute in model.graph.node[0].attribute:
            if attribute.name == "target_weights":
                attribute.floats[0] += 0.5

    _change(folder, change)


def _other_branch_rule(folder: Path) -> None:
    """``<=`` for ``<``: wrong on the thresholds themselves only."""

    def change(model: Any) -> None:
        for attribute in model.graph.node[0].attribute:
            if attribute.name == "nodes_modes":
                modes = [mode.replace(b"BRANCH_LT", b"BRANCH_LEQ") for mode in attribute.strings]
                del attribute.strings[:]
                attribute.strings.extend(modes)

    _change(folder, change)


def _missing_goes_the_other_way(folder: Path) -> None:
    def change(model: Any) -> None:
        for attribute in model.graph.node[0].attribute:
            if attribute.name == "nodes_missing_value_tracks_true":
                flipped = [1 - value for value in attribute.ints]
                del attribute.ints[:]
                attribute.ints.extend(flipped)

    _change(folder, change)


def _set_property(name: str, value: str | None) -> Callable[[Path], None]:
    def change(model: Any) -> None:
        kept = {item.key: item.value for item in model.metadata_props} | {name: value}
        del model.metadata_props[:]
        for key, text in kept.items():
            if text is not None:
                model.metadata_props.add(key=key, value=text)

    return lambda folder: _change(folder, change)


def _names_another_file(folder: Path) -> None:
    """An initialiser whose values lie in a file elsewhere on the disk."""
    import onnx

    def change(model: Any) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("float_data")
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in {"location": "/etc/passwd", "offset": "0", "length": "4"}.items():
            tensor.external_data.add(key=key, value=value)

    _change(folder, change)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        pytest.param(_replace_the_booster, "compiled from another xgboost-model", id="another-booster"),
        pytest.param(_cut_short, "ONNX Runtime cannot load it", id="cut-short"),
        pytest.param(_nonsense, "ONNX Runtime cannot load it", id="not-onnx"),
        pytest.param(_other_leaves, "scores differ from XGBoost's; the first is", id="other-leaves"),
        pytest.param(_other_branch_rule, "scores differ from XGBoost's", id="other-branch-rule"),
        pytest.param(_missing_goes_the_other_way, "scores differ from XGBoost's", id="missing-values"),
        pytest.param(_names_another_file, "ONNX Runtime cannot load it", id="names-another-file"),
        pytest.param(
            _set_property("xgboost_model_sha256", None), "from another xgboost-model", id="no-digest"
        ),
        pytest.param(_set_property("probe_rows", None), "no rows of 3 columns", id="no-probe"),
        pytest.param(_set_property("probe_rows", ""), "no rows to try it with", id="empty-probe"),
        pytest.param(_set_property("probe_rows", "AAAA"), "no rows of 3 columns", id="broken-probe"),
    ],
)
def test_what_does_not_prove_itself_is_not_used(
    model_dir: Path, capfd: pytest.CaptureFixture[str], spoil: Callable[[Path], None], reason: str
) -> None:
    spoil(model_dir)
    handlers = load(model_dir)
    assert handlers.model.compiled is None
    said = capfd.readouterr().out
    assert said.startswith("the compiled model is not used, XGBoost serves: ")
    assert reason in said
    assert ask(handlers, b"1,2,3").status == 200


def test_without_onnx_runtime_xgboost_serves(model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ModuleNotFoundError('not here', name='onnxruntime')")
    code = (
        "import sys; sys.path[:0] = sys.argv[1:3]\n"
        "from pathlib import Path\n"
        "from triptych_serve.handlers import Request, load_handlers\n"
        "print(load_handlers(Path(sys.argv[3])).answer([Request(b'1,2,3')])[0].status)\n"
    )
    arguments = [str(tmp_path), str(SERVE), str(model_dir)]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "the compiled model is not used, XGBoost serves: onnxruntime is not installed here (not here)",
        "200",
    ]


def test_own_functions_get_the_booster(model_dir: Path) -> None:
    (model_dir / "inference.py").write_text(
        "def predict_fn(matrix, booster): return type(booster).__name__\n"
        "def output_fn(answer, accept): return answer\n"
    )
    assert ask(load(model_dir), b"1,2,3").body == b"Booster"


@pytest.mark.parametrize(
    "made",
    [
        pytest.param("numpy.array([cells], dtype='f4')", id="float32"),
        pytest.param("numpy.array([cells])", id="float64"),
        pytest.param("numpy.array([cells, cells], dtype='f4', order='F')[:1]", id="fortran-order"),
        pytest.param("numpy.array([cells, cells], dtype='f4')[::2]", id="strided"),
        pytest.param("xgboost.DMatrix([cells])", id="matrix"),
    ],
)
def test_whatever_an_own_input_fn_makes_is_scored(model_dir: Path, made: str) -> None:
    code = (
        "import numpy, xgboost\n"
        "def input_fn(body, kind):\n"
        "    cells = [float(cell) for cell in body.split(',')]\n"
        f"    return {made}\n"
    )
    if "DMatrix" in made:
        code = code.replace("[cells]", "[cells], feature_names=['a', 'b', 'c']")
    expected = float(ask(load(model_dir), b"0.25,-1,2").body)
    (model_dir / f"inference_{abs(hash(made))}.py").write_text(code)
    handlers = importlib.import_module("triptych_serve.handlers")
    loaded = handlers.load_handlers(model_dir, model_dir, f"inference_{abs(hash(made))}.py")
    answer = ask(loaded, b"0.25,-1,2")
    assert answer.status == 200
    assert float(answer.body) == pytest.approx(expected, rel=1e-5)
