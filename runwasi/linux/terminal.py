"""Handles terminals: a new pty from a verified devpts, window size, controlling terminal, raw mode."""

from __future__ import annotations

import os
from fcntl import ioctl
from stat import S_ISCHR
from struct import Struct, pack, unpack

from runwasi.linux.beneath import open_in_root
from runwasi.linux.filesystems import DEVPTS_SUPER_MAGIC, filesystem_type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# asm-generic/ioctls.h
_TIOCSCTTY = 0x540E
_TIOCGWINSZ, _TIOCSWINSZ = 0x5413, 0x5414
_TIOCGPTN, _TIOCSPTLCK, _TIOCGPTPEER = 0x80045430, 0x40045431, 0x5441

_PTMX = os.makedev(5, 2)
WINSIZE = Struct("4H")  # struct winsize: rows, columns, and two unused numbers
_ENODEV = 19


class Pty:
    """A new terminal: both ends, close-on-exec and owned by the caller, and its number in the devpts."""

    __slots__ = ("master", "number", "slave")

    def __init__(self, master: int, slave: int, number: int) -> None:
        self.master = master
        self.slave = slave
        self.number = number

    @property
    def name(self) -> str:
        """The slave's path where the devpts is mounted on /dev/pts."""
        return f"/dev/pts/{self.number}"


def open_pty(root_fd: int, path: str = "dev/pts/ptmx") -> Pty:
    """Make a terminal in the devpts whose ptmx is at path in the root of root_fd.

    The opened file is verified to be the ptmx of a devpts, and the slave comes from the master, not from its
    path, so that a file that the image put in their places is never used (CVE-2025-52565). Raises OSError,
    ENODEV if it is something else. Source: man 4 ptmx, man 2const TIOCGPTPEER.
    """
    master = open_in_root(root_fd, path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        status = os.fstat(master)
        if not (S_ISCHR(status.st_mode) and status.st_rdev == _PTMX) or (
            filesystem_type(master) != DEVPTS_SUPER_MAGIC
        ):
            raise OSError(_ENODEV, "not the ptmx of a devpts", path)
        os.set_blocking(master, True)
        ioctl(master, _TIOCSPTLCK, pack("i", 0))
        slave = ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        (number,) = unpack("i", ioctl(master, _TIOCGPTN, pack("i", 0)))
    except OSError:
        os.close(master)
        raise
    return Pty(master, slave, number)


def make_controlling(fd: int) -> None:
    """Make the terminal fd the controlling terminal of our session; we must be its leader (os.setsid)."""
    ioctl(fd, _TIOCSCTTY, 0)


def window_size(fd: int) -> tuple[int, int]:
    """Return the rows and columns of terminal fd. Raises OSError, ENOTTY if it is not a terminal."""
    rows, columns, _, _ = WINSIZE.unpack(ioctl(fd, _TIOCGWINSZ, bytes(WINSIZE.size)))
    return rows, columns


def set_window_size(fd: int, rows: int, columns: int) -> None:
    """Set the rows and columns of terminal fd; its foreground processes get SIGWINCH."""
    ioctl(fd, _TIOCSWINSZ, WINSIZE.pack(rows, columns, 0, 0))


class raw_mode:  # noqa: N801 - reads as a statement: with raw_mode(0)
    """Put terminal fd into raw mode until the end of `with`: bytes pass as typed, nothing is echoed."""

    __slots__ = ("_fd", "_saved")

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __enter__(self) -> None:
        from termios import tcgetattr  # late: only an attached terminal needs these
        from tty import setraw

        self._saved: list[Any] = tcgetattr(self._fd)
        setraw(self._fd)

    def __exit__(self, *exception: object) -> None:
        from termios import TCSADRAIN, tcsetattr

        tcsetattr(self._fd, TCSADRAIN, self._saved)
