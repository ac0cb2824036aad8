"""A container with the host's processes and network looks at each process of ours, and gets into none.

It may be root, with the capabilities that a container usually has: what is ours is then out of its reach because our
processes have more, or cannot be dumped. Nor do we follow its paths through a process's root to where it may not go.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.bundle import Bundle
from devtools.processes import parent_of
from tests.integration.conftest import BundleMaker
from tests.support.detached import Detached
from tests.support.node_daemon import running_daemon
from tests.support.runtime import Runtime
from tests.support.shim import EventSink, RunningShim, Shim, running

LOOK = """
for pid; do
    cd /proc/$pid || echo "$pid is not in sight"
    for name in mem maps environ pagemap; do (: <$name) 2>/dev/null && echo "$pid $name opens"; done
    (: >mem) 2>/dev/null && echo "$pid mem opens for writing"
    for name in auxv io syscall personality stack; do
        test -n "$(head -c 1 $name 2>/dev/null)" && echo "$pid $name is read"
    done
    for name in root cwd map_files fdinfo; do
        test -n "$(ls -A $name/ 2>/dev/null)" && echo "$pid $name is listed"
    done
    for name in exe root cwd fd/0 fd/1 fd/2 fd/3 fd/4 fd/5 ns/mnt ns/net ns/user; do
        readlink $name && echo "$pid $name is followed"
    done
done
echo looked at $#
"""


@pytest.fixture
def pod(
    folder: Path,
    session_name: str,
    sink: EventSink,
    bundle: BundleMaker,
    container_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[RunningShim]:
    """A pod with a server of its own, forked from a daemon, its parent."""
    with running_daemon(folder, monkeypatch):
        shim = Shim("runwasi", session_name, sink)
        try:
            with running(shim, f"{container_id}-pod", bundle(["sleep", "1000"])) as task:
                task.run()
                yield task
        finally:
            shim.clean()


@pytest.mark.parametrize("uid", [0, 1000])
def test_our_processes_are_out_of_reach_of_a_container_with_the_hosts_namespaces(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, pod: RunningShim, uid: int
) -> None:
    waiting = Detached(runwasi, bundle(["true"]), f"{container_id}-waiting")
    waiting.create()
    pids = [str(pid) for pid in (pod.pid, parent_of(pod.pid), waiting.pid)]
    made = bundle(["sh", "-c", LOOK, "look", *pids])
    made.process["user"] = {"uid": uid, "gid": uid}
    made.linux["namespaces"] = [{"type": "mount"}]
    del made.config["hostname"]
    done = runwasi("run", "--bundle", made.write().path, container_id)
    assert done.stdout == f"looked at {len(pids)}\n"


@pytest.fixture
def among_hosts(bundle: BundleMaker, wasi_demo_app: bytes) -> Bundle:
    """A container that sees the host's processes, and has a module."""
    made = bundle(["pwd"], files={"/app.wasm": wasi_demo_app})
    made.linux["namespaces"] = [{"type": "mount"}]
    del made.config["hostname"]
    return made


@pytest.fixture
def outside(folder: Path) -> Path:
    """A folder of the host, as a path that leads there through the root of a process of the host."""
    (folder / "outside").mkdir()
    return Path(f"/proc/{os.getpid()}/root{folder}/outside")


def test_no_working_directory_is_made_in_the_root_of_a_process_of_the_host(
    runwasi: Runtime, among_hosts: Bundle, container_id: str, outside: Path
) -> None:
    (among_hosts.rootfs / "link").symlink_to(outside)
    for number, cwd in enumerate((f"{outside}/new/folder", "/link/new")):
        among_hosts.process["cwd"] = cwd
        done = runwasi("run", "--bundle", among_hosts.write().path, f"{container_id}-{number}", check=False)
        assert (
            f"chdir to cwd ('{cwd}') set in config.json failed: {cwd}: No such file or directory"
            in done.stderr
        )
    assert list(outside.iterdir()) == []


def test_no_program_begins_in_the_root_of_a_process_of_the_host(
    runwasi: Runtime, among_hosts: Bundle, container_id: str, outside: Path
) -> None:
    (among_hosts.rootfs / "link").symlink_to(outside)
    among_hosts.process["args"] = ["touch", "new"]
    for number, cwd in enumerate((str(outside), "/link")):
        among_hosts.process["cwd"] = cwd
        done = runwasi("run", "--bundle", among_hosts.write().path, f"{container_id}-{number}", check=False)
        assert f"cwd '{cwd}' is outside the container's root ($.process.cwd)" in done.stderr
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("name", ["app.wasm", "program"])
def test_no_program_or_module_is_found_in_the_root_of_a_process_of_the_host(
    runwasi: Runtime, among_hosts: Bundle, container_id: str, outside: Path, name: str
) -> None:
    (outside / name).write_text("of the host")
    (outside / name).chmod(0o755)
    among_hosts.process.update(args=[name, "echo", "of the container"], env=[f"PATH={outside}:/"])
    done = runwasi("run", "--bundle", among_hosts.write().path, container_id, check=False)
    assert "of the host" not in done.stderr
    if name == "app.wasm":
        assert done.stdout.startswith("of the container\n")
    else:
        assert f'exec: "{name}": permission denied' in done.stderr
