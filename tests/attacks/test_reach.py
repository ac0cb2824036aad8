"""A container with the host's processes and network looks at each process of ours, and gets into none.

It may be root, with the capabilities that a container usually has: what is ours is then out of its reach because our
processes have more, or cannot be dumped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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
