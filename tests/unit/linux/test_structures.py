"""What the kernel's headers say of structures and calls is what we have written down of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from runwasi.linux import (
    beneath,
    libc,
    mount_fds,
    mounts,
    network,
    processes,
    rlimits,
    scheduling,
    seccomp_filter,
    sockets,
    terminal,
)
from runwasi.linux.cgroups import device_rules
from runwasi.startup.thin_ctypes import sizeof

WORD = 8
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
    **{f"SYS_{name[4:].lower()}": number for name, number in vars(libc).items() if name.startswith("SYS_")},
}
PROGRAM = """\
#define _GNU_SOURCE
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/mount.h>
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
#include <sys/syscall.h>

int main(void)
{
    %s
    return 0;
}
"""


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    folder: Path = tmp_path_factory.mktemp("structures")
    lines = "\n    ".join(f'printf("%zu\\n", (size_t)({expression}));' for expression in OURS)
    (folder / "sizes.c").write_text(PROGRAM % lines)
    subprocess.run(["gcc", "-o", folder / "sizes", folder / "sizes.c"], check=True)
    printed = subprocess.run([folder / "sizes"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return dict(zip(OURS, map(int, printed.split()), strict=True))


@pytest.mark.parametrize("expression", OURS)
def test_it_is_as_the_headers_say(theirs: dict[str, int], expression: str) -> None:
    assert theirs[expression] == OURS[expression]
