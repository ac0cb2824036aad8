"""Asks the daemon, or does the work itself: the client in Python, installed where there was no C compiler.

It does the same as client.c, for the same reasons.
"""

from __future__ import annotations

import os
import stat
import sys
from struct import pack

from runwasi.linux.standard_streams import open_missing
from runwasi.shim.client import launcher as cold
from runwasi.shim.client import packet
from runwasi.shim.client.packet import PacketError
from runwasi.startup import installation, thin_socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from runwasi.engines.engine import Engine

_MAX_INPUT = 32 << 10


class _NoDaemon(Exception):
    """No daemon will answer."""


def main(engine: str | Engine, *, shared: bool = False) -> NoReturn:
    """Run an engine's client with the arguments of this process; end the process."""
    open_missing()
    path = os.environ.get("RUNWASI_DAEMON_SOCKET") or packet.daemon_socket_path(cold.engine_name(engine))
    try:
        status, output, errors = _ask(path)
    except (OSError, PacketError, _NoDaemon):
        cold.main(engine, shared=shared)
    try:
        for fd, text in ((1, output), (2, errors)):
            while text:
                text = text[os.write(fd, text) :]
    except OSError as error:
        cold.complain(os.path.basename(sys.argv[0]), error)
        status = 1
    installation.leave()
    os._exit(status)


def _ask(path: str) -> tuple[int, bytes, bytes]:
    """Let the daemon carry out the call. Raises _NoDaemon, PacketError or OSError if it cannot."""
    if os.environ.get("RUNWASI_DAEMON") == "off" or not _belongs_to_us(os.path.dirname(path)):
        raise _NoDaemon
    if os.path.lexists(packet.note_path(path)):
        raise _NoDaemon
    sock = thin_socket.socket(thin_socket.AF_UNIX, thin_socket.SOCK_SEQPACKET | thin_socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(packet.TAKEN_SECONDS)
        sock.connect(path)
        _call(sock)
        try:
            kind, status, *texts = packet.read_reply(sock.recv(packet.MAX_REPLY))
        except TimeoutError:
            _give_up(sock, path)
        if kind == packet.TAKEN:
            sock.settimeout(packet.ANSWER_SECONDS)
            kind, status, *texts = packet.read_reply(sock.recv(packet.MAX_REPLY))
        if kind != packet.ANSWER:
            raise _NoDaemon
        output, errors = texts
        return status, output, errors
    finally:
        sock.close()


def _belongs_to_us(folder: str) -> bool:
    found = os.lstat(folder)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _call(sock: thin_socket.socket) -> None:
    given = b""
    if "start" in sys.argv or "-info" in sys.argv or "--info" in sys.argv:
        given = cold.read_stdin()
        _keep_for_later(given)
        if len(given) > _MAX_INPUT:
            raise _NoDaemon
    call = packet.CallPacket(
        installation.version(), os.path.basename(sys.argv[0]), sys.argv[1:], os.environ, given
    )
    folder = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        rights = (thin_socket.SOL_SOCKET, thin_socket.SCM_RIGHTS, pack("i", folder))
        sock.sendmsg([call.encode()], [rights], thin_socket.MSG_NOSIGNAL)
    finally:
        os.close(folder)


def _keep_for_later(given: bytes) -> None:
    """Put the input back on stdin, for us to read if there is no answer."""
    file = os.memfd_create("stdin")
    os.write(file, given)
    os.lseek(file, 0, os.SEEK_SET)
    os.dup2(file, 0)
    os.close(file)


def _give_up(sock: thin_socket.socket, path: str) -> NoReturn:
    """Go on without the hanging daemon; packet.py says in which order and why."""
    note = packet.note_path(path)
    os.close(os.open(note, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    sock.shutdown(thin_socket.SHUT_RD)
    if sock.recv(packet.MAX_REPLY):
        os.unlink(note)
        sock.settimeout(packet.ANSWER_SECONDS)
        sock.recv(1)
    raise _NoDaemon
