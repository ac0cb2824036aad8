"""spec: writes a first config.json, for a native program or a WebAssembly module, rootless or not."""

from __future__ import annotations

import os

from runwasi.cli.command import Command
from runwasi.cli.options import FLAG, Option, UsageError
from runwasi.executor.errors import AlreadyExists
from runwasi.linux.cgroups import version
from runwasi.oci.encode import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runwasi.cli.options import Given
    from runwasi.cli.settings import Settings

    Json = dict[str, Any]

# The oldest version that has all members written here, so that any runtime takes the file.
_OCI_VERSION = "1.0.2"
_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
_NO_ACCESS = ["nosuid", "noexec", "nodev"]
_PROC = {"destination": "/proc", "type": "proc", "source": "proc"}
_DEV = {
    "destination": "/dev",
    "type": "tmpfs",
    "source": "tmpfs",
    "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
}
_OTHER_MOUNTS = (
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
        "options": [*_NO_ACCESS, "mode=1777", "size=65536k"],
    },
    {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": _NO_ACCESS},
    {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*_NO_ACCESS, "ro"]},
    {
        "destination": "/sys/fs/cgroup",
        "type": "cgroup",
        "source": "cgroup",
        "options": [*_NO_ACCESS, "relatime", "ro"],
    },
)
_MASKED = (
    *("/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats"),
    *("/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"),
    *("/sys/devices/virtual/powercap",),
)
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def _spec(given: Given, _settings: Settings) -> int:
    folder = given.text("bundle") or "."
    wasm = given.flag("wasm")
    arguments = given.arguments or ([_module_in(folder)] if wasm else ["sh"])
    config = wasm_config(arguments) if wasm else native_config(arguments)
    if given.flag("rootless"):
        make_rootless(config, os.geteuid(), os.getegid())
    path = os.path.join(folder, "config.json")
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(dumps(config, "\t") + "\n")
    except FileExistsError:
        raise AlreadyExists(f"File {path} exists. Remove it first") from None
    return 0


def _module_in(folder: str) -> str:
    """Return the path, inside the container, of the only module in the bundle's rootfs. Raises UsageError."""
    try:
        names = sorted(os.listdir(os.path.join(folder, "rootfs")))
    except FileNotFoundError:
        names = []
    modules = [name for name in names if name.endswith((".wasm", ".wat"))]
    if len(modules) > 1:
        raise UsageError(f"expected the name of one module: {', '.join(f'/{name}' for name in modules)}")
    return f"/{modules[0]}" if modules else "/main.wasm"


def _namespaces() -> tuple[str, ...]:
    """Return the namespaces of every container; on cgroup v1, a cgroup namespace would hide files from tools."""
    kinds = ("pid", "network", "ipc", "uts", "mount")
    return (*kinds, "cgroup") if version() == 2 else kinds


def native_config(arguments: list[str]) -> Json:
    """Return a configuration that runs arguments in its own namespaces, as root with few capabilities."""
    return {
        "ociVersion": _OCI_VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": arguments,
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {kind: list(_CAPABILITIES) for kind in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "runwasi",
        "mounts": [dict(mount) for mount in (_PROC, _DEV, *_OTHER_MOUNTS)],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in _namespaces()],
            "maskedPaths": list(_MASKED),
            "readonlyPaths": list(_READ_ONLY),
        },
    }


def wasm_config(arguments: list[str]) -> Json:
    """Return a configuration for a module, which sees nothing of a Linux system but files."""
    config = native_config(arguments)
    config["process"] |= {
        "terminal": False,
        "env": [],
        "capabilities": {},
    }
    config["mounts"] = [dict(_PROC), dict(_DEV)]
    return config


def make_rootless(config: Json, uid: int, gid: int) -> None:
    """Change a configuration so that the user uid:gid can run it, as root inside, on the host's network."""
    linux = config["linux"]
    linux["namespaces"] = [item for item in linux["namespaces"] if item["type"] != "network"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = [{"containerID": 0, "hostID": uid, "size": 1}]
    linux["gidMappings"] = [{"containerID": 0, "hostID": gid, "size": 1}]
    del linux["resources"]
    for mount in config["mounts"]:
        # only mapped ids can own files, and sysfs belongs to the network namespace
        if "options" in mount:
            mount["options"] = [word for word in mount["options"] if not word.startswith(("uid=", "gid="))]
        if mount["destination"] == "/sys":
            mount |= {"type": "none", "source": "/sys", "options": ["rbind", *_NO_ACCESS, "ro"]}


COMMANDS = {
    "spec": Command(
        "spec",
        "write an initial config.json",
        _spec,
        arguments="[PROGRAM [ARGUMENT...]]",
        description="""\
The file is written into the bundle, which then needs a root filesystem in the
folder rootfs. Without PROGRAM it runs sh; with --wasm, the module in rootfs.

    mkdir -p hello/rootfs && cp hello.wasm hello/rootfs
    runwasi spec --wasm --bundle hello
    runwasi run --bundle hello hello""",
        options=(
            Option("bundle", "path of the bundle (default: the current folder)", short="b", value="FOLDER"),
            Option("rootless", "write a configuration that a normal user can run", kind=FLAG),
            Option("wasm", "write a configuration for a WebAssembly module", kind=FLAG),
        ),
        most=None,
        stop_at_first=True,
    )
}
