"""Namespaces, id maps and what is set inside them, on the real kernel."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from runwasi.linux import capabilities, keyring, network, rlimits, uts
from runwasi.linux.capabilities import CAPABILITIES, CapSets
from runwasi.linux.idmap import IdMap, user_namespace_for, write_maps
from runwasi.linux.mount_fds import (
    MOUNT_ATTR_NODEV,
    map_owners,
    move_mount,
    new_mount,
    open_tree,
)
from runwasi.linux.mounts import MS_BIND, mount, mounted_below
from runwasi.linux.namespaces import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    FLAGS,
    entered,
    open_namespace,
    unshare,
)
from runwasi.linux.processes import fork_into, reap, set_dumpable
from tests.support.id_mapped import mappable_folder
from tests.support.in_namespaces import MAPPED_FROM, run_in
from tests.support.root_steps import mount_table

pytestmark = pytest.mark.cgroup_v2


def test_one_fork_makes_every_namespace_and_a_direct_child() -> None:
    here = {
        kind: os.readlink(f"/proc/self/ns/{kind}") for kind in ("ipc", "mnt", "net", "pid", "user", "uts")
    }
    flags = CLONE_NEWIPC | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWUSER | CLONE_NEWUTS

    def look() -> tuple[int, list[str]]:
        return os.getpid(), [kind for kind in here if os.readlink(f"/proc/self/ns/{kind}") == here[kind]]

    assert run_in(flags, look) == (1, [])


def test_a_limit_on_namespaces_is_not_told_as_a_full_disk() -> None:
    def exceed() -> str:
        Path("/proc/sys/user/max_uts_namespaces").write_text("0")  # of this user namespace
        try:
            unshare(CLONE_NEWUTS)
        except OSError as error:
            return str(error.strerror)
        return "made"

    # The new user namespace is what has limits of its own.
    assert run_in(CLONE_NEWUSER, exceed) == "the limit is reached (/proc/sys/user/max_*_namespaces)"


def test_a_kind_of_namespace_that_the_kernel_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = 1 << 3  # no CLONE_NEW* flag
    monkeypatch.setitem(FLAGS, "novel", unknown)
    with pytest.raises(OSError, match="this kernel does not have it: 'a new novel namespace'"):
        unshare(unknown)


def test_an_opened_namespace_is_of_the_kind_asked(folder: Path) -> None:
    os.close(open_namespace("/proc/self/ns/net", "net"))
    (folder / "file").touch()
    for path in ("/proc/self/ns/net", str(folder / "file")):
        with pytest.raises(OSError, match="not a mnt namespace"):
            open_namespace(path, "mnt")


def test_a_namespace_is_entered_for_a_while() -> None:
    here = os.readlink("/proc/self/ns/net")

    def elsewhere() -> tuple[str, str, str]:
        before = open_namespace("/proc/self/ns/net", "net")
        unshare(CLONE_NEWNET)
        new = os.readlink("/proc/self/ns/net")
        with entered(before, "net"):
            inside = os.readlink("/proc/self/ns/net")
        return inside, new, os.readlink("/proc/self/ns/net")

    inside, new, after = run_in(0, elsewhere)
    assert inside == here
    assert new == after != here


def test_names_are_the_namespaces_own() -> None:
    def named() -> tuple[str, str]:
        uts.set_hostname("inside")
        uts.set_domainname("domain")
        return os.uname().nodename, Path("/proc/sys/kernel/domainname").read_text().strip()

    assert run_in(CLONE_NEWUTS, named) == ("inside", "domain")
    assert os.uname().nodename != "inside"


def test_the_loopback_comes_up() -> None:
    def answer() -> int:
        network.loopback_up()
        network.loopback_up()  # again is fine
        command = ["ip", "-o", "link", "show", "up", "lo"]
        return subprocess.run(command, check=True, capture_output=True).stdout.count(b"lo:")

    assert run_in(CLONE_NEWNET, answer) == 1


def test_a_new_session_keyring_is_not_the_callers() -> None:
    def joined() -> tuple[int, bool]:
        serial = keyring.join_session_keyring("_ses.test")
        return serial, f"{serial:08x}" in Path("/proc/keys").read_text()

    serial, listed = run_in(0, joined)
    assert serial > 0
    assert listed


def test_a_rootless_caller_maps_itself_alone_and_its_subordinates_by_the_helpers() -> None:
    # nobody has no subordinate ids: newuidmap refuses and says so.
    def as_nobody() -> tuple[str, str]:
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        set_dumpable(True)  # a change of user clears it, and then /proc/PID is root's
        own = [IdMap(0, 65534, 1)]
        maps, refusal = "", ""
        for wanted in (own, [IdMap(0, 65534, 1), IdMap(1, 200_000, 10)]):
            ready, go = os.pipe()
            child = fork_into(CLONE_NEWUSER)
            if child is None:
                os.close(go)
                os.read(ready, 1)
                os._exit(0)
            os.close(ready)
            try:
                write_maps(child.pid, wanted, wanted, rootless=True)
                maps = Path(f"/proc/{child.pid}/uid_map").read_text()
                assert Path(f"/proc/{child.pid}/setgroups").read_text().strip() == "deny"
            except PermissionError as error:
                refusal = f"{error.filename}: {error.strerror}"
            os.close(go)
            reap(child.pidfd)
        return " ".join(maps.split()), refusal

    maps, refusal = run_in(0, as_nobody)
    assert maps == "0 65534 1"
    assert refusal.startswith("newuidmap: ")


def test_capabilities_are_exactly_those_asked() -> None:
    kill, chown = (1 << CAPABILITIES[name] for name in ("CAP_KILL", "CAP_CHOWN"))
    wanted = CapSets(
        effective=kill, permitted=kill | chown, inheritable=chown, bounding=kill | chown, ambient=chown
    )

    def limited() -> CapSets:
        capabilities.apply_bounding(wanted.bounding)
        capabilities.apply(wanted)
        return capabilities.current()

    assert run_in(0, limited) == wanted


def test_an_ambient_capability_must_be_inheritable() -> None:
    kill = 1 << CAPABILITIES["CAP_KILL"]
    with pytest.raises(PermissionError, match="PR_CAP_AMBIENT_RAISE"):
        run_in(0, lambda: capabilities.apply(CapSets(kill, kill, 0, kill, kill)))


def test_the_last_capability_is_the_kernels() -> None:
    assert capabilities.last_cap() == int(Path("/proc/sys/kernel/cap_last_cap").read_text())


def test_limits_are_set_and_read_in_full_width() -> None:
    def limited() -> tuple[int, int]:
        rlimits.set_rlimit("RLIMIT_CORE", 5, 1 << 40)
        return rlimits.get_rlimit("RLIMIT_CORE")

    assert run_in(0, limited) == (5, 1 << 40)
    with pytest.raises(OSError, match="prlimit RLIMIT_NOFILE"):
        run_in(0, lambda: rlimits.set_rlimit("RLIMIT_NOFILE", 10, 5))


def test_a_detached_mount_has_its_attributes_before_it_is_seen(folder: Path) -> None:
    def mounted() -> set[str]:
        tree = new_mount("tmpfs", "tmpfs", ("size=1m",), MOUNT_ATTR_NODEV)
        assert str(folder) not in mount_table()
        target = os.open(folder, os.O_PATH)
        move_mount(tree, target)
        return mount_table()[str(folder)].options

    assert run_in(CLONE_NEWNS, mounted, private=True) == {"rw", "nodev", "relatime"}


def test_a_filesystem_says_what_it_dislikes() -> None:
    with pytest.raises(OSError, match=r"Unknown parameter 'colour'.*set option colour"):
        new_mount("tmpfs", "tmpfs", ("colour=red",))


def test_a_mount_maps_ids_by_a_namespace_of_its_own(folder: Path) -> None:
    mapping = [IdMap(0, MAPPED_FROM, 10)]
    userns = user_namespace_for(mapping, mapping)
    with mappable_folder(folder):
        tree = open_tree(str(folder))
        try:
            map_owners(tree, userns)
            assert os.stat(".", dir_fd=tree).st_uid == MAPPED_FROM
        finally:
            os.close(tree)
            os.close(userns)


def test_mounts_below_a_path_with_blanks_are_found_in_the_order_to_unmount(folder: Path) -> None:
    place = folder / "a b"
    (place / "below").mkdir(parents=True)

    def mounted() -> list[str]:
        mount(str(place), str(place), None, MS_BIND)
        mount("tmpfs", str(place / "below"), "tmpfs")
        return mounted_below(str(place))

    assert run_in(CLONE_NEWNS, mounted, private=True) == [str(place / "below"), str(place)]
