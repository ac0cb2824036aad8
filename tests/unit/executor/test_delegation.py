"""To whom a container's cgroup is given."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runwasi.executor.limits.delegation import future_owner
from runwasi.oci import spec

Json = dict[str, Any]


def document(**linux: Any) -> Json:
    """A configuration that asks for the cgroup to be given away."""
    return {
        "ociVersion": "1.0.0",
        "root": {"path": "rootfs"},
        "process": {"cwd": "/", "args": ["sh"], "user": {"uid": 7, "gid": 0}},
        "mounts": [
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid"]}
        ],
        "linux": {"namespaces": [{"type": "cgroup"}, {"type": "mount"}], **linux},
    }


def owner(config: Json) -> int | None:
    return future_owner(spec.loads(json.dumps(config).encode()))


def test_it_is_the_user_of_the_process() -> None:
    assert owner(document()) == 7


def test_in_a_user_namespace_it_is_the_hosts_user_behind_that_one() -> None:
    mappings = [
        {"containerID": 0, "hostID": 1000, "size": 1},
        {"containerID": 1, "hostID": 100_000, "size": 50},
    ]
    config = document(uidMappings=mappings, gidMappings=mappings)
    config["linux"]["namespaces"].append({"type": "user"})
    assert owner(config) == 100_006


def test_a_joined_user_namespace_has_mappings_that_nobody_knows() -> None:
    config = document()
    config["linux"]["namespaces"].append({"type": "user", "path": "/proc/1/ns/user"})
    assert owner(config) is None


@pytest.mark.parametrize(
    "namespaces", [[{"type": "mount"}], [{"type": "cgroup", "path": "/proc/1/ns/cgroup"}]]
)
def test_without_a_new_cgroup_namespace_it_stays(namespaces: list[Json]) -> None:
    assert owner(document(namespaces=namespaces)) is None


@pytest.mark.parametrize(
    "change", [{"options": ["ro"]}, {"source": "elsewhere"}, {"destination": "/mnt"}], ids=str
)
def test_without_a_writable_mount_of_it_it_stays(change: Json) -> None:
    config = document()
    config["mounts"][0] |= change
    assert owner(config) is None
