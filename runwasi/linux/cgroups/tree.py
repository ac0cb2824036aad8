"""Directories of cgroups as both versions have them: make, list, signal, empty, remove.

Everything takes plain paths and plain os calls: a container on v1 has ten directories, and each microsecond
here is spent ten times in every start.
"""

from __future__ import annotations

import os
from errno import EACCES, EBUSY, ENODEV, ENOENT, ENOTEMPTY, EOPNOTSUPP
from time import monotonic

from runwasi.linux.libc import SYS_PIDFD_SEND_SIGNAL, failure, syscall
from runwasi.linux.waiting import TURN, Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.linux.waiting import Operation

_SIGKILL = 9
_AT_ONCE = 64  # directories removed in one turn
_LONGEST_PAUSE = 0.01  # seconds


def write_file(path: str, value: str) -> None:
    """Write a value in one write(2), as cgroup files require. The error names the value and the file."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise failure(error.errno or 0, f"write {value!r} to", path) from None


def read_file(path: str) -> str:
    """Read a whole file."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        chunks = []
        while chunk := os.read(fd, 65536):
            chunks.append(chunk)
    finally:
        os.close(fd)
    return b"".join(chunks).decode()


def make(directory: str) -> list[str]:
    """Make a directory and those missing above it; return the ones that were made, outermost first."""
    try:
        os.mkdir(directory, 0o755)
    except FileExistsError:
        return []
    except FileNotFoundError:
        made = make(os.path.dirname(directory))
        return made + make(directory)
    return [directory]


def require_joinable(directory: str) -> None:
    """Raise PermissionError for a cgroup of somebody else's, into which we may not move processes."""
    if not os.access(directory + "/cgroup.procs", os.W_OK):
        raise PermissionError(EACCES, os.strerror(EACCES), directory)


def processes(directory: str) -> list[int]:
    """Return the process ids in a cgroup and below it; none when it is gone."""
    found: list[int] = []
    for path in descendants(directory):
        try:
            listing = read_file(path + "/cgroup.procs")
        except OSError as error:
            if error.errno in (ENOENT, ENODEV):
                continue
            if error.errno != EOPNOTSUPP:
                raise
            found += _owners_of_threads(path)
        else:
            # A process outside our pid namespace shows as 0.
            found += [int(line) for line in listing.split() if line != "0"]
    return found


def descendants(directory: str) -> list[str]:
    """Return a cgroup and all below it, parents first."""
    found = [directory]
    for path in found:
        try:
            # A directory has a link for each child (man 7 inode): most cgroups need not be listed.
            if os.stat(path).st_nlink > 2:
                with os.scandir(path) as entries:
                    found += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            continue
    return found


def kill_all(directory: str) -> None:
    """Send SIGKILL to every process below a directory, until a scan finds no process without it.

    A killed process cannot fork any more (fork returns ERESTARTNOINTR with a signal pending), so the looks
    come to an end. A process is signalled only if it is listed again after its pidfd was opened: its number
    cannot have passed to a stranger.
    """
    killed: set[int] = set()
    while new := set(processes(directory)) - killed:
        opened = open_pidfds(new)
        try:
            still = set(processes(directory))
            for pid, pidfd in opened.items():
                if pid in still:
                    syscall(SYS_PIDFD_SEND_SIGNAL, pidfd, _SIGKILL, 0, 0)
            killed |= new
        finally:
            for pidfd in opened.values():
                os.close(pidfd)


def remove(directory: str, seconds: float = 10.0) -> Operation[None]:
    """Remove a cgroup and those below it.

    Processes that are still dying are waited for through their pidfds, for so many seconds at most; then
    OSError (EBUSY) tells who is left.
    """
    deadline = monotonic() + seconds
    pause = 0.0
    while not (yield from _try_remove(directory)):
        left = processes(directory)
        if monotonic() >= deadline:
            raise OSError(EBUSY, f"cgroup still has processes {left[:8]}", directory)
        if left:
            yield from _wait_for_one(left, deadline)
        # The kernel cleans up after the last one's end, and has no event for that.
        yield Wait((), monotonic() + pause)
        pause = min(pause + 0.0005, _LONGEST_PAUSE)


def open_pidfds(pids: set[int]) -> dict[int, int]:
    """Open a pidfd for each process that still exists. The caller closes them."""
    opened = {}
    for pid in pids:
        try:
            opened[pid] = os.pidfd_open(pid)
        except OSError:
            continue  # gone, or not the leader of its threads any more
    return opened


def _try_remove(directory: str) -> Operation[bool]:
    """Remove a directory, its children first if there are any; False when one of them is in use."""
    if _rmdir(directory):
        return True
    below = descendants(directory)[1:]
    if not below:
        return False
    for count, child in enumerate(reversed(below), 1):
        if not _rmdir(child):
            return False
        if not count % _AT_ONCE:
            yield TURN  # a container may have made thousands
    return _rmdir(directory)


def _rmdir(directory: str) -> bool:
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in (EBUSY, ENOTEMPTY):
            raise
        return False
    return True


def _wait_for_one(pids: list[int], deadline: float) -> Operation[None]:
    """Wait until one of the processes has ended or the time is up."""
    opened = open_pidfds(set(pids))
    try:
        if len(opened) == len(pids):
            yield Wait(opened.values(), deadline)
    finally:
        for pidfd in opened.values():
            os.close(pidfd)


def _owners_of_threads(directory: str) -> list[int]:
    """Return the processes that own the threads of a threaded cgroup, which refuses to list processes."""
    owners = []
    for thread in read_file(directory + "/cgroup.threads").split():
        try:
            status = read_file(f"/proc/{thread}/status")
        except (FileNotFoundError, ProcessLookupError):
            continue
        owners += [int(line[5:]) for line in status.splitlines() if line.startswith("Tgid:")]
    return sorted(set(owners))
