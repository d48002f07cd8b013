"""How a state fails: the error names and causes that Retry, Catch and the history see."""

from __future__ import annotations

RUNTIME = "States.Runtime"
TIMEOUT = "States.Timeout"
HEARTBEAT_TIMEOUT = "States.HeartbeatTimeout"
TASK_FAILED = "States.TaskFailed"
ALL = "States.ALL"
DATA_LIMIT = "States.DataLimitExceeded"
NO_CHOICE = "States.NoChoiceMatched"
QUERY_EVALUATION = "States.QueryEvaluationError"
INTRINSIC_FAILURE = "States.IntrinsicFailure"
RESULT_PATH = "States.ResultPathMatchFailure"
TOLERANCE = "States.ExceedToleratedFailureThreshold"
ITEM_READER_FAILED = "States.ItemReaderFailed"
RESULT_WRITER_FAILED = "States.ResultWriterFailed"
BRANCH_FAILED = "States.BranchFailed"

NEVER_CAUGHT_BY_ALL = frozenset({DATA_LIMIT, RUNTIME})
"""``States.ALL`` does not match these; naming them does."""


class StateFailure(Exception):
    """A state ended with an error name and a cause, both possibly absent."""

    def __init__(self, error: str | None, cause: str | None) -> None:
        super().__init__(f"{error}: {cause}")
        self.error = error
        self.cause = cause


class ProcessingFailure(StateFailure):
    """The interpreter could not process a state's data.

    The cause gets AWS's prefix "An error occurred while executing the state …" when it reaches the state.
    """

    def __init__(self, cause: str, error: str = RUNTIME) -> None:
        super().__init__(error, cause)


class QueryFailure(ProcessingFailure):
    """A JSONata expression failed, or its value is of the wrong kind; ``location`` is the field's path."""

    def __init__(self, cause: str, location: str | None) -> None:
        super().__init__(cause, QUERY_EVALUATION)
        self.location = location


def matches(error: str | None, patterns: tuple[str, ...]) -> bool:
    """Whether an ``ErrorEquals`` list covers an error."""
    for pattern in patterns:
        if pattern == error:
            return True
        if pattern == ALL and error not in NEVER_CAUGHT_BY_ALL:
            return True
        if (
            pattern == TASK_FAILED
            and error not in NEVER_CAUGHT_BY_ALL
            and error not in (TIMEOUT, HEARTBEAT_TIMEOUT)
        ):
            return True
        if pattern == TIMEOUT and error == HEARTBEAT_TIMEOUT:
            return True
    return False
