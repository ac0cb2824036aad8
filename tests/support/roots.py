"""Root filesystems to run commands in, as on another machine."""

from __future__ import annotations

import os
import subprocess
import uuid
from pathlib import Path

from devtools.bundle import make_bundle

_ENTER = """\
set -eu
mount --bind "$1" "$1"  # a container's pivot_root wants its root to be a mount
cd "$1"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
pivot_root . .
umount -l .
exec chroot . /bin/sh -euc "$2"
"""


def busybox_root(path: Path) -> Path:
    """Make a root with nothing but busybox: no Python, no libraries, no package manager."""
    made = make_bundle(path / f"root-{uuid.uuid4().hex[:6]}", ["sh"])
    for folder in ("opt", "run", "usr", "var", "etc"):
        (made.rootfs / folder).mkdir(exist_ok=True)
    (made.rootfs / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    return made.rootfs


def run_in(root: Path, script: str, *, timeout: float = 200) -> subprocess.CompletedProcess[str]:
    """Run a shell script in a root, with mounts and processes of its own, which end with it."""
    command = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "--pid",
        "--fork",
        "--kill-child",
        "sh",
        "-c",
        _ENTER,
    ]
    environment = {
        **os.environ,
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/",
    }
    return subprocess.run(
        [*command, "sh", str(root), script],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=timeout,
    )
