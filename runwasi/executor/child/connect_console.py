"""Connects descriptors 0, 1 and 2 of the process to its terminal, or keeps the ones it was given."""

from __future__ import annotations

import os
from fcntl import F_DUPFD_CLOEXEC, fcntl

from runwasi.executor.child.make_devices import bind_console
from runwasi.executor.errors import ContainerError
from runwasi.executor.plan.sent_stdio import received
from runwasi.linux import sockets, terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.executor.child.progress import InitProgress, Progress


def connect_stdio(ctx: Progress) -> None:
    """Put a new terminal or the given descriptors at 0, 1 and 2."""
    if ctx.process.terminal:
        _connect_terminal(ctx)
        return
    # A given descriptor may itself be 0, 1 or 2, but for another stream: copy all three above 2 first.
    copies = [fcntl(fd, F_DUPFD_CLOEXEC, 3) for fd in received(ctx.plan.stdio)]
    for target, copy in enumerate(copies):
        os.dup2(copy, target, inheritable=True)
        os.close(copy)


def _connect_terminal(ctx: Progress) -> None:
    """Make a pty in the container's own devpts, send its master to the caller, and keep the slave."""
    console_socket = ctx.plan.console_socket
    if console_socket is None:
        raise ContainerError("cannot allocate tty without a console socket ($.process.terminal)")
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        pty = terminal.open_pty(root)
    except FileNotFoundError:
        raise ContainerError("no devpts on /dev/pts to make a terminal in ($.process.terminal)") from None
    finally:
        os.close(root)
    size = ctx.process.console_size
    if size:
        terminal.set_window_size(pty.slave, size.height, size.width)
    sockets.send_fd(console_socket, pty.master, pty.name)
    os.close(pty.master)
    os.close(console_socket)
    terminal.make_controlling(pty.slave)
    for target in (0, 1, 2):
        os.dup2(pty.slave, target, inheritable=True)
    os.close(pty.slave)


def bind_dev_console(ctx: InitProgress) -> None:
    """Make /dev/console the container's terminal, when it has one."""
    if ctx.process.terminal:
        bind_console(0)
