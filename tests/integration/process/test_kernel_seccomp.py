"""Seccomp profiles on the kernel: what a filtered process may call, and what it gets otherwise."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from devtools.places import ROOT
from runwasi.executor.errors import ContainerError
from runwasi.executor.process.seccomp_profile import compiled, send_listener
from runwasi.linux import processes, seccomp_filter
from runwasi.linux.seccomp_filter import Filter
from runwasi.linux.waiting import finish
from runwasi.oci.decode import SpecError, parse_json
from runwasi.oci.seccomp import Seccomp, Syscall, SyscallArg
from runwasi.oci.state import ContainerProcessState, State
from tests.support.seccomp import NEWER_THAN_ANY, call, docker_like, filtered, number_of

pytestmark = pytest.mark.cgroup_v2  # another kernel, another libseccomp's view of it

# The tests' own process makes these calls.
GETPPID, PERSONALITY, BPF = map(number_of, ("getppid", "personality", "bpf"))


def filter_of(profile: Seccomp, folder: Path) -> Filter:
    filter_ = finish(compiled(profile, str(folder)))
    assert filter_ is not None
    return filter_


def allow_all_but(*rules: Syscall, folder: Path, **more: Any) -> Filter:
    profile = Seccomp(default_action="SCMP_ACT_ALLOW", syscalls=rules, **more)
    return filter_of(profile, folder)


def rule(name: str, action: str = "SCMP_ACT_ERRNO", *args: SyscallArg, ret: int | None = None) -> Syscall:
    return Syscall(names=(name,), action=action, args=args, errno_ret=ret)  # type: ignore[arg-type]


def test_calls_get_eperm_unless_another_errno_is_given(folder: Path) -> None:
    assert filtered(allow_all_but(rule("getppid"), folder=folder), lambda: call(GETPPID)) == errno.EPERM
    other = allow_all_but(rule("getppid", ret=errno.EXDEV), folder=folder)
    assert filtered(other, lambda: call(GETPPID)) == errno.EXDEV


@pytest.mark.parametrize(
    ("action", "signalled"),
    [
        ("SCMP_ACT_KILL", signal.SIGSYS),
        ("SCMP_ACT_KILL_THREAD", signal.SIGSYS),
        ("SCMP_ACT_KILL_PROCESS", signal.SIGSYS),
        ("SCMP_ACT_TRAP", signal.SIGSYS),
    ],
)
def test_killing_actions_end_the_process(folder: Path, action: str, signalled: int) -> None:
    assert (
        filtered(allow_all_but(rule("getppid", action), folder=folder), lambda: call(GETPPID)) == -signalled
    )


def test_logged_and_untraced_calls(folder: Path) -> None:
    assert filtered(allow_all_but(rule("getppid", "SCMP_ACT_LOG"), folder=folder), lambda: call(GETPPID)) == 0
    trace = allow_all_but(rule("getppid", "SCMP_ACT_TRACE"), folder=folder)
    assert filtered(trace, lambda: call(GETPPID)) == errno.ENOSYS  # nobody traces


@pytest.mark.parametrize(
    ("op", "value", "value_two", "refused"),
    [
        ("SCMP_CMP_EQ", 5, 0, {5}),
        ("SCMP_CMP_NE", 5, 0, {4, 6, 1 << 40}),
        ("SCMP_CMP_LT", 5, 0, {4}),
        ("SCMP_CMP_LE", 5, 0, {4, 5}),
        ("SCMP_CMP_GT", 5, 0, {6, 1 << 40}),
        ("SCMP_CMP_GE", 5, 0, {5, 6, 1 << 40}),
        ("SCMP_CMP_MASKED_EQ", 0x6, 0x4, {4, 5}),
        ("SCMP_CMP_EQ", 1 << 40, 0, {1 << 40}),
    ],
)
def test_arguments_are_compared(folder: Path, op: str, value: int, value_two: int, refused: set[int]) -> None:
    compared = SyscallArg(index=1, value=value, value_two=value_two, op=op)  # type: ignore[arg-type]
    filter_ = allow_all_but(rule("getppid", "SCMP_ACT_ERRNO", compared), folder=folder)
    for argument in (4, 5, 6, 1 << 40):
        expected = errno.EPERM if argument in refused else 0
        assert filtered(filter_, partial(call, GETPPID, 0, argument)) == expected


def test_all_arguments_must_compare_but_several_of_one_are_alternatives(folder: Path) -> None:
    def equal(index: int, value: int) -> SyscallArg:
        return SyscallArg(index=index, value=value, op="SCMP_CMP_EQ")

    both = allow_all_but(rule("getppid", "SCMP_ACT_ERRNO", equal(0, 1), equal(1, 2)), folder=folder)
    either = allow_all_but(rule("getppid", "SCMP_ACT_ERRNO", equal(0, 1), equal(0, 2)), folder=folder)
    assert [filtered(both, partial(call, GETPPID, 1, b)) for b in (2, 3)] == [errno.EPERM, 0]
    assert [filtered(either, partial(call, GETPPID, a)) for a in (1, 2, 3)] == [
        errno.EPERM,
        errno.EPERM,
        0,
    ]


def test_a_profile_that_refuses_by_default_says_enosys_for_calls_it_cannot_know(folder: Path) -> None:
    filter_ = filter_of(docker_like(), folder)
    assert filtered(filter_, lambda: call(NEWER_THAN_ANY)) == errno.ENOSYS
    assert filtered(filter_, lambda: call(PERSONALITY, 0xFFFFFFFF)) == 0
    assert filtered(filter_, lambda: call(PERSONALITY, 0)) == errno.EPERM
    assert filtered(filter_, lambda: call(BPF)) == errno.EPERM
    assert filtered(filter_, lambda: call(0x40000000 | NEWER_THAN_ANY)) == errno.ENOSYS  # x32


def test_an_explicit_default_errno_is_returned(folder: Path) -> None:
    allowed = docker_like().syscalls
    profile = Seccomp(default_action="SCMP_ACT_ERRNO", default_errno_ret=errno.EXDEV, syscalls=allowed)
    filter_ = filter_of(profile, folder)
    assert filtered(filter_, lambda: call(PERSONALITY, 0)) == errno.EXDEV


def test_rules_that_repeat_the_default_and_unknown_calls_are_skipped(folder: Path) -> None:
    filter_ = allow_all_but(rule("getppid", "SCMP_ACT_ALLOW"), rule("no_such_call"), folder=folder)
    assert filtered(filter_, lambda: call(GETPPID)) == 0


def test_all_flags_load(folder: Path) -> None:
    flags = ("SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW")
    for some in (flags, (*flags, "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"), ()):
        filter_ = allow_all_but(rule("getppid"), folder=folder, flags=some)
        assert filtered(filter_, lambda: call(GETPPID)) == errno.EPERM


def test_the_filter_needs_no_library_once_it_is_kept(folder: Path) -> None:
    program = f"""
import sys
from runwasi.executor.process import seccomp_profile
from runwasi.linux.waiting import finish
from devtools.places import ROOT
from tests.support.seccomp import docker_like
if "kept" in sys.argv:
    seccomp_profile._compile = None
print(len(finish(seccomp_profile.compiled(docker_like(), {str(folder)!r})).program))
print("libseccomp" in open("/proc/self/maps").read())
"""

    def in_a_new_process(*words: str) -> list[str]:
        command = [sys.executable, "-c", program, *words]
        return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()

    made, kept = in_a_new_process(), in_a_new_process("kept")
    assert made == kept
    assert kept[1] == "False"  # nor does one that has it compiled load the library


def test_a_folder_that_others_could_have_written_is_not_used(folder: Path) -> None:
    first = filter_of(docker_like(), folder)
    (kept,) = (folder / "seccomp").iterdir()
    kept.chmod(0o600)
    kept.write_bytes(b"not what was compiled")
    (folder / "seccomp").chmod(0o777)
    again = filter_of(docker_like(), folder)
    assert again.program == first.program


def test_a_program_of_another_library_is_compiled_again(folder: Path) -> None:
    first = filter_of(docker_like(), folder)
    (kept,) = (folder / "seccomp").iterdir()
    _, _, program = kept.read_bytes().partition(b"\n")
    kept.chmod(0o600)
    kept.write_bytes(b"/lib/libseccomp.so.2 1 2\n" + program[:8])
    again = filter_of(docker_like(), folder)
    assert again.program == first.program


def test_a_notifying_filter_hands_its_listener_to_the_agent(folder: Path) -> None:
    path = f"{folder}/agent"
    filter_ = allow_all_but(
        rule("getppid", "SCMP_ACT_NOTIFY"),
        folder=folder,
        listener_path=path,
        listener_metadata="some words",
        flags=("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",),
    )
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(path)
        agent.listen()
        pid = os.fork()
        if pid == 0:
            processes.set_no_new_privs()
            listener = seccomp_filter.load_filter(filter_.program, filter_.flags)
            state = State(oci_version="1.3.0", id="one", status="creating", pid=os.getpid(), bundle="/b")
            assert listener is not None
            send_listener(
                path,
                ContainerProcessState(
                    oci_version="1.3.0",
                    fds=("seccompFd",),
                    pid=os.getpid(),
                    metadata="some words",
                    state=state,
                ),
                listener,
            )
            os._exit(0)
        connection, _ = agent.accept()
        with connection:
            data, fds, _, _ = socket.recv_fds(connection, 65536, 1)
        assert os.readlink(f"/proc/self/fd/{fds[0]}") == "anon_inode:seccomp notify"
        os.close(fds[0])
        os.waitpid(pid, 0)
    told = parse_json(data)
    assert (told["fds"], told["metadata"], told["state"]["id"]) == (["seccompFd"], "some words", "one")


def test_an_agent_that_is_not_there_is_named(folder: Path) -> None:
    state = State(oci_version="1.3.0", id="one", status="creating", bundle="/b")
    told = ContainerProcessState(oci_version="1.3.0", fds=(), pid=1, state=state)
    with pytest.raises(
        ContainerError, match=r"^failed to connect with seccomp agent .*/nobody: No such file.*listenerPath"
    ):
        send_listener(f"{folder}/nobody", told, 0)


def test_the_call_that_hands_the_listener_over_cannot_notify(folder: Path) -> None:
    with pytest.raises(SpecError, match="SCMP_ACT_NOTIFY cannot be used for the write syscall"):
        allow_all_but(rule("write", "SCMP_ACT_NOTIFY"), folder=folder, listener_path="/run/agent")


def test_an_architecture_that_libseccomp_does_not_know_is_named(folder: Path) -> None:
    with pytest.raises(ContainerError, match=r"^\$\.linux\.seccomp: sh(eb)?: this libseccomp does not know"):
        allow_all_but(rule("getppid"), folder=folder, architectures=("SCMP_ARCH_SHEB",))
