"""The pywasm interpreter as an engine of runwasi."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from runwasi.engines.engine import CannotHandle, Context, Engine, EngineMissing, Stdio, Trap
from runwasi.engines.guest_limits import limits_of, preopens_of
from runwasi.engines.signals import end_on_signals
from runwasi.engines.wasip1 import check_interface
from runwasi.engines.wasm.sniff import sniff
from runwasi.engines.wasm.wasm_binary import read_interface
from runwasi.engines.wasm.wat import binary_fd, to_binary

if TYPE_CHECKING:
    from runwasi.engines.wasm.sniff import Kind


class PywasmEngine(Engine):
    """Runs core modules with WASI preview 1 in pure Python."""

    name = "pywasm"

    def load(self, kind: Kind | None = None) -> None:
        """Import the interpreter while the host's files can be seen. Raises EngineMissing."""
        del kind  # the same is needed for every module
        try:
            import pywasm  # noqa: F401
        except ImportError as error:
            raise EngineMissing(f"the pywasm engine needs the Python package pywasm ({error})") from None

    def can_handle(self, ctx: Context) -> bool:
        """Refuse components, and modules whose imports or function are not there. Raises CannotHandle."""
        if sniff(to_binary(ctx.module.read())) == "component":
            raise CannotHandle("it is a component; pywasm takes core modules")
        self._functions = check_interface(read_interface(binary_fd(ctx.module)), ctx.function)
        return True

    def run_wasi(self, ctx: Context, stdio: Stdio) -> int:
        """Run it in this process, with the container's arguments, environment and folders. Raises Trap."""
        import pywasm

        stdio.install()
        end_on_signals(limits_of(ctx).timeout)
        folders = {guest: folder for folder, guest in preopens_of(ctx)}
        wasi = pywasm.wasi.Preview1(
            list(ctx.args), folders, dict(entry.partition("=")[::2] for entry in ctx.env)
        )
        runtime = pywasm.core.Runtime()
        wasi.bind(runtime)
        description = pywasm.core.ModuleDesc.from_reader(io.BytesIO(to_binary(ctx.module.read())))
        try:
            instance = runtime.instance(description)
            for function in self._functions:
                if function == "_start":
                    return int(wasi.main(runtime, instance)) & 0xFF
                runtime.invocate(instance, function, [])
        except (AssertionError, RecursionError) as error:  # how pywasm says "trap"
            raise Trap(f"pywasm stopped the module ({type(error).__name__})") from None
        return 0
