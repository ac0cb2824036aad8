"""Take the steps that make a container's root, in a child of the test, and look around inside."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from runwasi.executor.child.enter_root import enter_root, mount_rootfs
from runwasi.executor.child.make_devices import make_devices
from runwasi.executor.child.mask_paths import mask_and_protect
from runwasi.executor.child.progress import InitProgress
from runwasi.executor.mounts.mount_sources import open_mount_sources
from runwasi.executor.plan.process_plan import InitPlan
from runwasi.executor.protocol import Channel
from runwasi.linux.fd import Fd
from runwasi.linux.filesystems import open_procfs
from runwasi.linux.idmap import IdMap
from runwasi.linux.namespaces import CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER
from runwasi.oci.spec import Spec, loads
from tests.support.in_namespaces import MAPPED_FROM, run_in

Result = TypeVar("Result")
Json = Mapping[str, Any]

PROC = {"destination": "/proc", "type": "proc", "source": "proc"}
DEV = {
    "destination": "/dev",
    "type": "tmpfs",
    "source": "tmpfs",
    "options": ["nosuid", "mode=755", "size=64k"],
}
DEVPTS = {
    "destination": "/dev/pts",
    "type": "devpts",
    "source": "devpts",
    "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
}
SYSFS = {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "ro"]}

_KINDS = {
    "mount": CLONE_NEWNS,
    "pid": CLONE_NEWPID,
    "ipc": CLONE_NEWIPC,
    "network": CLONE_NEWNET,
    "user": CLONE_NEWUSER,
}


class Root:
    """A rootfs in a bundle, what config.json says of it, and the steps."""

    def __init__(self, bundle: Path) -> None:
        self.bundle = bundle
        self.rootfs = bundle / "rootfs"
        self.rootfs.mkdir(parents=True)
        self.namespaces = ["mount", "pid", "ipc", "network"]
        self.cgroup_paths: dict[str, str] = {}
        self.no_pivot = False

    def spec(self, mounts: Sequence[Json] = (), linux: Json | None = None, *, readonly: bool = False) -> Spec:
        """Describe the container."""
        import json

        linux = {"namespaces": [{"type": kind} for kind in self.namespaces], **(linux or {})}
        if "user" in self.namespaces:
            mapping = [{"containerID": 0, "hostID": MAPPED_FROM, "size": 65536}]
            linux = {"uidMappings": mapping, "gidMappings": mapping, **linux}
        document = {
            "ociVersion": "1.2.0",
            "root": {"path": "rootfs", "readonly": readonly},
            "process": {"cwd": "/", "args": ["true"]},
            "mounts": list(mounts),
            "linux": linux,
        }
        return loads(json.dumps(document).encode())

    def enter(
        self,
        look: Callable[[], Result],
        mounts: Sequence[Json] = (),
        linux: Json | None = None,
        *,
        readonly: bool = False,
        before: Callable[[], object] | None = None,
        maps: Sequence[IdMap] | None = None,
    ) -> Result:
        """Make the root, enter it, and return what look sees; before is called once everything is mounted."""
        ctx = self._progress(self.spec(mounts, linux, readonly=readonly))

        def steps() -> Result:
            mount_rootfs(ctx)
            make_devices(ctx)
            if before:
                before()
            enter_root(ctx)
            mask_and_protect(ctx)
            return look()

        try:
            return run_in(sum(_KINDS[kind] for kind in self.namespaces), steps, maps=maps)
        finally:
            ctx.plan.close()

    def _progress(self, spec: Spec) -> InitProgress:
        assert spec.process is not None
        userns = "user" in self.namespaces
        mount_sources = open_mount_sources(spec, str(self.bundle), str(self.rootfs), userns)
        plan = InitPlan(
            id="test",
            spec=spec,
            process=spec.process,
            proc=Fd(open_procfs()),
            load_engine=cast(Any, None),
            command_line=cast(Any, None),
            userns=userns,
            cgroup_paths=self.cgroup_paths,
            gate=Fd(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)),  # nobody starts it
            bundle_path=str(self.bundle),
            rootfs=str(self.rootfs),
            no_pivot=self.no_pivot,
            mount_sources=mount_sources,
        )
        return InitProgress(plan, cast(Channel, None), waits=False)


class MountLine:
    """One line of mountinfo (man 5 proc_pid_mountinfo)."""

    def __init__(self, line: str) -> None:
        before, _, after = line.partition(" - ")
        fields = before.split()
        self.root, self.point = fields[3:5]
        self.options = set(fields[5].split(","))
        self.propagation = {field.partition(":")[0] for field in fields[6:]}
        self.fstype, self.source, super_options = after.split()[:3]
        self.super_options = set(super_options.split(","))


def mount_table() -> dict[str, MountLine]:
    """Read the mount table by mount point; of mounts over one another the last."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return {line.point: line for line in map(MountLine, lines)}
