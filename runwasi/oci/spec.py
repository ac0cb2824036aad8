"""Loads and checks a whole config.json, before anything of a container is made.

Source: runtime-spec config.md, version 1.3.
"""

from __future__ import annotations

from runwasi.oci.decode import SpecError, decode, parse_json, quoted, read_document
from runwasi.oci.linux import IdMapping, Linux, check_mappings
from runwasi.oci.process import Process
from runwasi.oci.record import EMPTY, AbsolutePath, Positive, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = "1.3.0"
"""The newest version of the runtime specification that is fully supported."""

_HOST_NAME_MAX = 64  # bytes; __NEW_UTS_LEN in linux/utsname.h


class Root(Record):
    """The root filesystem; a relative path starts at the bundle."""

    path: str
    readonly: bool = False

    def check(self) -> None:
        """Refuse an empty path, and a relative one that leaves the bundle."""
        if not self.path:
            raise SpecError(".path", "must not be empty")
        depth = 0
        for part in () if self.path.startswith("/") else self.path.split("/"):
            depth += {"": 0, ".": 0, "..": -1}.get(part, 1)
            if depth < 0:
                raise SpecError(".path", f"must not leave the bundle, but is {quoted(self.path)}")


class Mount(Record):
    """A mount; a relative destination starts at the container's root."""

    destination: str
    type: str | None = None
    source: str | None = None
    options: tuple[str, ...] = ()
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()

    def check(self) -> None:
        """Refuse an empty destination, and one id mapping without the other."""
        if not self.destination:
            raise SpecError(".destination", "must not be empty")
        check_mappings(".uidMappings", self.uid_mappings)
        check_mappings(".gidMappings", self.gid_mappings)
        if bool(self.uid_mappings) != bool(self.gid_mappings):
            missing = ".gidMappings" if self.uid_mappings else ".uidMappings"
            raise SpecError(missing, "is required when the other id mapping is given")


class Hook(Record):
    """A program that runs at one point of a container's life; `timeout` in seconds, None for no limit.

    Without `env` it gets the runtime's environment, or inside the container the program's.
    """

    path: AbsolutePath
    args: tuple[str, ...] = ()
    env: tuple[str, ...] | None = None
    timeout: Positive | None = None


class Hooks(Record):
    """All hooks by the point of the container's life."""

    prestart: tuple[Hook, ...] = ()
    create_runtime: tuple[Hook, ...] = ()
    create_container: tuple[Hook, ...] = ()
    start_container: tuple[Hook, ...] = ()
    poststart: tuple[Hook, ...] = ()
    poststop: tuple[Hook, ...] = ()


class Spec(Record):
    """A container's configuration. `linux` is an empty Linux if the document has none."""

    oci_version: str
    root: Root
    process: Process | None = None
    hostname: str | None = None
    domainname: str | None = None
    mounts: tuple[Mount, ...] = ()
    hooks: Hooks = Hooks()
    annotations: Mapping[str, str] = EMPTY
    linux: Linux = Linux()

    def check(self) -> None:
        """Refuse versions other than 1.x, and host names without the container's own uts namespace."""
        check_version(".ociVersion", self.oci_version)
        if "" in self.annotations:
            raise SpecError(".annotations", "has an empty key")
        self._check_cpus()
        for name in ("hostname", "domainname"):
            value = getattr(self, name)
            if value and len(value.encode()) > _HOST_NAME_MAX:
                raise SpecError(f".{name}", f"must not be longer than {_HOST_NAME_MAX} bytes")
            if value and not self.linux.has("uts"):
                raise SpecError(f".{name}", "needs a uts namespace")
            if value and self.linux.sysctl.get(f"kernel.{name}", value) != value:
                raise SpecError(f'.linux.sysctl["kernel.{name}"]', f"contradicts $.{name}")

    def _check_cpus(self) -> None:
        """Refuse SCHED_DEADLINE with a set of CPUs: the kernel requires a whole scheduling domain, sched(7)."""
        scheduler = self.process and self.process.scheduler
        resources = self.linux.resources
        cpu = resources and resources.cpu
        if scheduler and scheduler.policy == "SCHED_DEADLINE" and cpu and cpu.cpus:
            why = "process scheduler can't be used together with AllowedCPUs"
            raise SpecError(".linux.resources.cpu.cpus", why)


def load(path: str) -> Spec:
    """Read and check a config.json. Raises OSError or SpecError."""
    return loads(read_document(path))


def loads(data: bytes) -> Spec:
    """Check a config.json given as bytes. Raises SpecError."""
    return decode(Spec, parse_json(data))


def check_version(path: str, version: str) -> None:
    """Raise SpecError unless `version` is a semantic version 1.x.y, perhaps with pre-release and build."""
    core = version.partition("+")[0].partition("-")[0]
    numbers = core.split(".")
    if len(numbers) != 3 or not all(n.isascii() and n.isdigit() and n == str(int(n)) for n in numbers):
        raise SpecError(path, f"{quoted(version)} is not a semantic version")
    if numbers[0] != "1":
        raise SpecError(path, f"version {version} is not supported, only 1.x")
