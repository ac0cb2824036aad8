"""A guest: one instance of a component in a store of its own, with the handles it holds."""

from __future__ import annotations

from runwasi.engines.wasmtime_capi import limit_store
from runwasi.wasi.component.capi import lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runwasi.engines.guest_limits import Limits
    from runwasi.wasi.component.interface import Resource
    from runwasi.wasi.component.suspension import Suspension
    from runwasi.wasi.component.world import World

GUESTS: dict[int, Guest] = {}
"""The guests alive, by the address of their store's context: how a host function knows who calls."""


class Exit(BaseException):
    """The guest ended itself through wasi:cli/exit."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Guest:
    """A store, the resources its component holds, and what it sees of the outside (`world`).

    `serves` is the request that it works for, if it is a server's.
    """

    __slots__ = ("_next", "_store", "context", "failure", "resources", "serves", "suspension", "world")

    def __init__(self, store: int, context: int, world: World) -> None:
        """`store` is ended by `close`; 0 is a store that somebody else ends."""
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
        """Give a resource to the guest and return the number its handle has."""
        self._next = rep = self._next + 1
        self.resources[rep] = resource
        return rep

    def limit(self, limits: Limits) -> None:
        """Bound its memories and tables from now on."""
        limit_store(self._store, limits)

    def close(self) -> None:
        """End the store and release what the guest still held."""
        if self._store:
            lib.wasmtime_store_delete(self._store)
            self._store = 0
        del GUESTS[self.context]
        for resource in self.resources.values():
            resource.drop()
        self.resources.clear()


def new_guest(engine: int, world: World, limits: Limits) -> Guest:
    """Make a guest with a store of its own, bounded by `limits`."""
    store: int = lib.wasmtime_store_new(engine, None, None)
    context: int = lib.wasmtime_store_context(store)
    if limits.fuel is not None:
        lib.wasmtime_context_set_fuel(context, limits.fuel)
    guest = Guest(store, context, world)
    guest.limit(limits)
    return guest
