"""Finds all containers of a node, the command line's and those of containerd's shims, and samples their usage."""

from __future__ import annotations

import os
import time

from runwasi.engines import registry
from runwasi.executor.errors import ContainerError
from runwasi.executor.lifecycle.container import Container
from runwasi.executor.lifecycle.store import WASM, container_ids
from runwasi.node.state_roots import shim_roots
from runwasi.wasi.http.response_counts import read_counts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from runwasi.cli.settings import Settings
    from runwasi.executor.usage.usage_records import Usage

_POD_NAMESPACE, _POD = "io.kubernetes.cri.sandbox-namespace", "io.kubernetes.cri.sandbox-name"
_NO_LIMIT = 1 << 60  # bytes; above it a memory limit is the kernel's way to say that there is none


class Sample:
    """A sample of a container: its state and usage at one moment.

    namespace   containerd's, "-" for a container of the command line
    pod         Kubernetes' name of its pod as NAMESPACE/NAME, "-" outside of one
    kind        wasm or native, "-" if an older release made it
    cpu_time    nanoseconds used so far; cpu, the share of one CPU in percent since the sample before, None at first
    memory      bytes in use; limit, None without one
    created     RFC 3339
    served      responses of an HTTP server: guests that failed, then the classes 1xx to 5xx; None for anything else
    """

    __slots__ = (
        "at", "command", "cpu", "cpu_time", "created", "engine", "id", "kind",
        "limit", "memory", "namespace", "pids", "pod", "served", "status",
    )  # fmt: skip

    def __init__(self, namespace: str, container: Container) -> None:
        self.at = time.monotonic_ns()
        usage = container.usage()
        annotations = container.spec.annotations
        process = container.spec.process
        pod = annotations.get(_POD)
        self.namespace = namespace
        self.pod = f"{annotations.get(_POD_NAMESPACE, '')}/{pod}" if pod else "-"
        self.id = container.id
        self.status = container.status()
        self.kind = container.kind
        self.engine = container.saved.engine if self.kind == WASM else "-"
        lives = self.status != "stopped"  # else its pid may be another's by now
        self.served = read_counts(container.pid) if lives and self.kind == WASM else None
        self.cpu_time = usage.cpu.total
        self.cpu: float | None = None
        self.memory = usage.memory.usage.usage
        self.limit = _limit(usage)
        self.pids = usage.pids.current
        self.created = container.created
        self.command = " ".join(process.args) if process else ""

    def compare(self, before: Sample | None) -> None:
        """Compute the share of a CPU since the sample before, if that was of the same container."""
        if before is not None and before.created == self.created and self.at > before.at:
            self.cpu = max(0, self.cpu_time - before.cpu_time) / (self.at - before.at) * 100


def _limit(usage: Usage) -> int | None:
    limit = usage.memory.usage.limit
    return limit if 0 < limit < _NO_LIMIT else None


class NodeSampler:
    """The containers of a node: all of them, or those below the state root that the command line names."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._before: dict[tuple[str, str], Sample] = {}
        self.unreadable = 0
        """The number of containers that we could not read, most likely because they are another user's."""

    def sample(self) -> list[Sample]:
        """Sample all containers."""
        self.unreadable = 0
        samples = {(root, sample.id): sample for root, sample in self._samples()}
        for key, sample in samples.items():
            sample.compare(self._before.get(key))
        self._before = samples
        return list(samples.values())

    def _samples(self) -> Iterator[tuple[str, Sample]]:
        for namespace, root in self._roots():
            try:
                ids = list(container_ids(root))
            except OSError:
                self.unreadable += 1
                continue
            for container_id in ids:
                try:
                    yield root, Sample(namespace, Container.load(root, container_id))
                except (ContainerError, OSError):
                    self.unreadable += os.path.isdir(
                        f"{root}/{container_id}"
                    )  # else it was deleted meanwhile

    def _roots(self) -> Iterator[tuple[str, str]]:
        yield "-", self._settings.root
        if not self._settings.root_given:
            denied = False
            for engine in registry.names():
                try:
                    yield from shim_roots([engine])
                except PermissionError:
                    denied = True  # most likely of the folder above, and so for all engines
            self.unreadable += denied
