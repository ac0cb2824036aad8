"""checkpoint and restore, with runc's options; CRIU does the work."""

from __future__ import annotations

import os

from runwasi.cli.bundles import DETACH, PID_FILE, absolute, load_bundle
from runwasi.cli.options import FLAG, NUMBER, Command, Option, UsageError
from runwasi.executor import checkpoint
from runwasi.executor.checkpoint import CheckpointOptions
from runwasi.executor.container import Container
from runwasi.executor.errors import WrongStatus
from runwasi.executor.options import CreateOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runwasi.cli.options import Given
    from runwasi.cli.settings import Settings

_IMAGE_OPTIONS = (
    Option("image-path", "folder of the checkpoint (default: checkpoint in the current one)", value="FOLDER"),
    Option("work-path", "folder for CRIU's log and temporary files", value="FOLDER"),
    Option("tcp-established", "allow open TCP connections", kind=FLAG),
    Option("ext-unix-sk", "allow external unix sockets", kind=FLAG),
    Option("shell-job", "allow a terminal that others use", kind=FLAG),
    Option("file-locks", "handle file locks", kind=FLAG),
    Option("auto-dedup", "remove memory pages from an image once a later one has them", kind=FLAG),
    Option("lazy-pages", "leave memory pages to be fetched when they are touched", kind=FLAG),
    Option(
        "manage-cgroups-mode",
        "accepted as runc has it; the container's cgroup is always made by us",
        value="MODE",
        hidden=True,
    ),
    Option("empty-ns", "create a namespace, but do not restore what is in it", value="network"),
)

_SWITCHES = (  # CRIU calls them the same
    *("tcp-established", "ext-unix-sk", "shell-job", "file-locks", "auto-dedup", "lazy-pages"),
)


def _dump_flags(given: Given) -> list[str]:
    """Return CRIU's switches that only a dump has."""
    flags = [name for name in ("link-remap",) if given.flag(name)]
    if given.flag("tcp-skip-in-flight"):
        flags.append("skip-in-flight")
    if given.text("page-server"):
        address, colon, port = given.text("page-server").rpartition(":")
        if not (colon and address and port.isdigit()):
            raise UsageError("Use --page-server ADDRESS:PORT to specify page server")
        flags += ["page-server", f"address={address}", f"port={port}"]
    if given.number("status-fd") >= 0:
        flags.append(f"status-fd={given.number('status-fd')}")
    return flags


def _images(given: Given, dump_flags: Sequence[str] = (), **more: str | bool) -> CheckpointOptions:
    namespace = given.text("empty-ns")
    if namespace not in ("", "network"):
        raise UsageError(f'--empty-ns: namespace "{namespace}" is not supported, only network')
    flags = [*(name for name in _SWITCHES if given.flag(name)), *dump_flags]
    if namespace:
        flags.append("empty-ns=net")
    return CheckpointOptions(
        given.text("image-path") or os.path.join(os.getcwd(), "checkpoint"),
        work_path=given.text("work-path"),
        flags=flags,
        **more,  # type: ignore[arg-type]
    )


_LABELS = ("lsm-profile", "lsm-mount-context")


def _checkpoint(given: Given, settings: Settings) -> int:
    container = Container.load(settings.root, given.arguments[0], settings.log.warning)
    if container.status() in {"created", "stopped"}:
        raise WrongStatus(f"Container cannot be checkpointed in {container.status()} state")
    options = _images(
        given,
        _dump_flags(given),
        parent_path=given.text("parent-path"),
        leave_running=given.flag("leave-running"),
        pre_dump=given.flag("pre-dump"),
    )
    checkpoint.checkpoint(container, options)
    if not (options.leave_running or options.pre_dump):
        container.delete(force=True)
    return 0


def _restore(given: Given, settings: Settings) -> int:
    container = checkpoint.restore(
        settings.root,
        given.arguments[0],
        load_bundle(given),
        CreateOptions(
            pid_file=absolute(given.text("pid-file")),
            systemd_cgroup=settings.systemd_cgroup,
            rootless=settings.rootless,
        ),
        _images(given, [f"{name}={given.text(name)}" for name in _LABELS if given.text(name)]),
    )
    if given.flag("detach"):
        container.close()
        return 0
    try:
        return container.wait()
    finally:
        container.delete(force=True)


COMMANDS = {
    "checkpoint": Command(
        "checkpoint",
        "save a running container to files, through criu",
        _checkpoint,
        arguments="ID",
        least=1,
        most=1,
        description="The container stops and is deleted, unless it is left running. WebAssembly cannot be saved.",
        options=(
            *_IMAGE_OPTIONS,
            Option("parent-path", "folder of an earlier --pre-dump, relative to the image's", value="FOLDER"),
            Option("leave-running", "let the container go on", kind=FLAG),
            Option("link-remap", "link deleted files that are open back while they are saved", kind=FLAG),
            Option("tcp-skip-in-flight", "skip TCP connections that are being made", kind=FLAG),
            Option("page-server", "send memory pages to a server", value="ADDRESS:PORT"),
            Option("status-fd", "descriptor that is told when lazy pages are ready", kind=NUMBER, default=-1),
            Option("pre-dump", "save only memory, and let the container go on", kind=FLAG),
        ),
    ),
    "restore": Command(
        "restore",
        "bring a container back from a checkpoint",
        _restore,
        arguments="ID",
        least=1,
        most=1,
        description="The bundle must be that of the container that was saved.",
        options=(
            Option("bundle", "path of the bundle (default: the current folder)", short="b", value="FOLDER"),
            *_IMAGE_OPTIONS,
            DETACH,
            PID_FILE,
            Option("lsm-profile", "label of the restored processes, TYPE:NAME", value="PROFILE"),
            Option("lsm-mount-context", "SELinux context of the restored mounts", value="LABEL"),
            Option("no-subreaper", "accepted as runc has it: we are the parent", kind=FLAG, hidden=True),
            Option("no-pivot", "accepted as runc has it: CRIU makes the root", kind=FLAG, hidden=True),
        ),
    ),
}
