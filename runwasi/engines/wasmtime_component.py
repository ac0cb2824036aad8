"""Components for the wasmtime engine: what wasmtime.py calls when a module turns out to be one."""

from __future__ import annotations

from runwasi.engines.engine import CannotHandle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.engines.engine import Context, Stdio
    from runwasi.engines.wasmtime_capi import Engine


def load() -> None:
    """Import whatever the following two need, while the host's files are in sight."""


def can_handle(ctx: Context, engine: Engine) -> bool:
    """Say whether the component will run. Raises CannotHandle."""
    del engine
    raise CannotHandle(f"{ctx.module.name} is a component; this engine takes core modules")


def run(ctx: Context, stdio: Stdio, engine: Engine) -> int:
    """Run the component and return its exit status. Raises Trap."""
    del stdio, engine
    raise CannotHandle(f"{ctx.module.name} is a component; this engine takes core modules")
