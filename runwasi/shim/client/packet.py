"""What a shim that containerd calls and the node daemon say to each other: a call, and two replies.

    client                                    daemon
      call, with its folder              ->
                                         <-   TAKEN: from now on it is the daemon's to carry out
                                         <-   ANSWER: exit status, and what to print; or COLD: do it yourself

Each is one packet of a SOCK_SEQPACKET socket, between processes of one machine, so numbers are in its byte order:

    call     magic[8], arguments u32, variables u32, input u32; version, program, arguments and variables, each ended
             by NUL; the input, which is all that stdin held
    reply    magic[8], kind u8, status u8, two bytes unused, output u32; the body, so much of it for stdout, the rest
             for stderr

The client's own streams stay with it: containerd reads stdout and stderr until everybody has closed them, and a
daemon that hangs would have them, if only in its queue.

client.c beside this file is the other one who knows. A client that waits in vain for TAKEN leaves a note beside the
socket, which has others not wait at all, and shuts its reading end before it goes its own way, so that a daemon that
wakes up later cannot say TAKEN and forgets the call: a late `delete` could meet a new container of the same name.
"""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAGIC = b"runwasi1"
TAKEN, ANSWER, COLD = b"TAC"
TAKEN_SECONDS, ANSWER_SECONDS = 1.0, 10.0
MAX_CALL = 96 << 10
MAX_BODY = 64 << 10
_CALL = Struct("=8s3I")
_REPLY = Struct("=8s2B2xI")
MAX_REPLY = _REPLY.size + MAX_BODY


class PacketError(ValueError):
    """A packet is none of ours."""


class CallPacket:
    """What a client was called with."""

    __slots__ = ("arguments", "environment", "program", "stdin", "version")

    def __init__(
        self,
        version: str,
        program: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        stdin: bytes,
    ) -> None:
        self.version = version
        self.program = program
        self.arguments = arguments
        self.environment = environment
        self.stdin = stdin

    def encode(self) -> bytes:
        """Return the packet. Raises PacketError when it would be too long."""
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        head = _CALL.pack(MAGIC, len(self.arguments), len(variables), len(self.stdin))
        texts = (self.version, self.program, *self.arguments, *variables)
        packet = head + b"".join(map(_text, texts)) + self.stdin
        if len(packet) > MAX_CALL:
            raise PacketError(f"a call of {len(packet)} bytes is longer than {MAX_CALL}")
        return packet

    @classmethod
    def decode(cls, packet: bytes) -> CallPacket:
        """Read a packet. Raises PacketError."""
        if len(packet) < _CALL.size:
            raise PacketError(f"{len(packet)} bytes are no call")
        magic, arguments, variables, size = _CALL.unpack_from(packet)
        if magic != MAGIC or size > len(packet) - _CALL.size:
            raise PacketError("not a call")
        end = len(packet) - size
        texts = packet[_CALL.size : end].decode("utf-8", "surrogateescape").split("\0")
        if len(texts) != 2 + arguments + variables + 1 or texts[-1]:
            raise PacketError("a call with other arguments than it announces")
        version, program = texts[:2]
        pairs = (text.partition("=") for text in texts[2 + arguments : -1])
        environment = {name: value for name, _, value in pairs}
        return cls(version, program, texts[2 : 2 + arguments], environment, packet[end:])


def reply(kind: int, status: int = 0, output: bytes = b"", errors: bytes = b"") -> bytes:
    """Return the packet of a reply; what is too much of its texts is cut off."""
    output = output[:MAX_BODY]
    return _REPLY.pack(MAGIC, kind, status, len(output)) + output + errors[: MAX_BODY - len(output)]


def read_reply(packet: bytes) -> tuple[int, int, bytes, bytes]:
    """Return kind and status, and what is for stdout and for stderr. Raises PacketError."""
    if len(packet) < _REPLY.size or not packet.startswith(MAGIC):
        raise PacketError("not a reply")
    _, kind, status, output = _REPLY.unpack_from(packet)
    body = packet[_REPLY.size :]
    if output > len(body):
        raise PacketError("a reply with less than it announces")
    return kind, status, body[:output], body[output:]


def daemon_socket_path(engine: str) -> str:
    """Return the default path of a daemon's socket; containerd's own runwasi has it under this name."""
    return f"/run/io.containerd.{engine}.v1/manager.sock"


def note_path(socket: str) -> str:
    """Return the note beside a daemon's socket that says: it hangs."""
    return f"{socket}.hangs"


def _text(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape") + b"\0"
