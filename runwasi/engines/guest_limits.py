"""What one guest may use and see, from the container's limits and its annotations."""

from __future__ import annotations

import os

from runwasi.engines.annotations import (
    FUEL,
    MEMORY_MAX,
    MEMORY_TRAP,
    PREOPENS,
    TABLE_MAX,
    TABLES_MAX,
    TIMEOUT,
)
from runwasi.engines.engine import CannotHandle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.engines.engine import Context

ENGINE_SHARE = 12 << 20
"""Bytes of a memory limit that are left to the engine itself, so that the guest's growth fails before the
cgroup is full: an interpreter and a loaded module have 8 to 10 MiB of their own."""


class Limits:
    """What one guest may use; None leaves it open. Memory in bytes, time in seconds."""

    __slots__ = ("fuel", "memory", "table_elements", "tables", "timeout")

    def __init__(
        self,
        fuel: int | None = None,
        timeout: float | None = None,
        memory: int | None = None,
        table_elements: int | None = None,
        tables: int | None = None,
    ) -> None:
        self.fuel = fuel
        self.timeout = timeout
        self.memory = memory
        self.table_elements = table_elements
        self.tables = tables


def limits_of(ctx: Context) -> Limits:
    """Read the limits of a container. Raises CannotHandle, which names the annotation that makes no sense."""
    return Limits(
        fuel=FUEL.of(ctx.annotations),
        timeout=TIMEOUT.of(ctx.annotations),
        memory=_memory(ctx),
        table_elements=TABLE_MAX.of(ctx.annotations),
        tables=TABLES_MAX.of(ctx.annotations),
    )


class LimitsNow:
    """Returns the limits of a container as they are at each call; only another memory limit makes it compute."""

    __slots__ = ("_ctx", "_limits", "_memory")

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._memory = ctx.memory_limit
        self._limits = limits_of(ctx)

    def __call__(self) -> Limits:
        """Return the limits of this moment."""
        memory = self._ctx.memory_limit
        if memory != self._memory:
            self._memory, self._limits = memory, limits_of(self._ctx)
        return self._limits


def check_tasks(ctx: Context, needed: int) -> None:
    """Refuse a container that may not have the threads its engine needs: it would hang or crash later.

    Raises CannotHandle.
    """
    if ctx.task_limit is not None and ctx.task_limit < needed:
        raise CannotHandle(
            f"the container may have {ctx.task_limit} processes (pids limit), and its engine needs {needed} threads"
        )


def preopens_of(ctx: Context) -> tuple[tuple[str, str], ...]:
    """Return the folders the guest may use, as (folder, guest's name), in order. Raises CannotHandle.

    The root is given as "/". WASI p1 knows no working directory, so with another one than "/" a guest would
    take a relative path as one from the root. wasi-libc (and so C, Rust, Python) strips the slash before it
    looks for the longest matching name, and of equal ones takes the last: "." at the end makes relative paths
    start at the working directory, and every folder of the root by its own name keeps absolute ones right.
    Go starts in the first folder, so that is the working directory by its own name.
    """
    chosen = PREOPENS.of(ctx.annotations)
    if chosen is not None:
        return chosen
    root = ("/", "/")
    if ctx.cwd == "/":
        return (root,)
    return ((ctx.cwd, ctx.cwd), root, *((folder, folder) for folder in folders_of_root()), (ctx.cwd, "."))


def folders_of_root() -> list[str]:
    """List the folders in "/" that this process may enter and read, in alphabetical order."""
    with os.scandir("/") as entries:
        folders = [entry.path for entry in entries if entry.is_dir()]
    return sorted(folder for folder in folders if os.access(folder, os.R_OK | os.X_OK))


def _memory(ctx: Context) -> int | None:
    asked = MEMORY_MAX.of(ctx.annotations)
    if asked is not None:
        return asked
    if ctx.memory_limit is None or not MEMORY_TRAP.of(ctx.annotations):
        return None
    return max(ctx.memory_limit - ENGINE_SHARE, ctx.memory_limit // 2)
