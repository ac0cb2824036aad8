"""Translates rules for device access: to lines for v1's devices.allow and .deny, and to a program for v2.

Both start from "nothing is allowed" and apply the rules in order; a later rule overrides an earlier one.
Source: Documentation/admin-guide/cgroup-v1/devices.rst; struct bpf_cgroup_dev_ctx in linux/bpf.h.
"""

from __future__ import annotations

from errno import EINVAL
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    Key: TypeAlias = tuple[str, int, int]

ANY = -1
"""Every major or minor number."""

_MKNOD, _READ, _WRITE = 1, 2, 4  # BPF_DEVCG_ACC_*
BPF_INSN = Struct("=BBhi")  # struct bpf_insn
_ACCESS = {"m": _MKNOD, "r": _READ, "w": _WRITE}
_KINDS = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_*
_ALL = _MKNOD | _READ | _WRITE


class DeviceRule:
    """Allow or deny some access ("rwm", m is mknod) to devices of a kind ("a" all, "b" block, "c" char)."""

    __slots__ = ("access", "allow", "kind", "major", "minor")

    def __init__(self, allow: bool, kind: str, major: int, minor: int, access: str) -> None:
        if kind not in ("a", *_KINDS):
            raise OSError(EINVAL, "unknown kind of device", kind)
        if not set(access) <= set(_ACCESS):
            raise OSError(EINVAL, "unknown device access", access)
        self.allow = allow
        self.kind = kind
        self.major = major
        self.minor = minor
        self.access = sum(_ACCESS[letter] for letter in set(access)) or _ALL

    def matches_everything(self) -> bool:
        """Return whether the rule sets the default rather than an exception."""
        return self.kind == "a" and self.major == ANY and self.minor == ANY and self.access == _ALL

    def exceptions(self) -> list[Key]:
        """Return the exceptions, in v1's terms; v1 has none for both kinds at once."""
        kinds = "bc" if self.kind == "a" else self.kind
        return [(kind, self.major, self.minor) for kind in kinds]


class Exceptions:
    """The state of a v1 cgroup: a default and the accesses that differ from it."""

    def __init__(self) -> None:
        self.allow = False
        self.accesses: dict[Key, int] = {}

    def apply(self, rule: DeviceRule) -> None:
        """Apply one more rule, as the kernel does (security/device_cgroup.c, devcgroup_update_access).

        Raises OSError for a rule that removes a part of a wider exception: v1 would ignore it.
        """
        if rule.matches_everything():
            self.allow = rule.allow
            self.accesses.clear()
            return
        for key in rule.exceptions():
            if rule.allow != self.allow:
                self.accesses[key] = self.accesses.get(key, 0) | rule.access
            else:
                self._take_away(key, rule.access)

    def _take_away(self, key: Key, access: int) -> None:
        for other, granted in self.accesses.items():
            if other != key and granted & access and _overlap(other, key):
                why = f"cgroup v1 cannot remove {_entry(key, access)} from {_entry(other, granted)}"
                raise OSError(EINVAL, why, "device rule")
        if key in self.accesses:
            self.accesses[key] &= ~access
            if not self.accesses[key]:
                del self.accesses[key]

    def beyond(self, other: Exceptions) -> list[tuple[Key, int]]:
        """Return the exceptions that other lacks, in the order of the rules."""
        differences = ((key, access & ~other.accesses.get(key, 0)) for key, access in self.accesses.items())
        return [(key, access) for key, access in differences if access]


def transition(current: str, rules: list[DeviceRule]) -> Iterator[tuple[str, str]]:
    """Yield the (file, entry) writes that change a devices.list to these rules.

    Accesses are added before others are removed, so that an access that stays allowed is never refused in
    between; only a change of the default resets everything.
    """
    now, wanted = _parse(current), Exceptions()
    for rule in rules:
        wanted.apply(rule)
    add, take = ("devices.deny", "devices.allow") if wanted.allow else ("devices.allow", "devices.deny")
    if now.allow != wanted.allow:
        yield take, "a"
        now = Exceptions()
    for key, access in wanted.beyond(now):
        yield add, _entry(key, access)
    for key, access in now.beyond(wanted):
        yield take, _entry(key, access)


def filter_program(rules: list[DeviceRule]) -> bytes:
    """Assemble the eBPF program for the rules: 1 allows, 0 refuses.

    It walks the rules from the last to the first, and keeps in r3 the accesses that no rule has granted yet:
    a denying rule that matches one of them refuses; once none is left, the access is granted.
    """
    # r1 is the context: u32 access_type (access << 16 | kind), u32 major, u32 minor.
    code = [
        _insn(0x61, 2, 1, 0, 0),  # r2 = ctx->access_type
        _insn(0xBF, 3, 2, 0, 0),  # r3 = r2
        _insn(0x77, 3, 0, 0, 16),  # r3 >>= 16
        _insn(0x57, 2, 0, 0, 0xFFFF),  # r2 &= 0xffff: the kind
        _insn(0x61, 4, 1, 4, 0),  # r4 = ctx->major
        _insn(0x61, 5, 1, 8, 0),  # r5 = ctx->minor
    ]
    default = False
    for rule in reversed(rules):
        if rule.matches_everything():
            default = rule.allow
            break
        code += _rule(rule)
    code += _verdict(default)
    return b"".join(code)


def _rule(rule: DeviceRule) -> list[bytes]:
    if rule.allow:
        decide = [
            _insn(0x57, 3, 0, 0, _ALL & ~rule.access),  # r3 &= ~access
            _insn(0x55, 3, 0, 2, 0),  # if r3 != 0 goto next
            *_verdict(True),
        ]
    else:
        decide = [
            _insn(0xBF, 1, 3, 0, 0),  # r1 = r3
            _insn(0x57, 1, 0, 0, rule.access),  # r1 &= access
            _insn(0x15, 1, 0, 2, 0),  # if r1 == 0 goto next
            *_verdict(False),
        ]
    wanted = [(2, _KINDS.get(rule.kind, ANY)), (4, rule.major), (5, rule.minor)]
    tests = [(register, value) for register, value in wanted if value != ANY]
    skip = len(decide) + len(tests)
    # A failed test jumps over the tests after it and the decision.
    return [
        _insn(0x55, register, 0, skip - n, value) for n, (register, value) in enumerate(tests, 1)
    ] + decide


def _verdict(allow: bool) -> list[bytes]:
    return [_insn(0xB7, 0, 0, 0, int(allow)), _insn(0x95, 0, 0, 0, 0)]  # r0 = allow; exit


def _insn(code: int, destination: int, source: int, offset: int, immediate: int) -> bytes:
    return BPF_INSN.pack(code, destination | source << 4, offset, immediate)


def _parse(listing: str) -> Exceptions:
    """Parse a devices.list: "a *:* rwm" if everything is allowed by default, otherwise the exceptions.

    If the default is to allow, the kernel does not list the exceptions; changing the default resets them.
    """
    found = Exceptions()
    for line in listing.splitlines():
        kind, numbers, access = line.split()
        major, minor = (ANY if number == "*" else int(number) for number in numbers.split(":"))
        found.apply(DeviceRule(True, kind, major, minor, access))
    return found


def _overlap(one: Key, other: Key) -> bool:
    return one[0] == other[0] and all(
        ANY in (mine, theirs) or mine == theirs for mine, theirs in zip(one[1:], other[1:], strict=True)
    )


def _entry(key: Key, access: int) -> str:
    kind, *numbers = key
    major, minor = ("*" if number == ANY else str(number) for number in numbers)
    return f"{kind} {major}:{minor} {''.join(letter for letter in 'rwm' if access & _ACCESS[letter])}"
