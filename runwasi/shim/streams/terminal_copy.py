"""Copies a process's terminal, the pty's master, to and from containerd's FIFOs on the reactor.

The master is watched edge-triggered. While no process has the terminal open, the master reports a hang-up,
which would wake a level-triggered loop without end; a process may open the terminal again later.

A logger, or the process that copies into a file, may end before the container. The terminal's further output is
dropped: the container must not wait for a reader that is gone.
"""

from __future__ import annotations

import os
import stat
from errno import EIO
from select import EPOLLET

from runwasi.linux import terminal
from runwasi.linux.fd import Fd, close_owned, owner_of
from runwasi.shim.server.reactor import BROKEN, READABLE, WRITABLE, read_available, write_available

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from runwasi.shim.daemon.handover import Keep
    from runwasi.shim.server.reactor import Reactor
    from runwasi.shim.streams.inputs import ProcessInput
    from runwasi.shim.streams.outputs import ProcessOutput

_SIZE = 32 << 10
_PIECES = 16  # pieces to copy in one turn: an endless writer or reader must not occupy the reactor
_END_OF_INPUT = b"\x04"  # VEOF, what a person would type


class TerminalCopy:
    """Copies between a master and the streams; owns the master, stdin and the output."""

    def __init__(
        self, reactor: Reactor, master: Fd, stdin: ProcessInput | None, output: ProcessOutput
    ) -> None:
        self._reactor = reactor
        self._master: Fd | None = master
        self._output = output
        self._stdin: Fd | None = None
        self._stdin_writer: Fd | None = None
        self._to_client = b""
        self._to_process = b""
        self._ended = False
        self._goes_on = False
        self._sink_watched = False
        try:
            self._begin(master, stdin)
        except OSError:
            self.close()
            raise

    @classmethod
    def taken_over(cls, reactor: Reactor, state: Mapping[str, Any], output: ProcessOutput) -> TerminalCopy:
        """Restore a terminal of the program that we replace."""
        console = cls(reactor, Fd(state["master"]), None, output)
        console._to_client, console._to_process = (bytes.fromhex(text) for text in state["buffers"])
        console._ended = state["ended"]
        console._stdin, console._stdin_writer = owner_of(state["stdin"]), owner_of(state["stdin_writer"])
        if console._stdin is not None:
            reactor.watch(console._stdin.fileno(), console._stdin_ready)
        reactor.call_soon(console._go_on)
        return console

    def state(self, keep: Keep) -> dict[str, Any] | None:
        """Return the state from which another program continues; None if the terminal is gone."""
        if self._master is None:
            return None
        return {
            "master": keep(self._master),
            "stdin": keep(self._stdin),
            "stdin_writer": keep(self._stdin_writer),
            "buffers": [self._to_client.hex(), self._to_process.hex()],
            "ended": self._ended,
        }

    def resize(self, columns: int, rows: int) -> None:
        """Set the size of the terminal's window."""
        if self._master is not None:
            terminal.set_window_size(self._master.fileno(), rows, columns)

    def close_stdin(self) -> None:
        """Stop passing input on once the client has closed its end."""
        close_owned((self._stdin_writer,))
        self._stdin_writer = None

    def process_ended(self) -> None:
        """Copy the terminal's remaining output, then let the reader see the end."""
        self._ended = True
        self._drop_stdin()
        self._pump_output()

    def close(self) -> None:
        """Close everything."""
        self._drop_stdin()
        self._drop_master()
        self._unwatch_sink()
        self._output.close()

    def _begin(self, master: Fd, stdin: ProcessInput | None) -> None:
        os.set_blocking(master.fileno(), False)
        self._reactor.watch(master.fileno(), self._master_ready, READABLE | WRITABLE | EPOLLET)
        if self._output.fd is not None:
            self._watch_sink()
        if stdin is not None and stdin.fd is not None:
            self._take_stdin(stdin.fd, stdin.writer)

    # terminal to client

    @property
    def _sink(self) -> int:
        """What the client reads from; ours until the output is closed."""
        assert self._output.fd is not None
        return self._output.fd.fileno()

    def _master_ready(self, events: int) -> None:
        if events & WRITABLE:
            self._pump_input()
        self._pump_output()

    def _watch_sink(self) -> None:
        os.set_blocking(self._sink, False)
        self._sink_watched = stat.S_ISFIFO(os.fstat(self._sink).st_mode)  # epoll takes no regular file
        if self._sink_watched:
            self._reactor.watch(self._sink, self._sink_ready, 0)

    def _sink_ready(self, events: int) -> None:
        if events & BROKEN:
            self._drop_sink()
        else:
            self._reactor.change(self._sink, 0)
        self._pump_output()

    def _pump_output(self) -> None:
        """Copy until the terminal is empty, the client accepts no more, or others must have their turn."""
        for _ in range(_PIECES):
            if self._master is not None and not self._to_client:
                self._to_client = _read_master(self._master) or b""
            if self._master is None or not self._to_client:
                if self._ended:
                    self._finish()
                return
            sent = self._write_sink()
            self._to_client = self._to_client[sent:]
            if not sent:
                if self._sink_watched:
                    self._reactor.change(self._sink, WRITABLE)
                return
        if not self._goes_on:  # the master is edge-triggered: no event would follow
            self._goes_on = True
            self._reactor.call_soon(self._go_on)

    def _write_sink(self) -> int:
        """Write what the client accepts; return its length, that of everything if nobody will read any more."""
        if self._output.fd is not None:
            try:
                return write_available(self._sink, self._to_client)
            except BrokenPipeError:
                self._drop_sink()
        return len(self._to_client)

    def _go_on(self) -> None:
        self._goes_on = False
        if self._master is not None:
            self._pump_output()

    def _finish(self) -> None:
        self._drop_master()
        self._unwatch_sink()
        self._output.process_ended()

    def _drop_sink(self) -> None:
        self._unwatch_sink()
        self._output.close()

    def _unwatch_sink(self) -> None:
        if self._sink_watched:
            self._reactor.unwatch(self._sink)
            self._sink_watched = False

    # client to terminal

    def _take_stdin(self, reader: Fd, writer: Fd | None) -> None:
        self._stdin, self._stdin_writer = reader, writer
        os.set_blocking(reader.fileno(), False)
        self._reactor.watch(reader.fileno(), self._stdin_ready)

    def _stdin_ready(self, _events: int) -> None:
        self._pump_input()

    def _pump_input(self) -> None:
        for _ in range(_PIECES):
            if self._stdin is None or self._master is None:
                return
            if not self._to_process:
                data = read_available(self._stdin.fileno(), _SIZE)
                if data is None:
                    self._watch_stdin(READABLE)
                    return
                if not data:
                    self._drop_stdin()
                    data = _END_OF_INPUT
                self._to_process = data
            self._to_process = _write_master(self._master, self._to_process)
            if self._to_process:
                self._watch_stdin(0)  # the terminal's buffer is full: man 4 termios
                return
        self._watch_stdin(READABLE)  # continue in the next turn

    def _watch_stdin(self, events: int) -> None:
        if self._stdin is not None:
            self._reactor.change(self._stdin.fileno(), events)

    def _drop_stdin(self) -> None:
        self.close_stdin()
        if self._stdin is not None:
            self._reactor.unwatch(self._stdin.fileno())
            self._stdin.close()
            self._stdin = None

    def _drop_master(self) -> None:
        if self._master is not None:
            self._reactor.unwatch(self._master.fileno())
            self._master.close()
            self._master = None


def _read_master(master: Fd) -> bytes | None:
    try:
        return read_available(master.fileno(), _SIZE)
    except OSError as error:
        if error.errno == EIO:  # nobody has the terminal open (any more)
            return None
        raise


def _write_master(master: Fd, data: bytes) -> bytes:
    """Write what the terminal accepts; return the rest, b"" if nobody has the terminal open."""
    try:
        return data[write_available(master.fileno(), data) :]
    except OSError as error:
        if error.errno != EIO:
            raise
        return b""
