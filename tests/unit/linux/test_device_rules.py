"""Device rules: what version 1 is told, and what version 2's program decides, run by a small interpreter."""

from __future__ import annotations

from struct import iter_unpack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runwasi.linux.cgroups.device_rules import ANY, DeviceRule, filter_program, transition

DENY_ALL, ALLOW_ALL = DeviceRule(False, "a", ANY, ANY, "rwm"), DeviceRule(True, "a", ANY, ANY, "rwm")
NULL = DeviceRule(True, "c", 1, 3, "rwm")
BITS = {"m": 1, "r": 2, "w": 4}
KINDS = {"b": 1, "c": 2}


def decide(program: bytes, kind: str, major: int, minor: int, access: str) -> bool:
    """Run an eBPF program of the few instructions that ours consist of."""
    context = {0: sum(BITS[bit] for bit in access) << 16 | KINDS[kind], 4: major, 8: minor}
    code = list(iter_unpack("=BBhi", program))
    registers = [0] * 11
    at = 0
    while True:
        op, which, offset, value = code[at]
        to, source = which & 15, which >> 4
        at += 1
        match op:
            case 0x61:
                registers[to] = context[offset]
            case 0xBF:
                registers[to] = registers[source]
            case 0xB7:
                registers[to] = value
            case 0x77:
                registers[to] >>= value
            case 0x57:
                registers[to] &= value
            case 0x55:
                at += offset if registers[to] != value else 0
            case 0x15:
                at += offset if registers[to] == value else 0
            case 0x95:
                return bool(registers[0])
            case _:
                raise AssertionError(f"unexpected instruction {op:#x}")


def expected(rules: list[DeviceRule], kind: str, major: int, minor: int, access: str) -> bool:
    """Each access is decided by the last rule that speaks of it; without one it is refused."""

    def one(bit: int) -> bool:
        for rule in reversed(rules):
            matches = rule.kind in ("a", kind) and rule.major in (ANY, major) and rule.minor in (ANY, minor)
            if matches and rule.access & bit:
                return rule.allow
        return False

    return all(one(BITS[letter]) for letter in access)


numbers = st.sampled_from([ANY, 0, 1, 3])
accesses = st.sampled_from(["r", "w", "m", "rw", "rm", "rwm"])
rules = st.lists(st.builds(DeviceRule, st.booleans(), st.sampled_from("abc"), numbers, numbers, accesses))


@given(rules, st.sampled_from("bc"), st.sampled_from([0, 1, 2, 3]), st.sampled_from([0, 1, 2, 3]), accesses)
def test_the_program_decides_as_the_rules_say(
    rules: list[DeviceRule], kind: str, major: int, minor: int, access: str
) -> None:
    assert decide(filter_program(rules), kind, major, minor, access) == expected(
        rules, kind, major, minor, access
    )


def test_a_new_version_1_cgroup_is_closed_before_it_is_opened_for_some() -> None:
    assert list(transition("a *:* rwm\n", [NULL])) == [("devices.deny", "a"), ("devices.allow", "c 1:3 rwm")]


def test_rules_that_stay_are_not_written_again() -> None:
    now = "c 1:3 rwm\nc 1:5 rw\n"
    wanted = [NULL, DeviceRule(True, "b", 8, ANY, "r"), DeviceRule(True, "c", 1, 5, "r")]
    assert list(transition(now, wanted)) == [("devices.allow", "b 8:* r"), ("devices.deny", "c 1:5 w")]


def test_a_rule_for_everything_resets_those_before_it() -> None:
    assert list(transition("c 1:3 rwm\n", [NULL, ALLOW_ALL])) == [("devices.allow", "a")]
    assert list(transition("a *:* rwm\n", [ALLOW_ALL, DENY_ALL])) == [("devices.deny", "a")]


def test_with_all_allowed_the_exceptions_are_denied() -> None:
    deny = DeviceRule(False, "c", 1, 11, "w")
    assert list(transition("c 1:3 r\n", [ALLOW_ALL, deny])) == [
        ("devices.allow", "a"),
        ("devices.deny", "c 1:11 w"),
    ]


def test_a_rule_for_both_kinds_of_one_number_becomes_two() -> None:
    both = DeviceRule(True, "a", 10, 229, "r")
    assert list(transition("c 1:3 r\n", [DeviceRule(True, "c", 1, 3, "r"), both])) == [
        ("devices.allow", "b 10:229 r"),
        ("devices.allow", "c 10:229 r"),
    ]


def test_version_1_refuses_what_it_would_ignore() -> None:
    with pytest.raises(OSError, match=r"cannot remove c 1:3 w from c 1:\* rw"):
        list(transition("", [DeviceRule(True, "c", 1, ANY, "rw"), DeviceRule(False, "c", 1, 3, "w")]))


@pytest.mark.parametrize(("kind", "access"), [("x", "r"), ("c", "rx")])
def test_kinds_and_accesses_that_do_not_exist_are_refused(kind: str, access: str) -> None:
    with pytest.raises(OSError, match="unknown"):
        DeviceRule(True, kind, 1, 3, access)
