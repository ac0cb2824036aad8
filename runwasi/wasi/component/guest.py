"""A guest: one instance of a component, with its own store and the handles that it holds."""

from __future__ import annotations

from runwasi.engines.wasmtime_capi import limit_store
from runwasi.wasi.component.capi import lib
from runwasi.wasi.component.interface import GuestFault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runwasi.engines.guest_limits import Limits
    from runwasi.wasi.component.interface import Resource
    from runwasi.wasi.component.suspension import Suspension
    from runwasi.wasi.component.world import World

GUESTS: dict[int, Guest] = {}
"""The live guests by the address of their store's context: a host function finds its caller here."""


MOST_HANDLES = 100_000
"""The most handles that one guest holds: each takes the host some hundred bytes, outside the guest's memory."""


class Exit(BaseException):
    """The guest called wasi:cli/exit."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Guest:
    """A store, the resources that its component holds, and its view of the outside (`world`).

    `serves` is the HTTP request that it handles, if any.
    """

    __slots__ = ("_next", "_store", "context", "failure", "resources", "serves", "suspension", "world")

    def __init__(self, store: int, context: int, world: World) -> None:
        """Own `store`, which `close` deletes; 0 if somebody else owns it."""
        self.world = world
        self.resources: dict[int, Resource] = {}
        self.failure: BaseException | None = None
        self.suspension: Suspension | None = None
        self.serves: Any = None
        self.context = context
        self._store = store
        self._next = 0
        GUESTS[context] = self

    def hold(self, resource: Resource) -> int:
        """Add a resource to the guest, and return the number of its handle. Raises GuestFault for too many."""
        if len(self.resources) >= MOST_HANDLES:
            resource.drop()
            raise GuestFault(f"the guest holds {MOST_HANDLES} handles")
        self._next = rep = self._next + 1
        self.resources[rep] = resource
        return rep

    def limit(self, limits: Limits) -> None:
        """Limit its memories and tables from now on."""
        limit_store(self._store, limits)

    def close(self) -> None:
        """Delete the store, and release the resources that the guest still held."""
        if self._store:
            lib.wasmtime_store_delete(self._store)
            self._store = 0
        del GUESTS[self.context]
        for resource in self.resources.values():
            resource.drop()
        self.resources.clear()


def new_guest(engine: int, world: World, limits: Limits) -> Guest:
    """Make a guest with its own store, limited by `limits`."""
    store: int = lib.wasmtime_store_new(engine, None, None)
    context: int = lib.wasmtime_store_context(store)
    if limits.fuel is not None:
        lib.wasmtime_context_set_fuel(context, limits.fuel)
    guest = Guest(store, context, world)
    guest.limit(limits)
    return guest
