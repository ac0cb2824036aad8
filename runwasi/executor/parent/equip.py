"""Equips a container's first process from outside, once it is forked: ids, cgroup limits, devices.

A command line imports this after the fork, while the child is at work.
"""

from __future__ import annotations

import os

from runwasi.executor.errors import asked_by
from runwasi.executor.limits import cgroup_limits
from runwasi.executor.process.process_settings import set_oom_score_adj
from runwasi.linux import processes, scheduling
from runwasi.linux.fd import Fd
from runwasi.oci.record import replaced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.executor.lifecycle.container import Container
    from runwasi.executor.parent.namespace_fork import NamespacePlan
    from runwasi.executor.plan.bundle import Bundle
    from runwasi.executor.undo import Undo
    from runwasi.linux.cgroups import Cgroup
    from runwasi.linux.idmap import IdMap
    from runwasi.linux.processes import Child
    from runwasi.linux.waiting import Operation
    from runwasi.oci.linux import IdMapping, IntelRdt, Linux
    from runwasi.oci.resources import Resources


def equip(
    container: Container, bundle: Bundle, plan: NamespacePlan, child: Child, undo: Undo, *, entered: bool
) -> Operation[Fd | None]:
    """Record the child, and give it everything that it needs before it continues.

    With entered, it is in the cgroup already. Returns the descriptors to close after the commit. Raises
    ContainerError or OSError.
    """
    linux = bundle.spec.linux
    saved = replaced(container.saved, pid=child.pid, start_time=processes.start_time(child.pid))
    container.save(saved)
    container.pidfd = Fd(child.pidfd)
    if plan.makes("user"):
        _write_maps(child.pid, linux)
    yield from _confine(container.cgroup, linux.resources, 0 if entered else child.pid)
    if container.cgroup.version == 2:
        from runwasi.executor.limits.delegation import delegate  # late: not where version 1 is

        delegate(container.cgroup, bundle.spec)
    scheduling.reset_affinity(child.pid)
    set_oom_score_adj(child.pid, bundle.process.oom_score_adj)
    if saved.resctrl:
        _join_resctrl(saved.resctrl, child.pid, linux.intel_rdt, container.id)
    return (yield from _move_devices(linux, child.pid, undo)) if linux.net_devices else None


def _confine(cgroup: Cgroup, resources: Resources | None, pid: int) -> Operation[None]:
    """Move a process into the cgroup, unless pid is 0, and set the limits."""

    def work() -> None:
        if pid:
            cgroup.enter(pid)
        cgroup_limits.apply(cgroup, resources)

    if not cgroup.unit:
        work()
        return
    from runwasi.executor.parent import errands  # late: only with systemd, whose answers take their time
    from runwasi.linux.cgroups import units  # noqa: F401  here, so that the process below need not

    yield from errands.run(work, f"having systemd make {cgroup.unit}")
    cgroup.was_entered()


def _move_devices(linux: Linux, pid: int, undo: Undo) -> Operation[Fd]:
    """Move network devices into the namespace; if the creation fails, the undo moves them back.

    Another process does it: pyroute2 takes 100 ms to import, and the kernel lets only one at a time change devices.
    Returns the namespace.
    """
    from runwasi.executor.parent import errands  # late, as here: few containers have devices
    from runwasi.linux import namespaces

    joined = [item.path for item in linux.namespaces if item.type == "network" and item.path]
    network = namespaces.open_namespace(joined[0] if joined else f"/proc/{pid}/ns/net", "net")
    owned = Fd(network)
    undo.add(owned.close)
    names = [(name, device.name or name) for name, device in linux.net_devices.items()]

    def move_in() -> None:
        from runwasi.linux import netdevices

        for name, new_name in names:
            with asked_by(f'$.linux.netDevices["{name}"]'):
                netdevices.move(name, new_name, network)

    def move_back() -> None:
        from runwasi.linux import netdevices

        for name, new_name in reversed(names):
            try:
                netdevices.move_back(name, new_name, network)
            except OSError:  # that one was not moved
                continue

    undo.add(errands.run, move_back, "taking network devices back", (network,))
    yield from errands.run(move_in, "moving network devices", (network,))
    return owned


def _write_maps(pid: int, linux: Linux) -> None:
    from runwasi.linux import idmap  # late: only user namespaces

    rootless = os.geteuid() != 0
    with asked_by("$.linux.uidMappings"):
        idmap.write_uid_map(pid, _maps(linux.uid_mappings), rootless=rootless)
    with asked_by("$.linux.gidMappings"):
        idmap.write_gid_map(pid, _maps(linux.gid_mappings), rootless=rootless)


def _maps(mappings: tuple[IdMapping, ...]) -> list[IdMap]:
    from runwasi.linux.idmap import IdMap  # late, as above

    return [IdMap(item.container_id, item.host_id, item.size) for item in mappings]


def _join_resctrl(group: str, pid: int, rdt: IntelRdt | None, container_id: str) -> None:
    from runwasi.linux import resctrl  # late: few hosts have it

    assert rdt is not None
    schemata = (*filter(None, (rdt.l3_cache_schema, rdt.mem_bw_schema)), *rdt.schemata)
    with asked_by("$.linux.intelRdt"):
        resctrl.join(group, pid, schemata, container_id if rdt.enable_monitoring else "")
