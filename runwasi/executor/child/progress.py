"""Records how far the child has got: its plan never changes, and all that changes is here."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.executor.plan.process_plan import InitPlan, ProcessPlan
    from runwasi.executor.protocol import Channel
    from runwasi.executor.workload.request import Native, Parent
    from runwasi.executor.workload.wasm_module import Wasm
    from runwasi.linux.fd import Fd


class Progress:
    """The state of a child on its way to its program; every step takes this one object."""

    def __init__(self, plan: ProcessPlan, channel: Channel, *, waits: bool = True) -> None:
        self.plan = plan
        self.channel = channel
        self.verdict = channel
        """Descriptor to which the last steps report a failure; close-on-exec, so its end means that all went well."""
        self.waits = waits
        """Whether the first step needs the parent's work; otherwise only the last steps do."""
        self.pid = 0
        """This process as the host numbers it, once the parent has said it."""
        self.process = plan.process
        """The process to become: a module's is confined further than the plan's."""
        self.seccomp = plan.seccomp
        """The filter to load: a module has one of ours where the spec has none."""
        self.env: tuple[str, ...] = plan.process.env
        self.root = plan.root
        """The container's root; the first process opens it in mount_rootfs."""
        self.parent: Parent | None = None
        """The request to the creating process, with the engine loaded, when the program may be wasm."""
        self.workload: Native | Wasm | None = None
        """The workload, once it is chosen."""
        self.guest_procfs: Fd | None = None
        """A detached mount of a procfs without processes, for the view of a guest, where one could be made."""
        self.guest_view: tuple[int, ...] = ()
        """Descriptors of the root of the mounts as a guest sees them, and of their namespace, which keeps them."""
        self.enters_view_late = False
        """The view is entered after the startContainer hooks, which are programs and see the container whole."""
        self.left_to_parent: tuple[str, ...] = ()
        """Settings that the parent, which has more rights, must make once we are ready: fields of READY."""

    @property
    def root_fd(self) -> int:
        """The container's root as a number, for the steps from mount_rootfs on."""
        assert self.root is not None
        return self.root.fileno()

    def kept_fds(self) -> set[int]:
        """Return the descriptors that the steps need: all others are the creating process's."""
        return {*self.plan.kept_fds(), self.channel.fileno()}

    def lasting_fds(self) -> set[int]:
        """Return the descriptors that must live until the workload."""
        wasm = self.parent.fds() if self.parent else ()
        inherited = range(3, 3 + self.plan.preserve_fds)
        return {0, 1, 2, *inherited, self.channel.fileno(), *wasm, *self.guest_view}


class InitProgress(Progress):
    """The container's first process on its way."""

    plan: InitPlan

    def __init__(self, plan: InitPlan, channel: Channel, *, waits: bool) -> None:
        super().__init__(plan, channel, waits=waits)
        self.readonly_later: list[Fd] = []
        """Mounts that become read-only once the steps have filled them."""

    def lasting_fds(self) -> set[int]:
        """Return the descriptors that must live until the workload."""
        return super().lasting_fds() | {self.plan.gate.fileno()}
