"""Makes, lists, kills, empties and removes cgroup directories, of both versions.

It uses plain paths and plain os calls: a container on v1 has ten directories, so every start spends each
microsecond here ten times.
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
_AT_ONCE = 64  # directories to remove in one turn
_LONGEST_PAUSE = 0.01  # seconds


def write_file(path: str, *values: str) -> None:
    """Write each value with one write(2), as cgroup files require. The error names the value and the file."""
    value = values[0]
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            for value in values:
                os.write(fd, value.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise failure(error.errno or 0, f"write {value!r} to", path) from None


def read_file(path: str) -> str:
    """Read a whole file; names in it may be any bytes, which become surrogates as in paths."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        chunks = []
        while chunk := os.read(fd, 65536):
            chunks.append(chunk)
    finally:
        os.close(fd)
    return b"".join(chunks).decode(errors="surrogateescape")


def make(directory: str) -> list[str]:
    """Make a directory and the missing ones above it; return the new ones, outermost first."""
    try:
        os.mkdir(directory, 0o755)
    except FileExistsError:
        return []
    except FileNotFoundError:
        made = make(os.path.dirname(directory))
        return made + make(directory)
    return [directory]


def require_joinable(directory: str) -> None:
    """Raise PermissionError for somebody else's cgroup, into which we must not move processes."""
    if not os.access(directory + "/cgroup.procs", os.W_OK):
        raise PermissionError(EACCES, os.strerror(EACCES), directory)


def processes(directory: str) -> list[int]:
    """Return the process ids in a cgroup and below it; none if it is gone."""
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
            # A process outside our pid namespace appears as 0.
            found += [int(line) for line in listing.split() if line != "0"]
    return found


def descendants(directory: str) -> list[str]:
    """Return a cgroup and all cgroups below it, parents first."""
    found = [directory]
    for path in found:
        try:
            # A directory has a link for each child (man 7 inode), so most cgroups need not be listed.
            if os.stat(path).st_nlink > 2:
                with os.scandir(path) as entries:
                    found += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            continue
    return found


def kill_all(directory: str) -> None:
    """Send SIGKILL to every process below a directory, until a scan finds only killed ones.

    A killed process cannot fork (fork returns ERESTARTNOINTR while a signal is pending), so the scans come to
    an end. A process is signalled only if it is listed again after its pidfd was opened, so that its number
    cannot belong to another process.
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

    Waits for dying processes through their pidfds, for at most that many seconds; then raises OSError
    (EBUSY), which names the remaining ones.
    """
    deadline = monotonic() + seconds
    pause = 0.0
    while not (yield from _try_remove(directory)):
        left = processes(directory)
        if monotonic() >= deadline:
            raise OSError(EBUSY, f"cgroup still has processes {left[:8]}", directory)
        if left:
            yield from _wait_for_one(left, deadline)
        # The kernel cleans up after the last one's end, without an event for that.
        yield Wait((), monotonic() + pause)
        pause = min(pause + 0.0005, _LONGEST_PAUSE)


def open_pidfds(pids: set[int]) -> dict[int, int]:
    """Open a pidfd for each process that still exists. The caller closes them."""
    opened = {}
    for pid in pids:
        try:
            opened[pid] = os.pidfd_open(pid)
        except OSError:
            continue  # gone, or no longer the leader of its threads
    return opened


def _try_remove(directory: str) -> Operation[bool]:
    """Remove a directory after its children; return False if one of them is in use."""
    if _rmdir(directory):
        return True
    below = descendants(directory)[1:]
    if not below:
        return False
    for count, child in enumerate(reversed(below), 1):
        if not _rmdir(child):
            return False
        if not count % _AT_ONCE:
            yield TURN  # a container may make thousands
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
    """Wait until one of the processes has ended, or the deadline."""
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
        owners.append(owner_of(status))
    return sorted(set(owners))


def owner_of(status: str) -> int:
    """Return the process that owns a thread, from the text of its /proc/TID/status (man 5 proc_pid_status).

    The thread chose its name, and of what might seem to end a line the kernel escapes only the newline.
    """
    return next(int(line[5:]) for line in status.split("\n") if line.startswith("Tgid:"))
