"""Manages the installation that this process runs from: a folder per version, kept while processes run from it.

    lib/runwasi/0.1.0-3f9c0a7be1d2/    a version, by its number and a digest of its content
        lock                           read-locked by all that run from it, write-locked to remove it
        superseded                     exists once nothing new starts from here
        bin, launchers, bytecode, site-packages, manifest
    lib/runwasi/lock                   held to install, uninstall or remove
    lib/runwasi/uninstalled            names the folder of the programs, while pods outlive `make uninstall`

A launcher takes its version's lock before it imports any of our modules. The lock belongs to the open descriptor, so
every process that the launcher forks or executes holds it too, and it is released with the last of them, however
that ends: no counting, no polling. The last process of a superseded version removes the version; if it was killed,
the next install, uninstall or last process does.

The locks are open file description locks, not flock: a user who cannot write the file can only read-lock it, so no
user of the machine can keep others from starting. Source: man 2 fcntl_locking.
"""

from __future__ import annotations

import os
import sys
from fcntl import F_DUPFD_CLOEXEC, F_OFD_SETLK, F_OFD_SETLKW, F_WRLCK, fcntl

from runwasi import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from typing import NoReturn

LOCK, SUPERSEDED, UNINSTALLED = "lock", "superseded", "uninstalled"
PROGRAMS, LAUNCHERS = "bin", "launchers"
"""The folders of the programs in PATH, and of the shims that work without the node daemon."""
STAGED = ".new-"
"""The prefix of folders that an installer has not finished; until then they are superseded."""
CLEANERS = "containerd-shim-"
"""The prefix of programs that stay until the last pod is gone: containerd runs them to clean up."""

_FIRST_FREE = 3
_ALL_OPEN = 1 << 20  # descriptors; the interpreter closes them with one call
_REMOVED = ".removed-"
_WHOLE_FILE = F_WRLCK.to_bytes(2, sys.byteorder) + bytes(30)  # struct flock, on 64 bits


class _Held:
    """The descriptor of this process's version lock, and the version's folder."""

    lock: int | None = None
    folder = ""


def hold(lock: int | None, folder: str) -> None:
    """Note that this process runs from a version, and own the locked descriptor from now on."""
    if lock is not None:  # None on a filesystem without locks
        os.set_inheritable(lock, False)
    _Held.lock, _Held.folder = lock, folder
    lift(_FIRST_FREE)  # a caller may have closed a standard stream; do not use its number


def held() -> tuple[int, ...]:
    """Return the descriptor that must stay open, if any: a work tree or a pip environment has none."""
    return () if _Held.lock is None else (_Held.lock,)


def lift(first: int) -> None:
    """Move the descriptor out of the way, to the first free number at or above `first`."""
    if _Held.lock is not None and _Held.lock < first:
        lifted = fcntl(_Held.lock, F_DUPFD_CLOEXEC, first)
        os.close(_Held.lock)
        _Held.lock = lifted


def hand_over() -> str:
    """Pass the lock to the program that this process executes next; return the Python text that takes it there."""
    if _Held.lock is None:
        return ""
    os.set_inheritable(_Held.lock, True)
    return f"from runwasi.startup import installation\ninstallation.hold({_Held.lock}, {_Held.folder!r})\n"


def is_uninstalled() -> bool:
    """Return whether this version was uninstalled and only stays for the pods that run from it."""
    return _Held.lock is not None and os.path.lexists(f"{os.path.dirname(_Held.folder)}/{UNINSTALLED}")


def folder() -> str:
    """Return the folder of the version that this process runs from, "" in a work tree or a pip environment."""
    return _Held.folder


def is_superseded() -> bool:
    """Return whether another version was installed in this one's place."""
    return _Held.lock is not None and os.path.lexists(f"{_Held.folder}/{SUPERSEDED}")


def version() -> str:
    """Return the identifier of this installation's code: client and daemon must have the same."""
    return os.path.basename(_Held.folder) or __version__


def leave(*, comes_delete: bool = False, wait_for_delete: Callable[[], None] | None = None) -> None:
    """Stop running from the version, and remove it if it is superseded and unused. Import nothing afterwards.

    After `make uninstall` containerd may still run a shim's `delete`. With comes_delete it certainly will, and that
    call removes the version instead; if it only may, wait_for_delete returns once it has.
    """
    if _Held.lock is None:
        return
    folder = _Held.folder
    # Unlock, then look: an installer marks a version, then tries its lock, so one of us sees the other.
    try:
        os.close(_Held.lock)
    except OSError:
        pass  # it is closed: Linux releases the descriptor first (man 2 close)
    _Held.lock = None
    if not os.path.lexists(f"{folder}/{SUPERSEDED}"):
        return
    parent = os.path.dirname(folder)
    if not os.path.lexists(f"{parent}/{UNINSTALLED}"):
        _remove_in_background(parent)
    elif not comes_delete:
        _remove_in_background(parent, wait_for_delete)


def remove_others() -> None:
    """Remove superseded versions, if any, after this process has stopped running from one of them."""
    if _Held.lock is not None:
        _remove_in_background(os.path.dirname(_Held.folder))


def _remove_in_background(parent: str, wait: Callable[[], None] | None = None) -> None:
    """Remove superseded versions in a detached child: it takes a while, and somebody waits for us."""
    try:
        if any(_is_free(f"{parent}/{name}") for name in superseded(parent)) and os.fork() == 0:
            _remove_and_exit(parent, wait)
    except OSError:
        return  # not permitted: a process that may will remove them later


def _remove_and_exit(parent: str, wait: Callable[[], None] | None) -> NoReturn:
    try:
        os.setsid()
        os.chdir("/")
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.closerange(_FIRST_FREE, _ALL_OPEN)
        if wait:
            wait()
        remove_superseded(parent)
    finally:  # perhaps a read-only filesystem: the next one tries again
        os._exit(0)


def remove_superseded(parent: str) -> None:
    """Remove the superseded versions below parent that nobody runs from. Raises OSError.

    If another process is removing them, leave it to that: it looks again after it has released the lock.
    """
    while any(_is_free(f"{parent}/{name}") for name in superseded(parent)):
        try:
            lock = own(parent, wait=False)
        except BlockingIOError:
            return
        try:
            _remove_free(parent)
        finally:
            os.close(lock)


def own(parent: str, *, wait: bool) -> int:
    """Return a descriptor that holds the lock of all versions until it is closed.

    Raises OSError: FileNotFoundError if there is no such folder, BlockingIOError if others have the lock.
    """
    path = f"{parent}/{LOCK}"
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl(lock, F_OFD_SETLKW if wait else F_OFD_SETLK, _WHOLE_FILE)
            if os.path.samestat(os.fstat(lock), os.stat(path)):
                return lock
        except (BlockingIOError, PermissionError) as error:  # EAGAIN or EACCES, according to the manual
            os.close(lock)
            raise BlockingIOError(error.errno, error.strerror, path) from None
        except FileNotFoundError:
            pass
        os.close(lock)  # the folder was removed, and perhaps made again, while we waited


def versions(parent: str) -> list[str]:
    """Return the names of the versions below parent, oldest first, even unfinished and half removed ones."""
    try:
        names = [name for name in os.listdir(parent) if os.path.isdir(f"{parent}/{name}/{PROGRAMS}")]
    except FileNotFoundError:
        return []
    return sorted(names, key=lambda name: os.stat(f"{parent}/{name}/{PROGRAMS}").st_mtime_ns)


def superseded(parent: str) -> list[str]:
    """Return the names of the folders below parent to remove."""
    try:
        names = os.listdir(parent)
    except FileNotFoundError:
        return []
    return [
        name
        for name in sorted(names)
        if name.startswith(_REMOVED) or os.path.lexists(f"{parent}/{name}/{SUPERSEDED}")
    ]


def _is_free(folder: str) -> bool:
    try:
        lock = _lock_alone(folder)
    except _InUse:
        return False
    if lock is not None:
        os.close(lock)
    return True


class _InUse(Exception):
    """Somebody runs from a version."""


def _lock_alone(folder: str) -> int | None:
    """Return a version's lock, held for writing; None if it has no lock. Raises _InUse."""
    try:
        lock = os.open(f"{folder}/{LOCK}", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None  # a removal was killed half-way
    try:
        fcntl(lock, F_OFD_SETLK, _WHOLE_FILE)
    except (BlockingIOError, PermissionError):
        os.close(lock)
        raise _InUse from None
    return lock


def _remove_free(parent: str) -> None:
    free: dict[str, int | None] = {}
    try:
        for name in superseded(parent):
            try:
                free[name] = _lock_alone(f"{parent}/{name}")
            except _InUse:
                continue
        settle_programs(parent, free)
        for name in free:
            _remove(parent, name)
    finally:
        for lock in free.values():
            if lock is not None:
                os.close(lock)
    if os.path.lexists(f"{parent}/{UNINSTALLED}") and not versions(parent):
        os.unlink(f"{parent}/{UNINSTALLED}")
        os.unlink(f"{parent}/{LOCK}")
        try:
            os.rmdir(parent)
        except OSError:
            return  # somebody else keeps something there


def settle_programs(parent: str, gone: Container[str] = ()) -> None:
    """Make the programs start from a remaining version, or remove them, after `make uninstall`.

    The caller holds the lock; gone are the versions about to be removed.
    """
    try:
        with open(f"{parent}/{UNINSTALLED}", encoding="utf-8") as file:
            folder = file.read()
    except FileNotFoundError:
        return
    known = [name for name in versions(parent) if not name.startswith(".")]
    staying = [name for name in known if name not in gone]
    for program in sorted(
        {name for version in known for name in os.listdir(f"{parent}/{version}/{PROGRAMS}")}
    ):
        if not any(_starts_from(f"{folder}/{program}", version) for version in known):
            continue
        if staying and program.startswith(CLEANERS):
            # the launcher, not a client: a daemon would not know that nothing new may start
            put_program(f"{parent}/{staying[-1]}/{LAUNCHERS}/{program}", folder)
        else:
            os.unlink(f"{folder}/{program}")


def _starts_from(program: str, version: str) -> bool:
    try:
        with open(program, "rb") as file:
            return f"/{version}/".encode() in file.read()
    except FileNotFoundError:
        return False


def put_program(program: str, folder: str) -> None:
    """Put a program into a folder with a rename, so that it is never half there."""
    with open(program, "rb") as file:
        content = file.read()
    path = f"{folder}/{os.path.basename(program)}"
    with open(f"{path}.new", "wb") as file:
        file.write(content)
        os.fchmod(file.fileno(), 0o755)
    os.replace(f"{path}.new", path)


def _remove(parent: str, name: str) -> None:
    """Rename a folder, so that nobody finds half of it, and remove it."""
    from shutil import rmtree  # late: 8 ms, and rarely needed

    hidden = name if name.startswith(_REMOVED) else _REMOVED + name
    if hidden != name:
        os.rename(f"{parent}/{name}", f"{parent}/{hidden}")
    rmtree(f"{parent}/{hidden}")
