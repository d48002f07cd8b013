"""The SageMaker SDK and boto3 against a whole local cloud, as users drive it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sagemaker_laptop import ROLE, XGBOOST, sample

JSON = "application/json"
pytestmark = [pytest.mark.cloud, pytest.mark.filterwarnings("ignore:.*SageMaker Python SDK v2")]

TRAIN = """
import argparse, os, pathlib
import numpy as np, xgboost
parser = argparse.ArgumentParser()
parser.add_argument("--rounds", type=int)
args = parser.parse_args()
table = np.loadtxt(pathlib.Path(os.environ["SM_CHANNEL_TRAIN"]) / "train.csv", delimiter=",", dtype="float32")
matrix = xgboost.DMatrix(table[:, 1:], label=table[:, 0])
log = {}
params = {"objective": "binary:logistic", "eval_metric": "auc"}
booster = xgboost.train(params, matrix, args.rounds, [(matrix, "train")], evals_result=log)
print(f"train-auc={log['train']['auc'][-1]:.4f};")
model = pathlib.Path(os.environ["SM_MODEL_DIR"]) / "model.ubj"
booster.save_model(model)
model.rename(model.with_name("xgboost-model"))
"""

INFERENCE = """
import json, os, xgboost
def model_fn(model_dir):
    booster = xgboost.Booster()
    with open(os.path.join(model_dir, "xgboost-model"), "rb") as file:
        booster.load_model(bytearray(file.read()))
    return booster
def predict_fn(matrix, booster):
    return booster.predict(matrix)
def output_fn(scores, accept):
    return json.dumps({"late": [bool(score > 0.5) for score in scores]}), accept
"""


@pytest.fixture
def session(local_cloud: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    for name, value in local_cloud.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    sdk = pytest.importorskip("sagemaker")
    import boto3

    bucket = "sdk-bucket"
    boto_session = boto3.Session(region_name="us-east-1")
    boto_session.client("s3").create_bucket(Bucket=bucket)
    return sdk.Session(boto_session=boto_session, default_bucket=bucket)


def settled(describe: Callable[[], dict[str, Any]], member: str) -> dict[str, Any]:
    """The description once its status is a last one; the SDK's own waiting polls every 5 to 30 seconds."""
    deadline = time.monotonic() + 60
    while (found := describe())[member] in ("InProgress", "Creating"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


@pytest.fixture
def train_uri(session: Any, tmp_path: Path) -> str:
    features, label = sample(300)
    path = tmp_path / "train.csv"
    np.savetxt(path, np.column_stack([label, features]), delimiter=",", fmt="%.6g")
    return session.upload_data(str(path), key_prefix="sdk/train")


def test_script_mode_fit_deploy_predict(session: Any, train_uri: str, tmp_path: Path) -> None:
    from sagemaker.deserializers import JSONDeserializer
    from sagemaker.serializers import CSVSerializer
    from sagemaker.xgboost import XGBoost, XGBoostModel

    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "train.py").write_text(TRAIN)
    (tmp_path / "source" / "inference.py").write_text(INFERENCE)
    estimator = XGBoost(
        entry_point="train.py",
        source_dir=str(tmp_path / "source"),
        framework_version="1.7-1",
        role=ROLE,
        instance_count=1,
        instance_type="ml.m5.large",
        hyperparameters={"rounds": 10},
        metric_definitions=[{"Name": "train:auc", "Regex": "train-auc=([0-9.]+);"}],
        sagemaker_session=session,
    )
    estimator.fit({"train": train_uri}, wait=False)
    description = settled(estimator.latest_training_job.describe, "TrainingJobStatus")
    assert description["TrainingJobStatus"] == "Completed"
    assert description["FinalMetricDataList"][0]["Value"] > 0.8
    model = XGBoostModel(
        model_data=estimator.model_data,
        role=ROLE,
        entry_point="inference.py",
        source_dir=str(tmp_path / "source"),
        framework_version="1.7-1",
        sagemaker_session=session,
    )
    predictor = model.deploy(
        1,
        "ml.m5.large",
        endpoint_name="sdk-endpoint",
        serializer=CSVSerializer(),
        deserializer=JSONDeserializer(),
        wait=False,
    )
    client = session.sagemaker_client
    served = settled(lambda: client.describe_endpoint(EndpointName="sdk-endpoint"), "EndpointStatus")
    assert served["EndpointStatus"] == "InService", served.get("FailureReason")
    answer = predictor.predict([[2.0, -2.0, 0.0], [-2.0, 2.0, 0.0]])
    assert answer["late"] == [True, False]
    predictor.delete_endpoint()


def test_managed_algorithm_by_its_image(session: Any, train_uri: str) -> None:
    from sagemaker.estimator import Estimator
    from sagemaker.inputs import TrainingInput

    estimator = Estimator(
        XGBOOST,
        ROLE,
        1,
        "ml.m5.large",
        hyperparameters={"num_round": 5, "objective": "binary:logistic", "eval_metric": "auc"},
        sagemaker_session=session,
        output_path="s3://sdk-bucket/managed",
    )
    estimator.fit({"train": TrainingInput(train_uri, content_type="text/csv")}, logs="All")
    assert estimator.model_data.startswith("s3://sdk-bucket/managed/")


def test_boto3_sees_errors_as_aws_gives_them(local_cloud: Any) -> None:
    client = local_cloud.client("sagemaker")
    with pytest.raises(client.exceptions.ClientError, match="Requested resource not found"):
        client.describe_training_job(TrainingJobName="nobody")
    runtime = local_cloud.client("sagemaker-runtime")
    with pytest.raises(runtime.exceptions.ValidationError, match="not found"):
        runtime.invoke_endpoint(EndpointName="nobody", Body=b"1", ContentType="text/csv")


def test_model_errors_and_packages_over_http(local_cloud: Any) -> None:
    from sagemaker_laptop import booster_bytes, tar_of

    local_cloud.client("s3").create_bucket(Bucket="http-bucket")
    archive = tar_of({"xgboost-model": booster_bytes()})
    local_cloud.client("s3").put_object(Bucket="http-bucket", Key="model.tar.gz", Body=archive)
    client, runtime = local_cloud.client("sagemaker"), local_cloud.client("sagemaker-runtime")
    client.create_model_package_group(ModelPackageGroupName="http-group")
    container = {"Image": XGBOOST, "ModelDataUrl": "s3://http-bucket/model.tar.gz"}
    arn = client.create_model_package(
        ModelPackageGroupName="http-group",
        ModelApprovalStatus="Approved",
        CustomerMetadataProperties={"auc": "0.7"},
        InferenceSpecification={
            "Containers": [container],
            "SupportedContentTypes": ["text/csv"],
            "SupportedResponseMIMETypes": ["text/csv"],
        },
    )["ModelPackageArn"]
    assert client.describe_model_package(ModelPackageName=arn)["CustomerMetadataProperties"] == {"auc": "0.7"}
    listed = client.list_model_packages(ModelPackageGroupName="http-group")["ModelPackageSummaryList"]
    assert [item["ModelPackageArn"] for item in listed] == [arn]
    client.create_model(ModelName="http-model", ExecutionRoleArn=ROLE, Containers=[{"ModelPackageName": arn}])
    variant = {"VariantName": "A", "ModelName": "http-model", "InitialInstanceCount": 1}
    client.create_endpoint_config(
        EndpointConfigName="http-config", ProductionVariants=[variant | {"InstanceType": "ml.m5.large"}]
    )
    client.create_endpoint(EndpointName="http-endpoint", EndpointConfigName="http-config")
    settled(lambda: client.describe_endpoint(EndpointName="http-endpoint"), "EndpointStatus")
    answer = runtime.invoke_endpoint(
        EndpointName="http-endpoint",
        Body=b"[[1, 2, 3]]",
        ContentType="application/json",
        Accept="application/json",
    )
    assert answer["InvokedProductionVariant"] == "A"
    assert 0 < json.loads(answer["Body"].read())["predictions"][0]["score"] < 1
    with pytest.raises(runtime.exceptions.ModelError) as caught:
        runtime.invoke_endpoint(EndpointName="http-endpoint", Body=b"1,2", ContentType="text/csv")
    response = caught.value.response
    assert response["OriginalStatusCode"] == 400
    assert "row 1 has 2 columns" in response["OriginalMessage"]
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    client.delete_endpoint(EndpointName="http-endpoint")
