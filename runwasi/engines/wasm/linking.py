"""Finds the wasm layers that a core module uses as libraries, and the order to link them in.

A layer called "math.wasm" provides the imports from the module "math". A layer that nothing imports is ignored.
Layers are found by name only, so the program decides which it gets, never the order of an image.
"""

from __future__ import annotations

import os

from runwasi.engines.engine import CannotHandle
from runwasi.engines.wasm.sniff import sniff
from runwasi.engines.wasm.wasm_binary import read_interface

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runwasi.engines.engine import Module
    from runwasi.engines.wasm.wasm_binary import ModuleInterface


class LinkedLayer:
    """A layer to link: the name that it is imported by, its module and its interface."""

    __slots__ = ("interface", "module", "name")

    def __init__(self, name: str, module: Module, interface: ModuleInterface) -> None:
        self.name = name
        self.module = module
        self.interface = interface


def libraries(program: ModuleInterface, layers: Sequence[Module]) -> tuple[LinkedLayer, ...]:
    """Return the layers that the program needs, each after those that it needs itself.

    Raises CannotHandle if two layers need each other, or if one lacks an import's export.
    """
    if not layers:
        return ()
    offered = {
        import_name(layer.name): layer for layer in layers if sniff(os.pread(layer.fd, 8, 0)) == "core"
    }
    found: dict[str, LinkedLayer] = {}
    _add(program, offered, found, ())
    return tuple(found.values())


def import_name(title: str) -> str:
    """Return the import name of a layer with this title: its last part without the extension."""
    return title.rpartition("/")[2].removesuffix(".wasm")


def _add(
    interface: ModuleInterface,
    offered: dict[str, Module],
    found: dict[str, LinkedLayer],
    above: tuple[str, ...],
) -> None:
    for wanted in interface.imports:
        layer = offered.get(wanted.module)
        if layer is None:
            continue
        if wanted.module in above:
            raise CannotHandle(f"its layers {' and '.join(above)} need each other")
        if wanted.module not in found:
            needed = read_interface(layer.fd)
            _add(needed, offered, found, (*above, wanted.module))
            found[wanted.module] = LinkedLayer(wanted.module, layer, needed)
        if found[wanted.module].interface.exports.get(wanted.name) != wanted.kind:
            raise CannotHandle(
                f"it imports the {wanted.kind} {wanted.name} from the layer {layer.name}, which does not export it"
            )
