"""Keeps compiled modules on this node, so that only the first start of a module pays for the compiler.

An artefact is machine code that an engine will run with this process's rights. So the cache is used only if
nobody else could have written to it: we check the folder's owner and mode on its open descriptor. Every entry
has a digest, so that a torn or foreign file is noticed and rebuilt. Digesting tens of megabytes would take most
of a start, so a file counts as whole while the kernel says that nobody has touched it since it was last
digested, in this boot: a power loss can tear a file unnoticed.

Layout: modules/KEY is the artefact · KEY.sum its digest, and its appearance when that was last compared; the
modification time of KEY.sum is the artefact's last use · KEY.lock is held while somebody compiles it.
"""

from __future__ import annotations

import os
from fcntl import LOCK_EX, flock

from runwasi.engines.engine import EngineError
from runwasi.startup.blake2 import blake2b
from runwasi.startup.hashing import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from hashlib import _Hash as Hash
    from types import TracebackType
    from typing import Self

    Artefact = bytes | bytearray | memoryview

DEFAULT_ROOT = "/var/cache/runwasi"

DEFAULT_LIMIT = 4 << 30
"""Bytes of artefacts to keep; the least recently used ones are removed first."""

LARGE = 1 << 20
"""Bytes from which a module is better hashed where OpenSSL can be imported."""

DIGEST_SIZE = 32
_WRITABLE_BY_OTHERS = 0o022
_CHUNK = 1 << 20


class UntrustedCache(EngineError):
    """Somebody else could have written to the cache folder, so nothing in it may be used."""


def cache_key(module: bytes, compatibility_key: str) -> str:
    """Return the key of the artefact of these bytes for this engine, version and settings: 64 hexadecimal digits."""
    hashed = _fast_sha256() if len(module) >= LARGE else sha256
    return cache_key_of_digest(hashed(module).hexdigest(), compatibility_key)


def cache_key_of(fd: int, compatibility_key: str, *, fast: bool = False) -> str:
    """Return the key of the artefact of the module behind a descriptor, as cache_key does; fast imports OpenSSL.

    The bytes are read at every start. Remembering the key by inode, size and ctime would be faster but unsafe: a
    shared mapping changes a file without a new ctime, and a container's own file system (FUSE, or an overlay
    that got the device number of an earlier one) can report anything, and so run code of its choice in other
    containers. The artefacts' own folder has neither problem.
    """
    digest = _fast_sha256()() if fast else sha256()
    offset = 0
    while chunk := os.pread(fd, _CHUNK, offset):
        digest.update(chunk)
        offset += len(chunk)
    return cache_key_of_digest(digest.hexdigest(), compatibility_key)


def cache_key_of_digest(digest: str, compatibility_key: str) -> str:
    """Return the key of the artefact of a module with this SHA-256 in hexadecimal digits, whose bytes are fixed."""
    return str(sha256(f"{digest} {compatibility_key}".encode()).hexdigest())


def _fast_sha256() -> Callable[..., Hash]:
    """Return OpenSSL's SHA-256: seven times faster than CPython's."""
    from hashlib import sha256 as openssl_sha256  # late: 2 ms, and only where the host's files are in sight

    return openssl_sha256


class ModuleCache:
    """The node's artefacts below `root`. `lock` and `store` raise OSError and UntrustedCache."""

    def __init__(self, root: str = DEFAULT_ROOT, limit: int = DEFAULT_LIMIT) -> None:
        self.root = root
        self.limit = limit

    def lookup(self, key: str) -> int | None:
        """Open the artefact of `key` for reading, or return None; remove one that fails its digest.

        An untrusted cache counts as empty; `lock` and `store` say why.
        """
        try:
            folder = self._open_folder(create=False)
        except (OSError, UntrustedCache):
            return None
        try:
            artefact = _open_entry(folder, key)
            if artefact is None:
                return None
            if _is_whole(folder, key, artefact):
                return artefact
            os.close(artefact)
            return None
        finally:
            os.close(folder)

    def holds(self, key: str) -> bool:
        """Return whether there seems to be an artefact of `key`, without the checks of `lookup`."""
        return os.path.lexists(f"{self.root}/modules/{key}")

    def store(self, key: str, artefact: Artefact) -> int:
        """Store an artefact that we compiled, and open it for reading; remove older ones to make room.

        Both files appear complete under their names. There is no fsync: after a power loss the digest is checked.
        """
        folder = self._open_folder(create=True)
        try:
            kept = _write(folder, key, artefact)
            digest = blake2b(artefact, digest_size=DIGEST_SIZE).digest()
            os.close(_write(folder, f"{key}.sum", digest + _appearance(kept)))
            self._make_room(folder, key)
            return kept
        finally:
            os.close(folder)

    def lock(self, key: str) -> KeyLock:
        """Wait for the node's exclusive right to compile `key`, for a `with` statement."""
        return KeyLock(self._open_folder(create=True), f"{key}.lock")

    def _open_folder(self, *, create: bool) -> int:
        if create:
            os.makedirs(self.root, 0o711, exist_ok=True)
        root = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _verify_folder(root, self.root)
            if create:
                try:
                    os.mkdir("modules", 0o700, dir_fd=root)
                except FileExistsError:
                    pass
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            folder = os.open("modules", flags, dir_fd=root)
        finally:
            os.close(root)
        try:
            _verify_folder(folder, f"{self.root}/modules")
        except UntrustedCache:
            os.close(folder)
            raise
        return folder

    def _make_room(self, folder: int, newest: str) -> None:
        """Remove the least recently used artefacts until the rest fits the limit; `newest` stays.

        A container that runs one of them keeps its pages: the file is freed with its last mapping.
        """
        entries = []
        with os.scandir(folder) as listing:
            for entry in listing:
                if "." not in entry.name:
                    size = entry.stat(follow_symlinks=False).st_size
                    entries.append((_last_use(folder, entry.name), size, entry.name))
        total = sum(size for _, size, _ in entries)
        for _, size, name in sorted(entries):
            if total <= self.limit:
                break
            if name != newest:
                _remove(folder, name)
                total -= size


class KeyLock:
    """Exclusive use of one key on this node until the end of `with`. It dies with its process."""

    def __init__(self, folder: int, name: str) -> None:
        self._folder = folder
        self._name = name
        self._fd = self._acquire()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.unlink(self._name, dir_fd=self._folder)
        os.close(self._fd)
        os.close(self._folder)

    def _acquire(self) -> int:
        """Lock the file; its last holder may have unlinked it, and then try again with the new one."""
        try:
            while True:
                fd = os.open(self._name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=self._folder)
                flock(fd, LOCK_EX)
                if os.fstat(fd).st_nlink:
                    return fd
                os.close(fd)
        except OSError:
            os.close(self._folder)
            raise


def _verify_folder(fd: int, path: str) -> None:
    status = os.fstat(fd)
    if status.st_uid != os.geteuid():
        raise UntrustedCache(f"{path} belongs to uid {status.st_uid}, not to {os.geteuid()}: not used")
    if status.st_mode & _WRITABLE_BY_OTHERS:
        mode = status.st_mode & 0o7777
        raise UntrustedCache(f"{path} has mode {mode:04o}, so others may write to it: not used; remove it")


def _open_entry(folder: int, name: str) -> int | None:
    """Open a regular file that we own, with one name only, that nobody else can write."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError:  # absent, or a symbolic link, which we never make
        return None
    status = os.fstat(fd)
    is_regular = status.st_mode & 0o170000 == 0o100000
    is_ours = status.st_uid == os.geteuid() and not status.st_mode & _WRITABLE_BY_OTHERS
    if is_regular and is_ours and status.st_nlink == 1:
        return fd
    os.close(fd)
    return None


def _digest_of(fd: int) -> bytes:
    digest = blake2b(digest_size=DIGEST_SIZE)
    offset = 0
    while chunk := os.pread(fd, _CHUNK, offset):
        digest.update(chunk)
        offset += len(chunk)
    return digest.digest()


def _is_whole(folder: int, key: str, artefact: int) -> bool:
    """Return whether an entry is as it was stored; remove it if not, unless KEY.sum is still to be written."""
    fd = _open_entry(folder, f"{key}.sum")
    if fd is None:
        return False
    try:
        recorded = os.read(fd, 256)
        digest, appearance = recorded[:DIGEST_SIZE], recorded[DIGEST_SIZE:]
        if appearance == _appearance(artefact):
            os.utime(fd)
            return True
    finally:
        os.close(fd)
    if digest != _digest_of(artefact):
        _remove(folder, key)
        return False
    os.close(_write(folder, f"{key}.sum", digest + _appearance(artefact)))
    return True


def _appearance(fd: int) -> bytes:
    """Return a description of a file that any change to the file changes."""
    status = os.fstat(fd)
    return f"{status.st_ino} {status.st_size} {status.st_ctime_ns} ".encode() + _boot()


def _boot() -> bytes:
    """Return the id of this boot of the kernel; if it is unknown, a value that never matches."""
    try:
        fd = os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return os.urandom(16)
    try:
        return os.read(fd, 64).strip()
    finally:
        os.close(fd)


def _last_use(folder: int, key: str) -> int:
    try:
        return os.stat(f"{key}.sum", dir_fd=folder, follow_symlinks=False).st_mtime_ns
    except FileNotFoundError:
        return 0


def _write(folder: int, name: str, content: Artefact) -> int:
    """Write a file under a temporary name, rename it once it is complete, and open it for reading.

    Everybody may read the open file (the folder keeps others from opening it): a container's user must be able
    to map it through /proc/self/fd.
    """
    partial = f"{name}.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(partial, flags, 0o600, dir_fd=folder)
    try:
        os.fchmod(fd, 0o444)
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(fd, rest) :]
        readable = os.open(partial, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=folder)
        os.rename(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
        return readable
    except OSError:
        os.unlink(partial, dir_fd=folder)
        raise
    finally:
        os.close(fd)


def _remove(folder: int, key: str) -> None:
    for name in (key, f"{key}.sum"):
        try:
            os.unlink(name, dir_fd=folder)
        except FileNotFoundError:
            pass
