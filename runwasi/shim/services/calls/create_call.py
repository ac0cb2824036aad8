"""Answers Create: mounts the rootfs, opens the streams and creates the container, one operation after another.

Long work (a mount, the start of a logger, the fetch of an image layer, a compilation, a hook) happens in
other processes, while the reactor serves the pod's other calls. If anything fails, or the call is cancelled,
everything is undone.
"""

from __future__ import annotations

import os

import runwasi.executor.parent.equip  # noqa: F401  now: the first container need not wait for it
from runwasi.executor.errors import Invalid
from runwasi.executor.lifecycle.deletion import delete
from runwasi.executor.parent.creation import create
from runwasi.executor.plan.create_options import CreateOptions
from runwasi.executor.process.process_settings import write_pid_file
from runwasi.executor.undo import Undo
from runwasi.node.state_roots import shim_root
from runwasi.oci.record import replaced
from runwasi.shim.services.calls.bundle_folder import BundleFolder
from runwasi.shim.services.calls.fetch_layers import ImageLayers, Images
from runwasi.shim.services.calls.runtime_options import runtime_options
from runwasi.shim.services.rootfs.mounters import mount_rootfs, unmount_rootfs
from runwasi.shim.state_root import PID_FILE, note_root
from runwasi.shim.streams.process_streams import StreamPaths, Streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from runwasi.engines.engine import Engine
    from runwasi.executor.criu.restore import Restoration
    from runwasi.executor.lifecycle.container import Container
    from runwasi.executor.plan.bundle import Bundle
    from runwasi.executor.telemetry.timing import Timing
    from runwasi.linux.waiting import Operation
    from runwasi.shim.server.log import Log
    from runwasi.shim.server.reactor import Reactor
    from runwasi.shim.services.rootfs.mounters import Mounters
    from runwasi.shim.traces.tracing import Tracer
    from runwasi.wire.messages.options import Options
    from runwasi.wire.messages.task import CreateTaskRequest


class Pod:
    """The facts that all Create calls of a server share."""

    __slots__ = (
        "containerd",
        "engine",
        "engine_name",
        "environment",
        "guest_procfs",
        "images",
        "log",
        "mounters",
        "namespace",
        "reactor",
        "tracer",
    )

    def __init__(
        self,
        reactor: Reactor,
        log: Log,
        engine: str | Engine,
        engine_name: str,
        namespace: str,
        containerd: str,
        environment: Mapping[str, str],
        images: Images,
    ) -> None:
        self.guest_procfs: int | None = None
        """A procfs without processes, once there is time to make one, for the views of guests."""
        self.mounters: Mounters | None = None
        """Processes that mount for many pods; without them each mount has an errand of its own."""
        self.tracer: Tracer | None = None
        """Makes spans, if traces are on."""
        self.environment = environment
        self.images = images
        self.reactor = reactor
        self.log = log
        self.engine = engine
        self.engine_name = engine_name
        self.namespace = namespace
        self.containerd = containerd


class Creating:
    """A Create call in progress."""

    def __init__(self, pod: Pod, request: CreateTaskRequest, *, timed: bool = False) -> None:
        self._pod = pod
        self._request = request
        self.timing: Timing | None = None
        """The times at which steps ended, if somebody asked."""
        if timed or pod.log.tells_details:
            from runwasi.executor.telemetry.timing import Timing  # late: only for traces and -debug

            self.timing = Timing()
        self._undo = Undo()
        self.restoration: Restoration | None = None
        """The restoration that Start must run, for a container from a checkpoint."""
        self.paths = StreamPaths(request.stdin, request.stdout, request.stderr, request.terminal)
        self.options = runtime_options(request.options)
        self.root = shim_root(pod.engine_name, pod.namespace, self.options.root)
        self.streams: Streams
        self._folder: BundleFolder

    def run(self) -> Operation[Container]:
        """Create the container. Raises ContainerError or OSError, with nothing left behind."""
        return (yield from self._undo.around(self._run()))

    def _run(self) -> Operation[Container]:
        request, options = self._request, self.options
        folder = self._folder = BundleFolder(request.bundle, self.root)
        if options.root:
            yield from folder.do(
                lambda: note_root(request.bundle, options.root), f"writing into {request.bundle}"
            )
        mounters = self._pod.mounters
        if request.rootfs:
            self._undo.add(lambda: unmount_rootfs(folder, mounted=True, mounters=mounters))
        yield from mount_rootfs(request.rootfs, request.bundle, mounters)
        owner = (options.io_uid, options.io_gid)
        pod = self._pod
        self.streams = Streams(
            pod.reactor, self.paths, request.id, pod.namespace, owner, pod.environment, pod.log
        )
        self._undo.add(self.streams.close)
        yield from self.streams.ready()
        bundle = yield from folder.load()
        _take_terminal(bundle, request)
        return (yield from self._make(bundle))

    def _make(self, bundle: Bundle) -> Operation[Container]:
        """Make the container itself; from a checkpoint it has no process until Start."""
        request, options = self._request, self._create_options()
        if request.checkpoint:
            from runwasi.shim.services.calls.restore_call import begin  # late: few hosts have criu

            self.restoration = yield from begin(
                self.root, request, bundle, options, self.options.criu_work_path
            )
            return self.restoration.container
        container = yield from create(self.root, request.id, bundle, options)
        self._undo.add(lambda: delete(container, force=True))
        self.streams.handed_over()
        pid_file = os.path.join(request.bundle, PID_FILE)
        yield from self._folder.do(lambda: write_pid_file(pid_file, container.pid), f"writing {pid_file}")
        return container

    def _create_options(self) -> CreateOptions:
        options: Options = self.options
        pod = self._pod
        images = ImageLayers(pod.images, pod.containerd, pod.namespace, self._request.id)
        return CreateOptions(
            stdio=self.streams.stdio,
            console_socket=self.streams.console_socket,
            systemd_cgroup=options.systemd_cgroup,
            no_pivot=options.no_pivot_root,
            no_new_keyring=options.no_new_keyring,
            engine=pod.engine,
            guest_procfs=pod.guest_procfs,
            images=images if pod.containerd else None,
            timing=self.timing,
            warn=pod.log.warning,
        )


def _take_terminal(bundle: Bundle, request: CreateTaskRequest) -> None:
    """Let the request override process.terminal: the client has the terminal's other end. Raises Invalid."""
    process = bundle.spec.process
    if process is None:
        raise Invalid("$.process: is required to create a container")
    if process.terminal != request.terminal:
        bundle.spec = replaced(bundle.spec, process=replaced(process, terminal=request.terminal))
