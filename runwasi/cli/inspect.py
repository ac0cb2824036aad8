"""state, list and ps: shows containers, their states and their processes."""

from __future__ import annotations

import os

from runwasi.cli import output
from runwasi.cli.command import Command
from runwasi.cli.options import FLAG, Option, UsageError
from runwasi.executor.errors import ContainerError, NotFound
from runwasi.executor.lifecycle.container import Container
from runwasi.executor.lifecycle.store import container_ids
from runwasi.oci.encode import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.cli.options import Given
    from runwasi.cli.settings import Settings

_FORMAT = Option("format", "table or json", short="f", default="table", value="FORM")


def _state(given: Given, settings: Settings) -> int:
    container = Container.load(settings.root, given.arguments[0], settings.log.warning)
    output.write(dumps(_described(container), "  ") + "\n")
    return 0


def _described(container: Container) -> dict[str, object]:
    """Return the state document with runc's additions: rootfs, created and owner."""
    state = container.oci_state()
    described: dict[str, object] = {
        "ociVersion": state.oci_version,
        "id": state.id,
        "pid": state.pid,
        "status": state.status,
        "bundle": state.bundle,
        "rootfs": container.saved.rootfs,
        "created": container.created,
    }
    if state.annotations:
        described["annotations"] = state.annotations
    described["owner"] = _user_name(container.saved.owner)
    return described


def _user_name(uid: int) -> str:
    import pwd  # late: only to show an owner

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def _list(given: Given, settings: Settings) -> int:
    form = _checked_format(given)
    if settings.root_given and not os.path.isdir(settings.root):
        raise ContainerError(f"state root {settings.root}: no such directory")
    found = []
    for container_id in container_ids(settings.root):
        try:
            found.append(_described(Container.load(settings.root, container_id, settings.log.warning)))
        except NotFound:  # deleted meanwhile
            continue
        except (ContainerError, OSError) as error:
            settings.log.warning(f"load container {container_id}: {error}")
    if given.flag("quiet"):
        output.write("".join(f"{item['id']}\n" for item in found))
    elif form == "json":
        output.write(dumps(found or None) + "\n")
    else:
        _print_table(found)
    return 0


_COLUMNS = ("id", "pid", "status", "bundle", "created", "owner")


def _print_table(items: list[dict[str, object]]) -> None:
    rows = [tuple(name.upper() for name in _COLUMNS)]
    rows += [tuple(str(item[name]) for name in _COLUMNS) for item in items]
    if os.isatty(1):
        from runwasi.cli.tables import print_rich  # late: rich, 100 ms, for people only

        print_rich(rows)
        return
    widths = [max(12, *(len(row[column]) + 3 for row in rows)) for column in range(len(_COLUMNS) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)]
        output.write("".join(cells) + "\n")


def _checked_format(given: Given) -> str:
    form = given.text("format")
    if form not in {"table", "json"}:
        raise UsageError(f"invalid format option: {form}: expected table or json")
    return form


def _ps(given: Given, settings: Settings) -> int:
    form = _checked_format(given)
    container_id, *options = given.arguments
    pids = Container.load(settings.root, container_id, settings.log.warning).pids()
    if form == "json":
        output.write(dumps(sorted(pids)) + "\n")
        return 0
    title, *lines = _all_processes(options or ["-ef"])
    titles = title.split()
    if "PID" not in titles:
        raise ContainerError("couldn't find PID field in ps output")
    column = titles.index("PID")
    wanted = {str(pid) for pid in pids}
    output.write(f"{title}\n")
    for line in lines:
        fields = line.split()
        if len(fields) > column and fields[column] in wanted:
            output.write(f"{line}\n")
    return 0


def _all_processes(options: list[str]) -> list[str]:
    import subprocess  # late: 10 ms, and only a person waits for it

    try:
        ps = subprocess.run(["ps", *options], capture_output=True, text=True, errors="replace", check=False)
    except FileNotFoundError:
        raise ContainerError("the program ps is not installed (Debian: apt-get install procps)") from None
    if ps.returncode:
        raise ContainerError(f"ps {' '.join(options)}: exit status {ps.returncode}: {ps.stderr.strip()}")
    return ps.stdout.rstrip("\n").split("\n")


COMMANDS = {
    command.name: command
    for command in (
        Command("state", "show a container's state as JSON", _state, arguments="ID", least=1, most=1),
        Command(
            "list",
            "list the containers below the state root",
            _list,
            options=(_FORMAT, Option("quiet", "show only the IDs", kind=FLAG, short="q")),
        ),
        Command(
            "ps",
            "list the processes of a container",
            _ps,
            arguments="ID [OPTIONS OF ps]",
            description="--format json prints only the process ids.",
            options=(_FORMAT,),
            least=1,
            most=None,
            stop_at_first=True,
        ),
    )
}
