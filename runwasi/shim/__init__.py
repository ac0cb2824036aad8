"""Implements the containerd shim: translates containerd's task API for the executor."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from runwasi.engines.engine import Engine


def run(runtime: str, engine: Engine) -> NoReturn:
    """Run a whole shim for an engine, under its runtime name in containerd; end the process.

    An engine's package calls it, e.g. `run("io.containerd.myshim.v1", MyEngine())` in its program
    containerd-shim-myshim-v1. Raises ValueError if containerd would not derive the name from the engine's.
    """
    from runwasi.engines.registry import runtime_name  # late: the package's other modules start without it
    from runwasi.shim.client.launcher import main

    if runtime != runtime_name(engine.name):
        raise ValueError(f"the engine {engine.name!r} makes {runtime_name(engine.name)}, not {runtime}")
    main(engine)
