"""Learns from the kernel that a cgroup ran out of memory: through an eventfd on v1, inotify on v2."""

# ruff: noqa: D102  the methods are described once, in cgroup.py

from __future__ import annotations

import os
from errno import EAGAIN

from runwasi.linux import inotify
from runwasi.linux.cgroups import tree
from runwasi.linux.fd import Fd


class _Watch:
    """A descriptor of the kernel's that tells of out-of-memory kills."""

    _fd: Fd

    def fileno(self) -> int:
        return self._fd.fileno()

    def close(self) -> None:
        self._fd.close()


class EventfdOom(_Watch):
    """Watches memory.oom_control (Documentation/admin-guide/cgroup-v1/memory.rst, section 10)."""

    def __init__(self, directory: str, handed_over: tuple[Fd, int] | None = None) -> None:
        self._directory = directory
        if handed_over:
            self._fd, _ = handed_over
            return
        self._fd = Fd(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
        try:
            control = os.open(directory + "/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
            try:
                tree.write_file(directory + "/cgroup.event_control", f"{self._fd.fileno()} {control}")
            finally:
                os.close(control)
        except BaseException:
            self._fd.close()
            raise

    def killed(self) -> bool:
        try:
            os.eventfd_read(self._fd.fileno())
        except BlockingIOError:
            return False
        # The kernel announces the cgroup's removal in the same way, some time later: to learn of a last kill,
        # ask before removing it.
        return os.path.exists(self._directory + "/memory.oom_control")

    def state(self) -> tuple[Fd, int]:
        return self._fd, 0


class InotifyOom(_Watch):
    """Watches the counter oom_kill in memory.events (cgroup-v2.rst, memory.events)."""

    def __init__(self, directory: str, handed_over: tuple[Fd, int] | None = None) -> None:
        self._file = directory + "/memory.events"
        if handed_over:
            self._fd, self._kills = handed_over
            return
        self._kills = self._count()
        self._fd = Fd(inotify.watch(self._file, inotify.IN_MODIFY))

    def killed(self) -> bool:
        try:
            os.read(self._fd.fileno(), 4096)
        except OSError as error:
            if error.errno != EAGAIN:
                raise
        before, self._kills = self._kills, self._count()
        return self._kills > before

    def state(self) -> tuple[Fd, int]:
        return self._fd, self._kills

    def _count(self) -> int:
        try:
            lines = tree.read_file(self._file).splitlines()
        except OSError:
            return 0  # the cgroup is gone
        return next((int(line[9:]) for line in lines if line.startswith("oom_kill ")), 0)
