"""What the services answer when all goes well; a test changes what it is about."""

from __future__ import annotations

from typing import Any

from rendered_machines import Failure, Runner

RUN = "s3://data/runs/run-1"
DATASET = {
    "dataset_version": "v1",
    "run_uri": RUN,
    "train_uri": f"{RUN}/splits/train/",
    "validation_uri": f"{RUN}/splits/validation/",
    "test_uri": f"{RUN}/splits/test/",
    "batch_uri": f"{RUN}/batch/test.csv",
    "features_uri": f"{RUN}/features.json",
    "rows": {"train": 10, "validation": 5, "test": 5},
}
PRODUCTION, STAGING = "triptych-flights", "triptych-flights-staging"
PACKAGE = "arn:aws:sagemaker:::model-package/g/1"
RESOURCE_ID = "endpoint/triptych-flights/variant/AllTraffic"
OLD, NEW, TRIAL = "old", "flights-run-1-0-0", "flights-run-1-ab-0-0"
SHADOW_TRIAL = "flights-run-1-shadow-0-0"
TRAFFIC = {
    "BlueGreenUpdatePolicy": {
        "TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}
    },
    "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}]},
}
NOT_FOUND = Failure("SageMaker.SageMakerException", "Could not find endpoint.")
GLUE_JOBS = ("ExploreData", "CleanData", "EngineerFeatures", "SplitDataset")


def play_all(runner: Runner) -> None:
    """Every service of every machine says yes."""
    for play in (play_data_engineering, play_model, play_deployment):
        play(runner)


def play_data_engineering(runner: Runner) -> None:
    answer = runner.services.answer
    play_endings(runner)
    answer(
        "IngestSources",
        {
            "run_uri": RUN,
            "dataset_version": "v1",
            "is_new": True,
            "objects_uri": f"{RUN}/objects.json",
            "manifest_uri": f"{RUN}/manifest.json",
            "objects": 2,
            "size_bytes": 100,
            "latest": None,
        },
    )
    answer("ValidateFile", {"key": "raw/flights/2013-01.csv", "verdict": "pass"})
    answer(
        "JudgeFiles",
        {"verdict": "pass", "accepted_uri": f"{RUN}/accepted.json", "accepted": 2, "rejected": []},
    )
    for job in GLUE_JOBS:
        answer(f"the-{job}Job", {"JobRunState": "SUCCEEDED"})
    answer(
        "ValidateStatistics",
        {"verdict": "quarantine", "violations": [], "violations_total": 0, "validation_uri": f"{RUN}/v.json"},
    )
    answer("ValidateSplits", {"verdict": "pass", "violations": []})
    answer("RegisterDataset", DATASET)


def play_model(runner: Runner) -> None:
    answer = runner.services.answer
    play_endings(runner)
    answer("ResolveTraining", resolved_training("script"))
    answer("sagemaker:createTrainingJob.sync", _trained)
    answer(
        "sagemaker:createProcessingJob.sync", lambda asked: {"ProcessingJobName": asked["ProcessingJobName"]}
    )
    answer("sagemaker:createModel", _arn("ModelName", "ModelArn", "model"))
    answer(
        "sagemaker:createTransformJob.sync",
        lambda asked: {"TransformJobName": asked["TransformJobName"], "ModelName": asked["ModelName"]},
    )
    answer("JudgeModel", judged("pass", []))
    answer(
        "aws-sdk:sagemaker:createModelPackage", {"ModelPackageArn": "arn:aws:sagemaker:::model-package/g/1"}
    )
    answer(
        "aws-sdk:sagemaker:updateModelPackage", {"ModelPackageArn": "arn:aws:sagemaker:::model-package/g/1"}
    )


def play_deployment(runner: Runner) -> None:
    answer = runner.services.answer
    play_endings(runner)
    answer("ResolveDeployment", resolved_deployment())
    answer("sagemaker:createModel", _arn("ModelName", "ModelArn", "model"))
    answer(
        "aws-sdk:sagemaker:createEndpointConfig",
        _arn("EndpointConfigName", "EndpointConfigArn", "endpoint-config"),
    )
    for change in ("createEndpoint", "updateEndpoint", "updateEndpointWeightsAndCapacities"):
        answer(
            f"aws-sdk:sagemaker:{change}", {"EndpointArn": "arn:aws:sagemaker:::endpoint/triptych-flights"}
        )
    for quiet in ("deleteEndpoint", "addTags", "updateModelPackage"):
        answer(f"aws-sdk:sagemaker:{quiet}", {})
    play_looks(runner, [endpoint("InService", OLD), endpoint("InService", NEW)])
    answer("TestEndpoint", tested("pass", []))
    answer(
        "aws-sdk:applicationautoscaling:describeScalableTargets",
        {"ScalableTargets": [{"ResourceId": RESOURCE_ID, "MinCapacity": 3, "MaxCapacity": 7}]},
    )
    answer(
        "aws-sdk:applicationautoscaling:describeScalingPolicies",
        {
            "ScalingPolicies": [
                {"PolicyType": "StepScaling", "PolicyName": "by hand", "ResourceId": RESOURCE_ID},
                {
                    "PolicyType": "TargetTrackingScaling",
                    "PolicyName": "former",
                    "ResourceId": RESOURCE_ID,
                    "TargetTrackingScalingPolicyConfiguration": {"TargetValue": 5.0},
                },
            ]
        },
    )
    for change in ("registerScalableTarget", "deregisterScalableTarget", "putScalingPolicy"):
        answer(f"aws-sdk:applicationautoscaling:{change}", {})
    answer(
        "aws-sdk:cloudwatch:describeAlarms", {"MetricAlarms": [alarm("errors", "OK"), alarm("latency", "OK")]}
    )
    answer("aws-sdk:cloudwatch:describeAlarmHistory", {"AlarmHistoryItems": []})
    answer("ReportDeployment", {"report_uri": "s3://data/deployments/run-1/deployment.html"})


def play_looks(
    runner: Runner,
    production: list[Any],
    staging: list[Any] | None = None,
) -> None:
    """What DescribeEndpoint answers for each of the two endpoints, one after another, the last again and again."""
    left = {
        PRODUCTION: list(production),
        STAGING: list(staging or [NOT_FOUND, endpoint("InService", "flights-run-1-staging-0-0")]),
    }

    def look(asked: dict[str, Any]) -> Any:
        answers = left[asked["EndpointName"]]
        return answers.pop(0) if len(answers) > 1 else answers[0]

    runner.services.answer("aws-sdk:sagemaker:describeEndpoint", look)


def resolved_deployment(strategy: str = "all_at_once", **changed: Any) -> dict[str, Any]:
    """The answer of ``resolve_deployment`` where a champion serves."""
    on_trial = {"ab": "Challenger", "shadow": "Shadow"}.get(strategy)
    return {
        "name_prefix": "flights-run-1",
        "model_package_arn": PACKAGE,
        "serves_already": False,
        "image_uri": "image",
        "model_uri": "s3://data/models/m/output/model.tar.gz",
        "environment": {},
        "endpoint_name": PRODUCTION,
        "staging_endpoint_name": STAGING,
        "variant_name": "AllTraffic",
        "instance_type": "ml.m5.large",
        "instance_count": 2,
        "capture": {"enabled": True, "sampling_percentage": 100, "uri": "s3://data/capture"},
        "poll_seconds": 0,
        "strategy": strategy,
        "traffic": None if strategy in ("all_at_once", "ab") else TRAFFIC,
        "alarms": ["errors", "latency"],
        "champion": {
            "variant_name": "AllTraffic",
            "model_name": "old-model",
            "instance_type": "ml.m5.large",
            "instance_count": 3,
        }
        if on_trial
        else None,
        "trial": {
            "variant_name": on_trial,
            "look_seconds": 0,
            "ground_truth_uri": "s3://data/ground-truth/triptych-flights",
            "experiment": {"metric": "brier", "alpha": 0.05, "looks": 4},
            "champion_weight": 0.8,
            "challenger_weight": 0.2,
            "shadow": {"looks": 3, "min_requests": 10},
            "shadow_weight": 1.0,
        },
        "autoscaling": {
            "resource_id": RESOURCE_ID,
            "min_instances": 2,
            "max_instances": 4,
            "policy_name": "triptych",
            "policy": {"TargetValue": 100.0},
        },
        "scaling": {"resource_id": RESOURCE_ID, "lift": False},
        "tags": [{"Key": "triptych:model-package", "Value": PACKAGE}],
        "test": {"batch_uri": f"{RUN}/batch/test.csv", "transform_uri": "s3://data/transforms/run-1"},
        "report": {
            "variant_names": ["AllTraffic", *([on_trial] if on_trial else [])],
            "prefix_uri": "s3://data/deployments/run-1",
        },
        **changed,
    }


def alarm(name: str, state: str) -> dict[str, Any]:
    return {"AlarmName": name, "StateValue": state, "StateReason": f"{name} is {state}"}


def play_endings(runner: Runner) -> None:
    """The failure path with the functions' own code where that is pure."""
    import sys
    from pathlib import Path

    lambdas = Path(__file__).parents[2] / "lambdas"
    for name in ("explain_failure", "fail_execution"):
        if str(lambdas / name) not in sys.path:
            sys.path.append(str(lambdas / name))
    from ending import ending
    from explanation import explain

    def end(asked: dict[str, Any]) -> Any:
        error = ending(asked)
        return Failure(type(error).__name__, str(error)) if error is not None else {}

    runner.services.answer("ExplainFailure", explain)
    runner.services.answer("FailExecution", end)
    runner.services.answer("sns:publish", {"MessageId": "1"})


def resolved_training(algorithm: str) -> dict[str, Any]:
    return {
        "algorithm": algorithm,
        "job_prefix": "flights-run-1",
        "client_token": "0" * 32,
        "image_uri": "image",
        "hyperparameters": {"num_round": "2"},
        "channels": [],
        "output_uri": "s3://data/models",
        "resources": {},
        "max_runtime_seconds": 60,
        "metric_definitions": [],
        "dataset": DATASET,
        "champion": {"model_package_arn": None, "metrics": {}},
        "evaluation": {
            "image_uri": "image",
            "entrypoint": ["python3", "/opt/ml/processing/input/code/evaluate.pyz"],
            "arguments": [],
            "source_uri": "s3://code/evaluate.pyz",
            "splits_uri": f"{RUN}/splits/",
            "keys_uri": f"{RUN}/keys/",
            "output_uri": "s3://data/evaluations/run-1",
            "evaluation_uri": "s3://data/evaluations/run-1/evaluation.json",
            "report_uri": "s3://data/evaluations/run-1/evaluation.html",
            "resources": {},
        },
        "transform": {
            "input_uri": f"{RUN}/batch/test.csv",
            "output_uri": "s3://data/transforms/run-1",
            "resources": {},
        },
        "serving": {"image_uri": "image", "environment": {}, "instance_types": ["ml.m5.large"]},
    }


def judged(verdict: str, reasons: list[str]) -> dict[str, Any]:
    return {
        "verdict": verdict,
        "reasons": reasons,
        "metrics": {"auc": 0.74},
        "checks": [],
        "properties": {"test_auc": "0.74"},
    }


def tested(verdict: str, reasons: list[str]) -> dict[str, Any]:
    return {
        "verdict": verdict,
        "reasons": reasons,
        "rows": 20,
        "requests": 24,
        "latency_ms": {"p50": 2.0, "p99": 3.5, "max": 4.0},
        "parity_difference": 0.0,
        "refused": [],
        "sample": {"features": "1,2", "score": 0.3},
    }


def endpoint(status: str, configuration: str, **more: Any) -> dict[str, Any]:
    return {
        "EndpointName": PRODUCTION,
        "EndpointArn": f"arn:aws:sagemaker:::endpoint/{PRODUCTION}",
        "EndpointStatus": status,
        "EndpointConfigName": configuration,
        "ProductionVariants": [
            {"VariantName": "AllTraffic", "CurrentWeight": 1.0, "CurrentInstanceCount": 5}
        ],
        **more,
    }


def _trained(asked: dict[str, Any]) -> dict[str, Any]:
    name = asked["TrainingJobName"]
    return {
        "TrainingJobName": name,
        "ModelArtifacts": {"S3ModelArtifacts": f"s3://data/models/{name}/output/model.tar.gz"},
    }


def _arn(member: str, answer: str, kind: str) -> Any:
    return lambda asked: {answer: f"arn:aws:sagemaker:us-east-1:123456789012:{kind}/{asked[member]}"}
