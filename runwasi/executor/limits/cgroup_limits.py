"""Applies the spec's resources to a cgroup, in the order that the kernel requires.

Version 1 and 2 differ in nearly every file and unit, so each has its own module; their common part is here.
An absent limit needs no controller. A limit that cannot be set is an error that names it.
Source: runtime-spec config-linux.md#control-groups; values are converted as runc converts them.
"""

from __future__ import annotations

from runwasi.executor.errors import ContainerError, describe
from runwasi.executor.limits.limit_parts import ROOT
from runwasi.oci.decode import SpecError
from runwasi.oci.record import replaced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.linux.cgroups import Cgroup
    from runwasi.linux.cgroups.device_rules import DeviceRule
    from runwasi.oci.resources import Resources

_ANY = -1
# The default access: make any device node, and use the devices that every container has.
# Kind, major, minor, access; the same as in runc, because images rely on them.
_DEFAULT_DEVICES = (
    ("c", _ANY, _ANY, "m"),
    ("b", _ANY, _ANY, "m"),
    ("c", 1, 3, "rwm"),  # null
    ("c", 1, 5, "rwm"),  # zero
    ("c", 1, 7, "rwm"),  # full
    ("c", 1, 8, "rwm"),  # random
    ("c", 1, 9, "rwm"),  # urandom
    ("c", 5, 0, "rwm"),  # tty
    ("c", 5, 2, "rwm"),  # ptmx
    ("c", 10, 200, "rwm"),  # net/tun
    ("c", 136, _ANY, "rwm"),  # pts/*
)


def apply(cgroup: Cgroup, resources: Resources | None) -> None:
    """Set a new container's limits and its device rules.

    Raises SpecError for a limit whose controller is missing, ContainerError for one the kernel refuses.
    """
    _set_devices(cgroup, resources)
    if resources is not None:
        _set_all(cgroup, resources)


def update(cgroup: Cgroup, resources: Resources) -> None:
    """Change the given limits and leave the others; device rules, if given, replace the earlier ones.

    Raises as apply does.
    """
    if resources.devices:
        _set_devices(cgroup, resources)
    _set_all(cgroup, _with_whole_bandwidth(cgroup, resources))


def device_rules(resources: Resources | None) -> list[DeviceRule]:
    """Return the spec's device rules followed by those for the devices that every container has."""
    from runwasi.linux.cgroups.device_rules import DeviceRule

    rules = [
        DeviceRule(
            rule.allow,
            "c" if rule.type == "u" else rule.type or "a",
            _ANY if rule.major is None else rule.major,
            _ANY if rule.minor is None else rule.minor,
            "".join(sorted(set(rule.access or "rwm") & set("rwm"))),
        )
        for rule in (resources.devices if resources is not None else ())
    ]
    return rules + [DeviceRule(True, *default) for default in _DEFAULT_DEVICES]


def _with_whole_bandwidth(cgroup: Cgroup, resources: Resources) -> Resources:
    """Complete a lone CPU quota or period with the other one in force: version 2 and systemd take both together."""
    cpu = resources.cpu
    if cpu is None or bool(cpu.quota) == bool(cpu.period) or not cgroup.has("cpu"):
        return resources
    if cgroup.version == 2:
        quota, period = cgroup.read("cpu", "cpu.max").split()
    elif cgroup.unit:
        quota, period = (cgroup.read("cpu", f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    else:
        return resources
    in_force = -1 if quota == "max" else int(quota)
    whole = replaced(cpu, quota=cpu.quota or in_force, period=cpu.period or int(period))
    return replaced(resources, cpu=whole)


def _set_devices(cgroup: Cgroup, resources: Resources | None) -> None:
    try:
        cgroup.set_devices(device_rules(resources))
    except OSError as error:
        raise _refused("devices", error) from error


def _refuse_used_up(cgroup: Cgroup, resources: Resources) -> None:
    """Refuse limits below current usage, if the spec asks for that check: the kernel would kill processes."""
    memory = resources.memory
    if memory is None or not memory.check_before_update or not cgroup.has("memory"):
        return
    file = "memory.current" if cgroup.version == 2 else "memory.usage_in_bytes"
    used = int(cgroup.read("memory", file))
    for name, what, limit in (("swap", "memory+swap", memory.swap), ("limit", "memory", memory.limit)):
        if limit is not None and 0 < limit <= used:
            why = f"rejecting {what} limit {limit}: {used} bytes are in use"
            raise SpecError(f"{ROOT}.memory.{name}", why)


def _set_all(cgroup: Cgroup, resources: Resources) -> None:
    _refuse_used_up(cgroup, resources)  # before systemd learns of any limit
    if cgroup.unit:
        from runwasi.executor.limits import limits_systemd  # late: only with the systemd driver

        resources = limits_systemd.in_whole_percents(resources)
        cgroup.set_properties(limits_systemd.properties(resources, cgroup.version))
    if cgroup.version == 1:
        from runwasi.executor.limits.limits_v1 import PARTS  # late: a host has one version

        if resources.unified:
            raise SpecError(
                f"{ROOT}.unified", "invalid configuration: it needs cgroup v2, and this host has v1"
            )
    else:
        from runwasi.executor.limits.limits_v2 import PARTS
    for name, controller, asked, setter in PARTS:
        if not asked(resources):
            continue
        if controller and not cgroup.has(controller):
            why = f"container could not join or create cgroup: controller {controller} is not available"
            raise SpecError(f"{ROOT}.{name}", f"cannot set {name} limit: {why}")
        try:
            setter(cgroup, resources)
        except OSError as error:
            raise _refused(name, error) from error


def _refused(name: str, error: OSError) -> ContainerError:
    return ContainerError(f"{ROOT}.{name}: {describe(error)}", step="set_limits", errno=error.errno or 0)
