"""The interpreter's private modules, which are startup's alone."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket
import signal
import socket

from devtools.layers import imports
from devtools.places import ROOT
from runwasi.startup import thin_signal, thin_socket
from runwasi.startup.bare_call import bare_call

_PUBLIC = {"__future__", "_thread"}  # the library reference has both


def test_only_startup_imports_private_modules() -> None:
    wrong = [
        f"{file.relative_to(ROOT)}:{line} imports {module}"
        for file in sorted((ROOT / "runwasi").rglob("*.py"))
        if file.parent.name != "startup"
        for line, module in imports(file)
        if module.startswith("_") and module not in _PUBLIC
    ]
    assert not wrong, "\n".join(wrong)


def test_thin_modules_have_the_objects_that_the_whole_ones_are_built_on() -> None:
    assert thin_socket.socket is _socket.socket
    assert issubclass(socket.socket, thin_socket.socket)
    assert thin_signal.pthread_sigmask is _signal.pthread_sigmask
    assert [thin_signal.SIGTERM, thin_signal.SIGKILL] == [signal.SIGTERM, signal.SIGKILL]
    assert type(thin_signal.SIGTERM) is int


def test_bare_call_calls_the_c_library() -> None:
    assert bare_call("strlen", b"four") == 4
    assert bare_call("abs", -7) == 7
