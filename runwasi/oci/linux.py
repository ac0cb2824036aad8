"""The `linux` part of config.json. Source: runtime-spec config-linux.md."""

from __future__ import annotations

from runwasi.oci.decode import SpecError, quoted
from runwasi.oci.process import check_number_list, check_unique
from runwasi.oci.record import EMPTY, AbsolutePath, Id, Int64, Record
from runwasi.oci.resources import Resources
from runwasi.oci.seccomp import Seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Annotated, ClassVar, Literal, TypeAlias

NamespaceType: TypeAlias = "Literal['mount', 'pid', 'network', 'uts', 'ipc', 'user', 'cgroup', 'time']"
DeviceType: TypeAlias = "Literal['c', 'b', 'u', 'p']"
FileMode: TypeAlias = "Annotated[int, 0, 511]"
# The schema lacks the r forms, but containerd's CRI plugin and Podman write them, and runc takes them.
RootfsPropagation: TypeAlias = (
    "Literal['private', 'shared', 'slave', 'unbindable', 'rprivate', 'rshared', 'rslave', 'runbindable']"
)
PersonalityDomain: TypeAlias = "Literal['LINUX', 'LINUX32']"
MemoryPolicyMode: TypeAlias = (
    "Literal['MPOL_DEFAULT', 'MPOL_BIND', 'MPOL_INTERLEAVE', 'MPOL_WEIGHTED_INTERLEAVE', 'MPOL_PREFERRED', "
    "'MPOL_PREFERRED_MANY', 'MPOL_LOCAL']"
)
MemoryPolicyFlag: TypeAlias = (
    "Literal['MPOL_F_NUMA_BALANCING', 'MPOL_F_RELATIVE_NODES', 'MPOL_F_STATIC_NODES']"
)
MapSize: TypeAlias = "Annotated[int, 1, 4294967295]"
Nanoseconds: TypeAlias = "Annotated[int, 0, 999999999]"  # man 7 time_namespaces
MemoryBandwidth: TypeAlias = "Annotated[str, 'MB:']"

_ID_COUNT = 1 << 32
_DEVICE_NUMBERS = {"major": (1 << 12) - 1, "minor": (1 << 20) - 1}  # the kernel's dev_t: MINORBITS


class Namespace(Record):
    """A namespace to make, or to join if `path` is set."""

    type: NamespaceType
    path: AbsolutePath | None = None


class IdMapping(Record):
    """Maps `size` ids from `container_id` to `host_id`."""

    container_id: Id
    host_id: Id
    size: MapSize

    def check(self) -> None:
        """Refuse a range that goes beyond the last id."""
        if max(self.container_id, self.host_id) + self.size > _ID_COUNT:
            raise SpecError(".size", f"{self.size} goes beyond the last id")


class Device(Record):
    """A device node to make; `major` and `minor` are None only for a FIFO."""

    type: DeviceType
    path: AbsolutePath
    major: Int64 | None = None
    minor: Int64 | None = None
    file_mode: FileMode | None = None
    uid: Id | None = None
    gid: Id | None = None

    def check(self) -> None:
        """Refuse a device without its numbers, and numbers that no device has."""
        if self.type != "p":
            for name, most in _DEVICE_NUMBERS.items():
                number = getattr(self, name)
                if number is None:
                    raise SpecError(f".{name}", f"is required for a device of type {self.type}")
                if not 0 <= number <= most:
                    raise SpecError(f".{name}", f"must be between 0 and {most}, not {number}")


class NetDevice(Record):
    """The name of a host's network interface in the container; None keeps its name."""

    name: str | None = None

    def check(self) -> None:
        """Refuse an invalid interface name."""
        if self.name:
            check_interface_name(".name", self.name)


class IntelRdt(Record):
    """Shares of cache and memory bandwidth through resctrl; `clos_id` None means the container's id."""

    clos_id: str | None = None
    schemata: tuple[str, ...] = ()
    l3_cache_schema: str | None = None
    mem_bw_schema: MemoryBandwidth | None = None
    enable_monitoring: bool = False

    def check(self) -> None:
        """Refuse a class that is not a directory name (`/` is the default class), and lines with a newline."""
        if self.clos_id and self.clos_id != "/" and ("/" in self.clos_id or self.clos_id in {".", ".."}):
            raise SpecError(".closID", f"must be / or a name without slashes, not {quoted(self.clos_id)}")
        lines = [(".l3CacheSchema", self.l3_cache_schema), (".memBwSchema", self.mem_bw_schema)]
        lines += [(f".schemata[{index}]", line) for index, line in enumerate(self.schemata)]
        for path, line in lines:
            if line and "\n" in line:
                raise SpecError(path, "must not contain a newline")


class MemoryPolicy(Record):
    """The NUMA policy: man 2 set_mempolicy."""

    noun: ClassVar[str] = "memory policy"

    mode: MemoryPolicyMode
    nodes: str | None = None
    flags: tuple[MemoryPolicyFlag, ...] = ()

    def check(self) -> None:
        """Refuse what the kernel refuses: a malformed node list, or one for a policy without nodes."""
        if self.nodes:
            try:
                check_number_list(".nodes", self.nodes)
            except SpecError as error:
                raise SpecError(error.path, f"invalid memory policy nodes: {error.why}") from None
        if self.nodes and self.mode in {"MPOL_DEFAULT", "MPOL_LOCAL"}:
            count = sum(int(last or first) - int(first) + 1 for first, last in _ranges(self.nodes))
            raise SpecError(".nodes", f"memory policy {self.mode}: mode requires 0 nodes but got {count}")
        if not self.nodes and self.mode not in {"MPOL_DEFAULT", "MPOL_LOCAL", "MPOL_PREFERRED"}:
            raise SpecError(".nodes", f"memory policy {self.mode}: mode requires at least one node but got 0")
        if {"MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"} <= {*self.flags}:
            raise SpecError(".flags", "MPOL_F_RELATIVE_NODES and MPOL_F_STATIC_NODES exclude each other")


class Personality(Record):
    """The execution domain: man 2 personality."""

    domain: PersonalityDomain
    flags: tuple[str, ...] = ()

    def check(self) -> None:
        """Refuse every flag: the specification defines none yet."""
        if self.flags:
            raise SpecError(
                ".flags[0]", f"{quoted(self.flags[0])} is not a flag that the specification defines"
            )


class TimeOffset(Record):
    """The offset of a container's clock from the host's."""

    secs: Int64 = 0
    nanosecs: Nanoseconds = 0


class TimeOffsets(Record):
    """The offsets of a time namespace's two clocks: man 7 time_namespaces."""

    boottime: TimeOffset | None = None
    monotonic: TimeOffset | None = None


class Linux(Record):
    """The Linux-specific part of a container's configuration."""

    namespaces: tuple[Namespace, ...] = ()
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()
    devices: tuple[Device, ...] = ()
    net_devices: Mapping[str, NetDevice] = EMPTY
    cgroups_path: str | None = None
    resources: Resources | None = None
    rootfs_propagation: RootfsPropagation | None = None
    seccomp: Seccomp | None = None
    sysctl: Mapping[str, str] = EMPTY
    masked_paths: tuple[AbsolutePath, ...] = ()
    readonly_paths: tuple[AbsolutePath, ...] = ()
    mount_label: str | None = None
    intel_rdt: IntelRdt | None = None
    memory_policy: MemoryPolicy | None = None
    personality: Personality | None = None
    time_offsets: TimeOffsets | None = None

    def has(self, kind: NamespaceType) -> bool:
        """Return whether the container has its own namespace of this kind, new or joined."""
        return any(namespace.type == kind for namespace in self.namespaces)

    def check(self) -> None:
        """Refuse members that contradict each other."""
        check_unique(".namespaces", "type", [namespace.type for namespace in self.namespaces])
        if self.cgroups_path and ".." in self.cgroups_path.split("/"):
            raise SpecError(".cgroupsPath", f"must not contain .., but is {quoted(self.cgroups_path)}")
        self._check_user_namespace()
        for name in self.net_devices:
            check_interface_name(f".netDevices[{quoted(name)}]", name)
        if self.net_devices and not self.has("network"):
            raise SpecError(".netDevices", "needs a network namespace")
        if self.time_offsets is not None:
            self._check_time_namespace()
        for name in self.sysctl:
            self._check_sysctl(name)

    def _check_time_namespace(self) -> None:
        """Refuse offsets without a new time namespace: the clocks of one with processes cannot be set."""
        if not self.has("time"):
            raise SpecError(".timeOffsets", "needs a time namespace")
        if any(namespace.type == "time" and namespace.path for namespace in self.namespaces):
            raise SpecError(".timeOffsets", "cannot be set in a joined time namespace")

    def _check_user_namespace(self) -> None:
        check_mappings(".uidMappings", self.uid_mappings)
        check_mappings(".gidMappings", self.gid_mappings)
        for namespace in self.namespaces:
            if namespace.type == "user":
                break
        else:
            for name in ("uid", "gid"):
                if getattr(self, f"{name}_mappings"):
                    raise SpecError(f".{name}Mappings", "needs a user namespace")
            return
        for name in ("uid", "gid"):
            if not namespace.path and not getattr(self, f"{name}_mappings"):
                raise SpecError(f".{name}Mappings", "is required for a new user namespace")

    def _check_sysctl(self, name: str) -> None:
        """Refuse a kernel parameter outside the container's namespaces: it would change the host."""
        path = f".sysctl[{quoted(name)}]"
        dotted = name.replace("/", ".")
        if ".." in dotted or dotted.startswith("."):
            raise SpecError(path, "is not the name of a kernel parameter")
        if dotted.startswith("net."):
            kind: NamespaceType = "network"
        elif dotted in _IPC_SYSCTLS or dotted.startswith("fs.mqueue."):
            kind = "ipc"
        elif dotted in {"kernel.domainname", "kernel.hostname"}:
            kind = "uts"
        elif dotted.startswith("user."):
            kind = "user"
        else:
            raise SpecError(path, "is not in a namespace; it would change the host")
        if not self.has(kind):
            raise SpecError(path, f"needs a {kind} namespace")


_IPC_SYSCTLS = frozenset(
    {
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    }
)


def _ranges(listed: str) -> list[tuple[str, str]]:
    """Split a checked list such as 0-3,7 into the first and last number of each part."""
    return [(first, last) for first, _, last in (part.strip().partition("-") for part in listed.split(","))]


def check_mappings(path: str, mappings: tuple[IdMapping, ...]) -> None:
    """Raise SpecError if ranges of a mapping overlap: the kernel would refuse it without saying where."""
    for index, mapping in enumerate(mappings):
        for other in mappings[:index]:
            for name, label in (("container_id", "containerID"), ("host_id", "hostID")):
                first, second = getattr(mapping, name), getattr(other, name)
                if first < second + other.size and second < first + mapping.size:
                    raise SpecError(f"{path}[{index}].{label}", "overlaps an earlier range")


def check_interface_name(path: str, name: str) -> None:
    """Raise SpecError for a name that the kernel's dev_valid_name refuses."""
    if len(name.encode()) > 15 or name in {"", ".", ".."} or any(c in "/:" or c.isspace() for c in name):
        raise SpecError(path, f"{quoted(name)} cannot be the name of a network interface")
