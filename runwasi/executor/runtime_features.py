"""Lists what this runtime, its libraries and the kernel can do, in the form of runtime-spec features.md."""

from __future__ import annotations

import errno
from ctypes import CDLL, get_errno

from runwasi import __version__
from runwasi.engines import annotation_names as names
from runwasi.executor.criu import criu_service
from runwasi.executor.mounts.mount_options import known_options
from runwasi.linux.capabilities import CAPABILITIES
from runwasi.linux.libc import SYS_SECCOMP, syscall
from runwasi.linux.seccomp_filter import library_version
from runwasi.oci import linux, seccomp
from runwasi.oci.decode import choices
from runwasi.oci.features import (
    CgroupFeatures,
    Enabled,
    Features,
    IntelRdtFeatures,
    LinuxFeatures,
    MemoryPolicyFeatures,
    MountExtensions,
    SeccompFeatures,
)
from runwasi.oci.record import json_name, members_of
from runwasi.oci.spec import VERSION, Hooks

# Those that change what a container may do; a full stop at the end stands for all that begin so.
_HEEDED_ANNOTATIONS = (
    names.PREFIX,
    names.VARIANT,
    names.CRIU_CONFIG,
    names.SYSTEMD_PROPERTY,
    names.HANDLER,
    names.KEEP_GROUPS,
)

_SET_MODE_FILTER = 1
_FILTER_FLAGS = {  # linux/seccomp.h
    "SECCOMP_FILTER_FLAG_TSYNC": 1,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 8 | 32,  # only together with NEW_LISTENER
}


def features() -> Features:
    """Return the features document."""
    library = library_version()
    about = {
        "io.runwasi.version": __version__,
        "io.runwasi.checkpoint.enabled": "true" if criu_service.find() else "false",
    }
    if library:
        about["io.github.seccomp.libseccomp.version"] = library
    return Features(
        oci_version_min="1.0.0",
        oci_version_max=VERSION,
        hooks=tuple(json_name(Hooks, member) for member in members_of(Hooks)),
        mount_options=tuple(known_options()),
        linux=_linux(bool(library)),
        annotations=about,
        potentially_unsafe_config_annotations=_HEEDED_ANNOTATIONS,
    )


def _linux(has_libseccomp: bool) -> LinuxFeatures:
    return LinuxFeatures(
        namespaces=tuple(sorted(choices(linux.NamespaceType))),
        capabilities=tuple(CAPABILITIES),
        cgroup=CgroupFeatures(v1=True, v2=True, systemd=True, systemd_user=True, rdma=True),
        seccomp=_seccomp() if has_libseccomp else SeccompFeatures(enabled=False),
        apparmor=Enabled(enabled=True),
        selinux=Enabled(enabled=True),
        intel_rdt=IntelRdtFeatures(enabled=True, schemata=True, monitoring=True),
        memory_policy=MemoryPolicyFeatures(
            modes=choices(linux.MemoryPolicyMode), flags=choices(linux.MemoryPolicyFlag)
        ),
        mount_extensions=MountExtensions(idmap=Enabled(enabled=True)),
        net_devices=Enabled(enabled=True),
    )


def _seccomp() -> SeccompFeatures:
    known = choices(seccomp.SeccompFlag)
    return SeccompFeatures(
        enabled=True,
        actions=tuple(sorted(choices(seccomp.SeccompAction))),
        operators=tuple(sorted(choices(seccomp.SeccompOperator))),
        archs=tuple(sorted(filter(_library_knows, choices(seccomp.SeccompArch)))),
        known_flags=known,
        supported_flags=tuple(filter(_kernel_takes, known)),
    )


def _library_knows(architecture: str) -> bool:
    name = architecture.removeprefix("SCMP_ARCH_").lower()
    return bool(CDLL("libseccomp.so.2").seccomp_arch_resolve_name(name.encode()))


def _kernel_takes(flag: str) -> bool:
    """Return whether seccomp(2) knows a flag: it looks at flags before it finds that there is no filter."""
    syscall(SYS_SECCOMP, _SET_MODE_FILTER, _FILTER_FLAGS[flag], None)
    return get_errno() == errno.EFAULT
