"""Calls C without ctypes: the parts that a container's start needs, from the extension module under ctypes.

Importing ctypes itself takes a millisecond, for types and platforms that we do not use. Names and behaviour are
those of ctypes, which type checkers see instead; the types are different objects, so do not pass an object of one to
a function of the other.
"""

from __future__ import annotations

from _ctypes import (
    FUNCFLAG_CDECL,
    FUNCFLAG_PYTHONAPI,
    FUNCFLAG_USE_ERRNO,
    Array,
    CFuncPtr,
    _SimpleCData,
    addressof,
    byref,
    dlopen,
    dlsym,
    get_errno,
    sizeof,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ctypes import (
        CDLL,
        PyDLL,
        c_char,
        c_char_p,
        c_int,
        c_long,
        c_uint,
        c_uint32,
        c_uint64,
        c_ulong,
        c_void_p,
        create_string_buffer,
        pythonapi,
    )
else:

    def _type(name, code):
        return type(_SimpleCData)(name, (_SimpleCData,), {"_type_": code})

    c_char, c_int, c_uint = _type("c_char", "c"), _type("c_int", "i"), _type("c_uint", "I")
    c_long, c_ulong = _type("c_long", "l"), _type("c_ulong", "L")
    c_char_p, c_void_p = _type("c_char_p", "z"), _type("c_void_p", "P")
    c_uint32, c_uint64 = c_uint, c_ulong  # on every 64-bit Linux

    class _Function(CFuncPtr):
        _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO
        _restype_ = c_int

    class _FunctionWithLock(CFuncPtr):
        _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO | FUNCFLAG_PYTHONAPI
        _restype_ = c_int

    class CDLL:
        """A library by its soname, or with None this process's own symbols; its functions are attributes.

        They always leave errno for get_errno.
        """

        _kind = _Function

        def __init__(self, name, **_use_errno):
            self._handle = dlopen(name, 0)

        def __getattr__(self, name):
            try:
                function = self._kind(dlsym(self._handle, name))
            except OSError as error:
                raise AttributeError(str(error)) from None
            setattr(self, name, function)
            return function

    class PyDLL(CDLL):
        """The same, keeping the interpreter's lock during calls."""

        _kind = _FunctionWithLock

    pythonapi = PyDLL(None)

    def create_string_buffer(init, size=None):
        """Make a buffer of size bytes, or one that contains init; with both, of size bytes that begin with init."""
        if isinstance(init, int):
            return (c_char * init)()
        buffer = (c_char * (len(init) + 1 if size is None else size))()
        buffer.value = init
        return buffer


__all__ = (
    "CDLL",
    "Array",
    "PyDLL",
    "addressof",
    "byref",
    "c_char",
    "c_char_p",
    "c_int",
    "c_long",
    "c_uint",
    "c_uint32",
    "c_uint64",
    "c_ulong",
    "c_void_p",
    "create_string_buffer",
    "get_errno",
    "pythonapi",
    "sizeof",
)
