"""Confines the process by its labels, a session keyring of its own and the seccomp filter."""

from __future__ import annotations

import errno

from runwasi.executor.protocol import LISTENER, Channel
from runwasi.executor.workload.request import Native
from runwasi.linux import keyring, labels, processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.executor.child.progress import InitProgress, Progress


def join_keyring(ctx: Progress) -> None:
    """Take a session keyring of the container's own; the one we have is the host's (man 7 session-keyring)."""
    if ctx.plan.no_new_keyring:
        return
    label = (
        ctx.process.selinux_label
        if ctx.process.selinux_label and labels.selinux_enabled(ctx.plan.proc.fileno())
        else ""
    )
    if label:  # otherwise the container could not use its own keys
        labels.set_selinux_keycreate(ctx.plan.proc.fileno(), label)
    try:
        keyring.join_session_keyring(f"_ses.{ctx.plan.id}"[:_MAX_NAME], others_search=ctx.plan.userns)
    except OSError as error:
        # A kernel without keyrings has none to share; runc continues here too.
        if error.errno != errno.ENOSYS:
            raise
    if label:
        labels.set_selinux_keycreate(ctx.plan.proc.fileno(), "")


_MAX_NAME = 200


def prepare_guest_view(ctx: Progress) -> None:
    """Make the guest's view of the mounts, in which no procfs shows a process, while we may still mount."""
    if ctx.parent is not None:
        from runwasi.executor.child import guest_view  # late, and in memory: it came with the engine

        guest_view.prepare(ctx)


def enter_guest_view(ctx: Progress) -> None:
    """Enter the guest's view now, or arrange to enter it once the hooks have run."""
    if not isinstance(ctx.workload, Native):
        from runwasi.executor.child import guest_view  # late, and in memory: it came with the engine

        guest_view.find_cwd(ctx)
        ctx.enters_view_late = bool(ctx.plan.start_hooks)
        if not ctx.enters_view_late:
            guest_view.enter(ctx)


def enter_guest_view_late(ctx: InitProgress) -> None:
    """Enter the guest's view: its files are looked up there from now on."""
    if ctx.enters_view_late:
        from runwasi.executor.child import guest_view  # late, and in memory: it came with the engine

        guest_view.enter(ctx)


def label_process(ctx: Progress) -> None:
    """Set the AppArmor profile and SELinux context for execve; a module, which executes nothing, gets them now."""
    is_wasm = ctx.parent is not None
    if ctx.process.apparmor_profile:
        set_profile = labels.change_apparmor if is_wasm else labels.set_apparmor_exec
        set_profile(ctx.plan.proc.fileno(), ctx.process.apparmor_profile)
    if ctx.process.selinux_label:
        set_label = labels.change_selinux if is_wasm else labels.set_selinux_exec
        set_label(ctx.plan.proc.fileno(), ctx.process.selinux_label)


def confine_wasm(ctx: Progress) -> None:
    """Drop the privileges that no guest needs, unless annotations keep them."""
    if not isinstance(ctx.workload, Native):
        from runwasi.executor.child import run_wasm  # late, and in memory: it came with the engine

        run_wasm.confine(ctx)


def forbid_new_privileges(ctx: Progress) -> None:
    """Set no_new_privs when the spec asks."""
    if ctx.process.no_new_privileges:
        processes.set_no_new_privs()


def filter_before_capabilities(ctx: Progress) -> None:
    """Without no_new_privs, loading a filter takes CAP_SYS_ADMIN: do it before it is dropped.

    The filter must then allow what the remaining steps call (man 2 seccomp; runc and crun stand here too).
    """
    if not ctx.process.no_new_privileges:
        _load_filter(ctx, ctx.channel)


def open_listener(ctx: Progress) -> None:
    """Let a wasm container's engine listen now: its filter may allow no socket."""
    if ctx.workload is not None and not isinstance(ctx.workload, Native):
        ctx.workload.engine.before_filter()


def filter_last(ctx: Progress) -> None:
    """Load the filter right before the workload with no_new_privs, so that it may forbid all but execve."""
    if ctx.process.no_new_privileges:
        _load_filter(ctx, ctx.verdict)


def _load_filter(ctx: Progress, channel: Channel) -> None:
    """Load the filter; if it notifies an agent, send its listener to the runtime, which knows the agent."""
    if ctx.seccomp is None:
        return
    from runwasi.linux import seccomp_filter  # late, and in memory: the filter came from it

    listener = seccomp_filter.load_filter(ctx.seccomp.program, ctx.seccomp.flags)
    if listener is not None:
        channel.request(LISTENER, fds=(listener,))
