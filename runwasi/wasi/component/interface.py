"""Declares which Python functions and classes provide a WIT interface.

    streams = Interface("wasi:io/streams")

    @streams.resource("input-stream")
    class InputStream(Resource):
        def read(self, length: int) -> bytes: ...                 # [method]input-stream.read
        def blocking_read(self, length: int) -> Waiting[bytes]:   # waits: yields the pollables it waits for
            yield (self.readable,)
            return self.read(length)

    @stdin.function("get-stdin")
    def get_stdin(guest: Guest) -> InputStream: ...

Constructors are `@classmethod new`, statics are static methods, and a host function fails by raising Err.
Versions do not appear: within 0.2 WASI only adds, and a component's types say which version it expects.
"""

from __future__ import annotations

import itertools

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from typing import Any, ClassVar, Protocol, TypeVar

    class Waitable(Protocol):
        """Something that a guest can wait for, such as wasi:io/poll's pollables."""

        def ready(self) -> bool:
            """Return whether waiting is over."""

        def sources(self) -> tuple[int | None, int, float | None]:
            """Return what to wait for now: a descriptor, if any, poll(2)'s events, a monotonic deadline."""

    F = TypeVar("F", bound=Callable[..., Any])
    R = TypeVar("R", bound="type[Resource]")
    T = TypeVar("T")
    Waiting = Generator[Iterable[Waitable], None, T]
    """A host function that may have to wait: it yields what it waits for and returns its result."""

_numbers = itertools.count(1)


class GuestFault(Exception):
    """A guest broke a rule of an interface for which there is no error: it traps."""


class Resource:
    """The object behind a handle that the guest holds."""

    RESOURCE: ClassVar[int] = 0
    """The number of its WIT type; subclasses of a registered class share its WIT type."""

    def drop(self) -> None:
        """Release what it owns, when the guest drops its handle or ends."""


class Interface:
    """One WIT interface: its functions and its resources, each by its WIT name."""

    by_name: ClassVar[dict[str, Interface]] = {}
    resource_by_name: ClassVar[dict[str, type[Resource]]] = {}
    """All resources: an interface exports again the resources that it `use`s, and WASI's names are unique."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.functions: dict[str, Callable[..., Any]] = {}
        self.resources: dict[str, type[Resource]] = {}
        Interface.by_name[name] = self

    def function(self, name: str) -> Callable[[F], F]:
        """Register a free function; it gets the calling guest before its arguments."""

        def register(function: F) -> F:
            self.functions[name] = function
            return function

        return register

    def resource(self, name: str, *aliases: str) -> Callable[[R], R]:
        """Register a class as this interface's resource of that name, and under the aliases that others use."""

        def register(cls: R) -> R:
            cls.RESOURCE = next(_numbers)
            self.resources[name] = cls
            for known_as in (name, *aliases):
                Interface.resource_by_name[known_as] = cls
            return cls

        return register

    def lookup(self, name: str) -> Callable[..., Any] | None:
        """Find the implementation of a function by its WIT name: "f", "[method]r.f", "[constructor]r" ..."""
        if not name.startswith("["):
            return self.functions.get(name)
        kind, _, rest = name[1:].partition("]")
        resource, _, method = rest.partition(".")
        cls = self.resources.get(resource)
        attribute = "new" if kind == "constructor" else method.replace("-", "_")
        return getattr(cls, attribute, None)
