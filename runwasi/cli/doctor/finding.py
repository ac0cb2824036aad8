"""Represents what one check of the doctor found."""

from __future__ import annotations

import os

OK, WARN, MISSING = "ok", "warn", "missing"


class Finding:
    """One line of the doctor.

    area    the part of the node
    status  ok, warn or missing
    says    what was found
    mend    the command or the action that fixes it; "" if there is nothing to do
    needed  whether no container can run without it
    unseen  whether the kernel forbade to look
    """

    __slots__ = ("area", "mend", "needed", "says", "status", "unseen")

    def __init__(
        self, area: str, status: str, says: str, mend: str = "", *, needed: bool = False, unseen: bool = False
    ) -> None:
        self.area = area
        self.status = status
        self.says = says
        self.mend = mend
        self.needed = needed
        self.unseen = unseen

    def is_fatal(self) -> bool:
        """Return whether no container can run because of it."""
        return self.needed and self.status == MISSING

    def members(self) -> dict[str, object]:
        """Return what --format json prints."""
        return {
            "area": self.area,
            "status": self.status,
            "says": self.says,
            "mend": self.mend,
            "needed": self.needed,
        }


def service(verb: str, name: str) -> str:
    """Return the command that starts, restarts or reloads a service; in words where systemd does not run."""
    if has_systemd():
        return f"systemctl {verb} {name}"
    return f"{verb} {name} (no systemd runs here)"


def has_systemd() -> bool:
    """Return whether systemd runs this machine. Source: man 3 sd_booted."""
    return os.path.isdir("/run/systemd/system")
