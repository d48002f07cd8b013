"""The local cloud as a process: started once, found again, stopped, killed and back; clear refusals."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.localcloud_fixture import http_client
from triptych.commands import cloud
from triptych.localcloud import daemon
from triptych.localcloud.cloud import Settings
from triptych.localcloud.home import Home, HomeUnusable
from triptych.place import CommandFailed, Place, find_project

pytestmark = pytest.mark.cloud


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "home"
    yield place
    daemon.stop(place)


def gone(pid: int) -> bool:
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        # the process is our child: as long as nobody waits for it, it stays as a zombie
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            return True
        time.sleep(0.05)
    return False


def test_start_find_use_kill_start_again_and_stop(home: Path) -> None:
    assert daemon.status(home) is None
    assert daemon.stop(home) is False
    with ThreadPoolExecutor(2) as pool:  # two at once: one process
        first, second = pool.map(lambda _: daemon.start(home, Settings(port=0)), range(2))
    assert first == second
    assert daemon.status(home) == first
    s3, ssm = http_client(first.endpoint_url, "s3"), http_client(first.endpoint_url, "ssm")
    s3.create_bucket(Bucket="kept")
    s3.put_object(Bucket="kept", Key="a/b", Body=b"object")
    ssm.put_parameter(Name="/kept", Type="String", Value="x")
    made = http_client(first.endpoint_url, "cloudformation").create_stack(
        StackName="kept",
        TemplateBody=json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}),
    )

    os.kill(first.pid, signal.SIGKILL)
    assert gone(first.pid)
    assert daemon.status(home) is None

    again = daemon.start(home, Settings(port=0))
    assert again.pid != first.pid
    s3, ssm = http_client(again.endpoint_url, "s3"), http_client(again.endpoint_url, "ssm")
    assert s3.get_object(Bucket="kept", Key="a/b")["Body"].read() == b"object"
    assert ssm.get_parameter(Name="/kept")["Parameter"]["Value"] == "x"
    cloudformation = http_client(again.endpoint_url, "cloudformation")
    stack = cloudformation.describe_stacks(StackName="kept")["Stacks"][0]
    assert (stack["StackId"], stack["StackStatus"]) == (made["StackId"], "CREATE_COMPLETE")
    resource = cloudformation.describe_stack_resources(StackName="kept")["StackResources"][0]
    topics = http_client(again.endpoint_url, "sns").list_topics()["Topics"]
    assert [topic["TopicArn"] for topic in topics] == [resource["PhysicalResourceId"]]

    with pytest.raises(daemon.DaemonFailed, match=f"in use by the local cloud of {home}.*--port"):
        daemon.start(home.parent / "other", Settings(port=again.port))
    assert daemon.stop(home) is True
    assert daemon.status(home) is None
    assert not Home(home).gateway_file.exists()
    assert gone(again.pid)


def test_a_home_is_served_again_where_it_was(home: Path) -> None:
    assert daemon.last_port(home) is None
    first = daemon.start(home, Settings(port=0))
    assert daemon.last_port(home) == first.port
    os.kill(first.pid, signal.SIGKILL)
    assert gone(first.pid)
    place = Place(project=find_project(), home=home)
    cloud._start(place, lambda line: None)
    assert place.endpoint_url == first.endpoint_url
    assert daemon.stop(home)
    with (
        socket.create_server(("127.0.0.1", first.port)),
        pytest.raises(CommandFailed, match=f"port {first.port} .*--port"),
    ):
        cloud._start(Place(project=find_project(), home=home), lambda line: None)
    Home(home).port_file.write_text("nonsense")
    assert daemon.last_port(home) is None


def test_a_port_that_another_program_has_is_named(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        accepting = threading.Thread(target=lambda: other.accept()[0].close(), daemon=True)
        accepting.start()
        with pytest.raises(daemon.DaemonFailed, match=f"port {port} .* in use by another program.*--port"):
            daemon.start(home, Settings(port=port))
    assert daemon.status(home) is None


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    with pytest.raises(HomeUnusable, match=r"file/home cannot be written.*--home"):
        daemon.start(blocked / "home", Settings(port=0))


def test_a_stale_file_is_no_running_cloud(tmp_path: Path) -> None:
    place = Home(tmp_path)
    place.create()
    place.gateway_file.write_text(json.dumps({"pid": os.getpid(), "port": 4599}))
    place.lock_file.touch()
    assert daemon.status(tmp_path) is None


def test_sigterm_ends_it_in_order(home: Path) -> None:
    running = daemon.start(home, Settings(port=0))
    os.kill(running.pid, signal.SIGTERM)
    assert gone(running.pid)
    assert "stopping" in Home(home).log_file.read_text()
    assert not Home(home).gateway_file.exists()
