"""Maps the handles by which a store knows a guest's resources to the Python objects behind them."""

from __future__ import annotations

from runwasi.wasi.component.capi import OUT, lib, word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.wasi.component.guest import Guest
    from runwasi.wasi.component.interface import Resource


def rep_of(handle: int, guest: Guest) -> int:
    """Return the number that a handle was made from; a borrowed or moved handle leaves the store's table."""
    error = lib.resource_any_to_host(guest.context, handle, OUT)
    if error:
        raise RuntimeError("the handle is not one that this host made")
    host = word(OUT)
    rep: int = lib.resource_host_rep(host)
    lib.resource_host_delete(host)
    return rep


def new_handle(resource: Resource, guest: Guest) -> int:
    """Add a resource to the guest, and return its handle, which the receiver owns."""
    number, rep = resource.RESOURCE, guest.hold(resource)
    host = _templates.get((number, rep)) or _template(number, rep)
    error = lib.resource_host_to_any(guest.context, host, OUT)
    if rep > _TEMPLATE_LIMIT:
        lib.resource_host_delete(host)
    if error:
        raise RuntimeError("the store cannot hold more handles")
    return word(OUT)


_templates: dict[tuple[int, int], int] = {}
"""C objects "own handle of type T number N", kept for small N: every new guest needs the same ones."""

_TEMPLATE_LIMIT = 64


def _template(number: int, rep: int) -> int:
    host: int = lib.resource_host_new(True, rep, number)
    if rep <= _TEMPLATE_LIMIT:
        _templates[number, rep] = host
    return host
