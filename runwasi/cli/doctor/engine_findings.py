"""Checks Python and the engines."""

from __future__ import annotations

import sys

from runwasi import __version__
from runwasi.cli.doctor.finding import MISSING, OK, WARN, Finding
from runwasi.engines import registry
from runwasi.engines.engine import EngineError
from runwasi.startup import installation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_IMMORTAL = (3, 12)


def program() -> Iterator[Finding]:
    """Name this installation, and its Python with what a pod costs under it."""
    version = installation.folder() or f"{__version__}, not installed by `make install`"
    yield Finding("runwasi", OK, version)
    python = f"Python {'.'.join(map(str, sys.version_info[:3]))} ({sys.executable})"
    if sys.version_info >= _IMMORTAL:
        yield Finding("python", OK, f"{python}: pods share its memory")
        return
    says = f"{python}: a pod takes twice the memory that it takes with 3.12 or newer"
    yield Finding("python", WARN, says, "PYTHON=/usr/bin/python3.13 make install, where there is one")


def engines() -> Iterator[Finding]:
    """Load each engine: ours, and those of other packages."""
    for name in registry.names():
        needed = name == registry.DEFAULT
        try:
            engine = registry.load(name)
            engine.load("core")
            key = engine.compatibility_key().split()
        except EngineError as error:
            yield Finding(
                "engine", MISSING if needed else WARN, f"{name}: {error}", _package(name), needed=needed
            )
        except Exception as error:  # noqa: BLE001  another package's code may raise anything
            yield Finding(
                "engine", WARN, f"{name}: {type(error).__name__}: {error}", f"ask the author of {name}"
            )
        else:
            yield Finding("engine", OK, " ".join(key[:2]) if key[:1] == [name] else name)


def _package(engine: str) -> str:
    return {
        "wasmtime": "make install",
        "wasmedge": "apt-get install libwasmedge0 (Debian 13 or newer)",
        "wasmer": "make install EXTRAS=wasmer",
    }.get(engine, f"install the library of {engine}")
