"""Delegates a container's cgroup to its user, who may then make cgroups below it.

Version 2 only, where it is safe. Source: runtime-spec config-linux.md#cgroup-ownership; man 7 cgroups.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.linux.cgroups import Cgroup
    from runwasi.oci.spec import Spec

_LISTED = "/sys/kernel/cgroup/delegate"
_ALWAYS = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")


def delegate(cgroup: Cgroup, spec: Spec) -> None:
    """Delegate the cgroup to the user of the container's process, if the configuration requests that.

    A caller without privileges owns it already, or may not give it away. Raises OSError.
    """
    directory = cgroup.paths().get("", "") if cgroup.version == 2 else ""
    if not directory or os.geteuid() != 0:
        return
    uid = future_owner(spec)
    if uid is None:
        return
    os.chown(directory, uid, -1)
    for name in _files():
        try:
            os.chown(f"{directory}/{name}", uid, -1)
        except FileNotFoundError:  # a file of an absent controller
            continue


def future_owner(spec: Spec) -> int | None:
    """Return the host's uid that shall own the cgroup; None to leave its owner.

    Delegation takes a new cgroup namespace and a writable cgroup filesystem.
    """
    linux = spec.linux
    if spec.process is None or not any(item.type == "cgroup" and not item.path for item in linux.namespaces):
        return None
    writable = any(
        mount.source == "cgroup" and mount.destination == "/sys/fs/cgroup" and "ro" not in mount.options
        for mount in spec.mounts
    )
    if not writable:
        return None
    uid = spec.process.user.uid
    if not linux.has("user"):
        return uid
    for item in linux.uid_mappings:  # the mapping of a joined namespace is unknown
        if 0 <= uid - item.container_id < item.size:
            return item.host_id + uid - item.container_id
    return None


def _files() -> tuple[str, ...]:
    try:
        with open(_LISTED) as listed:
            return tuple(listed.read().split())
    except FileNotFoundError:  # before Linux 4.15
        return _ALWAYS
