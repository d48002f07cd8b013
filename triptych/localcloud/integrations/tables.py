"""DynamoDB items and Athena queries, in request/response.

Athena has no ``.sync`` here: nothing computes queries locally, and a made-up result would be a lie.
"""

from __future__ import annotations

from triptych.localcloud.integrations.action import Action
from triptych.localcloud.integrations.failures import ErrorNames

_DYNAMODB = ErrorNames(prefix="DynamoDB", base="AmazonDynamoDBException", service="AmazonDynamoDBv2")
_ATHENA = ErrorNames(prefix="Athena", base="AmazonAthenaException", service="AmazonAthena")

ACTIONS = {
    f"dynamodb:{operation[0].lower()}{operation[1:]}": Action("dynamodb", operation, errors=_DYNAMODB)
    for operation in ("GetItem", "PutItem", "UpdateItem", "DeleteItem")
} | {
    f"athena:{operation[0].lower()}{operation[1:]}": Action("athena", operation, errors=_ATHENA)
    for operation in ("StartQueryExecution", "StopQueryExecution", "GetQueryExecution", "GetQueryResults")
}
