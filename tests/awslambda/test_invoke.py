"""Invoke through the service, with functions as moto records them and real worker processes."""

from __future__ import annotations

import base64
import io
import json
import queue
import threading
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from triptych.localcloud.awslambda.functions import Archive, FunctionRecord
from triptych.localcloud.awslambda.service import LambdaService
from triptych.localcloud.cloud import Cloud, Settings
from triptych.localcloud.cloudwatch.embedded import embedded_metrics
from triptych.localcloud.cloudwatch.store import MetricStore
from triptych.localcloud.home import Home
from triptych.localcloud.jobs.pool import JobPool
from triptych.localcloud.service import RequestContext, ServiceError

ARN = "arn:aws:lambda:us-east-1:123456789012:function:"


def zipped(files: dict[str, str]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


def archive(files: dict[str, str]) -> Archive:
    import hashlib

    content = zipped(files)
    return Archive(hashlib.sha256(content).hexdigest(), lambda: content)


class Logs:
    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []

    def append(self, group: str, stream: str, lines: Sequence[tuple[datetime, str]]) -> None:
        self.events.extend((group, stream, line) for _, line in lines)


class Clients:
    """Remembers what was sent to other services."""

    def __init__(self) -> None:
        self.calls: queue.Queue[tuple[str, str, dict[str, Any]]] = queue.Queue()

    def get(self, service: str) -> Any:
        calls = self.calls

        class Client:
            def __getattr__(self, operation: str) -> Any:
                def call(**params: Any) -> dict[str, Any]:
                    calls.put((service, operation, params))
                    return {"QueueUrl": "http://queue"}

                return call

        return Client()


class Functions:
    """A Lambda service with functions given as source text."""

    def __init__(self, home: Home, pool: JobPool) -> None:
        self.cloud = Cloud(home, Settings(port=1))
        self.cloud.jobs = pool
        self.logs = Logs()
        self.cloud.logs = self.logs  # type: ignore[assignment]
        self.cloud.metrics = MetricStore(home)
        self.clients = Clients()
        self.cloud.clients = self.clients  # type: ignore[assignment]
        self.records: dict[str, FunctionRecord] = {}
        self.service = self.new_service()

    def new_service(self, **options: Any) -> LambdaService:
        return LambdaService(self.cloud, self._find, retry_delays=(0.01, 0.01), **options)

    def _find(self, context: RequestContext, name: str, qualifier: str | None) -> FunctionRecord:
        record = self.records.get(name.removeprefix(ARN))
        if record is None:
            raise ServiceError("ResourceNotFoundException", f"Function not found: {ARN}{name}", 404)
        return record

    def define(self, source: str | dict[str, str], name: str = "shout", **changes: Any) -> str:
        files = {"app.py": source} if isinstance(source, str) else source
        self.records[name] = FunctionRecord(
            **{
                "name": name,
                "arn": ARN + name,
                "version": "$LATEST",
                "runtime": "python3.11",
                "handler": "app.handler",
                "memory_mb": 256,
                "timeout_seconds": 10,
                "environment": {},
                "code": archive(files),
                **changes,
            }
        )
        return name

    def invoke(self, name: str, event: Any = None, **params: Any) -> dict[str, Any]:
        context = RequestContext("lambda", "Invoke", request_id="6f2c1a55-0000-4000-8000-000000000001")
        payload = {"FunctionName": name, "Payload": json.dumps(event).encode(), **params}
        return self.service.invoke(context, payload)

    def result(self, source: str | dict[str, str], event: Any = None, **changes: Any) -> Any:
        answer = self.invoke(self.define(source, **changes), event)
        assert "FunctionError" not in answer, answer["Payload"]
        return json.loads(answer["Payload"])

    def lines(self) -> list[str]:
        return [line for _, _, line in self.logs.events]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobPool]:
    home = Home(tmp_path_factory.mktemp("pool"))
    home.create()
    pool = JobPool(home)
    yield pool
    pool.stop()


@pytest.fixture
def functions(tmp_path: Path, pool: JobPool) -> Iterator[Functions]:
    home = Home(tmp_path / "home")
    home.create()
    functions = Functions(home, pool)
    yield functions
    functions.service.stop()


RESULTS = {
    "an object": ("return {'a': event['a'] + 1}", {"a": 1}, {"a": 2}),
    "nothing": ("return None", {}, None),
    "text": ("return 'smørrebrød ' + event", "x", "smørrebrød x"),
    "a decimal": ("from decimal import Decimal; return Decimal('1.5')", {}, 1.5),
    "a tuple": ("return (1, 2)", {}, [1, 2]),
}


@pytest.mark.parametrize(("body", "event", "expected"), RESULTS.values(), ids=RESULTS)
def test_what_the_handler_returns(functions: Functions, body: str, event: Any, expected: Any) -> None:
    assert functions.result(f"def handler(event, context):\n    {body}", event) == expected


ERRORS = {
    "raises": ("def handler(e, c):\n    raise ValueError('bad')", "ValueError", "bad"),
    "raises its own class": (
        "class RowsRejected(Exception): pass\ndef handler(e, c):\n    raise RowsRejected('3 rows')",
        "RowsRejected", "3 rows",
    ),
    "cannot be imported": (
        "import nothing_here", "Runtime.ImportModuleError",
        "Unable to import module 'app': No module named 'nothing_here'",
    ),
    "takes the project's own code": (
        "import triptych.core", "Runtime.ImportModuleError", "the job's own archive or layer must bring it",
    ),
    "has a syntax error": (
        "def (:", "Runtime.UserCodeSyntaxError", "Syntax error in module 'app': invalid syntax",
    ),
    "raises while it is imported": ("1 / 0", "ZeroDivisionError", "division by zero"),
    "has no such handler": (
        "x = 1", "Runtime.HandlerNotFound", "Handler 'handler' missing on module 'app'",
    ),
    "returns what is no JSON": (
        "def handler(e, c): return {1, 2}", "Runtime.MarshalError",
        "Unable to marshal response: Object of type set is not JSON serializable",
    ),
    "exits": (
        "import sys\ndef handler(e, c): sys.exit(3)", "Runtime.ExitError", "with error: exit status 3",
    ),
    "exits with 0": (
        "import os\ndef handler(e, c): os._exit(0)", "Runtime.ExitError", "without providing a reason",
    ),
    "is killed": (
        "import os\ndef handler(e, c): os.kill(os.getpid(), 9)", "Runtime.ExitError",
        "Runtime exited with error: signal: killed",
    ),
    "takes too much memory": (
        "def handler(e, c): x = bytearray(500 << 20); import time; time.sleep(9)", "Runtime.ExitError",
        "Runtime exited with error: signal: killed",
    ),
    "never ends": (
        "def handler(e, c):\n    while True: pass", "Sandbox.Timedout", "Task timed out after 1.00 seconds",
    ),
    "answers too much": (
        "def handler(e, c): return 'x' * (7 << 20)", "Function.ResponseSizeTooLarge", "size exceeded",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("source", "kind", "message"), ERRORS.values(), ids=ERRORS)
def test_a_failing_function_is_an_answer(functions: Functions, source: str, kind: str, message: str) -> None:
    timeout = 1 if kind == "Sandbox.Timedout" else 10
    name = functions.define(source, timeout_seconds=timeout)
    answer = functions.invoke(name)
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    payload = json.loads(answer["Payload"])
    assert payload["errorType"] == kind
    assert message in payload["errorMessage"]
    if kind.startswith(("Sandbox", "Runtime.ExitError")):
        assert payload["errorMessage"].startswith("RequestId: 6f2c1a55-0000-4000-8000-000000000001 Error: ")
    again = functions.invoke(name)
    assert json.loads(again["Payload"])["errorType"] == kind, "a new worker must take over"


def test_the_error_payload_is_lambdas(functions: Functions) -> None:
    source = "def inner():\n    raise KeyError('k')\n\ndef handler(event, context):\n    inner()\n"
    payload = json.loads(functions.invoke(functions.define(source))["Payload"])
    assert list(payload) == ["errorMessage", "errorType", "requestId", "stackTrace"]
    assert payload["errorMessage"] == "'k'"
    assert payload["requestId"] == "6f2c1a55-0000-4000-8000-000000000001"
    assert [line.split(", ")[1:] for line in payload["stackTrace"]] == [
        ["line 5", "in handler\n    inner()\n"],
        ["line 2", "in inner\n    raise KeyError('k')\n"],
    ]


def test_the_log_is_lambdas(functions: Functions) -> None:
    source = (
        "import logging\n"
        "def handler(event, context):\n"
        "    print('working')\n"
        "    logging.warning('careful')\n"
        "    print('no line end', end='')\n"
        "    return 1\n"
    )
    answer = functions.invoke(functions.define(source), LogType="Tail")
    request_id = "6f2c1a55-0000-4000-8000-000000000001"
    init, start, printed, warning, rest, end, report = functions.lines()
    assert init.startswith("INIT_START Runtime Version: python3.11")
    assert start == f"START RequestId: {request_id} Version: $LATEST"
    assert (printed, rest, end) == ("working", "no line end", f"END RequestId: {request_id}")
    assert warning.startswith("[WARNING]\t")
    assert warning.endswith(f"\t{request_id}\tcareful")
    assert report.startswith(f"REPORT RequestId: {request_id}\tDuration: ")
    assert "Memory Size: 256 MB" in report
    assert "Init Duration: " in report
    assert base64.b64decode(answer["LogResult"]).decode().endswith(report)
    [(group, stream)] = {(group, stream) for group, stream, _ in functions.logs.events}
    assert group == "/aws/lambda/shout"
    assert "/[$LATEST]" in stream


def test_a_timeout_is_logged(functions: Functions) -> None:
    functions.invoke(functions.define("def handler(e, c):\n    while True: pass", timeout_seconds=1))
    assert any(line.endswith("Task timed out after 1.00 seconds") for line in functions.lines())


CONTEXT_SOURCE = """
import os
def handler(event, context):
    return {
        "name": context.function_name, "version": context.function_version,
        "arn": context.invoked_function_arn, "memory": context.memory_limit_in_mb,
        "request": context.aws_request_id, "group": context.log_group_name,
        "remaining": 0 < context.get_remaining_time_in_millis() <= 10000,
        "custom": context.client_context.custom, "cwd": os.getcwd() == os.environ["LAMBDA_TASK_ROOT"],
        "env": {name: os.environ[name] for name in (
            "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_REGION", "_HANDLER",
            "AWS_EXECUTION_ENV", "AWS_ENDPOINT_URL", "MINE")},
        "trace": os.environ["_X_AMZN_TRACE_ID"].startswith("Root=1-"),
    }
"""


def test_context_and_environment(functions: Functions) -> None:
    name = functions.define(CONTEXT_SOURCE, environment={"MINE": "yes", "AWS_REGION": "not mine to set"})
    client_context = base64.b64encode(json.dumps({"custom": {"k": "v"}}).encode()).decode()
    answer = functions.invoke(name, ClientContext=client_context)
    assert json.loads(answer["Payload"]) == {
        "name": "shout",
        "version": "$LATEST",
        "arn": f"{ARN}shout",
        "memory": "256",
        "request": "6f2c1a55-0000-4000-8000-000000000001",
        "group": "/aws/lambda/shout",
        "remaining": True,
        "custom": {"k": "v"},
        "cwd": True,
        "env": {
            "AWS_LAMBDA_FUNCTION_NAME": "shout",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "AWS_REGION": "us-east-1",
            "_HANDLER": "app.handler",
            "AWS_EXECUTION_ENV": "AWS_Lambda_python3.11",
            "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
            "MINE": "yes",
        },
        "trace": True,
    }


COUNTER = """
import os
n = 0
def handler(event, context):
    global n
    n += 1
    return [n, os.getpid()]
"""


def test_a_worker_stays_warm_until_code_or_configuration_change(functions: Functions) -> None:
    first = functions.result(COUNTER)
    assert functions.result(COUNTER) == [2, first[1]]
    changed = functions.result(COUNTER, environment={"A": "1"})
    assert changed[0] == 1
    assert functions.result(COUNTER + "\n# new code", environment={"A": "1"})[0] == 1


def test_concurrent_invocations_get_workers_of_their_own(functions: Functions) -> None:
    source = (
        "import os, time\n"
        "def handler(event, context):\n"
        "    open(os.path.join(event, str(os.getpid())), 'w').close()\n"
        "    while len(os.listdir(event)) < 3: time.sleep(0.005)\n"
        "    return os.getpid()\n"
    )
    name = functions.define(source)
    meeting = functions.cloud.home.root / "meeting"
    meeting.mkdir()
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(lambda _: functions.invoke(name, str(meeting)), range(3)))
    assert len({answer["Payload"] for answer in answers}) == 3


def test_more_invocations_than_workers_wait_for_their_turn(functions: Functions) -> None:
    functions.service.stop()
    functions.service = functions.new_service(most_workers=1)
    name = functions.define(COUNTER)
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: json.loads(functions.invoke(name)["Payload"]), range(4)))
    assert sorted(count for count, _ in answers) == [1, 2, 3, 4]


def test_idle_workers_are_retired(functions: Functions) -> None:
    functions.service.stop()
    functions.service = functions.new_service(idle_seconds=0.0)
    assert functions.result(COUNTER)[0] == 1
    functions.service._workers.reap()
    assert functions.result(COUNTER)[0] == 1


def test_a_layers_modules_come_from_its_zip(functions: Functions) -> None:
    layer = archive(
        {"python/triptych/__init__.py": "", "python/triptych/core/__init__.py": "WHENCE = 'layer'"}
    )
    source = "from triptych import core\ndef handler(event, context): return core.WHENCE"
    assert functions.result(source, layers=(layer,)) == "layer"


def test_what_the_zip_brings_wins_over_what_is_preloaded(functions: Functions) -> None:
    files = {
        "app.py": "import yaml\ndef handler(e, c): return yaml.WHENCE",
        "yaml/__init__.py": "WHENCE = 'zip'",
    }
    assert functions.result(files) == "zip"


POWERTOOLS = """
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit

logger, metrics, tracer = Logger(), Metrics(namespace="Triptych"), Tracer()

@logger.inject_lambda_context
@tracer.capture_lambda_handler
@metrics.log_metrics
def handler(event, context):
    logger.info("validated")
    metrics.add_metric(name="Rows", unit=MetricUnit.Count, value=7)
    with tracer.provider.in_subsegment("## inside"):
        return "ok"
"""


def test_invocations_are_counted(functions: Functions) -> None:
    name = functions.define("def handler(event, context): return 1 / event")
    before = datetime.now(UTC) - timedelta(seconds=1)
    for event in (1, 0, 2):
        functions.invoke(name, event)
    after = datetime.now(UTC) + timedelta(seconds=1)

    def read(metric: str, statistic: str) -> float:
        [(_, value)] = functions.cloud.metrics.statistics(
            "AWS/Lambda", metric, (("FunctionName", name),), before, after, 600, statistic
        )
        return value

    assert read("Invocations", "Sum") == 3
    assert read("Errors", "Sum") == 1
    assert read("Duration", "SampleCount") == 3
    assert read("Duration", "Minimum") > 0


def test_powertools_works_and_its_metrics_arrive(functions: Functions) -> None:
    functions.service.start()
    assert functions.result(POWERTOOLS, environment={"POWERTOOLS_SERVICE_NAME": "validator"}) == "ok"
    [datum] = embedded_metrics(functions.lines())
    assert (datum.namespace, datum.name, datum.values, datum.unit) == ("Triptych", "Rows", [7.0], "Count")
    assert datum.dimensions == (("service", "validator"),)
    log = next(json.loads(line) for line in functions.lines() if '"validated"' in line)
    assert log["function_request_id"] == "6f2c1a55-0000-4000-8000-000000000001"
    assert not [line for line in functions.lines() if "ERROR" in line]


TOO_LARGE = b" " * (7 << 20) + b"1"
REFUSED = {
    "an unknown function": ({"FunctionName": "nobody"}, "ResourceNotFoundException"),
    "a payload that is no JSON": ({"Payload": b"{"}, "InvalidRequestContentException"),
    "a payload that is too large": ({"Payload": TOO_LARGE}, "RequestEntityTooLargeException"),
    "an event that is too large": (
        {"Payload": TOO_LARGE[5 << 20 :], "InvocationType": "Event"}, "RequestEntityTooLargeException",
    ),
    "an unknown type": ({"InvocationType": "Maybe"}, "InvalidParameterValueException"),
}  # fmt: skip


@pytest.mark.parametrize(("params", "code"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(functions: Functions, params: dict[str, Any], code: str) -> None:
    name = functions.define("def handler(e, c): return 1")
    with pytest.raises(ServiceError) as refusal:
        functions.invoke(**{"name": name, **params} if "FunctionName" not in params else {"name": "nobody"})
    assert refusal.value.code == code


RECORDS_REFUSED = {
    "another language": ({"runtime": "nodejs22.x"}, "InvalidRuntimeException"),
    "no concurrency left": ({"reserved_concurrency": 0}, "TooManyRequestsException"),
    "a broken zip": ({"code": Archive("0" * 64, lambda: b"no zip")}, "InvalidZipFileException"),
}


@pytest.mark.parametrize(("changes", "code"), RECORDS_REFUSED.values(), ids=RECORDS_REFUSED)
def test_functions_that_cannot_run(functions: Functions, changes: dict[str, Any], code: str) -> None:
    with pytest.raises(ServiceError) as refusal:
        functions.invoke(functions.define("def handler(e, c): return 1", **changes))
    assert refusal.value.code == code


def test_dry_run_starts_nothing(functions: Functions) -> None:
    name = functions.define("def handler(e, c): return 1")
    assert functions.invoke(name, InvocationType="DryRun") == {"StatusCode": 204}
    assert functions.lines() == []


EVENTS = {
    "succeeds": ("return {'ok': event}", "OnSuccess", 1, "Success"),
    "fails every time": ("raise ValueError('no')", "OnFailure", 3, "RetriesExhausted"),
}


@pytest.mark.parametrize(("body", "destination", "attempts", "condition"), EVENTS.values(), ids=EVENTS)
def test_events_are_retried_and_sent_on(
    functions: Functions, body: str, destination: str, attempts: int, condition: str
) -> None:
    queue_arn = "arn:aws:sqs:us-east-1:123456789012:results"
    name = functions.define(
        f"def handler(event, context):\n    {body}", destinations={destination: queue_arn}
    )
    assert functions.invoke(name, {"n": 1}, InvocationType="Event") == {"StatusCode": 202}
    assert functions.clients.calls.get(timeout=20)[1] == "get_queue_url"
    _, operation, params = functions.clients.calls.get(timeout=20)
    assert operation == "send_message"
    record = json.loads(params["MessageBody"])
    assert record["requestContext"]["condition"] == condition
    assert record["requestContext"]["approximateInvokeCount"] == attempts
    assert record["requestPayload"] == {"n": 1}
    assert sum(line.startswith("START") for line in functions.lines()) == attempts


def test_an_accepted_event_outlives_the_gateway(functions: Functions) -> None:
    began, finished = functions.cloud.home.root / "began", functions.cloud.home.root / "finished"
    source = (
        "import pathlib, time\n"
        "def handler(event, context):\n"
        "    if not pathlib.Path(event['began']).exists():\n"
        "        pathlib.Path(event['began']).touch()\n"
        "        time.sleep(60)\n"
        "    pathlib.Path(event['finished']).touch()\n"
    )
    name = functions.define(source, timeout_seconds=100)
    functions.invoke(name, {"began": str(began), "finished": str(finished)}, InvocationType="Event")
    wait_for(began.exists)
    functions.service.stop()
    functions.service = functions.new_service()
    functions.service.start()
    wait_for(finished.exists)


def wait_for(condition: Any) -> None:
    waiting = threading.Event()
    for _ in range(2000):
        if condition():
            return
        waiting.wait(0.01)
    raise AssertionError("it did not come to be in 20 seconds")
