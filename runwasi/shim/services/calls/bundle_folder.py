"""Reads and writes in a bundle's folder without making the server wait for a filesystem that hangs.

containerd's bundles are on the filesystem of our own state, which we must trust. Work in a bundle elsewhere, or with
a rootfs that the kernel does not remember, is an errand's.
"""

from __future__ import annotations

import os

from runwasi.executor.parent import errands
from runwasi.executor.plan.bundle import Bundle, read_config
from runwasi.linux import remembered_paths
from runwasi.linux.fd import Fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runwasi.linux.waiting import Operation


_MOMENT = 10.0  # seconds


class BundleFolder:
    """The folder of a bundle."""

    def __init__(self, path: str, state: str) -> None:
        """`state` is where the state of containers is, or of one."""
        self.path = path
        self._state = state
        self._ours: bool | None = None  # not looked at yet

    def do(self, work: Callable[[], None], what: str) -> Operation[None]:
        """Call work, which uses the folder for a moment. Raises OSError or ContainerError."""
        if self._is_ours():
            work()
        else:
            yield from errands.run(work, what, seconds=_MOMENT)

    def load(self) -> Operation[Bundle]:
        """Read the bundle, and find its rootfs. Raises as Bundle.load, and Bundle.check of the rootfs."""
        bundle = Bundle.load(self.path) if self._is_ours() else (yield from self._read())
        rootfs = remembered_paths.real_folder(os.path.join(bundle.path, bundle.spec.root.path))
        if rootfs is None:

            def found() -> errands.Answer:
                return (bundle.find_rootfs(),), ()

            answer = yield from errands.run(found, f"looking for the rootfs of {self.path}")
            (rootfs,) = answer.fields
        bundle.found(rootfs)
        return bundle

    def _is_ours(self) -> bool:
        if self._ours is None:
            self._ours = remembered_paths.is_on_filesystem_of(self.path, self._state)
        return self._ours

    def _read(self) -> Operation[Bundle]:
        def copied() -> errands.Answer:
            copy = os.memfd_create("config.json")
            with open(copy, "wb", closefd=False) as file:
                file.write(read_config(self.path))
            return (), (copy,)

        answer = yield from errands.run(copied, f"reading {self.path}/config.json")
        with Fd(answer.fds[0]) as copy:
            return Bundle.of(self.path, os.pread(copy.fileno(), os.fstat(copy.fileno()).st_size, 0))
