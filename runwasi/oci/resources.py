"""The `linux.resources` part of config.json, which is also the document that `update --resources` takes.

Source: runtime-spec config-linux.md#control-groups.
"""

from __future__ import annotations

from runwasi.oci.decode import SpecError, quoted
from runwasi.oci.process import check_number_list
from runwasi.oci.record import EMPTY, Int64, Record, Uint16, Uint32, Uint64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Annotated, Literal, TypeAlias

DeviceRuleType: TypeAlias = "Literal['a', 'b', 'c', 'u']"
DeviceNumber: TypeAlias = "Annotated[int, -1, 2147483647]"  # -1 is every number, as for runc
Percent: TypeAlias = "Annotated[int, 0, 100]"


class DeviceRule(Record):
    """One entry of the device allow list; None or -1 stands for every number."""

    allow: bool
    type: DeviceRuleType | None = None
    major: DeviceNumber | None = None
    minor: DeviceNumber | None = None
    access: str | None = None

    def check(self) -> None:
        """Refuse an access without r, w or m; a rule for all devices applies to all access.

        Other letters are ignored, as by runc: "rwa" is "rw".
        """
        if self.access and self.type not in {None, "a"} and not set(self.access) & set("rwm"):
            raise SpecError(".access", f"must be made of r, w and m, not {quoted(self.access)}")


class Memory(Record):
    """Memory limits in bytes; -1 is no limit."""

    limit: Int64 | None = None
    reservation: Int64 | None = None
    swap: Int64 | None = None
    kernel: Int64 | None = None
    kernel_tcp: Int64 | None = None
    swappiness: Percent | None = None
    disable_oom_killer: bool | None = None
    use_hierarchy: bool | None = None
    check_before_update: bool | None = None


class Cpu(Record):
    """CPU shares, bandwidth in microseconds, and the allowed CPUs and memory nodes."""

    shares: Uint64 | None = None
    quota: Int64 | None = None
    burst: Uint64 | None = None
    period: Uint64 | None = None
    realtime_runtime: Int64 | None = None
    realtime_period: Uint64 | None = None
    cpus: str | None = None
    mems: str | None = None
    idle: Int64 | None = None

    def check(self) -> None:
        """Refuse lists that the kernel cannot parse."""
        for name in ("cpus", "mems"):
            listed = getattr(self, name)
            if listed:
                check_number_list(f".{name}", listed)


class Pids(Record):
    """The maximum number of tasks; -1 is no limit."""

    limit: Int64


class WeightDevice(Record):
    """The share of one block device."""

    major: Int64
    minor: Int64
    weight: Uint16 | None = None
    leaf_weight: Uint16 | None = None

    def check(self) -> None:
        """Refuse an empty entry."""
        if self.weight is None and self.leaf_weight is None:
            raise SpecError(".weight", "is required unless leafWeight is given")


class ThrottleDevice(Record):
    """A limit for one block device: bytes or operations per second."""

    major: Int64
    minor: Int64
    rate: Uint64


class BlockIo(Record):
    """Shares and limits of block I/O."""

    weight: Uint16 | None = None
    leaf_weight: Uint16 | None = None
    weight_device: tuple[WeightDevice, ...] = ()
    throttle_read_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_read_iops_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_iops_device: tuple[ThrottleDevice, ...] = ()


class HugepageLimit(Record):
    """A limit, in bytes, for huge pages of one size."""

    page_size: str
    limit: Uint64

    def check(self) -> None:
        """Refuse a malformed size: it becomes part of a file name."""
        number, unit = self.page_size[:-2], self.page_size[-2:]
        if unit not in {"KB", "MB", "GB"} or not (number.isascii() and number.isdigit()) or number[0] == "0":
            raise SpecError(
                ".pageSize", f"must be a size like 64KB, 2MB or 1GB, not {quoted(self.page_size)}"
            )


class InterfacePriority(Record):
    """The priority of traffic that leaves through one interface."""

    name: str
    priority: Uint32


class Network(Record):
    """The net_cls and net_prio controllers."""

    class_id: Uint32 | None = None
    priorities: tuple[InterfacePriority, ...] = ()


class Rdma(Record):
    """Limits of one RDMA device."""

    hca_handles: Uint32 | None = None
    hca_objects: Uint32 | None = None

    def check(self) -> None:
        """Refuse an empty entry."""
        if self.hca_handles is None and self.hca_objects is None:
            raise SpecError(".hcaHandles", "is required unless hcaObjects is given")


class Resources(Record):
    """All settings of a container's cgroup."""

    devices: tuple[DeviceRule, ...] = ()
    memory: Memory | None = None
    cpu: Cpu | None = None
    pids: Pids | None = None
    block_io: BlockIo | None = None
    hugepage_limits: tuple[HugepageLimit, ...] = ()
    network: Network | None = None
    rdma: Mapping[str, Rdma] = EMPTY
    unified: Mapping[str, str] = EMPTY

    def check(self) -> None:
        """Refuse unified keys that are not names of cgroup files."""
        for name in self.unified:
            if "/" in name or "." not in name.strip("."):
                raise SpecError(
                    f".unified[{quoted(name)}]", "is not the name of a cgroup file, such as memory.high"
                )
