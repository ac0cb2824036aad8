"""Defines the input and output of `choose`: the request, the creator's help, and a native program."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Protocol

    from runwasi.engines.engine import Engine, Module
    from runwasi.engines.layer_choice import Layer
    from runwasi.executor.limits.limits_in_force import LimitsInForce

    class Parent(Protocol):
        """The help that `choose` can ask of the process that creates the container.

        limits  the container's limits as they are now
        """

        limits: LimitsInForce

        def engine(self) -> Engine:
            """Return the engine, configured and loaded. Raises EngineError when its library is missing."""

        def fetch_layers(self) -> tuple[Layer, ...]:
            """Return the wasm layers of the container's image; () if it has none, or nobody can be asked.

            Raises ContainerError if they could not be fetched.
            """

        def fds(self) -> tuple[int, ...]:
            """Return the descriptors that must stay open until the workload."""

        def compiled(self, module: Module, layer: Layer | None = None) -> Module:
            """Return the module with its artefact; layer is the one it came from, None for a file."""


class Native:
    """An ELF file or a script: path to execve, with the whole argv."""

    __slots__ = ("argv", "path")

    def __init__(self, path: str, argv: Sequence[str]) -> None:
        self.path = path
        self.argv = tuple(argv)


class WorkloadRequest:
    """The request to run: process.args, process.env and the container's annotations, cwd already entered."""

    __slots__ = ("annotations", "args", "cwd", "env")

    def __init__(
        self,
        args: Sequence[str],
        env: Sequence[str],
        cwd: str,
        annotations: Mapping[str, str],
    ) -> None:
        self.args = tuple(args)
        self.env = tuple(env)
        self.cwd = cwd
        self.annotations = annotations
