"""Disturbs the processes that serve containers, and the disk below them, for the random walk."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from devtools.waiting import until
from scripts.soak.bed import SECONDS, Unexpected
from scripts.soak.model import KILLED, RUNNING, STOPPED, Life, Model
from scripts.soak.operations import (
    COMMAND,
    CONTAINERD,
    Operation,
    Walk,
    begin,
    declare,
    new_life,
    remove,
    start_task,
)

_FULL = "No space left on device"


def restart_containerd(walk: Walk) -> str:
    """Stop or kill containerd; a container may end while it is away. Then start it again."""
    how = walk.chance.choice((signal.SIGTERM, signal.SIGKILL))
    running = walk.model.of(*CONTAINERD, status=(RUNNING,))
    life = walk.chance.choice(running) if running and walk.chance.random() < 0.5 else None
    pid = walk.bed.containerd.pid_of(life.id) if life else 0
    walk.bed.stop_listening()
    walk.bed.containerd.stop(how)
    if life:
        os.kill(pid, signal.SIGKILL)
    walk.bed.containerd.start()
    walk.bed.listen()
    if life:
        walk.model.ended(life, KILLED, surely=False)
    _settle(walk)
    return how.name + (f", {life.id} killed meanwhile" if life else "")


def _settle(walk: Walk) -> None:
    """Wait until a new containerd knows its stopped tasks as such; from 1.7 on, it cleans up what has no process."""

    def status(life: Life) -> str:
        lines = [line.split() for line in walk.bed.ctr("task", "ls").splitlines()[1:]]
        return next((words[2] for words in lines if words[0] == life.id), "")

    cleans_up = walk.bed.containerd.host.name != "1.6"
    for life in walk.model.of(*CONTAINERD, status=(STOPPED,)):
        told = until(
            lambda: status(life),  # noqa: B023  called at once
            lambda seen: seen == "STOPPED" or (cleans_up and not seen),
            seconds=SECONDS,
        )
        if not told:
            for topic, code in (("exit", KILLED), ("delete", 0)):
                walk.model.caused(life, topic, status=code, surely=False)
            walk.bed.ctr("container", "delete", life.id)
            walk.model.forget(life.id)


def kill_server(walk: Walk) -> str:
    """Kill the server of a pod in normal mode: its containers end, and containerd cleans up."""
    life = walk.chance.choice(walk.model.of("normal"))
    lost = [other for other in walk.model.of("normal") if other.pod == life.pod]
    pid = walk.bed.server_of(life.id)
    os.kill(pid, signal.SIGKILL)
    _lose(walk, lost)
    return f"pid {pid} of {' '.join(other.id for other in lost)}"


def kill_daemon(walk: Walk) -> str:
    """Kill the daemon: the pods that it serves end, and those with a server of their own live on."""
    lost = walk.model.of("shared")
    walk.bed.daemon.stop(signal.SIGKILL)
    _lose(walk, lost)
    walk.bed.replace_daemon()
    return f"lost {' '.join(life.id for life in lost)}"


def _lose(walk: Walk, lost: list[Life]) -> None:
    """Wait until containerd has cleaned up containers whose server is gone, and delete them there."""
    names = {life.id for life in lost}

    def known() -> set[str]:
        lines = walk.bed.ctr("task", "ls").splitlines()[1:]
        return names & {line.split()[0] for line in lines}

    until(known, lambda left: not left, seconds=SECONDS)
    for life in lost:
        # containerd tells the end of what its cleanup killed, also of what had ended before
        walk.model.caused(life, "exit", status=KILLED, surely=life.lives)
        walk.model.caused(life, "delete")
        walk.bed.ctr("container", "delete", life.id)
        walk.model.forget(life.id)


def reload_daemon(walk: Walk) -> str:
    """Make the daemon replace itself."""
    walk.bed.daemon.reload()
    return f"pid {walk.bed.daemon.pid}"


def stop_daemon(walk: Walk) -> str:
    """Stop the daemon by SIGSTOP while a pod of normal mode begins without it."""
    os.kill(walk.bed.daemon.pid, signal.SIGSTOP)
    try:
        return begin(walk, "normal")
    finally:
        os.kill(walk.bed.daemon.pid, signal.SIGCONT)


def fill_disk(walk: Walk) -> str:
    """Fill the file systems that hold state: a create is refused and leaves nothing, and delete still works."""
    with _full(walk.bed.root), _full(walk.bed.shim_state):
        refused = [_refused(walk, surface) for surface in (*CONTAINERD, COMMAND)]
        lives = list(walk.model.lives.values())
        life = walk.chance.choice(lives) if lives else None
        if life:
            remove(walk, life)
    return f"refused {' '.join(refused)}" + (f", deleted {life.id}" if life else "")


def _refused(walk: Walk, surface: str) -> str:
    life, arguments = new_life(walk, surface)
    if surface == COMMAND:
        bundle = walk.bed.config(life.id, life.kind, arguments, life.pod, 0)
        said = walk.bed.command("create", "--bundle", bundle, life.id, status=None)
    else:
        declare(walk, life, arguments)
        said = start_task(walk, life, fails=True)
        walk.bed.ctr("container", "delete", life.id)
    if _FULL.lower() not in said.lower():
        raise Unexpected(f"create of {life.id} on a full disk: {said}")
    return life.id


@contextlib.contextmanager
def _full(folder: Path) -> Iterator[None]:
    """Take all the space of a small file system."""
    path = folder / ".ballast"
    try:
        with path.open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
            while ballast.write(bytes(4096)):
                pass
        yield
    finally:
        path.unlink()


def _always(_model: Model) -> bool:
    return True


DISTURBANCES = (
    Operation("restart containerd", 2, _always, restart_containerd),
    Operation("kill a server", 3, lambda model: model.of("normal"), kill_server),
    Operation("kill the daemon", 2, _always, kill_daemon),
    Operation("reload the daemon", 3, _always, reload_daemon),
    Operation("stop the daemon", 1, _always, stop_daemon),
    Operation("fill the disk", 3, _always, fill_disk),
)
