"""Killed writers, full disks, torn changes: what was acknowledged is whole, what was not is not visible."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from triptych.localcloud.bus import Bus
from triptych.localcloud.home import Home
from triptych.localcloud.s3 import files
from triptych.localcloud.s3.records import Attributes, Staged
from triptych.localcloud.s3.store import ObjectStore
from triptych.localcloud.service import ServiceError

WRITER = """
import sys
from pathlib import Path
from triptych.localcloud.bus import Bus
from triptych.localcloud.home import Home
from triptych.localcloud.s3.records import Attributes, Staged
from triptych.localcloud.s3.store import ObjectStore

home = Home(sys.argv[1])
store = ObjectStore(home, Bus())
if "--versioned" in sys.argv:
    store.set_versioning("data", "Enabled")
scratch = home.root / "job"
number = int(sys.argv[2])
while True:
    number += 1
    body = (str(number) + "\\n").encode() * 5000
    record = store.put_bytes("data", f"k/{number % 3}", body)
    print("put", record.key, number, record.version_id, flush=True)
    folder = scratch / str(number)
    folder.mkdir(parents=True)
    for name in ("x", "y"):
        (folder / name).write_bytes(body)
    store.adopt_tree("data", "tree", folder, replace=True)
    print("tree", "-", number, "-", flush=True)
    if number % 5 == 0:
        store.delete("data", f"k/{number % 3}")
        print("deleted", f"k/{number % 3}", number, "-", flush=True)
"""


def body(number: int) -> bytes:
    return f"{number}\n".encode() * 5000


@pytest.mark.parametrize("versioned", [False, True], ids=["plain", "versioned"])
def test_kill_at_random_instants(tmp_path: Path, versioned: bool) -> None:
    home = Home(tmp_path)
    home.create()
    ObjectStore(home, Bus()).create_bucket("data")
    random_source = random.Random(7)
    number = 0
    for _ in range(6):
        arguments = [sys.executable, "-c", WRITER, str(tmp_path), str(number)]
        process = subprocess.Popen(
            [*arguments, *(["--versioned"] if versioned else [])], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        time.sleep(random_source.uniform(0.01, 0.15))
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.read().splitlines()
        process.wait()
        process.stdout.close()
        acknowledged = [line.split() for line in lines if len(line.split()) == 4]
        assert acknowledged, "the writer did not start"
        number = int(acknowledged[-1][2]) + 1
        store = ObjectStore(home, Bus())
        check_consistent(store)
        check_acknowledged(store, acknowledged, versioned)


def check_consistent(store: ObjectStore) -> None:
    """Index and files agree, byte for byte, and nothing else lies about."""
    indexed = set()
    for record in store.list_versions_page("data", limit=10**6).objects:
        if not record.is_delete_marker:
            content = record.path.read_bytes()
            assert (len(content), hashlib.md5(content).hexdigest()) == (record.size_bytes, record.etag)
            indexed.add(record.path)
    found = {path for path in store.root.rglob("*") if path.is_file()}
    assert found == indexed
    tree = {record.etag for record in store.list("data", "tree/")}
    assert len(tree) <= 1, "an adopted tree is there whole or not at all"


def check_acknowledged(store: ObjectStore, lines: list[list[str]], versioned: bool) -> None:
    state: dict[str, int | None] = {}
    for kind, key, number, version_id in lines:
        if kind == "put":
            state[key] = int(number)
            if versioned:
                assert store.get_bytes("data", key, version_id) == body(int(number))
        elif kind == "deleted":
            state[key] = None
    last = int(lines[-1][2])
    for key, number in state.items():
        # The write that was under way when the process died may have taken effect as well.
        possible = {number, last + 1} if (last + 1) % 3 == int(key[-1]) else {number}
        possible |= {None} if last % 5 == 0 and last % 3 == int(key[-1]) else set()
        try:
            content: bytes | None = store.get_bytes("data", key)
        except ServiceError:
            content = None
        assert content in {None if item is None else body(item) for item in possible}, key


@pytest.mark.parametrize("step", ["before", "after"])
def test_a_crash_between_commit_and_rename_is_made_good(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    store.put_bytes("data", "k", b"old")
    real = files.FileArea.move

    def dying(self: files.FileArea, source: str, target: str) -> None:
        if step == "after":
            real(self, source, target)
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(files.FileArea, "move", dying)
        # As put_bytes does it, without its cleaning up: a killed process does not clean up.
        path = store.files.new_staging()
        path.write_bytes(b"new")
        staged = Staged(path, hashlib.md5(b"new").hexdigest(), 3)
        with pytest.raises(SystemExit):
            store.put_staged("data", "k", staged, Attributes())
    again = ObjectStore(Home(store.root.parent), Bus())
    assert again.get_bytes("data", "k") == b"new"
    check_consistent(again)


def test_leftovers_are_swept_and_parts_are_kept(store: ObjectStore) -> None:
    upload = store.uploads.create("data", "big", Attributes(), "", "")
    path = store.files.new_staging()
    path.write_bytes(b"part")
    part = store.uploads.add_part(upload, 1, Staged(path, hashlib.md5(b"part").hexdigest(), 4), {})
    (store.root / files.STAGING / "put-half").write_bytes(b"half written")
    (store.root / files.VERSIONS / "data").mkdir()
    (store.root / files.VERSIONS / "data" / "orphan").write_bytes(b"x")
    again = ObjectStore(Home(store.root.parent), Bus())
    assert part.path.read_bytes() == b"part"
    assert [item.number for item in again.uploads.parts(upload)] == [1]
    assert [path.name for path in (store.root / files.STAGING).iterdir()] == [upload.upload_id]
    assert not (store.root / files.VERSIONS / "data" / "orphan").exists()


@pytest.mark.parametrize("where", ["write", "link", "index"])
def test_a_full_disk_is_said_and_changes_nothing(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    store.set_versioning("data", "Enabled")
    store.put_bytes("data", "k", b"old")

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def index_full(*args: object, **kwargs: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        if where == "write":
            patched.setattr(Path, "write_bytes", full)
        elif where == "link":
            patched.setattr(files.FileArea, "link", full)
        else:
            patched.setattr("triptych.localcloud.s3.changes.Change.place", index_full)
        with pytest.raises(ServiceError) as refused:
            store.put_bytes("data", "k", b"new")
    assert refused.value.code == "InsufficientStorage"
    assert str(store.root) in refused.value.message
    assert store.get_bytes("data", "k") == b"old"
    check_consistent(store)
    store.put_bytes("data", "k", b"new")
    assert store.get_bytes("data", "k") == b"new"


def test_a_file_that_was_removed_by_hand_is_named(store: ObjectStore) -> None:
    store.put_bytes("data", "k", b"x").path.unlink()
    with pytest.raises(ServiceError, match="removed from the home folder"):
        store.get_bytes("data", "k")
    store.put_bytes("data", "k", b"again")
    assert store.get_bytes("data", "k") == b"again"
