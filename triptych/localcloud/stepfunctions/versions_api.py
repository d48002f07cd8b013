"""The API of state machines' versions and aliases."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from typing import Any

from triptych.localcloud.service import Operation, Params, RequestContext, ServiceError
from triptych.localcloud.stepfunctions.arns import check_name, machine_part
from triptych.localcloud.stepfunctions.journal import Journal
from triptych.localcloud.stepfunctions.jsontext import decode, encode
from triptych.localcloud.stepfunctions.machines_api import MachinesApi, moment, no_machine
from triptych.localcloud.stepfunctions.paging import page


class VersionsApi:
    """Operations on versions and aliases, by their AWS names in ``operations``."""

    def __init__(
        self, journal: Journal, machines: MachinesApi, clock: Callable[[], float], entropy: random.Random
    ) -> None:
        self._journal = journal
        self._machines = machines
        self._clock = clock
        self._entropy = entropy
        self.operations: dict[str, Operation] = {
            "PublishStateMachineVersion": self.publish,
            "ListStateMachineVersions": self.list_versions,
            "DeleteStateMachineVersion": self.delete_version,
            "CreateStateMachineAlias": self.create_alias,
            "UpdateStateMachineAlias": self.update_alias,
            "DescribeStateMachineAlias": self.describe_alias,
            "ListStateMachineAliases": self.list_aliases,
            "DeleteStateMachineAlias": self.delete_alias,
        }

    def target(self, arn: str) -> tuple[sqlite3.Row, int, str | None, str | None]:
        """What StartExecution runs: ``(machine, revision, version ARN, alias ARN)``."""
        machine_arn, qualifier = machine_part(arn)
        row = self._machines.machine(machine_arn)
        if qualifier is None:
            return row, row["revision"], None, None
        alias_arn = None
        version_arn = arn
        alias = self._journal.one("SELECT * FROM aliases WHERE arn = ?", arn)
        if alias is not None:
            alias_arn = arn
            routing = decode(alias["routing"])
            chosen = self._entropy.choices(routing, weights=[route["weight"] for route in routing])[0]
            version_arn = chosen["stateMachineVersionArn"]
        version = self._journal.one("SELECT * FROM versions WHERE arn = ?", version_arn)
        if version is None:
            raise no_machine(arn)
        return row, version["revision"], version_arn, alias_arn

    def publish(self, context: RequestContext, params: Params) -> Params:
        arn, _ = machine_part(params["stateMachineArn"])
        with self._journal.write():
            row = self._machines.machine(arn)
            current = self._machines.revision(row["revision"])
            if params.get("revisionId") not in (None, current["revision_id"]):
                raise ServiceError("ConflictException",
                "Failed to publish the State Machine version for revision "
                                   f"{params['revisionId']}. The current State Machine revision is "
                                   f"{current['revision_id']}.")  # fmt: skip
            version_arn = self._machines.publish_revision(arn, row["revision"], params.get("description", ""))
            version = self._journal.one("SELECT created FROM versions WHERE arn = ?", version_arn)
            assert version is not None
        return {"stateMachineVersionArn": version_arn, "creationDate": moment(version["created"])}

    def list_versions(self, context: RequestContext, params: Params) -> Params:
        arn, _ = machine_part(params["stateMachineArn"])
        rows = self._journal.all("SELECT * FROM versions WHERE machine_arn = ? ORDER BY number DESC", arn)
        versions = [
            {"stateMachineVersionArn": row["arn"], "creationDate": moment(row["created"])} for row in rows
        ]
        return page(params, f"versions {arn}", versions, "stateMachineVersions")

    def delete_version(self, context: RequestContext, params: Params) -> Params:
        arn = params["stateMachineVersionArn"]
        machine_arn, qualifier = machine_part(arn)
        if qualifier is None or not qualifier.isdigit():
            raise ServiceError("ValidationException", f"'{arn}' is not the ARN of a state machine version")
        with self._journal.write():
            for alias in self._journal.all("SELECT * FROM aliases WHERE machine_arn = ?", machine_arn):
                if any(route["stateMachineVersionArn"] == arn for route in decode(alias["routing"])):
                    raise ServiceError(
                        "ConflictException",
                        "Version to be deleted must not be referenced by an alias. Current list of aliases "
                        f"referencing this version: [{alias['name']}]",
                    )
            self._journal.run("DELETE FROM versions WHERE arn = ?", arn)
        return {}

    def create_alias(self, context: RequestContext, params: Params) -> Params:
        name = check_name(params["name"])
        if name.isdigit():
            raise ServiceError("ValidationException", "An alias must not be named like a version number")
        routing = self._routing(params["routingConfiguration"])
        machine_arn, _ = machine_part(routing[0]["stateMachineVersionArn"])
        arn, now = f"{machine_arn}:{name}", self._clock()
        with self._journal.write():
            found = self._journal.one("SELECT * FROM aliases WHERE arn = ?", arn)
            if found is not None:
                if decode(found["routing"]) != routing:
                    raise ServiceError("ConflictException", f"Failed to create alias: '{arn}' exists already")
                return {"stateMachineAliasArn": arn, "creationDate": moment(found["created"])}
            self._journal.run(
                "INSERT INTO aliases VALUES (?, ?, ?, ?, ?, ?, ?)",
                arn, machine_arn, name, params.get("description"), encode(routing), now, now,
            )  # fmt: skip
        return {"stateMachineAliasArn": arn, "creationDate": moment(now)}

    def _routing(self, routing: Any) -> Any:
        if not 1 <= len(routing) <= 2 or sum(route["weight"] for route in routing) != 100:
            raise ServiceError(
                "ValidationException",
                "A routing configuration needs one or two versions whose weights add up to 100",
            )
        for route in routing:
            if (
                self._journal.one("SELECT 1 FROM versions WHERE arn = ?", route["stateMachineVersionArn"])
                is None
            ):
                raise ServiceError(
                    "ResourceNotFound", f"Version does not exist: '{route['stateMachineVersionArn']}'"
                )
        if len({machine_part(route["stateMachineVersionArn"])[0] for route in routing}) > 1:
            raise ServiceError("ValidationException", "The versions of an alias must be of one state machine")
        return routing

    def update_alias(self, context: RequestContext, params: Params) -> Params:
        with self._journal.write():
            row, now = self._alias(params["stateMachineAliasArn"]), self._clock()
            routing = decode(row["routing"])
            if "routingConfiguration" in params:
                routing = self._routing(params["routingConfiguration"])
            self._journal.run(
                "UPDATE aliases SET routing = ?, description = ?, updated = ? WHERE arn = ?",
                encode(routing), params.get("description", row["description"]), now, row["arn"],
            )  # fmt: skip
        return {"updateDate": moment(now)}

    def describe_alias(self, context: RequestContext, params: Params) -> Params:
        row = self._alias(params["stateMachineAliasArn"])
        answer = {
            "stateMachineAliasArn": row["arn"],
            "name": row["name"],
            "routingConfiguration": decode(row["routing"]),
            "creationDate": moment(row["created"]),
            "updateDate": moment(row["updated"]),
        }
        return answer | ({"description": row["description"]} if row["description"] else {})

    def list_aliases(self, context: RequestContext, params: Params) -> Params:
        arn, qualifier = machine_part(params["stateMachineArn"])
        self._machines.machine(arn)
        rows = self._journal.all("SELECT * FROM aliases WHERE machine_arn = ? ORDER BY name", arn)
        aliases = [
            {"stateMachineAliasArn": row["arn"], "creationDate": moment(row["created"])}
            for row in rows
            if qualifier is None
            or any(
                route["stateMachineVersionArn"] == params["stateMachineArn"]
                for route in decode(row["routing"])
            )
        ]
        return page(params, f"aliases {params['stateMachineArn']}", aliases, "stateMachineAliases")

    def delete_alias(self, context: RequestContext, params: Params) -> Params:
        with self._journal.write():
            row = self._alias(params["stateMachineAliasArn"])
            self._journal.run("DELETE FROM aliases WHERE arn = ?", row["arn"])
        return {}

    def _alias(self, arn: str) -> sqlite3.Row:
        machine_part(arn)
        row = self._journal.one("SELECT * FROM aliases WHERE arn = ?", arn)
        if row is None:
            raise ServiceError(
                "ResourceNotFound", f"Request references a resource that does not exist: '{arn}'"
            )
        return row
