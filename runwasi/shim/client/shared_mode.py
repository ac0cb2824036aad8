"""The client shim of shared mode: like the other in all but who makes the pod's server."""

from __future__ import annotations

from runwasi.shim.client import launcher as shim

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from runwasi.engines.engine import Engine


def main(engine: str | Engine) -> NoReturn:
    """Run the client shim of an engine with the arguments of this process."""
    shim.main(engine, shared=True)
