"""Writes systemd's units of an engine's node daemon."""

from __future__ import annotations

from runwasi.deployment.file_change import FileChange
from runwasi.deployment.target_node import run
from runwasi.deployment.target_plan import TargetPlan
from runwasi.engines.registry import daemon_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runwasi.deployment.target_node import TargetNode

FOLDER = "/etc/systemd/system"
_RUNTIME_FOLDER = "/run/systemd/system"
_ENDING = "deactivating"
_ENDED = ("", "inactive", "failed")

_SERVICE = """\
[Unit]
Description=Node daemon of the {engine} shim
Before=containerd.service
Requires={daemon}.socket
After={daemon}.socket

[Service]
Type=notify
ExecStart={program}
# The daemon replaces itself in place with the installed program, and keeps every pod that it serves.
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
# systemd restarts a daemon that does not answer. Shims work without it meanwhile.
WatchdogSec=60
# Servers that the daemon forked run on when it ends. In shared mode, it stays until its last pod has ended.
KillMode=process
TimeoutStopSec=infinity
# One that hangs is no longer waited for.
TimeoutAbortSec=10
# The copy that a removal makes: systemd needs it until the daemon has ended.
ExecStopPost=-/bin/rm -f {runtime_folder}/%n
# The same as in containerd's unit. Pods and their servers get containerd's score plus one, whatever this says.
OOMScoreAdjust=-999
# Containers make and limit cgroups of their own.
Delegate=yes
TasksMax=infinity
LimitNOFILE=infinity
LimitNPROC=infinity
LimitCORE=infinity

[Install]
WantedBy=multi-user.target
"""

_SOCKET = """\
[Unit]
Description=Socket of the {engine} shim's node daemon

[Socket]
ListenSequentialPacket=/run/io.containerd.{engine}.v1/manager.sock
SocketMode=0600
DirectoryMode=0711
Backlog=4096

[Install]
WantedBy=sockets.target
"""


def service(engine: str, program: str) -> str:
    """Return the service's unit; program is the daemon's path."""
    return _SERVICE.format(
        engine=engine, daemon=daemon_name(engine), program=program, runtime_folder=_RUNTIME_FOLDER
    )


def socket(engine: str) -> str:
    """Return the socket's unit."""
    return _SOCKET.format(engine=engine)


def install(node: TargetNode, engines: Sequence[str], programs: str) -> TargetPlan:
    """Return the plan to run the daemons under systemd; programs is their folder. Raises DeploymentError, OSError."""
    changes, notes = [], []
    for engine in engines:
        program = f"{programs}/{daemon_name(engine)}"
        changes += _changes(node, engine, service(engine, program), socket(engine))
        if not node.has(program):
            notes.append(
                f"there is no {node.path(program)}: install the programs first, or name their folder by --bin"
            )
    ending = [engine for engine in engines if _state(node, f"{daemon_name(engine)}.service") == _ENDING]
    notes += [
        f"{daemon_name(engine)} starts when the one that still serves pods has ended" for engine in ending
    ]
    waiting = [engine for engine in engines if _state(node, f"{daemon_name(engine)}.socket") != "active"]
    return _plan(node, changes, _starts(engines, ending), notes, due=node.has_systemd() and bool(waiting))


def uninstall(node: TargetNode, engines: Sequence[str]) -> TargetPlan:
    """Return the plan that removes the units. A daemon that serves pods stays until its last pod has ended."""
    changes = [change for engine in engines for change in _changes(node, engine, None, None)]
    present = [engine for engine in engines if node.has(f"{FOLDER}/{daemon_name(engine)}.service")]
    before = [*_copies(node, present), *_stops(present)] if present else []
    return _plan(node, changes, [("systemctl", "daemon-reload")], before=before)


def are_written(node: TargetNode, engines: Sequence[str]) -> bool:
    """Return whether the node has a unit of a daemon in systemd's folder for an administrator's."""
    return any(node.has(f"{FOLDER}/{daemon_name(engine)}.service") for engine in engines)


def _copies(node: TargetNode, engines: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the commands that copy the services of daemons that run, for as long as these have to end.

    Without its unit, systemd would wait a minute and a half for a daemon's pods, and then kill them.
    """
    services = [f"{daemon_name(engine)}.service" for engine in engines]
    running = [service for service in services if _state(node, service) not in _ENDED]
    return [("cp", f"{FOLDER}/{service}", f"{_RUNTIME_FOLDER}/{service}") for service in running]


def _stops(engines: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the commands that disable and stop the units; a daemon that serves pods goes on ending.

    A socket would wait for its daemon, and lose what it listens on when systemd reads that its unit is gone. Later
    calls would be refused, though it is active.
    """
    sockets, services = _units(engines)[::2], _units(engines)[1::2]
    return [
        ("systemctl", "disable", *_units(engines)),
        ("systemctl", "stop", "--job-mode=ignore-dependencies", *sockets),
        ("systemctl", "stop", "--no-block", *services),
    ]


def _starts(engines: Sequence[str], ending: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the commands that enable the units, and start those of daemons that are not just ending.

    The socket of one that ends waits for it: systemd starts a unit after another's stop if one of them is ordered
    after the other. The service would not wait, as its start takes the place of its stop. The first call starts it.
    """
    commands: list[tuple[str, ...]] = [("systemctl", "daemon-reload")]
    others = [engine for engine in engines if engine not in ending]
    if others:
        commands.append(("systemctl", "enable", "--now", *_units(others)))
    if ending:
        sockets = [f"{daemon_name(engine)}.socket" for engine in ending]
        commands.append(("systemctl", "enable", *_units(ending)))
        commands.append(("systemctl", "start", "--no-block", *sockets))
    return commands


def _state(node: TargetNode, unit: str) -> str:
    """Return a unit's state, such as "active"; "" where systemd does not run. Raises DeploymentError."""
    if not node.has_systemd():
        return ""
    return run(("systemctl", "show", "--property", "ActiveState", "--value", unit)).strip()


def _changes(node: TargetNode, engine: str, service: str | None, socket: str | None) -> list[FileChange]:
    name = f"{FOLDER}/{daemon_name(engine)}"
    return [
        FileChange(node.path(f"{name}{suffix}"), node.read(f"{name}{suffix}"), text)
        for suffix, text in ((".service", service), (".socket", socket))
    ]


def _units(engines: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{daemon_name(engine)}{kind}" for engine in engines for kind in (".socket", ".service"))


def _plan(
    node: TargetNode,
    changes: list[FileChange],
    commands: list[tuple[str, ...]],
    notes: Sequence[str] = (),
    before: Sequence[tuple[str, ...]] = (),
    *,
    due: bool = False,
) -> TargetPlan:
    runs = node.has_systemd()
    found = f"units in {node.path(FOLDER)}" + ("" if runs else "; systemd does not run here")
    hint = "have systemd start them when it runs"
    return TargetPlan(
        "units",
        found,
        changes,
        before=before if runs else (),
        after=commands if runs else (),
        due=due,
        hint=hint,
        notes=notes,
    )
