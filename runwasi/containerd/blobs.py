"""Opens a layer as a descriptor that a container may hold: read-only for every user.

The content store of this node is a folder, and its plugin says which: opening a blob there costs only the
hashing, and all containers of an image share its pages. The descriptor goes into a container, where root could
reopen it for writing through /proc/self/fd; so we open it below a private read-only mount, which refuses that
(EROFS). If that is impossible (a store elsewhere, or a compressed layer), the bytes are copied into sealed memory.
"""

from __future__ import annotations

import hashlib
import os
from fcntl import F_ADD_SEALS, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE, fcntl

from runwasi.containerd.client import Containerd
from runwasi.containerd.containerd_error import ContainerdError
from runwasi.containerd.images import check_digest
from runwasi.linux import mount_fds
from runwasi.linux.fd import Fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"

_CHUNK = 1 << 20


def open_blob(client: Containerd, content_root: str, digest: str, size: int, limit: int) -> tuple[int, str]:
    """Open the uncompressed content of a blob; return its descriptor, at offset 0, and its digest.

    The content has been checked against the blob's digest. Raises ContainerdError, also if the content has more
    than `limit` bytes.
    """
    if size > limit:
        raise ContainerdError(f"layer {digest} has {size} bytes, more than the limit of {limit}")
    fd = _open_local(content_root, digest)
    if fd is None:
        fd = _copy(client.read(digest), limit, digest)
    try:
        digits = _digest_of(fd)
        check_digest(digest, digits)
        head = os.pread(fd, 4, 0)
        if not head.startswith((GZIP_MAGIC, ZSTD_MAGIC)):
            return fd, f"sha256:{digits}"
        plain = _copy(_decompressed(fd, digest, zstd=head == ZSTD_MAGIC), limit, digest)
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return plain, f"sha256:{_digest_of(plain)}"


def _open_local(content_root: str, digest: str) -> int | None:
    """Open the blob's file below its own read-only mount; None without the file or the right to mount."""
    if not content_root or not digest.startswith("sha256:"):
        return None
    path = f"{content_root}/blobs/sha256/{digest.removeprefix('sha256:')}"
    try:
        with Fd(mount_fds.open_tree(path)) as mount:
            mount_fds.mount_setattr(mount.fileno(), mount_fds.MOUNT_ATTR_RDONLY)
            return os.open(f"/proc/self/fd/{mount.fileno()}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def _copy(pieces: Iterable[bytes], limit: int, digest: str) -> int:
    """Copy the bytes into sealed memory, which nobody can change afterwards."""
    fd = os.memfd_create("layer", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        total = 0
        for piece in pieces:
            total += len(piece)
            if total > limit:
                raise ContainerdError(f"layer {digest} has more than {limit} bytes")
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(fd, rest) :]
        os.fchmod(fd, 0o444)
        fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_WRITE | F_SEAL_SEAL)
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _pieces(fd: int) -> Iterator[bytes]:
    offset = 0
    while piece := os.pread(fd, _CHUNK, offset):
        yield piece
        offset += len(piece)


def _digest_of(fd: int) -> str:
    digest = hashlib.sha256()
    for piece in _pieces(fd):
        digest.update(piece)
    return digest.hexdigest()


def _decompressed(fd: int, digest: str, *, zstd: bool) -> Iterator[bytes]:
    """Decompress in small pieces: a layer may be a decompression bomb."""
    try:
        yield from _zstd(fd) if zstd else _gzip(fd)
    except (ValueError, EOFError) as error:
        raise ContainerdError(f"layer {digest} cannot be decompressed: {error}") from None


def _gzip(fd: int) -> Iterator[bytes]:
    import zlib  # late: only for compressed layers

    stream = zlib.decompressobj(wbits=31)
    try:
        for piece in _pieces(fd):
            while piece and not stream.eof:
                yield stream.decompress(piece, _CHUNK)
                piece = stream.unconsumed_tail
    except zlib.error as error:
        raise ValueError(error) from None
    if not stream.eof:
        raise EOFError("it ends early")


def _zstd(fd: int) -> Iterator[bytes]:
    from runwasi.containerd.zstd import ZstdStream  # late: ctypes and libzstd, only for zstd layers

    with ZstdStream() as stream:
        for piece in _pieces(fd):
            yield from stream.decompress(piece)
        if not stream.ended:
            raise EOFError("it ends early")
