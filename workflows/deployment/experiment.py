"""A/B: champion and challenger each answer a share of the requests; the labels that arrive decide."""

from __future__ import annotations

from stepfunctions.steps.states import State

from workflows.deployment import configurations, trial
from workflows.deployment.change import Changes
from workflows.steps import ServiceTask, catch_all

_KIND = trial.Kind(
    noun="experiment",
    judge="JudgeExperimentFunction",
    comment="Is the challenger better than chance explains, however often it is looked?",
    payload={
        "experiment.$": "$.deployment.trial.experiment",
        "champion_variant.$": "$.deployment.champion.variant_name",
        "challenger_variant.$": "$.deployment.trial.variant_name",
        "ground_truth_uri.$": "$.deployment.trial.ground_truth_uri",
        "tested.$": "$.record.judged.tested",
    },
    reason="$.record.judged.decision.reason",
)


def experiment(changes: Changes, promote: State, undo: State, put_back: State) -> ServiceTask:
    """Ends in ``promote`` with the single new model, or in ``put_back``."""
    return trial.run(_KIND, configurations.experiment(catch_all(undo)), changes, promote, undo, put_back)
