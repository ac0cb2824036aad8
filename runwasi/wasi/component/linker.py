"""Connects a component's imports to the interfaces of this package.

Every imported function gets its own C callback, made once from its type (`values.py`) and its
implementation (`Interface.lookup`). A function that may wait is a generator. There are two ways to wait:

* alone: the thread blocks in poll(2) until one of the pollables is ready (a command component);
* concurrently: wasmtime suspends the guest's stack (a fiber), and the event loop that polls the call resumes
  it when a pollable is ready (a server with many guests in one thread).
"""

from __future__ import annotations

import ctypes

from runwasi.wasi.component.capi import (
    ASYNC_HOST_FUNCTION,
    CONTINUATION,
    DESTRUCTOR,
    HOST_FUNCTION,
    OUT,
    Continuation,
    Pointer,
    function_pointer,
    lib,
    take_error,
    word,
)
from runwasi.wasi.component.guest import GUESTS
from runwasi.wasi.component.interface import Interface
from runwasi.wasi.component.lifting import lifter
from runwasi.wasi.component.lowering import lowerer
from runwasi.wasi.component.suspension import Suspension
from runwasi.wasi.component.values import VAL_SIZE, Err
from runwasi.wasi.component.wit_types import FunctionType, InstanceType, ResourceType
from runwasi.wasi.io.poll import wait_for_any

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from runwasi.wasi.component.guest import Guest
    from runwasi.wasi.component.interface import Waiting
    from runwasi.wasi.component.lifting import Lift
    from runwasi.wasi.component.lowering import Lower
    from runwasi.wasi.component.wit_types import Item

    Call = Callable[[Guest, int], Any]
    """A host function, given the address of its arguments."""

_GENERATOR = 0x20  # inspect.CO_GENERATOR, without importing inspect


class HostLinker:
    """A linker with the functions that one component imports; it keeps their C callbacks alive."""

    def __init__(
        self, engine: int, imports: Mapping[str, Item], *, concurrent: bool = False, native: bool = False
    ) -> None:
        """Define the imports. With `concurrent`, guests are suspended while they wait.

        With `native`, the engine provides everything but wasi:cli/exit, whose large codes the engine would lose.
        The other interfaces cannot be mixed: they share streams and pollables, and ours are not the engine's.
        """
        self.pointer: int = lib.linker_new(engine)
        self._concurrent = concurrent
        self._callbacks: list[object] = []
        if native:
            lib.linker_allow_shadowing(self.pointer, True)
            _checked(lib.linker_add_wasip2(self.pointer))
            _checked(lib.linker_add_wasi_http(self.pointer))
        root = lib.linker_root(self.pointer)
        for name, ty in imports.items():
            provided = Interface.by_name.get(unversioned(name))
            if native and unversioned(name) != "wasi:cli/exit":
                continue
            if provided is not None and isinstance(ty, InstanceType):
                _checked(lib.linker_instance_add_instance(root, *_sized(name), OUT))
                target = word(OUT)
                self._define(target, provided, ty)
                lib.linker_instance_delete(target)
        lib.linker_instance_delete(root)

    def _define(self, target: int, provided: Interface, ty: InstanceType) -> None:
        for name, item in ty.items():
            if isinstance(item, ResourceType):
                number = lib.resource_type_new_host(Interface.resource_by_name[name].RESOURCE)
                _checked(
                    lib.linker_instance_add_resource(
                        target, *_sized(name), number, _destroy_pointer, None, None
                    )
                )
            elif isinstance(item, FunctionType) and (function := provided.lookup(name)) is not None:
                self._add_function(target, name, function, item)

    def _add_function(self, target: int, name: str, function: Callable[..., Any], ty: FunctionType) -> None:
        call = _caller(name, function, [lifter(param) for param in ty.params])
        lower = lowerer(ty.result) if ty.result is not None else None
        waits = bool(function.__code__.co_flags & _GENERATOR)
        if waits and self._concurrent:
            callback: Any = ASYNC_HOST_FUNCTION(_suspending(call, lower))
            add = lib.linker_instance_add_func_async
        else:
            callback = HOST_FUNCTION(_direct(_blocking(call) if waits else call, lower))
            add = lib.linker_instance_add_func
        self._callbacks.append(callback)
        _checked(add(target, *_sized(name), function_pointer(callback), None, None))


def unversioned(name: str) -> str:
    """Strip the version of an interface's name: "wasi:io/poll@0.2.3" is "wasi:io/poll"."""
    return name.partition("@")[0]


def is_version_0_2(name: str) -> bool:
    """Return whether an interface's name has no version, or one of WASI 0.2."""
    _, separator, version = name.partition("@")
    return not separator or version.startswith("0.2.")


def is_provided(name: str) -> bool:
    """Return whether this package has an interface of this name, whichever functions are imported."""
    return unversioned(name) in Interface.by_name and is_version_0_2(name)


def missing(imports: Mapping[str, Item]) -> list[str]:
    """Return the names of imports that this package does not provide, functions as "interface#name"."""
    lacking = []
    for name, ty in imports.items():
        provided = Interface.by_name.get(unversioned(name))
        if provided is None or not isinstance(ty, InstanceType):
            lacking.append(name)
            continue
        lacking += [
            f"{name}#{item}" for item, item_type in ty.items() if not _known(provided, item, item_type)
        ]
    return lacking


def _known(provided: Interface, name: str, ty: Item) -> bool:
    if isinstance(ty, ResourceType):
        return name in Interface.resource_by_name
    return not isinstance(ty, FunctionType) or provided.lookup(name) is not None


def _caller(name: str, function: Callable[..., Any], lifts: list[Lift]) -> Call:
    """Make the Python side of a call: lift the arguments, find the method of the resource's own class."""
    method = function.__name__ if name.startswith("[method]") else ""
    if method and len(lifts) == 1:
        lift_self = lifts[0]
        return lambda guest, args: getattr(lift_self(args, guest), method)()
    steps = [(lift, index * VAL_SIZE) for index, lift in enumerate(lifts)]
    if method:

        def call_method(guest: Guest, args: int) -> Any:
            this, *rest = [lift(args + offset, guest) for lift, offset in steps]
            return getattr(this, method)(*rest)

        return call_method
    if name.startswith("["):
        return lambda guest, args: function(*[lift(args + offset, guest) for lift, offset in steps])
    return lambda guest, args: function(guest, *[lift(args + offset, guest) for lift, offset in steps])


def _direct(call: Call, lower: Lower | None) -> Callable[..., int | None]:
    def host_function(
        _data: int, context: int, _ty: int, args: int, _nargs: int, results: int, _nresults: int
    ) -> int | None:
        guest = GUESTS[context]
        try:
            try:
                value = call(guest, args)
            except Err as error:
                value = error
            if lower is not None:
                lower(results, value, guest)
        except BaseException as failure:  # noqa: BLE001  (carried over wasm's frames to whoever runs it)
            guest.failure = failure
            return _ended()
        return None

    return host_function


def _ended() -> int:
    error: int = lib.wasmtime_error_new(b"a host function ended the guest")
    return error


def _blocking(call: Call) -> Call:
    def wait(guest: Guest, args: int) -> Any:
        steps: Waiting[Any] = call(guest, args)
        try:
            while True:
                wait_for_any(next(steps))
        except StopIteration as done:
            return done.value

    return wait


def _suspending(call: Call, lower: Lower | None) -> Callable[..., None]:
    def host_function(
        _data: int,
        context: int,
        _ty: int,
        args: int,
        _nargs: int,
        results: int,
        _nresults: int,
        error_out: int,
        continuation: int,
    ) -> None:
        guest = GUESTS[context]
        try:
            steps: Waiting[Any] = call(guest, args)
            try:
                waits_for = next(steps)
            except StopIteration as done:
                value = done.value
            except Err as error:
                value = error
            else:
                finish = _finisher(lower, results, guest)
                guest.suspension = Suspension(steps, waits_for, finish)
                _put_continuation(continuation, _resume_pointer, context)
                return
            if lower is not None:
                lower(results, value, guest)
            _put_continuation(continuation, _DONE, 1)
        except BaseException as failure:  # noqa: BLE001  (carried over wasm's frames to whoever runs it)
            guest.failure = failure
            Pointer.from_address(error_out).value = _ended()

    return host_function


def _finisher(lower: Lower | None, results: int, guest: Guest) -> Callable[[object], None]:
    if lower is None:
        return lambda _value: None
    return lambda value: lower(results, value, guest)


def _put_continuation(address: int, callback: int, data: int) -> None:
    continuation = Continuation.from_address(address)
    continuation.callback, continuation.data, continuation.finalizer = callback, data, 0


def _resume(context: int) -> bool:
    guest = GUESTS[context]
    if guest.suspension is None:
        return False
    try:
        done = guest.suspension.resume()
    except BaseException as failure:  # noqa: BLE001  (a continuation cannot fail: whoever polls looks here)
        guest.failure = failure
        return False
    if done:
        guest.suspension = None
    return done


def _destroy(_data: int, context: int, rep: int) -> None:
    guest = GUESTS[context]
    try:
        guest.resources.pop(rep).drop()
    except BaseException as failure:  # noqa: BLE001  (dropping a handle cannot fail; the guest is ended instead)
        guest.failure = failure


# The callbacks that all functions share, never freed.
_shared = (CONTINUATION(_resume), DESTRUCTOR(_destroy))
_resume_pointer, _destroy_pointer = map(function_pointer, _shared)

_DONE = function_pointer(ctypes.CDLL(None).labs)
"""A continuation that is done, without calling Python: C's labs(1) returns 1, which is true."""


def _sized(name: str) -> tuple[bytes, int]:
    encoded = name.encode()
    return encoded, len(encoded)


def _checked(error: int | None) -> None:
    if error:
        raise take_error(error)
