"""Keeps processes that mount and unmount for a server of many pods, one job after another.

A mount may hang with its filesystem, so the server itself makes none. A fork per job (an errand) costs the
daemon 2 ms to copy its page tables, and later each page that it writes to; a running process costs two
messages. A mounter has one job at a time: if a filesystem hangs, the next job gets another mounter.

    server ── mount or unmount, the bundle, the mounts ──> mounter
    server <── ANSWER or FAILED ── mounter

A mounter starts if there is a job and none is free. It ends after a while without a job, or with the server.
"""

from __future__ import annotations

import os
from time import monotonic

from runwasi.executor.parent import errands
from runwasi.executor.protocol import ANSWER, Channel, ChannelMessage
from runwasi.executor.undo import Undo
from runwasi.linux import processes
from runwasi.shim.services.rootfs.rootfs_mounts import mount_all, unmount_all
from runwasi.wire.messages.types import Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    from runwasi.linux.processes import Child
    from runwasi.linux.waiting import Operation
    from runwasi.shim.server.reactor import Reactor
    from runwasi.shim.services.calls.bundle_folder import BundleFolder

_IDLE = 10.0  # seconds
_MAX_FREE = 4  # more are kept only while they have something to do
_MAX_JOB = (
    16 << 10
)  # bytes, half of the most that a message may have; an overlay of very many layers needs more
_MOUNT, _UNMOUNT = "mount", "unmount"


def mount_rootfs(requested: Sequence[Mount], bundle: str, mounters: Mounters | None) -> Operation[None]:
    """Make the mounts of a Create call on the bundle's rootfs, all or none. Raises ContainerError.

    A mounter or an errand makes them: a layer may be on a hanging filesystem.
    """
    if requested and mounters is not None:
        yield from mounters.mount(requested, bundle)
    elif requested:
        yield from errands.run(lambda: mount_all(requested, bundle), f"mounting {bundle}/rootfs")


def unmount_rootfs(folder: BundleFolder, *, mounted: bool, mounters: Mounters | None) -> Operation[None]:
    """Unmount everything on a bundle's rootfs and below; there may be nothing.

    If a Create call made mounts, a mounter or an errand unmounts them, because unmounting an overlay writes
    back its whole upper filesystem. Raises OSError or ContainerError.
    """
    bundle = folder.path
    if mounted and mounters is not None:
        yield from mounters.unmount(bundle)
    elif mounted:
        yield from errands.run(lambda: unmount_all(bundle), f"unmounting {bundle}/rootfs")
    else:
        yield from folder.do(lambda: unmount_all(bundle), f"unmounting {bundle}/rootfs")


class Mounters:
    """The mounters of one server."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._free: list[_Mounter] = []
        self._last_job = 0.0
        self._watched = False

    def mount(self, requested: Sequence[Mount], bundle: str) -> Operation[None]:
        """Make the mounts of a Create call on the bundle's rootfs, all or none. Raises ContainerError."""
        job = (_MOUNT, bundle, *_texts(requested))
        yield from self._do(job, f"mounting {bundle}/rootfs", lambda: mount_all(requested, bundle))

    def unmount(self, bundle: str) -> Operation[None]:
        """Unmount everything on a bundle's rootfs and below. Raises ContainerError."""
        yield from self._do((_UNMOUNT, bundle), f"unmounting {bundle}/rootfs", lambda: unmount_all(bundle))

    def end_free(self) -> None:
        """End the idle mounters."""
        free, self._free = self._free, []
        for mounter in free:
            self._end(mounter)

    def _do(self, job: tuple[str, ...], what: str, work: Callable[[], None]) -> Operation[None]:
        if sum(len(text) for text in job) > _MAX_JOB or any("\0" in text for text in job):
            yield from errands.run(work, what)
            return
        mounter = self._begun(job)
        undo = Undo()
        undo.add(mounter.end)
        yield from undo.around(mounter.done(what))
        self._last_job = monotonic()
        if len(self._free) >= _MAX_FREE:
            yield from undo.run()
            return
        self._free.append(mounter)
        if not self._watched:
            self._watched = True
            self._reactor.call_later(_IDLE, self._check)

    def _begun(self, job: tuple[str, ...]) -> _Mounter:
        """Pass a job to an idle mounter or a new one."""
        while self._free:
            mounter = self._free.pop()
            if mounter.begin(job):
                return mounter
            self._end(mounter)
        mounter = _Mounter()
        mounter.begin(job)  # if it is gone by now, done() reports that
        return mounter

    def _end(self, mounter: _Mounter) -> None:
        self._reactor.follow(mounter.end(), lambda _result, _error: None)

    def _check(self) -> None:
        """End the idle mounters if there has been no job for long; otherwise look again later."""
        left = self._last_job + _IDLE - monotonic()
        self._watched = left > 0
        if self._watched:
            self._reactor.call_later(left, self._check)
        else:
            self.end_free()


class _Mounter:
    """A mounter, as seen by its server."""

    def __init__(self) -> None:
        """Start the process. Raises OSError."""
        self._channel, theirs = Channel.pair()
        child: Child | None = None
        try:
            child = processes.fork_into(processes.CLONE_CLEAR_SIGHAND)
            if child is None:
                _serve(theirs)
        finally:
            theirs.close()
            if child is None:
                self._channel.close()
        self._pidfd = child.pidfd

    def begin(self, job: tuple[str, ...]) -> bool:
        """Send it a job; return False if somebody has killed it."""
        try:
            self._channel.send(*job)
        except BrokenPipeError:
            return False
        return True

    def done(self, what: str) -> Operation[None]:
        """Wait until the job is done. Raises ContainerError."""
        yield from errands.heard(self._channel, what, errands.PATIENCE)

    def end(self) -> Operation[None]:
        """Kill it and wait until it has ended."""
        self._channel.close()
        yield from processes.end(self._pidfd)


def _serve(jobs: Channel) -> NoReturn:
    """Do jobs, in the mounter, until the server is gone or stops it."""
    try:
        processes.work_apart(jobs.fileno(), ())
        processes.set_name("runwasi-mounts")
        while (job := jobs.receive()) is not None:
            try:
                _carry_out(job)
            except Exception as error:  # noqa: BLE001  the server hears what it was
                jobs.send_failure(error)
            else:
                jobs.send(ANSWER)
    finally:
        os._exit(0)  # the child must never return into the server's code


def _carry_out(job: ChannelMessage) -> None:
    bundle, *texts = job.fields
    if job.kind == _MOUNT:
        mount_all(_mounts(texts), bundle)
    else:
        unmount_all(bundle)


def _texts(requested: Sequence[Mount]) -> list[str]:
    """Write mounts as texts: type, source, target, the number of options, the options."""
    texts = []
    for mount in requested:
        texts += [mount.type, mount.source, mount.target, str(len(mount.options)), *mount.options]
    return texts


def _mounts(texts: Sequence[str]) -> list[Mount]:
    """Read what _texts wrote."""
    found = []
    rest = iter(texts)
    for kind in rest:
        source, target, count = next(rest), next(rest), int(next(rest))
        found.append(
            Mount(type=kind, source=source, target=target, options=[next(rest) for _ in range(count)])
        )
    return found
