"""What helper processes ask containerd about the image of one container.

Everything is imported there: a native container makes no connection, and its shim knows no gRPC.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.engines.engine import Engine
    from runwasi.engines.layer_choice import Layer


class ImageLayers:
    """The wasm layers of one container's image, and what is compiled from them."""

    __slots__ = ("_address", "_container_id", "_engine", "_namespace")

    def __init__(self, address: str, namespace: str, container_id: str, engine: str | Engine) -> None:
        self._address = address
        self._namespace = namespace
        self._container_id = container_id
        self._engine = engine

    def fetch(self) -> tuple[Layer, ...]:
        """Return the layers; () when the image has none. Raises ContainerdError."""
        from runwasi.containerd.image_layers import fetch_layers  # late: see above

        return fetch_layers(self._address, self._namespace, self._container_id, self._loaded_engine())

    def keep(self, layer: str, key: str, artefact: int) -> None:
        """Keep a compiled module in the content store; a container runs as well without that."""
        from runwasi.containerd.artefacts import keep_artefact  # late: see above
        from runwasi.containerd.client import ContainerdError

        try:
            name = self._loaded_engine().name
            keep_artefact(self._address, self._namespace, name, layer, key, artefact)
        except ContainerdError as error:
            line = f"runwasi: what is compiled of {layer} is not kept in containerd: {error}\n"
            try:
                os.write(2, line.encode())
            except OSError:  # the log, which nobody reads while containerd is down
                pass

    def _loaded_engine(self) -> Engine:
        from runwasi.engines import registry  # late: see above

        return registry.load(self._engine) if isinstance(self._engine, str) else self._engine
