"""``triptych demo rollback``: two models that are fine in every test and bad in production, under real traffic.

Both score as the model in service does. One raises an error for flights after six in the evening, the other answers
them too late. The rows that a deployment tests are the first of the test split, early in a morning: so both pass, go
into production, and the alarms must take them out again while the traffic goes on.
"""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from triptych.core.names import split_uri

EVENING_HOUR = 18
SLOW_SECONDS = 1.5
PROGRAM = "inference.py"

_SCRIPT = '''"""The model as it was, but {what} for flights after {evening}:00."""

import os
import time

import numpy as np
import xgboost as xgb

HOUR = {column}


class Refused(ValueError):
    """The caller's mistake, not the model's."""

    status_code = 400


def model_fn(model_dir):
    booster = xgb.Booster()
    booster.load_model(bytearray(open(os.path.join(model_dir, "xgboost-model"), "rb").read()))
    return booster


def input_fn(body, content_type):
    if content_type.split(";")[0] != "text/csv":
        raise Refused("send text/csv")
    text = body.decode() if isinstance(body, bytes) else body
    lines = [line.split(",") for line in text.splitlines() if line]
    try:
        rows = [[float(cell) if cell.strip() else np.nan for cell in line] for line in lines]
        return np.array(rows, dtype=np.float32)
    except ValueError as error:
        raise Refused(str(error)) from error


def predict_fn(rows, booster):
    if rows.shape[1] != booster.num_features():
        raise Refused("a row has %d features, not %d" % (booster.num_features(), rows.shape[1]))
    if np.any(rows[:, HOUR] >= {evening}):
        {act}
    best = booster.attr("best_iteration")
    rounds = (0, int(best) + 1) if best else (0, 0)
    return booster.predict(xgb.DMatrix(rows, feature_names=booster.feature_names), iteration_range=rounds)


def output_fn(scores, accept):
    return "".join("%s\\n" % score for score in scores), "text/csv"
'''


@dataclass(frozen=True)
class BadModel:
    """One of the demo's models: what is wrong with it, and the alarm that should see it."""

    name: str
    what: str
    act: str


BAD_MODELS = (
    BadModel("errors", "it fails", 'raise RuntimeError("no crew schedule for evening flights")'),
    BadModel("slow", f"it takes {SLOW_SECONDS} s", f"time.sleep({SLOW_SECONDS})"),
)


def script_of(model: BadModel, hour_column: int) -> str:
    """The inference script of a bad model; ``hour_column`` is the position of the feature ``hour``."""
    return _SCRIPT.format(what=model.what, act=model.act, column=hour_column, evening=EVENING_HOUR)


def with_script(archive: bytes, script: str) -> bytes:
    """A model.tar.gz like ``archive``, with ``code/inference.py`` and without a compiled form.

    A compiled model would be a second way to answer; the script must be the only one.
    """
    made = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(archive)) as old,
        tarfile.open(fileobj=made, mode="w:gz", compresslevel=1) as new,
    ):
        for member in old.getmembers():
            plain = member.name.removeprefix("./")
            if not plain.startswith("code/") and not plain.endswith(".onnx"):
                new.addfile(member, old.extractfile(member) if member.isfile() else None)
        content = script.encode()
        entry = tarfile.TarInfo(f"code/{PROGRAM}")
        entry.size = len(content)
        new.addfile(entry, io.BytesIO(content))
    return made.getvalue()


def register(s3: Any, sagemaker: Any, bucket: str, package_arn: str, model: BadModel) -> str:
    """Make a package like the one in service, but with the bad model; returns its ARN. It is approved."""
    package = sagemaker.describe_model_package(ModelPackageName=package_arn)
    container = package["InferenceSpecification"]["Containers"][0]
    archive = _read(s3, container["ModelDataUrl"])
    moment = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    key = f"demo/{model.name}-{moment}/model.tar.gz"
    script = script_of(model, _hour_column(archive))
    s3.put_object(Bucket=bucket, Key=key, Body=with_script(archive, script))
    environment = dict(container.get("Environment") or {}) | {
        "SAGEMAKER_PROGRAM": PROGRAM,
        "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
    }
    specification = dict(package["InferenceSpecification"]) | {
        "Containers": [
            {
                "Image": container["Image"],
                "ModelDataUrl": f"s3://{bucket}/{key}",
                "Environment": environment,
            }
        ]
    }
    made = sagemaker.create_model_package(
        ModelPackageGroupName=package["ModelPackageGroupName"],
        ModelPackageDescription=f"Demonstration of a rollback: {model.what} for evening flights",
        InferenceSpecification=specification,
        ModelApprovalStatus="Approved",
        CustomerMetadataProperties=package.get("CustomerMetadataProperties") or {},
    )
    arn: str = made["ModelPackageArn"]
    return arn


def _read(s3: Any, uri: str) -> bytes:
    bucket, key = split_uri(uri)
    content: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    return content


def _hour_column(archive: bytes) -> int:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        for member in opened.getmembers():
            if member.name.removeprefix("./") == "about/features.json":
                held = opened.extractfile(member)
                assert held is not None
                names = [feature["name"] for feature in json.load(held)["features"]]
                return names.index("hour")
    raise LookupError(
        "the model in service holds no about/features.json; it was not trained by this pipeline"
    )
