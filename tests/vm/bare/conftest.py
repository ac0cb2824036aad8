"""The cgroup of a test of cgroups."""

from __future__ import annotations

from tests.support.cgroups import cgroup  # noqa: F401  a fixture
