from __future__ import annotations

import os

from runwasi.engines.engine import Context, Module, Stdio, Trap


def test_a_trap_reports_its_reason_and_numbered_frames() -> None:
    trap = Trap("integer divide by zero", ["divide at offset 0x10", "_start at offset 0x20"])
    assert trap.report() == (
        "runwasi: wasm trap: integer divide by zero\n"
        "wasm backtrace:\n"
        "    0: divide at offset 0x10\n"
        "    1: _start at offset 0x20\n"
    )


def test_a_trap_without_frames_reports_one_line() -> None:
    assert Trap("unreachable").report() == "runwasi: wasm trap: unreachable\n"


def test_a_context_has_the_defaults_of_a_plain_command() -> None:
    ctx = Context(["m.wasm"], Module("m.wasm", -1))
    assert (ctx.env, ctx.cwd, ctx.function, ctx.layers, ctx.memory_limit) == ((), "/", "_start", (), None)
    assert not ctx.annotations


def test_a_module_is_read_without_moving_its_position() -> None:
    fd = os.memfd_create("module")
    os.write(fd, b"content")
    module = Module("m.wasm", fd, fd)
    assert (module.read(), module.read_precompiled()) == (b"content", b"content")
    assert Module("m.wasm", fd).read_precompiled() is None
    assert os.lseek(fd, 0, os.SEEK_CUR) == 7
    os.close(fd)


def test_streams_take_their_places_even_when_they_swap() -> None:
    pid = os.fork()
    if pid == 0:
        files = [os.memfd_create(name) for name in ("in", "out", "err")]
        for number, file in zip((1, 2, 0), files, strict=True):
            os.dup2(file, number)
        Stdio(1, 2, 0).install()
        same = [os.fstat(number).st_ino == os.fstat(file).st_ino for number, file in enumerate(files)]
        os._exit(0 if all(same) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
