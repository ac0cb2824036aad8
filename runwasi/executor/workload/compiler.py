"""Compiles modules into the cache, once per node, in a confined process.

A module may be hostile, and its compiler is a large program. So the compiler runs in its own process without
files, network, other processes or capabilities, and with bounded memory and time. It gets the module in
memory and returns the artefact in memory. Only its parent, which never parses a module, writes to the cache.
If the compiler crashes, only the container that asked fails.

The caller is itself a short-lived process (see errands): it blocks here for as long as a compilation takes.
"""

from __future__ import annotations

import os
import select
import time
from errno import EINVAL
from stat import S_ISREG

from runwasi.engines.engine import CannotHandle, EngineError
from runwasi.engines.module_cache import UntrustedCache, cache_key
from runwasi.engines.wasm.sniff import SNIFF_SIZE, sniff
from runwasi.linux import capabilities, mounts, namespaces, processes, rlimits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import NoReturn

    from runwasi.engines.engine import Engine
    from runwasi.engines.module_cache import ModuleCache
    from runwasi.engines.wasm.sniff import Kind

PATIENCE_MS = 2000
"""A compilation that takes longer is announced."""

NOBODY = 65534

_ISOLATION = (
    namespaces.CLONE_NEWNS
    | namespaces.CLONE_NEWPID
    | namespaces.CLONE_NEWNET
    | namespaces.CLONE_NEWIPC
    | namespaces.CLONE_NEWUTS
)


class Bounds:
    """Bounds of one compilation: bytes of address space, of a module and of an artefact; seconds.

    The largest module on PyPI (99 MB) takes 2 GB and 52 seconds on two CPUs.
    """

    __slots__ = ("artefact", "memory", "module", "seconds")

    def __init__(
        self, memory: int = 4 << 30, module: int = 256 << 20, artefact: int = 1 << 30, seconds: int = 300
    ) -> None:
        self.memory = memory
        self.module = module
        self.artefact = artefact
        self.seconds = seconds


DEFAULT_BOUNDS = Bounds()


class Compiled:
    """The result for one file: its cache key, the artefact's size, the seconds it took, whether it was cached."""

    __slots__ = ("cached", "key", "path", "seconds", "size")

    def __init__(self, path: str, key: str, size: int, seconds: float, cached: bool) -> None:
        self.path = path
        self.key = key
        self.size = size
        self.seconds = seconds
        self.cached = cached


def compile_module(
    engine: Engine,
    module_fd: int,
    cache: ModuleCache,
    name: str,
    *,
    bounds: Bounds = DEFAULT_BOUNDS,
    announce: Callable[[str], None] | None = None,
) -> int:
    """Return an open artefact of the module behind module_fd, from the cache or compiled and put there.

    `engine` is configured; this process has run no module and compiled nothing. Concurrent callers wait for
    the same artefact. If it takes more than two seconds, `announce` (by default, standard error) gets a line.
    Without a usable cache, every call compiles. The caller owns the descriptor.
    Raises CannotHandle for an invalid module or one beyond bounds, EngineMissing, OSError.
    """
    module = _read(module_fd, bounds)
    key = _key(engine, module)
    announce = announce or _tell_stderr
    try:
        lock = cache.lock(key)
    except (OSError, UntrustedCache) as error:
        announce(f"compiled modules are not kept: {error}")
        return _compile_confined(engine, module, name, bounds, announce)
    with lock:
        artefact = cache.lookup(key)
        if artefact is not None:
            return artefact
        return _keep(cache, key, _compile_confined(engine, module, name, bounds, announce), announce)


def compile_files(
    engine: Engine,
    paths: Iterable[str],
    cache: ModuleCache,
    *,
    bounds: Bounds = DEFAULT_BOUNDS,
    announce: Callable[[str], None] | None = None,
) -> Iterator[Compiled]:
    """Compile files ahead of their first start, and yield each result; raises as compile_module does."""
    for path in paths:
        started = time.monotonic()
        module_fd = _open(path)
        try:
            key = _key(engine, _read(module_fd, bounds))
            artefact = cache.lookup(key)
            cached = artefact is not None
            if artefact is None:
                artefact = compile_module(engine, module_fd, cache, path, bounds=bounds, announce=announce)
        except CannotHandle as refusal:
            raise CannotHandle(f"{path}: {refusal}") from None
        finally:
            os.close(module_fd)
        size = os.fstat(artefact).st_size
        os.close(artefact)
        yield Compiled(path, key, size, time.monotonic() - started, cached)


def _open(path: str) -> int:
    """Open a regular file to read. Raises OSError for anything else."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    if not S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(EINVAL, "not a regular file", path)
    return fd


def _key(engine: Engine, module: bytes) -> str:
    compatibility = engine.compatibility_key()
    if not compatibility:
        raise CannotHandle(f"the {engine.name} engine compiles nothing ahead of a start")
    return cache_key(module, compatibility)


def _tell_stderr(line: str) -> None:
    os.write(2, f"runwasi: {line}\n".encode())


def _read(module_fd: int, bounds: Bounds) -> bytes:
    """Copy the module first: a container may change its file between hashing and compiling."""
    module = os.pread(module_fd, bounds.module + 1, 0)
    if len(module) > bounds.module:
        raise CannotHandle(f"the module is larger than {bounds.module >> 20} MiB, the most that is compiled")
    return module


def _keep(cache: ModuleCache, key: str, artefact: int, announce: Callable[[str], None]) -> int:
    from mmap import PROT_READ, mmap  # late: only where something was compiled

    with mmap(artefact, 0, prot=PROT_READ) as content, memoryview(content) as view:
        try:
            kept = cache.store(key, view)
        except OSError as error:  # a full disk is no reason not to run
            announce(f"the compiled module is not kept: {error}")
            return artefact
    os.close(artefact)
    return kept


def _compile_confined(
    engine: Engine, module: bytes, name: str, bounds: Bounds, announce: Callable[[str], None]
) -> int:
    """Compile in a confined child, and return the artefact in sealed memory."""
    artefact = os.memfd_create("artefact", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    complaint, complaint_end = os.pipe2(os.O_CLOEXEC)
    flags = _ISOLATION if os.geteuid() == 0 else _ISOLATION | namespaces.CLONE_NEWUSER
    child = processes.fork_into(flags)
    if child is None:
        _compile_and_exit(engine, module, artefact, complaint_end, bounds)
    os.close(complaint_end)
    try:
        status = _wait(child.pidfd, name, len(module), bounds, announce)
        words = _read_complaint(complaint)
    finally:
        os.close(complaint)
        os.close(child.pidfd)
    if status != 0:
        os.close(artefact)
        raise CannotHandle(_failure(status, words, bounds))
    _seal(artefact)
    return artefact


def _wait(pidfd: int, name: str, size: int, bounds: Bounds, announce: Callable[[str], None]) -> int:
    """Wait for the compiler; announce it if it is slow, and kill it at its time limit."""
    ended = select.poll()
    ended.register(pidfd, select.POLLIN)
    if not ended.poll(PATIENCE_MS):
        announce(f"compiling {name} ({size / (1 << 20):.1f} MiB), once for this node")
        if not ended.poll(bounds.seconds * 1000 - PATIENCE_MS):
            processes.pidfd_send_signal(pidfd, 9)
    return processes.reap(pidfd)


def _read_complaint(fd: int) -> str:
    """Read the compiler's message, at most a pipe's content, as nobody reads while it runs."""
    os.set_blocking(fd, False)
    try:
        return os.read(fd, 64 << 10).decode(errors="replace").strip()
    except BlockingIOError:
        return ""


def _failure(status: int, words: str, bounds: Bounds) -> str:
    if status < 128:
        return words
    crashed = f"it ran out of the {bounds.memory >> 20} MiB it may use, or crashed"
    why = {
        128 + 6: crashed,
        128 + 9: f"it took longer than {bounds.seconds} s, or memory ran out",
        128 + 11: crashed,  # also by abort(), as the first process of a pid namespace is not ended by SIGABRT
    }.get(status, f"it was ended by signal {status - 128}")
    return f"compiling it failed: {why}{f' ({words.splitlines()[-1]})' if words else ''}"


def _seal(artefact: int) -> None:
    from fcntl import F_ADD_SEALS, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE, fcntl

    os.fchmod(
        artefact, 0o444
    )  # readable as cache entries are: a container's user maps it through /proc/self/fd
    fcntl(artefact, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_WRITE | F_SEAL_SEAL)


def _compile_and_exit(
    engine: Engine, module: bytes, artefact: int, complaint: int, bounds: Bounds
) -> NoReturn:
    """Compile in this process, then exit; report any failure on `complaint`."""
    status = 1
    try:
        os.dup2(complaint, 2)  # where a library prints its own last message
        processes.close_fds_except({2, artefact})
        engine.load_compiler(_kind(module))
        _confine(bounds)
        _die_with_parent()
        _write_all(artefact, engine.precompile(module))
        status = 0
    except EngineError as error:
        os.write(2, str(error).encode())
    except MemoryError:
        os.write(2, b"compiling it failed: it ran out of the memory it may use")
    except BaseException as error:  # noqa: BLE001 - nothing may unwind into the parent's code
        os.write(2, f"compiling it failed: {error}".encode())
    os._exit(status)


def _kind(module: bytes) -> Kind | None:
    kind = sniff(module[:SNIFF_SIZE])
    return kind if kind in ("core", "component", "wat") else None


def _confine(bounds: Bounds) -> None:
    """Give up everything but memory and time, irrevocably."""
    mounts.mount(None, "/", None, mounts.MS_REC | mounts.MS_PRIVATE)
    hidden = mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC
    mounts.mount("tmpfs", "/proc", "tmpfs", hidden, f"mode=1777,size={bounds.artefact}")
    os.chroot("/proc")
    os.chdir("/")
    for name, limit in (
        ("RLIMIT_AS", bounds.memory),
        ("RLIMIT_CPU", bounds.seconds),
        ("RLIMIT_FSIZE", bounds.artefact),
        ("RLIMIT_CORE", 0),
        ("RLIMIT_NOFILE", 32),
    ):
        rlimits.set_rlimit(name, limit, limit)
    processes.set_dumpable(False)
    capabilities.apply_bounding(0)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    capabilities.apply(capabilities.CapSets(0, 0, 0, 0, 0))
    processes.set_no_new_privs()


def _die_with_parent() -> None:
    """Be killed when the parent ends, even if it already has: then nobody reads our complaints (fd 2).

    It comes after the change of user, which resets it in the kernel.
    """
    processes.die_with_parent(2)


def _write_all(fd: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(fd, rest) :]
