"""Replaces the daemon in place: the same process executes the newly installed program, and goes on.

On SIGHUP the daemon begins nothing new (requests wait in its sockets), and finishes work in progress: a container
that is being created, an event without an answer. The rest can be written down: pods, tasks, processes, waiting
calls. Descriptors stay open under their numbers, children stay children. First the daemon asks the new program
whether it understands the state; if some work does not finish in time, the daemon goes on as before, and tries
again a little later.
"""

from __future__ import annotations

import os

from runwasi.linux import processes
from runwasi.startup import thin_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, TypeAlias

    from runwasi.linux.fd import Fd
    from runwasi.shim.server.log import Log
    from runwasi.shim.server.reactor import Reactor

    Keep: TypeAlias = Callable[[Fd | None], int | None]
    """Keeps a descriptor open across the change, and returns its number; None stays None."""

FORMAT = "2"
"""The version of the state, which a program prints when asked; it cannot read another version's state."""
QUESTION = "format"

SIGNALS = (thin_signal.SIGHUP, thin_signal.SIGINT, thin_signal.SIGTERM)
"""Blocked when the new program begins; it unblocks them."""

_ANSWER_SECONDS = 30.0
_QUIET_SECONDS = 2.0
_AGAIN_SECONDS = 5.0


class Replacement:
    """The replacement in progress, if any."""

    def __init__(
        self,
        reactor: Reactor,
        log: Log,
        program: Sequence[str],
        hold_back: Callable[[bool], None],
        quiet: Callable[[], bool],
        replace: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._log = log
        self._program = program
        self._hold_back = hold_back
        self._quiet = quiet
        self._replace = replace
        self._asked = False

    def ask_for(self) -> None:
        """Replace the daemon once the new program is ready and all work is finished."""
        if self._asked:
            return
        self._asked = True
        answer, end = os.pipe2(os.O_CLOEXEC)
        command = [*self._program, "-handover", QUESTION]
        actions = [(os.POSIX_SPAWN_DUP2, end, 1)]
        try:
            pid = os.posix_spawn(command[0], command, os.environ, file_actions=actions)
        except OSError as error:
            os.close(answer)
            self._refuse(str(error))
            return
        finally:
            os.close(end)
        pidfd = processes.pidfd_open(pid)
        timer = self._reactor.call_later(_ANSWER_SECONDS, lambda: processes.pidfd_send_signal(pidfd, 9))

        def answered(_events: int) -> None:
            timer.cancel()
            self._reactor.unwatch(pidfd)
            processes.reap(pidfd)
            os.close(pidfd)
            os.set_blocking(answer, False)
            try:
                said = os.read(answer, 64).decode(errors="replace").strip()
            except BlockingIOError:
                said = ""
            os.close(answer)
            self._take(said)

        self._reactor.watch(pidfd, answered)

    def _take(self, said: str) -> None:
        if said != FORMAT:
            self._refuse(f"it says {said!r} and not {FORMAT!r}")
            return
        self._hold_back(True)
        timer = self._reactor.call_later(_QUIET_SECONDS, lambda: self._give_up("something is under way"))

        def look() -> None:
            if self._quiet():
                timer.cancel()
                self._execute()

        self._reactor.call_each_turn(look)

    def _execute(self) -> None:
        try:
            self._replace()
        except OSError as error:
            self._give_up(str(error))

    def _give_up(self, why: str) -> None:
        self._reactor.call_each_turn(None)
        self._log.warning("not replaced yet", reason=why)
        self._hold_back(False)
        self._reactor.call_later(_AGAIN_SECONDS, self._ask_again)

    def _ask_again(self) -> None:
        self._asked = False
        self.ask_for()

    def _refuse(self, why: str) -> None:
        self._asked = False
        self._log.error(
            "cannot be replaced by the program installed now", program=self._program[0], reason=why
        )


def hand_over(program: Sequence[str], state: Callable[[Keep], Mapping[str, Any]]) -> None:
    """Execute the program in our place with our state; return only on failure. Raises OSError."""
    import json  # late: for this only

    kept: set[int] = set()

    def keep(fd: Fd | None) -> int | None:
        if fd is None:
            return None
        kept.add(fd.fileno())
        return fd.fileno()

    document = {**state(keep), "fds": sorted(kept)}
    file = os.memfd_create("handover", os.MFD_CLOEXEC)
    try:
        os.write(file, json.dumps(document).encode())
        os.lseek(file, 0, os.SEEK_SET)
        for fd in (*kept, file):
            os.set_inheritable(fd, True)
        # keep signals until the new program has its handlers
        thin_signal.pthread_sigmask(thin_signal.SIG_BLOCK, SIGNALS)
        os.execve(program[0], [*program, "-handover", str(file)], os.environ)
    finally:
        thin_signal.pthread_sigmask(thin_signal.SIG_UNBLOCK, SIGNALS)
        for fd in kept:
            os.set_inheritable(fd, False)
        os.close(file)


def taken_over(file: int) -> dict[str, Any]:
    """Return the state of the program that we replace, and own its descriptors. Raises OSError, ValueError."""
    import json  # late: for this only

    with open(file, "rb") as handed:
        document: dict[str, Any] = json.loads(handed.read())
    for fd in document["fds"]:
        os.set_inheritable(fd, False)
    return document
