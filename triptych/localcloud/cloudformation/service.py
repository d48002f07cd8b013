"""CloudFormation's API over the engine: stacks, change sets, events, templates."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any
from uuid import uuid4

from triptych.localcloud.cloud import Cloud
from triptych.localcloud.cloudformation import plan as plans
from triptych.localcloud.cloudformation.catalogue import catalogue
from triptych.localcloud.cloudformation.engine import ClientSource, Engine, ObjectReader
from triptych.localcloud.cloudformation.parameters import given_values
from triptych.localcloud.cloudformation.plan import Plan
from triptych.localcloud.cloudformation.records import ChangeSet, Resource, Stack, StackStore, now
from triptych.localcloud.cloudformation.shapes import PropertyError, tag_list, tag_map
from triptych.localcloud.cloudformation.template import parse, plain, validation_error
from triptych.localcloud.service import Operation, Params, RequestContext, ServiceError

_log = logging.getLogger(__name__)

_PATIENCE_SECONDS = 25.0
"""How long a call waits for its stack operation: waiters then find it done at their first look"""
_PAGE = 100
_UPDATABLE = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE")
NO_CHANGES = (
    "The submitted information didn't contain changes. Submit different information to create a change set."
)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


class CloudFormationService:
    """Stacks live in ``state/cloudformation.sqlite``; what the end of the process cut short is rolled
    back.
    """

    service_id = "cloudformation"

    def __init__(
        self, cloud: Cloud, clients: ClientSource | None = None, objects: ObjectReader | None = None
    ) -> None:
        self._store = StackStore(cloud.home)
        self._engine = Engine(
            self._store,
            catalogue(),
            clients if clients is not None else cloud.clients,
            objects if objects is not None else cloud.store,
            cloud.settings.account_id,
            cloud.settings.partition,
        )
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._halted: dict[str, str] = {}
        """by stack id: why an operation of this process will not go on"""
        self.operations: Mapping[str, Operation] = {
            "CreateChangeSet": self.create_change_set,
            "CreateStack": self.create_stack,
            "DeleteChangeSet": self.delete_change_set,
            "DeleteStack": self.delete_stack,
            "DescribeChangeSet": self.describe_change_set,
            "DescribeStackEvents": self.describe_stack_events,
            "DescribeStackResource": self.describe_stack_resource,
            "DescribeStackResources": self.describe_stack_resources,
            "DescribeStacks": self.describe_stacks,
            "ExecuteChangeSet": self.execute_change_set,
            "GetTemplate": self.get_template,
            "GetTemplateSummary": self.get_template_summary,
            "ListChangeSets": self.list_change_sets,
            "ListExports": self.list_exports,
            "ListImports": self.list_imports,
            "ListStackResources": self.list_stack_resources,
            "ListStacks": self.list_stacks,
            "UpdateStack": self.update_stack,
            "UpdateTerminationProtection": self.update_termination_protection,
            "ValidateTemplate": self.validate_template,
        }

    def start(self) -> None:
        """Roll back, in the background, what was in progress when the process ended."""
        for stack in self._store.stacks():
            if stack.parent_id is None and stack.in_progress:
                self._run(stack, partial(self._engine.resume, stack), wait=False)

    def stop(self) -> None:
        self._stopping.set()

    # -- running

    def _run(self, stack: Stack, work: Callable[[], None], wait: bool = True) -> None:
        """Works in a thread of its own; the caller waits a while, so that most operations are done on
        return.
        """
        done = threading.Event()

        def run() -> None:
            try:
                work()
            except Exception as error:
                # Even the failure could not be recorded: the disk is full, or the home is gone.
                _log.exception("operation on stack %s failed", stack.name)
                self._halted[stack.stack_id] = str(error)
            finally:
                done.set()

        threading.Thread(target=run, name=f"stack {stack.name}", daemon=True).start()
        if wait:
            done.wait(_PATIENCE_SECONDS)

    @staticmethod
    def _idle(stack: Stack, verb: str) -> None:
        if stack.in_progress:
            raise validation_error(
                f"Stack:{stack.stack_id} is in {stack.status} state and can not be {verb}."
            )

    def _updatable(self, name_or_id: str) -> Stack:
        stack = self._store.stack(name_or_id)
        if stack.status not in _UPDATABLE:
            raise validation_error(
                f"Stack:{stack.stack_id} is in {stack.status} state and can not be updated."
            )
        return stack

    # -- templates

    def _body(self, params: Params, previous: Stack | None = None) -> str:
        if params.get("UsePreviousTemplate") and previous is not None:
            return previous.template
        if params.get("TemplateBody"):
            return str(params["TemplateBody"])
        if params.get("TemplateURL"):
            try:
                return self._engine.template_at(params["TemplateURL"])
            except PropertyError as error:
                raise validation_error(f"TemplateURL {params['TemplateURL']}: {error}") from error
        raise validation_error("Either Template URL or Template Body must be specified.")

    def validate_template(self, context: RequestContext, params: Params) -> Params:
        template = plain(parse(self._body(params)))
        capabilities = plans.required_capabilities(template)
        return {
            "Parameters": [
                {
                    "ParameterKey": name,
                    "NoEcho": str(declared.get("NoEcho", "false")).lower() == "true",
                    **({"DefaultValue": _default(declared)} if "Default" in declared else {}),
                    **({"Description": declared["Description"]} if "Description" in declared else {}),
                }
                for name, declared in template.get("Parameters", {}).items()
            ],
            "Description": template.get("Description"),
            "Capabilities": capabilities,
            **({"CapabilitiesReason": "The template has IAM resources."} if capabilities else {}),
        }

    def get_template(self, context: RequestContext, params: Params) -> Params:
        if params.get("ChangeSetName"):
            body = self._store.change_set(params["ChangeSetName"], params.get("StackName")).template
        else:
            body = self._store.stack(params["StackName"]).template
        return {"TemplateBody": body, "StagesAvailable": ["Original", "Processed"]}

    def get_template_summary(self, context: RequestContext, params: Params) -> Params:
        previous = self._store.stack(params["StackName"]) if params.get("StackName") else None
        template = plain(parse(previous.template if previous else self._body(params)))
        return {
            "Parameters": [
                {
                    "ParameterKey": name,
                    "ParameterType": declared.get("Type", "String"),
                    "NoEcho": str(declared.get("NoEcho", "false")).lower() == "true",
                    **({"DefaultValue": _default(declared)} if "Default" in declared else {}),
                    **({"Description": declared["Description"]} if "Description" in declared else {}),
                    "ParameterConstraints": {
                        "AllowedValues": [str(v) for v in declared.get("AllowedValues", [])]
                    },
                }
                for name, declared in template.get("Parameters", {}).items()
            ],
            "Description": template.get("Description"),
            "Capabilities": plans.required_capabilities(template),
            "ResourceTypes": sorted({resource["Type"] for resource in template["Resources"].values()}),
            "Version": str(template.get("AWSTemplateFormatVersion", "2010-09-09")),
        }

    # -- stacks

    def create_stack(self, context: RequestContext, params: Params) -> Params:
        with self._lock:
            name = _stack_name(params["StackName"])
            if self._store.find(name) is not None:
                raise ServiceError("AlreadyExistsException", f"Stack [{name}] already exists")
            body, given = self._body(params), given_values(params.get("Parameters", []), {})
            plan = self._engine.plan(body, given)
            capabilities = params.get("Capabilities", [])
            plans.check_capabilities(plan.template, capabilities)
            on_failure = params.get(
                "OnFailure", "DO_NOTHING" if params.get("DisableRollback") else "ROLLBACK"
            )
            stack = self._engine.new_stack(
                name,
                context.region,
                body,
                given,
                tag_map(params.get("Tags")),
                capabilities=capabilities,
                role_arn=params.get("RoleARN"),
                notification_arns=params.get("NotificationARNs", []),
                on_failure=on_failure,
                termination_protection=bool(params.get("EnableTerminationProtection")),
            )
        self._run(stack, lambda: self._engine.create(stack))
        return {"StackId": stack.stack_id}

    def update_stack(self, context: RequestContext, params: Params) -> Params:
        with self._lock:
            stack = self._updatable(params["StackName"])
            body = self._body(params, stack)
            given = given_values(params.get("Parameters", []), stack.parameters)
            plan = self._engine.plan(body, given)
            plans.check_capabilities(plan.template, params.get("Capabilities", []))
            tags = tag_map(params["Tags"]) if "Tags" in params else stack.tags
            if plans.unchanged(plan, self._current(stack)) and tags == stack.tags:
                raise validation_error("No updates are to be performed.")
            self._claim(stack, "UPDATE_IN_PROGRESS")
        self._run(stack, lambda: self._engine.update(stack, body, given, tags))
        return {"StackId": stack.stack_id}

    def _claim(self, stack: Stack, status: str) -> None:
        """Takes the stack for one operation; a second one finds it in progress."""
        stack.status = status
        self._store.save(stack)

    def _current(self, stack: Stack) -> Plan:
        return Plan(stack.template, plain(parse(stack.template)), stack.parameters)

    def delete_stack(self, context: RequestContext, params: Params) -> Params:
        with self._lock:
            stack = self._store.find(params["StackName"])
            if stack is None or stack.status == "DELETE_COMPLETE":
                return {}
            if stack.status == "REVIEW_IN_PROGRESS":
                self._store.forget(stack)
                return {}
            if stack.termination_protection:
                raise validation_error(
                    f"Stack [{stack.name}] cannot be deleted while TerminationProtection is enabled"
                )
            if stack.status == "DELETE_IN_PROGRESS":
                return {}
            self._idle(stack, "deleted")
            users = self._importers(stack)
            if users:
                raise validation_error(
                    f"Export {users[0][0]} cannot be deleted as it is in use by {users[0][1]}"
                )
            self._claim(stack, "DELETE_IN_PROGRESS")
        self._run(stack, lambda: self._engine.delete(stack))
        return {}

    def _importers(self, stack: Stack) -> list[tuple[str, str]]:
        exports = {output["export"] for output in stack.outputs.values() if output.get("export")}
        if not exports:
            return []
        return [
            (export, other.name)
            for other in self._store.stacks()
            if other.stack_id != stack.stack_id and other.status != "DELETE_COMPLETE" and other.template
            for export in sorted(exports)
            if "ImportValue" in other.template and export in self._imports(other)
        ]

    def _imports(self, stack: Stack) -> set[str]:
        found: set[str] = set()
        for resource in self._store.resources(stack.stack_id).values():
            text = json.dumps(resource.properties)
            for name, (_, value) in self._engine.exports(stack.region).items():
                if value and value in text:
                    found.add(name)
        return found

    def update_termination_protection(self, context: RequestContext, params: Params) -> Params:
        stack = self._store.stack(params["StackName"])
        stack.termination_protection = bool(params["EnableTerminationProtection"])
        self._store.save(stack)
        return {"StackId": stack.stack_id}

    def describe_stacks(self, context: RequestContext, params: Params) -> Params:
        if params.get("StackName"):
            stack = self._store.stack(params["StackName"])
            if stack.in_progress and stack.stack_id in self._halted:
                raise ServiceError(
                    "InternalFailure",
                    f"The operation on stack {stack.name} was cut short: {self._halted[stack.stack_id]}. "
                    "It is rolled back at the next start: free some space in the home folder, then "
                    "`triptych down` and `triptych up`.",
                    500,
                )
            return {"Stacks": [self._describe(stack)]}
        stacks = [stack for stack in self._store.stacks() if stack.status != "DELETE_COMPLETE"]
        page, token = _paged(stacks, params)
        return {"Stacks": [self._describe(stack) for stack in page], **token}

    def _describe(self, stack: Stack) -> Params:
        template = plain(parse(stack.template)) if stack.template else {}
        hidden = {
            name
            for name, declared in template.get("Parameters", {}).items()
            if str(declared.get("NoEcho", "false")).lower() == "true"
        }
        return _given(
            {
                "StackId": stack.stack_id,
                "StackName": stack.name,
                "ChangeSetId": stack.change_set_id,
                "Description": template.get("Description"),
                "Parameters": [
                    {"ParameterKey": name, "ParameterValue": "****" if name in hidden else value}
                    for name, value in stack.parameters.items()
                ],
                "CreationTime": _time(stack.created),
                "LastUpdatedTime": _time(stack.updated) if stack.updated else None,
                "DeletionTime": _time(stack.deleted) if stack.deleted else None,
                "RollbackConfiguration": {},
                "StackStatus": stack.status,
                "StackStatusReason": stack.reason or None,
                "DisableRollback": stack.on_failure == "DO_NOTHING",
                "NotificationARNs": stack.notification_arns,
                "Capabilities": stack.capabilities,
                "Outputs": [
                    _given(
                        {
                            "OutputKey": name,
                            "OutputValue": output["value"],
                            "Description": output.get("description"),
                            "ExportName": output.get("export"),
                        }
                    )
                    for name, output in stack.outputs.items()
                ],
                "RoleARN": stack.role_arn,
                "Tags": tag_list(stack.tags),
                "EnableTerminationProtection": stack.termination_protection,
                "ParentId": stack.parent_id,
                "RootId": stack.root_id,
                "DriftInformation": {"StackDriftStatus": "NOT_CHECKED"},
            }
        )

    def list_stacks(self, context: RequestContext, params: Params) -> Params:
        wanted = params.get("StackStatusFilter")
        stacks = [stack for stack in self._store.stacks() if not wanted or stack.status in wanted]
        page, token = _paged(stacks, params)
        summaries = []
        for stack in page:
            described = self._describe(stack)
            names = (
                "StackId", "StackName", "CreationTime", "LastUpdatedTime", "DeletionTime", "StackStatus",
                "StackStatusReason", "ParentId", "RootId", "DriftInformation",
            )  # fmt: skip
            summary = {name: described[name] for name in names if name in described}
            if described.get("Description"):
                summary["TemplateDescription"] = described["Description"]
            summaries.append(summary)
        return {"StackSummaries": summaries, **token}

    # -- events and resources

    def describe_stack_events(self, context: RequestContext, params: Params) -> Params:
        stack = self._store.stack(params["StackName"])
        page, token = _paged(self._store.events(stack.stack_id), params)
        return {
            "StackEvents": [
                _given(
                    {
                        "StackId": stack.stack_id,
                        "EventId": f"{event['logical_id']}-{event['id']}",
                        "StackName": stack.name,
                        "LogicalResourceId": event["logical_id"],
                        "PhysicalResourceId": event["physical_id"] or "",
                        "ResourceType": event["type"],
                        "Timestamp": _time(event["time"]),
                        "ResourceStatus": event["status"],
                        "ResourceStatusReason": event["reason"] or None,
                        "ResourceProperties": event["properties"],
                    }
                )
                for event in page
            ],
            **token,
        }

    def _resource(self, stack: Stack, resource: Resource) -> Params:
        return _given(
            {
                "StackName": stack.name,
                "StackId": stack.stack_id,
                "LogicalResourceId": resource.logical_id,
                "PhysicalResourceId": resource.physical_id,
                "ResourceType": resource.type,
                "Timestamp": _time(resource.updated),
                "ResourceStatus": resource.status,
                "ResourceStatusReason": resource.reason or None,
                "DriftInformation": {"StackResourceDriftStatus": "NOT_CHECKED"},
            }
        )

    def describe_stack_resources(self, context: RequestContext, params: Params) -> Params:
        if params.get("PhysicalResourceId") and not params.get("StackName"):
            for stack in self._store.stacks():
                for resource in self._store.resources(stack.stack_id).values():
                    if resource.physical_id == params["PhysicalResourceId"]:
                        return self.describe_stack_resources(context, {"StackName": stack.stack_id})
            raise validation_error(f"Stack for {params['PhysicalResourceId']} does not exist")
        stack = self._store.stack(params["StackName"])
        wanted = params.get("LogicalResourceId")
        found = [
            self._resource(stack, resource)
            for resource in self._store.resources(stack.stack_id).values()
            if wanted in (None, resource.logical_id)
        ]
        return {"StackResources": found}

    def describe_stack_resource(self, context: RequestContext, params: Params) -> Params:
        stack = self._store.stack(params["StackName"])
        resource = self._store.resources(stack.stack_id).get(params["LogicalResourceId"])
        if resource is None:
            raise validation_error(
                f"Resource {params['LogicalResourceId']} does not exist for stack {stack.name}"
            )
        detail = self._resource(stack, resource)
        detail["LastUpdatedTimestamp"] = detail.pop("Timestamp")
        return {"StackResourceDetail": detail}

    def list_stack_resources(self, context: RequestContext, params: Params) -> Params:
        stack = self._store.stack(params["StackName"])
        page, token = _paged(list(self._store.resources(stack.stack_id).values()), params)
        summaries = []
        for resource in page:
            summary = self._resource(stack, resource)
            summary["LastUpdatedTimestamp"] = summary.pop("Timestamp")
            summaries.append({key: summary[key] for key in summary if key not in ("StackName", "StackId")})
        return {"StackResourceSummaries": summaries, **token}

    def list_exports(self, context: RequestContext, params: Params) -> Params:
        exports = [
            {"ExportingStackId": stack.stack_id, "Name": name, "Value": value}
            for name, (stack, value) in sorted(self._engine.exports(context.region).items())
        ]
        page, token = _paged(exports, params)
        return {"Exports": page, **token}

    def list_imports(self, context: RequestContext, params: Params) -> Params:
        name = params["ExportName"]
        importers = [
            stack.name
            for stack in self._store.stacks()
            if stack.status != "DELETE_COMPLETE"
            and "ImportValue" in stack.template
            and name in self._imports(stack)
        ]
        if not importers:
            raise validation_error(f"Export '{name}' is not imported by any stack.")
        return {"Imports": importers}

    # -- change sets

    def create_change_set(self, context: RequestContext, params: Params) -> Params:
        with self._lock:
            kind, name = params.get("ChangeSetType", "UPDATE"), _stack_name(params["StackName"])
            stack = self._store.find(name)
            if kind == "CREATE" and stack is not None and stack.status != "REVIEW_IN_PROGRESS":
                raise validation_error(
                    f"Stack [{stack.name}] already exists and cannot be created again with the changeSet "
                    f"[{params['ChangeSetName']}]."
                )
            if kind == "UPDATE":
                stack = self._updatable(name)
            previous = stack if kind == "UPDATE" else None
            body = self._body(params, previous)
            given = given_values(params.get("Parameters", []), previous.parameters if previous else {})
            plan = self._engine.plan(body, given)
            plans.check_capabilities(plan.template, params.get("Capabilities", []))
            if stack is None:
                stack = self._reviewed(context, name)
            for same in self._store.change_sets(stack.stack_id):
                if same.name != params["ChangeSetName"]:
                    continue
                if same.execution_status == "AVAILABLE":
                    raise ServiceError(
                        "AlreadyExistsException", f"ChangeSet {same.name} cannot be created: it exists."
                    )
                # `aws cloudformation deploy` names its change sets by the second, and two fit into one here.
                self._store.drop_change_set(same.change_set_id)
            change_set = self._planned(context, params, stack, plan, previous)
            self._store.save_change_set(change_set)
        return {"Id": change_set.change_set_id, "StackId": stack.stack_id}

    def _reviewed(self, context: RequestContext, name: str) -> Stack:
        stack = Stack(
            stack_id=f"arn:{context.partition}:cloudformation:{context.region}:{context.account_id}"
            f":stack/{name}/{uuid4()}",
            name=name,
            region=context.region,
            status="REVIEW_IN_PROGRESS",
            created=now(),
        )
        self._store.save(stack)
        self._store.add_event(
            stack,
            name,
            stack.stack_id,
            "AWS::CloudFormation::Stack",
            "REVIEW_IN_PROGRESS",
            "User Initiated",
        )
        return stack

    def _planned(
        self, context: RequestContext, params: Params, stack: Stack, plan: Plan, previous: Stack | None
    ) -> ChangeSet:
        old = self._current(previous) if previous is not None else None
        resources = self._store.resources(stack.stack_id)
        physical_ids = {name: resource.physical_id for name, resource in resources.items()}
        tags = tag_map(params["Tags"]) if "Tags" in params else dict(stack.tags)
        on_failure = params.get("OnStackFailure", "ROLLBACK")
        change_set = ChangeSet(
            change_set_id=f"arn:{context.partition}:cloudformation:{context.region}:{context.account_id}"
            f":changeSet/{params['ChangeSetName']}/{uuid4()}",
            name=params["ChangeSetName"],
            stack_id=stack.stack_id,
            stack_name=stack.name,
            kind=params.get("ChangeSetType", "UPDATE"),
            template=plan.body,
            parameters=plan.texts,
            tags=tags,
            capabilities=params.get("Capabilities", []),
            created=now(),
            description=params.get("Description"),
            role_arn=params.get("RoleARN"),
            notification_arns=params.get("NotificationARNs", []),
            on_failure=on_failure,
            changes=plans.changes(plan, old, physical_ids),
        )
        if old is not None and plans.unchanged(plan, old) and tags == stack.tags:
            change_set.status, change_set.execution_status = "FAILED", "UNAVAILABLE"
            change_set.reason = NO_CHANGES
        return change_set

    def describe_change_set(self, context: RequestContext, params: Params) -> Params:
        change_set = self._store.change_set(params["ChangeSetName"], params.get("StackName"))
        page, token = _paged(change_set.changes, params)
        return _given(
            {
                "ChangeSetName": change_set.name,
                "ChangeSetId": change_set.change_set_id,
                "StackId": change_set.stack_id,
                "StackName": change_set.stack_name,
                "Description": change_set.description,
                "Parameters": [
                    {"ParameterKey": name, "ParameterValue": value}
                    for name, value in change_set.parameters.items()
                ],
                "CreationTime": _time(change_set.created),
                "ExecutionStatus": change_set.execution_status,
                "Status": change_set.status,
                "StatusReason": change_set.reason,
                "NotificationARNs": change_set.notification_arns,
                "Capabilities": change_set.capabilities,
                "Tags": tag_list(change_set.tags),
                "Changes": page,
                **token,
            }
        )

    def list_change_sets(self, context: RequestContext, params: Params) -> Params:
        stack = self._store.stack(params["StackName"])
        summaries = [
            _given(
                {
                    "StackId": one.stack_id,
                    "StackName": one.stack_name,
                    "ChangeSetId": one.change_set_id,
                    "ChangeSetName": one.name,
                    "ExecutionStatus": one.execution_status,
                    "Status": one.status,
                    "StatusReason": one.reason,
                    "CreationTime": _time(one.created),
                    "Description": one.description,
                }
            )
            for one in self._store.change_sets(stack.stack_id)
        ]
        return {"Summaries": summaries}

    def delete_change_set(self, context: RequestContext, params: Params) -> Params:
        try:
            change_set = self._store.change_set(params["ChangeSetName"], params.get("StackName"))
        except ServiceError as error:
            if error.code == "ChangeSetNotFound":
                return {}
            raise
        self._store.drop_change_set(change_set.change_set_id)
        return {}

    def execute_change_set(self, context: RequestContext, params: Params) -> Params:
        with self._lock:
            change_set = self._store.change_set(params["ChangeSetName"], params.get("StackName"))
            stack = self._store.stack(change_set.stack_id)
            if change_set.execution_status != "AVAILABLE":
                raise ServiceError(
                    "InvalidChangeSetStatus",
                    f"ChangeSet [{change_set.change_set_id}] cannot be executed in its current status of "
                    f"[{change_set.status}]",
                )
            self._idle(stack, "updated")
            if params.get("DisableRollback"):
                change_set.on_failure = "DO_NOTHING"
            stack.change_set_id = change_set.change_set_id
            stack.capabilities = change_set.capabilities
            stack.notification_arns = change_set.notification_arns
            stack.role_arn = change_set.role_arn
            for other in self._store.change_sets(stack.stack_id):
                self._store.drop_change_set(other.change_set_id)  # AWS keeps the executed one only
            change_set.execution_status = "EXECUTE_COMPLETE"
            self._store.save_change_set(change_set)
            creating = stack.status == "REVIEW_IN_PROGRESS"
            if creating:
                stack.template, stack.parameters = change_set.template, change_set.parameters
                stack.tags, stack.on_failure = change_set.tags, change_set.on_failure
                self._claim(stack, "CREATE_IN_PROGRESS")
            else:
                self._claim(stack, "UPDATE_IN_PROGRESS")
        if creating:
            self._run(stack, lambda: self._engine.create(stack))
        else:
            self._run(
                stack,
                lambda: self._engine.update(
                    stack, change_set.template, change_set.parameters, change_set.tags
                ),
            )
        return {}


def _stack_name(given: str) -> str:
    name = given.split("/")[1] if given.startswith("arn:") else given
    if not name or not name[0].isalpha() or not name.replace("-", "").isalnum() or len(name) > 128:
        raise validation_error(
            f"1 validation error detected: Value '{name}' at 'stackName' failed to satisfy constraint: "
            "Member must satisfy regular expression pattern: [a-zA-Z][-a-zA-Z0-9]*"
        )
    return name


def _default(declared: Mapping[str, Any]) -> str:
    value = declared["Default"]
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _given(document: Params) -> Params:
    """Without the members that are None."""
    return {name: value for name, value in document.items() if value is not None}


def _paged(items: list[Any], params: Params) -> tuple[list[Any], Params]:
    try:
        start = int(params.get("NextToken") or 0)
    except ValueError:
        raise validation_error("NextToken is invalid") from None
    page = items[start : start + _PAGE]
    return page, {"NextToken": str(start + _PAGE)} if start + _PAGE < len(items) else {}
