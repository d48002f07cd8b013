"""The sample data that a use case ships: ``usecases/<name>/sample.py`` writes it, this uploads it once."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

RAW_PREFIX = "raw/"


def upload_if_empty(
    project: Path,
    use_case: str,
    bucket: str,
    s3: Any,
    say: Callable[[str], None],
) -> int:
    """Upload the sample where nothing lies below ``raw/``; returns how many files went up.

    The bucket announces nothing meanwhile: a dozen first files shall not start a dozen pipelines.
    """
    source = project / "usecases" / use_case / "sample.py"
    if s3.list_objects_v2(Bucket=bucket, Prefix=RAW_PREFIX, MaxKeys=1)["KeyCount"] or not source.is_file():
        return 0
    spec = importlib.util.spec_from_file_location(f"usecases_{use_case}_sample", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with tempfile.TemporaryDirectory() as folder, _without_events(s3, bucket):
        module.write_raw(Path(folder))
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        total = sum(path.stat().st_size for path in files)
        say(f"uploading the sample data: {len(files)} files, {total / 1e6:.0f} MB")
        for path in files:
            with path.open("rb") as body:
                s3.put_object(Bucket=bucket, Key=path.relative_to(folder).as_posix(), Body=body)
    return len(files)


@contextmanager
def _without_events(s3: Any, bucket: str) -> Iterator[None]:
    """Turn the bucket's notifications off meanwhile: what is written then was never announced."""
    told = s3.get_bucket_notification_configuration(Bucket=bucket)
    told.pop("ResponseMetadata", None)
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    try:
        yield
    finally:
        s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=told)
