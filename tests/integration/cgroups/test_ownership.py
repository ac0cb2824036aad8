"""Giving a container's cgroup to its user, where version 2 is."""

from __future__ import annotations

import pytest

from devtools.bundle import in_user_namespace
from runwasi.linux.cgroups import version
from tests.integration.conftest import BundleMaker
from tests.support.runtime import Runtime

pytestmark = [
    pytest.mark.cgroup_v2,
    pytest.mark.skipif(version() != 2, reason="a cgroup of version 1 is never given away"),
]
_LOOK = 'cd /sys/fs/cgroup && stat -c "%u %n" . cgroup.procs memory.max && mkdir inner 2>&1; echo $?'


@pytest.mark.parametrize(("options", "seen"), [(["rw"], "0"), (["ro"], "65534")])
def test_root_of_a_user_namespace_owns_its_writable_cgroup(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, options: list[str], seen: str
) -> None:
    made = in_user_namespace(bundle(["sh", "-c", _LOOK]))
    made.linux["namespaces"].append({"type": "cgroup"})
    made.config["mounts"].append(
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options}
    )
    lines = runwasi("run", "--bundle", made.write().path, container_id).stdout.splitlines()
    assert lines[:3] == [f"{seen} .", f"{seen} cgroup.procs", "65534 memory.max"]
    assert (lines[-1] == "0") is (seen == "0")
