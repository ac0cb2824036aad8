"""Fetches the layers of a container's image for the executor, through the server's image helper."""

from __future__ import annotations

import os

from runwasi.linux import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.containerd.image_helper import ImageHelper
    from runwasi.engines.engine import Engine
    from runwasi.engines.layer_choice import Layer
    from runwasi.shim.server.reactor import Reactor


class Images:
    """The image helper that a server's containers share, started once one of them needs it."""

    __slots__ = ("_engine", "_helper", "_reactor")

    def __init__(self, reactor: Reactor, engine: str | Engine) -> None:
        self._reactor = reactor
        self._engine = engine
        self._helper: ImageHelper | None = None

    def helper(self) -> ImageHelper:
        """Return the helper, running."""
        if self._helper is None:
            from runwasi.containerd.image_helper import ImageHelper  # late: most servers run files alone

            self._helper = ImageHelper(self._engine)
        helper = self._helper
        child = helper.start()
        if child is not None:
            pidfd = child.pidfd

            def ended(_events: int) -> None:
                self._reactor.unwatch(pidfd)
                processes.reap(pidfd)
                os.close(pidfd)
                helper.ended()

            self._reactor.watch(pidfd, ended)
        return helper


class ImageLayers:
    """The wasm layers of one container's image, and the artefacts compiled from them."""

    __slots__ = ("_address", "_container_id", "_helper", "_images", "_namespace")

    def __init__(self, images: Images, address: str, namespace: str, container_id: str) -> None:
        self._images = images
        self._address = address
        self._namespace = namespace
        self._container_id = container_id
        self._helper: ImageHelper

    def prepare(self) -> tuple[int, ...]:
        """Start the helper, in the server: the processes that call fetch and keep cannot start it."""
        self._helper = self._images.helper()
        return self._helper.fds()

    def fetch(self) -> tuple[Layer, ...]:
        """Return the layers; () when the image has none. Raises ContainerdError."""
        return self._helper.fetch_layers(self._address, self._namespace, self._container_id)

    def keep(self, layer: str, key: str, artefact: int) -> None:
        """Keep a compiled module in the content store; the container runs even if that fails."""
        from runwasi.containerd.containerd_error import ContainerdError  # late: only after a compilation

        try:
            self._helper.keep_artefact(self._address, self._namespace, layer, key, artefact)
        except ContainerdError as error:
            line = f"runwasi: what is compiled of {layer} is not kept in containerd: {error}\n"
            try:
                os.write(2, line.encode())
            except OSError:  # the log, which nobody reads while containerd is down
                pass
