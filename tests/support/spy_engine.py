"""An engine whose compiler tells what it can see, or misbehaves as the module says."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from runwasi.engines.engine import CannotHandle, Context, Engine, Stdio


class SpyEngine(Engine):
    """The module is a word: what to do while compiling it."""

    name = "spy"

    def can_handle(self, ctx: Context) -> bool:
        raise NotImplementedError

    def run_wasi(self, ctx: Context, stdio: Stdio) -> int:
        raise NotImplementedError

    def compatibility_key(self) -> str:
        return "spy 1"

    def precompile(self, module: bytes) -> bytes:
        match module.split():
            case [b"look"]:
                return json.dumps(_what_is_in_sight()).encode()
            case [b"refuse"]:
                raise CannotHandle("not to my taste")
            case [b"fail"]:
                raise RuntimeError("a bug in the compiler")
            case [b"allocate", mebibytes]:
                return b"%d" % len(bytearray(int(mebibytes) << 20))
            case [b"spin"]:
                while True:
                    pass
            case [b"sleep"]:
                os.read(os.pipe()[0], 1)
            case [b"abort"]:
                os.abort()
            case [b"write", mebibytes]:
                return bytes(int(mebibytes) << 20)
        return b"artefact of " + module


def _what_is_in_sight() -> dict[str, Any]:
    return {
        "files": os.listdir("/"),
        "uid": os.getuid(),
        "groups": os.getgroups(),
        "pid": os.getpid(),
        "interfaces": [name for _, name in socket.if_nameindex()],
        "descriptors": [fd for fd in range(100) if _is_open(fd)],
        "can_become_root": _succeeds(lambda: os.setuid(0)),
        "can_make_a_device": _succeeds(lambda: os.mknod("device", 0o020666, os.makedev(1, 3))),
        "can_chroot": _succeeds(lambda: os.chroot("/")),
    }


def _is_open(fd: int) -> bool:
    return _succeeds(lambda: os.fstat(fd))


def _succeeds(action: Any) -> bool:
    try:
        action()
    except OSError:
        return False
    return True
