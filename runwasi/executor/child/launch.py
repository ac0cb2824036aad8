"""Decides what runs, waits for the start, and becomes that program or module.

After enter_root the host's files are out of reach, so all code for these steps is imported before it.
"""

from __future__ import annotations

import os

from runwasi.executor.child.become_user import complete_env
from runwasi.executor.errors import ContainerError
from runwasi.executor.lifecycle import hooks
from runwasi.executor.protocol import CREATE_RUNTIME, READY, STARTING, WASM, Channel, CreatorGone
from runwasi.executor.workload import choose
from runwasi.executor.workload.request import Native, WorkloadRequest
from runwasi.linux import processes, rlimits, sockets
from runwasi.linux.waiting import Wait, finish
from runwasi.oci.record import replaced
from runwasi.oci.state import State
from runwasi.startup import packs
from runwasi.startup.thin_signal import (
    SIG_DFL,
    SIG_IGN,
    SIGHUP,
    SIGINT,
    SIGPIPE,
    SIGQUIT,
    SIGTERM,
    SIGXFSZ,
    signal,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from runwasi.executor.child.progress import InitProgress, Progress
    from runwasi.executor.lifecycle.status import Status
    from runwasi.linux.waiting import Operation

_FEW_FILES = 64


def ask_for_create_runtime_hooks(ctx: InitProgress) -> None:
    """Ask the parent to run the hooks of the runtime's namespaces, after the mounts and before the pivot.

    From here on, the parent runs the poststop hooks on a failure, so it must know if there are any.
    """
    spec_hooks = ctx.plan.spec.hooks
    if spec_hooks.prestart or spec_hooks.create_runtime or spec_hooks.poststop:
        ctx.channel.request(CREATE_RUNTIME)


def run_create_container_hooks(ctx: InitProgress) -> None:
    """Run the createContainer hooks in the container's root and namespaces; their paths are the host's."""
    if ctx.plan.spec.hooks.create_container:
        os.fchdir(ctx.root_fd)
        state = _state(ctx, "created")
        finish(hooks.run_all("createContainer", ctx.plan.spec.hooks.create_container, state, inside=True))


def run_start_container_hooks(ctx: InitProgress) -> None:
    """Run the hooks inside the container, as its user, right before its program."""
    if ctx.plan.start_hooks:
        # a hook without an environment gets the program's, as it often prepares things for it
        own = [replaced(hook, env=ctx.env) if hook.env is None else hook for hook in ctx.plan.start_hooks]
        running = hooks.run_all("startContainer", own, _state(ctx, "created"), inside=True)
        finish(_while_creator_lives(running, ctx) if ctx.plan.tied else running)


def _while_creator_lives(operation: Operation[None], ctx: InitProgress) -> Operation[None]:
    """Run an operation. If the creator dies, cancel it and raise CreatorGone."""
    tie = ctx.channel.fileno()
    try:
        wait = next(operation)
        while True:
            ready = yield Wait((*wait.fds, tie), wait.deadline)
            wait = operation.throw(CreatorGone()) if tie in ready else operation.send(ready)
    except StopIteration:
        return


def _state(ctx: InitProgress, status: Status) -> bytes:
    """Return the state for a hook in the container's namespaces: the pid is as seen there (runtime.md#state)."""
    return (
        State(
            oci_version=ctx.plan.spec.oci_version,
            id=ctx.plan.id,
            status=status,
            pid=os.getpid(),
            bundle=ctx.plan.bundle_path,
            annotations=ctx.plan.spec.annotations,
        )
        .to_json()
        .encode()
    )


def anticipate_engine(ctx: Progress) -> None:
    """Load the engine while we can see the host's files, if the program of args[0] may need one."""
    kind = choose.foresee(_request(ctx), ctx.root_fd)
    if kind in choose.WASM_KINDS or (kind is None and ctx.plan.may_fetch_layers):
        from runwasi.executor.child import guest_view, run_wasm  # late: 2 ms, and most programs are native

        guest_view.make_procfs(ctx)
        ctx.parent = run_wasm.Parent(ctx, kind)


def stop_imports(_ctx: Progress) -> None:
    """Stop the interpreter from looking for modules: it would find and run the container's.

    Python itself imports late, for example the codec of a name to look up. Loaded modules still import.
    """
    packs.look_no_further()


def choose_workload(ctx: Progress) -> None:
    """Choose what to run; a refusal fails create, not start."""
    ctx.workload = choose.choose(_request(ctx), ctx.parent)


def find_home(ctx: Progress) -> None:
    """Complete the environment for a native program and for hooks; a module gets it as it is."""
    if isinstance(ctx.workload, Native) or ctx.plan.start_hooks:
        complete_env(ctx)


def _request(ctx: Progress) -> WorkloadRequest:
    return WorkloadRequest(ctx.process.args, ctx.process.env, ctx.process.cwd, ctx.plan.spec.annotations)


def keep_descriptors_from_program(ctx: Progress) -> None:
    """Mark all other descriptors than the streams and the preserved ones close-on-exec, before the filter."""
    processes.close_range(3 + ctx.plan.preserve_fds, cloexec=True)


def check_room_for_starter(ctx: InitProgress) -> None:
    """Refuse a hard limit of open files that leaves no descriptor for the connection at the gate."""
    for index, limit in enumerate(ctx.process.rlimits):
        if limit.type == "RLIMIT_NOFILE":
            free = os.dup(ctx.plan.gate.fileno())
            os.close(free)
            if not ctx.plan.tied:
                free = min(free, ctx.channel.fileno())  # closed by then
            if limit.hard <= free:
                why = (
                    f"{limit.hard} open files are too few to be started with, at least {free + 1} are needed"
                )
                raise ContainerError(f"{why} ($.process.rlimits[{index}].hard)")


def report_ready(ctx: InitProgress) -> None:
    """Tell the parent that the container is created; exit if the parent dies before it has recorded that."""
    try:
        ctx.channel.send(READY, *_of_interest(ctx))
    except BrokenPipeError:
        os._exit(1)
    if not ctx.channel.hears():
        os._exit(1)
    if not ctx.plan.tied:
        ctx.channel.close()


def ask_for_rlimits(ctx: Progress) -> None:
    """Ask the parent to set our limits: it may raise them, and they could have disturbed the earlier steps."""
    ctx.channel.request(READY, *_of_interest(ctx))


def _of_interest(ctx: Progress) -> tuple[str, ...]:
    """Return the fields of READY."""
    kind = () if isinstance(ctx.workload, Native) else (WASM,)
    return (*ctx.left_to_parent, *kind)


def lower_rlimits(ctx: Progress) -> None:
    """Set the limits that the parent may not set for another user's process."""
    for limit in ctx.process.rlimits:
        if rlimits.get_rlimit(limit.type) != (limit.soft, limit.hard):
            rlimits.set_rlimit(limit.type, limit.soft, limit.hard)


def wait_for_start(ctx: InitProgress) -> None:
    """Wait until somebody connects to the gate; from then on, failures are reported there.

    SIGTERM and its like end us, although the kernel drops signals without a handler for PID 1.
    """
    before = {number: signal(number, _end) for number in (SIGHUP, SIGINT, SIGQUIT, SIGTERM)}
    _raise_open_files(ctx)
    if ctx.plan.tied:
        _wait_for_tied_start(ctx)
    connection = sockets.accept(ctx.plan.gate.fileno())
    for number, handler in before.items():
        signal(number, SIG_IGN if handler == SIG_IGN else SIG_DFL)
    ctx.plan.gate.close()  # a second start finds nobody listening
    ctx.verdict = Channel(connection)


def _raise_open_files(ctx: InitProgress) -> None:
    """Raise a soft limit of open files that is too low for poll and accept; lower_rlimits sets it again."""
    if any(limit.type == "RLIMIT_NOFILE" and limit.soft < _FEW_FILES for limit in ctx.process.rlimits):
        _, hard = rlimits.get_rlimit("RLIMIT_NOFILE")
        rlimits.set_rlimit("RLIMIT_NOFILE", hard, hard)


def _wait_for_tied_start(ctx: InitProgress) -> None:
    gate = ctx.plan.gate.fileno()
    if gate not in Wait((gate, ctx.channel.fileno())).poll():
        os._exit(1)


def _end(number: int, _frame: object) -> NoReturn:
    os._exit(128 + number)


def say_that_it_starts(ctx: InitProgress) -> None:
    """Tell the starter that silence means success from now on, before the spec's filter may forbid the message."""
    try:
        ctx.verdict.send(STARTING)
    except BrokenPipeError:
        return  # the starter has died; the container lives on


def run_workload(ctx: Progress) -> NoReturn:
    """Become the program, or run the module in this process."""
    workload = ctx.workload
    assert workload is not None
    if not isinstance(workload, Native):
        from runwasi.executor.child import run_wasm  # late, and in memory: it came with the engine

        run_wasm.run(ctx, workload)
    environment = dict(entry.partition("=")[::2] for entry in ctx.env if "=" in entry[1:])
    for number in (SIGPIPE, SIGXFSZ):  # the interpreter ignores these two, and execve keeps that
        signal(number, SIG_DFL)
    try:
        os.execve(workload.path, workload.argv, environment)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ContainerError(f"exec {workload.path}: {why}", errno=error.errno or 0) from None
