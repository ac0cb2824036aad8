"""Lists the engines by name, and maps them to the names that containerd uses."""

from __future__ import annotations

from importlib import import_module

from runwasi.engines.engine import EngineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

    from runwasi.engines.engine import Engine

ENTRY_POINTS = "runwasi.engines"
"""The entry point group in which other packages declare engines: NAME = "package.module:EngineClass"."""

DEFAULT = "wasmtime"

BUILT_IN = {
    "wasmtime": ("runwasi.engines.wasmtime", "WasmtimeEngine"),
    "wasmedge": ("runwasi.engines.wasmedge", "WasmedgeEngine"),
    "wasmer": ("runwasi.engines.wasmer", "WasmerEngine"),
}


class UnknownEngine(EngineError):
    """No engine has this name."""


def names() -> tuple[str, ...]:
    """Return the engines' names: ours first, then those of other installed packages in alphabetical order."""
    others = sorted({point.name for point in _entry_points()} - BUILT_IN.keys())
    return (*BUILT_IN, *others)


def load(name: str) -> Engine:
    """Make the engine of this name; `Engine.load` imports its library later.

    Raises UnknownEngine.
    """
    if name in BUILT_IN:
        module, attribute = BUILT_IN[name]
        engine: Engine = getattr(import_module(module), attribute)()
        return engine
    for point in _entry_points():
        if point.name == name:
            plugged_in: Engine = point.load()()
            return plugged_in
    raise UnknownEngine(f"there is no engine {name!r}; the engines are {', '.join(names())}")


def runtime_name(engine: str, *, shared: bool = False) -> str:
    """Return an engine's runtime name in containerd's configuration, e.g. io.containerd.wasmtime.v1."""
    return f"io.containerd.{engine}{'d' if shared else ''}.v1"


def shim_name(engine: str, *, shared: bool = False) -> str:
    """Return the name of the program that containerd looks for in PATH, e.g. containerd-shim-wasmtime-v1.

    Source: containerd core/runtime/v2/README.md, "Binary Naming".
    """
    return f"containerd-shim-{engine}{'d' if shared else ''}-v1"


def daemon_name(engine: str) -> str:
    """Return the name of an engine's node daemon, e.g. containerd-wasmtimed."""
    return f"containerd-{engine}d"


def engine_of_shim(program: str) -> tuple[str, bool] | None:
    """Return the engine that a shim called `program` serves, and whether in shared mode; None for other programs.

    A plugged-in engine whose own name ends in "d" is recognised too; our own engines need no look-up.
    """
    prefix, suffix = "containerd-shim-", "-v1"
    if not (program.startswith(prefix) and program.endswith(suffix)):
        return None
    name = program[len(prefix) : -len(suffix)]
    if name.endswith("d") and (name[:-1] in BUILT_IN or name not in names()):
        return name[:-1], True
    return name, False


def _entry_points() -> EntryPoints:
    from importlib.metadata import entry_points  # late: 20 ms, and not for our own engines

    return entry_points(group=ENTRY_POINTS)
