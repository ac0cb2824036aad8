"""What a guest may see of the world it runs in."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class World:
    """argv, environment and folders of a guest; its standard streams are descriptors 0, 1 and 2.

    args      argv in full, args[0] included
    env       (name, value) pairs
    cwd       the folder relative paths start from, as the guest names it
    preopens  (path here, path as the guest names it)
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
