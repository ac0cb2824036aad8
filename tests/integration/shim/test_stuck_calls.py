"""If a container or an operator's program is stuck, only the call that needs it waits.

Every test has two containers in one server: one that does not get on, and one whose calls are answered all the while.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devtools.bundle import Bundle
from devtools.ttrpc import CallError
from devtools.waiting import until
from runwasi.linux import processes
from runwasi.linux.cgroups import cgroup_at
from runwasi.linux.waiting import finish
from runwasi.shim.server import codes
from runwasi.wire.messages import task_types
from runwasi.wire.messages.well_known import Any as Packed
from tests.integration.conftest import BundleMaker
from tests.support.cgroups import removed_after
from tests.support.detached import descendants, wait_for_exit
from tests.support.hooks import sleeping_hook
from tests.support.hung_mount import HungMount, shared_folder
from tests.support.shim import EventSink, RunningShim, Shim, running
from tests.support.stalled_mount import FLUSH, WRITE, StalledMount
from tests.support.wasm import large_module

SLEEP = ["sleep", "1000"]


def process(*arguments: str) -> Packed:
    document = {
        "args": list(arguments),
        "cwd": "/",
        "env": ["PATH=/bin", "HOME=/"],
        "user": {"uid": 0, "gid": 0},
    }
    return Packed(value=json.dumps(document).encode())


class Pod:
    """A server with a container that runs, beside which another one gets stuck."""

    def __init__(self, task: RunningShim, other_id: str, sink: EventSink) -> None:
        self.healthy = task
        self.init = task.run()
        self.tasks = task.tasks
        self.other = other_id
        self.sink = sink
        self._numbers = iter(range(1000))

    def begin(self, method: str, **members: object) -> int:
        """Send a call about the stuck container."""
        return self.tasks.begin(method, **{"id": self.other, **members})  # type: ignore[arg-type]

    def call(self, method: str, **members: object) -> Any:
        """Make a call about the stuck container."""
        return self.tasks.call(method, **{"id": self.other, **members})  # type: ignore[arg-type]

    def create(self, made: Bundle, **members: object) -> int:
        """Create the other container, to its end."""
        pid: int = self.call("Create", bundle=str(made.path), **members).pid
        return pid

    def answers(self) -> None:
        """Have each of the healthy container's calls answered."""
        exec_id = f"look{next(self._numbers)}"
        assert self.healthy.call("State").status == task_types.RUNNING
        assert self.healthy.call("Stats").stats is not None
        assert len(self.healthy.call("Pids").processes) >= 1
        self.healthy.call("Exec", exec_id=exec_id, spec=process("true"))
        self.healthy.call("Start", exec_id=exec_id)
        assert self.healthy.call("Wait", exec_id=exec_id).exit_status == 0
        self.healthy.call("Delete", exec_id=exec_id)

    def is_stuck(self, method: str, stream: int) -> None:
        """Assert that a call has no answer yet."""
        self.answers()
        assert not self.tasks.peer.has_answer(stream), self.tasks.collect(method, stream)


@pytest.fixture
def pod(our_shim: Shim, bundle: BundleMaker, new_id: Callable[[], str], sink: EventSink) -> Iterator[Pod]:
    with running(our_shim, new_id(), bundle(SLEEP)) as task:
        made = Pod(task, new_id(), sink)
        yield made
        for method, members in (("Kill", {"signal": 9}), ("Wait", {}), ("Delete", {})):
            try:
                made.call(method, **members)
            except CallError:
                continue


@pytest.fixture
def hung(folder: Path) -> Iterator[HungMount]:
    with HungMount(folder / "hung") as mount:
        yield mount


def bound(made: Bundle, source: Path) -> Bundle:
    """Show a folder of the host at /hung."""
    made.config["mounts"].append(
        {"destination": "/hung", "type": "bind", "source": str(source), "options": ["rbind"]}
    )
    return made.write()


# create


@pytest.mark.parametrize("kind", ["prestart", "createRuntime"])
def test_a_hook_that_does_not_end_holds_only_its_create(
    pod: Pod, bundle: BundleMaker, folder: Path, kind: str
) -> None:
    made = bundle(SLEEP)
    pid_of_hook = sleeping_hook(folder, kind, made)
    creating = pod.begin("Create", bundle=str(made.path))
    hook = pid_of_hook()
    pod.is_stuck("Create", creating)
    with pytest.raises(CallError, match="not found"):
        pod.call("State")
    assert pod.call("Delete").exit_status == 137
    with pytest.raises(CallError, match="was deleted before it was created"):
        pod.tasks.collect("Create", creating)
    wait_for_exit(hook)
    pod.answers()


def test_kill_gives_up_a_create_as_well(pod: Pod, bundle: BundleMaker, folder: Path) -> None:
    made = bundle(SLEEP)
    pid_of_hook = sleeping_hook(folder, "createRuntime", made)
    creating = pod.begin("Create", bundle=str(made.path))
    hook = pid_of_hook()
    pod.call("Kill", signal=15)
    with pytest.raises(CallError, match="was killed before it was created"):
        pod.tasks.collect("Create", creating)
    wait_for_exit(hook)
    pod.create(bundle(SLEEP))  # the id is free again


def test_a_clients_deadline_ends_what_it_asked_for(pod: Pod, bundle: BundleMaker, folder: Path) -> None:
    made = bundle(SLEEP)
    pid_of_hook = sleeping_hook(folder, "createRuntime", made)
    creating = pod.begin("Create", bundle=str(made.path), timeout_nano=2_000_000_000)
    hook = pid_of_hook()
    with pytest.raises(CallError) as caught:
        pod.tasks.collect("Create", creating)
    assert caught.value.code == codes.DEADLINE_EXCEEDED
    wait_for_exit(hook)
    until(lambda: os.path.exists(f"{made.path}/init.pid"), lambda there: not there)


def test_a_mount_that_hangs_holds_only_its_create(
    pod: Pod, bundle: BundleMaker, hung: HungMount, folder: Path
) -> None:
    made = bound(bundle(SLEEP), folder / "hung")
    creating = pod.begin("Create", bundle=str(made.path))
    pod.is_stuck("Create", creating)
    assert pod.call("Delete").exit_status == 137
    with pytest.raises(CallError):
        pod.tasks.collect("Create", creating)
    pod.answers()


def test_a_logger_that_does_not_begin_holds_only_its_create(
    pod: Pod, bundle: BundleMaker, hung: HungMount, folder: Path
) -> None:
    creating = pod.begin("Create", bundle=str(bundle(SLEEP).path), stdout=f"binary://{folder}/hung/logger")
    pod.is_stuck("Create", creating)
    pod.call("Delete")
    with pytest.raises(CallError):
        pod.tasks.collect("Create", creating)


def test_a_rootfs_whose_layer_hangs_holds_only_its_create(
    pod: Pod, bundle: BundleMaker, hung: HungMount, folder: Path
) -> None:
    from runwasi.wire.messages.types import Mount

    made = bundle(SLEEP)
    for name in ("upper", "work"):
        (folder / name).mkdir()
    options = [f"lowerdir={folder}/hung/layer", f"upperdir={folder}/upper", f"workdir={folder}/work"]
    rootfs = [Mount(type="overlay", source="overlay", options=options)]
    creating = pod.begin("Create", bundle=str(made.path), rootfs=rootfs)
    pod.is_stuck("Create", creating)
    pod.call("Delete")
    with pytest.raises(CallError):
        pod.tasks.collect("Create", creating)


def test_a_bundle_that_hangs_holds_only_its_create(pod: Pod, hung: HungMount, folder: Path) -> None:
    given_up_while_stuck(pod, bundle=f"{folder}/hung/bundle")


def given_up_while_stuck(pod: Pod, **members: object) -> None:
    creating = pod.begin("Create", **members)
    pod.is_stuck("Create", creating)
    pod.call("Delete")
    with pytest.raises(CallError, match="was deleted before it was created"):
        pod.tasks.collect("Create", creating)


def test_a_rootfs_that_hangs_holds_only_its_create(
    pod: Pod, bundle: BundleMaker, hung: HungMount, folder: Path
) -> None:
    made = bundle(SLEEP)
    made.config["root"]["path"] = f"{folder}/hung/rootfs"
    given_up_while_stuck(pod, bundle=str(made.write().path))


@pytest.mark.parametrize("scheme", ["file://", ""])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_an_output_file_that_hangs_holds_only_its_create(
    pod: Pod, bundle: BundleMaker, hung: HungMount, folder: Path, stream: str, scheme: str
) -> None:
    given_up_while_stuck(pod, bundle=str(bundle(SLEEP).path), **{stream: f"{scheme}{folder}/hung/log"})


@pytest.mark.parametrize("terminal", [False, True])
def test_an_input_that_hangs_holds_only_its_create(
    pod: Pod, bundle: BundleMaker, hung: HungMount, folder: Path, terminal: bool
) -> None:
    made = bundle(SLEEP)
    given_up_while_stuck(pod, bundle=str(made.path), stdin=f"{folder}/hung/in", terminal=terminal)


def test_an_output_file_that_cannot_be_closed_holds_only_its_create(
    pod: Pod, bundle: BundleMaker, folder: Path
) -> None:
    with StalledMount(folder / "stalled", FLUSH):
        creating = pod.begin("Create", bundle=str(bundle(SLEEP).path), stdout=f"file://{folder}/stalled/log")
        pod.is_stuck("Create", creating)
    with pytest.raises(CallError, match="Transport endpoint is not connected"):
        pod.tasks.collect("Create", creating)
    pod.answers()


# start


def test_a_terminal_whose_file_takes_nothing_holds_nobody(
    pod: Pod, bundle: BundleMaker, folder: Path
) -> None:
    made = bundle(["yes"])
    made.process["terminal"] = True
    with StalledMount(folder / "stalled", WRITE):
        pod.create(made.write(), terminal=True, stdout=f"file://{folder}/stalled/log")
        pod.call("Start")
        pod.answers()
        pod.call("Kill", signal=9)
        assert pod.call("Wait").exit_status == 137
        pod.call("Delete")
        pod.answers()


@pytest.mark.parametrize("kind", ["startContainer", "poststart"])
def test_a_hook_that_does_not_end_holds_only_its_start(
    pod: Pod, bundle: BundleMaker, folder: Path, kind: str
) -> None:
    made = bundle(SLEEP)
    if kind == "startContainer":
        made.config["hooks"] = {kind: [{"path": "/bin/sleep", "args": ["sleep", "1000"]}]}
        made.write()
    else:
        pid_of_hook = sleeping_hook(folder, kind, made)
    pod.create(made)
    starting = pod.begin("Start")
    if kind == "poststart":
        hook = pid_of_hook()
    pod.is_stuck("Start", starting)
    assert pod.call("State").status == task_types.CREATED
    with pytest.raises(CallError, match="a second time"):
        pod.call("Start")
    waiting = pod.begin("Wait")
    assert pod.call("Delete").exit_status == 137
    assert pod.tasks.collect("Wait", waiting).exit_status == 137
    with pytest.raises(CallError):
        pod.tasks.collect("Start", starting)
    if kind == "poststart":
        wait_for_exit(hook)
    pod.answers()


def test_a_delete_says_how_the_init_ended_before_the_hook_of_its_start_has(
    pod: Pod, bundle: BundleMaker, folder: Path, new_id: Callable[[], str]
) -> None:
    made = bundle(SLEEP)
    pid_of_hook = sleeping_hook(folder, "poststart", made)
    pod.create(made)
    starting = pod.begin("Start")
    hook = pid_of_hook()
    with removed_after(cgroup_at(f"/{new_id()}")) as cgroup:
        cgroup.enter(hook)
        finish(cgroup.freeze())  # on version 1, even SIGKILL waits for the thaw
        waiting = pod.begin("Wait")
        assert pod.call("Delete").exit_status == 137
        assert pod.tasks.collect("Wait", waiting).exit_status == 137
        cgroup.thaw()
    with pytest.raises(CallError):
        pod.tasks.collect("Start", starting)
    wait_for_exit(hook)


def test_a_container_killed_on_its_way_to_its_program_has_ended(pod: Pod, bundle: BundleMaker) -> None:
    made = bundle(SLEEP)
    made.config["hooks"] = {"startContainer": [{"path": "/bin/sleep", "args": ["sleep", "1000"]}]}
    pod.create(made.write())
    starting = pod.begin("Start")
    pod.is_stuck("Start", starting)
    pod.call("Kill", signal=9)
    assert pod.call("Wait").exit_status == 137
    assert pod.call("Delete").exit_status == 137


# exec


class Exec:
    """An exec in the healthy container of a pod."""

    def __init__(self, pod: Pod, exec_id: str, *command: str) -> None:
        self._pod = pod
        self._id = exec_id
        self.call("Exec", spec=process(*command))
        self._stream = pod.tasks.begin("Start", id=pod.healthy.id, exec_id=exec_id)

    def call(self, method: str, **members: object) -> Any:
        return self._pod.healthy.call(method, exec_id=self._id, **members)

    def is_stuck(self) -> None:
        self._pod.is_stuck("Start", self._stream)

    def started(self) -> Any:
        return self._pod.tasks.collect("Start", self._stream)


@pytest.fixture
def later_hung(
    our_shim: Shim, bundle: BundleMaker, new_id: Callable[[], str], sink: EventSink, folder: Path
) -> Iterator[tuple[Pod, HungMount]]:
    """A pod whose container gets a mount that hangs at /shared/hung, once it runs."""
    made = bundle(SLEEP)
    shared = shared_folder(made, folder / "shared")
    with running(our_shim, new_id(), made.write()) as task:
        pod = Pod(task, new_id(), sink)
        with HungMount(shared / "hung") as hung:
            yield pod, hung


def test_an_output_file_that_hangs_holds_only_its_exec(pod: Pod, hung: HungMount, folder: Path) -> None:
    pod.healthy.call("Exec", exec_id="one", spec=process("true"), stdout=f"file://{folder}/hung/log")
    starting = pod.tasks.begin("Start", id=pod.healthy.id, exec_id="one")
    pod.is_stuck("Start", starting)
    pod.healthy.call("Kill", exec_id="one", signal=9)
    with pytest.raises(CallError, match="was killed before it ran"):
        pod.tasks.collect("Start", starting)
    pod.healthy.call("Delete", exec_id="one")


PROGRAM = "/shared/hung/program"


def test_a_program_on_a_mount_that_hangs_holds_only_its_exec(later_hung: tuple[Pod, HungMount]) -> None:
    pod, hung = later_hung
    stuck = Exec(pod, "stuck", PROGRAM)
    stuck.is_stuck()
    hung.give_up()
    with pytest.raises(CallError):
        stuck.started()
    stuck.call("Delete")


def test_an_exec_on_its_way_can_be_killed(later_hung: tuple[Pod, HungMount], sink: EventSink) -> None:
    pod, _ = later_hung
    stuck = Exec(pod, "stuck", PROGRAM)
    stuck.is_stuck()
    stuck.call("Kill", signal=9)
    stuck.started()
    assert stuck.call("Wait").exit_status == 137
    stuck.call("Delete")


def test_an_exec_on_its_way_can_be_deleted(later_hung: tuple[Pod, HungMount]) -> None:
    pod, _ = later_hung
    stuck = Exec(pod, "stuck", PROGRAM)
    stuck.is_stuck()
    stuck.call("Delete")
    with pytest.raises(CallError, match="stuck is deleted"):
        stuck.started()
    with pytest.raises(CallError, match="not found"):
        stuck.call("State")


@pytest.mark.own_server
def test_work_in_progress_ends_with_the_server(
    later_hung: tuple[Pod, HungMount], bundle: BundleMaker, folder: Path, our_shim: Shim
) -> None:
    pod, _ = later_hung
    Exec(pod, "stuck", PROGRAM).is_stuck()
    made = bundle(SLEEP)
    pid_of_hook = sleeping_hook(folder, "createRuntime", made)
    pod.begin("Create", bundle=str(made.path))
    hook = pid_of_hook()
    forked = set(descendants(pod.healthy.pid))
    assert hook in forked
    assert len(forked) == 4  # of both containers the first process, the hook, and what is executed
    os.kill(pod.healthy.pid, signal.SIGKILL)
    for pid in forked - {pod.init}:
        wait_for_exit(pid)
    our_shim.delete(pod.other, made)


def test_an_exec_on_its_way_ends_with_its_container(
    later_hung: tuple[Pod, HungMount], sink: EventSink
) -> None:
    pod, _ = later_hung
    stuck = Exec(pod, "stuck", PROGRAM)
    stuck.is_stuck()
    pod.healthy.call("Kill", signal=9)
    assert pod.healthy.call("Wait").exit_status == 137
    pod.healthy.call("Delete")
    ended = []
    while (event := sink.next()).topic != "/tasks/delete":
        if event.topic == "/tasks/exit":
            ended.append(event.fields.id)
    assert ended[-1] == pod.healthy.id


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


PASSWD: dict[str, Callable[[Path], object]] = {
    "a FIFO": os.mkfifo,
    "a device that never ends": lambda path: os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5)),
    "a link to one": lambda path: path.symlink_to("/dev/zero"),
    "a folder": Path.mkdir,
    "a huge file": _huge,
}


@pytest.mark.parametrize("make", PASSWD.values(), ids=PASSWD)
def test_a_passwd_that_a_container_makes_of_its_own_holds_nothing(
    pod: Pod, make: Callable[[Path], object]
) -> None:
    make(pod.healthy.bundle.rootfs / "etc/passwd")
    pod.answers()


def test_a_fifo_is_no_program(pod: Pod, bundle: BundleMaker) -> None:
    made = bundle(["/program"])
    for rootfs in (made.rootfs, pod.healthy.bundle.rootfs):
        os.mkfifo(rootfs / "program", 0o755)
    with pytest.raises(CallError, match="permission denied"):
        pod.create(made)
    with pytest.raises(CallError, match="permission denied"):
        Exec(pod, "fifo", "/program").started()


def test_a_module_that_is_compiled_for_long_holds_only_its_call(
    pod: Pod, bundle: BundleMaker, folder: Path
) -> None:
    module = large_module(os.urandom(8))
    made = bundle(["/large.wasm"], files={"large.wasm": module})
    (pod.healthy.bundle.rootfs / "large.wasm").write_bytes(module)
    creating = pod.begin("Create", bundle=str(made.path))
    pod.is_stuck("Create", creating)
    compiling = Exec(pod, "large", "/large.wasm")
    compiling.is_stuck()
    pod.call("Delete")
    with pytest.raises(CallError, match="deleted before it was created"):
        pod.tasks.collect("Create", creating)
    compiling.call("Delete")
    with pytest.raises(CallError, match="large is deleted"):
        compiling.started()
    pod.answers()


def test_a_seccomp_profile_that_is_compiled_for_long_holds_only_its_call(
    pod: Pod, bundle: BundleMaker
) -> None:
    made = bundle(SLEEP)
    values = int.from_bytes(os.urandom(3), "big")  # no other test's profile: that would be kept
    comparisons = [
        {
            "names": ["ioctl"],
            "action": "SCMP_ACT_ERRNO",
            "args": [{"index": 1, "value": value, "op": "SCMP_CMP_EQ"}],
        }
        for value in range(values, values + 12_000)
    ]
    made.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": comparisons}
    creating = pod.begin("Create", bundle=str(made.write().path))
    pod.is_stuck("Create", creating)
    pod.call("Delete")
    with pytest.raises(CallError, match="deleted before it was created"):
        pod.tasks.collect("Create", creating)
    pod.answers()


# a process that cannot be reaped


_TRACER = """
#include <stdlib.h>
#include <sys/ptrace.h>
#include <unistd.h>

int main(int count, char **arguments)
{
    if (count != 2 || ptrace(PTRACE_SEIZE, atoi(arguments[1]), 0, 0) != 0)
        return 1;
    for (;;)
        pause();
}
"""


@pytest.fixture
def tracer(folder: Path) -> bytes:
    """A program that traces a process, and never hears what becomes of it."""
    source, program = folder / "tracer.c", folder / "tracer"
    source.write_text(_TRACER)
    subprocess.run(["gcc", "-static", "-O2", "-Wall", "-Wextra", "-o", program, source], check=True)
    return program.read_bytes()


def inner_pid(pid: int) -> str:
    """The pid of a process as its own namespace numbers it."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(line.split()[-1] for line in status.splitlines() if line.startswith("NSpid:"))


def test_a_process_whose_tracer_does_not_let_it_go_holds_nothing(
    pod: Pod, tracer: bytes, sink: EventSink
) -> None:
    path = pod.healthy.bundle.rootfs / "bin/tracer"
    path.write_bytes(tracer)
    path.chmod(0o755)
    traced = Exec(pod, "traced", "sleep", "1000")
    pid = traced.started().pid
    tracing = Exec(pod, "tracer", "tracer", inner_pid(pid))
    tracing.started()
    until(lambda: Path(f"/proc/{pid}/status").read_text(), lambda text: "TracerPid:\t0\n" not in text)
    traced.call("Kill", signal=9)
    until(lambda: processes.process_state(pid), lambda state: state == "Z")
    waiting = pod.tasks.begin("Wait", id=pod.healthy.id, exec_id="traced")
    pod.answers()
    assert not pod.tasks.peer.has_answer(waiting)
    tracing.call("Kill", signal=9)
    assert pod.tasks.collect("Wait", waiting).exit_status == 137


# delete


def test_a_slow_removal_holds_nothing_up_and_its_process_counts_as_stopped(
    pod: Pod, bundle: BundleMaker, folder: Path
) -> None:
    made = bundle(["true"])
    pid_of_hook = sleeping_hook(folder, "poststop", made)
    pod.create(made)
    pod.call("Start")
    assert pod.call("Wait").exit_status == 0
    deleting = pod.begin("Delete")
    hook = pid_of_hook()
    pod.is_stuck("Delete", deleting)
    state = pod.call("State")
    assert (state.status, state.exit_status) == (task_types.STOPPED, 0)
    assert pod.call("Wait").exit_status == 0
    assert not pod.call("Pids").processes
    pod.call("Kill", signal=9, all=True)
    for method, members, code in (
        ("Kill", {"signal": 9}, codes.NOT_FOUND),
        ("Start", {}, codes.UNKNOWN),
        ("Create", {"bundle": str(made.path)}, codes.ALREADY_EXISTS),
    ):
        with pytest.raises(CallError) as refused:
            pod.call(method, **members)
        assert refused.value.code == code, method
    again = pod.begin("Delete")
    os.kill(hook, signal.SIGTERM)
    for stream in (deleting, again):
        assert pod.tasks.collect("Delete", stream).exit_status == 0
    with pytest.raises(CallError, match="not found"):
        pod.call("State")


def test_a_client_that_gives_up_a_delete_does_not_end_it(pod: Pod, bundle: BundleMaker, folder: Path) -> None:
    made = bundle(["true"])
    pid_of_hook = sleeping_hook(folder, "poststop", made)
    pod.create(made)
    pod.call("Start")
    pod.call("Wait")
    deleting = pod.begin("Delete", timeout_nano=1_000_000)
    hook = pid_of_hook()
    with pytest.raises(CallError) as late:
        pod.tasks.collect("Delete", deleting)
    assert late.value.code == codes.DEADLINE_EXCEEDED
    assert pod.call("State").status == task_types.STOPPED
    again = pod.begin("Delete")
    os.kill(hook, signal.SIGTERM)
    assert pod.tasks.collect("Delete", again).exit_status == 0
