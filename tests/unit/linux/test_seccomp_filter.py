"""The start of a refusing filter: calls newer than those that its rules name do not exist."""

from __future__ import annotations

from struct import iter_unpack

import pytest

from runwasi.linux.seccomp_filter import ALLOW, ERRNO, Rule, compile_filter, newer_is_unknown

X86_64, X86, X32, AARCH64, ARM = 0xC000003E, 0x40000003, 0x4000003E, 0xC00000B7, 0x40000028
X32_BIT = 0x40000000
ARM_PRIVATE = 0x0F0000
UNKNOWN = ERRNO | 38  # ENOSYS
ON = -1


def run(program: bytes, architecture: int, number: int) -> int:
    """Run a classic BPF program; ON when it ends without having decided."""
    code = list(iter_unpack("HBBI", program))
    accumulator = at = 0
    while at < len(code):
        op, if_true, if_false, value = code[at]
        at += 1
        match op:
            case 0x20:
                accumulator = {0: number, 4: architecture}[value]
            case 0x15:
                at += if_true if accumulator == value else if_false
            case 0x25:
                at += if_true if accumulator > value else if_false
            case 0x35:
                at += if_true if accumulator >= value else if_false
            case 0x45:
                at += if_true if accumulator & value else if_false
            case 0x05:
                at += value
            case 0x06:
                return int(value)
            case _:
                raise AssertionError(f"unexpected instruction {op:#x}")
    assert at == len(code)
    return ON


@pytest.mark.parametrize(
    ("architecture", "number", "verdict"),
    [
        (X86_64, 450, ON),
        (X86_64, 451, UNKNOWN),
        (X86, 460, ON),
        (X86, 461, UNKNOWN),
        (X86_64, X32_BIT | 520, ON),
        (X86_64, X32_BIT | 521, UNKNOWN),
        (AARCH64, 440, ON),
        (AARCH64, 441, UNKNOWN),
        (ARM, 430, ON),
        (ARM, 431, UNKNOWN),
        (ARM, ARM_PRIVATE + 2, ON),
        (0x80000016, 9999, ON),  # an architecture that the filter is not for
    ],
)
def test_each_architecture_has_its_own_highest_call(architecture: int, number: int, verdict: int) -> None:
    program = newer_is_unknown({X86_64: 450, X86: 460, X32: X32_BIT | 520, AARCH64: 440, ARM: 430})
    assert run(program, architecture, number) == verdict


def test_x32_calls_are_left_to_the_filter_when_the_profile_has_none() -> None:
    program = newer_is_unknown({X86_64: 450})
    assert run(program, X86_64, X32_BIT | 9999) == ON
    assert run(program, X86_64, 451) == UNKNOWN


def test_a_profile_with_private_calls_of_arm_knows_its_newest_call_all_the_same() -> None:
    """Docker's default profile names cacheflush and set_tls."""
    denied = ERRNO | 1
    rules = [Rule(["read", "openat2", "cacheflush", "set_tls"], ALLOW)]
    program = compile_filter(denied, ["aarch64", "arm"], rules)
    openat2, mount_setattr, cacheflush, unknown_private = 437, 442, ARM_PRIVATE + 2, ARM_PRIVATE + 9
    calls = (openat2, mount_setattr, cacheflush, unknown_private)
    assert [run(program, ARM, number) for number in calls] == [ALLOW, UNKNOWN, ALLOW, denied]
