"""Production: look at what is there, remember it, and take over by the strategy that was chosen."""

from __future__ import annotations

from stepfunctions.steps.choice_rule import ChoiceRule
from stepfunctions.steps.states import Choice, Pass, State

from workflows import retries
from workflows.deployment import alarms, autoscaling, configurations
from workflows.deployment.change import Changes
from workflows.deployment.endpoint import (
    PRODUCTION,
    create,
    delete,
    describe,
    not_found,
    update,
    wait_and,
)
from workflows.deployment.experiment import experiment
from workflows.deployment.shadow import shadow_test
from workflows.steps import PassWithAssign, catch_all

LOOK = "Look for the endpoint"


def take_over(then: State, undo: State, put_back: State, failure: State) -> State:
    """From the endpoint configuration to an endpoint that serves it, then ``then``."""
    changes = Changes(undo, failure)
    served = changes.follow(
        "Check endpoint",
        "Is the endpoint in service?",
        "Wait for the endpoint",
        "$.configuration.name",
        then,
    )
    creation = _create(served, undo)
    strategy = _strategy(changes, served, undo, put_back)
    configuration = configurations.production(catch_all(failure))
    configuration.next(_look(creation, _remember(strategy, undo, failure), failure))
    return configuration


def _create(served: State, undo: State) -> State:
    note = PassWithAssign(
        "Note that the endpoint is new",
        comment="There is nothing to go back to: one that is not good is removed",
        assign={"outcome": "created"},
    )
    creation = create(
        "Create endpoint",
        "There is none of this name yet",
        PRODUCTION,
        "$.configuration.name",
        catch_all(undo),
    )
    note.next(creation)
    creation.next(served)
    return note


def _look(creation: State, change: State, failure: State) -> State:
    look = describe(
        LOOK,
        "Is there one to update?",
        PRODUCTION,
        [not_found(creation), *catch_all(failure)],
        retries.SAGEMAKER_LOOKUP,
    )
    remove = delete(
        "Delete the failed endpoint",
        "A failed endpoint serves nothing and takes no update",
        PRODUCTION,
        catch_all(failure),
    )
    remove.next(wait_and("Wait for the deletion", look))
    settled = Choice(
        "Can the endpoint be changed?",
        comment="Only an endpoint at rest takes an update; a failed one only a deletion",
    )
    settled.add_choice(PRODUCTION.status_in("InService", "OutOfService", "UpdateRollbackFailed"), change)
    settled.add_choice(PRODUCTION.status_in("Failed"), remove)
    settled.default_choice(wait_and("Wait for the endpoint to settle", look))
    look.next(settled)
    return look


def _remember(then: State, undo: State, failure: State) -> State:
    """What serves now, with its weights, instances and autoscaling: all that a rollback puts back."""
    remember = Pass(
        "Remember what serves",
        comment="What is put back if the new model does not do well",
        input_path=PRODUCTION.at,
        result_path="$.previous",
    )
    targets, policies = autoscaling.remember(catch_all(failure))
    remember.next(targets)
    policies.next(autoscaling.lift_where_needed(then, catch_all(undo)))
    return remember


def _strategy(changes: Changes, served: State, undo: State, put_back: State) -> Choice:
    switch = update(
        "Switch endpoint",
        "Requests go to the old model until the new one is ready, then all to the new one",
        "$.configuration.name",
        catch_all(undo),
    )
    switch.next(served)
    shift = update(
        "Shift traffic",
        "SageMaker moves the traffic in steps, and takes it back when an alarm is raised",
        "$.configuration.name",
        catch_all(undo),
        traffic="$.deployment.traffic",
    )
    shift.next(served)
    trial = Choice("Is there a trial first?", comment="Two models side by side before one takes over")
    trial.add_choice(_is("ab"), experiment(changes, switch, undo, put_back))
    trial.add_choice(_is("shadow"), shadow_test(changes, shift, undo, put_back))
    trial.default_choice(shift)
    choice = Choice("Which strategy?", comment="The contract's, or the one of the execution's input")
    choice.add_choice(_is("all_at_once"), switch)
    choice.default_choice(alarms.once_quiet(trial, undo))
    return choice


def _is(strategy: str) -> ChoiceRule:
    return ChoiceRule.StringEquals("$.deployment.strategy", strategy)
