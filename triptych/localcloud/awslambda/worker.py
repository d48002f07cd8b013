"""Lambda's Python runtime: a process that imports a handler once and answers invocations one by one.

Runs in a process forked from the ``lambda`` fork server. The gateway holds the other end of the channel; what
the function prints goes to standard output, where a marker line closes each invocation's part.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable
from decimal import Decimal
from types import TracebackType
from typing import Any, cast

from triptych.localcloud.jobs import wire
from triptych.localcloud.jobs.child import open_channel

MARKER = "\x00END "
"""Begins the output line that follows an invocation's last one"""

_LOG_FORMAT = "[%(levelname)s]\t%(asctime)s.%(msecs)dZ\t%(aws_request_id)s\t%(message)s"

Payload = dict[str, Any]


class _Identity:
    def __init__(self) -> None:
        self.cognito_identity_id = None
        self.cognito_identity_pool_id = None


class _Client:
    def __init__(self, values: Payload) -> None:
        self.installation_id = values.get("installation_id")
        self.app_title = values.get("app_title")
        self.app_version_name = values.get("app_version_name")
        self.app_version_code = values.get("app_version_code")
        self.app_package_name = values.get("app_package_name")


class _ClientContext:
    def __init__(self, values: Payload) -> None:
        self.client = _Client(values["client"]) if "client" in values else None
        self.custom = values.get("custom")
        self.env = values.get("env")


class LambdaContext:
    """The context object that a handler gets, with the attributes that AWS documents."""

    def __init__(self, request: Payload) -> None:
        self.aws_request_id: str = request["id"]
        self.invoked_function_arn: str = request["function_arn"]
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
        self.identity = _Identity()
        client_context = request["client_context"]
        self.client_context = _ClientContext(client_context) if client_context else None
        self._deadline: float = request["deadline"]

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the invocation is ended from outside."""
        return max(0, int((self._deadline - time.time()) * 1000))

    def log(self, message: object) -> None:
        """Write to the log as it is."""
        sys.stdout.write(str(message))


class _InitFailed(Exception):
    """The handler cannot be had; ``payload`` says why in Lambda's words."""

    def __init__(self, payload: Payload) -> None:
        super().__init__(payload["errorMessage"])
        self.payload = payload


def serve(handler: str) -> int:
    """Import ``handler`` (``module.function``), then answer invocations until the channel closes."""
    channel = open_channel()
    _set_up_logging()
    began = time.perf_counter()
    try:
        function = _load(handler)
    except _InitFailed as failure:
        _print_error(failure.payload)
        _end_output("init")
        wire.send(channel, {"init_error": failure.payload})
        return 1
    wire.send(channel, {"init_seconds": time.perf_counter() - began})
    while True:
        try:
            request, _ = wire.receive(channel)
        except EOFError:
            return 0
        answer = _invoke(function, request)
        _end_output(request["id"])
        wire.send(channel, answer)


def _load(handler: str) -> Callable[[Any, LambdaContext], Any]:
    module_name, dot, function_name = handler.rpartition(".")
    if not dot:
        raise _InitFailed(
            _error(
                "Runtime.MalformedHandlerName",
                f"Bad handler '{handler}': not enough values to unpack (expected 2, got 1)",
            )
        )
    module_name = module_name.replace("/", ".")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise _InitFailed(
            _error("Runtime.ImportModuleError", f"Unable to import module '{module_name}': {error}")
        ) from error
    except SyntaxError as error:
        where = f'  File "{error.filename}" Line {error.lineno}\n    {error.text}'
        raise _InitFailed(
            _error("Runtime.UserCodeSyntaxError", f"Syntax error in module '{module_name}': {error}", [where])
        ) from error
    except Exception as error:
        raise _InitFailed(_exception_payload(error, "")) from error
    try:
        return cast("Callable[[Any, LambdaContext], Any]", getattr(module, function_name))
    except AttributeError as error:
        raise _InitFailed(
            _error("Runtime.HandlerNotFound", f"Handler '{function_name}' missing on module '{module_name}'")
        ) from error


def _invoke(function: Callable[[Any, LambdaContext], Any], request: Payload) -> Payload:
    os.environ["_X_AMZN_TRACE_ID"] = request["trace_id"]
    _RequestId.current = request["id"]
    try:
        result = function(json.loads(request["event"]), LambdaContext(request))
    except Exception as error:  # the boundary between the function's code and the runtime
        payload = _exception_payload(error, request["id"])
        _print_error(payload)
        return {"error": payload}
    try:
        return {"result": json.dumps(result, ensure_ascii=False, default=_plain)}
    except (TypeError, ValueError) as error:
        payload = _error(
            "Runtime.MarshalError", f"Unable to marshal response: {error}", request_id=request["id"]
        )
        _print_error(payload)
        return {"error": payload}


def _plain(value: Any) -> Any:
    """What Lambda's encoder knows beyond JSON."""
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _error(kind: str, message: str, trace: list[str] | None = None, request_id: str = "") -> Payload:
    return {"errorMessage": message, "errorType": kind, "requestId": request_id, "stackTrace": trace or []}


def _exception_payload(error: Exception, request_id: str) -> Payload:
    return _error(
        type(error).__name__,
        str(error),
        traceback.format_list(traceback.extract_tb(_own_part(error.__traceback__))),
        request_id,
    )


def _own_part(trace: TracebackType | None) -> TracebackType | None:
    """The traceback without this runtime's and the import system's frames."""
    while trace is not None and (
        trace.tb_frame.f_code.co_filename in (__file__, importlib.__file__)
        or trace.tb_frame.f_code.co_filename.startswith("<frozen importlib")
    ):
        trace = trace.tb_next
    return trace


def _print_error(payload: Payload) -> None:
    print(f"[ERROR] {payload['errorType']}: {payload['errorMessage']}")
    if payload["stackTrace"]:
        print("Traceback (most recent call last):")
        for line in payload["stackTrace"]:
            print(line.rstrip("\n"))


def _end_output(request_id: str) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(ValueError):  # the function closed it
            stream.flush()
    os.write(1, f"{MARKER}{request_id}\n".encode())


class _RequestId(logging.Filter):
    """Gives log records the id of the invocation they were made in."""

    current = ""

    def filter(self, record: logging.LogRecord) -> bool:
        record.aws_request_id = self.current
        return True


def _set_up_logging() -> None:
    """Lambda's own root handler: warnings and worse go to standard output, with time and request id."""
    handler = logging.StreamHandler(sys.stdout)
    formatter = logging.Formatter(_LOG_FORMAT, "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    handler.addFilter(_RequestId())
    logging.getLogger().addHandler(handler)
