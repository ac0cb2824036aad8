"""Makes a hostile component's attacks on our WASI 0.2, each with a guest of its own, in this process.

Reads a JSON object: component (path), root (the folder that the guests are given), concurrent (guests are suspended
while they wait, as in a server, or not), cases (numbers), room (descriptors that are left, or null). Prints a line
for each case, number and outcome. The outcome is the byte that the call returned, "trap" if the guest broke a rule,
"waits", or the exception that a host function raised and that no rule names. Once no more descriptors are open than
at first, prints the memory in KiB.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import shutil
import signal
import sys
from typing import TYPE_CHECKING, Any

from devtools.waiting import until
from runwasi.engines import wasmtime_capi
from runwasi.engines.guest_limits import Limits
from runwasi.wasi import interfaces
from runwasi.wasi.component import linker, wit_types
from runwasi.wasi.component.capi import OUT, lib, take_error, word
from runwasi.wasi.component.guest import Exit, Guest, new_guest
from runwasi.wasi.component.interface import GuestFault
from runwasi.wasi.component.linker import HostLinker
from runwasi.wasi.component.lowering import lowerer
from runwasi.wasi.component.values import SCALARS, VAL_SIZE, Val
from runwasi.wasi.component.wit_types import Type
from runwasi.wasi.component.world import World
from runwasi.wasi.http.body import Arriving
from runwasi.wasi.http.exchange import Exchange
from runwasi.wasi.http.requests import IncomingRequest, IncomingResponse, RequestHead, ResponseOutparam
from runwasi.wasi.http.waits import Waits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runwasi.wasi.component.interface import Waitable

MOST_DATA = 512 << 20
"""Bytes that the attacks together may add to this process."""

_U32 = 3  # the kind of a u32
_own = lowerer(Type("own"))


class Host:
    """The component, compiled and linked once."""

    def __init__(self, job: dict[str, Any]) -> None:
        """Load it."""
        interfaces.load()
        self._concurrent = job["concurrent"]
        self._engine = wasmtime_capi.WasmEngine(fuel=False, memory_reservation=None, parallel=True)
        with open(job["component"], "rb") as file:
            binary = file.read()
        error = lib.new(self._engine.pointer, binary, len(binary), OUT)
        if error:
            raise take_error(error)
        self._component = word(OUT)
        imports = wit_types.imports(self._engine.pointer, self._component)
        self._linker = HostLinker(self._engine.pointer, imports, concurrent=self._concurrent)
        self._export = lib.get_export_index(self._component, None, b"attack", 6)
        self._world = World(["guest"], [("NAME", "value")], "/", [(job["root"], "/work")])
        self._all = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._few: tuple[int, int] | None = None
        self._room = ctypes.create_string_buffer(1024)

    def attack(self, number: int) -> str:
        """Make one attack; return its outcome."""
        if self._few is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, self._few)
        guest = new_guest(self._engine.pointer, self._world, Limits())
        exchange = Exchange(RequestHead(("post", None), "/", "1.1", "host", [("a", b"b")]))
        exchange.body.feed(b"body")
        try:
            return self._made(guest, exchange, number)
        finally:
            guest.close()
            exchange.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, self._all)

    def leave(self, room: int) -> None:
        """Let attacks open no more than this many descriptors."""
        open_now = [int(name) for name in os.listdir("/proc/self/fd")]
        self._few = (max(open_now) + room, self._all[1])

    def _made(self, guest: Guest, exchange: Exchange, number: int) -> str:
        ctypes.memset(self._room, 0, len(self._room))
        instance = ctypes.addressof(self._room)
        function, failed, args = instance + 32, instance + 64, instance + 128
        result = args + 4 * VAL_SIZE
        if self._concurrent:
            future = lib.linker_instantiate_async(
                self._linker.pointer, guest.context, self._component, instance, failed
            )
            assert lib.wasmtime_call_future_poll(future)
            lib.wasmtime_call_future_delete(future)
            error = word(failed)
        else:
            error = lib.linker_instantiate(self._linker.pointer, guest.context, self._component, instance)
        assert not error, take_error(error)
        lib.instance_get_func(instance, guest.context, self._export, function)
        first = Val.from_address(args)
        first.kind, first.u32 = KIND_U32, number
        body = Arriving()
        body.feed(b"response")
        given = (IncomingRequest(exchange), ResponseOutparam(exchange), IncomingResponse(200, [], body))
        for index, each in enumerate(given, 1):
            _own(args + index * VAL_SIZE, each, guest)
        if not self._concurrent:
            error = lib.func_call(function, guest.context, args, 4, result, 1)
            return self._outcome(guest, error, result)
        future = lib.func_call_async(function, guest.context, args, 4, result, 1, failed)
        done = lib.wasmtime_call_future_poll(future)
        waits = not (done or guest.failure is not None or word(failed))
        if waits and guest.suspension is not None:
            self._wait(guest)
        lib.wasmtime_call_future_delete(future)
        return "waits" if waits else self._outcome(guest, word(failed), result)

    def _wait(self, guest: Guest) -> None:
        """Do what a server does for a guest that waits."""
        assert guest.suspension is not None
        resource.setrlimit(resource.RLIMIT_NOFILE, self._all)
        with select.epoll() as epoll:
            waits = Waits(epoll)
            try:
                wait = waits.start(guest.suspension, lambda: None)
            except OSError:
                return
            epoll.poll(min(0.0, waits.next_moment() or 0.0))
            guest.suspension.ready()
            waits.stop(wait)
            waits.close_stopped()

    def _outcome(self, guest: Guest, error: int, result: int) -> str:
        exception = take_error(error) if error else None
        if guest.failure is not None and not isinstance(guest.failure, (Exit, GuestFault)):
            return repr(guest.failure)[:300]
        if guest.failure is not None or exception is not None:
            return "trap"
        return str(Val.from_address(result).u32)


_TREE = {"up": "link", "dir": "folder", "file": "file"}


def restore(root: str) -> None:
    """Make the guests' folder anew if an attack has changed it."""
    found = {
        entry.name: "link" if entry.is_symlink() else "folder" if entry.is_dir() else "file"
        for entry in os.scandir(root)
    }
    if found == _TREE and not os.listdir(f"{root}/dir"):
        return
    shutil.rmtree(root)
    os.makedirs(f"{root}/dir")
    os.symlink("..", f"{root}/up")
    with open(f"{root}/file", "w", encoding="ascii") as file:
        file.write("content")


KIND_U32 = SCALARS.index("u32")


def _wait_for_nothing(pollables: Iterable[Waitable]) -> None:
    """End a guest that waits alone."""
    for each in pollables:
        each.sources()
    raise GuestFault("waits")


def main() -> None:
    """Make all attacks."""
    job = json.load(sys.stdin)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    vars(linker)["wait_for_any"] = _wait_for_nothing
    host = Host(job)
    report = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC), 1)  # the guests' stdout
    for number in range(64):
        host.attack(number)
    resource.setrlimit(resource.RLIMIT_DATA, (_data() + MOST_DATA,) * 2)
    before = os.listdir("/proc/self/fd")
    if job["room"] is not None:
        host.leave(job["room"])
    for number in job["cases"]:
        report.write(f"{number} ")
        report.flush()
        restore(job["root"])
        outcome = host.attack(number)
        report.write(f"{outcome}\n")
    until(lambda: len(os.listdir("/proc/self/fd")) <= len(before), bool)
    report.write(f"memory {_data() >> 10}\n")
    os._exit(0)


def _data() -> int:
    """Return the bytes of data that this process has."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmData"))


if __name__ == "__main__":
    main()
