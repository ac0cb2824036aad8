"""Our structures and call numbers agree with the kernel's headers."""

from __future__ import annotations

import os
import subprocess
import types
from collections.abc import Iterable
from pathlib import Path

import pytest

from runwasi.linux import (
    beneath,
    filesystems,
    libc,
    mount_fds,
    mounts,
    namespaces,
    network,
    processes,
    processless,
    rlimits,
    scheduling,
    seccomp_filter,
    sockets,
    terminal,
)
from runwasi.linux.cgroups import device_rules
from runwasi.startup.thin_ctypes import sizeof

WORD = 8


def numbers_of(module: types.ModuleType) -> dict[str, int]:
    """Return the numbers of system calls by their lower-case names."""
    return {name[4:].lower(): number for name, number in vars(module).items() if name.startswith("SYS_")}


TERMINAL = ("TIOCSCTTY", "TIOCGWINSZ", "TIOCSWINSZ", "TIOCGPTN", "TIOCSPTLCK", "TIOCGPTPEER")
OURS = {
    "sizeof(struct open_how)": beneath.OPEN_HOW.size,
    "sizeof(struct mount_attr)": sizeof(mount_fds.MountAttr),
    "sizeof(struct statx)": sizeof(mounts.Statx),
    "offsetof(struct statx, stx_mnt_id)": mounts.MNT_ID * WORD,
    "sizeof(struct ifreq)": network.IFREQ.size,
    "offsetof(struct ifreq, ifr_flags)": 16,
    "sizeof(struct clone_args)": processes.CLONE_ARGS.size,
    "sizeof(struct prctl_mm_map)": processes.MM_MAP.size,
    "offsetof(struct prctl_mm_map, arg_start)": 7 * WORD,
    "sizeof(struct rlimit64)": sizeof(rlimits.Rlimit64),
    "sizeof(struct sched_attr)": scheduling.SCHED_ATTR.size,
    "sizeof(struct sock_filter)": seccomp_filter.SOCK_FILTER.size,
    "sizeof(struct sock_fprog)": seccomp_filter.SOCK_FPROG.size,
    "sizeof(struct ucred)": sockets.UCRED.size,
    "sizeof(struct winsize)": terminal.WINSIZE.size,
    "sizeof(struct bpf_insn)": device_rules.BPF_INSN.size,
    "sizeof(struct statfs)": sizeof(filesystems._Statfs),
    "offsetof(ucontext_t, uc_link)": processless._LINK,
    "offsetof(ucontext_t, uc_stack.ss_sp)": processless._STACK_BASE,
    "offsetof(ucontext_t, uc_stack.ss_size)": processless._STACK_SIZE,
    f"sizeof(ucontext_t) <= {processless._CONTEXT}": 1,
    "NS_GET_NSTYPE": namespaces._NS_GET_NSTYPE,
    "SIOCGIFFLAGS": network._SIOCGIFFLAGS,
    "SIOCSIFFLAGS": network._SIOCSIFFLAGS,
    **{name: getattr(terminal, f"_{name}") for name in TERMINAL},
    **{f"SYS_{name}": number for name, number in numbers_of(libc).items()},
}
PROGRAM = """\
#define _GNU_SOURCE
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/mount.h>
#include <linux/nsfs.h>
#include <linux/openat2.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/sched/types.h>
#include <linux/stat.h>
#include <net/if.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <ucontext.h>

int main(void)
{
    %s
    return 0;
}
"""


# The calls of arm64, riscv64 and every architecture since, whatever this one is.
GENERIC_PROGRAM = """\
#define __ARCH_WANT_SYS_CLONE3
#include <asm-generic/unistd.h>
#include <stddef.h>
#include <stdio.h>

int main(void)
{
    %s
    return 0;
}
"""


def evaluated(program: str, expressions: Iterable[str], folder: Path) -> dict[str, int]:
    """Return what C makes of the expressions."""
    lines = "\n    ".join(f'printf("%zu\\n", (size_t)({expression}));' for expression in expressions)
    (folder / "sizes.c").write_text(program % lines)
    subprocess.run(["gcc", "-o", folder / "sizes", folder / "sizes.c"], check=True)
    printed = subprocess.run([folder / "sizes"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return dict(zip(expressions, map(int, printed.split()), strict=True))


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    return evaluated(PROGRAM, OURS, tmp_path_factory.mktemp("structures"))


@pytest.mark.parametrize("expression", OURS)
def test_it_is_as_the_headers_say(theirs: dict[str, int], expression: str) -> None:
    assert theirs[expression] == OURS[expression]


def test_the_calls_of_arm64_have_the_generic_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arm64 = os.uname_result(("Linux", "node", "6.1", "", "aarch64"))
    monkeypatch.setattr(os, "uname", lambda: arm64)
    there = types.ModuleType("libc_of_arm64")
    exec(compile(Path(libc.__file__).read_text(), libc.__file__, "exec"), vars(there))
    numbers = {f"__NR_{name}": number for name, number in numbers_of(there).items()}
    assert numbers == evaluated(GENERIC_PROGRAM, numbers, tmp_path)
