"""The interface of an engine: it accepts a WebAssembly module or refuses it with a reason, and runs it.

Every start imports this module, so it imports nothing itself; `Engine.load` imports the engine's own library.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from runwasi.engines.wasm.sniff import Kind

EXIT_TRAP = 134
"""Exit status of a module that trapped: 128 + SIGABRT, so that nobody mistakes it for an OOM kill (137)."""

EXIT_REFUSED = 126
"""Exit status of a module that cannot be started; shells use it for "found but not executable"."""


class EngineError(Exception):
    """An engine failed; the message is for the person who started the container."""


class CannotHandle(EngineError):
    """The engine refuses this module; the message says why, and what it would accept."""


class EngineMissing(EngineError):
    """The engine's library is not installed; the message names the package to install."""


class Trap(EngineError):
    """The module trapped: `reason` is a short phrase, `backtrace` one line per frame, innermost first."""

    def __init__(self, reason: str, backtrace: Sequence[str] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.backtrace = tuple(backtrace)

    def report(self) -> str:
        """Return the lines for the container's stderr, ending in a newline."""
        lines = [f"runwasi: wasm trap: {self.reason}"]
        if self.backtrace:
            lines.append("wasm backtrace:")
            lines += [f"  {number:>3}: {frame}" for number, frame in enumerate(self.backtrace)]
        return "\n".join(lines) + "\n"


class Stdio:
    """Descriptors of a process's stdin, stdout and stderr; whoever opened them closes them."""

    __slots__ = ("stderr", "stdin", "stdout")

    def __init__(self, stdin: int = 0, stdout: int = 1, stderr: int = 2) -> None:
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr

    def fds(self) -> tuple[int, int, int]:
        """Return the descriptors in the order stdin, stdout, stderr."""
        return self.stdin, self.stdout, self.stderr

    def install(self) -> None:
        """Make them this process's 0, 1 and 2, which engines pass to their guest."""
        wanted = self.fds()
        if wanted != (0, 1, 2):
            copies = [os.dup(fd) for fd in wanted]  # copy first, as one may have another's number
            for number, copy in enumerate(copies):
                os.dup2(copy, number)
                os.close(copy)


class Module:
    """A WebAssembly module: its name for messages, and an open descriptor of its bytes.

    `fd` is read from offset 0 without moving its position (pread, mmap). `precompiled_fd` is an artefact that
    our own compiler made of the same bytes, or None; never a file of an image. It stays open until `can_handle`
    returns: the engine maps or reads it there.
    """

    __slots__ = ("fd", "name", "precompiled_fd")

    def __init__(self, name: str, fd: int, precompiled_fd: int | None = None) -> None:
        self.name = name
        self.fd = fd
        self.precompiled_fd = precompiled_fd

    def read(self) -> bytes:
        """Read the module's bytes, valid or not."""
        return _contents(self.fd)

    def read_precompiled(self) -> bytes | None:
        """Read the artefact, for engines that cannot map it; None if there is none."""
        return None if self.precompiled_fd is None else _contents(self.precompiled_fd)

    def close_precompiled(self) -> None:
        """Close the artefact, once the engine has loaded it."""
        if self.precompiled_fd is not None:
            os.close(self.precompiled_fd)
            self.precompiled_fd = None


def _contents(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


class Context:
    """Everything that an engine needs to run a module.

    args         argv, args[0] included
    env          "NAME=value", only the container's own
    cwd          absolute path inside the container, already the process's working directory
    function     exported function to call; `_start` also stands for a component's `wasi:cli/run`
    module       the module to run
    layers       the image's other wasm layers, for engines that link them
    annotations  the container's annotations; ours begin with io.runwasi.
    memory_limit the container's current memory limit in bytes, None if unlimited; `update` may change it
    task_limit   the most processes and threads that the container may have, None if unlimited
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
        """`memory_limit` is a function if the limit may change."""
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
        """The container's current memory limit in bytes, None if unlimited."""
        limit = self._memory_limit
        return limit() if callable(limit) else limit


class Engine(ABC):
    """Runs WebAssembly. One object serves one process; its methods are called in this order.

    ================  =========================================================================
    called            where
    ================  =========================================================================
    configure         in every process that calls one of the following, before it
    load_compiler     a process of its own, with the host's files
    precompile        the same process, now confined: without network and rights
    load              the container's process (or a warm server before it forks), with the host's files
    check             the container's process, inside the container's root; a refusal fails its creation
    can_handle        the same, once the module is compiled
    syscall_filter    the same, and makes_sockets: the filter is chosen
    before_filter     the same, once the container is started
    run_wasi          the same process, as the container's user, under its seccomp filter
    ================  =========================================================================
    """

    name: str
    """Its name in `--engine` and in the runtime name, e.g. "wasmtime"."""

    def configure(self, annotations: Mapping[str, str], address_space: int | None = None) -> None:  # noqa: B027
        """Take the settings that affect compilation; most engines need none.

        `address_space` is the process's limit in bytes (RLIMIT_AS), None if unlimited. Raises CannotHandle
        for an invalid annotation.
        """

    def load(self, kind: Kind | None = None) -> None:  # noqa: B027
        """Import whatever `can_handle` and `run_wasi` need; afterwards the host's files are out of reach.

        `kind` is the module's apparent kind, None if it is unknown. Must not start a thread or keep a
        descriptor open: servers fork after it. May be called again. Raises EngineMissing if the engine's
        library is not installed.
        """

    def check(self, ctx: Context) -> None:  # noqa: B027
        """Refuse a module whose imports or exports show that it cannot run. Raises CannotHandle.

        The modules of `ctx` have no artefacts. `can_handle` refuses whatever this does not find.
        """

    def load_compiler(self, kind: Kind | None = None) -> None:
        """Import whatever `precompile` needs; afterwards no file is in reach. `kind` is as in `load`.

        Raises EngineMissing.
        """
        self.load(kind)

    @abstractmethod
    def can_handle(self, ctx: Context) -> bool:
        """Load the module's artefact, and return whether it will run; raise CannotHandle to refuse with a reason.

        Must not run any of the guest's code: the process is not confined yet.
        """

    @abstractmethod
    def run_wasi(self, ctx: Context, stdio: Stdio) -> int:
        """Run the module to its end in this process, and return its exit status, 0 to 255.

        Raises Trap for a trap. SIGTERM and SIGINT must end it even if this process is PID 1.
        """

    def syscall_filter(self) -> str:
        """Return the name of the filter that the accepted module runs behind; "" for the widest.

        The names are in executor/workload/wasm_filter.py: those of the built-in engines, whose calls were measured.
        """
        return ""

    def makes_sockets(self) -> bool:
        """Return whether the accepted module may make sockets behind its filter, where its network is on."""
        return True

    def before_filter(self) -> None:  # noqa: B027
        """Do whatever the accepted module's filter forbids, as the container's user, once it is started.

        Must not run any of the guest's code. A failure is for `run_wasi` to raise.
        """

    def supported_layer_types(self) -> tuple[str, ...]:
        """Return the engine's own layer media types, in addition to those that every engine is offered."""
        return ()

    def precompile(self, module: bytes) -> bytes:
        """Compile a module to the artefact for `Module.precompiled_fd`; b"" if the engine has none.

        Raises CannotHandle if the module is invalid.
        """
        del module
        return b""

    def compatibility_key(self) -> str:
        """Return a text of all that artefacts depend on (version, settings); "" if the engine does not precompile."""
        return ""


class Instance(ABC):
    """A container's whole life, for callers that bring their own process instead of a shim's."""

    @abstractmethod
    def __init__(self, container_id: str, bundle: str, stdio: Stdio) -> None:
        """Prepare the container, without running anything of it."""

    @abstractmethod
    def start(self) -> int:
        """Start the container, and return its process id."""

    @abstractmethod
    def kill(self, signal: int) -> None:
        """Send it a signal. Raises ProcessLookupError if it is gone."""

    @abstractmethod
    def delete(self) -> None:
        """Remove whatever it left behind."""

    @abstractmethod
    def wait(self) -> int:
        """Wait for its end, and return the exit status, 128 + n if signal n ended it."""
