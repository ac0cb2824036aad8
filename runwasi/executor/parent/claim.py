"""Claims a container's id, and records everything that will be made for it, before anything is made.

So delete finds everything, even if the creator is killed at any moment.
"""

from __future__ import annotations

import os
import time
from errno import EACCES

from runwasi.executor.errors import ContainerError, describe
from runwasi.executor.lifecycle.container import Container
from runwasi.executor.lifecycle.deletion import remove_cgroup, unmount
from runwasi.executor.lifecycle.store import CONFIG, NATIVE, VERSION, Saved, StateFolder
from runwasi.linux import cgroups, mounts, processes
from runwasi.oci.record import replaced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from runwasi.executor.plan.bundle import Bundle
    from runwasi.executor.plan.create_options import CreateOptions
    from runwasi.executor.undo import Undo
    from runwasi.linux.cgroups import Cgroup
    from runwasi.oci.linux import IntelRdt


def claim(root: str, container_id: str, bundle: Bundle, options: CreateOptions, undo: Undo) -> Container:
    """Claim the id below the state root, and make the container's cgroup.

    Raises AlreadyExists, Invalid or ContainerError.
    """
    folder = StateFolder(root, container_id)
    folder.claim()
    undo.add(folder.remove)
    if options.timing is not None:
        options.timing.keep(folder.path)
    cgroup = _cgroup(folder, bundle, options)
    _refuse_inhabited(cgroup)
    folder.write(CONFIG, bundle.raw)
    saved = _first_record(folder, bundle, options, cgroup)
    folder.save(saved)
    undo.add(remove_cgroup, cgroup)
    cgroup.create()
    container = Container(folder, saved, options.warn, bundle.spec, cgroup)
    if not bundle.spec.linux.has("mount"):
        undo.add(unmount, container)
    if saved.rootless:  # some directories may have been left out because we may not make them
        if bundle.spec.linux.cgroups_path and not options.systemd_cgroup:
            _refuse_left_out(saved.cgroup_paths, cgroup.paths())
        container.save(replaced(saved, cgroup_paths=cgroup.paths()))
        if not any(cgroup.paths().values()) and not bundle.spec.linux.has("pid"):
            container.warn(_UNBOUND)
    return container


def _refuse_left_out(asked: Mapping[str, str], made: Mapping[str, str]) -> None:
    """Refuse a cgroup that lacks a part if the configuration names the path: only the default path may lack some."""
    for name, path in asked.items():
        if made.get(name) != path:
            why = f"unable to apply cgroup configuration: {path}: permission denied ($.linux.cgroupsPath)"
            raise ContainerError(why, errno=EACCES)


_UNBOUND = (
    "without a cgroup and a pid namespace, processes that leave the first one's sight outlive the container."
    " Such configuration is strongly discouraged"
)


def _first_record(folder: StateFolder, bundle: Bundle, options: CreateOptions, cgroup: Cgroup) -> Saved:
    return Saved(
        version=VERSION,
        id=folder.id,
        bundle=bundle.path,
        rootfs=bundle.rootfs,
        created=_now(),
        owner=os.geteuid(),
        creator_pid=os.getpid(),
        creator_start_time=processes.start_time(os.getpid()),
        cgroup_paths=cgroup.paths(),
        systemd=options.systemd_cgroup,
        rootless=options.rootless or options.no_cgroup,
        kind=NATIVE,
        engine=options.engine if isinstance(options.engine, str) else options.engine.name,
        resctrl=_resctrl_group(bundle.spec.linux.intel_rdt, folder.id),
        mounted_before=() if bundle.spec.linux.has("mount") else tuple(mounts.mounted_below(bundle.rootfs)),
    )


def _cgroup(folder: StateFolder, bundle: Bundle, options: CreateOptions) -> Cgroup:
    if options.no_cgroup:  # treat it as one that could not be made, which rootless containers tolerate
        return cgroups.cgroup_from({}, rootless=True)
    path = bundle.spec.linux.cgroups_path
    if not path:
        path = f":runwasi:{folder.id}" if options.systemd_cgroup else folder.id
    return _cgroup_at(path, options.systemd_cgroup, options.rootless, bundle.spec.annotations)


def _refuse_inhabited(cgroup: Cgroup) -> None:
    """Refuse a cgroup that is frozen or has other processes: they would share its limits and be killed with it."""
    if others := cgroup.pids():
        raise ContainerError(
            f"container's cgroup is not empty: {len(others)} process(es) found ($.linux.cgroupsPath)"
        )
    if cgroup.frozen():
        raise ContainerError("container's cgroup unexpectedly frozen ($.linux.cgroupsPath)")


def _cgroup_at(path: str, systemd: bool, rootless: bool, annotations: Mapping[str, str]) -> Cgroup:
    properties = []
    if systemd:
        from runwasi.executor.limits.limits_systemd import annotated  # late: only with this driver

        properties = annotated(annotations)
    try:
        return cgroups.cgroup_at(path, systemd=systemd, rootless=rootless, properties=properties)
    except OSError as error:
        raise ContainerError(f"{describe(error)} ($.linux.cgroupsPath)", errno=error.errno or 0) from None


def _resctrl_group(rdt: IntelRdt | None, container_id: str) -> str:
    """Return the container's resctrl group: the closID, or one of its own; "" for none."""
    return "" if rdt is None else rdt.clos_id or container_id


def _now() -> str:
    """Return the time as RFC 3339 with nanoseconds, in UTC."""
    nanoseconds = time.time_ns()
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"
