"""Numbers the capabilities, and sets all five capability sets of a thread exactly."""

from __future__ import annotations

from errno import EINVAL

from runwasi.linux.libc import SYS_CAPGET, SYS_CAPSET, check, failure, libc, syscall
from runwasi.startup.thin_ctypes import c_uint32, get_errno

CAPABILITIES = {
    name: number
    for number, name in enumerate(
        (
            "CAP_CHOWN",
            "CAP_DAC_OVERRIDE",
            "CAP_DAC_READ_SEARCH",
            "CAP_FOWNER",
            "CAP_FSETID",
            "CAP_KILL",
            "CAP_SETGID",
            "CAP_SETUID",
            "CAP_SETPCAP",
            "CAP_LINUX_IMMUTABLE",
            "CAP_NET_BIND_SERVICE",
            "CAP_NET_BROADCAST",
            "CAP_NET_ADMIN",
            "CAP_NET_RAW",
            "CAP_IPC_LOCK",
            "CAP_IPC_OWNER",
            "CAP_SYS_MODULE",
            "CAP_SYS_RAWIO",
            "CAP_SYS_CHROOT",
            "CAP_SYS_PTRACE",
            "CAP_SYS_PACCT",
            "CAP_SYS_ADMIN",
            "CAP_SYS_BOOT",
            "CAP_SYS_NICE",
            "CAP_SYS_RESOURCE",
            "CAP_SYS_TIME",
            "CAP_SYS_TTY_CONFIG",
            "CAP_MKNOD",
            "CAP_LEASE",
            "CAP_AUDIT_WRITE",
            "CAP_AUDIT_CONTROL",
            "CAP_SETFCAP",
            "CAP_MAC_OVERRIDE",
            "CAP_MAC_ADMIN",
            "CAP_SYSLOG",
            "CAP_WAKE_ALARM",
            "CAP_BLOCK_SUSPEND",
            "CAP_AUDIT_READ",
            "CAP_PERFMON",
            "CAP_BPF",
            "CAP_CHECKPOINT_RESTORE",
        )
    )
}
"""All capabilities of linux/capability.h by name."""

# linux/prctl.h
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_IS_SET = 1
_PR_CAP_AMBIENT_RAISE = 2
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_VERSION_3 = 0x20080522  # _LINUX_CAPABILITY_VERSION_3


class CapSets:
    """The five capability sets of a thread, each a mask in which bit N is capability number N."""

    __slots__ = ("ambient", "bounding", "effective", "inheritable", "permitted")

    def __init__(self, effective: int, permitted: int, inheritable: int, bounding: int, ambient: int) -> None:
        self.effective = effective
        self.permitted = permitted
        self.inheritable = inheritable
        self.bounding = bounding
        self.ambient = ambient

    def __repr__(self) -> str:
        masks = ", ".join(f"{name}={getattr(self, name):#x}" for name in self.__slots__)
        return f"CapSets({masks})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CapSets) and all(
            getattr(self, name) == getattr(other, name) for name in self.__slots__
        )

    __hash__ = None  # type: ignore[assignment]


def last_cap() -> int:
    """Return the highest capability number that the running kernel knows."""
    number = len(CAPABILITIES) - 1
    while number and not _in_bounding_set_known(number):
        number -= 1
    while _in_bounding_set_known(number + 1):
        number += 1
    return number


def _in_bounding_set_known(number: int) -> bool:
    """Return whether the kernel knows a capability number; this needs no /proc."""
    return _in_bounding_set(number) is not None


def _in_bounding_set(number: int) -> bool | None:
    """Ask whether the set has a capability; None for one beyond the last that this kernel knows. Raises OSError."""
    present = libc.prctl(_PR_CAPBSET_READ, number, None, None, None)
    if present == -1 and get_errno() == EINVAL:
        return None
    return bool(check(present, "prctl PR_CAPBSET_READ", number))  # what is not known would not be dropped


def apply_bounding(mask: int) -> None:
    """Drop every capability outside mask from the bounding set; needs CAP_SETPCAP to drop any.

    Call it before CAP_SETPCAP is given up, and so before apply. Raises OSError. Source: man 7 capabilities.
    """
    number = 0
    while True:
        if not mask >> number & 1 and libc.prctl(_PR_CAPBSET_DROP, number, None, None, None) == -1:
            refusal = get_errno()
            present = _in_bounding_set(number)
            # Beyond the last capability. Without CAP_SETPCAP the kernel refuses an unknown one with EPERM, too.
            if present is None:
                return
            if present:
                raise failure(refusal, "prctl PR_CAPBSET_DROP", number)
        number += 1


def apply(sets: CapSets) -> None:
    """Set the effective, permitted, inheritable and ambient sets of this thread to exactly those of sets.

    apply_bounding sets the bounding set. Capabilities that the kernel does not know are ignored. Ambient
    capabilities must also be permitted and inheritable, or the kernel refuses them with EPERM. Raises OSError.
    """
    known = (1 << (last_cap() + 1)) - 1
    _capset(sets.effective & known, sets.permitted & known, sets.inheritable & known)
    result = libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, None, None, None)
    check(result, "prctl", "PR_CAP_AMBIENT_CLEAR_ALL")
    for number in _numbers(sets.ambient & known):
        result = libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number, None, None)
        check(result, "prctl PR_CAP_AMBIENT_RAISE", number)


def raise_permitted() -> None:
    """Make every permitted capability effective, for example after a change of user that kept them."""
    _, permitted, inheritable = _capget()
    _capset(permitted, permitted, inheritable)


def hold_effective(mask: int) -> None:
    """Make exactly the permitted capabilities in mask effective."""
    _, permitted, inheritable = _capget()
    _capset(permitted & mask, permitted, inheritable)


def current() -> CapSets:
    """Read the five sets of this thread."""
    bounding = ambient = 0
    for number in range(last_cap() + 1):
        bounding |= bool(_in_bounding_set(number)) << number
        is_set = libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_IS_SET, number, None, None)
        ambient |= max(is_set, 0) << number
    effective, permitted, inheritable = _capget()
    return CapSets(effective, permitted, inheritable, bounding, ambient)


def _capget() -> tuple[int, int, int]:
    """Read the effective, permitted and inheritable set of this thread."""
    header, data = (c_uint32 * 2)(_VERSION_3, 0), (c_uint32 * 6)()
    check(syscall(SYS_CAPGET, header, data), "capget")
    return data[0] | data[3] << 32, data[1] | data[4] << 32, data[2] | data[5] << 32


def _capset(effective: int, permitted: int, inheritable: int) -> None:
    header = (c_uint32 * 2)(_VERSION_3, 0)
    sets = (effective, permitted, inheritable)
    data = (c_uint32 * 6)(*(mask & 0xFFFFFFFF for mask in sets), *(mask >> 32 for mask in sets))
    check(syscall(SYS_CAPSET, header, data), "capset")


def _numbers(mask: int) -> list[int]:
    return [number for number in range(mask.bit_length()) if mask >> number & 1]
