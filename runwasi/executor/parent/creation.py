"""Creates a container: prepares everything before the fork, then answers the child until it is ready.

It is an operation. If anything fails, or the child dies, everything is undone before the error is raised.
"""

from __future__ import annotations

import os
from time import monotonic

from runwasi.executor.errors import ContainerError
from runwasi.executor.lifecycle import store
from runwasi.executor.lifecycle.container import Container
from runwasi.executor.lifecycle.deletion import run_poststop_hooks
from runwasi.executor.lifecycle.early_end import ended_uncreated
from runwasi.executor.parent.claim import claim
from runwasi.executor.parent.conversation import END, Conversation, engine_of
from runwasi.executor.parent.launch_process import common_plan, launch
from runwasi.executor.parent.namespace_fork import NamespacePlan, open_doors
from runwasi.executor.plan.process_plan import InitPlan
from runwasi.executor.protocol import (
    CREATE_RUNTIME,
    MAP_IDS,
    PRIORITIES,
    READY,
    WASM,
    Channel,
    ChannelMessage,
)
from runwasi.executor.undo import Undo
from runwasi.linux import processes, sockets
from runwasi.linux.fd import Fd, close_owned
from runwasi.linux.waiting import Wait
from runwasi.oci.record import replaced
from runwasi.startup.thin_socket import SOCK_SEQPACKET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.engines.engine import Engine
    from runwasi.executor.plan.bundle import Bundle
    from runwasi.executor.plan.create_options import CreateOptions
    from runwasi.linux.processes import Child
    from runwasi.linux.seccomp_filter import Filter
    from runwasi.linux.waiting import Operation
    from runwasi.oci.spec import Mount, Spec

_DYING = (
    10.0  # seconds that a child may take to die after it closed the channel; later the kernel is holding it
)


def create(root: str, container_id: str, bundle: Bundle, options: CreateOptions) -> Operation[Container]:
    """Claim the id below the state root, and create a container that waits to be started.

    Raises AlreadyExists, Invalid, SpecError or ContainerError with nothing left behind.
    """
    bundle.check()
    _check_privilege(bundle)
    undo = Undo()
    return (yield from undo.around(_create(root, container_id, bundle, options, undo)))


def _create(
    root: str, container_id: str, bundle: Bundle, options: CreateOptions, undo: Undo
) -> Operation[Container]:
    container = claim(root, container_id, bundle, options, undo)
    if options.timing is not None:
        options.timing.mark("claim")
    yield from Creation(container, bundle, options, undo).run()
    return container


def _check_privilege(bundle: Bundle) -> None:
    if os.geteuid() != 0 and not bundle.spec.linux.has("user"):
        raise ContainerError(
            "rootless container requires a user namespace ($.linux.namespaces):"
            " run as root, or take the configuration that `runwasi spec --rootless` writes"
        )


class Creation:
    """A container between claimed and created; the caller of run also runs the undo if that fails."""

    def __init__(self, container: Container, bundle: Bundle, options: CreateOptions, undo: Undo) -> None:
        self.container = container
        self._bundle = bundle
        self._options = options
        self._undo = undo
        self._conversation: Conversation
        self._enters_by_itself = False
        self._network: Fd | None = None

    def run(self) -> Operation[None]:
        """Prepare everything outside the container, fork, and answer the child until it waits at the start gate."""
        plan = NamespacePlan.of(self._bundle.spec.linux)
        try:
            child = yield from self._fork(plan)
            self._mark("fork")
            self._undo.add(processes.end, child.pidfd)
            yield from self._equip(child, plan)
            self._mark("equip")
        finally:
            plan.close()
        while (message := (yield from self._conversation.next_message())).kind != READY:
            yield from self._answer(message)
        self._mark("serve_the_child")
        if WASM in message.fields:
            self.container.save(replaced(self.container.saved, kind=store.WASM))
        yield from self._ready(priorities=PRIORITIES in message.fields)
        self._mark("finish_create")

    def _mark(self, step: str) -> None:
        if self._options.timing is not None:
            self._options.timing.mark(step)

    def _equip(self, child: Child, plan: NamespacePlan) -> Operation[None]:
        """Set up everything that the child gets from outside, then let it continue."""
        from runwasi.executor.parent import equip  # late: the child is at work meanwhile

        try:
            self._network = yield from equip.equip(
                self.container, self._bundle, plan, child, self._undo, entered=self._enters_by_itself
            )
            self._conversation.proceed(str(child.pid))
        except (ContainerError, OSError):
            yield from self._conversation.last_words()  # if the child failed, its message has the reason
            raise

    # before the fork

    def _fork(self, namespaces: NamespacePlan) -> Operation[Child]:
        """Fork the child; in it, never return."""
        channel, child_channel = Channel.pair()
        self._conversation = Conversation(channel, self._options, self._load_engine, self._forward_listener)
        self._undo.add(self._conversation.close)
        opened = Undo()
        opened.add(child_channel.close)
        return (yield from opened.around(self._launch(namespaces, child_channel, opened)))

    def _launch(self, namespaces: NamespacePlan, channel: Channel, opened: Undo) -> Operation[Child]:
        """Open the child's descriptors and fork it; from then on, the launch closes them."""
        container, bundle, options = self.container, self._bundle, self._options
        userns = namespaces.makes("user") or namespaces.joins("user")
        seccomp = yield from _compiled_filter(bundle.spec, options)
        mount_sources = yield from _mount_sources(bundle, options, userns)
        opened.add(close_owned, tuple(mount_sources.values()))
        gate = Fd(sockets.listen(f"{container.folder.path}/{store.CLOSED_GATE}", 1, kind=SOCK_SEQPACKET))
        opened.add(gate.close)
        doors = open_doors(namespaces, container.cgroup)
        if doors:
            opened.add(doors.close)
        common = common_plan(container, bundle.process, options, namespaces, doors, self._load_engine)
        plan = InitPlan(
            **common,  # type: ignore[arg-type]  # it says which members these are
            may_fetch_layers=options.images is not None,
            userns=userns,
            seccomp=seccomp,
            start_hooks=bundle.spec.hooks.start_container,
            gate=gate,
            tied=options.tied,
            timing=options.timing,
            bundle_path=bundle.path,
            rootfs=bundle.rootfs,
            no_pivot=options.no_pivot,
            new_netns=namespaces.makes("net"),
            mount_sources=mount_sources,
        )
        opened.commit()
        self._mark("open_sources")
        child = launch(plan, channel, namespaces, doors)
        self._enters_by_itself = doors is not None and not doors.shut
        return child

    def _load_engine(self) -> Engine:
        return engine_of(self._options, self._bundle.spec.annotations, self._bundle.process)

    # the child's requests

    def _answer(self, message: ChannelMessage) -> Operation[None]:
        if message.kind == END:
            raise (yield from self._death())
        if message.kind == CREATE_RUNTIME:
            yield from self._run_create_runtime_hooks()
        else:
            assert message.kind == MAP_IDS
            self._map_ids(message)
        self._conversation.proceed()

    def _map_ids(self, message: ChannelMessage) -> None:
        from runwasi.executor.mounts.mount_sources import map_source  # late: few containers need it

        (tree,) = message.fds
        try:
            map_source(self._bundle.spec, int(message.fields[0]), tree)
        finally:
            os.close(tree)

    def _forward_listener(self, listener: int) -> None:
        self.container.forward_listener(listener)

    def _run_create_runtime_hooks(self) -> Operation[None]:
        from runwasi.executor.lifecycle import hooks  # late: few containers have any

        spec_hooks = self._bundle.spec.hooks
        # what fails from here on ends where delete does: runtime.md#lifecycle, steps 3 to 5, 12 and 13
        self._undo.add_last(run_poststop_hooks, self.container)
        # the environment is made, which is when runtime.md#lifecycle calls a container created
        state = self.container.oci_state("created").to_json().encode()
        yield from hooks.run_all("prestart", spec_hooks.prestart, state)
        yield from hooks.run_all("createRuntime", spec_hooks.create_runtime, state)

    def _ready(self, *, priorities: bool) -> Operation[None]:
        """Set priorities and rlimits, show the gate, write the pid file, and commit."""
        from runwasi.executor.process.process_settings import (  # late, as in begin
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
        self._conversation.let_go()
        self._undo.commit()
        if self._network is not None:
            self._network.close()
        if self._options.tied:
            self.container.tie = self._conversation.tie()
        yield from self._conversation.close()

    def _death(self) -> Operation[ContainerError]:
        """Reap a child that died before it was ready; return an error that says how it died."""
        pidfd = self.container.open_pidfd()
        yield Wait((pidfd,), monotonic() + _DYING)
        return ended_uncreated(self._bundle.spec, processes.reap_if_ended(pidfd))


def _compiled_filter(spec: Spec, options: CreateOptions) -> Operation[Filter | None]:
    if spec.linux.seccomp is None:
        return None
    from runwasi.executor.process.seccomp_profile import compiled  # late: bundles made by hand have none

    return (yield from compiled(spec.linux.seccomp, options.cache_root))


def _mount_sources(bundle: Bundle, options: CreateOptions, userns: bool) -> Operation[dict[int, Fd]]:
    """Open the sources that the child may not open or map from its user namespace.

    A source may be on a hanging mount, so another process looks for it.
    """
    spec = bundle.spec
    if not userns and not any(_asks_for_map(mount) for mount in spec.mounts):
        return {}
    from runwasi.executor.mounts.mount_sources import open_mount_sources
    from runwasi.executor.parent import errands  # late: few containers need it

    def opened() -> errands.Answer:
        found = open_mount_sources(spec, bundle.path, bundle.rootfs, userns)
        return tuple(map(str, found)), tuple(fd.detach() for fd in found.values())

    kept = (*options.stdio.fds(), *range(3, 3 + options.preserve_fds))  # a source may name one of them
    answer = yield from errands.run(opened, "opening the sources of mounts", kept=kept)
    return dict(zip(map(int, answer.fields), map(Fd, answer.fds), strict=True))


def _asks_for_map(mount: Mount) -> bool:
    return bool(mount.uid_mappings) or "idmap" in mount.options or "ridmap" in mount.options
