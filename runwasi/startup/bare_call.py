"""One call of the C library without any type of ctypes, for a program that makes no more than two."""

from __future__ import annotations

from _ctypes import call_function, dlopen, dlsym


def bare_call(name: str, *arguments: int | bytes) -> int:
    """Call a function of the C library, whose arguments and result are C ints or strings; errno is lost."""
    loaded = dlopen(None, 0)  # type: ignore[arg-type]  # the libraries that this process has
    result: int = call_function(dlsym(loaded, name), arguments)
    return result
