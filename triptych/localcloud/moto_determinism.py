"""Gap filled: moto draws ids and times anew whenever it runs; a replayed request must get those it got first.

moto draws nearly all its ids from one seedable generator (``moto.moto_api._internal.mock_random``), a few
from ``random``, KMS key material from ``os.urandom``; nearly all times come from ``moto.core.utils.utcnow``.
This module seeds the first two, and puts itself in the place of the ``os`` of ``moto.kms.utils`` and of the
``datetime`` of ``moto.core.utils`` and ``moto.s3.models``. What it does not reach (RSA and EC key pairs of
asymmetric KMS keys) is listed in docs/fidelity.md.
"""

from __future__ import annotations

import datetime as real_datetime
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any

_now: ContextVar[real_datetime.datetime | None] = ContextVar("moto_now", default=None)
_seeded: ContextVar[bool] = ContextVar("moto_seeded", default=False)


class _DatetimeMeta(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, real_datetime.datetime)


class _Datetime(real_datetime.datetime, metaclass=_DatetimeMeta):
    """``datetime.datetime`` whose clock stands still within ``reproducible``."""

    @classmethod
    def now(cls, tz: real_datetime.tzinfo | None = None) -> real_datetime.datetime:  # type: ignore[override]
        frozen = _now.get()
        if frozen is None:
            return real_datetime.datetime.now(tz)
        return frozen.astimezone(tz) if tz is not None else frozen.astimezone().replace(tzinfo=None)


class _DatetimeModule(ModuleType):
    def __init__(self) -> None:
        super().__init__("datetime")
        self.datetime = _Datetime

    def __getattr__(self, name: str) -> Any:
        return getattr(real_datetime, name)


class _OsModule(ModuleType):
    def __init__(self) -> None:
        super().__init__("os")

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    @staticmethod
    def urandom(size: int) -> bytes:
        from moto.moto_api._internal import mock_random

        if not _seeded.get():
            return os.urandom(size)
        return bytes(mock_random.randbytes(size))


def install_clock() -> None:
    """Put the clock into moto; raises RuntimeError where a new moto has moved what is replaced here."""
    import moto.core.utils as utils
    import moto.s3.models as s3_models

    for module in (utils, s3_models):
        current = getattr(module, "datetime", None)
        if not isinstance(current, ModuleType):
            raise RuntimeError(
                f"{module.__name__}.datetime is no module any more: this moto reads its clock otherwise. "
                "Adapt triptych/localcloud/moto_determinism.py."
            )
        if not isinstance(current, _DatetimeModule):
            module.datetime = _DatetimeModule()


def install_key_material() -> None:
    """Let KMS key material follow the seed; raises RuntimeError where a new moto has moved it."""
    import moto.kms.utils as kms_utils

    if not isinstance(getattr(kms_utils, "os", None), ModuleType):
        raise RuntimeError(
            "moto.kms.utils draws key material in another way now: "
            "adapt triptych/localcloud/moto_determinism.py."
        )
    if not isinstance(kms_utils.os, _OsModule):
        kms_utils.os = _OsModule()


def install_backend_ids() -> None:
    """Let what a backend holds from its birth (default VPCs, managed policies) have the same ids in every
    process.

    moto makes a backend when it is first asked for, maybe in the midst of a seeded request: its draws must
    come from a generator of their own.
    """
    from moto.core.base_backend import AccountSpecificBackend
    from moto.moto_api._internal import mock_random

    original = AccountSpecificBackend.__getitem__
    if getattr(original, "_triptych", False):
        return

    def get(self: Any, region_name: str) -> Any:
        if region_name in self.keys() or region_name == "global":
            return original(self, region_name)
        state, python_state = mock_random.getstate(), random.getstate()
        birth = f"{self.service_name}/{self.account_id}/{region_name}"
        mock_random.seed(birth)
        random.seed(birth)
        try:
            return original(self, region_name)
        finally:
            mock_random.setstate(state)
            random.setstate(python_state)

    get._triptych = True  # type: ignore[attr-defined]
    AccountSpecificBackend.__getitem__ = get


@contextmanager
def reproducible(seed: int, now: real_datetime.datetime) -> Iterator[None]:
    """Within it moto's ids and times follow from ``seed`` and ``now`` (aware). Not for two threads at
    once.
    """
    from moto.moto_api._internal import mock_random

    state = random.getstate()
    mock_random.seed(seed)
    random.seed(seed)
    clock = _now.set(now)
    seeded = _seeded.set(True)
    try:
        yield
    finally:
        _seeded.reset(seeded)
        _now.reset(clock)
        random.setstate(state)
        mock_random.seed()
