"""``aws-sdk:<service>:<action>``: any operation of any service that botocore knows."""

from __future__ import annotations

from functools import lru_cache

from triptych.localcloud.integrations.action import Action, ClientSource
from triptych.localcloud.integrations.resource import TASK_TOKEN

_BOTOCORE_NAMES = {
    "applicationdiscovery": "discovery",
    "cloudwatchevents": "events",
    "cloudwatchlogs": "logs",
    "cognitoidentityprovider": "cognito-idp",
    "costandusagereport": "cur",
    "costexplorer": "ce",
    "databasemigration": "dms",
    "directory": "ds",
    "elasticloadbalancing": "elb",
    "elasticloadbalancingv2": "elbv2",
    "elasticsearch": "es",
    "eventbridge": "events",
    "iotdataplane": "iot-data",
    "lexruntime": "lex-runtime",
    "marketplacemetering": "meteringmarketplace",
    "sfn": "stepfunctions",
}
"""where the SDK for Java calls a service otherwise than botocore does, hyphens apart"""


class AwsSdkActions:
    """Finds an action's operation in botocore's model of the service."""

    def __init__(self, clients: ClientSource) -> None:
        self._clients = clients

    def find(self, service: str, action: str) -> Action | None:
        """The action, or None when there is no such service or operation.

        ``service`` is without ``aws-sdk:``.
        """
        client_name = _botocore_name(service)
        if client_name is None:
            return None
        for operation in self._clients.get(client_name).meta.service_model.operation_names:
            if operation.lower() == action.lower():
                return Action(
                    client_name, operation, patterns=frozenset({"", TASK_TOKEN}), http_metadata=False
                )
        return None


@lru_cache(maxsize=256)
def _botocore_name(service: str) -> str | None:
    from botocore.loaders import create_loader

    if service in _BOTOCORE_NAMES:
        return _BOTOCORE_NAMES[service]
    available = create_loader().list_available_services("service-2")
    return next((name for name in available if name.replace("-", "") == service), None)
