"""Deletes a container: removes everything made for it, and frees its id.

Everything here is an operation. Other processes do work that could block: an unmount, a call to systemd, a hook.
"""

from __future__ import annotations

from errno import ELOOP, ENOENT, ENOTDIR, ESTALE

from runwasi.executor.errors import ContainerError, NotFound, describe
from runwasi.executor.lifecycle.container import Container
from runwasi.executor.lifecycle.status import require
from runwasi.executor.lifecycle.store import Damaged, HalfMade, StateFolder
from runwasi.linux.waiting import finish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runwasi.linux.cgroups import Cgroup
    from runwasi.linux.waiting import Operation
    from runwasi.oci.spec import Spec

_ATTEMPTS = 1000
_MOVED = (ELOOP, ENOENT, ENOTDIR, ESTALE)


def delete(container: Container, *, force: bool = False) -> Operation[None]:
    """Remove everything made for a container, and run its poststop hooks; with force, kill it first.

    Raises WrongStatus when it has not stopped.
    """
    if force:
        yield from container.end()
    else:
        require("delete", container.id, container.status())
    container.cgroup.kill()  # with a shared pid namespace, some outlive the first process
    yield from remove_cgroup(container.cgroup)
    if group := container.saved.resctrl:
        from runwasi.linux import resctrl  # late: few hosts have it

        resctrl.leave(group, container.id, remove=group == container.id)
    yield from _take_down(container)


def delete_forced(root: str, container_id: str, warn: Callable[[str], None] | None = None) -> Operation[None]:
    """Remove a container in any status, even a half-made one of a killed creator, or none at all."""
    try:
        container = Container.load(root, container_id, warn)
    except NotFound:
        return
    except HalfMade:
        StateFolder(root, container_id).remove()
        return
    except Damaged as error:
        if warn:
            warn(f"{error}: its folder is deleted, but a process, mounts or a cgroup of it would be left")
        StateFolder(root, container_id).remove()
        return
    try:
        yield from delete(container, force=True)
    except Damaged as error:
        container.warn(f"deleted as far as it is known: {error}")
        container.folder.remove()
    except OSError as error:
        raise ContainerError(f"delete {container_id}: {describe(error)}", errno=error.errno or 0) from None


def remove_cgroup(cgroup: Cgroup) -> Operation[None]:
    """Remove a cgroup, and tell systemd if it made it. Raises OSError or ContainerError."""
    if not cgroup.unit:
        yield from cgroup.remove()
        return
    from runwasi.executor.parent import errands  # late: only with systemd, whose answers take their time
    from runwasi.linux.cgroups import units  # noqa: F401  here, so that the process below need not

    yield from errands.run(lambda: finish(cgroup.remove()), f"having systemd stop {cgroup.unit}")


def unmount(container: Container) -> Operation[None]:
    """Unmount the mounts in the rootfs of a container without a mount namespace: they are in ours."""
    from runwasi.executor.parent import errands  # late: few containers are without a mount namespace

    saved = container.saved
    yield from errands.run(
        lambda: _unmount(saved.rootfs, list(saved.mounted_before)), f"unmounting what is below {saved.rootfs}"
    )


def _unmount(rootfs: str, before: list[str]) -> None:
    """Unmount the mounts below rootfs, except earlier ones.

    The destinations are not needed: links on their paths may have been changed by the container since. Whoever
    shares the rootfs may still exchange folders for links out of it, so each mount is unmounted by its id, and
    looked for again where its path has changed. Raises OSError if that goes on.
    """
    from runwasi.linux import mounts  # late, as above

    for left in reversed(range(_ATTEMPTS)):
        try:
            for number, point in _made_since(before, mounts.mounts_below(rootfs)):
                mounts.detach_mount(number, point)
            return
        except OSError as error:
            if error.errno not in _MOVED or not left:
                raise


def _made_since(before: list[str], found: dict[int, str]) -> list[tuple[int, str]]:
    """Return the found mounts, latest first, without the earliest at each mount point that was one before."""
    kept, made = list(before), []
    for number, point in reversed(found.items()):
        if point in kept:
            kept.remove(point)
        else:
            made.append((number, point))
    return made[::-1]


def run_poststop_hooks(container: Container) -> Operation[None]:
    """Run the poststop hooks: runtime.md#lifecycle, step 13. One that fails is a warning."""
    if container.spec.hooks.poststop:
        from runwasi.executor.lifecycle import hooks  # late: few containers have any

        state = container.oci_state("stopped").to_json().encode()
        yield from hooks.run_each("poststop", container.spec.hooks.poststop, state, container.warn)


def _take_down(container: Container) -> Operation[None]:
    """Undo everything outside the container's namespaces, free its id, and run its hooks."""
    spec: Spec | None = None
    try:
        spec = container.spec
    except (OSError, Damaged):  # the creator died before it wrote the configuration
        pass
    if spec is not None and not spec.linux.has("mount"):
        yield from unmount(container)
    container.folder.remove()
    container.close()
    if spec is not None:
        yield from run_poststop_hooks(container)
