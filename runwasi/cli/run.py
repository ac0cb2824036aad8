"""run: creates a container, starts it, waits for it and deletes it."""

from __future__ import annotations

import os

from runwasi.cli import notify, output
from runwasi.cli.attach import follow
from runwasi.cli.bundles import (
    CREATE_DESCRIPTION,
    CREATE_OPTIONS,
    DETACH,
    asked_timing,
    check_terminal,
    create_container,
    load_bundle,
    open_console_socket,
    preserved_fds,
)
from runwasi.cli.command import Command
from runwasi.cli.options import FLAG, Option
from runwasi.cli.signal_forwarding import Caught
from runwasi.executor.errors import ContainerError
from runwasi.executor.lifecycle.deletion import delete
from runwasi.executor.undo import Undo
from runwasi.linux.processes import set_child_subreaper
from runwasi.linux.service_manager import listen_fds
from runwasi.linux.waiting import finish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.cli.console_relay import ConsoleRelay
    from runwasi.cli.options import Given
    from runwasi.cli.settings import Settings
    from runwasi.executor.lifecycle.container import Container
    from runwasi.executor.plan.bundle import Bundle
    from runwasi.executor.telemetry.timing import Timing


def _run(given: Given, settings: Settings) -> int:
    timing = asked_timing(given)
    preserved = preserved_fds(given, listened=listen_fds())
    bundle = load_bundle(given)
    if timing is not None:
        timing.mark("load_bundle")
    detached = given.flag("detach")
    check_terminal(given, terminal=bundle.process.terminal, detached=detached)
    bundle = notify.prepared(bundle, settings.root, given.arguments[0])
    run = _Run(given, settings, bundle, preserved, timing)
    return run.detached() if detached else run.attached()


class _Run:
    """A call of `run`: what it was given, and its two ways to go on."""

    def __init__(
        self, given: Given, settings: Settings, bundle: Bundle, preserved: int, timing: Timing | None
    ) -> None:
        self._given = given
        self._settings = settings
        self._bundle = bundle
        self._preserved = preserved
        self._timing = timing

    def detached(self) -> int:
        """Leave the container running. Raises any error, with nothing left behind."""
        socket = open_console_socket(self._given)
        with Undo() as undo:
            try:
                container = self._create(socket)
            finally:
                if socket is not None:
                    os.close(socket)
            undo.add(self._delete, container)
            relay = notify.relay(self._settings.root, container.id)
            self._start(container)
            if relay is not None:
                relay.wait(container)
            undo.commit()
        return 0

    def attached(self) -> int:
        """Wait for the container's program and return its exit status."""
        if not self._given.flag("no-subreaper"):
            set_child_subreaper()
        with Caught() as caught:
            if not self._bundle.process.terminal:
                return self._followed(caught, None)
            from runwasi.cli.console_relay import ConsoleRelay  # late: only for a terminal

            with ConsoleRelay() as console:
                return self._followed(caught, console)

    def _followed(self, caught: Caught, console: ConsoleRelay | None) -> int:
        container = self._create(None if console is None else console.socket)
        try:
            relay = notify.relay(self._settings.root, container.id)
            if console is not None:
                console.connect()
            caught.pass_on = True
            self._start(container)
            return follow(container.pid, container.open_pidfd(), caught, console, relay)
        except ContainerError as error:
            return output.not_executed(error)
        finally:
            if not self._given.flag("keep"):
                self._delete(container)

    def _create(self, console_socket: int | None) -> Container:
        return create_container(
            self._given,
            self._settings,
            self._bundle,
            self._preserved,
            console_socket=console_socket,
            tied=True,
            timing=self._timing,
        )

    def _start(self, container: Container) -> None:
        finish(container.start())
        if self._timing is not None:
            self._timing.mark("start")
            from runwasi.cli.timing_command import show_on_stderr  # late: only --timing

            show_on_stderr(container.folder.path)

    def _delete(self, container: Container) -> None:
        finish(delete(container, force=True))
        notify.remove(self._settings.root, container.id)


COMMANDS = {
    "run": Command(
        "run",
        "create a container, run its program and delete it afterwards",
        _run,
        arguments="ID",
        description=CREATE_DESCRIPTION
        + """

Without --detach the exit status is the program's, or 128 + n if signal n ended
it; runwasi forwards signals to it; and with process.terminal your terminal
becomes the container's.

--timing prints on standard error how long each step of the start took.""",
        options=(
            *CREATE_OPTIONS,
            DETACH,
            Option("keep", "do not delete the container when its program ends", kind=FLAG),
            Option("no-subreaper", "leave the container's orphans to runwasi's parent", kind=FLAG),
        ),
        least=1,
        most=1,
    )
}
