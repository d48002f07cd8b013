"""A second dataset is a second folder below ``usecases/``, and no other edit; the managed algorithm serves it too."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline.project import Project

pytestmark = [pytest.mark.cloud]
MACHINES = Path(__file__).parent / "machines"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = Project(tmp_path_factory.mktemp("machines") / "checkout", use_case="machines")
    shutil.rmtree(made.root / "usecases" / "flights")
    shutil.copytree(MACHINES, made.root / "usecases" / "machines")
    try:
        made.triptych("up", "machines", "--port", "0")
        yield made
    finally:
        made.triptych("down", code=None)


@pytest.fixture
def contract_is_put_back(project: Project) -> Iterator[None]:
    text = project.contract.read_text()
    yield
    project.contract.write_text(text)


def states_of_the_model_machine(project: Project) -> list[str]:
    """Those that the last run went through."""
    shown = json.loads(project.triptych("show", "last", "--use-case", "machines", "--json").stdout)
    model = next(state["execution"] for state in shown["states"] if state["name"] == "Run model")
    return [state["name"] for state in model["states"]]


def test_a_second_use_case_is_a_second_folder(project: Project) -> None:
    summary = project.run()
    assert summary["status"] == "SUCCEEDED"
    assert summary["cleaning"]["tables"]["shifts"]["by_reason"] == {"planned_hours: above 12": 1}
    assert summary["model"]["metrics"]["auc"] > 0.7
    assert summary["deployment"]["endpoint_name"] == "machines-wear"
    assert "maker" in Path(summary["reports"]["data exploration"]).read_text()
    assert [run["trigger"] for run in project.runs()] == ["person"]


@pytest.mark.usefixtures("contract_is_put_back")
def test_the_managed_algorithm_trains_and_serves(project: Project) -> None:
    project.change_contract(("algorithm: script", "algorithm: xgboost"))
    summary = project.run()
    assert summary["status"] == "SUCCEEDED"
    assert summary["model"]["metrics"]["auc"] > 0.7
    assert summary["deployment"]["test"]["parity_difference"] < 1e-5
    assert "Train with the managed algorithm" in states_of_the_model_machine(project)


@pytest.mark.usefixtures("contract_is_put_back")
def test_the_own_container_trains_and_serves(project: Project) -> None:
    project.change_contract(
        ("algorithm: script", "algorithm: container"), ("image: xgboost-3.0-5", "image: triptych")
    )
    summary = project.run()
    assert summary["status"] == "SUCCEEDED"
    assert summary["model"]["metrics"]["auc"] > 0.7
    assert summary["deployment"]["test"]["parity_difference"] < 1e-5
    assert "Train model" in states_of_the_model_machine(project)
    sagemaker = project.client("sagemaker")
    job = sagemaker.describe_training_job(TrainingJobName=summary["model"]["training_job"])
    image = job["AlgorithmSpecification"]["TrainingImage"]
    assert image.split("/")[-1].startswith("triptych:")
    assert "sagemaker_program" not in job["HyperParameters"]
    endpoint = sagemaker.describe_endpoint(EndpointName=summary["deployment"]["endpoint_name"])
    config = sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    model = sagemaker.describe_model(ModelName=config["ProductionVariants"][0]["ModelName"])
    assert model["PrimaryContainer"]["Image"] == image


def test_an_unknown_use_case_names_those_known(project: Project) -> None:
    told = project.triptych("run", "trains", code=1).stderr
    assert "use case 'trains' has no" in told
    assert "known use cases: machines" in told


def test_a_contract_with_a_mistake_is_told_with_its_line(project: Project) -> None:
    project.change_contract(("type: timestamp, nullable: false", "type: timestmp, nullable: false"))
    try:
        told = project.triptych("run", "machines", code=1).stderr
    finally:
        project.change_contract(("type: timestmp", "type: timestamp"))
    line = next(
        number
        for number, text in enumerate(project.contract.read_text().splitlines(), 1)
        if "begins: {" in text
    )
    assert f"contract.yaml:{line}: tables.shifts.columns.begins.type: 'timestmp' is not one of" in told
    assert "Traceback" not in told
