"""Runs a guest for one HTTP request: instantiates it, calls it, suspends it while it waits, ends it."""

from __future__ import annotations

import ctypes
from ctypes import string_at

from runwasi.engines.engine import Trap
from runwasi.engines.guest_limits import Limits
from runwasi.wasi.component.capi import Pointer, lib, take_error, word
from runwasi.wasi.component.guest import GUESTS, Exit, new_guest
from runwasi.wasi.component.lowering import lowerer
from runwasi.wasi.component.values import VAL_SIZE, Val
from runwasi.wasi.component.wit_types import Type
from runwasi.wasi.http.requests import IncomingRequest, ResponseOutparam

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runwasi.engines.wasmtime_capi import WasmtimeError
    from runwasi.wasi.component.guest import Guest
    from runwasi.wasi.component.world import World
    from runwasi.wasi.http.exchange import Exchange

_lower_own = lowerer(Type("own"))

# One piece of memory for everything that a call needs: two arguments or a result, an instance, a function,
# an error.
_INSTANCE = 2 * VAL_SIZE
_FUNCTION = _INSTANCE + 32
_ERROR = _FUNCTION + 32
_SIZE = _ERROR + 8

_spare: list[tuple[object, int]] = []

_DATED = 1 << 16

INSET_TABLES = 1
"""Tables that the inset adds to a guest; its limit does not count them."""

_val_at = Val.from_address
_values_at = (Val * 3).from_address


class Handler:
    """A component that handles requests: everything that its guests share."""

    __slots__ = ("_limits_now", "component", "engine", "function", "inset", "limits", "linker", "world")

    def __init__(
        self,
        engine: int,
        component: int,
        linker: int,
        function: int,
        world: World,
        limits: Callable[[], Limits],
        *,
        inset: bool = False,
    ) -> None:
        """`limits` returns a guest's current limits; with `inset` the function is the inset's."""
        self.engine = engine
        self.component = component
        self.linker = linker
        self.function = function
        self.inset = inset
        self.world = world
        self._limits_now = limits
        self.limits = self._limits()

    def follow_limits(self) -> None:
        """Apply the current limits to all guests, present and future."""
        self.limits = limits = self._limits()
        for guest in GUESTS.values():
            guest.limit(limits)

    def _limits(self) -> Limits:
        limits = self._limits_now()
        if not self.inset or limits.tables is None:
            return limits
        return Limits(
            limits.fuel, limits.timeout, limits.memory, limits.table_elements, limits.tables + INSET_TABLES
        )


def instantiates(linker: int, component: int, guest: Guest) -> bool:
    """Return whether a guest can be instantiated, and end it; one that waits counts as instantiated."""
    memory, address = _allocate()
    future = lib.linker_instantiate_async(
        linker, guest.context, component, address + _INSTANCE, address + _ERROR
    )
    lib.wasmtime_call_future_poll(future)
    lib.wasmtime_call_future_delete(future)
    error = word(address + _ERROR)
    if error:
        take_error(error)
    guest.close()
    del memory
    return not error


class GuestCall:
    """One call of wasi:http/incoming-handler's handle, in its own instance.

    suspended  the guest waits in a host function; `resume` continues it when it is `ready`
    trouble    why the guest failed, for the log
    """

    __slots__ = (
        "_address", "_called", "_future", "_handler", "_memory", "exchange", "guest", "suspended", "trouble",
    )  # fmt: skip

    def __init__(self, handler: Handler, exchange: Exchange) -> None:
        """Run the guest until it waits or is done."""
        self.exchange = exchange
        self.suspended = False
        self.trouble = ""
        self._handler = handler
        self._memory, self._address = _spare.pop() if _spare else _allocate()
        self._called = False
        self.guest = guest = new_guest(handler.engine, handler.world, handler.limits)
        instance, error = self._address + _INSTANCE, self._address + _ERROR
        self._future: int = lib.linker_instantiate_async(
            handler.linker, guest.context, handler.component, instance, error
        )
        self.resume()

    def ready(self) -> bool:
        """Return whether something that the guest waits for is ready."""
        suspension = self.guest.suspension
        try:
            return suspension is None or suspension.ready()
        except Exception as failure:  # noqa: BLE001  (the guest's, not the server's: `resume` ends it)
            self.guest.failure = failure
            return True

    def resume(self) -> None:
        """Run the guest until it waits or is done."""
        if not self._poll():
            return
        if not self._called:
            self._called = True
            self._start()
            if not self._poll():
                return
        if self._handler.inset:
            self._take_answer()
        if not self.exchange.status:
            self._fail("the guest returned without a response")
        self._end()

    def cancel(self) -> None:
        """End the guest at once; nobody waits for it."""
        if self._future:
            self._end()

    def time_out(self) -> None:
        """End the guest because its time is over."""
        self._fail("the request took longer than it may", 504)
        self._end()

    def give_up(self, trouble: str) -> None:
        """End the guest because it cannot be resumed."""
        self._fail(trouble, 503)
        self._end()

    def _start(self) -> None:
        handler, guest, address = self._handler, self.guest, self._address
        lib.instance_get_func(address + _INSTANCE, guest.context, handler.function, address + _FUNCTION)
        if handler.inset:
            guest.serves = self.exchange
            _val_at(address).kind = 0  # the library frees the old contents
            self._future = lib.func_call_async(
                address + _FUNCTION, guest.context, None, 0, address, 1, address + _ERROR
            )
            return
        _lower_own(address, IncomingRequest(self.exchange), guest)
        _lower_own(address + VAL_SIZE, ResponseOutparam(self.exchange), guest)
        self._future = lib.func_call_async(
            address + _FUNCTION, guest.context, address, 2, None, 0, address + _ERROR
        )

    def _take_answer(self) -> None:
        """Take the response from the inset, if it has one; otherwise the guest passed it to the host."""
        status, size, text = _values_at(_val_at(self._address).data)
        if status.u32:
            content = string_at(text.data, text.size)
            if not content.isascii():
                content = content.decode().encode("latin-1")
            lines, dated = content[: size.u32], bool(status.u32 & _DATED)
            self.exchange.answer(status.u32 & ~_DATED, lines, content[size.u32 :], dated=dated)
        lib.val_delete(self._address)

    def _poll(self) -> bool:
        """Run the guest until it waits or finishes this stage; return whether it finished."""
        done = lib.wasmtime_call_future_poll(self._future)
        guest = self.guest
        error = word(self._address + _ERROR)
        if guest.failure is not None or error:
            self._fail(describe(guest.failure, take_error(error) if error else None))
            self._end()
            return False
        if not done:
            self.suspended = True
            return False
        self.suspended = False
        lib.wasmtime_call_future_delete(self._future)
        self._future = 0
        return True

    def _fail(self, trouble: str, status: int = 500) -> None:
        self.trouble = trouble
        self.exchange.fail(status)

    def _end(self) -> None:
        self.suspended = False
        self.guest.suspension = None
        if self._future:
            lib.wasmtime_call_future_delete(self._future)
            self._future = 0
        if self._called and not self._handler.inset:
            lib.val_delete(self._address)
            lib.val_delete(self._address + VAL_SIZE)
        Pointer.from_address(self._address + _ERROR).value = 0
        self.guest.close()
        _spare.append((self._memory, self._address))


def describe(failure: BaseException | None, error: WasmtimeError | None) -> str:
    """Describe why a guest failed, as an Engine's Trap would."""
    if isinstance(failure, Exit):
        return f"the guest exited with code {failure.code} instead of responding"
    if failure is not None:
        return f"a host function failed: {failure!r}"
    assert error is not None
    return Trap(error.reason(), error.frames).report().rstrip("\n")


def _allocate() -> tuple[object, int]:
    memory = ctypes.create_string_buffer(_SIZE)
    return memory, ctypes.addressof(memory)
