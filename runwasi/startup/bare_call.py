"""Calls the C library without the types of ctypes, for a program that makes at most two calls."""

from __future__ import annotations

from _ctypes import call_function, dlopen, dlsym


def bare_call(name: str, *arguments: int | bytes) -> int:
    """Call a function of the C library with C ints or strings; errno is lost."""
    loaded = dlopen(None, 0)  # type: ignore[arg-type]  # the libraries that this process has
    result: int = call_function(dlsym(loaded, name), arguments)
    return result
