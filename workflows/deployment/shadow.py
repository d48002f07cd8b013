"""Shadow: the new model gets copies of the requests; its answers are compared and reach nobody."""

from __future__ import annotations

from stepfunctions.steps.states import State

from workflows.deployment import configurations, trial
from workflows.deployment.change import Changes
from workflows.steps import ServiceTask, catch_all

_KIND = trial.Kind(
    noun="shadow test",
    judge="CompareShadowFunction",
    comment="Do the answers agree, and does the new model answer at all?",
    payload={
        "shadow.$": "$.deployment.trial.shadow",
        "production_variant.$": "$.deployment.champion.variant_name",
        "shadow_variant.$": "$.deployment.trial.variant_name",
        "looks.$": "$.deployment.trial.shadow.looks",
    },
    reason="States.JsonToString($.record.judged.decision.reasons)",
)


def shadow_test(changes: Changes, promote: State, undo: State, put_back: State) -> ServiceTask:
    """Ends in ``promote``, where traffic goes over as in a blue/green deployment, or in ``put_back``."""
    return trial.run(_KIND, configurations.shadow(catch_all(undo)), changes, promote, undo, put_back)
