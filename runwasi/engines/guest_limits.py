"""What an operator may ask of a wasm container beyond the runtime spec: the io.runwasi.* annotations."""

from __future__ import annotations

import os

from runwasi.engines.engine import CannotHandle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from runwasi.engines.engine import Context

FUEL = "io.runwasi.fuel"
"""Instructions the guest may execute, about one unit each; then it traps."""
TIMEOUT = "io.runwasi.timeout"
"""Seconds the guest may run; then it traps. Fractions are allowed."""
MEMORY_MAX = "io.runwasi.memory.max"
"""Bytes each linear memory may grow to (suffixes Ki, Mi, Gi), instead of what the memory limit implies."""
MEMORY_TRAP = "io.runwasi.memory.trap"
"""With "off" the memory limit is left to the cgroup alone, whose OOM killer ends the guest with 137."""
TABLE_MAX = "io.runwasi.table.elements.max"
"""Elements a table may have."""
TABLES_MAX = "io.runwasi.tables.max"
"""Tables there may be."""
PREOPENS = "io.runwasi.preopens"
"""Folders the guest sees, "GUEST=FOLDER,…" with paths of the container, instead of "/=/"; "" for none."""
NETWORK = "io.runwasi.network"
"""With "off" the guest can make no socket, look up no name and send no request."""

ENGINE_SHARE = 12 << 20
"""Bytes of a memory limit that are left to the engine itself, so that the guest's growth fails before the
cgroup is full: an interpreter and a loaded module have 8 to 10 MiB of their own."""

_UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


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
        fuel=fuel(ctx.annotations),
        timeout=_seconds(ctx.annotations, TIMEOUT),
        memory=_memory(ctx),
        table_elements=_number(ctx.annotations, TABLE_MAX),
        tables=_number(ctx.annotations, TABLES_MAX),
    )


def check_tasks(ctx: Context, needed: int) -> None:
    """Refuse a container that may not have the threads its engine needs: it would hang or crash later.

    Raises CannotHandle.
    """
    if ctx.task_limit is not None and ctx.task_limit < needed:
        raise CannotHandle(
            f"the container may have {ctx.task_limit} processes (pids limit), and its engine needs {needed} threads"
        )


def fuel(annotations: Mapping[str, str]) -> int | None:
    """Read the fuel, which also decides how a module is compiled. Raises CannotHandle."""
    return _number(annotations, FUEL)


def preopens_of(ctx: Context) -> tuple[tuple[str, str], ...]:
    """Give the folders the guest may use, as (folder, guest's name), in order. Raises CannotHandle.

    The root is given as "/". WASI p1 knows no working directory, so with another one than "/" a guest would
    take a relative path as one from the root. wasi-libc (and so C, Rust, Python) strips the slash before it
    looks for the longest matching name, and of equal ones takes the last: "." at the end makes relative paths
    start at the working directory, and every folder of the root by its own name keeps absolute ones right.
    Go starts in the first folder, so that is the working directory by its own name.
    """
    if PREOPENS not in ctx.annotations:
        root = ("/", "/")
        if ctx.cwd == "/":
            return (root,)
        return ((ctx.cwd, ctx.cwd), root, *((folder, folder) for folder in folders_of_root()), (ctx.cwd, "."))
    pairs = []
    for pair in filter(None, ctx.annotations[PREOPENS].split(",")):
        guest, separator, folder = pair.partition("=")
        if not (separator and guest and folder.startswith("/")):
            raise CannotHandle(f"annotation {PREOPENS}: {pair!r} is not GUEST=/FOLDER")
        pairs.append((folder, guest))
    return tuple(pairs)


def folders_of_root() -> list[str]:
    """List the folders in "/" that this process may enter and read, in alphabetical order."""
    with os.scandir("/") as entries:
        folders = [entry.path for entry in entries if entry.is_dir()]
    return sorted(folder for folder in folders if os.access(folder, os.R_OK | os.X_OK))


def _memory(ctx: Context) -> int | None:
    asked = _number(ctx.annotations, MEMORY_MAX)
    if asked is not None:
        return asked
    if ctx.memory_limit is None or ctx.annotations.get(MEMORY_TRAP) == "off":
        return None
    return max(ctx.memory_limit - ENGINE_SHARE, ctx.memory_limit // 2)


def _number(annotations: Mapping[str, str], name: str) -> int | None:
    text = annotations.get(name)
    if text is None:
        return None
    digits, unit = (text[:-2], _UNITS[text[-2:]]) if text[-2:] in _UNITS else (text, 1)
    if not (digits.isascii() and digits.isdigit() and int(digits) * unit < 1 << 63):
        raise CannotHandle(f"annotation {name}: {text!r} is not a whole number")
    return int(digits) * unit


def _seconds(annotations: Mapping[str, str], name: str) -> float | None:
    text = annotations.get(name)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise CannotHandle(f"annotation {name}: {text!r} is not a number of seconds")
    return seconds
