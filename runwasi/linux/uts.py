"""Sets the names of this process's uts namespace."""

from __future__ import annotations

import os

from runwasi.linux.libc import check, libc


def set_hostname(name: str) -> None:
    """Set the host name; at most 64 bytes. Raises OSError. Source: man 2 sethostname."""
    encoded = os.fsencode(name)
    check(libc.sethostname(encoded, len(encoded)), "sethostname", name)


def set_domainname(name: str) -> None:
    """Set the NIS domain name; at most 64 bytes. Raises OSError. Source: man 2 setdomainname."""
    encoded = os.fsencode(name)
    check(libc.setdomainname(encoded, len(encoded)), "setdomainname", name)
