"""Talks to CRIU as a service: a child that gets one request over a socket, and reports progress until it answers.

We use `criu swrk` rather than its command line: only in this mode it notifies us of its progress (so that we
can set up the network of a restored container), and passes us the terminals that it makes. Messages:
proto/criu.proto. Source: criu.org/RPC, man 8 criu.
"""

from __future__ import annotations

import os

from runwasi.executor.errors import ContainerError, describe
from runwasi.executor.undo import Undo
from runwasi.linux import processes, sockets
from runwasi.linux.fd import Fd, close_owned
from runwasi.wire.messages.criu import Features, Notification, Options, Request, Response

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import NoReturn, Self

    Heard = Callable[[Notification, list[int]], None]

DUMP, RESTORE, NOTIFY, FEATURE_CHECK, PRE_DUMP = 1, 2, 6, 9, 13  # PRE_DUMP is CRIU's SINGLE_PRE_DUMP

# Protobuf leaves a 0 out, and CRIU would take its default; this number becomes 0 when it is cut to 64 bits.
_IGNORE = 1 << 64
CGROUPS_MODES = {"ignore": _IGNORE, "soft": 3, "full": 4, "strict": 5}
"""CRIU's modes for cgroups, by the names that man 8 criu has for --manage-cgroups."""

_SEARCHED = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MAX_MESSAGE = 65536
_LOG_LEVEL = 4


def _ignore_notification(_notification: Notification, _fds: list[int]) -> None:
    """Ignore a message."""


class CriuFolders:
    """The two folders a request names by descriptor; owned until the end of the block.

    CRIU mounts there, so they are opened in its mount namespace.

    images  where the image is
    work    where the log goes; the same folder when there is no other
    log     the path of the log file
    """

    def __init__(self, images: str, work: str, log_name: str) -> None:
        self.images = images
        self.work = work or images
        self._log_name = log_name
        self.log = f"{self.work}/{log_name}"

    def __enter__(self) -> Self:
        self._image_fd = _opened(self.images)
        try:
            self._work_fd = _opened(self.work)
        except ContainerError:
            self._image_fd.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        close_owned((self._image_fd, self._work_fd))

    def options(self, **more: object) -> Options:
        """Return the options of a request: these folders, the log, and the given ones."""
        return Options(
            images_dir_fd=self._image_fd.fileno(),
            work_dir_fd=self._work_fd.fileno(),
            log_level=_LOG_LEVEL,
            log_file=self._log_name,
            notify_scripts=True,
            **more,  # type: ignore[arg-type]  # the caller's, by the names that Options has
        )


def _opened(folder: str) -> Fd:
    try:
        return Fd(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError as error:
        raise ContainerError(f"folder {describe(error)}", errno=error.errno or 0) from None


class CriuService:
    """A criu process that serves one request. The end of the block waits for its end.

    It inherits these descriptors under their numbers. Raises ContainerError if criu is not installed.
    """

    def __init__(self, inherited: Iterable[int] = ()) -> None:
        program = _program()
        ours, theirs = map(Fd, sockets.socket_pair())
        with Undo() as undo, theirs:
            undo.add(ours.close)
            child = processes.fork_into(processes.CLONE_CLEAR_SIGHAND)
            if child is None:
                _become(program, theirs.fileno(), inherited)
        self._socket = ours.detach()
        self.pid = child.pid
        self._pidfd = child.pidfd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._socket)
        processes.reap(self._pidfd)
        os.close(self._pidfd)

    def ask(self, request: Request, log: str = "", heard: Heard = _ignore_notification) -> Response:
        """Send a request and return the answer; call heard with each message that criu sends meanwhile.

        If heard raises an error, criu undoes its work, and the error is raised here. Raises ContainerError
        with criu's reason and the path of its log.
        """
        objection: Exception | None = None
        self._send(request)
        while True:
            response, fds = self._receive()
            if response.type != NOTIFY or response.notify is None:
                break
            try:
                heard(response.notify, fds)
            except (ContainerError, OSError) as error:
                objection = error
            finally:
                sockets.close_all(fds)
            self._send(Request(type=NOTIFY, notify_success=objection is None))
        if response.success:
            return response
        raise objection or ContainerError(_failure(request, response, log))

    def _send(self, request: Request) -> None:
        try:
            sockets.send_fds(self._socket, request.encode(), ())
        except (BrokenPipeError, ConnectionResetError):
            pass  # it ended: what it said before can still be read

    def _receive(self) -> tuple[Response, list[int]]:
        try:
            data, fds = sockets.receive_fds(self._socket, _MAX_MESSAGE)
        except ConnectionResetError:
            data, fds = b"", []
        return Response.decode(data), fds  # an empty answer counts as a failure without a reason


def require_feature(name: str, purpose: str) -> None:
    """Raise ContainerError unless this criu on this kernel has a feature, by its name in criu's messages."""
    with CriuService() as service:
        asked = Request(type=FEATURE_CHECK, features=Features(**{name: True}))
        answer = service.ask(asked)
    if answer.features is None or not getattr(answer.features, name):
        raise ContainerError(f"{purpose} is not supported by this host's criu and kernel ({name})")


def _become(program: str, socket: int, inherited: Iterable[int]) -> NoReturn:
    """Turn this child into criu; report a failure in the form of criu's own."""
    try:
        kept = (socket, *inherited)
        processes.work_apart(socket, kept)
        for fd in kept:
            os.set_inheritable(fd, True)
        os.execv(program, [program, "swrk", str(socket)])
    except OSError as error:
        sockets.send_fds(socket, Response(cr_errmsg=describe(error)).encode(), ())
    finally:
        os._exit(1)


def find() -> str:
    """Return the path of the criu in PATH, "" where it is not installed."""
    for folder in os.environ.get("PATH", _SEARCHED).split(":"):
        if os.access(f"{folder}/criu", os.X_OK):
            return f"{folder}/criu"
    return ""


def _program() -> str:
    program = find()
    if not program:
        raise ContainerError(
            "criu is not installed (not found in PATH); checkpoint and restore are its work (package criu)"
        )
    return program


_NAMES = {DUMP: "dump", PRE_DUMP: "pre-dump", RESTORE: "restore", FEATURE_CHECK: "feature check"}


def _failure(request: Request, response: Response, log: str) -> str:
    reason = (response.cr_errmsg or _last_error(log)).removeprefix("Error ")
    if not reason and response.cr_errno:
        reason = os.strerror(response.cr_errno)
    told = f" (see {log})" if os.path.exists(log) else ""
    return f"criu {_NAMES[request.type]} failed: {' '.join(reason.split()) or 'no reason given'}{told}"


def _last_error(log: str) -> str:
    """Return the last error in the log, in case criu stopped before it recorded the first."""
    found = ""
    try:
        with open(log, encoding="utf-8", errors="replace") as file:
            for line in file:
                if "Error (" in line:
                    found = line[line.index("Error (") :]
    except OSError:
        pass
    return found
