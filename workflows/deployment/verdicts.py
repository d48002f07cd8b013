"""How a deployment turns out: the variable ``outcome``, and the notes that say why it does not go on.

``outcome`` is ``created`` or ``promoted`` while all goes well, ``kept`` when a trial did not show the new model to be
better, ``rolled_back`` when the new model is at fault. Anything else that breaks leaves it as it is, and the
execution ends in the failure path, from where it can be redriven.
"""

from __future__ import annotations

from stepfunctions.steps.choice_rule import ChoiceRule
from stepfunctions.steps.states import State

from workflows.steps import PassWithAssign

RESOLVE = "Resolve model package"
"""Where a deployment whose change was taken back goes on: from the start, for the endpoint may be another by then"""


def outcome_is(outcome: str) -> ChoiceRule:
    return ChoiceRule.StringEquals("$outcome", outcome)


def open_record() -> PassWithAssign:
    """``$.record`` is what the report is made from; what is not known yet is null or empty."""
    return PassWithAssign(
        "Open the record",
        comment="What the report will be made from",
        result={
            "test": None,
            "judged": {"decision": None, "tested": []},
            "alarms": {"seen": []},
            "alarm_history": [],
            "undo_failure": None,
            "report": {"report_uri": None},
        },
        result_path="$.record",
        assign={"outcome": "promoted", "looks_before": 0},
    )


def at_fault(name: str, comment: str, error: str, cause: str, undo: State) -> PassWithAssign:
    """The new model is at fault: it is taken back, and its package rejected."""
    return _note(name, comment, error, cause, undo, {"outcome": "rolled_back"})


def kept(name: str, comment: str, cause: str, undo: State) -> PassWithAssign:
    """A trial decided for the model that serves."""
    return _note(name, comment, "ChampionKept", cause, undo, {"outcome": "kept"})


def broken(name: str, comment: str, error: str, cause: str, then: State) -> PassWithAssign:
    """Something else than the model is in the way; once that is mended, a redrive begins anew."""
    return _note(name, comment, error, cause, then, {"failed_state": name, "resume_at": RESOLVE})


def _note(
    name: str, comment: str, error: str, cause: str, then: State, assign: dict[str, str]
) -> PassWithAssign:
    note = PassWithAssign(
        name,
        comment=comment,
        parameters={"Error": error, "Cause.$": cause},
        result_path="$.failure",
        assign=assign,
    )
    note.next(then)
    return note
