"""Keeps a container's folder on disk: it claims the id, and records everything made for the container.

`<root>/<id>/` holds `state.json` (renamed into place, so it is whole or absent), `config.json` (the bytes that
create read: later edits of the bundle change nothing) and, until it was started, the socket of the start gate:
`.start` while the container is being made, `start` once it is created. `timing` is there where somebody asked for
it. Making the folder claims the id. state.json names everything before it is made, so that nothing of a
crashed creator is lost.

A folder outlives the installation that made it: `delete` may be of a later version of runwasi. So a new
member of state.json has a default, a dropped member is still ignored, and a change of meaning needs a new
VERSION.
"""

from __future__ import annotations

import errno
import os
import stat

from runwasi.executor.errors import AlreadyExists, ContainerError, Invalid, NotFound
from runwasi.linux.fd import write_all
from runwasi.oci.decode import SpecError, decode, parse_json
from runwasi.oci.encode import dumps
from runwasi.oci.record import EMPTY, Id, Record, Uint32, Uint64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

VERSION = 1
"""Version of the meaning of state.json. Older versions must still be understood."""
STATE, CONFIG, GATE, CLOSED_GATE, TIMING = "state.json", "config.json", "start", ".start", "timing"
NATIVE, WASM = "native", "wasm"
"""What the first process of a container runs."""
_MAX_ID = 1024
_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")


class Saved(Record):
    """The contents of state.json.

    pid is 0 until the container's first process exists; its start time (clock ticks after boot) tells it from a
    later process of the same number. created is RFC 3339 in UTC. cgroup_paths maps controller to absolute path.
    kind is NATIVE until its first process has chosen a module, and absent from older files.
    mounted_before is, for a container without a mount namespace, what was mounted in its rootfs before. version
    is absent from the first files of version 1.
    """

    id: str
    bundle: str
    rootfs: str
    created: str
    owner: Id
    creator_pid: Uint32
    creator_start_time: Uint64
    pid: Uint32 = 0
    start_time: Uint64 = 0
    cgroup_paths: Mapping[str, str] = EMPTY
    systemd: bool = False
    rootless: bool = False
    engine: str = ""
    kind: str = ""
    resctrl: str = ""
    mounted_before: tuple[str, ...] = ()
    version: Uint32 = 1


def check_id(container_id: str) -> None:
    """Refuse an id that is not a path component, or that tools would not print well."""
    if not container_id:
        raise Invalid("container id cannot be empty")
    if len(container_id) > _MAX_ID:
        raise Invalid(f"container id is too long: {len(container_id)} characters, at most {_MAX_ID}")
    if container_id in (".", "..") or not _ID_CHARACTERS.issuperset(container_id):
        raise Invalid(f"invalid container id format: {container_id!r} (letters, digits and _+-. are allowed)")


class StateFolder:
    """The folder of one container below a state root."""

    __slots__ = ("id", "path", "root")

    def __init__(self, root: str, container_id: str) -> None:
        check_id(container_id)
        self.root = root
        self.id = container_id
        self.path = f"{root}/{container_id}"

    def claim(self) -> None:
        """Make the folder, which makes the id ours. Raises AlreadyExists or ContainerError."""
        try:
            os.makedirs(self.root, 0o711, exist_ok=True)
            os.mkdir(self.path, 0o711)
        except FileExistsError as error:
            if error.filename != self.path:
                raise ContainerError(f"state root {self.root}: not a directory") from None
            raise AlreadyExists(f"container with given ID already exists: {self.id}") from None
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise Invalid(f"container id is too long: {len(self.id)} characters") from None
            raise ContainerError(
                f"state root {self.root}: {error.strerror}", errno=error.errno or 0
            ) from None

    def write(self, name: str, data: bytes) -> None:
        """Write a file of the folder so that a reader finds the old or the new content, never a part."""
        temporary = f"{self.path}/.{name}"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, data, f"{self.path}/{name}")
        finally:
            os.close(fd)
        os.rename(temporary, f"{self.path}/{name}")

    def save(self, saved: Saved) -> None:
        """Write state.json."""
        self.write(STATE, dumps(saved).encode())

    def load(self) -> Saved:
        """Read state.json. Raises NotFound when there is no such container, ContainerError when it is damaged."""
        try:
            data = self._read(STATE)
        except (FileNotFoundError, NotADirectoryError):
            if os.path.isdir(self.path):
                raise HalfMade(f"container {self.id}: {self.path}/{STATE} is missing") from None
            raise NotFound(f"container does not exist: {self.id}") from None
        except PermissionError as error:
            raise ContainerError(f"{self.path}/{STATE}: {error.strerror}", errno=errno.EACCES) from None
        try:
            document = parse_json(data)
            version = document.get("version", 1) if isinstance(document, dict) else 0
            if isinstance(version, int) and version > VERSION:
                why = f"{self.path}/{STATE} has version {version}, and this runwasi knows {VERSION}"
                raise ContainerError(f"container {self.id} was made by a later runwasi: {why}")
            saved = decode(Saved, document)
            if saved.id != self.id:
                raise SpecError("$.id", f"is that of another container, {saved.id}")
        except SpecError as error:
            raise Damaged(f"container {self.id}: {self.path}/{STATE} is damaged: {error}") from None
        return saved

    def config(self) -> bytes:
        """Return the config.json that create read. Raises OSError."""
        return self._read(CONFIG)

    def _read(self, name: str) -> bytes:
        """Return the content of a file of ours. Raises OSError; for what is no file, ContainerError, unread."""
        with open(f"{self.path}/{name}", "rb", 0, opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Damaged(f"container {self.id}: {self.path}/{name} is not a file")
            return file.read()

    def gate_exists(self) -> bool:
        """Return whether the container is still waiting to be started."""
        return os.path.lexists(f"{self.path}/{GATE}")

    def is_being_made(self) -> bool:
        """Return whether the container's first process has not reached the start gate yet."""
        return os.path.lexists(f"{self.path}/{CLOSED_GATE}")

    def is_timed(self) -> bool:
        """Return whether the steps of its start were timed."""
        return os.path.lexists(f"{self.path}/{TIMING}")

    def show_gate(self) -> None:
        """Make the gate visible: the container is created and can be started."""
        os.rename(f"{self.path}/{CLOSED_GATE}", f"{self.path}/{GATE}")

    def remove_gate(self) -> None:
        """Remove the gate: the container was started."""
        try:
            os.unlink(f"{self.path}/{GATE}")
        except FileNotFoundError:
            pass

    def remove(self) -> None:
        """Remove the folder and our files in it, as far as they exist. Needs no descriptor."""
        self._unlink(STATE, CONFIG)
        try:
            try:
                os.rmdir(self.path)
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:
                    raise
                self._unlink(GATE, CLOSED_GATE, f".{STATE}", f".{CONFIG}", TIMING)
                os.rmdir(self.path)
        except FileNotFoundError:
            return  # another delete was quicker

    def _unlink(self, *names: str) -> None:
        for name in names:
            try:
                os.unlink(f"{self.path}/{name}")
            except FileNotFoundError:
                continue


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting, as for a FIFO that nobody writes."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)


class Damaged(ContainerError):
    """A container's folder exists, but its state is unreadable: only a forced delete can help."""


class HalfMade(Damaged):
    """Its creator was killed before it had made anything but the folder."""


def container_ids(root: str) -> Iterator[str]:
    """Yield the ids that have a folder below root, in order of name."""
    try:
        names = os.listdir(root)
    except FileNotFoundError:
        return
    for name in sorted(names):
        if _ID_CHARACTERS.issuperset(name) and os.path.isdir(f"{root}/{name}"):
            yield name
