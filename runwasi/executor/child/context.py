"""Everything the child side knows: what Creation prepared and what the steps find out on their way."""

from __future__ import annotations

from runwasi.engines.engine import Stdio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runwasi.engines.engine import Engine
    from runwasi.executor.protocol import Channel
    from runwasi.executor.workload.choose import Native, Parent
    from runwasi.executor.workload.wasm_module import Wasm
    from runwasi.linux.processes import CommandLine
    from runwasi.linux.seccomp_filter import Filter
    from runwasi.oci.process import Process
    from runwasi.oci.spec import Hook, Spec


ROOT_SOURCE = -1
"""Key of the rootfs itself among the sources of mounts; the others are indices of $.mounts."""


class ChildContext:
    """What every process of a container needs: the first one and those that exec adds."""

    def __init__(self, container_id: str, spec: Spec, process: Process, channel: Channel) -> None:
        self.id = container_id
        self.spec = spec
        self.process = process
        self.channel = channel
        self.stdio = Stdio()
        self.console_socket = -1
        """A connected unix socket that the pty's master is sent to when process.terminal is set."""
        self.preserve_fds = 0
        """How many descriptors from 3 on the process inherits."""
        self.no_new_keyring = False
        self.pid = 0
        """This process as the host numbers it."""
        self.waits = True
        """The first step needs what the parent does for us; else only the end of the set-up does."""
        self.namespaces: list[tuple[str, int]] = []
        """(kind, descriptor) of each namespace to join, in the order to join them."""
        self.cgroup_paths: dict[str, str] = {}
        """The directories of the container's cgroup, by hierarchy."""
        self.cgroup_tasks: tuple[int, ...] = ()
        """Descriptors to write "0" to, each of which puts us into the container's cgroup of one hierarchy."""
        self.proc_fd = -1
        """The host's /proc, checked to be one: writes through it cannot be redirected by the rootfs."""
        self.guest_procfs = -1
        """A mount of a procfs without processes for a guest's view, -1 without; at first one to be copied."""
        self.guest_view: tuple[int, ...] = ()
        """Descriptors of the root of the mounts as a guest sees them, and of their namespace, which keeps them."""
        self.start_hooks: tuple[Hook, ...] = ()
        """What runs in the container right before its program; exec has none."""
        self.enters_view_late = False
        """The view is entered after the startContainer hooks, which are programs and see the container whole."""
        self.root_fd = -1
        """O_PATH descriptor of the container's root; for the first process mount_rootfs sets it."""
        self.keeps_root = False
        """A process that joins enters no mount namespace, so root_fd has to become its root."""
        self.userns = False
        """The process is in a user namespace other than ours, new or joined."""
        self.seccomp: Filter | None = None
        self.load_engine: Callable[[], Engine]
        self.may_fetch_layers = False
        self.parent: Parent | None = None
        """What wasm needs of the creating process, with the engine loaded, when the program may be wasm."""
        self.workload: Native | Wasm
        self.command_line: CommandLine
        """What ps is to show of it until its program does."""
        self.env: tuple[str, ...] = process.env
        self.left_to_parent: tuple[str, ...] = ()
        """What the parent, which has more rights, must set once we are ready: fields of READY."""
        self.verdict = channel
        """Where a failure of the last steps is told; it is close-on-exec, so its end says that all went well."""

    def kept_fds(self) -> set[int]:
        """Return the descriptors that the steps need: all others are the creating process's."""
        # 0, 1 and 2 stay taken until they are the process's own: what a step opens must not be overwritten then.
        kept = {
            0,
            1,
            2,
            *self.stdio.fds(),
            self.channel.fileno(),
            self.proc_fd,
            self.guest_procfs,
            self.root_fd,
            self.console_socket,
        }
        kept.update(fd for _, fd in self.namespaces)
        kept.update(self.cgroup_tasks)
        kept.update(range(3, 3 + self.preserve_fds))
        return kept - {-1}

    def lasting_fds(self) -> set[int]:
        """Return the descriptors that must live until the workload."""
        wasm = self.parent.fds() if self.parent else ()
        return {0, 1, 2, *range(3, 3 + self.preserve_fds), self.channel.fileno(), *wasm, *self.guest_view}


class InitContext(ChildContext):
    """What the container's first process needs beyond that: it makes the root, and waits at the start gate."""

    def __init__(self, container_id: str, spec: Spec, process: Process, channel: Channel) -> None:
        super().__init__(container_id, spec, process, channel)
        self.start_hooks = spec.hooks.start_container
        self.bundle_path = ""
        self.rootfs = ""
        """The rootfs on the host, absolute."""
        self.no_pivot = False
        self.new_netns = False
        self.mount_sources: dict[int, int] = {}
        """Index of $.mounts -> a descriptor of its source that the parent opened."""
        self.readonly_later: list[int] = []
        """Descriptors of mounts that become read-only once the steps have filled them."""
        self.gate = -1
        """Listening unix socket; whoever connects starts the container."""

    def lasting_fds(self) -> set[int]:
        """Return the descriptors that must live until the workload."""
        return super().lasting_fds() | {self.gate}

    def kept_fds(self) -> set[int]:
        """Return the descriptors that the steps need."""
        return (super().kept_fds() | {self.gate, *self.mount_sources.values()}) - {-1}
