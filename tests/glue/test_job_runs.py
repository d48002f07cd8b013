"""Glue job runs through the service, in real processes on DuckDB."""

from __future__ import annotations

import io
import queue
import threading
import time
import zipfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from triptych.localcloud.bus import JobEnded, ServiceEvent
from triptych.localcloud.cloud import Cloud, Settings
from triptych.localcloud.glue.service import GlueService
from triptych.localcloud.home import Home
from triptych.localcloud.jobs.pool import JobPool
from triptych.localcloud.s3.store import ObjectStore
from triptych.localcloud.service import RequestContext, ServiceError

CONTEXT = RequestContext("glue", "StartJobRun")


class Logs:
    """What the jobs logged, by group."""

    def __init__(self) -> None:
        self.lines: dict[str, list[str]] = {}

    def append(self, group: str, stream: str, lines: list[tuple[datetime, str]]) -> None:
        self.lines.setdefault(group, []).extend(line for _, line in lines)


class Glue:
    """A Glue service with its own home, and jobs given as scripts."""

    def __init__(self, home: Home, pool: JobPool) -> None:
        self.cloud = Cloud(home, Settings())
        self.cloud.store = ObjectStore(home, self.cloud.bus)
        self.cloud.jobs = pool
        self.cloud.logs = Logs()  # type: ignore[assignment]
        self.jobs: dict[str, dict[str, Any]] = {}
        self.ended: queue.Queue[JobEnded] = queue.Queue()
        self.events: queue.Queue[ServiceEvent] = queue.Queue()
        self.cloud.bus.subscribe(JobEnded, self.ended.put)
        self.cloud.bus.subscribe(ServiceEvent, self.events.put)
        self.service = self.new_service()
        self.cloud.store.create_bucket("code")
        self.cloud.store.create_bucket("data")

    def new_service(self) -> GlueService:
        return GlueService(self.cloud, lambda context, name: self.jobs.get(name), seconds_per_minute=1.0)

    def job(self, script: str, **definition: Any) -> str:
        name = f"job{len(self.jobs)}"
        self.cloud.store.put_bytes("code", f"{name}.py", script.encode())
        self.jobs[name] = {
            "Name": name,
            "Command": {"Name": "glueetl", "ScriptLocation": f"s3://code/{name}.py"},
            **definition,
        }
        return name

    def start(self, name: str, **params: Any) -> str:
        run_id: str = self.service.start_job_run(CONTEXT, {"JobName": name, **params})["JobRunId"]
        return run_id

    def wait(self, run_id: str) -> dict[str, Any]:
        while True:
            ended = self.ended.get(timeout=30)
            if ended.identity == run_id:
                return ended.description

    def run(self, script: str, arguments: dict[str, str] | None = None, **definition: Any) -> dict[str, Any]:
        return self.wait(self.start(self.job(script, **definition), Arguments=arguments or {}))

    def until_output(self, line: str) -> None:
        deadline = time.monotonic() + 30
        while line not in self.cloud.logs.lines.get("/aws-glue/jobs/output", []):  # type: ignore[attr-defined]
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def output(self) -> list[str]:
        return self.cloud.logs.lines.get("/aws-glue/jobs/output", [])  # type: ignore[attr-defined,no-any-return]

    def keys(self, prefix: str = "") -> list[str]:
        return [record.key for record in self.cloud.store.list("data", prefix)]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobPool]:
    home = Home(tmp_path_factory.mktemp("pool"))
    home.create()
    pool = JobPool(home)
    yield pool
    pool.stop()


@pytest.fixture
def glue(tmp_path: Path, pool: JobPool) -> Glue:
    home = Home(tmp_path / "home")
    home.create()
    return Glue(home, pool)


FAILURES = {
    "raises": ("raise ValueError('bad rows')", "FAILED", "ValueError: bad rows"),
    "exits": ("import sys; sys.exit(3)", "FAILED", "SystemExit: 3"),
    "is killed": ("import os; os.kill(os.getpid(), 9)", "FAILED", "killed by SIGKILL"),
    "lacks a module": ("import nothing_here", "FAILED", "No module named 'nothing_here'"),
    "takes the project's own code": (
        "import triptych.core",
        "FAILED",
        "the job's own archive or layer must bring it",
    ),
    "has a syntax error": ("def (:", "FAILED", "SyntaxError"),
    "reads what is not there": (
        "from pyspark.sql import SparkSession\n"
        "SparkSession.builder.getOrCreate().read.parquet('s3://data/none')",
        "FAILED",
        "Path does not exist: s3://data/none",
    ),
    "misses an argument": (
        "import sys\nfrom awsglue.utils import getResolvedOptions\ngetResolvedOptions(sys.argv, ['run_uri'])",
        "FAILED",
        "GlueArgumentError: the following arguments are required: --run_uri",
    ),
    "never ends": ("while True: pass", "TIMEOUT", "timed out"),
}


@pytest.mark.parametrize(("script", "state", "message"), FAILURES.values(), ids=FAILURES)
def test_a_failing_run_says_why_and_leaves_nothing(glue: Glue, script: str, state: str, message: str) -> None:
    write = (
        "from pyspark.sql import SparkSession\n"
        "spark = SparkSession.builder.getOrCreate()\n"
        "spark.createDataFrame([(1,)], 'a int').write.mode('overwrite').parquet('s3://data/out')\n"
    )
    before = "" if "syntax" in message.lower() else write
    run = glue.run(before + script, Timeout=1)
    assert run["JobRunState"] == state
    assert message in run["ErrorMessage"]
    assert glue.keys() == []
    assert not any(glue.cloud.home.scratch.glob("glue/*"))
    event = glue.events.get(timeout=10)
    assert event.detail_type == "Glue Job State Change"
    assert (event.detail["state"], event.detail["severity"]) == (state, "ERROR")


SUCCEEDING = {"ends": "print('done')", "exits with 0": "import sys; print('done'); sys.exit(0)"}


@pytest.mark.parametrize("script", SUCCEEDING.values(), ids=SUCCEEDING)
def test_a_run_that_succeeds(glue: Glue, script: str) -> None:
    run = glue.run(script)
    assert run["JobRunState"] == "SUCCEEDED"
    assert "ErrorMessage" not in run
    assert glue.output() == ["done"]
    answer = glue.service.get_job_run(CONTEXT, {"JobName": run["JobName"], "RunId": run["Id"]})["JobRun"]
    assert answer == run


ETL = """
import sys
from awsglue.context import GlueContext
from awsglue.job import Job
from awsglue.utils import getResolvedOptions
from pyspark.context import SparkContext
from pyspark.sql import functions as F

args = getResolvedOptions(sys.argv, ["JOB_NAME", "raw", "out"])
glue = GlueContext(SparkContext.getOrCreate())
spark = glue.spark_session
job = Job(glue)
job.init(args["JOB_NAME"], args)
rows = spark.read.csv(args["raw"], header=True, schema="id string, x string")
clean = rows.withColumn("v", F.when(F.col("x") == "NA", None).otherwise(F.col("x").cast("double")))
clean.write.mode("overwrite").parquet(args["out"] + "clean/")
again = spark.read.parquet(args["out"] + "clean")
print("read back", again.count())
again.groupBy("id").agg(F.sum("v").alias("v")).write.option("header", True).csv(args["out"] + "sums")
again.limit(1).write.mode("append").parquet(args["out"] + "clean")
print("after append", spark.read.parquet(args["out"] + "clean/*.parquet").count())
job.commit()
"""


def check_etl(glue: Glue, arguments: dict[str, str]) -> None:
    """Run the script above, on whichever engine the arguments say, and look at what it left in S3."""
    import pyarrow.parquet as pq

    glue.cloud.store.put_bytes("data", "raw/one.csv", b"id,x\na,1\nb,NA\n")
    glue.cloud.store.put_bytes("data", "raw/two.csv", b"id,x\na,2.5\n")
    glue.cloud.store.put_bytes("data", "raw/_ignored.csv", b"id,x\nz,9\n")
    glue.cloud.store.put_bytes("data", "out/clean/stale.parquet", b"from an earlier attempt")
    run = glue.run(
        ETL, {"--out": "s3://data/out/", **arguments}, DefaultArguments={"--raw": "s3://data/raw/"}
    )
    assert run["JobRunState"] == "SUCCEEDED", run
    assert [line for line in glue.output() if line.startswith(("read", "after"))] == [
        "read back 3",
        "after append 4",
    ]
    clean = [record.path for record in glue.cloud.store.list("data", "out/clean/")]
    rows = [row for path in clean for row in pq.ParquetFile(path).read().to_pylist()]
    assert {(row["id"], row["v"]) for row in rows} == {("a", 1.0), ("a", 2.5), ("b", None)}
    assert len(rows) == 4
    sums = b"".join(glue.cloud.store.get_bytes("data", key) for key in glue.keys("out/sums/"))
    assert sorted(set(sums.decode().split())) == ["a,3.5", "b,", "id,v"] or sorted(
        set(sums.decode().split())
    ) == ["a,3.5", 'b,""', "id,v"]
    assert not [key for key in glue.keys("out") if "/_" in key or "/." in key]


def test_a_pyspark_script_runs_as_it_is_on_duckdb(glue: Glue) -> None:
    check_etl(glue, {})


@pytest.mark.spark
def test_a_pyspark_script_runs_as_it_is_on_spark(glue: Glue) -> None:
    check_etl(glue, {"--triptych_engine": "spark"})


def test_existing_output_is_refused_without_a_mode(glue: Glue) -> None:
    glue.cloud.store.put_bytes("data", "out/there.parquet", b"x")
    run = glue.run(
        "from pyspark.sql import SparkSession\n"
        "SparkSession.builder.getOrCreate().createDataFrame([(1,)], 'a int').write.parquet('s3://data/out')"
    )
    assert run["ErrorMessage"].startswith("PathAlreadyExists: Path s3://data/out already exists")
    assert glue.keys() == ["out/there.parquet"]


def test_libraries_come_from_the_jobs_own_archive(glue: Glue) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("triptych/__init__.py", "")
        archive.writestr("triptych/core/__init__.py", "WHENCE = 'the archive'")
        archive.writestr("glue_lib/__init__.py", "import triptych.core\nWHENCE = triptych.core.WHENCE")
    glue.cloud.store.put_bytes("code", "libs.zip", content.getvalue())
    run = glue.run("import glue_lib; print(glue_lib.WHENCE)", {"--extra-py-files": "s3://code/libs.zip"})
    assert (run["JobRunState"], glue.output()) == ("SUCCEEDED", ["the archive"])


def test_a_script_may_use_duckdbs_own_connection(glue: Glue) -> None:
    glue.cloud.store.put_bytes("data", "raw/one.csv", b"a\n1\n2\n")
    run = glue.run(
        """
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
[source] = spark.job_paths.read("s3://data/raw/")
folder = spark.job_paths.begin_write("s3://data/out", "overwrite")
spark._conn.execute(f"COPY (SELECT sum(a) AS a FROM read_csv('{source}')) TO '{folder}/sum.csv' (FORMAT csv)")
"""
    )
    assert run["JobRunState"] == "SUCCEEDED", run
    assert glue.cloud.store.get_bytes("data", "out/sum.csv") == b"a\n3\n"


def test_file_names_are_s3_names(glue: Glue) -> None:
    glue.cloud.store.put_bytes("data", "raw/it's one.csv", b"a\n1\n")
    run = glue.run(
        """
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
frame = spark.read.option("filename", True).csv("s3://data/raw/", header=True, schema="a int")
print(frame.collect()[0].filename)
"""
    )
    assert run["JobRunState"] == "SUCCEEDED", run
    assert glue.output() == ["s3://data/raw/it's one.csv"]


CANNOT_START = {
    "a script that is not there": (
        {},
        {"Command": {"Name": "glueetl", "ScriptLocation": "s3://code/none.py"}},
        "s3://code/none.py",
    ),
    "a library that is not there": ({"--extra-py-files": "s3://code/none.zip"}, {}, "s3://code/none.zip"),
    "a module to install": (
        {"--additional-python-modules": "left-pad==1.0"},
        {},
        "left-pad==1.0 not installed",
    ),
}


@pytest.mark.parametrize(("arguments", "definition", "message"), CANNOT_START.values(), ids=CANNOT_START)
def test_a_run_that_cannot_start(
    glue: Glue, arguments: dict[str, str], definition: dict[str, Any], message: str
) -> None:
    run = glue.run("print('never')", arguments, **definition)
    assert run["JobRunState"] == "FAILED"
    assert message in run["ErrorMessage"]
    assert glue.output() == []


REFUSED = {
    "an unknown job": (lambda glue: glue.start("nobody"), "EntityNotFoundException"),
    "an unknown engine": (
        lambda glue: glue.start(glue.job(""), Arguments={"--triptych_engine": "abacus"}),
        "InvalidInputException",
    ),
    "an unknown run": (
        lambda glue: glue.service.get_job_run(CONTEXT, {"JobName": "x", "RunId": "jr_0"}),
        "EntityNotFoundException",
    ),
}


@pytest.mark.parametrize(("call", "code"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(glue: Glue, call: Any, code: str) -> None:
    with pytest.raises(ServiceError) as refusal:
        call(glue)
    assert refusal.value.code == code


def test_a_run_is_stopped_and_only_then_may_the_next_start(glue: Glue) -> None:
    name = glue.job("import time\nprint('up')\ntime.sleep(60)")
    run_id = glue.start(name)
    with pytest.raises(ServiceError) as refusal:
        glue.start(name)
    assert refusal.value.code == "ConcurrentRunsExceededException"
    glue.until_output("up")
    answer = glue.service.batch_stop_job_run(CONTEXT, {"JobName": name, "JobRunIds": [run_id, "jr_none"]})
    assert answer["SuccessfulSubmissions"] == [{"JobName": name, "JobRunId": run_id}]
    assert answer["Errors"][0]["ErrorDetail"]["ErrorCode"] == "EntityNotFoundException"
    assert glue.wait(run_id)["JobRunState"] == "STOPPED"
    second = glue.start(name)
    glue.service.batch_stop_job_run(CONTEXT, {"JobName": name, "JobRunIds": [second]})
    assert glue.wait(second)["JobRunState"] == "STOPPED"
    again = glue.service.batch_stop_job_run(CONTEXT, {"JobName": name, "JobRunIds": [second]})
    assert again["Errors"][0]["ErrorDetail"]["ErrorCode"] == "JobRunInTerminalStateException"
    runs = glue.service.get_job_runs(CONTEXT, {"JobName": name, "MaxResults": 1})
    rest = glue.service.get_job_runs(CONTEXT, {"JobName": name, "NextToken": runs["NextToken"]})
    assert [run["Id"] for run in runs["JobRuns"] + rest["JobRuns"]] == [second, run_id]


def test_runs_side_by_side(glue: Glue) -> None:
    name = glue.job("import os; print(os.getpid())", ExecutionProperty={"MaxConcurrentRuns": 3})
    runs = [glue.start(name) for _ in range(3)]
    ended = {glue.ended.get(timeout=30).identity for _ in runs}
    assert ended == set(runs)
    assert len(set(glue.output())) == 3


def lose(glue: Glue) -> None:
    """What kill -9 leaves: no process, and a record that says RUNNING. The next service starts over it."""
    for execution in list(glue.service._executions.values()):
        gone = threading.Event()
        execution._on_end = lambda outcome, gone=gone: gone.set()  # type: ignore[misc]
        execution.stop()
        assert gone.wait(30)
    glue.service = glue.new_service()
    glue.service.start()


def test_a_run_that_the_gateway_left_behind_begins_anew_once(glue: Glue) -> None:
    name = glue.job("import time\nprint('up')\ntime.sleep(60)")
    run_id = glue.start(name)
    glue.until_output("up")
    glue.cloud.store.put_bytes("code", f"{name}.py", b"import time\nprint('again')\ntime.sleep(60)")
    lose(glue)
    glue.until_output("again")
    lose(glue)
    lost = glue.wait(run_id)
    assert lost["JobRunState"] == "FAILED"
    assert "stopped twice while this run was in progress" in lost["ErrorMessage"]
    assert not [name for name in lost if name.startswith("_")]


def test_a_run_that_began_anew_keeps_its_id_and_arguments_and_succeeds(glue: Glue) -> None:
    name = glue.job("import time\nprint('up')\ntime.sleep(60)")
    run_id = glue.start(name, Arguments={"--x": "given"})
    glue.until_output("up")
    glue.cloud.store.put_bytes(
        "code", f"{name}.py", b"import sys; print(sys.argv[sys.argv.index('--x') + 1])"
    )
    lose(glue)
    assert glue.wait(run_id)["JobRunState"] == "SUCCEEDED"
    assert "given" in glue.output()


def test_a_lost_run_that_was_being_stopped_is_stopped(glue: Glue) -> None:
    name = glue.job("import time\nprint('up')\ntime.sleep(60)")
    run_id = glue.start(name)
    glue.until_output("up")
    glue.service._set_state(run_id, "STOPPING")
    lose(glue)
    assert glue.wait(run_id)["JobRunState"] == "STOPPED"


def test_a_retry_takes_the_arguments_of_the_run_before(glue: Glue) -> None:
    name = glue.job("import sys; print(sys.argv[sys.argv.index('--x') + 1])")
    first = glue.wait(glue.start(name, Arguments={"--x": "1"}))
    second = glue.wait(glue.start(name, JobRunId=first["Id"]))
    assert (second["PreviousRunId"], second["Attempt"]) == (first["Id"], 1)
    assert glue.output() == ["1", "1"]
