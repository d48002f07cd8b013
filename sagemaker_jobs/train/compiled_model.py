"""Compile an XGBoost booster into an ONNX tree ensemble, and prove that both give the same scores.

ONNX Runtime answers one row in 8 µs where XGBoost takes 150, so the model server prefers the compiled model.
It is made from the booster's own JSON: a node goes left where ``value < threshold``, a missing value goes the
node's default way, and the first tree's leaves carry the base score, so that float32 sums come about in
XGBoost's order. Whatever is not covered, or does not agree on every row tried, is served by XGBoost.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

COMPILED_FILE = "compiled/model.onnx"
"""below the model folder; AWS's XGBoost container takes every file beside ``xgboost-model`` for a model"""
PROBE_ROWS = 256
ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE = 1e-6, 1e-5
_MOST_EDGE_ROWS, _MOST_SAMPLES = 4096, 8192
_MOST_CELLS = 4_000_000
_MOST_NODES = 5_000_000
_DELETED_NODE = 2**32 - 1
_SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 3.4e38, -3.4e38, 1e-45], dtype=np.float32)

Link = Literal["identity", "logit", "log"]
_OBJECTIVES: dict[str, tuple[Link, str]] = {
    "binary:logistic": ("logit", "sigmoid"),
    "reg:logistic": ("logit", "sigmoid"),
    "binary:logitraw": ("identity", "none"),
    "reg:squarederror": ("identity", "none"),
    "reg:absoluteerror": ("identity", "none"),
    "reg:pseudohubererror": ("identity", "none"),
    "reg:quantileerror": ("identity", "none"),
    "count:poisson": ("log", "exp"),
    "reg:gamma": ("log", "exp"),
    "reg:tweedie": ("log", "exp"),
    "multi:softprob": ("identity", "softmax"),
}
"""objective: from the base score to the margin, and from the margin to the score"""


class NotCompiled(Exception):
    """This booster has no compiled form, or one that does not agree; the message says why."""


@dataclass(frozen=True)
class Parity:
    """What the comparison found. Differences are of scores."""

    rows: int
    edge_rows: int
    max_difference: float


@dataclass(frozen=True)
class Forest:
    """All nodes of the trees a booster predicts with, one array an attribute, and how margins become scores.

    ``tree``, ``node``, ``left``, ``right``, ``feature``, ``missing_left``: int64; ``value``: float32, a
    threshold or a leaf's weight; ``left`` is -1 for a leaf. ``group`` is each tree's class or target.
    """

    columns: int
    groups: int
    base_margins: np.ndarray
    transform: str
    group: np.ndarray
    tree: np.ndarray
    node: np.ndarray
    left: np.ndarray
    right: np.ndarray
    feature: np.ndarray
    missing_left: np.ndarray
    value: np.ndarray

    def thresholds(self) -> dict[int, np.ndarray]:
        """The distinct thresholds of each feature that is split on."""
        branch = self.left >= 0
        features, values = self.feature[branch], self.value[branch]
        return {int(feature): np.unique(values[features == feature]) for feature in np.unique(features)}


def compile_checked(booster: Any, model_file: bytes, samples: np.ndarray) -> tuple[bytes, Parity]:
    """``booster`` as ONNX, once it agrees with it on ``samples`` (float32 rows) and on edge rows.

    ``model_file`` is the booster as it is saved: the ONNX model names it, and no other is served in its
    place. Raises NotCompiled.
    """
    best = booster.attr("best_iteration")
    if best is not None:
        booster = booster[: int(best) + 1]
    forest = read_forest(booster)
    most = min(_MOST_SAMPLES, max(1, _MOST_CELLS // forest.columns))
    samples = samples[:: -(-len(samples) // most) or 1]
    edges = edge_rows(forest)
    rows = np.concatenate([edges, samples])
    probe = np.concatenate([edges[: PROBE_ROWS // 2], samples[: PROBE_ROWS // 2]])
    content = to_onnx(forest, hashlib.sha256(model_file).hexdigest(), probe)
    expected = booster.inplace_predict(rows, missing=np.nan, validate_features=False)
    difference = compare(expected, runner(content)(rows), rows)
    return content, Parity(len(rows), len(edges), difference)


def read_forest(booster: Any) -> Forest:
    """The booster's trees; raises NotCompiled where ONNX cannot say the same."""
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    kind = learner["gradient_booster"]["name"]
    if kind != "gbtree":
        raise NotCompiled(f"boosters of the kind '{kind}' are not covered, only 'gbtree' is")
    objective = learner["objective"]["name"]
    if objective not in _OBJECTIVES:
        raise NotCompiled(f"the objective '{objective}' is not covered; covered are {', '.join(_OBJECTIVES)}")
    link, transform = _OBJECTIVES[objective]
    settings = learner["learner_model_param"]
    model = learner["gradient_booster"]["model"]
    trees = model["trees"]
    if not trees:
        raise NotCompiled("the booster has no trees")
    if any(int(tree["tree_param"].get("size_leaf_vector", "1")) > 1 for tree in trees):
        raise NotCompiled("trees with vector leaves (multi_strategy 'multi_output_tree') are not covered")
    if any(any(tree["split_type"]) for tree in trees):
        raise NotCompiled("categorical splits are not covered")
    groups = max(int(settings["num_class"]), int(settings.get("num_target", "1")), 1)
    group = np.array(model["tree_info"], dtype=np.int64)
    if len(np.unique(group)) != groups:
        raise NotCompiled("a class or target has no tree")
    sizes = [len(tree["left_children"]) for tree in trees]
    if sum(sizes) > _MOST_NODES:
        raise NotCompiled(f"the trees have {sum(sizes)} nodes, more than {_MOST_NODES}")

    def joined(name: str, kind: type) -> np.ndarray:
        return np.concatenate([np.asarray(tree[name], dtype=kind) for tree in trees])

    feature = joined("split_indices", np.int64)
    kept = feature != _DELETED_NODE
    return Forest(
        columns=int(settings["num_feature"]),
        groups=groups,
        base_margins=_base_margins(settings["base_score"], link, groups),
        transform=transform,
        group=group,
        tree=np.repeat(np.arange(len(trees)), sizes)[kept],
        node=np.concatenate([np.arange(size) for size in sizes])[kept],
        left=joined("left_children", np.int64)[kept],
        right=joined("right_children", np.int64)[kept],
        feature=feature[kept],
        missing_left=joined("default_left", np.int64)[kept],
        value=joined("split_conditions", np.float32)[kept],
    )


def _base_margins(text: str, link: Link, groups: int) -> np.ndarray:
    """The saved base score ("5E-1", or "[2.5E-1]" since XGBoost 3) on the margin's scale, float32 (groups,)."""
    scores = np.atleast_1d(np.array(json.loads(text), dtype=np.float32))
    if link == "logit":
        scores = -np.log(np.float32(1) / scores - np.float32(1))
    elif link == "log":
        scores = np.log(scores)
    return np.broadcast_to(scores.astype(np.float32), (groups,))


def edge_rows(forest: Forest) -> np.ndarray:
    """Rows where a compiled model goes wrong first: every threshold itself and its neighbour below, missing and
    infinite values, zeros of both signs; float32, (at most a few thousand, columns). Always the same ones."""
    rng = np.random.default_rng(0)
    thresholds = forest.thresholds()
    most = max((len(values) for values in thresholds.values()), default=1)
    count = min(most, _MOST_EDGE_ROWS, max(1, _MOST_CELLS // forest.columns))
    exact = np.zeros((count, forest.columns), dtype=np.float32)
    for feature, values in thresholds.items():
        exact[:, feature] = rng.permutation(np.resize(values, max(count, len(values))))[:count]
    below = np.nextafter(exact, np.float32(-np.inf))
    mixed = exact[rng.permutation(count)].copy()
    chosen = rng.random(mixed.shape) < 0.3
    mixed[chosen] = rng.choice(_SPECIAL, int(chosen.sum()))
    uniform = np.broadcast_to(_SPECIAL[:, None], (len(_SPECIAL), forest.columns))
    return np.concatenate([uniform, rng.permutation(np.concatenate([exact, below, mixed]))])


def to_onnx(forest: Forest, model_sha256: str, probe: np.ndarray) -> bytes:
    """The forest as an ONNX model from ``rows`` (float32, (rows, columns)) to ``scores`` ((rows, groups)).

    Its metadata name the booster's file and hold the rows with which a server compares the two again.
    """
    try:
        from onnx import TensorProto, helper
    except ImportError as error:
        raise NotCompiled(f"the package 'onnx' is not installed here ({error})") from error
    nodes = [_ensemble(helper, forest)]
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    if forest.transform == "sigmoid":
        # 1 / (1 + e^-margin) by single operators: Sigmoid is an approximation that is coarse far from 0.5.
        nodes += [
            helper.make_node("Neg", ["margins"], ["negated"]),
            helper.make_node("Exp", ["negated"], ["odds"]),
            helper.make_node("Add", ["odds", "one"], ["sum"]),
            helper.make_node("Reciprocal", ["sum"], ["scores"]),
        ]
    elif forest.transform == "exp":
        nodes.append(helper.make_node("Exp", ["margins"], ["scores"]))
    elif forest.transform == "softmax":
        nodes.append(helper.make_node("Softmax", ["margins"], ["scores"], axis=1))
    output = "margins" if forest.transform == "none" else "scores"
    graph = helper.make_graph(
        nodes,
        "booster",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["count", forest.columns])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["count", forest.groups])],
        [one] if forest.transform == "sigmoid" else [],
    )
    model = helper.make_model(
        graph,
        producer_name="triptych",
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)],
    )
    helper.set_model_props(
        model,
        {
            "xgboost_model_sha256": model_sha256,
            "probe_rows": base64.b64encode(np.ascontiguousarray(probe, dtype="<f4").tobytes()).decode(),
        },
    )
    return bytes(model.SerializeToString())


def _ensemble(helper: Any, forest: Forest) -> Any:
    leaf = forest.left < 0
    weights = forest.value[leaf].copy()
    leaf_tree = forest.tree[leaf]
    leaf_group = forest.group[leaf_tree]
    for group, base in enumerate(forest.base_margins):
        first_tree = np.flatnonzero(forest.group == group)[0]
        weights[leaf_tree == first_tree] += base
    branch_only = {
        "nodes_featureids": forest.feature,
        "nodes_truenodeids": forest.left,
        "nodes_falsenodeids": forest.right,
        "nodes_missing_value_tracks_true": forest.missing_left,
        "nodes_values": forest.value,
    }
    return helper.make_node(
        "TreeEnsembleRegressor",
        ["rows"],
        ["margins"],
        domain="ai.onnx.ml",
        n_targets=forest.groups,
        aggregate_function="SUM",
        post_transform="NONE",
        nodes_treeids=forest.tree.tolist(),
        nodes_nodeids=forest.node.tolist(),
        nodes_modes=np.where(leaf, "LEAF", "BRANCH_LT").tolist(),
        **{name: np.where(leaf, 0, values).tolist() for name, values in branch_only.items()},
        target_treeids=leaf_tree.tolist(),
        target_nodeids=forest.node[leaf].tolist(),
        target_ids=leaf_group.tolist(),
        target_weights=weights.tolist(),
    )


def runner(content: bytes) -> Callable[[np.ndarray], np.ndarray]:
    """A function from rows to scores that runs the ONNX model; raises NotCompiled."""
    try:
        import onnxruntime
    except ImportError as error:
        raise NotCompiled(f"the package 'onnxruntime' is not installed here ({error})") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise NotCompiled(f"ONNX Runtime refuses the compiled model: {str(error)[:300]}") from error

    def run(rows: np.ndarray) -> np.ndarray:
        scores: np.ndarray = session.run(None, {"rows": rows})[0]
        return scores[:, 0] if scores.shape[1] == 1 else scores

    return run


def compare(expected: np.ndarray, found: np.ndarray, rows: np.ndarray) -> float:
    """The greatest difference; raises NotCompiled where it is more than rounding."""
    if expected.shape != found.shape:
        raise NotCompiled(f"XGBoost answers {expected.shape}, the compiled model {found.shape}")
    with np.errstate(invalid="ignore"):
        difference = np.abs(expected.astype(np.float64) - found)
    # The same infinity on both sides is agreement, though its difference is not a number.
    difference[(expected == found) | (np.isnan(expected) & np.isnan(found))] = 0
    allowed = np.where(np.isfinite(expected), ABSOLUTE_TOLERANCE + RELATIVE_TOLERANCE * np.abs(expected), 0)
    wrong = np.flatnonzero(~(difference <= allowed).reshape(len(rows), -1).all(axis=1))
    if len(wrong):
        worst = int(wrong[0])
        raise NotCompiled(
            f"{len(wrong)} of {len(rows)} rows differ; the first is {_short(rows[worst])}: XGBoost gives "
            f"{_short(np.atleast_1d(expected[worst]))}, the compiled model "
            f"{_short(np.atleast_1d(found[worst]))}"
        )
    return float(difference.max(initial=0))


def _short(values: Sequence[float] | np.ndarray) -> str:
    return f"[{', '.join(f'{value:.7g}' for value in values[:8])}{', …' if len(values) > 8 else ''}]"
