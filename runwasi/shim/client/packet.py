"""Defines the protocol between a shim's client and the node daemon: a call, and two replies.

    client                                    daemon
      call, with its folder              ->
                                         <-   TAKEN: from now on it is the daemon's to carry out
                                         <-   ANSWER: exit status, and what to print; or COLD: do it yourself

Each is one packet of a SOCK_SEQPACKET socket, between processes of one machine, so numbers are in its byte order:

    call     magic[8], arguments u32, variables u32, input u32; version, program, arguments and variables, each ended
             by NUL; the input, which is all that stdin held
    reply    magic[8], kind u8, status u8, two bytes unused, output u32; the body, so much of it for stdout, the rest
             for stderr

The client keeps its own streams: containerd reads stdout and stderr until everybody has closed them, and a hanging
daemon would hold them, if only in its queue.

client.c beside this file implements the other side. A client that never receives TAKEN leaves a note beside the
socket, so that others do not wait at all. It shuts its reading end before it goes on alone, so that a daemon that
wakes up later cannot send TAKEN, and drops the call: a late `delete` could hit a new container of the same name.
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
    """The packet is malformed."""


class CallPacket:
    """A client's call: its program, arguments, environment and input."""

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
        """Encode the packet. Raises PacketError if it would be too long."""
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        head = _CALL.pack(MAGIC, len(self.arguments), len(variables), len(self.stdin))
        texts = (self.version, self.program, *self.arguments, *variables)
        packet = head + b"".join(map(_text, texts)) + self.stdin
        if len(packet) > MAX_CALL:
            raise PacketError(f"the call has {len(packet)} bytes, more than {MAX_CALL}")
        return packet

    @classmethod
    def decode(cls, packet: bytes) -> CallPacket:
        """Decode a packet. Raises PacketError."""
        if len(packet) < _CALL.size:
            raise PacketError(f"{len(packet)} bytes are not a call")
        magic, arguments, variables, size = _CALL.unpack_from(packet)
        if magic != MAGIC or size > len(packet) - _CALL.size:
            raise PacketError("not a call")
        end = len(packet) - size
        texts = packet[_CALL.size : end].decode("utf-8", "surrogateescape").split("\0")
        if len(texts) != 2 + arguments + variables + 1 or texts[-1]:
            raise PacketError("the call does not have the arguments that it announces")
        version, program = texts[:2]
        pairs = (text.partition("=") for text in texts[2 + arguments : -1])
        environment = {name: value for name, _, value in pairs}
        return cls(version, program, texts[2 : 2 + arguments], environment, packet[end:])


def reply(kind: int, status: int = 0, output: bytes = b"", errors: bytes = b"") -> bytes:
    """Encode a reply; texts that are too long are cut."""
    output = output[:MAX_BODY]
    return _REPLY.pack(MAGIC, kind, status, len(output)) + output + errors[: MAX_BODY - len(output)]


def read_reply(packet: bytes) -> tuple[int, int, bytes, bytes]:
    """Decode a reply: kind, status, and the output for stdout and stderr. Raises PacketError."""
    if len(packet) < _REPLY.size or not packet.startswith(MAGIC):
        raise PacketError("not a reply")
    _, kind, status, output = _REPLY.unpack_from(packet)
    body = packet[_REPLY.size :]
    if output > len(body):
        raise PacketError("the reply is shorter than it announces")
    return kind, status, body[:output], body[output:]


def daemon_socket_path(engine: str) -> str:
    """Return the default path of a daemon's socket, the same as containerd/runwasi's."""
    return f"/run/io.containerd.{engine}.v1/manager.sock"


def note_path(socket: str) -> str:
    """Return the path of the note beside a daemon's socket that says that the daemon hangs."""
    return f"{socket}.hangs"


def _text(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape") + b"\0"
