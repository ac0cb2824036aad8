"""Operates on containers for the random walk. Each operation checks its answer and tells the model what it caused."""

from __future__ import annotations

import json
import select
import subprocess
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from devtools.containerd import SHARED, WASMTIME
from devtools.waiting import until
from runwasi.wire.messages.well_known import Any as Packed
from scripts.soak.bed import SECONDS, Bed, Unexpected
from scripts.soak.model import CREATED, KILLED, PAUSED, RUNNING, STOPPED, Life, Model

RUNTIMES = {"normal": WASMTIME, "shared": SHARED}
CONTAINERD, COMMAND = tuple(RUNTIMES), "command"
_MOST = 12  # containers at once
_SCANTY, _GREEDY = 32 << 20, ["dd", "if=/dev/zero", "of=/dev/null", "bs=256M", "count=1"]
_RESOURCES = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"


class Walk(NamedTuple):
    """The tools that every operation works with."""

    bed: Bed
    model: Model
    chance: Random


class Operation(NamedTuple):
    """Something to do: its weight among the others, whether it can be done now, and how.

    `do` returns a description of what it was done to.
    """

    name: str
    weight: int
    can: Callable[[Model], object]
    do: Callable[[Walk], str]


def new_life(walk: Walk, surface: str) -> tuple[Life, list[str]]:
    """Return a new container of a random kind, and its arguments; [] stands for a program that does not end."""
    kind = walk.chance.choice(("native", "wasm"))
    short = walk.chance.random() < 0.25
    neighbours = walk.model.of(surface) if surface in RUNTIMES and walk.chance.random() < 0.3 else []
    container = walk.model.next_id(walk.bed.session)
    pod = walk.chance.choice(neighbours).pod if neighbours else container
    life = Life(container, surface, kind, pod)
    return life, _exiting(kind, 3) if short else []


def _exiting(kind: str, status: int) -> list[str]:
    return ["/app.wasm", "exit", str(status)] if kind == "wasm" else ["sh", "-c", f"exit {status}"]


def begin(walk: Walk, surface: str) -> str:
    """Create and start a container through containerd."""
    life, arguments = new_life(walk, surface)
    declare(walk, life, arguments)
    start_task(walk, life)
    started(walk, life)
    if arguments:
        wait_until_stopped(walk, life)
        walk.model.ended(life, 3)
    return f"{life.id} {life.kind} pod {life.pod}{' short' if arguments else ''}"


def declare(walk: Walk, life: Life, arguments: list[str], memory: int = 0) -> None:
    """Tell containerd of a container."""
    bundle = walk.bed.config(life.id, life.kind, arguments, life.pod, memory)
    how = ("--runtime", RUNTIMES[life.surface], "--config", bundle / "config.json")
    walk.bed.ctr("container", "create", *how, life.id)


def start_task(walk: Walk, life: Life, *, fails: bool = False) -> str:
    """Start a container's task, with or without FIFOs; return ctr's output. Raises Unexpected."""
    silent = walk.chance.random() < 0.3
    streams = ["--null-io"] if silent else ["--fifo-dir", str(walk.bed.folder / "fifos")]
    life.is_heard = not silent and life.kind == "native"  # a module keeps what it writes until it has much
    return walk.bed.ctr("task", "start", "--detach", *streams, life.id, fails=fails)


def started(walk: Walk, life: Life) -> None:
    """Note a container that runs."""
    walk.model.lives[life.id] = life
    life.status = RUNNING
    walk.model.caused(life, "create")
    walk.model.caused(life, "start")


def wait_until_stopped(walk: Walk, life: Life) -> None:
    """Wait until containerd, or our command line, says that a container has stopped.

    Raises AssertionError after a minute.
    """

    def status() -> str:
        if life.in_containerd:
            return walk.bed.containerd.status_of(life.id)
        return str(json.loads(walk.bed.command("state", life.id))["status"]).upper()

    until(status, lambda told: told == "STOPPED", seconds=SECONDS)


def starve(walk: Walk) -> str:
    """Start a container that needs more memory than its limit: the kernel kills it, and an event says so."""
    life = Life(walk.model.next_id(walk.bed.session), walk.chance.choice(CONTAINERD), "native", "")
    life.pod = life.id
    declare(walk, life, _GREEDY, _SCANTY)
    start_task(walk, life)
    started(walk, life)
    wait_until_stopped(walk, life)
    walk.model.ended(life, KILLED)
    walk.model.caused(life, "oom")
    return f"{life.id} {life.surface}"


def create(walk: Walk) -> str:
    """Create a container by the command line."""
    life, arguments = new_life(walk, COMMAND)
    bundle = walk.bed.config(life.id, life.kind, arguments, life.pod, 0)
    walk.bed.command("create", "--bundle", bundle, life.id)
    walk.model.lives[life.id] = life
    if not arguments:
        return f"{life.id} {life.kind}"
    walk.bed.command("start", life.id)
    wait_until_stopped(walk, life)
    life.status = STOPPED
    return f"{life.id} {life.kind} short"


def start(walk: Walk) -> str:
    """Start a container that the command line has created."""
    life = walk.chance.choice(walk.model.of(COMMAND, status=(CREATED,)))
    walk.bed.command("start", life.id)
    life.status = RUNNING
    return life.id


def execute(walk: Walk) -> str:
    """Run another process in a container, to its end."""
    life = walk.chance.choice(walk.model.of(status=(RUNNING,)))
    status = walk.chance.choice((0, 7))
    arguments = _exiting(life.kind, status)
    if life.in_containerd:
        exec_id = f"e{walk.chance.randrange(1 << 30)}"
        done = walk.bed.containerd.ctr(
            *("task", "exec", "--exec-id", exec_id, "--fifo-dir", walk.bed.folder / "fifos", life.id),
            *arguments,
            check=False,
            timeout=SECONDS,
        )
        if done.returncode != status:
            raise Unexpected(f"exec in {life.id}: {done.returncode} and not {status}: {done.stderr}")
        for topic in ("exec-added", "exec-started"):
            walk.model.caused(life, topic, exec_id)
        walk.model.caused(life, "exit", exec_id, status)
    else:
        walk.bed.command("exec", life.id, *arguments, status=status)
    return f"{life.id} status {status}"


def attach(walk: Walk) -> str:
    """Read a line that a container writes, and leave as a killed client does. Raises Unexpected for another line."""
    life = walk.chance.choice(_audible(walk.model))
    client = walk.bed.containerd.start_ctr(
        "task", "attach", life.id, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    assert client.stdout is not None
    with client.stdout:
        heard = bool(select.select([client.stdout], [], [], SECONDS)[0]) and client.stdout.readline()
        client.kill()
        client.wait()
    if heard != "tick\n":
        raise Unexpected(f"attach to {life.id}: {heard!r}")
    return life.id


def _audible(model: Model) -> list[Life]:
    return [life for life in model.of(*CONTAINERD, status=(RUNNING,)) if life.is_heard]


def pause(walk: Walk) -> str:
    """Freeze a container."""
    return _switch(walk, "pause", RUNNING, PAUSED, "paused")


def resume(walk: Walk) -> str:
    """Thaw a container."""
    return _switch(walk, "resume", PAUSED, RUNNING, "resumed")


def _switch(walk: Walk, command: str, before: str, after: str, topic: str) -> str:
    life = walk.chance.choice(walk.model.of(status=(before,)))
    if life.in_containerd:
        walk.bed.ctr("task", command, life.id)
    else:
        walk.bed.command(command, life.id)
    life.status = after
    walk.model.caused(life, topic)
    return life.id


def update(walk: Walk) -> str:
    """Give a container another limit of processes."""
    life = walk.chance.choice(walk.model.of(status=(RUNNING, CREATED, PAUSED)))
    limit = walk.chance.randrange(20, 200)
    if life.in_containerd:
        resources = Packed(type_url=_RESOURCES, value=json.dumps({"pids": {"limit": limit}}).encode())
        walk.bed.shim_call(life.id, "Update", resources=resources)
    else:
        walk.bed.command("update", "--pids-limit", str(limit), life.id)
    life.pids_limit = limit
    return f"{life.id} pids {limit}"


def kill(walk: Walk) -> str:
    """Kill a container, and wait until it has stopped."""
    life = walk.chance.choice(walk.model.of(status=(RUNNING,)) or walk.model.of(COMMAND, status=(CREATED,)))
    if life.in_containerd:
        walk.bed.ctr("task", "kill", "--signal", "SIGKILL", life.id)
    else:
        walk.bed.command("kill", life.id, "KILL")
    wait_until_stopped(walk, life)
    walk.model.ended(life, KILLED)
    return life.id


def delete(walk: Walk) -> str:
    """Delete a stopped container; the command line deletes others by force too."""
    life = walk.chance.choice(walk.model.of(status=(STOPPED,)) or walk.model.of(COMMAND))
    remove(walk, life)
    return life.id


def remove(walk: Walk, life: Life) -> None:
    """Delete a container as its state needs."""
    if not life.in_containerd:
        walk.bed.command("delete", *(["--force"] if life.lives else []), life.id)
    else:
        if life.lives:
            if life.status == PAUSED:
                walk.bed.ctr("task", "resume", life.id)
                walk.model.caused(life, "resumed")
            walk.bed.ctr("task", "kill", "--signal", "SIGKILL", life.id)
            wait_until_stopped(walk, life)
            walk.model.ended(life, KILLED)
        # it exits with the status of the container
        said = walk.bed.containerd.ctr("task", "delete", life.id, check=False, timeout=SECONDS)
        if said.returncode not in (0, 3, KILLED):
            raise Unexpected(f"task delete {life.id}: {said.returncode}: {said.stderr}")
        walk.model.caused(life, "delete")
        walk.bed.ctr("container", "delete", life.id)
    walk.model.forget(life.id)


def clear(walk: Walk) -> str:
    """Delete every container, after which the daemon must be as it was."""
    count = len(walk.model.lives)
    for life in list(walk.model.lives.values()):
        remove(walk, life)
    return f"{count} containers"


def _room(model: Model) -> bool:
    return len(model.lives) < _MOST


OPERATIONS = (
    Operation("begin in normal mode", 8, _room, lambda walk: begin(walk, "normal")),
    Operation("begin in shared mode", 8, _room, lambda walk: begin(walk, "shared")),
    Operation("create", 8, _room, create),
    Operation("start", 8, lambda model: model.of(COMMAND, status=(CREATED,)), start),
    Operation("exec", 8, lambda model: model.of(status=(RUNNING,)), execute),
    Operation("attach", 4, _audible, attach),
    Operation("pause", 5, lambda model: model.of(status=(RUNNING,)), pause),
    Operation("resume", 8, lambda model: model.of(status=(PAUSED,)), resume),
    Operation("update", 5, lambda model: model.of(status=(RUNNING, CREATED, PAUSED)), update),
    Operation(
        "kill", 6, lambda model: model.of(status=(RUNNING,)) or model.of(COMMAND, status=(CREATED,)), kill
    ),
    Operation("delete", 10, lambda model: model.of(status=(STOPPED,)) or model.of(COMMAND), delete),
    Operation("starve", 2, _room, starve),
    Operation("clear", 2, lambda model: model.lives, clear),
)
