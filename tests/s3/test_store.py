"""The object store through its methods: files in place, versions, adoption, listings."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.localcloud.bus import Bus
from triptych.localcloud.home import Home
from triptych.localcloud.s3.names import after_all
from triptych.localcloud.s3.store import ObjectStore, split_uri
from triptych.localcloud.service import ServiceError

ODD_KEYS = {
    "file where a folder is": ("a/b", "a"),
    "folder where a file is": ("a", "a/b"),
    "dots": ("..", "../../etc/passwd", ".", "x/./y", "x/../y"),
    "slashes": ("/", "//", "/a", "a//b", "folder/"),
    "long segment": ("x" * 300,),
    "unicode": ("Ärger/日本/🛫.csv",),
    "control characters": ("tab\there", "new\nline", "nul\0l"),
    "case": ("Case", "case"),
    "hidden": (".versions/x", ".odd"),
}


def reopened(store: ObjectStore) -> ObjectStore:
    return ObjectStore(Home(store.root.parent), Bus())


@pytest.mark.parametrize("keys", ODD_KEYS.values(), ids=ODD_KEYS.keys())
def test_any_key_can_be_stored_listed_reopened_and_deleted(store: ObjectStore, keys: tuple[str, ...]) -> None:
    for key in keys:
        store.put_bytes("data", key, key.encode())
    store = reopened(store)
    assert [record.key for record in store.list("data")] == sorted(keys, key=str.encode)
    for key in keys:
        assert store.get_bytes("data", key) == key.encode()
        assert store.head("data", key).path.resolve().is_relative_to(store.root)
    for key in keys:
        store.delete("data", key)
    assert store.list("data") == []
    assert list((store.root / "data").rglob("*")) == []
    store.delete_bucket("data")


def test_an_object_is_a_file_at_its_key(store: ObjectStore) -> None:
    record = store.put_bytes("data", "raw/flights/2013-01.csv", b"a,b\n")
    assert record.path == store.root / "data" / "raw" / "flights" / "2013-01.csv"
    assert record.path.read_bytes() == b"a,b\n"
    assert (record.etag, record.size_bytes) == (hashlib.md5(b"a,b\n").hexdigest(), 4)
    assert record.content_type == "text/csv"


def test_a_missing_object_and_bucket_have_their_own_errors(store: ObjectStore) -> None:
    with pytest.raises(ServiceError) as missing_key:
        store.head("data", "nothing")
    with pytest.raises(ServiceError) as missing_bucket:
        store.put_bytes("elsewhere", "key", b"")
    assert (missing_key.value.code, missing_bucket.value.code) == ("NoSuchKey", "NoSuchBucket")


def test_versions_are_kept_promoted_and_deleted(store: ObjectStore) -> None:
    before = store.put_bytes("data", "k", b"before versioning")
    store.set_versioning("data", "Enabled")
    first = store.put_bytes("data", "k", b"first")
    second = store.put_bytes("data", "k", b"second")
    marker = store.delete("data", "k")
    assert marker.is_delete_marker
    with pytest.raises(ServiceError, match="does not exist"):
        store.head("data", "k")
    assert not (store.root / "data" / "k").exists()
    store = reopened(store)
    contents = {"null": b"before versioning", first.version_id: b"first", second.version_id: b"second"}
    assert before.version_id == "null"
    for version_id, content in contents.items():
        assert store.get_bytes("data", "k", version_id) == content
    store.delete("data", "k", marker.version_id)
    assert store.get_bytes("data", "k") == b"second"
    store.delete("data", "k", second.version_id)
    assert (store.root / "data" / "k").read_bytes() == b"first"
    page = store.list_versions_page("data")
    assert [item.version_id for item in page.objects] == [first.version_id, "null"]
    with pytest.raises(ServiceError) as gone:
        store.get_bytes("data", "k", second.version_id)
    assert gone.value.code == "NoSuchVersion"


def test_suspended_versioning_replaces_only_the_null_version(store: ObjectStore) -> None:
    store.set_versioning("data", "Enabled")
    kept = store.put_bytes("data", "k", b"kept")
    store.set_versioning("data", "Suspended")
    store.put_bytes("data", "k", b"null 1")
    store.put_bytes("data", "k", b"null 2")
    assert [item.version_id for item in store.list_versions_page("data").objects] == ["null", kept.version_id]
    assert store.get_bytes("data", "k") == b"null 2"
    assert store.get_bytes("data", "k", kept.version_id) == b"kept"
    marker = store.delete("data", "k")
    assert (marker.is_delete_marker, marker.version_id) == (True, "null")
    assert store.get_bytes("data", "k", kept.version_id) == b"kept"


def test_a_bucket_with_versions_cannot_be_deleted(store: ObjectStore) -> None:
    store.set_versioning("data", "Enabled")
    store.put_bytes("data", "k", b"1")
    store.delete("data", "k")
    with pytest.raises(ServiceError) as refused:
        store.delete_bucket("data")
    assert refused.value.code == "BucketNotEmpty"
    for record in store.list_versions_page("data").objects:
        store.delete("data", record.key, record.version_id)
    store.delete_bucket("data")
    assert not (store.root / "data").exists()


def test_adopt_tree_moves_files_and_replaces_the_prefix(store: ObjectStore, tmp_path: Path) -> None:
    store.put_bytes("data", "out/stale.csv", b"old")
    store.put_bytes("data", "out/part-0.csv", b"old")
    store.put_bytes("data", "outside.csv", b"stays")
    folder = tmp_path / "job"
    (folder / "nested").mkdir(parents=True)
    (folder / "part-0.csv").write_bytes(b"new")
    (folder / "nested" / "part-1.csv").write_bytes(b"nested")
    inode = (folder / "part-0.csv").stat().st_ino
    records = store.adopt_tree("data", "out/", folder, replace=True)
    assert [record.key for record in records] == ["out/nested/part-1.csv", "out/part-0.csv"]
    assert [record.key for record in store.list("data")] == [
        "out/nested/part-1.csv",
        "out/part-0.csv",
        "outside.csv",
    ]
    assert store.head("data", "out/part-0.csv").path.stat().st_ino == inode
    assert not any(path.is_file() for path in folder.rglob("*"))
    assert store.adopt_tree("data", "empty", folder) == []


def test_adoption_into_a_missing_bucket_leaves_the_files(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "f").write_bytes(b"x")
    for adopt in (
        lambda: store.adopt_tree("missing", "p", tmp_path / "job"),
        lambda: store.put_file("missing", "p", tmp_path / "job" / "f"),
        lambda: store.put_file("data", "k" * 1025, tmp_path / "job" / "f"),
    ):
        with pytest.raises(ServiceError):
            adopt()
        assert (tmp_path / "job" / "f").read_bytes() == b"x"


@pytest.mark.parametrize("move", [True, False], ids=["moved", "copied"])
def test_put_file(store: ObjectStore, tmp_path: Path, move: bool) -> None:
    source = tmp_path / "model.tar.gz"
    source.write_bytes(b"model" * 1000)
    record = store.put_file("data", "models/model.tar.gz", source, move=move)
    assert record.path.read_bytes() == b"model" * 1000
    assert source.exists() is not move


def test_materialise_gives_files_without_copies(store: ObjectStore, tmp_path: Path) -> None:
    for key in ("in/a.csv", "in/deep/b.csv", "in/", "input.csv"):
        store.put_bytes("data", key, key.encode())
    paths = store.materialise("data", "in/", tmp_path / "channel")
    assert sorted(path.relative_to(tmp_path / "channel").as_posix() for path in paths) == [
        "a.csv",
        "deep/b.csv",
    ]
    assert os.path.samefile(tmp_path / "channel" / "a.csv", store.head("data", "in/a.csv").path)
    one = store.materialise("data", "in/a.csv", tmp_path / "one")
    assert [path.name for path in one] == ["a.csv"]


def test_an_open_file_is_not_touched_by_later_writes(store: ObjectStore) -> None:
    store.put_bytes("data", "k", b"old content")
    record, file = store.open("data", "k")
    store.put_bytes("data", "k", b"new")
    with file:
        assert file.read() == b"old content"
    assert record.size_bytes == 11
    store.delete("data", "k")


@pytest.mark.parametrize(
    ("prefix", "delimiter", "after", "limit", "keys", "prefixes", "truncated"),
    [
        ("", "", "", 1000, ["a", "b/1", "b/2", "c/1", "d"], [], False),
        ("", "/", "", 1000, ["a", "d"], ["b/", "c/"], False),
        ("", "/", "", 2, ["a"], ["b/"], True),
        ("", "/", "b/", 1000, ["d"], ["c/"], False),
        ("", "/", "b/1", 1000, ["d"], ["b/", "c/"], False),
        ("b/", "/", "", 1000, ["b/1", "b/2"], [], False),
        ("b", "", "b/1", 1000, ["b/2"], [], False),
        ("", "", "d", 1000, [], [], False),
        ("nothing", "/", "", 1000, [], [], False),
        ("", "", "", 0, [], [], False),
        ("", "", "", 5, ["a", "b/1", "b/2", "c/1", "d"], [], False),
    ],
)
def test_listing(
    store: ObjectStore,
    prefix: str,
    delimiter: str,
    after: str,
    limit: int,
    keys: list[str],
    prefixes: list[str],
    truncated: bool,
) -> None:
    for key in ("d", "c/1", "b/2", "b/1", "a"):
        store.put_bytes("data", key, b"")
    page = store.list_page("data", prefix=prefix, delimiter=delimiter, after=after, limit=limit)
    assert [record.key for record in page.objects] == keys
    assert list(page.prefixes) == prefixes
    assert page.truncated is truncated


@settings(max_examples=200, deadline=None)
@given(st.text(min_size=1, max_size=6), st.text(max_size=6), st.text(min_size=1, max_size=6))
def test_after_all_is_the_least_upper_bound_of_a_prefix(prefix: str, suffix: str, other: str) -> None:
    bound = after_all(prefix)
    if bound is None:
        assert set(prefix) == {"\U0010ffff"}
        return
    assert (prefix + suffix) < bound
    if prefix <= other < bound:
        assert other.startswith(prefix)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [("s3://b/k/e/y", ("b", "k/e/y")), ("s3://b", ("b", "")), ("s3a://b/k", ("b", "k"))],
)
def test_split_uri(uri: str, expected: tuple[str, str]) -> None:
    assert split_uri(uri) == expected


@pytest.mark.parametrize("uri", ["/tmp/file", "https://b/k", "s3:///k", ""])
def test_split_uri_refuses(uri: str) -> None:
    with pytest.raises(ValueError, match="not an S3 URI"):
        split_uri(uri)
