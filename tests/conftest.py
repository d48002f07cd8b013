"""Fixtures that every area's tests can use."""

from tests.localcloud_fixture import local_cloud

__all__ = ["local_cloud"]
