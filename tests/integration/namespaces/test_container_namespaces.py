"""Namespaces that a container makes, and those of others that it joins by path.

Source: runtime-spec config-linux.md#namespaces.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devtools.bundle import Bundle, in_user_namespace
from tests.integration.conftest import BundleMaker
from tests.support.detached import Detached
from tests.support.runtime import Runtime

Json = Any

OF_RUNC = {"pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts", "cgroup": "cgroup"}
"""Namespaces that runc 1.1 knows too, by the spec's name; the kernel's name of each."""

KINDS = {**OF_RUNC, "mount": "mnt", "time": "time", "user": "user"}

LOOK = "for ns in pid net ipc uts cgroup mnt time user; do readlink /proc/self/ns/$ns; done"


def seen(output: str) -> dict[str, str]:
    """The namespaces that LOOK printed, by the kernel's names."""
    return {line.partition(":")[0]: line for line in output.splitlines()}


def namespaces_of(pid: int | str) -> dict[str, str]:
    """The namespaces of a process."""
    return {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in KINDS.values()}


def joining(made: Bundle, pid: int, *kinds: str) -> Bundle:
    """Have the container join the namespaces of a process and make the others that runc knows."""
    made.linux["namespaces"] = [{"type": kind} for kind in (*OF_RUNC, "mount") if kind not in kinds] + [
        {"type": kind, "path": f"/proc/{pid}/ns/{KINDS[kind]}"} for kind in kinds
    ]
    made.config.pop("hostname", None)
    return made.write()


@pytest.fixture
def host(runwasi: Runtime, bundle: BundleMaker, new_id: Callable[[], str]) -> Iterator[Detached]:
    """A container with a namespace of each kind but user, to join."""
    made = bundle(["sleep", "100"])
    made.linux["namespaces"] = [{"type": kind} for kind in KINDS if kind != "user"]
    yield from _running(runwasi, made, new_id())


@pytest.fixture
def userns_host(runwasi: Runtime, bundle: BundleMaker, new_id: Callable[[], str]) -> Iterator[Detached]:
    """A container with a namespace of each kind, to join."""
    made = bundle(["sleep", "100"])
    made.linux["namespaces"] = [{"type": kind} for kind in KINDS if kind != "user"]
    yield from _running(runwasi, in_user_namespace(made), new_id())


def _running(runtime: Runtime, made: Bundle, container_id: str) -> Iterator[Detached]:
    container = Detached(runtime, made.write(), container_id)
    container.run()
    yield container
    runtime("delete", "--force", container_id)


def test_every_kind_is_made(runwasi: Runtime, bundle: BundleMaker, container_id: str) -> None:
    made = bundle(["sh", "-c", LOOK])
    made.linux["namespaces"] = [{"type": kind} for kind in KINDS if kind != "user"]
    inside = seen(runwasi("run", "--bundle", in_user_namespace(made).path, container_id).stdout)
    ours = namespaces_of("self")
    assert [kind for kind in ours if inside[kind] == ours[kind]] == []


def test_namespaces_that_are_not_listed_are_ours(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["sh", "-c", LOOK])
    made.linux["namespaces"] = [{"type": "mount"}]
    made.config.pop("hostname")
    made.config["mounts"] = made.config["mounts"][:1]
    inside = seen(oci_runtime("run", "--bundle", made.write().path, container_id).stdout)
    ours = namespaces_of("self")
    assert [kind for kind in ours if inside[kind] != ours[kind]] == ["mnt"]


@pytest.mark.parametrize("kinds", [*((kind,) for kind in OF_RUNC), tuple(OF_RUNC)], ids="-".join)
def test_namespaces_are_joined_by_path(
    oci_runtime: Runtime, bundle: BundleMaker, host: Detached, container_id: str, kinds: tuple[str, ...]
) -> None:
    made = joining(bundle(["sh", "-c", LOOK]), host.pid, *kinds)
    inside, theirs = (
        seen(oci_runtime("run", "--bundle", made.path, container_id).stdout),
        namespaces_of(host.pid),
    )
    joined = [KINDS[kind] for kind in kinds]
    assert [kind for kind in OF_RUNC.values() if inside[kind] == theirs[kind]] == joined


@pytest.mark.parametrize("kinds", [("time",), ("time", "pid"), (*OF_RUNC, "time")], ids="-".join)
def test_a_time_namespace_is_joined_with_others(
    runwasi: Runtime, bundle: BundleMaker, host: Detached, container_id: str, kinds: tuple[str, ...]
) -> None:
    made = joining(bundle(["sh", "-c", LOOK]), host.pid, *kinds)
    inside, theirs = seen(runwasi("run", "--bundle", made.path, container_id).stdout), namespaces_of(host.pid)
    assert {kind for kind in inside if inside[kind] == theirs[kind]} - {"user"} == {
        KINDS[kind] for kind in kinds
    }


@pytest.mark.parametrize(
    "kinds",
    [("user",), ("user", "pid"), ("user", "network", "ipc", "uts"), ("user", *OF_RUNC, "time"), ("network",)],
    ids="-".join,
)
def test_a_user_namespace_is_joined_and_executed_in(
    runwasi: Runtime,
    bundle: BundleMaker,
    userns_host: Detached,
    container_id: str,
    kinds: tuple[str, ...],
) -> None:
    """New namespaces belong to the joined user namespace; joined ones may belong to it, too."""
    made = bundle(["sleep", "100"])
    for path in (made.rootfs, *made.rootfs.rglob("*")):
        os.chown(path, 100_000, 100_000, follow_symlinks=False)
    container = Detached(runwasi, joining(made, userns_host.pid, *kinds), container_id)
    container.run()
    inside, theirs = namespaces_of(container.pid), namespaces_of(userns_host.pid)
    assert {kind for kind in inside if inside[kind] == theirs[kind]} == {KINDS[kind] for kind in kinds}
    assert seen(runwasi("exec", container_id, "sh", "-c", LOOK).stdout) == inside
    assert ("100000" in runwasi("exec", container_id, "cat", "/proc/self/uid_map").stdout) == (
        "user" in kinds
    )


def test_a_mount_namespace_is_joined(oci_runtime: Runtime, bundle: BundleMaker, container_id: str) -> None:
    """Its processes then have the container's root, which pivot_root gives to all that had the old one."""
    holder = subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "cat"], stdin=subprocess.PIPE
    )
    ours = os.readlink("/proc/self/ns/mnt")
    while os.readlink(f"/proc/{holder.pid}/ns/mnt") == ours:
        pass
    theirs = os.readlink(f"/proc/{holder.pid}/ns/mnt")
    made = joining(bundle(["readlink", "/proc/self/ns/mnt"]), holder.pid, "mount")
    assert oci_runtime("run", "--bundle", made.path, container_id).stdout.strip() == theirs
    holder.communicate()


@pytest.mark.parametrize("kind", KINDS)
def test_a_path_to_something_else_is_refused_by_name(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, kind: str
) -> None:
    made = bundle(["true"])
    other = "net" if kind != "network" else "uts"
    for path, why in (
        (f"/proc/self/ns/{other}", f"not a {KINDS[kind]} namespace"),
        (str(made.path / "config.json"), f"not a {KINDS[kind]} namespace"),
        ("/no/such", "No such file or directory"),
    ):
        made.linux["namespaces"] = [{"type": "uts"}] if kind != "uts" else []
        made.linux["namespaces"].append({"type": kind, "path": path})
        index = len(made.linux["namespaces"]) - 1
        made.config.pop("hostname", None)
        refused = runwasi("create", "--bundle", made.write().path, container_id, check=False)
        assert refused.returncode == 1
        assert f"{path}: {why} ($.linux.namespaces[{index}].path)" in refused.stderr


@pytest.mark.parametrize(
    ("namespace", "member"),
    [
        ({"type": "net"}, "$.linux.namespaces[0].type"),
        ({"type": "pid", "path": "proc/1/ns/pid"}, "$.linux.namespaces[0].path"),
        ({"path": "/proc/1/ns/pid"}, "$.linux.namespaces[0].type"),
    ],
    ids=["unknown", "relative", "untyped"],
)
def test_a_path_that_is_no_namespace_is_refused_by_name(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, namespace: Json, member: str
) -> None:
    made = bundle(["true"])
    made.linux["namespaces"].insert(0, namespace)
    refused = runwasi("create", "--bundle", made.write().path, container_id, check=False)
    assert refused.returncode == 1
    assert f"{member}: " in refused.stderr
    assert not runwasi.root.exists()


def test_a_kind_given_twice_is_refused(oci_runtime: Runtime, bundle: BundleMaker, container_id: str) -> None:
    made = bundle(["true"])
    made.linux["namespaces"].append({"type": "pid"})
    refused = oci_runtime("create", "--bundle", made.write().path, container_id, check=False)
    assert refused.returncode == 1
    assert "pid" in refused.stderr


def test_root_may_map_several_ranges(runwasi: Runtime, bundle: BundleMaker, container_id: str) -> None:
    """Files and processes have the mapped owners on the host."""
    made = in_user_namespace(
        bundle(["sh", "-c", "touch /tmp/made; cat /proc/self/uid_map; id -u; exec sleep 100"])
    )
    for kind in ("uidMappings", "gidMappings"):
        made.linux[kind] = [
            {"containerID": 0, "hostID": 100_000, "size": 10},
            {"containerID": 500, "hostID": 200_000, "size": 1000},
        ]
    made.process["user"] = {"uid": 501, "gid": 502}
    (made.rootfs / "tmp").chmod(0o1777)
    container = Detached(runwasi, made.write(), container_id)
    container.run()
    status = Path(f"/proc/{container.pid}/status").read_text()
    assert f"Uid:\t{200_001}\t" in status
    assert f"Gid:\t{200_002}\t" in status
    told = runwasi("exec", "--user", "0:0", container_id, "cat", "/proc/self/uid_map").stdout.split()
    assert told == ["0", "100000", "10", "500", "200000", "1000"]
    made_file = (made.rootfs / "tmp/made").stat()
    assert (made_file.st_uid, made_file.st_gid) == (200_001, 200_002)


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ({"uid": 70_000, "gid": 0}, "70000: not mapped in the user namespace ($.process.user.uid)"),
        ({"uid": 0, "gid": 70_001}, "70001: not mapped in the user namespace ($.process.user.gid)"),
        (
            {"uid": 0, "gid": 0, "additionalGids": [5, 70_002]},
            "(5, 70002): not mapped in the user namespace ($.process.user.additionalGids)",
        ),
    ],
    ids=["uid", "gid", "groups"],
)
def test_an_id_without_a_mapping_is_refused(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, user: Json, message: str
) -> None:
    made = in_user_namespace(bundle(["true"]))
    made.process["user"] = user
    refused = runwasi("run", "--bundle", made.write().path, container_id, check=False)
    assert refused.stderr == f"runwasi: run {container_id}: {message}\n"
