"""The parent's half of create: everything before the fork, then answers to the child until it is ready.

A Creation can be driven by whoever has a selector: wait until fileno() is readable, call advance(), until it
returns True. When anything fails, or the child dies, all that was made is taken back before the error is raised.
"""

from __future__ import annotations

import os
import select
from _signal import SIGKILL  # type: ignore[import-not-found]  # the module signal adds enumerations, 3 ms

from runwasi.executor.child.context import InitContext
from runwasi.executor.child.walk import become_init
from runwasi.executor.container import Container
from runwasi.executor.errors import ContainerError
from runwasi.executor.parent.claim import claim
from runwasi.executor.parent.conversation import END, Conversation, end_child, engine_of
from runwasi.executor.parent.namespace_fork import Plan, open_doors, spawn
from runwasi.executor.protocol import CREATE_RUNTIME, MAP_IDS, PRIORITIES, READY, Channel, Message
from runwasi.executor.store import CLOSED_GATE
from runwasi.executor.undo import Undo
from runwasi.linux import processes, sockets
from runwasi.linux.filesystems import open_procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.engines.engine import Engine
    from runwasi.executor.plan.bundle import Bundle
    from runwasi.executor.plan.create_options import CreateOptions
    from runwasi.linux.processes import Child
    from runwasi.linux.seccomp_filter import Filter
    from runwasi.oci.spec import Mount, Spec


def begin_create(root: str, container_id: str, bundle: Bundle, options: CreateOptions) -> Creation:
    """Claim the id and start to create a container below the state root; nothing of it runs yet.

    Raises AlreadyExists, Invalid, SpecError or ContainerError with nothing left behind.
    """
    bundle.check()
    _check_privilege(bundle)
    with Undo() as undo:
        creation = Creation(claim(root, container_id, bundle, options, undo), bundle, options, undo)
        creation.begin()
        return creation
    raise AssertionError("unreachable")  # the block returns or raises


def create(root: str, container_id: str, bundle: Bundle, options: CreateOptions) -> Container:
    """Create a container and wait until it is. Raises as begin_create and Creation.advance do."""
    creation = begin_create(root, container_id, bundle, options)
    poll = select.poll()
    poll.register(creation.fileno(), select.POLLIN)
    try:
        while not creation.advance():
            poll.poll()
    except BaseException:  # an interrupt at the keyboard too
        creation.abort()
        raise
    return creation.container


def _check_privilege(bundle: Bundle) -> None:
    if os.geteuid() != 0 and not bundle.spec.linux.has("user"):
        raise ContainerError(
            "rootless container requires a user namespace ($.linux.namespaces):"
            " run as root, or take the configuration that `runwasi spec --rootless` writes"
        )


class Creation:
    """A container on its way from claimed to created."""

    def __init__(self, container: Container, bundle: Bundle, options: CreateOptions, undo: Undo) -> None:
        self.container = container
        """The container; its pid is known from begin on, and it is created once advance has returned True."""
        self._bundle = bundle
        self._options = options
        self._undo = undo
        self._conversation: Conversation
        self._enters_by_itself = False
        self._network = -1

    def fileno(self) -> int:
        """Return the descriptor that is readable when advance has something to do."""
        return self._conversation.fileno()

    def begin(self) -> None:
        """Prepare everything outside the container, fork, and let the child go."""
        plan = Plan.of(self._bundle.spec.linux)
        try:
            child = self._fork(plan)
        finally:
            plan.close()
        self._undo.add(end_child, child)
        try:
            self._settle(child, plan)
            self._conversation.proceed(str(child.pid))
        except (ContainerError, OSError):
            self.advance()  # when the child failed, what it says is why
            raise

    def _settle(self, child: Child, plan: Plan) -> None:
        from runwasi.executor.parent import equip  # late: the child is at work meanwhile

        self._network = equip.settle(
            self.container, self._bundle, plan, child, self._undo, entered=self._enters_by_itself
        )

    def advance(self) -> bool:
        """Answer the child's pending requests; True when the container is created.

        Raises ContainerError or SpecError, with everything taken back, when it cannot be.
        """
        try:
            while message := self._conversation.next_message():
                if self._answer(message):
                    return True
        except BaseException:
            self.abort()
            raise
        return False

    def abort(self) -> None:
        """Give up: kill what runs and take everything back."""
        self._undo.run()

    # before the fork

    def _fork(self, plan: Plan) -> Child:
        """Fork the child; in it, never return."""
        channel, child_channel = Channel.pair()
        self._conversation = Conversation(channel, self._options, self._load_engine, self._forward_listener)
        self._undo.add(self._conversation.close)
        context = InitContext(self.container.id, self._bundle.spec, self._bundle.process, child_channel)
        doors = None
        try:
            self._prepare(context, plan)
            doors = open_doors(plan, self.container.cgroup)
            if doors:
                context.cgroup_tasks = doors.tasks
            child = spawn(plan, doors)
            self._enters_by_itself = doors is not None and not doors.shut
            if child is None:
                context.waits = not self._enters_by_itself or not plan.separate()
                become_init(context)
        finally:
            if doors:
                doors.close()
            child_channel.close()
            opened = (context.gate, context.proc_fd, *context.mount_sources.values())
            sockets.close_all(fd for fd in opened if fd >= 0)
        return child

    def _prepare(self, context: InitContext, plan: Plan) -> None:
        """Tell the child what it needs to know, and open what it needs open."""
        spec, options = self._bundle.spec, self._options
        context.stdio = options.stdio
        context.console_socket = options.console_socket
        context.preserve_fds = options.preserve_fds
        context.no_new_keyring = options.no_new_keyring
        context.no_pivot = options.no_pivot
        context.guest_procfs = options.guest_procfs
        context.bundle_path = self._bundle.path
        context.rootfs = self._bundle.rootfs
        context.namespaces = plan.entered_by_child()
        context.userns = plan.makes("user") or plan.joins("user")
        context.new_netns = plan.makes("net")
        context.cgroup_paths = self.container.cgroup.paths()
        context.load_engine = self._load_engine
        context.may_fetch_layers = options.images is not None
        context.seccomp = _compiled_filter(spec, options)
        context.mount_sources = _mount_sources(context)
        context.proc_fd = open_procfs()
        context.command_line = processes.CommandLine(context.process.args, context.proc_fd)
        context.gate = sockets.listen(f"{self.container.folder.path}/{CLOSED_GATE}", 1)

    def _load_engine(self) -> Engine:
        return engine_of(self._options, self._bundle.spec.annotations, self._bundle.process)

    # what the child asks

    def _answer(self, message: Message) -> bool:
        if message.kind == END:
            raise self._death()
        if message.kind == CREATE_RUNTIME:
            self._run_create_runtime_hooks()
            self._conversation.proceed()
            return False
        if message.kind == MAP_IDS:
            self._map_ids(message)
            self._conversation.proceed()
            return False
        assert message.kind == READY
        self._ready(priorities=PRIORITIES in message.fields)
        return True

    def _map_ids(self, message: Message) -> None:
        from runwasi.executor.mounts.mount_sources import map_source  # late: few containers need it

        (tree,) = message.fds
        try:
            map_source(self._bundle.spec, int(message.fields[0]), tree)
        finally:
            os.close(tree)

    def _forward_listener(self, listener: int) -> None:
        self.container.forward_listener(listener)

    def _run_create_runtime_hooks(self) -> None:
        from runwasi.executor import hooks  # late: few containers have any

        spec_hooks = self._bundle.spec.hooks
        # what fails from here on ends where delete does: runtime.md#lifecycle, steps 3 to 5, 12 and 13
        self._undo.add_last(self.container.run_poststop_hooks)
        # the environment is made, which is when runtime.md#lifecycle calls a container created
        state = self.container.oci_state("created").to_json().encode()
        hooks.run_all("prestart", spec_hooks.prestart, state)
        hooks.run_all("createRuntime", spec_hooks.create_runtime, state)

    def _ready(self, *, priorities: bool) -> None:
        """Finish: what would have hindered the child, the pid file, and nothing to undo any more."""
        from runwasi.executor.process_settings import (  # late, as in begin
            set_priorities,
            set_rlimits,
            write_pid_file,
        )

        if priorities:
            set_priorities(self._bundle.process, self.container.pid)
        set_rlimits(self.container.pid, self._bundle.process.rlimits)
        self.container.folder.show_gate()
        if self._options.pid_file:
            write_pid_file(self._options.pid_file, self.container.pid)
        self._undo.commit()
        if self._network >= 0:
            os.close(self._network)
        self._conversation.close()

    def _death(self) -> ContainerError:
        """Say how the child died before it was ready; it is reaped here."""
        code = processes.reap(self.container.pidfd)
        if code == 128 + SIGKILL:
            why = "it was killed; a memory limit too low for it does that ($.linux.resources.memory.limit)"
        else:
            why = f"it ended with status {code}"
        return ContainerError(f"the container's first process is gone before it was ready: {why}")


def _compiled_filter(spec: Spec, options: CreateOptions) -> Filter | None:
    if spec.linux.seccomp is None:
        return None
    from runwasi.executor.seccomp_profile import compiled  # late: bundles made by hand have none

    return compiled(spec.linux.seccomp, options.cache_root)


def _mount_sources(context: InitContext) -> dict[int, int]:
    """Open what the child may not open or map from inside its user namespace."""
    if not context.userns and not any(_asks_for_map(mount) for mount in context.spec.mounts):
        return {}
    from runwasi.executor.mounts.mount_sources import open_mount_sources  # late: few containers need it

    return open_mount_sources(context.spec, context.bundle_path, context.rootfs, context.userns)


def _asks_for_map(mount: Mount) -> bool:
    return bool(mount.uid_mappings) or "idmap" in mount.options or "ridmap" in mount.options
