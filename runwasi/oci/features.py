"""The document that `runwasi features` prints: the features of the runtime, on any host.

Source: runtime-spec features.md and features-linux.md. None and an absent list mean "unknown", not "no".
"""

from __future__ import annotations

from runwasi.oci.record import EMPTY, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Enabled(Record):
    """Whether one facility is supported."""

    enabled: bool | None = None


class CgroupFeatures(Record):
    """Which cgroup versions and drivers are supported."""

    v1: bool | None = None
    v2: bool | None = None
    systemd: bool | None = None
    systemd_user: bool | None = None
    rdma: bool | None = None


class SeccompFeatures(Record):
    """The names that seccomp profiles may use."""

    enabled: bool | None = None
    actions: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    archs: tuple[str, ...] = ()
    known_flags: tuple[str, ...] = ()
    supported_flags: tuple[str, ...] = ()


class IntelRdtFeatures(Record):
    """Which parts of resctrl are supported."""

    enabled: bool | None = None
    schemata: bool | None = None
    monitoring: bool | None = None


class MemoryPolicyFeatures(Record):
    """The supported NUMA policies."""

    modes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


class MountExtensions(Record):
    """Mount features beyond mount(2)."""

    idmap: Enabled | None = None


class LinuxFeatures(Record):
    """Which Linux-only facilities are supported."""

    namespaces: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    cgroup: CgroupFeatures | None = None
    seccomp: SeccompFeatures | None = None
    apparmor: Enabled | None = None
    selinux: Enabled | None = None
    intel_rdt: IntelRdtFeatures | None = None
    memory_policy: MemoryPolicyFeatures | None = None
    mount_extensions: MountExtensions | None = None
    net_devices: Enabled | None = None


class Features(Record):
    """The whole document."""

    oci_version_min: str
    oci_version_max: str
    hooks: tuple[str, ...] = ()
    mount_options: tuple[str, ...] = ()
    linux: LinuxFeatures | None = None
    annotations: Mapping[str, str] = EMPTY
    potentially_unsafe_config_annotations: tuple[str, ...] = ()
