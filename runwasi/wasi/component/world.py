"""Describes a guest's surroundings: arguments, environment, folders and network."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class World:
    """A guest's arguments, environment and folders; its standard streams are descriptors 0, 1 and 2.

    args      argv, args[0] included
    env       (name, value) pairs
    cwd       the working directory, as the guest names it
    preopens  (path in this process, path as the guest names it)
    network   whether sockets and name lookup work
    """

    __slots__ = ("args", "cwd", "env", "network", "preopens")

    def __init__(
        self,
        args: Sequence[str] = (),
        env: Sequence[tuple[str, str]] = (),
        cwd: str = "/",
        preopens: Sequence[tuple[str, str]] = (("/", "/"),),
        *,
        network: bool = True,
    ) -> None:
        self.args = list(args)
        self.env = list(env)
        self.cwd = cwd
        self.preopens = list(preopens)
        self.network = network
