"""Defines the parts of the limits in both cgroup versions: each has a controller, and a function that sets it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from runwasi.linux.cgroups import Cgroup
    from runwasi.oci.resources import Resources

    Setter: TypeAlias = Callable[[Cgroup, Resources], None]
    Part: TypeAlias = tuple[str, str, Callable[[Resources], object], Setter]
    """The member of $.linux.resources, its controller, whether it was asked for, and what sets it."""

ROOT = "$.linux.resources"


def write(cgroup: Cgroup, controller: str, file: str, value: object) -> None:
    """Write a value that is a number or text."""
    cgroup.write(controller, file, str(value))


def write_if_there(cgroup: Cgroup, controller: str, file: str, value: object) -> bool:
    """Write a value, and return True; return False if this kernel has no such file."""
    try:
        write(cgroup, controller, file, value)
    except FileNotFoundError:
        return False
    return True
