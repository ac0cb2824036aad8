"""What an engine is: it takes a WebAssembly module or refuses it with a reason, and runs it in this process.

Imports nothing new, because every start passes here; an engine's own library comes in with `Engine.load`.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from runwasi.engines.wasm.sniff import Kind

EXIT_TRAP = 134
"""Exit status of a module that trapped: 128 + SIGABRT, so that it is not taken for an OOM kill (137)."""

EXIT_REFUSED = 126
"""Exit status when a module cannot be started after all; a shell uses it for "found but not executable"."""


class EngineError(Exception):
    """An engine could not do its work; the message is meant for the person who started the container."""


class CannotHandle(EngineError):
    """The engine refuses this module; the message says why and what would be accepted."""


class EngineMissing(EngineError):
    """The engine's library is not installed; the message names the package to install."""


class Trap(EngineError):
    """The module trapped: `reason` in a few words, `backtrace` innermost frame first, one line each."""

    def __init__(self, reason: str, backtrace: Sequence[str] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.backtrace = tuple(backtrace)

    def report(self) -> str:
        """Return the lines a container's stderr gets, ending in a newline."""
        lines = [f"runwasi: wasm trap: {self.reason}"]
        if self.backtrace:
            lines.append("wasm backtrace:")
            lines += [f"  {number:>3}: {frame}" for number, frame in enumerate(self.backtrace)]
        return "\n".join(lines) + "\n"


class Stdio:
    """Descriptors of a process's stdin, stdout and stderr; they stay open, and whoever opened them closes them."""

    __slots__ = ("stderr", "stdin", "stdout")

    def __init__(self, stdin: int = 0, stdout: int = 1, stderr: int = 2) -> None:
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr

    def fds(self) -> tuple[int, int, int]:
        """Return them in the order of their numbers in the container."""
        return self.stdin, self.stdout, self.stderr

    def install(self) -> None:
        """Make them this process's 0, 1 and 2, which is what engines hand on to their guest."""
        wanted = self.fds()
        if wanted != (0, 1, 2):
            copies = [os.dup(fd) for fd in wanted]  # first, as one may sit on another's number
            for number, copy in enumerate(copies):
                os.dup2(copy, number)
                os.close(copy)


class Module:
    """A WebAssembly module: its name for messages, and an open descriptor of its bytes.

    `fd` is readable and read from offset 0 without moving its position (pread, mmap). `precompiled_fd` is
    an artefact that our own compiler made of those same bytes, or None; never anything out of an image. It is
    open until `can_handle` has returned: the engine maps or reads it there.
    """

    __slots__ = ("fd", "name", "precompiled_fd")

    def __init__(self, name: str, fd: int, precompiled_fd: int | None = None) -> None:
        self.name = name
        self.fd = fd
        self.precompiled_fd = precompiled_fd

    def read(self) -> bytes:
        """Read the module's bytes, whatever they are."""
        return _contents(self.fd)

    def read_precompiled(self) -> bytes | None:
        """Read the artefact, for engines that cannot map it; None when there is none."""
        return None if self.precompiled_fd is None else _contents(self.precompiled_fd)

    def close_precompiled(self) -> None:
        """Close the artefact, which the engine has loaded by now."""
        if self.precompiled_fd is not None:
            os.close(self.precompiled_fd)
            self.precompiled_fd = None


def _contents(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


class Context:
    """Everything a module is run with.

    args         argv in full, args[0] included
    env          "NAME=value", nothing but the container's own
    cwd          absolute path inside the container, already the process's working directory
    function     exported function to call; `_start` is also the name components' `wasi:cli/run` goes by
    module       what to run
    layers       the image's other wasm layers, for engines that link them
    annotations  the container's annotations; ours are called io.runwasi.*
    memory_limit bytes the container may use as of now, None when it is not limited; `update` may change it
    task_limit   processes and threads the container may have, None when it is not limited
    """

    __slots__ = (
        "_memory_limit",
        "annotations",
        "args",
        "cwd",
        "env",
        "function",
        "layers",
        "module",
        "task_limit",
    )

    def __init__(
        self,
        args: Sequence[str],
        module: Module,
        *,
        env: Sequence[str] = (),
        cwd: str = "/",
        function: str = "_start",
        layers: Sequence[Module] = (),
        annotations: Mapping[str, str] | None = None,
        memory_limit: Callable[[], int | None] | int | None = None,
        task_limit: int | None = None,
    ) -> None:
        """`memory_limit` is a function where the limit may change."""
        self.args = tuple(args)
        self.env = tuple(env)
        self.cwd = cwd
        self.function = function
        self.module = module
        self.layers = tuple(layers)
        self.annotations: Mapping[str, str] = annotations or {}
        self._memory_limit = memory_limit
        self.task_limit = task_limit

    @property
    def memory_limit(self) -> int | None:
        """Bytes the container may use as of now, None when it is not limited."""
        limit = self._memory_limit
        return limit() if callable(limit) else limit


class Engine(ABC):
    """Runs WebAssembly. One object serves one process; its methods are called in the order given here.

    ================  =========================================================================
    called            where
    ================  =========================================================================
    configure         wherever one of the following will be called, before it
    load_compiler     a helper of its own, host's files in sight
    precompile        the same process, confined by now: it has no network and no rights
    load              the container's process (or a warm server before it forks), host's files in sight
    check             the container's process, inside the container's root; refusal fails its creation
    can_handle        the same, when the module has been compiled
    run_wasi          the same process, as the container's user, under its seccomp filter
    ================  =========================================================================
    """

    name: str
    """What `--engine` and the runtime name call it, e.g. "wasmtime"."""

    def configure(self, annotations: Mapping[str, str], address_space: int | None = None) -> None:  # noqa: B027
        """Take what has to be known before a module is compiled; most engines need nothing of it.

        `address_space` is the process's limit in bytes (RLIMIT_AS), None without one. Raises CannotHandle
        when an annotation makes no sense.
        """

    def load(self, kind: Kind | None = None) -> None:  # noqa: B027
        """Import whatever `can_handle` and `run_wasi` need; after this the host's files are out of reach.

        `kind` is what the module seems to be, None when anything may come. Must start no thread and keep no
        descriptor open: servers fork after it. May be called again. Raises EngineMissing when the engine's
        library is not installed.
        """

    def check(self, ctx: Context) -> None:  # noqa: B027
        """Refuse what imports and exports show will not run, before anything is compiled. Raises CannotHandle.

        The modules of `ctx` are without artefacts. What is not found here, `can_handle` refuses.
        """

    def load_compiler(self, kind: Kind | None = None) -> None:
        """Import whatever `precompile` needs; after this no file is in sight. `kind` is as in `load`.

        Raises EngineMissing.
        """
        self.load(kind)

    @abstractmethod
    def can_handle(self, ctx: Context) -> bool:
        """Return whether this module will run, and load its artefact; raise CannotHandle to refuse with a reason.

        It must run no code of the guest, which is not confined yet.
        """

    @abstractmethod
    def run_wasi(self, ctx: Context, stdio: Stdio) -> int:
        """Run the module to its end in this process and return its exit status, 0 to 255.

        Raises Trap for a trap. SIGTERM and SIGINT must end it even where this process is PID 1.
        """

    def supported_layer_types(self) -> tuple[str, ...]:
        """Name the engine's own layer media types, in addition to the ones every engine is offered."""
        return ()

    def precompile(self, module: bytes) -> bytes:
        """Compile a module into the artefact that `Module.precompiled_fd` brings back; b"" if there is none.

        Raises CannotHandle when the module is invalid.
        """
        del module
        return b""

    def compatibility_key(self) -> str:
        """Name everything artefacts depend on (version, settings); "" when the engine precompiles nothing."""
        return ""


class Instance(ABC):
    """A container's whole life, for those who do not want the process a shim would otherwise make."""

    @abstractmethod
    def __init__(self, container_id: str, bundle: str, stdio: Stdio) -> None:
        """Prepare the container; nothing of it runs yet."""

    @abstractmethod
    def start(self) -> int:
        """Start it and return its process id."""

    @abstractmethod
    def kill(self, signal: int) -> None:
        """Send it a signal. Raises ProcessLookupError when it is gone."""

    @abstractmethod
    def delete(self) -> None:
        """Undo whatever it left behind."""

    @abstractmethod
    def wait(self) -> int:
        """Wait for its end and return the exit status, 128 + n when signal n ended it."""
