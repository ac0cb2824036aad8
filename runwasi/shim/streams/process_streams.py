"""Opens the three streams of a process, and keeps them until the process is deleted."""

from __future__ import annotations

import os

from runwasi.engines.engine import Stdio
from runwasi.executor.errors import ContainerError, describe
from runwasi.executor.plan.sent_stdio import SentStdio
from runwasi.linux import sockets
from runwasi.linux.fd import Fd, close_owned
from runwasi.shim.streams.inputs import ProcessInput, open_input
from runwasi.shim.streams.outputs import FifoOutput, SentFile, open_output, taken_over

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from runwasi.linux.waiting import Operation
    from runwasi.shim.daemon.handover import Keep
    from runwasi.shim.server.log import Log
    from runwasi.shim.server.reactor import Reactor
    from runwasi.shim.streams.output_reader import OutputReader
    from runwasi.shim.streams.outputs import ProcessOutput
    from runwasi.shim.streams.terminal_copy import TerminalCopy


class StreamPaths:
    """The paths of the streams in the request, which State repeats."""

    __slots__ = ("stderr", "stdin", "stdout", "terminal")

    def __init__(self, stdin: str, stdout: str, stderr: str, terminal: bool) -> None:
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.terminal = terminal


class Streams:
    """Streams that ready() opens: first ours, then handed over to the process."""

    def __init__(
        self,
        reactor: Reactor,
        paths: StreamPaths,
        process_id: str,
        namespace: str,
        owner: tuple[int, int],
        environment: Mapping[str, str],
        log: Log,
    ) -> None:
        self._reactor = reactor
        self._log = log
        self._environment = environment
        self._paths = paths
        self._console: TerminalCopy | None = None
        self._console_end: Fd | None = None
        self._sent_to: Fd | None = None
        self._input: ProcessInput | None = None
        self._outputs: list[ProcessOutput] = []
        self._reader: OutputReader | None = None
        self._process_id = process_id
        self._namespace = namespace
        self._owner = owner

    @classmethod
    def taken_over(
        cls, reactor: Reactor, paths: StreamPaths, state: Mapping[str, Any], environment: Mapping[str, str]
    ) -> Streams:
        """Restore streams of the program that we replace."""
        streams = cls.__new__(cls)
        streams._reactor = reactor
        streams._environment = environment
        streams._paths = paths
        streams._console_end = streams._sent_to = None
        streams._reader = streams._console = streams._input = None
        streams._outputs = [taken_over(reactor, output) for output in state["outputs"]]
        if state["input"] is not None:
            streams._input = ProcessInput.taken_over(state["input"])
        if state["console"] is not None:
            from runwasi.shim.streams.terminal_copy import TerminalCopy  # late: few have a terminal

            streams._console = TerminalCopy.taken_over(reactor, state["console"], streams._outputs[0])
        if state["logger"] is not None:
            from runwasi.shim.streams.output_reader import OutputReader  # late: few have one

            streams._reader = OutputReader.taken_over(reactor, state["logger"])
        return streams

    def state(self, keep: Keep) -> dict[str, Any]:
        """Return the state from which another program continues."""
        return {
            "input": self._input.state(keep) if self._input else None,
            "outputs": [output.state(keep) for output in self._outputs],
            "console": self._console.state(keep) if self._console else None,
            "logger": self._reader.state(keep) if self._reader else None,
        }

    @property
    def console_socket(self) -> int | None:
        """The socket to send the process's terminal to; None without a terminal."""
        return None if self._sent_to is None else self._sent_to.fileno()

    @property
    def stdio(self) -> Stdio:
        """The descriptors for the process; unused with a terminal."""
        if self._paths.terminal or self._input is None:
            return Stdio()
        ends = (self._input.fd, *(output.fd for output in self._outputs))
        stdin, stdout, stderr = (end.fileno() for end in ends if end is not None)
        files = [output.fd for output in self._outputs if isinstance(output, SentFile)]
        if self._input.sent:
            files.append(self._input.fd)
        return SentStdio(stdin, stdout, stderr, {fd.fileno() for fd in files if fd is not None})

    def ready(self) -> Operation[None]:
        """Open the streams, and wait until the logger, if any, is ready. Raises ContainerError, with nothing open."""
        try:
            yield from self._open()
            if self._reader:
                yield from self._reader.ready()
        except BaseException:
            self.close()
            raise

    def handed_over(self) -> None:
        """Note that the process has its streams: close our copies, and receive its terminal's master, if any."""
        if self._sent_to is not None:
            self._receive_console()
            return
        for stream in (self._input, *self._outputs):
            if stream:
                stream.handed_over()

    def process_ended(self) -> None:
        """Note that the process has ended: let the readers see the end of its output."""
        if self._console:
            self._console.process_ended()
            return
        if self._input:
            self._input.close()
        for output in self._outputs:
            output.process_ended()

    def close_stdin(self) -> None:
        """Stop passing input on once the client has closed its end."""
        if self._console:
            self._console.close_stdin()
        elif self._input:
            self._input.close_writer()

    def resize(self, columns: int, rows: int) -> None:
        """Change the terminal's window size; do nothing without a terminal."""
        if self._console:
            self._console.resize(columns, rows)

    def close(self) -> None:
        """Close everything."""
        self._close_sockets()
        if self._console:
            self._console.close()
        if self._input:
            self._input.close()
        for output in self._outputs:
            output.close()
        if self._reader:
            self._reader.stop()

    def _open(self) -> Operation[None]:
        paths = self._paths
        if paths.stdin or not paths.terminal:
            self._input = yield from open_input(paths.stdin)
            if paths.terminal and self._input.sent:
                raise ContainerError(f"open {paths.stdin}: the input of a terminal must be a FIFO")
        if paths.stdout.startswith("binary"):
            from runwasi.shim.streams.logger import Logger, is_logger  # late: few have one

            if is_logger(paths.stdout):
                logger = Logger(
                    self._reactor, paths.stdout, self._process_id, self._namespace, self._environment
                )
                self._reader = logger
                self._outputs = [logger.stdout, logger.stderr]
        if not self._outputs:
            yield from self._open_outputs()
        if paths.terminal:
            self._prepare_console()
        if any(self._owner):
            for output in self._outputs:
                if isinstance(output, FifoOutput) and output.fd is not None:
                    os.fchown(output.fd.fileno(), *self._owner)

    def _open_outputs(self) -> Operation[None]:
        paths = self._paths
        shared = not paths.terminal and paths.stderr == paths.stdout
        stdout = yield from open_output(self._reactor, paths.stdout, 2 if shared else 1)
        self._outputs.append(stdout)
        if paths.terminal:
            return
        if shared and isinstance(stdout, SentFile):
            self._outputs.append(stdout.twin())
        else:
            self._outputs.append((yield from open_output(self._reactor, paths.stderr)))

    def _prepare_console(self) -> None:
        ours, theirs = sockets.socket_pair()
        self._console_end, self._sent_to = Fd(ours), Fd(theirs)
        os.set_blocking(ours, False)
        file = self._outputs[0]
        if isinstance(file, SentFile):
            from runwasi.shim.streams.file_copy import FileCopy  # late: few terminals have one

            self._reader = FileCopy(self._reactor, file, self._paths.stdout, self._log)
            self._outputs = [self._reader.stdout]

    def _receive_console(self) -> None:
        from runwasi.shim.streams.terminal_copy import TerminalCopy  # late: few have a terminal

        try:
            assert self._console_end is not None
            _, fds = sockets.receive_fds(self._console_end.fileno())
            if not fds:
                raise ContainerError("the process came without its terminal")
            self._console = TerminalCopy(self._reactor, Fd(fds[0]), self._input, self._outputs[0])
            self._input = None
            sockets.close_all(fds[1:])
        except OSError as error:
            raise ContainerError(f"terminal: {describe(error)}", errno=error.errno or 0) from None
        finally:
            self._close_sockets()
        for output in self._outputs[1:]:
            output.close()  # a terminal has no stderr of its own

    def _close_sockets(self) -> None:
        close_owned((self._console_end, self._sent_to))
        self._console_end = self._sent_to = None
