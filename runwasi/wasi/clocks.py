"""wasi:clocks and wasi:random: clocks and random numbers."""

from __future__ import annotations

import os
import time

from runwasi.wasi.component.interface import GuestFault, Interface
from runwasi.wasi.io.poll import Pollable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.wasi.component.guest import Guest

    Datetime = tuple[int, int]
    """Seconds since 1970 and nanoseconds."""

monotonic_clock = Interface("wasi:clocks/monotonic-clock")
wall_clock = Interface("wasi:clocks/wall-clock")
random = Interface("wasi:random/random")
insecure = Interface("wasi:random/insecure")
insecure_seed = Interface("wasi:random/insecure-seed")

NANO = 1_000_000_000

MOST_RANDOM = 4 << 20
"""The most random bytes that one call returns: on their way to the guest they take 32 times the memory."""


@monotonic_clock.function("now")
def monotonic_now(_guest: Guest) -> int:
    """Return the nanoseconds since an arbitrary moment."""
    return time.monotonic_ns()


@monotonic_clock.function("resolution")
def monotonic_resolution(_guest: Guest) -> int:
    """Return the clock's resolution in nanoseconds."""
    return round(time.get_clock_info("monotonic").resolution * NANO) or 1


@monotonic_clock.function("subscribe-instant")
def subscribe_instant(_guest: Guest, when: int) -> Pollable:
    """Return a pollable that is ready at an instant of this clock."""
    return Pollable(deadline=when / NANO)


@monotonic_clock.function("subscribe-duration")
def subscribe_duration(_guest: Guest, duration: int) -> Pollable:
    """Return a pollable that is ready after `duration` nanoseconds."""
    return Pollable(deadline=time.monotonic() + duration / NANO)


@wall_clock.function("now")
def wall_now(_guest: Guest) -> Datetime:
    """Return the current time."""
    return divmod(time.time_ns(), NANO)


@wall_clock.function("resolution")
def wall_resolution(_guest: Guest) -> Datetime:
    """Return the clock's resolution."""
    return 0, round(time.get_clock_info("time").resolution * NANO) or 1


@random.function("get-random-bytes")
@insecure.function("get-insecure-random-bytes")
def random_bytes(_guest: Guest, length: int) -> bytes:
    """Return bytes that nobody can guess; the insecure interface returns the same quality."""
    if length > MOST_RANDOM:
        raise GuestFault(f"wasi:random: more than {MOST_RANDOM} bytes at once")
    return os.urandom(length)


@random.function("get-random-u64")
@insecure.function("get-insecure-random-u64")
def random_u64(_guest: Guest) -> int:
    """Return a number that nobody can guess; the insecure interface returns the same quality."""
    return int.from_bytes(os.urandom(8), "little")


@insecure_seed.function("insecure-seed")
def seed(_guest: Guest) -> tuple[int, int]:
    """Return 128 bits to seed hash tables with."""
    return int.from_bytes(os.urandom(8), "little"), int.from_bytes(os.urandom(8), "little")
