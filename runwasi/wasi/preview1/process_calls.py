"""Arguments, environment, clocks, random numbers, signals and exit; sockets are refused."""

from __future__ import annotations

import os
import time

from runwasi.wasi.preview1 import abi
from runwasi.wasi.preview1.abi import BADF, INVAL, NOTSUP, SUCCESS
from runwasi.wasi.preview1.module_guest import Exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from runwasi.wasi.preview1.module_guest import Guest


_MOST_RANDOM = 1 << 20
"""The most bytes to request at once: they are copied."""


def args_sizes_get(guest: Guest, count: int, size: int) -> int:
    """Return the number of arguments and their total size."""
    return _sizes(guest, guest.args, count, size)


def args_get(guest: Guest, pointers: int, texts: int) -> int:
    """Return the arguments."""
    return _strings(guest, guest.args, pointers, texts)


def environ_sizes_get(guest: Guest, count: int, size: int) -> int:
    """Return the number of variables and their total size."""
    return _sizes(guest, guest.env, count, size)


def environ_get(guest: Guest, pointers: int, texts: int) -> int:
    """Return the environment."""
    return _strings(guest, guest.env, pointers, texts)


def _sizes(guest: Guest, strings: Sequence[bytes], count: int, size: int) -> int:
    abi.SIZE.pack_into(guest.view, count, len(strings))
    abi.SIZE.pack_into(guest.view, size, sum(map(len, strings)) + len(strings))
    return SUCCESS


def _strings(guest: Guest, strings: Sequence[bytes], pointers: int, texts: int) -> int:
    """Write NUL-terminated strings one after the other, and a pointer to each."""
    for number, text in enumerate(strings):
        abi.SIZE.pack_into(guest.view, pointers + 4 * number, texts)
        guest.part(texts, len(text) + 1)[:] = text + b"\0"
        texts += len(text) + 1
    return SUCCESS


def clock_res_get(guest: Guest, clock: int, result: int) -> int:
    """Return the resolution of a clock in nanoseconds."""
    if clock > abi.THREAD_CPUTIME:
        return INVAL
    if clock > abi.MONOTONIC:
        return BADF
    native = time.CLOCK_REALTIME if clock == abi.REALTIME else time.CLOCK_MONOTONIC
    abi.FILESIZE.pack_into(guest.view, result, max(1, round(time.clock_getres(native) * 1e9)))
    return SUCCESS


def clock_time_get(guest: Guest, clock: int, _precision: int, result: int) -> int:
    """Return the time of a clock in nanoseconds."""
    if clock == abi.MONOTONIC:
        now = time.monotonic_ns()
    elif clock == abi.REALTIME:
        now = time.time_ns()
    else:
        return BADF if clock <= abi.THREAD_CPUTIME else INVAL
    abi.FILESIZE.pack_into(guest.view, result, now)
    return SUCCESS


def random_get(guest: Guest, start: int, size: int) -> int:
    """Fill a part of memory with bytes that nobody can guess."""
    room = guest.part(start, size)
    for at in range(0, size, _MOST_RANDOM):
        piece = room[at : at + _MOST_RANDOM]
        piece[:] = os.urandom(len(piece))
    return SUCCESS


def sched_yield(_guest: Guest) -> int:
    """Do nothing: the guest has only one thread."""
    return SUCCESS


def proc_exit(_guest: Guest, code: int) -> NoReturn:
    """End the guest."""
    raise Exit(code)


def proc_raise(_guest: Guest, _signal: int) -> int:
    """Refuse: a guest must not signal its host."""
    return NOTSUP


def sock_accept(guest: Guest, fd: int, _flags: int, _result: int) -> int:
    """Refuse: no descriptor of a guest is a socket."""
    guest.handles[fd]
    return abi.NOTSOCK


def sock_recv(guest: Guest, fd: int, _iovs: int, _count: int, _flags: int, _size: int, _result: int) -> int:
    """Refuse: no descriptor of a guest is a socket."""
    guest.handles[fd]
    return abi.NOTSOCK


def sock_send(guest: Guest, fd: int, _iovs: int, _count: int, _flags: int, _result: int) -> int:
    """Refuse: no descriptor of a guest is a socket."""
    guest.handles[fd]
    return abi.NOTSOCK


def sock_shutdown(guest: Guest, fd: int, _how: int) -> int:
    """Refuse: no descriptor of a guest is a socket."""
    guest.handles[fd]
    return abi.NOTSOCK
