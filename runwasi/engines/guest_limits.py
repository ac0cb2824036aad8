"""Derives one guest's limits and folders from the container's limits and annotations."""

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
"""Bytes of a memory limit that are kept for the engine itself, so that the guest's growth fails before the
cgroup is full: an interpreter and a loaded module need 8 to 10 MiB."""


class Limits:
    """The limits of one guest; None is unlimited. Memory in bytes, time in seconds."""

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
    """Read the limits of a container. Raises CannotHandle naming the invalid annotation."""
    return Limits(
        fuel=FUEL.of(ctx.annotations),
        timeout=TIMEOUT.of(ctx.annotations),
        memory=_memory(ctx),
        table_elements=TABLE_MAX.of(ctx.annotations),
        tables=TABLES_MAX.of(ctx.annotations),
    )


class LimitsNow:
    """Returns a container's limits at each call; computes them only if the memory limit has changed."""

    __slots__ = ("_ctx", "_limits", "_memory")

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._memory = ctx.memory_limit
        self._limits = limits_of(ctx)

    def __call__(self) -> Limits:
        """Return the current limits."""
        memory = self._ctx.memory_limit
        if memory != self._memory:
            self._memory, self._limits = memory, limits_of(self._ctx)
        return self._limits


def check_tasks(ctx: Context, needed: int) -> None:
    """Refuse a container whose limit forbids the threads that its engine needs: it would hang or crash later.

    Raises CannotHandle.
    """
    if ctx.task_limit is not None and ctx.task_limit < needed:
        raise CannotHandle(
            f"the container's pids limit is {ctx.task_limit}, but its engine needs {needed} threads"
        )


def preopens_of(ctx: Context) -> tuple[tuple[str, str], ...]:
    """Return the folders that the guest may use, as (folder, guest's name), in order. Raises CannotHandle.

    The root is passed as "/". WASI preview 1 has no working directory, so a guest would resolve a relative path
    from the root, even if the working directory is another. wasi-libc (and so C, Rust, Python) strips the slash,
    then looks for the longest matching name, and takes the last of equal ones: "." at the end makes relative
    paths start at the working directory, and every folder of the root by its own name keeps absolute paths
    right. Go starts in the first folder, so the working directory comes first, by its own name.
    """
    chosen = PREOPENS.of(ctx.annotations)
    if chosen is not None:
        return chosen
    root = ("/", "/")
    if ctx.cwd == "/":
        return (root,)
    return ((ctx.cwd, ctx.cwd), root, *((folder, folder) for folder in folders_of_root()), (ctx.cwd, "."))


def folders_of_root() -> list[str]:
    """Return the folders in "/" that this process may enter and read, in alphabetical order."""
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
