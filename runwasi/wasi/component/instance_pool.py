"""Takes instances from a pool, for a server that makes one per request: 25 us less than asking the kernel.

The pool reserves a terabyte of addresses, and none of it uses memory until it is touched. Each worker has its own
pool after the fork.
"""

from __future__ import annotations

import mmap
from ctypes import c_size_t, c_uint32, c_void_p

from runwasi.engines.wasmtime_capi import library

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.engines.wasmtime_capi import WasmEngine

GUESTS = 128
"""The most guests that a worker runs at once; further requests wait."""

_ADDRESSES = 7 << 38
"""Bytes of address space that must be free: a memory needs 4 GiB and guards, and a guest has up to three."""

_MAP_NORESERVE = 0x4000  # asm-generic/mman.h; Python 3.11's mmap does not have it

_SIZES = {
    # name in wasmtime_pooling_allocation_config_NAME_set: value
    "total_component_instances": GUESTS,
    "total_core_instances": GUESTS * 48,  # a component of CPython has 30
    "total_memories": GUESTS * 3,  # two of the guest's, and the inset's
    "total_tables": GUESTS * 8,
    "total_stacks": GUESTS * 2,
    "max_tables_per_module": 4,
    "table_elements": 100_000,
    "max_core_instance_size": 4 << 20,
    "max_component_instance_size": 4 << 20,
    # bytes of each that stay in memory and are zeroed, not returned to the kernel
    "linear_memory_keep_resident": 128 << 10,
    "table_keep_resident": 64 << 10,
    "async_stack_keep_resident": 64 << 10,
}
_32_BIT = frozenset(
    (
        "total_component_instances", "total_core_instances", "total_memories", "total_tables", "total_stacks",
        "max_tables_per_module",
    )
)  # fmt: skip


def pooling(engine: WasmEngine) -> WasmEngine | None:
    """Make an engine with a pool; None if the addresses cannot be reserved, as wasmtime would abort."""
    if engine.memory_reservation is not None:
        return None
    try:
        mmap.mmap(-1, _ADDRESSES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE, 0).close()
    except (OSError, ValueError):
        return None
    return engine.with_allocator(_use_pool)


def _use_pool(config: int) -> None:
    """Configure the allocator. Source: wasmtime/config.h."""
    new = library().wasmtime_pooling_allocation_config_new
    new.restype = c_void_p
    pool = new()
    for name, value in _SIZES.items():
        setter = library()[f"wasmtime_pooling_allocation_config_{name}_set"]
        setter.restype = None
        setter.argtypes = (c_void_p, c_uint32 if name in _32_BIT else c_size_t)
        setter(pool, value)
    strategy = library().wasmtime_pooling_allocation_strategy_set
    strategy.restype = None
    strategy.argtypes = (c_void_p, c_void_p)
    strategy(config, pool)
