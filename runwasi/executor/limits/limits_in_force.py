"""Reads a container's current limits, for the guest that runs in it.

An update of a container, by this runtime or anybody else, writes to the files of its cgroup. So a guest's process
keeps the file with the memory limit open, and has the kernel send it a signal when a file of that folder is written
to. It opens the file below a read-only copy of the mount: a guest that broke out of its engine as the
container's root would own these files, and could otherwise open them again to write.
"""

from __future__ import annotations

import os

from runwasi.linux.fd import Fd, close_owned
from runwasi.linux.folder_watch import receive_signals, signal_writes
from runwasi.linux.mount_fds import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    mount_setattr,
    open_tree,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from runwasi.oci.resources import Resources

_FILES = (("memory", "memory.limit_in_bytes"), ("", "memory.max"))
"""Hierarchy, as Cgroup.paths names it, and its file with the limit; version 1 first, as a hybrid host has both."""

_NO_LIMIT = 1 << 62  # version 1 shows no limit as the highest number of pages
_ATTRIBUTES = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC


class LimitsInForce:
    """The limits of the cgroup at these paths; those of the spec if we cannot read the cgroup.

    tasks  processes and threads that the container might have when this was made; None without a limit
    """

    def __init__(self, paths: Mapping[str, str], stated: Resources | None) -> None:
        memory, pids = (stated.memory, stated.pids) if stated else (None, None)
        self._memory = _positive(memory.limit if memory else None)
        self.tasks = _read_tasks(paths, _positive(pids.limit if pids else None))
        self._folder: Fd | None = None
        self._file: Fd | None = None
        self._text = b""
        for hierarchy, name in _FILES:
            if hierarchy in paths:
                self._open(paths[hierarchy], name)
                break

    def memory(self) -> int | None:
        """Return the container's current memory limit in bytes; None without a limit."""
        if self._file is not None:
            try:
                text = os.pread(self._file.fileno(), 64, 0)
            except OSError:  # the cgroup is being removed, and this process with it
                return self._memory
            if text != self._text:  # an HTTP server asks for each request
                self._text, self._memory = text, _number(text)
        return self._memory

    def signal_changes(self, number: int) -> None:
        """Make the kernel send this process a signal, which is ignored by default, when the limits may have changed.

        Call it while we can see the host's files, and `receive` once the process has the container's user.
        """
        if self._folder is not None:
            try:
                signal_writes(self._folder.fileno(), number)
            except OSError:  # a kernel without dnotify
                self.close()

    def receive(self) -> None:
        """Receive those signals as the user that we are now."""
        if self._folder is not None:
            receive_signals(self._folder.fileno())

    def fds(self) -> tuple[int, ...]:
        """Return the descriptors that must stay open."""
        return tuple(fd.fileno() for fd in (self._folder, self._file) if fd is not None)

    def close(self) -> None:
        """Stop following the limits, and keep their last values."""
        self.memory()
        close_owned((self._folder, self._file))
        self._folder = self._file = None

    def _open(self, path: str, name: str) -> None:
        """Open a cgroup's folder and a file in it through a read-only mount; keep neither if that fails."""
        try:
            tree = Fd(open_tree(path))
        except OSError:  # we may not copy the mount: exec as an ordinary user
            return
        with tree:
            self._open_in(tree.fileno(), name)

    def _open_in(self, tree: int, name: str) -> None:
        try:
            mount_setattr(tree, _ATTRIBUTES)
            self._file = Fd(os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=tree))
            self._folder = Fd(os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=tree))
        except OSError:  # no memory controller there, or Linux before 5.12
            self.close()


def _read_tasks(paths: Mapping[str, str], stated: int | None) -> int | None:
    for hierarchy in ("pids", ""):
        if hierarchy in paths:
            try:
                with open(f"{paths[hierarchy]}/pids.max", "rb", 0) as file:
                    return _number(file.read())
            except OSError:
                break
    return stated


def _number(text: bytes) -> int | None:
    text = text.strip()
    number = 0 if text == b"max" else int(text)
    return number if 0 < number < _NO_LIMIT else None


def _positive(limit: int | None) -> int | None:
    """Return a limit, or None: in the spec, 0 or less is no limit."""
    return limit if limit and limit > 0 else None
