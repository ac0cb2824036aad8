"""exec: runs another program in a running container, described by options or by a file."""

from __future__ import annotations

import os

from runwasi.cli import activation, output
from runwasi.cli.attach import follow
from runwasi.cli.bundles import (
    CONSOLE_SOCKET,
    DETACH,
    PID_FILE,
    PIDFD_SOCKET,
    PRESERVE_FDS,
    absolute,
    check_terminal,
    open_console_socket,
    preserved_fds,
    warn_of_capabilities,
)
from runwasi.cli.command import Command
from runwasi.cli.options import FLAG, LIST, Option, UsageError
from runwasi.cli.signal_forwarding import Caught
from runwasi.executor.errors import ContainerError
from runwasi.executor.lifecycle.container import Container
from runwasi.executor.parent.execution import ExecOptions, Execution
from runwasi.linux.waiting import finish
from runwasi.oci.decode import decode
from runwasi.oci.encode import to_json
from runwasi.oci.process import Process, load_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runwasi.cli.options import Given
    from runwasi.cli.settings import Settings
    from runwasi.linux.processes import Child

    Json = dict[str, Any]

_FAILED = 255  # runc's exit status if exec itself fails: callers distinguish it from the program's own


def _exec(given: Given, settings: Settings) -> int:
    preserved = preserved_fds(given, listened=0)
    container = Container.load(settings.root, given.arguments[0], settings.log.warning)
    process = described_process(given, container)
    warn_of_capabilities(settings, process.capabilities)
    detached = given.flag("detach")
    check_terminal(given, terminal=process.terminal, detached=detached)
    if detached:
        socket = open_console_socket(given)
        try:
            _start(given, settings, container, process, preserved, socket)
        finally:
            if socket is not None:
                os.close(socket)
        return 0
    try:
        return _followed(given, settings, container, process, preserved)
    except ContainerError as error:
        return output.not_executed(error)


def _followed(
    given: Given, settings: Settings, container: Container, process: Process, preserved: int
) -> int:
    with Caught() as caught:
        if not process.terminal:
            caught.pass_on = True
            started = _start(given, settings, container, process, preserved, None)
            return follow(started.pid, started.pidfd, caught)
        from runwasi.cli.console_relay import ConsoleRelay  # late: only for a terminal

        with ConsoleRelay() as console:
            caught.pass_on = True
            started = _start(given, settings, container, process, preserved, console.socket)
            console.connect()
            return follow(started.pid, started.pidfd, caught, console)


def _start(
    given: Given,
    settings: Settings,
    container: Container,
    process: Process,
    preserved: int,
    console_socket: int | None,
) -> Child:
    options = ExecOptions(
        console_socket=console_socket,
        pid_file=absolute(given.text("pid-file")),
        preserve_fds=preserved,
        cgroups=sub_cgroups(given.list("cgroup")),
        ignore_paused=given.flag("ignore-paused"),
    )
    started = finish(Execution(container, process, options).run())
    settings.log.debug(f"process {started.pid} runs in container {container.id}")
    if given.text("pidfd-socket"):
        activation.send_pidfd(given.text("pidfd-socket"), started.pidfd)
    return started


def described_process(given: Given, container: Container) -> Process:
    """Return the process that a command line describes: from a file, or the container's own with changes.

    Raises SpecError, UsageError, ContainerError or OSError.
    """
    if given.text("process"):
        return load_process(given.text("process"))
    arguments = given.arguments[1:]
    if not arguments:
        raise UsageError(
            "exec args cannot be empty: name a program after the container's id, or give --process"
        )
    own = container.spec.process
    document: Json = {"cwd": "/"} if own is None else to_json(own)
    document["args"] = arguments
    document["env"] = [*document.get("env", ()), *given.list("env")]
    document["terminal"] = given.flag("tty")
    for option, member in (
        ("cwd", "cwd"),
        ("apparmor", "apparmorProfile"),
        ("process-label", "selinuxLabel"),
    ):
        if given.text(option):
            document[member] = given.text(option)
    if "no-new-privs" in given.present:
        document["noNewPrivileges"] = given.flag("no-new-privs")
    _set_user(document, given)
    _add_capabilities(document, given.list("cap"))
    return decode(Process, document, "$.process")


def _set_user(document: Json, given: Given) -> None:
    user: Json = document.setdefault("user", {})
    if given.text("user"):
        uid, colon, gid = given.text("user").partition(":")
        user["uid"] = _number("uid", uid)
        if colon:
            user["gid"] = _number("gid", gid)
    added = [_number("additional gid", gid) for gid in given.list("additional-gids")]
    if added:
        user["additionalGids"] = [*user.get("additionalGids", ()), *added]


def _number(what: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f'bad {what}: "{text}" is not a number')
    return int(text)


def _add_capabilities(document: Json, names: list[str]) -> None:
    """Add capabilities to every set where they are useful; ambient ones must also be inheritable."""
    if not names:
        return
    sets: Json = document.setdefault("capabilities", {})
    kinds = ["bounding", "effective", "permitted"]
    if sets.get("inheritable"):
        kinds.append("ambient")
    for kind in kinds:
        sets[kind] = [*sets.get(kind, ()), *names]


def sub_cgroups(texts: list[str]) -> dict[str, str]:
    """Return the cgroups below the container's to run in, by controller; "" stands for all controllers.

    Each text is PATH or CONTROLLER[,CONTROLLER...]:PATH. Raises UsageError.
    """
    paths: dict[str, str] = {}
    for text in texts:
        controllers, colon, path = text.partition(":")
        if not colon:
            if len(texts) != 1:
                raise UsageError(f"invalid --cgroup argument: {text} (missing <controller>: prefix)")
            return {"": text}
        for controller in controllers.split(","):
            if not controller:
                raise UsageError(f"invalid --cgroup argument: {text} (empty <controller> prefix)")
            if controller in paths:
                raise UsageError(
                    f"invalid --cgroup argument(s): controller {controller} specified multiple times"
                )
            paths[controller] = path
    return paths


COMMANDS = {
    "exec": Command(
        "exec",
        "run another program in a running container",
        _exec,
        arguments="ID PROGRAM [ARGUMENT...]  or  exec --process FILE ID",
        description="""\
The program runs like the container's own process, except where options say
otherwise. With --process, the file describes everything, and other options are
ignored. The program may be native or WebAssembly.""",
        options=(
            CONSOLE_SOCKET,
            PIDFD_SOCKET,
            Option("cwd", "working directory in the container", value="FOLDER"),
            Option("env", "add to the environment", kind=LIST, short="e", value="NAME=VALUE"),
            Option("tty", "give the program a terminal", kind=FLAG, short="t"),
            Option("user", "user id, and group id", short="u", value="UID[:GID]"),
            Option("additional-gids", "add a supplementary group", kind=LIST, short="g", value="GID"),
            Option("process", "file that describes the process", short="p", value="FILE"),
            DETACH,
            PID_FILE,
            Option("process-label", "SELinux label of the process", value="LABEL"),
            Option("apparmor", "AppArmor profile of the process", value="PROFILE"),
            Option("no-new-privs", "keep the process from gaining privileges", kind=FLAG),
            Option("cap", "add a capability", kind=LIST, short="c", value="NAME"),
            PRESERVE_FDS,
            Option(
                "cgroup",
                "run in an existing cgroup below the container's",
                kind=LIST,
                value="[CONTROLLER:]PATH",
            ),
            Option(
                "ignore-paused", "exec in a paused container; the program runs once it is resumed", kind=FLAG
            ),
        ),
        least=1,
        most=None,
        stop_at_first=True,
        failure_status=_FAILED,
    )
}
