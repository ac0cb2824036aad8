"""Replaces the daemon in place: the same process executes the newly installed program, and goes on.

On SIGHUP the daemon begins nothing new (requests wait in its sockets), and finishes work in progress: a container
that is being created, an event without an answer. The rest can be written down: pods, tasks, processes, waiting
calls. Descriptors stay open under their numbers, children stay children. First the daemon asks the new program
whether it understands the state; if some work does not finish in time, the daemon goes on as before, and tries
again a little later.

There is no way back after the exec, and the pods have nobody else. So a new program that cannot take over, because
a file could not be read or memory was short, executes itself again, from the beginning, with all that it was handed.
Until it has taken over, it only builds: it sends nothing, and answers nobody. Pods that it cannot take over are
dropped before the last attempt: their connections break, and containerd's `delete` cleans up after them.
"""

from __future__ import annotations

import os
from errno import EMFILE
from fcntl import F_DUPFD_CLOEXEC, fcntl
from time import monotonic

from runwasi.executor.errors import describe
from runwasi.linux import processes
from runwasi.linux.fd import Fd
from runwasi.linux.rlimits import get_rlimit, set_rlimit
from runwasi.linux.waiting import Wait
from runwasi.startup import installation, thin_signal
from runwasi.startup.again import ATTEMPTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, TypeAlias

    from runwasi.linux.waiting import Operation
    from runwasi.shim.server.log import Log
    from runwasi.shim.server.reactor import Reactor

    Keep: TypeAlias = Callable[[Fd | None], int | None]
    """Keeps a descriptor open across the change, and returns its number; None stays None."""

FORMAT = "2"
"""The version of the state, which a program prints when asked; it cannot read another version's state."""
QUESTION = "format"

SIGNALS = (thin_signal.SIGHUP, thin_signal.SIGINT, thin_signal.SIGTERM)
"""Blocked when the new program begins; it unblocks them."""

_OPEN_FILES = "RLIMIT_NOFILE"
_OWN_FILES = 64  # of the new program, before it has taken over: at most thirty were counted
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
        if not self._asked:
            self._asked = True
            self._reactor.follow(_format_of(self._program), self._answered)

    def _answered(self, said: str | None, error: Exception | None) -> None:
        if error is not None:
            self._refuse(str(error))
        elif said != FORMAT:
            self._refuse(f"it says {said!r} and not {FORMAT!r}")
        else:
            self._wait_for_quiet()

    def _wait_for_quiet(self) -> None:
        try:
            self._hold_back(True)
        except OSError as error:
            self._give_up(describe(error))
            return
        timer = self._reactor.call_later(_QUIET_SECONDS, lambda: self._give_up("something is under way"))

        def look() -> None:
            if self._quiet():
                timer.cancel()
                self._reactor.call_each_turn(None)
                self._execute()

        self._reactor.call_each_turn(look)

    def _execute(self) -> None:
        try:
            self._replace()
        except Exception as error:  # noqa: BLE001  whatever it is, the pods go on here
            self._give_up(describe(error))

    def _give_up(self, why: str) -> None:
        self._reactor.call_each_turn(None)
        self._log.warning("not replaced yet", reason=why)
        self._reactor.call_later(_AGAIN_SECONDS, self._ask_again)
        self._hold_back(False)

    def _ask_again(self) -> None:
        self._asked = False
        self.ask_for()

    def _refuse(self, why: str) -> None:
        self._asked = False
        self._log.error(
            "cannot be replaced by the program installed now", program=self._program[0], reason=why
        )


def _format_of(program: Sequence[str]) -> Operation[str]:
    """Return the format that a program prints when asked, "" if it prints nothing. Raises OSError."""
    answer, end = map(Fd, os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK))
    with answer:
        with end:
            actions = [(os.POSIX_SPAWN_DUP2, end.fileno(), 1)]
            command = [*program, "-handover", QUESTION]
            pid = os.posix_spawn(command[0], command, os.environ, file_actions=actions)
        pidfd = processes.pidfd_open(pid)
        try:
            yield Wait((pidfd,), monotonic() + _ANSWER_SECONDS)
            said = os.read(answer.fileno(), 64)
        except BlockingIOError:
            said = b""
        finally:
            yield from processes.end(pidfd)
    return said.decode(errors="replace").strip()


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
    _check_room(len(kept))
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


def _check_room(count: int) -> None:
    """Refuse to hand over more descriptors than the new program can hold twice, which it does until it serves."""
    _, hard = get_rlimit(_OPEN_FILES)
    if 2 * count + _OWN_FILES > hard:
        why = f"it takes twice {count} descriptors, and the hard limit of open files is {hard}"
        raise OSError(EMFILE, f"{why}: raise it (LimitNOFILE= of systemd), or wait until pods have ended")


class Handed:
    """What the program that we replace has handed to us, and what it takes to begin again with it."""

    def __init__(self, file: int) -> None:
        """Read it. Raises OSError, ValueError."""
        import json  # late: for this only

        self._file = file
        self.state: dict[str, Any] = json.loads(os.pread(file, os.fstat(file).st_size, 0))
        self._fds: list[int] = self.state["fds"]
        self._soft, hard = get_rlimit(_OPEN_FILES)
        # an earlier version restored the limit; above it we take no numbers that we need once it is back
        first = self._soft if self._soft <= hard - len(self._fds) else 0
        set_rlimit(_OPEN_FILES, hard, hard)
        try:  # whoever takes one over may close it before something else fails
            self._spare = {fd: Fd(fcntl(fd, F_DUPFD_CLOEXEC, first)) for fd in self._fds}
        finally:
            set_rlimit(_OPEN_FILES, self._soft, hard)
        self.failures = os.lseek(file, 0, os.SEEK_CUR)
        """How often it could not be taken over so far."""

    def drop(self, pods: Sequence[Mapping[str, Any]]) -> None:
        """Hand these pods over no more: their descriptors are closed when the program begins again.

        One attempt always follows: each drop leaves fewer pods, so there is a last one.
        """
        import json  # late: for this only

        dropped = {fd for pod in pods for fd in _fds_of(pod)}
        for fd in dropped:
            self._spare.pop(fd).close()
            self._cut(fd)
        self.state["fds"] = [fd for fd in self._fds if fd not in dropped]
        self.state["pods"] = [pod for pod in self.state["pods"] if pod not in pods]
        document = json.dumps(self.state).encode()
        os.pwrite(self._file, document, 0)
        os.ftruncate(self._file, len(document))
        os.lseek(self._file, ATTEMPTS - 2, os.SEEK_SET)

    def settle(self) -> None:
        """Note that all is taken over: programs that we execute inherit nothing of it.

        It does not fail: there is no beginning again without the spare descriptors.
        """
        for fd, spare in self._spare.items():
            spare.close()
            self._cut(fd)
        Fd(self._file).close()

    def restore(self) -> None:
        """Open everything again that was closed, and restore the limit of open files. Raises OSError."""
        _, hard = get_rlimit(_OPEN_FILES)
        set_rlimit(_OPEN_FILES, hard, hard)
        for fd, spare in self._spare.items():
            os.dup2(spare.fileno(), fd)
        set_rlimit(_OPEN_FILES, self._soft, hard)

    def _cut(self, fd: int) -> None:
        try:
            os.set_inheritable(fd, False)
        except OSError:
            pass  # whoever took it over has closed it


def _fds_of(pod: Mapping[str, Any]) -> list[int]:
    """Return the descriptors of a pod; an earlier version noted only where they belong: here the sockets suffice."""
    if "fds" in pod:
        return list(pod["fds"])
    server = pod["server"]
    return [server["listener"], *(connection["fd"] for connection in server["connections"])]


def begin_again(program: Sequence[str], file: int, handed: Handed | None = None) -> None:
    """Execute the program again with what it was handed; return if it has failed too often."""
    thin_signal.pthread_sigmask(thin_signal.SIG_BLOCK, SIGNALS)
    while os.lseek(file, 1, os.SEEK_CUR) < ATTEMPTS:
        try:
            for lock in installation.held():
                os.set_inheritable(lock, False)
            if handed is not None:
                handed.restore()
            os.execve(program[0], [*program, "-handover", str(file)], os.environ)
        except OSError:
            continue
