"""Creating, updating, rolling back and deleting stacks, resource by resource."""

from __future__ import annotations

import copy
import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import uuid4

from triptych.localcloud.cloudformation import parameters as stack_parameters
from triptych.localcloud.cloudformation.intrinsics import AwsOnlyReference, Scope
from triptych.localcloud.cloudformation.plan import Plan, creation_order, make_plan
from triptych.localcloud.cloudformation.records import Resource, Stack, StackStore, now
from triptych.localcloud.cloudformation.resources.base import Made, ResourceContext, ResourceType
from triptych.localcloud.cloudformation.shapes import PropertyError
from triptych.localcloud.cloudformation.template import validation_error
from triptych.localcloud.service import ServiceError

_log = logging.getLogger(__name__)
STACK_TYPE = "AWS::CloudFormation::Stack"
SKIPPED = "CREATE_SKIPPED"
"""status of a resource that is marked AwsOnly"""


class ObjectReader(Protocol):
    """The part of the ObjectStore that CloudFormation reads templates and definitions from."""

    def get_bytes(self, bucket: str, key: str, version_id: str | None = None) -> bytes: ...


class ClientSource(Protocol):
    def get(self, service: str, region: str | None = None) -> Any: ...


class _Failed(Exception):
    """A resource operation failed; the message is its status reason."""

    def __init__(self, logical_id: str, reason: str) -> None:
        super().__init__(reason)
        self.logical_id = logical_id
        self.reason = reason


class Engine:
    """Works on stacks in the calling thread; every step is recorded before the next begins."""

    def __init__(
        self,
        store: StackStore,
        types: Mapping[str, ResourceType],
        clients: ClientSource,
        objects: ObjectReader,
        account_id: str,
        partition: str,
    ) -> None:
        self.store = store
        self.types = types
        self.account_id = account_id
        self.partition = partition
        self._clients = clients
        self._objects = objects
        self._exports_lock = threading.Lock()

    # -- what resource types use

    def client(self, service: str, region: str) -> Any:
        return self._clients.get(service, region)

    def read_object(self, bucket: str, key: str, version: str | None = None) -> bytes:
        """An S3 object; raises PropertyError naming it where there is none."""
        try:
            return self._objects.get_bytes(bucket, key, version)
        except ServiceError as error:
            raise PropertyError(f"s3://{bucket}/{key} cannot be read: {error.message}") from error

    def template_at(self, url: str) -> str:
        """The template behind a TemplateURL: path style, virtual-hosted style, or ``s3://``."""
        parts = urlsplit(url)
        if parts.scheme == "s3":
            bucket, key = parts.netloc, parts.path.lstrip("/")
        elif ".s3." in parts.netloc or ".s3-" in parts.netloc:
            bucket, key = parts.netloc.split(".s3", 1)[0], parts.path.lstrip("/")
        else:
            bucket, _, key = parts.path.lstrip("/").partition("/")
        version = parse_qs(parts.query).get("versionId", [None])[0]
        return self.read_object(bucket, unquote(key), version).decode()

    # -- stacks

    def plan(self, body: str, given: Mapping[str, str]) -> Plan:
        return make_plan(body, given, self.types)

    def new_stack(
        self,
        name: str,
        region: str,
        body: str,
        given: Mapping[str, str],
        tags: Mapping[str, str],
        parent: Stack | None = None,
        **options: Any,
    ) -> Stack:
        """A stack record that ``create`` then fills; raises ValidationError on a bad template."""
        plan = self.plan(body, given)
        stack_id = f"arn:{self.partition}:cloudformation:{region}:{self.account_id}:stack/{name}/{uuid4()}"
        stack = Stack(
            stack_id=stack_id,
            name=name,
            region=region,
            status="CREATE_IN_PROGRESS",
            created=now(),
            template=body,
            parameters=plan.texts,
            tags=dict(tags),
            parent_id=parent.stack_id if parent else None,
            root_id=(parent.root_id or parent.stack_id) if parent else None,
            **options,
        )
        self.store.save(stack)
        return stack

    def create(self, stack: Stack) -> None:
        """Creates everything; on a failure rolls back (or not, by ``on_failure``). Raises nothing."""
        self._set(stack, "CREATE_IN_PROGRESS", "User Initiated")
        try:
            plan = self.plan(stack.template, stack.parameters)
            self._apply(stack, plan)
            stack.outputs = self._outputs(stack, plan)
        except Exception as error:
            self._creation_failed(stack, error)
            return
        self._set(stack, "CREATE_COMPLETE")

    def _creation_failed(self, stack: Stack, error: Exception) -> None:
        reason = self._reason(error)
        if isinstance(error, _Failed):
            reason = f"The following resource(s) failed to create: [{error.logical_id}]. "
        if stack.on_failure == "DO_NOTHING":
            self._set(stack, "CREATE_FAILED", reason)
            return
        if stack.on_failure == "DELETE":
            self._set(stack, "CREATE_FAILED", reason)
            self.delete(stack)
            return
        self._set(stack, "ROLLBACK_IN_PROGRESS", f"{reason.strip()} Rollback requested by user.")
        self.roll_back_creation(stack)

    def roll_back_creation(self, stack: Stack) -> None:
        failed = self._delete_all(stack)
        if failed:
            names = ", ".join(failed)
            self._set(stack, "ROLLBACK_FAILED", f"The following resource(s) failed to delete: [{names}]. ")
        else:
            self._set(stack, "ROLLBACK_COMPLETE")

    def update(
        self,
        stack: Stack,
        body: str,
        given: Mapping[str, str],
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Brings the stack to another template and parameters; on a failure back to what it was."""
        plan = self.plan(body, given)
        stack.snapshot = {
            "template": stack.template,
            "parameters": stack.parameters,
            "tags": stack.tags,
            "outputs": stack.outputs,
            "resources": {name: asdict(one) for name, one in self.store.resources(stack.stack_id).items()},
        }
        stack.template, stack.parameters, stack.updated = body, plan.texts, now()
        if tags is not None:
            stack.tags = dict(tags)
        self._set(stack, "UPDATE_IN_PROGRESS", "User Initiated")
        try:
            self._apply(stack, plan)
            stack.outputs = self._outputs(stack, plan)
        except Exception as error:
            reason = self._reason(error)
            if isinstance(error, _Failed):
                reason = f"The following resource(s) failed to update: [{error.logical_id}]. "
            self._set(stack, "UPDATE_ROLLBACK_IN_PROGRESS", reason)
            self.roll_back_update(stack)
            return
        self._set(stack, "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS")
        self.clean_up(stack)

    def clean_up(self, stack: Stack) -> None:
        """Deletes what an update left behind; what cannot be deleted is reported and left, as on AWS."""
        for document in reversed(stack.cleanup):
            resource = Resource(**document)
            self._delete_resource(stack, resource, record=False)
        stack.cleanup, stack.snapshot = [], None
        self._set(stack, "UPDATE_COMPLETE")

    def roll_back_update(self, stack: Stack) -> None:
        """Back to the snapshot, from wherever the update stopped."""
        snapshot = stack.snapshot
        if snapshot is None:  # the process ended before anything was touched
            self._set(stack, "UPDATE_ROLLBACK_COMPLETE")
            return
        before = {name: Resource(**document) for name, document in snapshot["resources"].items()}
        problems: list[str] = []
        current = self.store.resources(stack.stack_id)
        for name, resource in reversed(current.items()):
            old = before.get(name)
            if old is not None and old.generation == resource.generation and old.type == resource.type:
                if resource.properties == old.properties and resource.status == old.status:
                    continue
                if not self._revert(stack, resource, old):
                    problems.append(name)
            else:
                if not self._delete_resource(stack, resource, record=old is None):
                    problems.append(name)
                if old is not None:
                    self.store.save_resource(stack.stack_id, old)
        for name, old in before.items():
            if name not in current:
                self.store.save_resource(stack.stack_id, old)
        for key in ("template", "parameters", "tags", "outputs"):
            setattr(stack, key, snapshot[key])
        stack.snapshot, stack.cleanup = None, []
        if problems:
            names = ", ".join(problems)
            reason = f"The following resource(s) failed to update: [{names}]. "
            self._set(stack, "UPDATE_ROLLBACK_FAILED", reason)
        else:
            self._set(stack, "UPDATE_ROLLBACK_COMPLETE")

    def _revert(self, stack: Stack, resource: Resource, old: Resource) -> bool:
        kind = self.types.get(resource.type)
        if kind is None or resource.physical_id is None or old.physical_id is None:
            self.store.save_resource(stack.stack_id, old)
            return True
        context = self._context(stack, resource)
        self._mark(stack, resource, "UPDATE_IN_PROGRESS")
        try:
            kind.update(context, Made(old.physical_id, old.attributes), old.properties, resource.properties)
        except Exception as error:
            self._mark(stack, resource, "UPDATE_FAILED", self._reason(error))
            return False
        self._mark(stack, old, "UPDATE_COMPLETE")
        return True

    def delete(self, stack: Stack) -> None:
        """Deletes the stack's resources, dependants first. Raises nothing."""
        self._set(stack, "DELETE_IN_PROGRESS", "User Initiated")
        failed = self._delete_all(stack)
        if failed:
            names = ", ".join(failed)
            self._set(stack, "DELETE_FAILED", f"The following resource(s) failed to delete: [{names}]. ")
            return
        stack.deleted = now()
        self._set(stack, "DELETE_COMPLETE")

    def resume(self, stack: Stack) -> None:
        """Goes on with an operation that the end of the process cut short: create and update roll back."""
        why = "The local cloud was stopped in the midst of the operation."
        _log.info("stack %s was left in %s", stack.name, stack.status)
        if stack.status in ("CREATE_IN_PROGRESS", "ROLLBACK_IN_PROGRESS"):
            self._set(stack, "ROLLBACK_IN_PROGRESS", why)
            self.roll_back_creation(stack)
        elif stack.status in ("UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS"):
            self._set(stack, "UPDATE_ROLLBACK_IN_PROGRESS", why)
            self.roll_back_update(stack)
        elif stack.status == "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS":
            self.clean_up(stack)
        elif stack.status == "DELETE_IN_PROGRESS":
            self.delete(stack)

    def failure_of(self, stack: Stack) -> str:
        """Why the last operation of a stack failed: its resources' reasons."""
        reasons: list[str] = []
        for event in self.store.events(stack.stack_id):
            if event["type"] == STACK_TYPE and event["reason"] == "User Initiated":
                break
            if event["status"].endswith("_FAILED") and event["physical_id"] != stack.stack_id:
                reasons.append(f"{event['logical_id']}: {event['reason']}")
        return "; ".join(reversed(reasons)) or stack.reason

    # -- resources

    def _apply(self, stack: Stack, plan: Plan) -> None:
        records = self.store.resources(stack.stack_id)
        scope = self._scope(stack, plan, records)
        kept: set[str] = set()
        for logical_id in creation_order(plan):
            resource = plan.resources[logical_id]
            condition = resource.get("Condition")
            if condition is not None and not scope.condition(condition):
                continue
            kept.add(logical_id)
            records[logical_id] = self._apply_one(stack, plan, scope, logical_id, records.get(logical_id))
        for logical_id, record in list(records.items()):
            if logical_id not in kept:
                if record.physical_id is not None:
                    stack.cleanup.append(asdict(record))
                del records[logical_id]
                self.store.drop_resource(stack.stack_id, logical_id)
        self.store.save(stack)

    def _apply_one(
        self, stack: Stack, plan: Plan, scope: Scope, logical_id: str, current: Resource | None
    ) -> Resource:
        declared = plan.resources[logical_id]
        record = Resource(
            logical_id=logical_id,
            type=declared["Type"],
            status="CREATE_IN_PROGRESS",
            updated=now(),
            deletion_policy=declared.get("DeletionPolicy", "Delete"),
            replace_policy=declared.get("UpdateReplacePolicy", "Delete"),
            dependencies=plan.dependencies(logical_id),
        )
        why = plan.aws_only(logical_id)
        if why is not None:
            self._mark(stack, record, SKIPPED, f"AwsOnly: {why}")
            return record
        kind = self.types[record.type]
        try:
            properties = scope.resolve(declared.get("Properties", {}))
        except Exception as error:
            record.status = "CREATE_FAILED"
            if current is not None:
                record = copy.copy(current)
            self._mark(stack, record, "UPDATE_FAILED" if current else "CREATE_FAILED", self._reason(error))
            raise _Failed(logical_id, self._reason(error)) from error
        exists = current is not None and current.physical_id is not None
        if not exists or current is None:
            return self._create_resource(stack, kind, record, properties)
        same_type = current.type == record.type
        if same_type and properties == current.properties:
            current.deletion_policy, current.replace_policy = record.deletion_policy, record.replace_policy
            current.dependencies = record.dependencies
            self.store.save_resource(stack.stack_id, current)
            return current
        if not same_type or kind.needs_replacement(properties, current.properties):
            if current.replace_policy not in ("Retain", "RetainExceptOnCreate"):
                stack.cleanup.append({**asdict(current), "deletion_policy": "Delete"})
                self.store.save(stack)
            record.generation = current.generation + 1
            return self._create_resource(stack, kind, record, properties, replacing=True)
        return self._update_resource(stack, kind, record, current, properties)

    def _create_resource(
        self,
        stack: Stack,
        kind: ResourceType,
        record: Resource,
        properties: dict[str, Any],
        replacing: bool = False,
    ) -> Resource:
        verb = "UPDATE" if replacing else "CREATE"
        record.properties = properties
        self._mark(stack, record, f"{verb}_IN_PROGRESS")
        try:
            made = kind.create(self._context(stack, record), properties)
        except Exception as error:
            self._fail(stack, record, verb, error)
        record.physical_id, record.attributes = made.physical_id, made.attributes
        self._mark(stack, record, f"{verb}_COMPLETE")
        return record

    def _update_resource(
        self,
        stack: Stack,
        kind: ResourceType,
        record: Resource,
        current: Resource,
        properties: dict[str, Any],
    ) -> Resource:
        assert current.physical_id is not None
        record.generation, record.physical_id = current.generation, current.physical_id
        record.attributes, record.properties = current.attributes, properties
        self._mark(stack, record, "UPDATE_IN_PROGRESS")
        try:
            made = kind.update(
                self._context(stack, record),
                Made(current.physical_id, current.attributes),
                properties,
                current.properties,
            )
        except Exception as error:
            self._fail(stack, record, "UPDATE", error)
        record.physical_id, record.attributes = made.physical_id, made.attributes
        self._mark(stack, record, "UPDATE_COMPLETE")
        return record

    def _fail(self, stack: Stack, record: Resource, verb: str, error: Exception) -> Any:
        reason = self._reason(error)
        if not isinstance(error, (PropertyError, ServiceError, AwsOnlyReference)) and not _from_api(error):
            _log.exception("%s of %s in stack %s failed", verb, record.logical_id, stack.name)
        self._mark(stack, record, f"{verb}_FAILED", reason)
        raise _Failed(record.logical_id, reason) from error

    def _delete_all(self, stack: Stack) -> list[str]:
        """Deletes every resource of a stack; returns the logical ids of those that could not be."""
        for document in reversed(stack.cleanup):
            self._delete_resource(stack, Resource(**document), record=False)
        stack.cleanup = []
        remaining = self.store.resources(stack.stack_id)
        failed: list[str] = []
        while remaining:
            needed = {name for resource in remaining.values() for name in resource.dependencies}
            free = [name for name in reversed(remaining) if name not in needed] or list(remaining)
            for name in free:
                if not self._delete_resource(stack, remaining.pop(name), record=True):
                    failed.append(name)
        return failed

    def _delete_resource(self, stack: Stack, resource: Resource, record: bool) -> bool:
        kind = self.types.get(resource.type)
        if resource.physical_id is None or kind is None:
            if record:
                self.store.drop_resource(stack.stack_id, resource.logical_id)
            return True
        event = self._mark if record else self._note_only
        if resource.deletion_policy == "Retain" or (
            resource.deletion_policy == "RetainExceptOnCreate" and not self._is_undone(stack)
        ):
            event(stack, resource, "DELETE_SKIPPED")
            if record:
                self.store.drop_resource(stack.stack_id, resource.logical_id)
            return True
        event(stack, resource, "DELETE_IN_PROGRESS")
        try:
            made = Made(resource.physical_id, resource.attributes)
            kind.delete(self._context(stack, resource), made, resource.properties)
        except Exception as error:
            if not isinstance(error, (PropertyError, ServiceError)) and not _from_api(error):
                _log.exception("deletion of %s in stack %s failed", resource.logical_id, stack.name)
            event(stack, resource, "DELETE_FAILED", self._reason(error))
            return False
        event(stack, resource, "DELETE_COMPLETE")
        if record:
            self.store.drop_resource(stack.stack_id, resource.logical_id)
        return True

    def _is_undone(self, stack: Stack) -> bool:
        """Whether a deletion takes back what this operation, on the stack or one that holds it, created."""
        current: Stack | None = stack
        while current is not None:
            if current.status in ("ROLLBACK_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS"):
                return True
            current = self.store.find(current.parent_id) if current.parent_id else None
        return False

    def _context(self, stack: Stack, record: Resource) -> ResourceContext:
        def note(made: Made) -> None:
            record.physical_id, record.attributes = made.physical_id, made.attributes
            self.store.save_resource(stack.stack_id, record)

        return ResourceContext(self, stack, record.logical_id, record.generation, note)

    # -- values

    def _scope(self, stack: Stack, plan: Plan, records: Mapping[str, Resource]) -> Scope:
        def record(name: str) -> Resource:
            found = records.get(name)
            if found is None:
                raise validation_error(
                    f"Template error: resource {name} is referred to, but its Condition is false: "
                    "it does not exist"
                )
            if found.status == SKIPPED:
                raise AwsOnlyReference(name)
            return found

        def attribute(name: str, wanted: str) -> Any:
            found = record(name)
            value: Any = found.attributes
            for part in (wanted,) if wanted in found.attributes else wanted.split("."):
                if not isinstance(value, dict) or part not in value:
                    raise validation_error(
                        f"Template error: resource {name} does not support attribute type {wanted} "
                        "in Fn::GetAtt"
                    )
                value = value[part]
            return value

        def ssm(name: str) -> str:
            return str(self.client("ssm", stack.region).get_parameter(Name=name)["Parameter"]["Value"])

        def dynamic(kind: str, reference: str) -> str:
            if kind == "secretsmanager":
                secret, _, rest = reference.partition(":SecretString")
                found = self.client("secretsmanager", stack.region).get_secret_value(SecretId=secret)[
                    "SecretString"
                ]
                key = rest.lstrip(":").split(":")[0]
                return str(json.loads(found)[key]) if key else str(found)
            name = reference.rsplit(":", 1)[0] if reference.rsplit(":", 1)[-1].isdigit() else reference
            client = self.client("ssm", stack.region)
            return str(client.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"])

        return Scope(
            pseudo={
                "AWS::AccountId": self.account_id,
                "AWS::NotificationARNs": stack.notification_arns,
                "AWS::Partition": self.partition,
                "AWS::Region": stack.region,
                "AWS::StackId": stack.stack_id,
                "AWS::StackName": stack.name,
                "AWS::URLSuffix": "amazonaws.com.cn" if self.partition == "aws-cn" else "amazonaws.com",
            },
            parameters=stack_parameters.resolved(plan.template, plan.texts, ssm),
            mappings=plan.template.get("Mappings", {}),
            conditions=plan.template.get("Conditions", {}),
            ref=lambda name: record(name).physical_id,
            attribute=attribute,
            import_value=lambda name: self._imported(stack, name),
            dynamic=dynamic,
        )

    def exports(self, region: str) -> dict[str, tuple[Stack, str]]:
        """Export name -> the stack that exports it, and the value."""
        found: dict[str, tuple[Stack, str]] = {}
        for stack in self.store.stacks():
            if stack.region == region and stack.status != "DELETE_COMPLETE":
                for output in stack.outputs.values():
                    if output.get("export"):
                        found[output["export"]] = (stack, output["value"])
        return found

    def _imported(self, stack: Stack, name: str) -> str:
        exports = self.exports(stack.region)
        if name not in exports:
            raise validation_error(f"No export named {name} found.")
        return exports[name][1]

    def _outputs(self, stack: Stack, plan: Plan) -> dict[str, dict[str, Any]]:
        scope = self._scope(stack, plan, self.store.resources(stack.stack_id))
        outputs: dict[str, dict[str, Any]] = {}
        exports = self.exports(stack.region)
        for name, declared in plan.template.get("Outputs", {}).items():
            if "Condition" in declared and not scope.condition(declared["Condition"]):
                continue
            try:
                value = scope.resolve(declared["Value"])
            except AwsOnlyReference:
                continue
            if not isinstance(value, (str, int, float, bool)):
                continue  # nothing to show: it refers to what exists on AWS only
            export = scope.resolve(declared["Export"]["Name"]) if "Export" in declared else None
            if export in exports and exports[export][0].stack_id != stack.stack_id:
                raise validation_error(
                    f"Export with name {export} is already exported by stack {exports[export][0].name}. "
                )
            text = ("true" if value else "false") if isinstance(value, bool) else str(value)
            outputs[name] = {"value": text, "description": declared.get("Description"), "export": export}
        return outputs

    # -- records

    def _set(self, stack: Stack, status: str, reason: str = "") -> None:
        stack.status, stack.reason = status, reason if reason != "User Initiated" else ""
        self.store.save(stack)
        self.store.add_event(stack, stack.name, stack.stack_id, STACK_TYPE, status, reason)

    def _mark(self, stack: Stack, resource: Resource, status: str, reason: str = "") -> None:
        resource.status, resource.reason, resource.updated = status, reason, now()
        self.store.save_resource(stack.stack_id, resource)
        self._note_only(stack, resource, status, reason)

    def _note_only(self, stack: Stack, resource: Resource, status: str, reason: str = "") -> None:
        self.store.add_event(
            stack,
            resource.logical_id,
            resource.physical_id,
            resource.type,
            status,
            reason,
            resource.properties,
        )

    @staticmethod
    def _reason(error: Exception) -> str:
        if isinstance(error, ServiceError):
            return error.message
        if isinstance(error, AwsOnlyReference):
            return (
                f"{error.logical_id} exists on AWS only (Metadata Triptych.AwsOnly) and has no value here: "
                "mark this resource AwsOnly as well, or refer to it under a Condition"
            )
        if isinstance(error, (PropertyError, _Failed)):
            return str(error)
        details = getattr(error, "response", {}).get("Error", {})
        if details:
            return f"{details.get('Message', '')} ({details.get('Code', type(error).__name__)})"
        if _from_api(error):
            return str(error)
        return f"{type(error).__name__}: {error}"


def _from_api(error: Exception) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    return isinstance(error, (BotoCoreError, ClientError))
