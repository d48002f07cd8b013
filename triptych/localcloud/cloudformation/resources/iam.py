"""AWS::IAM: roles and policies."""

from __future__ import annotations

from typing import Any

from triptych.localcloud.cloudformation.resources.base import Made, Properties, ResourceContext, ResourceType
from triptych.localcloud.cloudformation.shapes import picked, tag_list

_NEWEST_VERSIONS = 5
"""IAM keeps five versions of a managed policy"""


class Role(ResourceType):
    type = "AWS::IAM::Role"
    replaced_by = frozenset({"RoleName", "Path"})

    def create(self, context: ResourceContext, properties: Properties) -> Made:
        name = context.name(properties.get("RoleName"))
        given = picked(
            properties,
            "AssumeRolePolicyDocument",
            "Description",
            "MaxSessionDuration",
            "Path",
            "PermissionsBoundary",
        )
        answer = context.call(
            "iam",
            "CreateRole",
            {**given, "RoleName": name, "Tags": tag_list(context.tags(properties.get("Tags")))},
        )
        made = Made(name, picked(answer["Role"], "Arn", "RoleId"))
        context.note(made)
        self._policies(context, name, properties, {})
        return made

    def update(
        self, context: ResourceContext, made: Made, properties: Properties, previous: Properties
    ) -> Made:
        name = made.physical_id
        context.call(
            "iam",
            "UpdateAssumeRolePolicy",
            {"RoleName": name, "PolicyDocument": properties["AssumeRolePolicyDocument"]},
        )
        context.call(
            "iam", "UpdateRole", {"RoleName": name, **picked(properties, "Description", "MaxSessionDuration")}
        )
        self._policies(context, name, properties, previous)
        context.call(
            "iam", "TagRole", {"RoleName": name, "Tags": tag_list(context.tags(properties.get("Tags")))}
        )
        return made

    @staticmethod
    def _policies(context: ResourceContext, name: str, properties: Properties, previous: Properties) -> None:
        wanted = list(properties.get("ManagedPolicyArns", []))
        for arn in set(previous.get("ManagedPolicyArns", [])) - set(wanted):
            context.quietly("iam", "DetachRolePolicy", {"RoleName": name, "PolicyArn": arn})
        for arn in wanted:
            context.call("iam", "AttachRolePolicy", {"RoleName": name, "PolicyArn": arn})
        inline = {policy["PolicyName"]: policy for policy in properties.get("Policies", [])}
        for old in {policy["PolicyName"] for policy in previous.get("Policies", [])} - set(inline):
            context.quietly("iam", "DeleteRolePolicy", {"RoleName": name, "PolicyName": old})
        for policy in inline.values():
            context.call("iam", "PutRolePolicy", {"RoleName": name, **policy})

    def delete(self, context: ResourceContext, made: Made, properties: Properties) -> None:
        name, iam = {"RoleName": made.physical_id}, context.client("iam")
        try:
            for policy in iam.list_attached_role_policies(**name)["AttachedPolicies"]:
                iam.detach_role_policy(**name, PolicyArn=policy["PolicyArn"])
            for policy_name in iam.list_role_policies(**name)["PolicyNames"]:
                iam.delete_role_policy(**name, PolicyName=policy_name)
        except iam.exceptions.NoSuchEntityException:
            return
        context.quietly("iam", "DeleteRole", name)


_HOLDERS = (
    ("Roles", "RoleName", "PutRolePolicy", "DeleteRolePolicy", "AttachRolePolicy", "DetachRolePolicy"),
    ("Users", "UserName", "PutUserPolicy", "DeleteUserPolicy", "AttachUserPolicy", "DetachUserPolicy"),
    ("Groups", "GroupName", "PutGroupPolicy", "DeleteGroupPolicy", "AttachGroupPolicy", "DetachGroupPolicy"),
)


class Policy(ResourceType):
    """An inline policy of roles, users and groups."""

    type = "AWS::IAM::Policy"
    replaced_by = frozenset({"PolicyName"})

    def create(self, context: ResourceContext, properties: Properties) -> Made:
        name = context.name(properties.get("PolicyName"), longest=128)
        self._put(context, name, properties)
        return Made(name, {"Id": name})

    @staticmethod
    def _put(context: ResourceContext, name: str, properties: Properties) -> None:
        for kind, key, put, *_ in _HOLDERS:
            for holder in properties.get(kind, []):
                policy = {"PolicyName": name, "PolicyDocument": properties["PolicyDocument"]}
                context.call("iam", put, {key: holder, **policy})

    def update(
        self, context: ResourceContext, made: Made, properties: Properties, previous: Properties
    ) -> Made:
        for kind, key, _, remove, *_ in _HOLDERS:
            for holder in set(previous.get(kind, [])) - set(properties.get(kind, [])):
                context.quietly("iam", remove, {key: holder, "PolicyName": made.physical_id})
        self._put(context, made.physical_id, properties)
        return made

    def delete(self, context: ResourceContext, made: Made, properties: Properties) -> None:
        for kind, key, _, remove, *_ in _HOLDERS:
            for holder in properties.get(kind, []):
                context.quietly("iam", remove, {key: holder, "PolicyName": made.physical_id})


class ManagedPolicy(ResourceType):
    type = "AWS::IAM::ManagedPolicy"
    replaced_by = frozenset({"ManagedPolicyName", "Path", "Description"})

    def create(self, context: ResourceContext, properties: Properties) -> Made:
        name = context.name(properties.get("ManagedPolicyName"), longest=128)
        given = picked(properties, "PolicyDocument", "Path", "Description")
        arn = context.call("iam", "CreatePolicy", {"PolicyName": name, **given})["Policy"]["Arn"]
        made = Made(arn, {"PolicyArn": arn})
        context.note(made)
        self._attach(context, arn, properties, {})
        return made

    @staticmethod
    def _attach(context: ResourceContext, arn: str, properties: Properties, previous: Properties) -> None:
        for kind, key, _, _, attach, detach in _HOLDERS:
            wanted = properties.get(kind, [])
            for holder in set(previous.get(kind, [])) - set(wanted):
                context.quietly("iam", detach, {key: holder, "PolicyArn": arn})
            for holder in wanted:
                context.call("iam", attach, {key: holder, "PolicyArn": arn})

    def update(
        self, context: ResourceContext, made: Made, properties: Properties, previous: Properties
    ) -> Made:
        arn = {"PolicyArn": made.physical_id}
        if properties["PolicyDocument"] != previous.get("PolicyDocument"):
            versions = _other_versions(context, made.physical_id)
            if len(versions) >= _NEWEST_VERSIONS - 1:
                context.call("iam", "DeletePolicyVersion", {**arn, "VersionId": versions[-1]["VersionId"]})
            document = {"PolicyDocument": properties["PolicyDocument"], "SetAsDefault": True}
            context.call("iam", "CreatePolicyVersion", {**arn, **document})
        self._attach(context, made.physical_id, properties, previous)
        return made

    def delete(self, context: ResourceContext, made: Made, properties: Properties) -> None:
        self._attach(context, made.physical_id, {}, properties)
        arn, iam = {"PolicyArn": made.physical_id}, context.client("iam")
        try:
            for version in _other_versions(context, made.physical_id):
                iam.delete_policy_version(**arn, VersionId=version["VersionId"])
        except iam.exceptions.NoSuchEntityException:
            return
        context.quietly("iam", "DeletePolicy", arn)


def _other_versions(context: ResourceContext, arn: str) -> list[dict[str, Any]]:
    """A policy's versions but for the default one, newest first."""
    versions = context.call("iam", "ListPolicyVersions", {"PolicyArn": arn})["Versions"]
    others = [version for version in versions if not version["IsDefaultVersion"]]
    return sorted(others, key=lambda version: int(version["VersionId"][1:]), reverse=True)


TYPES: tuple[ResourceType, ...] = (Role(), Policy(), ManagedPolicy())
