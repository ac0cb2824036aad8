"""Moves network devices of the host to another network namespace and back, with their settings.

It uses pyroute2, whose import takes 100 ms or more: import this module only if there is a device to move.
"""

from __future__ import annotations

import os
from errno import EEXIST, ENODEV, ESRCH

from pyroute2 import IPRoute  # type: ignore[import-untyped]
from pyroute2.netlink.exceptions import NetlinkError  # type: ignore[import-untyped]

from runwasi.linux.namespaces import entered, open_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_GLOBAL_SCOPE = 0  # RT_SCOPE_UNIVERSE, linux/rtnetlink.h
_IFA_F_PERMANENT = 0x80  # linux/if_addr.h
_KEPT = ("IFA_ADDRESS", "IFA_LOCAL", "IFA_BROADCAST", "IFA_FLAGS", "IFA_RT_PRIORITY")


def move(name: str, new_name: str, namespace: int) -> None:
    """Move device name to the network namespace of a descriptor, call it new_name there, and bring it up.

    It keeps its hardware address and MTU; the kernel drops its addresses, so the permanent ones of global scope
    are added again. Raises OSError: ENODEV if there is no such device, EEXIST if the name is taken there.
    Source: runtime-spec config-linux.md#network-devices, man 7 rtnetlink.
    """
    with IPRoute() as here:
        index = _index(here, name)
        addresses = _permanent_addresses(here, index)
        with entered(namespace, "net"):
            there = IPRoute()
        with there:
            if there.link_lookup(ifname=new_name):
                raise OSError(EEXIST, "the name is taken there", f"network device {new_name}")
            _call(name, here.link, "set", index=index, net_ns_fd=namespace, ifname=new_name)
            _set_up(there, new_name, addresses)


def move_back(name: str, new_name: str, namespace: int) -> None:
    """Undo move, with the same arguments. Raises OSError."""
    here = open_namespace("/proc/self/ns/net", "net")
    try:
        with entered(namespace, "net"):
            move(new_name, name, here)
    finally:
        os.close(here)


def _index(route: IPRoute, name: str) -> int:
    found = route.link_lookup(ifname=name)
    if not found:
        raise OSError(ENODEV, os.strerror(ENODEV), f"network device {name}")
    return int(found[0])


def _permanent_addresses(route: IPRoute, index: int) -> list[dict[str, Any]]:
    """Return the arguments to add the permanent addresses again; addresses of DHCP and of the link are not."""
    addresses = []
    for message in route.get_addr(index=index):
        flags = message.get_attr("IFA_FLAGS") or message["flags"]
        if message["scope"] == _GLOBAL_SCOPE and flags & _IFA_F_PERMANENT:
            attributes = {key: message.get_attr(key) for key in _KEPT}
            attributes = {key: value for key, value in attributes.items() if value is not None}
            addresses.append({"family": message["family"], "prefixlen": message["prefixlen"], **attributes})
    return addresses


def _set_up(route: IPRoute, name: str, addresses: list[dict[str, Any]]) -> None:
    index = _index(route, name)
    for address in addresses:
        _call(name, route.addr, "add", index=index, **address)
    _call(name, route.link, "set", index=index, state="up")


def _call(name: str, method: Any, *words: str, **attributes: Any) -> None:
    """Call a method of IPRoute, and turn its own kind of error into OSError."""
    try:
        method(*words, **attributes)
    except NetlinkError as error:
        code = error.code or ESRCH
        raise OSError(code, os.strerror(code), f"network device {name}") from None
