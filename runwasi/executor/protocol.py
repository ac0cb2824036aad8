"""Defines the messages between parent and child while a container is made, and their order.

    parent (Creation)                         child (INIT_STEPS, EXEC_STEPS)
      clone3 into the new namespaces  ─────►    waits, still with nothing of the container's
      id maps, cgroup limits, net devices
      PROCEED                         ─────►    mounts, devices ...
                                      ◄─────    MAP_IDS + mount     only for a source to be mapped that an earlier
      PROCEED                         ─────►                        mount brought
                                      ◄─────    CREATE_RUNTIME      only when there are hooks that must know
      prestart, createRuntime hooks
      PROCEED                         ─────►    createContainer hooks
                                      ◄─────    LAYERS              only when no file of the rootfs is the program
      ANSWER + descriptors            ─────►    pivot_root ...
                                      ◄─────    COMPILE + module    only for wasm
      ANSWER + descriptor             ─────►
                                      ◄─────    FILTER              only for wasm without a filter of the spec's
      ANSWER + descriptor             ─────►
                                      ◄─────    LISTENER + descriptor   only for a seccomp filter that notifies
      PROCEED                         ─────►
                                      ◄─────    READY               the container is created; WASM beside it
                                                                    for a module, PRIORITIES when only the
                                                                    parent may set them
      PROCEED                         ─────►                        from here on it lives without its creator
      closes the channel                        waits at the start gate

Over the gate's connection, the child sends STARTING before its last steps: with no_new_privileges the filter is
loaded last, so its LISTENER may follow, or FAILED. The end of the connection says that the program runs, or
that the process died before that: without STARTING, or if the kernel knows of no execve since its fork and it
runs no module. A process of exec says READY for its resource limits, with WASM as above, is answered by PROCEED,
and goes on to its program; there the end of the channel says the same.

A request may instead be answered by FAILED, and the child may say FAILED at any time; either end dying closes
the channel, which the other reads as the end. A message is one packet: its kind and its fields as text,
separated by NUL, and descriptors. So it needs no parser, and is never received in part.
"""

from __future__ import annotations

import os

from runwasi.executor.errors import AlreadyExists, ContainerError, Invalid, NotFound, WrongStatus, describe
from runwasi.linux import sockets
from runwasi.linux.fd import Fd

PROCEED = "proceed"
MAP_IDS = "map-ids"
CREATE_RUNTIME = "create-runtime"
LAYERS = "layers"
COMPILE = "compile"
ANSWER = "answer"
FILTER = "filter"
LISTENER = "listener"
READY = "ready"
WASM = "wasm"
"""Field of READY: the program is a module."""
STARTING = "starting"
PRIORITIES = "priorities"
FAILED = "failed"

_MAX_MESSAGE = 32768


class CreatorGone(Exception):
    """The creating process died or gave up; why, it has said itself, or nobody can.

    No step explains it as a failure of its own, so it is no OSError.
    """


class ChannelMessage:
    """One packet: a kind from above, text fields, and descriptors the receiver owns."""

    __slots__ = ("fds", "fields", "kind")

    def __init__(self, kind: str, fields: tuple[str, ...] = (), fds: tuple[int, ...] = ()) -> None:
        self.kind = kind
        self.fields = fields
        self.fds = fds


class Channel:
    """One end of the parent's and child's socket pair. Owns its descriptor."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = Fd(fd)

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Make both ends, close-on-exec. Raises OSError."""
        ours, theirs = sockets.socket_pair()
        return cls(ours), cls(theirs)

    def fileno(self) -> int:
        """Return the descriptor, for a selector or to be kept when others are closed. Raises OSError once closed."""
        return self._fd.fileno()

    def close(self) -> None:
        """Close this end, if it is open; the other reads the end of the channel."""
        self._fd.close()

    def send(self, kind: str, *fields: str, fds: tuple[int, ...] = ()) -> None:
        """Send one message. Raises BrokenPipeError when the other end is gone."""
        packet = "\0".join((kind, *fields)).encode(errors="surrogateescape")[:_MAX_MESSAGE]
        sockets.send_fds(self.fileno(), packet, fds)

    def receive(self) -> ChannelMessage | None:
        """Wait for one message; None when the other end closed or died."""
        try:
            packet, fds = sockets.receive_fds(self.fileno(), _MAX_MESSAGE)
        except ConnectionResetError:
            # It ended with messages of ours unread. The kernel reports that once, before the other end's last
            # messages.
            packet, fds = sockets.receive_fds(self.fileno(), _MAX_MESSAGE)
        if not packet:
            return None
        kind, *fields = packet.decode(errors="surrogateescape").split("\0")
        return ChannelMessage(kind, tuple(fields), tuple(fds))

    def hears(self) -> bool:
        """Child side: wait for any message of the parent; return False if the parent has died.

        It uses read(2), which every filter allows.
        """
        try:
            return bool(os.read(self.fileno(), _MAX_MESSAGE))
        except ConnectionResetError:
            return False

    def request(self, kind: str, *fields: str, fds: tuple[int, ...] = ()) -> ChannelMessage:
        """Child side: ask the parent and wait for its answer.

        Raises ContainerError with the parent's reason, or CreatorGone when the parent died.
        """
        try:
            self.send(kind, *fields, fds=fds)
        except BrokenPipeError:
            raise CreatorGone from None
        return self.expect()

    def expect(self) -> ChannelMessage:
        """Child side: wait for the parent's PROCEED or ANSWER. Raises as request does."""
        message = self.receive()
        if message is None:
            raise CreatorGone
        if message.kind == FAILED:
            raise failure_from(message.fields)
        return message

    def send_failure(self, error: BaseException, step: str = "") -> None:
        """Send what went wrong as fields: step, errno, kind of error, text."""
        self.send(FAILED, *failure_fields(error, step))


def failure_fields(error: BaseException, step: str = "") -> tuple[str, ...]:
    """Convert an exception to fields that another process can read."""
    number = getattr(error, "errno", None) or 0
    step = getattr(error, "step", "") or step
    text = describe(error).replace("\0", "\\0")
    if step and isinstance(error, OSError) and error.filename is None:  # it does not name its object
        text = f"{step.replace('_', ' ')}: {text}"
    return step, str(number), text, type(error).__name__


_KINDS = {kind.__name__: kind for kind in (AlreadyExists, Invalid, NotFound, WrongStatus)}
_KINDS["SpecError"] = Invalid  # its text has the JSON path already


def failure_from(fields: tuple[str, ...]) -> ContainerError:
    """Restore an exception from failure_fields."""
    step, number, text, kind = (*fields, "", "", "", "")[:4]
    made = _KINDS.get(kind, ContainerError)
    return made(text or "it died without a word", step=step, errno=int(number or 0))
