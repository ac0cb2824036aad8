"""containerd-shim-pywasm-v1: a complete containerd shim for the engine."""

from __future__ import annotations

from runwasi import shim
from runwasi_pywasm.engine import PywasmEngine


def main() -> None:
    """Serve as the runtime that containerd calls io.containerd.pywasm.v1."""
    shim.run("io.containerd.pywasm.v1", PywasmEngine())
