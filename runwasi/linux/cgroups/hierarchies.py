"""Finds the mounted cgroup hierarchies, and this process's place in them.

Three layouts exist: v1 (one hierarchy per controller or group of controllers), v2 (one for all), and hybrid
(v1 for the controllers, with a v2 hierarchy without controllers beside it). Hybrid counts as v1, with the unified
hierarchy as one more directory to join. Source: man 7 cgroups; Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

from errno import EINVAL, ENOENT

from runwasi.linux.cgroups.tree import read_file

UNIFIED = ""
"""The name under which the v2 hierarchy appears among v1 controllers, as in /proc/self/cgroup."""

_USUAL_PLACE = "/sys/fs/cgroup"


class Hierarchy:
    """One mounted hierarchy: its controllers, its mount point, and the directory that is mounted."""

    __slots__ = ("controllers", "mount_point", "root")

    def __init__(self, controllers: tuple[str, ...], mount_point: str, root: str) -> None:
        self.controllers = controllers
        self.mount_point = mount_point
        self.root = root

    def directory(self, path: str) -> str:
        """Return the directory of an absolute path in this hierarchy, relative to the mount point."""
        return self.mount_point if path == "/" else self.mount_point + path

    def visible(self, own_path: str) -> str:
        """Convert a path of /proc/self/cgroup to one relative to the mount point.

        They differ if only a part of the hierarchy is mounted, as in containers without a cgroup
        namespace. Raises OSError if the path is outside the mounted part.
        """
        root = self.root.rstrip("/")
        if own_path.startswith("/..") or not (own_path + "/").startswith(root + "/"):
            raise OSError(ENOENT, "this process's cgroup is outside the mounted hierarchy", self.mount_point)
        return own_path[len(root) :] or "/"


class Layout:
    """The version in charge (1 or 2), and all hierarchies."""

    __slots__ = ("hierarchies", "version")

    def __init__(self, version: int, hierarchies: tuple[Hierarchy, ...]) -> None:
        self.version = version
        self.hierarchies = hierarchies


_layout: Layout | None = None


def layout() -> Layout:
    """Return this machine's layout; mountinfo is read once per process.

    Raises OSError if no hierarchy is mounted.
    """
    global _layout  # noqa: PLW0603  a cache: only an administrator changes the layout
    if _layout is None:
        _layout = parse_mountinfo(read_file("/proc/self/mountinfo"))
    return _layout


def own_paths() -> dict[str, str]:
    """Return this process's path in each hierarchy, by controller (man 7 cgroups, /proc/[pid]/cgroup)."""
    return parse_own_cgroups(read_file("/proc/self/cgroup"))


def parse_mountinfo(text: str) -> Layout:
    """Return the hierarchies in the text of a mountinfo file (man 5 proc_pid_mountinfo).

    Of several mounts of one controller, the first below /sys/fs/cgroup counts, otherwise the first: bind
    mounts for containers come later. Only a newline ends a line: names may have the other characters that
    str.splitlines takes for an end, and the kernel does not escape them.
    """
    usual: list[Hierarchy] = []
    elsewhere: list[Hierarchy] = []
    version = 2
    for line in text.split("\n"):
        if " - cgroup" not in line:
            continue
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind not in ("cgroup", "cgroup2"):
            continue
        root, mount_point = (_unescape(field) for field in before.split(" ", 5)[3:5])
        if kind == "cgroup":
            version = 1
        controllers = (UNIFIED,) if kind == "cgroup2" else _controllers(options)
        hierarchy = Hierarchy(controllers, mount_point, root)
        if mount_point == _USUAL_PLACE and kind == "cgroup2":
            return Layout(2, (hierarchy,))
        (usual if mount_point.startswith(_USUAL_PLACE) else elsewhere).append(hierarchy)
    return Layout(version, _first_of_each(usual + elsewhere))


def parse_own_cgroups(text: str) -> dict[str, str]:
    """Parse lines of "number:controllers:path" to a path per controller; the v2 line has no controller.

    Lines end as in parse_mountinfo.
    """
    paths = {}
    for line in filter(None, text.split("\n")):
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = path
    return paths


def clean(path: str) -> str:
    """Normalise a requested cgroup path; it stays absolute or relative.

    Raises OSError (EINVAL) for "..", and for a path without a directory of its own: a container must not be
    placed outside the part of the tree that its creator named.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise OSError(EINVAL, "a cgroup path must not contain '..'", path)
    if not parts or "\0" in path or "\n" in path:
        raise OSError(EINVAL, "not the path of a cgroup below the root", path)
    return ("/" if path.startswith("/") else "") + "/".join(parts)


def _controllers(options: str) -> tuple[str, ...]:
    """Return the controllers, or the hierarchy's name, from a v1 mount's super block options."""
    flags = {"rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "favordynmods", "none"}
    return tuple(
        option
        for option in options.split(",")
        if option not in flags and not option.startswith("release_agent=")
    )


def _first_of_each(hierarchies: list[Hierarchy]) -> tuple[Hierarchy, ...]:
    seen: set[str] = set()
    first = []
    for hierarchy in hierarchies:
        if not seen.intersection(hierarchy.controllers):
            seen.update(hierarchy.controllers)
            first.append(hierarchy)
    if not first:
        mend = f"mount -t cgroup2 cgroup2 {_USUAL_PLACE}"
        raise OSError(ENOENT, f"no cgroup hierarchy is mounted; to mend: {mend}", _USUAL_PLACE)
    return tuple(first)


def _unescape(field: str) -> str:
    """Undo mountinfo's octal escapes of space, tab, newline and backslash."""
    if "\\" not in field:
        return field
    head, *rest = field.split("\\")
    return head + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)
