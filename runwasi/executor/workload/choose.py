"""Decides whether a container's first argument is a native program, WebAssembly, or neither.

It decides once, inside the container's root and as the container's user, before the container counts as
created. So a refusal fails create, with the reason.
"""

from __future__ import annotations

import errno
import os
import stat

from runwasi.engines.annotation_names import HANDLER, VARIANT
from runwasi.engines.wasm.sniff import SNIFF_SIZE, sniff
from runwasi.engines.wasm.sniff import describe as describe_bytes
from runwasi.executor.errors import ContainerError
from runwasi.executor.workload.request import Native
from runwasi.linux.beneath import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runwasi.engines.wasm.sniff import Kind
    from runwasi.executor.workload.request import Parent, WorkloadRequest
    from runwasi.executor.workload.wasm_module import Wasm

DEFAULT_FUNCTION = "_start"


def foresee(request: WorkloadRequest, root_fd: int) -> Kind | None:
    """Guess, from outside the root, the kind of args[0]; None if there is no such file. choose decides later."""
    for path, _ in _candidates(request):
        try:
            fd = open_in_root(
                root_fd, os.path.join(request.cwd, path), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
            )
        except OSError:
            continue
        try:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                return sniff(os.pread(fd, SNIFF_SIZE, 0)) or "elf"
        finally:
            os.close(fd)
    return None


def choose(request: WorkloadRequest, parent: Parent | None) -> Native | Wasm:
    """Decide what runs. The image's layers are fetched only if no file of the rootfs is the program.

    Without parent, only a native program can run. Raises ContainerError saying which paths were tried, what
    was found and what would be accepted.
    """
    found = _find(request)
    if not isinstance(found, _ProgramFile):
        return _from_layers(request, parent, found)
    if found.kind in WASM_KINDS:
        if parent is None:  # it has changed since foresee looked
            raise ContainerError(
                f"cannot execute {found.path}: it was changed meanwhile", errno=errno.ENOEXEC
            )
        assert found.fd is not None  # its bytes said that it is a module
        from runwasi.executor.workload import wasm_module  # late, and in memory: it came with the engine

        return wasm_module.from_file(request, parent, found.path, found.fd, found.function)
    forced = _wasm_is_forced(request.annotations)
    if found.kind in ("elf", "script") and not forced:
        return _native(request, found)
    accepted = (
        "WebAssembly, which an annotation asks for" if forced else "an ELF file, a script, or WebAssembly"
    )
    raise ContainerError(
        f"cannot execute {found.path}: not {accepted} ({describe_bytes(found.first_bytes)})",
        errno=errno.ENOEXEC,
    )


WASM_KINDS = ("core", "component", "wat")


def _wasm_is_forced(annotations: Mapping[str, str]) -> bool:
    return annotations.get(HANDLER) == "wasm" or annotations.get(VARIANT) in ("compat", "compat-smart")


class _ProgramFile:
    """A file of the rootfs that args[0] names: its path, a descriptor if it is readable, its kind and function."""

    __slots__ = ("fd", "first_bytes", "function", "kind", "path")

    def __init__(self, path: str, fd: int | None, function: str) -> None:
        self.path = path
        self.fd = fd
        self.function = function
        self.first_bytes = b"" if fd is None else os.pread(fd, SNIFF_SIZE, 0)
        # a user who may only execute it cannot run a module
        self.kind = "elf" if fd is None else sniff(self.first_bytes)


def _find(request: WorkloadRequest) -> _ProgramFile | int:
    """Find the file that args[0] names; if there is none, return the search's error number.

    Raises ContainerError if this user may not run it, or if PATH leads to it by a relative folder.
    """
    denied = False
    missing = errno.ENOENT
    for path, function in _candidates(request):
        try:
            found = _examine(path, function)
        except PermissionError:
            denied = True
        except OSError as error:  # not there, or not even a path: look on
            if error.errno != errno.ENOENT:
                missing = error.errno or missing
        else:
            _refuse_relative(request.args[0], path)
            return found
    if denied:
        raise _exec_error(request.args[0], "permission denied", errno.EACCES)
    return missing


def _examine(path: str, function: str) -> _ProgramFile:
    """Open a file that this user may run. Raises PermissionError if it may not, OSError if there is none."""
    try:
        # not O_RDONLY alone: opening a FIFO would wait for a writer
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except PermissionError:
        if os.access(path, os.X_OK, effective_ids=True):
            return _ProgramFile(path, None, function)
        raise
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket, or a device that nobody drives
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path) from None
        raise
    if stat.S_ISREG(os.fstat(fd).st_mode):
        found = _ProgramFile(path, fd, function)
        if found.kind in WASM_KINDS or os.access(path, os.X_OK, effective_ids=True):
            return found
    os.close(fd)
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


def _candidates(request: WorkloadRequest) -> list[tuple[str, str]]:
    """List the paths where args[0] may be, best first, each with the function to call."""
    name = request.args[0]
    module, _, function = name.rpartition("#")
    paths = [(path, DEFAULT_FUNCTION) for path in _places(name, request.env)]
    if module and function:
        paths += [(path, function) for path in _places(module, request.env)]
    return paths


def _places(name: str, env: Sequence[str]) -> list[str]:
    if "/" in name:
        return [name]
    search = ""  # no default: an empty environment finds nothing, as with runc and crun
    for entry in env:
        if entry.startswith("PATH="):
            search = entry[5:]
    places = [f"{folder or '.'}/{name}" for folder in search.split(":")] if search else []
    if _names_module(name):
        places.append(f"./{name}")  # images of a single module name it without a path
    return places


def _names_module(name: str) -> bool:
    return name.partition("#")[0].endswith((".wasm", ".wat"))


def _refuse_relative(name: str, path: str) -> None:
    """Refuse, as runc does, a program found by a relative folder in PATH: anybody may own that folder."""
    if "/" not in name and not path.startswith("/") and not _names_module(name):
        why = "cannot run executable found relative to current directory"
        raise _exec_error(name, why, errno.EACCES)


def _exec_error(name: str, why: str, number: int) -> ContainerError:
    return ContainerError(f'exec: "{name}": {why}', errno=number)


def _native(request: WorkloadRequest, found: _ProgramFile) -> Native:
    _refuse_own_program(found)
    if found.fd is not None:
        os.close(found.fd)
    return Native(found.path, request.args)


def _refuse_own_program(found: _ProgramFile) -> None:
    """Refuse an entrypoint that leads to this process's own program, a file of the host (CVE-2019-5736)."""
    path, head = found.path, found.first_bytes
    for _ in range(_MAX_SCRIPTS):
        if _is_own_program(path):
            raise ContainerError(
                f"cannot execute {found.path}: it leads to the container runtime's own program",
                errno=errno.EACCES,
            )
        if not head.startswith(b"#!"):
            return
        path = _interpreter_of(head)
        head = _head_of(path)


def _is_own_program(path: str) -> bool:
    try:
        ours, theirs = os.stat(_OWN_PROGRAM), os.stat(path)
    except OSError:
        return False  # without a /proc, nothing leads to us; or execve will not find the path either
    return (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino)


_OWN_PROGRAM = "/proc/self/exe"
_MAX_SCRIPTS = 7
"""The most scripts in a chain of interpreters, and one more: exec_binprm in Linux, fs/exec.c."""


def _interpreter_of(script: bytes) -> str:
    """Return the path that execve takes from the first line of a script: load_script in Linux, fs/binfmt_script.c.

    The path ends at a space, a tab, a NUL or the end of the line.
    """
    line = script[2:].partition(b"\n")[0].lstrip(b" \t")
    for end in (b"\0", b" ", b"\t"):
        line = line.partition(end)[0]
    return os.fsdecode(line)


def _head_of(path: str) -> bytes:
    """Return the first bytes of a regular file; b"" if there is none that we may read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return b""
    try:
        return os.pread(fd, SNIFF_SIZE, 0) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    finally:
        os.close(fd)


def _from_layers(request: WorkloadRequest, parent: Parent | None, missing: int) -> Wasm:
    try:
        layers = parent.fetch_layers() if parent else ()
    except ContainerError as error:
        raise _not_found(request, missing, f"; {error}") from None
    if parent is None or not layers:
        raise _not_found(request, missing)
    from runwasi.executor.workload import wasm_module  # late, and in memory: it came with the engine

    return wasm_module.from_layers(request, parent, layers)


def _not_found(request: WorkloadRequest, number: int, more: str = "") -> ContainerError:
    name = request.args[0]
    if "/" in name:
        return _exec_error(name, f"stat {name}: {os.strerror(number).lower()}{more}", number)
    return _exec_error(name, f"executable file not found in $PATH{more}", errno.ENOENT)
