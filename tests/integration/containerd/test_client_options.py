"""Options of a task in the messages that clients of each release of containerd put them into."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from devtools.containerd import Containerd
from devtools.waiting import until
from runwasi.linux.cgroups.hierarchies import layout
from tests.integration.conftest import BUSYBOX_IMAGE
from tests.support.cgroups import cgroups_of
from tests.support.mode import OURS

MAPPED_FROM = 100_000


def test_no_pivot_is_understood(each_containerd: Containerd, shim: str, new_id: Callable[[], str]) -> None:
    done = each_containerd.ctr(
        "run", "--rm", "--no-pivot", "--runtime", shim, BUSYBOX_IMAGE, new_id(), "echo", "hello"
    )
    assert done.stdout == "hello\n"


def test_a_mapped_user_owns_its_streams(
    each_containerd: Containerd, shim: str, new_id: Callable[[], str]
) -> None:
    for folder in (each_containerd.folder, each_containerd.folder.parent):
        folder.chmod(0o711)  # runc looks for the root as the mapped user
    maps = (f"--{kind}map=0:{MAPPED_FROM}:65536" for kind in ("uid", "gid"))
    program = "cat /proc/self/uid_map; stat -L -c %u:%g /proc/self/fd/1; echo again > /proc/self/fd/1"
    done = each_containerd.ctr(
        "run", "--rm", *maps, "--runtime", shim, BUSYBOX_IMAGE, new_id(), "sh", "-c", program
    )
    uid_map, owner, again = done.stdout.splitlines()
    assert uid_map.split() == ["0", str(MAPPED_FROM), "65536"]
    assert (owner, again) == ("0:0", "again")


def test_a_file_of_options_names_the_cgroup_of_the_pods_server(
    each_containerd: Containerd, new_id: Callable[[], str], folder: Path
) -> None:
    container = new_id()
    directory = Path(layout().hierarchies[0].directory(f"/{container}"))
    directory.mkdir()
    options = folder / "options.toml"
    options.write_text(f'ShimCgroup = "/{container}"\n')
    run = ("run", "--detach", "--null-io", "--runtime", OURS, "--runtime-config-path", options)
    each_containerd.ctr(*run, BUSYBOX_IMAGE, container, "sleep", "100")
    try:
        server = int(Path(f"/proc/{each_containerd.pid_of(container)}/stat").read_text().split()[3])
        assert f":/{container}" in "".join(cgroups_of(server))
    finally:
        each_containerd.ctr("task", "delete", "--force", container)
        each_containerd.ctr("container", "delete", container)
        until((directory / "cgroup.procs").read_text, lambda pids: not pids)
        directory.rmdir()
