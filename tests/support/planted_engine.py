"""An engine with a hole: it runs native code, planted behind the filter that the first argument names."""

from __future__ import annotations

import errno
import os
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
        self._numbers: list[tuple[str, int, tuple[int, ...]]] = []

    def load(self, kind: Kind | None = None) -> None:
        del kind
        self._numbers = [(name, number_of(name), arguments) for name, arguments in ATTACKS]

    def can_handle(self, ctx: Context) -> bool:
        self._filter = ctx.args[1]
        return True

    def syscall_filter(self) -> str:
        return self._filter

    def run_wasi(self, _ctx: Context, _stdio: Stdio) -> int:
        for name, number, arguments in self._numbers:
            error = call(number, *arguments)
            if error not in (errno.EPERM, errno.ENOSYS):
                os.write(1, f"{name}{arguments}: {errno.errorcode.get(error, 'success')}\n".encode())
        os.write(1, b"tried\n")
        return 0
