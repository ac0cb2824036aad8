"""The Wasmer engine: runs core modules with WASI preview 1 and WASIX through the Python package wasmer-sdk.

That library runs packages in sandboxes, so a module is wrapped into a package whose folders are the container's
(wasmer_sandbox). This has consequences: the guest's stdio are pipes that are copied here, so it never sees a
terminal; the folders in the container's root are live, but a file that the guest makes directly in `/` or by a
relative path stays in the sandbox; modules are compiled at each start; only the cgroup limits memory.
"""

from __future__ import annotations

import os

from runwasi.engines import guest_limits
from runwasi.engines.annotations import FUEL, MEMORY_MAX, TABLE_MAX, TABLES_MAX, BadAnnotation
from runwasi.engines.engine import CannotHandle, Engine, EngineMissing
from runwasi.engines.signals import end_on_signals
from runwasi.engines.wasip1 import check_interface
from runwasi.engines.wasm.sniff import sniff
from runwasi.engines.wasm.start_function import with_start
from runwasi.engines.wasm.wasm_binary import read_interface
from runwasi.engines.wasm.wat import binary_fd, to_binary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from runwasi.engines.engine import Context, Stdio
    from runwasi.engines.wasm.sniff import Kind

WASIX = frozenset(("wasi_unstable", "wasix_32v1", "wasix_64v1", "env.memory"))
"""Wasmer's additions to WASI preview 1; a threaded module imports its memory."""


THREADS = 16
"""The threads that the library starts, found by trial: with fewer it hangs or ends."""


class WasmerEngine(Engine):
    """Runs modules with the Python package wasmer-sdk."""

    name = "wasmer"

    def __init__(self) -> None:
        self._binary = b""

    def configure(self, annotations: Mapping[str, str], address_space: int | None = None) -> None:
        """Refuse the limits that Wasmer cannot enforce. Raises CannotHandle."""
        del address_space
        for limit in (FUEL, MEMORY_MAX, TABLE_MAX, TABLES_MAX):
            if limit.name in annotations:
                raise BadAnnotation(limit.name, "the wasmer engine has no such limit")

    def load(self, kind: Kind | None = None) -> None:
        """Import the package (60 ms, 56 MiB). Raises EngineMissing."""
        try:
            from runwasi.engines import wasmer_sandbox  # noqa: F401  # late: heavy, and optional
        except ImportError as error:
            raise EngineMissing(
                f"the wasmer engine needs the Python package wasmer-sdk: make install EXTRAS=wasmer,"
                f" or pip install wasmer-sdk ({error})"
            ) from None
        if kind == "wat":
            to_binary(b"(module)")

    def can_handle(self, ctx: Context) -> bool:
        """Check its interface; Wasmer validates it only at its start. Raises CannotHandle."""
        guest_limits.limits_of(ctx)
        guest_limits.preopens_of(ctx)
        guest_limits.check_tasks(ctx, THREADS)
        fd = binary_fd(ctx.module)
        if sniff(os.pread(fd, 8, 0)) == "component":
            raise CannotHandle("it is a component; wasmer takes core modules, the wasmtime engine takes both")
        functions = check_interface(read_interface(fd), ctx.function, also_provided=WASIX)
        binary = to_binary(ctx.module.read())
        self._binary = binary if functions == ("_start",) else with_start(binary, functions)
        return True

    def syscall_filter(self) -> str:
        """Return the filter of core modules, as there are no others."""
        return "wasmer-core"

    def run_wasi(self, ctx: Context, stdio: Stdio) -> int:
        """Run it in a sandbox that has the container's folders. Raises Trap, EngineError."""
        from runwasi.engines import wasmer_sandbox  # late: load brought it

        stdio.install()
        end_on_signals(guest_limits.limits_of(ctx).timeout)
        return wasmer_sandbox.run(ctx, self._binary)
