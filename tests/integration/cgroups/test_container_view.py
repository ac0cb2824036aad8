"""A container sees the same of its cgroups as under runc."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from devtools.bundle import Bundle
from tests.integration.conftest import BundleMaker
from tests.support.runtime import Runtime

CGROUP_MOUNT = {
    "destination": "/sys/fs/cgroup",
    "type": "cgroup",
    "source": "cgroup",
    "options": ["nosuid", "noexec", "nodev", "relatime", "ro"],
}


@pytest.fixture
def listing(bundle: BundleMaker) -> Bundle:
    """A bundle that prints its cgroup mounts and memberships."""
    made = bundle(["sh", "-c", "mount | grep cgroup; cat /proc/self/cgroup"])
    made.config["mounts"].append(CGROUP_MOUNT)
    made.linux["namespaces"].append({"type": "cgroup"})
    return made.write()


def without_options(mounts: str) -> list[str]:
    """Where what is mounted: the names of the sources differ between runc's own code paths."""
    return sorted(line.partition(" (")[0].rpartition(" on ")[2] for line in mounts.splitlines())


def test_cgroup_mounts_and_memberships_are_runcs(
    runwasi: Runtime, folder: Path, listing: Bundle, container_id: str
) -> None:
    ours = runwasi("run", "--bundle", listing.path, container_id).stdout
    theirs = Runtime("runc", folder / "runc")("run", "--bundle", listing.path, container_id).stdout
    assert without_options(ours) == without_options(theirs)


def test_the_read_only_cgroup_tree_cannot_be_written(
    runwasi: Runtime, listing: Bundle, container_id: str
) -> None:
    listing.process["args"] = ["sh", "-c", "cd /sys/fs/cgroup; mkdir x; for d in *; do mkdir $d/x; done"]
    tried = runwasi("run", "--bundle", listing.write().path, container_id, check=False)
    assert tried.returncode != 0
    assert {line.rpartition(": ")[2] for line in tried.stderr.splitlines()} == {"Read-only file system"}


def test_every_process_is_in_the_containers_cgroup_of_each_hierarchy(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["sleep", "100"])
    made.linux["cgroupsPath"] = f"/{container_id}"
    subprocess.run(
        runwasi.command("run", "--detach", "--bundle", str(made.write().path), container_id),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    pid = runwasi.state(container_id)["pid"]
    memberships = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    assert all(line.endswith(f"/{container_id}") for line in memberships), memberships
