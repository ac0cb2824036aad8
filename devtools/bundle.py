"""Makes OCI bundles: a root filesystem with busybox, and a config.json to edit."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from devtools.places import BUSYBOX

Json = Any

_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]


class Bundle:
    """A bundle on disk; edit `config` and write() it again."""

    def __init__(self, path: Path, config: dict[str, Json]) -> None:
        self.path = path
        self.config = config

    @property
    def rootfs(self) -> Path:
        """The folder that becomes the container's root."""
        return self.path / "rootfs"

    @property
    def process(self) -> dict[str, Json]:
        """`process` of config.json."""
        process: dict[str, Json] = self.config["process"]
        return process

    @property
    def linux(self) -> dict[str, Json]:
        """`linux` of config.json."""
        linux: dict[str, Json] = self.config["linux"]
        return linux

    def write(self) -> Bundle:
        """Write config.json as it is now."""
        (self.path / "config.json").write_text(json.dumps(self.config, indent=2))
        return self


def make_bundle(
    path: Path, arguments: Sequence[str], *, files: Mapping[str, bytes] | None = None, busybox: bool = True
) -> Bundle:
    """Make a bundle that runs the arguments over busybox and the files, given by their paths in the root."""
    rootfs = path / "rootfs"
    for folder in ("bin", "dev", "etc", "proc", "root", "sys", "tmp"):
        (rootfs / folder).mkdir(parents=True)
    if busybox:
        _put_busybox(rootfs)
    for name, content in (files or {}).items():
        target = rootfs / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(0o755)
    return Bundle(path, default_config(arguments)).write()


def in_user_namespace(made: Bundle, *, mapped_from: int = 100_000) -> Bundle:
    """Give the container a user namespace of 65536 ids, and its root the files of its rootfs."""
    mapping = [{"containerID": 0, "hostID": mapped_from, "size": 65_536}]
    made.linux["namespaces"].append({"type": "user"})
    made.linux.update(uidMappings=mapping, gidMappings=mapping)
    for path in (made.rootfs, *made.rootfs.rglob("*")):
        os.chown(path, mapped_from, mapped_from, follow_symlinks=False)
    return made.write()


def default_config(arguments: Sequence[str]) -> dict[str, Json]:
    """A config.json much like that of `runc spec`: all namespaces but user, the usual mounts."""
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": list(arguments),
            "env": ["PATH=/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {kind: list(_CAPABILITIES) for kind in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs"},
        "hostname": "bundle",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {
                "destination": "/dev",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
            },
            {
                "destination": "/dev/pts",
                "type": "devpts",
                "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
            },
            {
                "destination": "/dev/shm",
                "type": "tmpfs",
                "source": "shm",
                "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
            },
            {
                "destination": "/dev/mqueue",
                "type": "mqueue",
                "source": "mqueue",
                "options": ["nosuid", "noexec", "nodev"],
            },
            {
                "destination": "/sys",
                "type": "sysfs",
                "source": "sysfs",
                "options": ["nosuid", "noexec", "nodev", "ro"],
            },
        ],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }


def _put_busybox(rootfs: Path) -> None:
    (rootfs / "bin/busybox").write_bytes(BUSYBOX.read_bytes())
    (rootfs / "bin/busybox").chmod(0o755)
    for applet in _applets():
        (rootfs / "bin" / applet).symlink_to("busybox")


@cache
def _applets() -> tuple[str, ...]:
    listed = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    return tuple(applet for applet in listed if applet != "busybox")
