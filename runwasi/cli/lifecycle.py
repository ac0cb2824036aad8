"""create, start, kill and delete: the steps of a container's life, for another program to call."""

from __future__ import annotations

import os
from time import monotonic_ns

from runwasi.cli import notify
from runwasi.cli.bundles import (
    CREATE_DESCRIPTION,
    CREATE_OPTIONS,
    asked_timing,
    check_terminal,
    create_container,
    load_bundle,
    open_console_socket,
    preserved_fds,
)
from runwasi.cli.command import Command
from runwasi.cli.options import FLAG, Option, UsageError
from runwasi.cli.signal_forwarding import signal_number
from runwasi.executor.errors import HOOK, ContainerError, WrongStatus
from runwasi.executor.lifecycle.container import Container
from runwasi.executor.lifecycle.deletion import delete, delete_forced
from runwasi.executor.lifecycle.store import container_ids
from runwasi.linux.service_manager import listen_fds
from runwasi.linux.waiting import finish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.cli.options import Given
    from runwasi.cli.settings import Settings


def _create(given: Given, settings: Settings) -> int:
    timing = asked_timing(given)
    preserved = preserved_fds(given, listened=listen_fds())
    bundle = load_bundle(given)
    if timing is not None:
        timing.mark("load_bundle")
    check_terminal(given, terminal=bundle.process.terminal, detached=True)
    bundle = notify.prepared(bundle, settings.root, given.arguments[0])
    socket = open_console_socket(given)
    try:
        create_container(given, settings, bundle, preserved, console_socket=socket, timing=timing).close()
    finally:
        if socket is not None:
            os.close(socket)
    return 0


def _start(given: Given, settings: Settings) -> int:
    began = monotonic_ns()
    container = Container.load(settings.root, given.arguments[0], settings.log.warning)
    relay = notify.relay(settings.root, container.id)
    try:
        finish(container.start())
        if container.folder.is_timed():
            from runwasi.executor.telemetry.timing import mark_start  # late: only --timing

            mark_start(container.folder.path, began)
    except ContainerError as error:
        if error.step == HOOK:  # runtime.md#lifecycle: after a failure in steps 8 and 9 come 12 and 13
            finish(delete(container, force=True))
            notify.remove(settings.root, container.id)
        raise
    if relay is not None:
        relay.wait(container)
    return 0


def _kill(given: Given, settings: Settings) -> int:
    container_id, *rest = given.arguments
    container = Container.load(settings.root, container_id, settings.log.warning)
    all_processes = given.flag("all")
    try:
        container.kill(signal_number(rest[0] if rest else "SIGTERM"), all_processes=all_processes)
    except WrongStatus:
        if not all_processes:
            raise
    return 0


def _delete(given: Given, settings: Settings) -> int:
    named = given.arguments[0]
    for container_id in _matching(settings.root, named) if given.flag("regex") else [named]:
        if given.flag("force"):
            finish(delete_forced(settings.root, container_id, settings.log.warning))
        else:
            finish(delete(Container.load(settings.root, container_id, settings.log.warning)))
        notify.remove(settings.root, container_id)
    return 0


def _matching(root: str, pattern: str) -> list[str]:
    import re  # late: 5 ms

    try:
        matches = re.compile(pattern).search
    except re.error as error:
        raise UsageError(f"{pattern} is not a regular expression: {error}") from None
    return [container_id for container_id in container_ids(root) if matches(container_id)]


COMMANDS = {
    command.name: command
    for command in (
        Command(
            "create",
            "create a container from a bundle",
            _create,
            arguments="ID",
            description=CREATE_DESCRIPTION,
            options=CREATE_OPTIONS,
            least=1,
            most=1,
        ),
        Command(
            "start",
            "run the program of a created container",
            _start,
            arguments="ID",
            description="Returns once the program runs, or fails with the reason why it cannot.",
            least=1,
            most=1,
        ),
        Command(
            "kill",
            "send a signal to a container's first process",
            _kill,
            arguments="ID [SIGNAL]",
            description="SIGNAL is a number or a name with or without SIG, such as 9, KILL or SIGRTMIN+3; "
            "the default is SIGTERM.",
            options=(Option("all", "signal every process of the container", kind=FLAG, short="a"),),
            least=1,
            most=2,
            stop_at_first=True,
        ),
        Command(
            "delete",
            "remove a container and everything that was made for it",
            _delete,
            arguments="ID",
            description="A running container is removed only with --force.",
            options=(
                Option(
                    "force", "kill it first; succeed even if there is no such container", kind=FLAG, short="f"
                ),
                Option(
                    "regex",
                    "treat ID as a regular expression, and remove every container whose name matches",
                    kind=FLAG,
                ),
            ),
            least=1,
            most=1,
        ),
    )
}
