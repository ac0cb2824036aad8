"""Does the parent's part of the mounts: opens and maps sources that the child may not from its user namespace.

The child takes each by the index of its mount, and moves it into the root like any mount it makes itself.
"""

from __future__ import annotations

import os
from errno import EINVAL

from runwasi.executor.errors import ContainerError, describe
from runwasi.executor.mounts.apply_mounts import is_mapped, path_in_rootfs, source_path
from runwasi.executor.mounts.mount_options import parse
from runwasi.executor.plan.process_plan import ROOT_SOURCE
from runwasi.linux.fd import Fd, close_owned
from runwasi.linux.mount_fds import map_owners, open_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.executor.mounts.mount_options import MountOptions
    from runwasi.oci.linux import IdMapping
    from runwasi.oci.spec import Mount, Spec


def open_mount_sources(spec: Spec, bundle_path: str, rootfs: str, userns: bool) -> dict[int, Fd]:
    """Open the sources of binds, for a user namespace or an id mapping, as detached copies of mounts.

    The caller closes them. A rootless caller lacks the right for that: nothing is opened then, and the child
    can reach as much as we can. Raises ContainerError naming the mount.
    """
    sources: dict[int, Fd] = {}
    if userns:
        root = _open_root(rootfs)
        if root is None:
            return {}
        sources[ROOT_SOURCE] = root
    try:
        for index, mount in enumerate(spec.mounts):
            options = parse(mount.options)
            bind = options.bind or mount.type == "bind"
            if bind and path_in_rootfs(source_path(mount, bundle_path), rootfs):
                continue  # it may be in an earlier mount, which only the child will see
            if is_mapped(mount, options) or (userns and bind):
                sources[index] = Fd(_open_source(spec, bundle_path, index, mount, options))
    except ContainerError:
        close_owned(sources.values())
        raise
    return sources


def _open_root(rootfs: str) -> Fd | None:
    """Copy the rootfs's mount and those below it; return None without the right to. Raises ContainerError."""
    try:
        return Fd(open_tree(rootfs, recursive=True))
    except PermissionError:
        return None
    except OSError as error:
        why = describe(error)
        raise ContainerError(f"root {rootfs}: {why} ($.root.path)", errno=error.errno or 0) from None


def _open_source(spec: Spec, bundle_path: str, index: int, mount: Mount, options: MountOptions) -> int:
    where = f"$.mounts[{index}]"
    if not (options.bind or mount.type == "bind"):
        why = "only a bind mount can be id-mapped"
        raise ContainerError(f"mount {mount.destination}: {why} ({where}.options)")
    try:
        tree = open_tree(source_path(mount, bundle_path), recursive=options.recursive)
    except OSError as error:
        raise _failure(mount, f"{where}.source", error) from None
    if is_mapped(mount, options):
        try:
            map_source(spec, index, tree)
        except ContainerError:
            os.close(tree)
            raise
    return tree


def map_source(spec: Spec, index: int, tree: int) -> None:
    """Map the owners of files in a detached copy of the source of $.mounts[index]. Raises ContainerError."""
    mount = spec.mounts[index]
    try:
        _map_ids(spec, mount, tree, recursive=parse(mount.options).idmap_recursive)
    except OSError as error:
        member = "uidMappings" if mount.uid_mappings else "options"
        raise _failure(mount, f"$.mounts[{index}].{member}", error) from None


def _failure(mount: Mount, where: str, error: OSError) -> ContainerError:
    return ContainerError(f"mount {mount.destination}: {describe(error)} ({where})", errno=error.errno or 0)


def _map_ids(spec: Spec, mount: Mount, tree: int, *, recursive: bool) -> None:
    """Map the owners of the mount's files by its own mappings, otherwise by those of the container."""
    userns = _mapping_namespace(spec, mount)
    try:
        map_owners(tree, userns, recursive=recursive)
    finally:
        os.close(userns)


def _mapping_namespace(spec: Spec, mount: Mount) -> int:
    from runwasi.linux.idmap import IdMap, user_namespace_for  # late: few mounts are mapped
    from runwasi.linux.namespaces import open_namespace

    def maps(mappings: tuple[IdMapping, ...]) -> list[IdMap]:
        return [IdMap(item.container_id, item.host_id, item.size) for item in mappings]

    if mount.uid_mappings:
        return user_namespace_for(maps(mount.uid_mappings), maps(mount.gid_mappings))
    for namespace in spec.linux.namespaces:
        if namespace.type == "user" and namespace.path:
            return open_namespace(namespace.path, "user")
    if not spec.linux.uid_mappings:
        raise OSError(
            EINVAL, "an id-mapped mount needs mappings, its own or the container's", mount.destination
        )
    return user_namespace_for(maps(spec.linux.uid_mappings), maps(spec.linux.gid_mappings))
