"""ARNs and names of Step Functions: made, taken apart and checked as AWS does."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from triptych.localcloud.service import ServiceError

_NAME = re.compile(r"[^\s<>{}\[\]?*\"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f]{1,80}")
_ARN = re.compile(
    r"arn:(?P<partition>aws[\w-]*):states:(?P<region>[\w-]+):(?P<account>\d{12}):(?P<kind>\w+):(?P<rest>.+)"
)


@dataclass(frozen=True)
class Arns:
    """Makes ARNs for one account and region."""

    partition: str
    region: str
    account_id: str

    def of(self, kind: str, rest: str) -> str:
        return f"arn:{self.partition}:states:{self.region}:{self.account_id}:{kind}:{rest}"


def check_name(name: str) -> str:
    """A name of a state machine, execution, activity or alias; raises ServiceError (InvalidName)."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ServiceError("InvalidName", f"Invalid Name: '{name}'")
    return name


def parse_arn(arn: Any, *kinds: str) -> tuple[str, str]:
    """``(kind, rest)`` of an ARN of one of the kinds; raises ServiceError (InvalidArn)."""
    match = _ARN.fullmatch(arn) if isinstance(arn, str) else None
    if match is None:
        raise ServiceError("InvalidArn", f"Invalid Arn: 'Invalid ARN prefix: {arn}'")
    if match["kind"] not in kinds:
        raise ServiceError(
            "InvalidArn", f"Invalid Arn: 'Resource type not valid in this context: {match['kind']}'"
        )
    return match["kind"], match["rest"]


def machine_part(arn: str) -> tuple[str, str | None]:
    """A machine's ARN and the version or alias that may follow it."""
    _, rest = parse_arn(arn, "stateMachine")
    qualifier = rest.partition(":")[2]
    return (arn[: len(arn) - len(qualifier) - 1] if qualifier else arn), qualifier or None
