"""Translates WebAssembly's text format to the binary format that engines take."""

from __future__ import annotations

import os

from runwasi.engines.engine import CannotHandle
from runwasi.engines.wasm.sniff import SNIFF_SIZE, sniff

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.engines.engine import Module


def to_binary(module: bytes) -> bytes:
    """Return a binary module unchanged, and a text one translated. Raises CannotHandle with line and column."""
    if sniff(module) != "wat":
        return module
    from runwasi.engines import (
        wasmtime_capi,
    )  # late: 7 ms; it has the translator for all engines

    try:
        return wasmtime_capi.wat_to_wasm(module)
    except wasmtime_capi.WasmtimeError as error:
        raise CannotHandle(f"it is not valid WebAssembly text: {error}") from None


def binary_fd(module: Module) -> int:
    """Return a descriptor of the module in binary form: its own, or one in memory. Raises CannotHandle."""
    if sniff(os.pread(module.fd, SNIFF_SIZE, 0)) != "wat":
        return module.fd
    fd = os.memfd_create(module.name)
    os.write(fd, to_binary(module.read()))
    return fd
