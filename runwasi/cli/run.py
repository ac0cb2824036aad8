"""run: creates a container, starts it, waits for it and deletes it."""

from __future__ import annotations

import os

from runwasi.cli import notify, output
from runwasi.cli.attach import follow
from runwasi.cli.bundles import (
    CREATE_DESCRIPTION,
    CREATE_OPTIONS,
    DETACH,
    check_terminal,
    create_container,
    load_bundle,
    open_console_socket,
    preserved_fds,
)
from runwasi.cli.command import Command
from runwasi.cli.options import FLAG, Option
from runwasi.cli.signal_forwarding import Caught
from runwasi.executor.deletion import delete
from runwasi.executor.errors import ContainerError
from runwasi.executor.undo import Undo
from runwasi.linux.processes import set_child_subreaper
from runwasi.linux.service_manager import listen_fds
from runwasi.linux.waiting import finish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.cli.console_relay import ConsoleRelay
    from runwasi.cli.options import Given
    from runwasi.cli.settings import Settings
    from runwasi.executor.container import Container
    from runwasi.executor.plan.bundle import Bundle


def _run(given: Given, settings: Settings) -> int:
    preserved = preserved_fds(given, listened=listen_fds())
    bundle = load_bundle(given)
    detached = given.flag("detach")
    check_terminal(given, terminal=bundle.process.terminal, detached=detached)
    bundle = notify.prepared(bundle, settings.root, given.arguments[0])
    run = _detached if detached else _attached
    return run(given, settings, bundle, preserved)


def _detached(given: Given, settings: Settings, bundle: Bundle, preserved: int) -> int:
    socket = open_console_socket(given)
    with Undo() as undo:
        try:
            container = create_container(given, settings, bundle, preserved, console_socket=socket, tied=True)
        finally:
            if socket is not None:
                os.close(socket)
        undo.add(_delete, container, settings)
        _start(container, notify.relay(settings.root, container.id))
        undo.commit()
    return 0


def _start(container: Container, relay: notify.Relay | None) -> None:
    finish(container.start())
    if relay is not None:
        relay.wait(container)


def _attached(given: Given, settings: Settings, bundle: Bundle, preserved: int) -> int:
    if not given.flag("no-subreaper"):
        set_child_subreaper()
    with Caught() as caught:
        if not bundle.process.terminal:
            return _followed(given, settings, bundle, preserved, caught, None)
        from runwasi.cli.console_relay import ConsoleRelay  # late: only for a terminal

        with ConsoleRelay() as console:
            return _followed(given, settings, bundle, preserved, caught, console)


def _followed(
    given: Given,
    settings: Settings,
    bundle: Bundle,
    preserved: int,
    caught: Caught,
    console: ConsoleRelay | None,
) -> int:
    socket = None if console is None else console.socket
    container = create_container(given, settings, bundle, preserved, console_socket=socket, tied=True)
    try:
        relay = notify.relay(settings.root, container.id)
        if console is not None:
            console.connect()
        caught.pass_on = True
        finish(container.start())
        return follow(container.pid, container.open_pidfd(), caught, console, relay)
    except ContainerError as error:
        return output.not_executed(error)
    finally:
        if not given.flag("keep"):
            _delete(container, settings)


def _delete(container: Container, settings: Settings) -> None:
    finish(delete(container, force=True))
    notify.remove(settings.root, container.id)


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
becomes the container's.""",
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
