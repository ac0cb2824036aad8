"""An engine with a hole: it runs native code, planted behind the filter that the first argument names.

With a second argument it is an engine whose module asked for no socket: it has one from before the filter.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

from runwasi.engines.engine import Context, Engine, Stdio
from tests.support.seccomp import ATTACKS, call, number_of

if TYPE_CHECKING:
    from runwasi.engines.wasm.sniff import Kind


class PlantedEngine(Engine):
    """Makes the calls of ATTACKS, as code that broke out of a guest would, and prints those that were let through."""

    name = "planted"

    def __init__(self) -> None:
        self._filter = ""
        self._listener: socket.socket | None = None
        self._is_open = True
        self._numbers: list[tuple[str, int, tuple[int, ...]]] = []

    def load(self, kind: Kind | None = None) -> None:
        del kind
        self._numbers = [(name, number_of(name), arguments) for name, arguments in ATTACKS]

    def can_handle(self, ctx: Context) -> bool:
        self._filter = ctx.args[1]
        self._is_open = len(ctx.args) == 2
        return True

    def syscall_filter(self) -> str:
        return self._filter

    def makes_sockets(self) -> bool:
        return self._is_open

    def before_filter(self) -> None:
        if self._is_open:
            return
        self._listener = socket.socket()
        fd = self._listener.fileno()
        calls = [("socket", (family, kind, 0)) for family in (1, 2, 10, 16, 17) for kind in (1, 2, 3)]
        calls += [(name, (fd, 0, 16)) for name in ("bind", "connect", "listen")]
        self._numbers += [(name, number_of(name), arguments) for name, arguments in calls]

    def run_wasi(self, _ctx: Context, _stdio: Stdio) -> int:
        for name, number, arguments in self._numbers:
            error = call(number, *arguments)
            if error not in (errno.EPERM, errno.ENOSYS):
                os.write(1, f"{name}{arguments}: {errno.errorcode.get(error, 'success')}\n".encode())
        os.write(1, b"tried\n")
        return 0
