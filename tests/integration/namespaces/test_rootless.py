"""Containers of a user without privileges."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devtools.bundle import make_bundle
from devtools.folders import remove_folder
from tests.support.detached import wait_for_exit
from tests.support.prober import LAST, prober_module, reached
from tests.support.runtime import PROGRAMS

Json = Any

_USER = 12345
_FIRST_SUBORDINATE = 300_000
_WITH_RANGES = """
mount --bind "$0/subid" /etc/subuid
mount --bind "$0/subid" /etc/subgid
mount --bind "$0/passwd" /etc/passwd
exec "$@"
"""


class User:
    """A user without privileges, with a home that holds bundles and state.

    With ranges it has a name and subordinate ids: files of /etc that say so, in a mount namespace of each command.
    """

    def __init__(self, home: Path, *, ranges: bool = False) -> None:
        self.home = home
        self._ranges = ranges
        if ranges:
            (home / "subid").write_text(f"{_USER}:{_FIRST_SUBORDINATE}:70000\n")
            (home / "passwd").write_text(
                Path("/etc/passwd").read_text() + f"someone:x:{_USER}:{_USER}::/:/bin/sh\n"
            )

    def command(self, *words: str | Path, runtime_dir: bool = True, path: str = "") -> list[str]:
        """A command line of ours as this user; path in place of our PATH."""
        environment = [f"XDG_RUNTIME_DIR={self.home}/run"] if runtime_dir else ["-u", "XDG_RUNTIME_DIR"]
        environment += [f"PATH={path}"] if path else []
        switch = ["setpriv", "--reuid", str(_USER), "--regid", str(_USER), "--clear-groups"]
        command = [*switch, "env", *environment, str(PROGRAMS["runwasi"]), *map(str, words)]
        if self._ranges:
            command[:0] = [
                "unshare",
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-ec",
                _WITH_RANGES,
                str(self.home),
            ]
        return command

    def __call__(
        self, *words: str | Path, check: bool = True, runtime_dir: bool = True, path: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run one command of ours as this user."""
        command = self.command(*words, runtime_dir=runtime_dir, path=path)
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}: {done.returncode}\n{done.stderr}")
        return done

    def bundle(self, *arguments: str, files: dict[str, bytes] | None = None) -> Path:
        """Make a bundle of this user's that runs arguments, configured by `spec --rootless`."""
        path = self.home / "bundle"
        make_bundle(path, arguments, files=files)
        (path / "config.json").unlink()
        for entry in (path, *path.rglob("*")):
            os.chown(entry, _USER, _USER, follow_symlinks=False)
        self("spec", "--rootless", "--bundle", path, *arguments)
        config = json.loads((path / "config.json").read_text())
        config["process"]["terminal"] = False
        (path / "config.json").write_text(json.dumps(config))
        return path

    def run_in_background(self, path: Path, container_id: str) -> int:
        """Start a container that goes on; returns its pid."""
        command = self.command("run", "--detach", "--bundle", path, container_id)
        null = subprocess.DEVNULL
        subprocess.run(command, stdin=null, stdout=null, stderr=null, check=True)
        return int(json.loads(self("state", container_id).stdout)["pid"])


def edit(path: Path, change: Callable[[Json], object]) -> None:
    """Change a bundle's config.json."""
    config = json.loads((path / "config.json").read_text())
    change(config)
    (path / "config.json").write_text(json.dumps(config))


def map_range(config: Json, first: int = _FIRST_SUBORDINATE) -> None:
    """Map the user to root, and 65536 subordinate ids to those that follow."""
    for kind in ("uidMappings", "gidMappings"):
        config["linux"][kind] = [
            {"containerID": 0, "hostID": _USER, "size": 1},
            {"containerID": 1, "hostID": first, "size": 65_536},
        ]


@pytest.fixture
def home(session_name: str) -> Iterator[Path]:
    """The home of a user without privileges."""
    home = Path(tempfile.mkdtemp(prefix=f"{session_name}-home-"))
    (home / "run").mkdir()
    for path in (home, home / "run"):
        os.chown(path, _USER, _USER)
    yield home
    remove_folder(home)


@pytest.fixture
def user(home: Path) -> User:
    """A user without privileges."""
    return User(home)


@pytest.fixture
def ranged(home: Path) -> User:
    """One with subordinate ids."""
    return User(home, ranges=True)


@pytest.fixture(scope="module")
def prober(session_folder: Path) -> bytes:
    """A module that looks for processes."""
    return prober_module(session_folder).read_bytes()


def test_a_user_is_root_in_their_own_container(user: User, container_id: str) -> None:
    path = user.bundle("sh", "-c", "id -u; cat /proc/self/uid_map; exit 4")
    done = user("run", "--bundle", path, container_id, check=False)
    assert done.returncode == 4
    assert done.stdout.split() == ["0", "0", str(_USER), "1"]
    assert user("list", "-q").stdout == ""


def test_a_users_container_lives_through_every_command(user: User, container_id: str) -> None:
    path = user.bundle("sleep", "100")
    user.run_in_background(path, container_id)
    state = json.loads(user("state", container_id).stdout)
    assert (state["status"], state["owner"]) == ("running", f"#{_USER}")
    assert user("exec", container_id, "hostname").stdout == "runwasi\n"
    user("kill", container_id, "KILL")
    wait_for_exit(state["pid"])
    user("delete", container_id)
    assert user("list", "-q").stdout == ""


def test_a_module_finds_no_process_in_proc(user: User, new_id: Callable[[], str], prober: bytes) -> None:
    look = ["/prober.wasm", LAST, "/proc", "/dev"]
    path = user.bundle(*look, files={"/prober.wasm": prober})
    assert reached(user("run", "--bundle", path, new_id()).stdout) == []
    edit(path, lambda config: config["process"].update(args=["sleep", "100"]))
    container_id = new_id()
    pid = user.run_in_background(path, container_id)
    assert reached(user("exec", container_id, *look).stdout) == []
    user("kill", container_id, "KILL")
    wait_for_exit(pid)
    user("delete", container_id)


def test_a_module_needs_no_privileges(user: User, container_id: str, wasi_demo_app: bytes) -> None:
    path = user.bundle("/demo.wasm", "echo", "hello", files={"/demo.wasm": wasi_demo_app})
    assert "hello" in user("run", "--bundle", path, container_id).stdout


def test_root_of_a_users_namespace_may_use_their_own_runtime(user: User, container_id: str) -> None:
    """As rootless Podman calls a runtime: uid 0, but not the host's."""
    path = user.bundle("sh", "-c", "id -u; exit 6")
    config = json.loads((path / "config.json").read_text())
    for name in ("uidMappings", "gidMappings"):
        config["linux"][name][0]["hostID"] = 0
    (path / "config.json").write_text(json.dumps(config))
    command = user.command("run", "--bundle", path, container_id)
    command[6:6] = ["unshare", "--user", "--map-root-user", "--mount"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (6, "0\n"), done.stderr
    assert (user.home / "run/runwasi").is_dir()


def test_a_configuration_for_root_is_refused_with_the_remedy(user: User, container_id: str) -> None:
    path = user.bundle("true")
    config = json.loads((path / "config.json").read_text())
    config["linux"]["namespaces"] = [item for item in config["linux"]["namespaces"] if item["type"] != "user"]
    del config["linux"]["uidMappings"], config["linux"]["gidMappings"]
    (path / "config.json").write_text(json.dumps(config))
    refused = user("run", "--bundle", path, container_id, check=False)
    assert refused.returncode == 1
    assert "rootless container requires a user namespace ($.linux.namespaces)" in refused.stderr
    assert "runwasi spec --rootless" in refused.stderr


def test_a_container_that_cannot_hold_its_processes_is_warned_of(user: User, container_id: str) -> None:
    path = user.bundle("true")

    def share_processes(config: Json) -> None:
        config["linux"]["namespaces"].remove({"type": "pid"})
        config["mounts"][0] = {"destination": "/proc", "source": "/proc", "options": ["rbind"]}

    assert user("run", "--bundle", path, container_id).stderr == ""
    edit(path, share_processes)
    assert "without a cgroup and a pid namespace" in user("run", "--bundle", path, container_id).stderr


def test_a_user_sees_the_cgroups_and_cannot_write_them(user: User, container_id: str) -> None:
    lines = user("run", "--bundle", user.bundle("cat", "/proc/self/mounts"), container_id).stdout.splitlines()
    options = {line.split()[1]: line.split()[3].split(",") for line in lines}  # the last one is what is seen
    cgroups = [found for point, found in options.items() if point.startswith("/sys/fs/cgroup")]
    assert cgroups
    assert all("ro" in found for found in cgroups)


def test_a_user_may_set_the_clocks_of_their_container(user: User, container_id: str) -> None:
    path = user.bundle("cat", "/proc/self/timens_offsets", "/proc/uptime")
    offsets = {"monotonic": {"secs": 5}, "boottime": {"secs": 1_000_000, "nanosecs": 7}}

    def set_clocks(config: Json) -> None:
        config["linux"]["namespaces"].append({"type": "time"})
        config["linux"]["timeOffsets"] = offsets

    edit(path, set_clocks)
    told = user("run", "--bundle", path, container_id).stdout.split()
    assert told[:6] == ["monotonic", "5", "0", "boottime", "1000000", "7"]
    assert float(told[6]) > 1_000_000


def test_without_a_folder_for_state_it_says_which_one(user: User, container_id: str) -> None:
    path = user.bundle("true")
    refused = user("run", "--bundle", path, container_id, check=False, runtime_dir=False)
    assert refused.returncode == 1
    assert "state root /run/runwasi: Permission denied" in refused.stderr


def test_subordinate_ids_are_mapped_by_the_helpers(ranged: User, container_id: str) -> None:
    path = ranged.bundle("sh", "-c", "id; cat /proc/self/uid_map /proc/self/setgroups; touch /tmp/made")
    (path / "rootfs/tmp").chmod(0o1777)

    def as_another_user(config: Json) -> None:
        map_range(config)
        config["process"]["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [5, 2000]}
        config["root"]["readonly"] = False

    edit(path, as_another_user)
    lines = ranged("run", "--bundle", path, container_id).stdout.splitlines()
    assert lines[0] == "uid=1000 gid=1000 groups=5,2000"
    assert [line.split() for line in lines[1:3]] == [["0", str(_USER), "1"], ["1", "300000", "65536"]]
    assert lines[3] == "allow"
    made = (path / "rootfs/tmp/made").stat()
    assert (made.st_uid, made.st_gid) == (300_999, 300_999)


def test_a_container_of_subordinate_ids_lives_through_every_command(ranged: User, container_id: str) -> None:
    path = ranged.bundle("sh", "-c", "sleep 100 & exec sleep 200")
    edit(path, map_range)
    pid = ranged.run_in_background(path, container_id)
    assert container_id in ranged("list").stdout
    own = ranged("exec", "--user", "7:8", "--cwd", "/tmp", container_id, "sh", "-c", "id -u; id -g; pwd")
    assert own.stdout.split() == ["7", "8", "/tmp"]
    assert ranged("ps", container_id).stdout.count("sleep") == 2
    ranged("kill", "--all", container_id, "KILL")
    wait_for_exit(pid)
    ranged("delete", container_id)
    assert ranged("list", "-q").stdout == ""
    assert ranged("delete", container_id, check=False).returncode == 1


@pytest.mark.parametrize(
    ("first", "path", "message"),
    [
        (900_000, "", "newuidmap: uid range [1-65537) -> [900000-965536) not allowed ($.linux.uidMappings)"),
        (
            _FIRST_SUBORDINATE,
            "/nowhere",
            "newuidmap: not found; it comes with the package uidmap or shadow-utils ($.linux.uidMappings)",
        ),
    ],
    ids=["outside", "no helper"],
)
def test_ranges_that_the_helpers_refuse_are_reported(
    ranged: User, container_id: str, first: int, path: str, message: str
) -> None:
    bundle = ranged.bundle("true")
    edit(bundle, lambda config: map_range(config, first))
    refused = ranged("run", "--bundle", bundle, container_id, check=False, path=path)
    assert refused.returncode == 1
    assert refused.stderr == f"runwasi: run {container_id}: {message}\n"
    assert ranged("list", "-q").stdout == ""


def test_a_user_without_subordinate_ids_is_told_so(user: User, container_id: str) -> None:
    path = user.bundle("true")
    edit(path, map_range)
    refused = user("run", "--bundle", path, container_id, check=False)
    assert refused.returncode == 1
    assert "newuidmap: " in refused.stderr
    assert "($.linux.uidMappings)" in refused.stderr


@pytest.mark.parametrize("value", ["true", "auto", "false"])
def test_the_option_decides_whether_cgroups_may_be_missing(user: User, container_id: str, value: str) -> None:
    path = user.bundle("echo", "ran")
    done = user("--rootless", value, "run", "--bundle", path, container_id, check=False)
    if value == "false":
        assert done.returncode == 1
        assert f"/{container_id}: Permission denied" in done.stderr
    else:
        assert done.stdout == "ran\n"


def test_a_cgroup_that_is_asked_for_cannot_be_missing(user: User, container_id: str) -> None:
    path = user.bundle("true")
    edit(path, lambda config: config["linux"].update(cgroupsPath=f"/{container_id}"))
    refused = user("run", "--bundle", path, container_id, check=False)
    assert refused.returncode == 1
    assert "unable to apply cgroup configuration: " in refused.stderr
    assert "permission denied ($.linux.cgroupsPath)" in refused.stderr


def test_a_limit_without_a_cgroup_for_it_is_refused(user: User, container_id: str) -> None:
    path = user.bundle("true")
    edit(path, lambda config: config["linux"].update(resources={"pids": {"limit": 10}}))
    refused = user("run", "--bundle", path, container_id, check=False)
    assert refused.returncode == 1
    assert "$.linux.resources.pids" in refused.stderr


def test_a_sysfs_of_its_own_becomes_the_hosts_without_a_network_namespace(
    user: User, container_id: str
) -> None:
    path = user.bundle("sh", "-c", "ls /sys; touch /sys/x")

    def mount_sysfs(config: Json) -> None:
        config["mounts"] = [item for item in config["mounts"] if item["destination"] != "/sys"]
        config["mounts"].append(
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]}
        )

    edit(path, mount_sysfs)
    done = user("run", "--bundle", path, container_id, check=False)
    assert "kernel" in done.stdout.split()
    assert "Read-only file system" in done.stderr


@pytest.mark.parametrize(
    ("kind", "member"),
    [("pid", "$.linux.namespaces[0].path"), ("net", "$.linux.namespaces[0].path")],
)
def test_another_users_namespace_cannot_be_joined(
    user: User, container_id: str, kind: str, member: str
) -> None:
    path = user.bundle("true")
    name = {"net": "network"}.get(kind, kind)

    def join(config: Json) -> None:
        kinds = [item for item in config["linux"]["namespaces"] if item["type"] != name]
        config["linux"]["namespaces"] = [{"type": name, "path": f"/proc/1/ns/{kind}"}, *kinds]

    edit(path, join)
    refused = user("run", "--bundle", path, container_id, check=False)
    assert refused.returncode == 1
    assert f"/proc/1/ns/{kind}: Permission denied ({member})" in refused.stderr


def test_groups_that_a_single_id_rules_out_are_refused(user: User, container_id: str) -> None:
    path = user.bundle("true")
    edit(path, lambda config: config["process"]["user"].update(additionalGids=[0]))
    refused = user("run", "--bundle", path, container_id, check=False)
    assert "the user namespace denies setgroups" in refused.stderr
    assert "($.process.user.additionalGids)" in refused.stderr


def test_exec_beside_a_module_is_refused_to_a_user(
    user: User, container_id: str, wasi_demo_app: bytes
) -> None:
    """The runtime's process is closed to the container, and so to its user as well."""
    path = user.bundle("/demo.wasm", "sleep", "100", files={"/demo.wasm": wasi_demo_app})
    pid = user.run_in_background(path, container_id)
    refused = user("exec", container_id, "id", check=False)
    assert refused.returncode == 255
    assert "where that runs a module, exec takes the host's root" in refused.stderr
    user("delete", "--force", container_id)
    wait_for_exit(pid)
