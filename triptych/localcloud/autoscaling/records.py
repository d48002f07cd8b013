"""What Application Auto Scaling remembers of SageMaker's variants, in SQLite."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from triptych.localcloud.home import Home

_SCHEMA = """
CREATE TABLE IF NOT EXISTS target (
    resource_id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS policy (
    resource_id TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (resource_id, name));
CREATE TABLE IF NOT EXISTS scheduled_action (
    resource_id TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (resource_id, name));
CREATE TABLE IF NOT EXISTS activity (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, resource_id TEXT NOT NULL, status TEXT NOT NULL,
    body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS activity_by_resource ON activity (resource_id, seq);
CREATE INDEX IF NOT EXISTS activity_by_status ON activity (status)
"""
_KEPT_SECONDS = 42 * 86400
"""AWS shows the activities of six weeks"""


@dataclass(frozen=True)
class Target:
    """A variant that may be scaled between two instance counts. Times are seconds since the epoch."""

    resource_id: str
    arn: str
    minimum: int
    maximum: int
    role_arn: str
    created: float
    suspended: dict[str, bool] = field(default_factory=dict)
    """SuspendedState's members that are set"""
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Policy:
    """A scaling policy of a target."""

    resource_id: str
    name: str
    arn: str
    type: str
    """``TargetTrackingScaling`` or ``StepScaling``"""
    configuration: dict[str, Any]
    """in the API's shape"""
    created: float
    alarms: dict[str, str] = field(default_factory=dict)
    """target tracking's own alarms: ``high`` and ``low`` -> name"""
    creator: str = ""
    """the identity in target tracking's alarm actions"""

    @property
    def action_arn(self) -> str:
        """What target tracking's alarms have as their action."""
        return f"{self.arn}:createdBy/{self.creator}"


@dataclass(frozen=True)
class ScheduledAction:
    """New bounds at set times."""

    resource_id: str
    name: str
    arn: str
    schedule: str
    created: float
    timezone: str | None = None
    start: float | None = None
    end: float | None = None
    minimum: int | None = None
    maximum: int | None = None


@dataclass(frozen=True)
class Activity:
    """One change of a variant's instance count, or why there was none."""

    id: str
    resource_id: str
    description: str
    cause: str
    started: float
    status: str
    message: str = ""
    ended: float | None = None
    not_scaled: dict[str, Any] | None = None
    """a NotScaledReason"""
    previous: int | None = None
    wanted: int | None = None
    cooldown_seconds: float = 0.0
    """of the policy, after this activity's end"""


class Records:
    """The database ``state/autoscaling.sqlite``. Every method is one transaction."""

    def __init__(self, home: Home) -> None:
        self._database = home.database("autoscaling", _SCHEMA)

    # Targets

    def put_target(
        self, resource_id: str, change: Callable[[Target | None], Target]
    ) -> tuple[Target | None, Target]:
        """Replace the target by what ``change`` makes of it; the old one and the new one."""
        with self._database.write() as connection:
            old = self.target(resource_id)
            new = change(old)
            connection.execute(
                "INSERT OR REPLACE INTO target VALUES (?, ?)", (resource_id, json.dumps(asdict(new)))
            )
        return old, new

    def target(self, resource_id: str) -> Target | None:
        row = self._database.connection.execute(
            "SELECT body FROM target WHERE resource_id = ?", (resource_id,)
        ).fetchone()
        return row and Target(**json.loads(row["body"]))

    def targets(self) -> list[Target]:
        """Every target, the oldest first."""
        rows = self._database.connection.execute("SELECT body FROM target")
        return sorted((Target(**json.loads(row["body"])) for row in rows), key=lambda item: item.created)

    def delete_target(self, resource_id: str) -> None:
        """With its policies and scheduled actions; its activities stay."""
        with self._database.write() as connection:
            for table in ("target", "policy", "scheduled_action"):
                connection.execute(f"DELETE FROM {table} WHERE resource_id = ?", (resource_id,))

    # Policies

    def put_policy(self, policy: Policy) -> None:
        with self._database.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO policy VALUES (?, ?, ?)",
                (policy.resource_id, policy.name, json.dumps(asdict(policy))),
            )

    def policy(self, resource_id: str, name: str) -> Policy | None:
        row = self._database.connection.execute(
            "SELECT body FROM policy WHERE resource_id = ? AND name = ?", (resource_id, name)
        ).fetchone()
        return row and Policy(**json.loads(row["body"]))

    def policies(self, resource_id: str | None = None) -> list[Policy]:
        """A target's policies, or all; the oldest first."""
        rows = self._database.connection.execute(
            "SELECT body FROM policy WHERE ?1 IS NULL OR resource_id = ?1", (resource_id,)
        )
        return sorted((Policy(**json.loads(row["body"])) for row in rows), key=lambda item: item.created)

    def delete_policy(self, resource_id: str, name: str) -> None:
        with self._database.write() as connection:
            connection.execute("DELETE FROM policy WHERE resource_id = ? AND name = ?", (resource_id, name))

    # Scheduled actions

    def put_scheduled_action(self, action: ScheduledAction) -> None:
        with self._database.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO scheduled_action VALUES (?, ?, ?)",
                (action.resource_id, action.name, json.dumps(asdict(action))),
            )

    def scheduled_actions(self) -> list[ScheduledAction]:
        """Every scheduled action, the oldest first."""
        rows = self._database.connection.execute("SELECT body FROM scheduled_action")
        return sorted(
            (ScheduledAction(**json.loads(row["body"])) for row in rows), key=lambda item: item.created
        )

    def delete_scheduled_action(self, resource_id: str, name: str) -> bool:
        """False where there is none."""
        with self._database.write() as connection:
            return bool(
                connection.execute(
                    "DELETE FROM scheduled_action WHERE resource_id = ? AND name = ?", (resource_id, name)
                ).rowcount
            )

    # Activities

    def put_activity(self, activity: Activity) -> None:
        """Keep a new activity or an activity's new state, and forget those older than six weeks."""
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO activity (id, resource_id, status, body) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET status = excluded.status, body = excluded.body",
                (activity.id, activity.resource_id, activity.status, json.dumps(asdict(activity))),
            )
            connection.execute(
                "DELETE FROM activity WHERE json_extract(body, '$.started') < ?",
                (activity.started - _KEPT_SECONDS,),
            )

    def activities(self, resource_id: str | None = None) -> list[Activity]:
        """A target's activities, or all; the latest first."""
        rows = self._database.connection.execute(
            "SELECT body FROM activity WHERE ?1 IS NULL OR resource_id = ?1 ORDER BY seq DESC", (resource_id,)
        )
        return [Activity(**json.loads(row["body"])) for row in rows]

    def activities_under_way(self) -> list[Activity]:
        rows = self._database.connection.execute(
            "SELECT body FROM activity WHERE status = 'InProgress' ORDER BY seq"
        )
        return [Activity(**json.loads(row["body"])) for row in rows]

    def last_change(self, resource_id: str) -> Activity | None:
        """The latest activity that changed the target's count."""
        row = self._database.connection.execute(
            "SELECT body FROM activity WHERE resource_id = ? AND status = 'Successful' "
            "AND json_extract(body, '$.wanted') IS NOT NULL ORDER BY seq DESC LIMIT 1",
            (resource_id,),
        ).fetchone()
        return row and Activity(**json.loads(row["body"]))

    def last_activity(self, resource_id: str) -> Activity | None:
        row = self._database.connection.execute(
            "SELECT body FROM activity WHERE resource_id = ? ORDER BY seq DESC LIMIT 1", (resource_id,)
        ).fetchone()
        return row and Activity(**json.loads(row["body"]))
