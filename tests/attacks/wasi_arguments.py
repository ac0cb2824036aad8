"""A module that makes every call of WASI preview 1 with every bad argument: written here, compiled by clang.

Each parameter has a kind, and each kind has values of three sorts: those that a call may accept, those that it must
refuse, and wild ones, which point out of the guest's memory: a call refuses them or traps. Each call is made with
every pair of values of the first two sorts, and with each wild value alone. Kinds:

    f  descriptor               t  path: pointer and length     v  iovecs: pointer and count
    p  pointer for a result     b  buffer: pointer and length   s  subscriptions, events and their count
    o  offset or size, 64 bits  g  flags, 32 bits
"""

from __future__ import annotations

from pathlib import Path

from runwasi.engines.wasip1 import FUNCTIONS
from tests.support.wasm import compile_c

TEMPLATE = Path(__file__).parent / "guests/arguments.c"

KINDS = {
    "args_get": "pp", "args_sizes_get": "pp", "environ_get": "pp", "environ_sizes_get": "pp",
    "clock_res_get": "gp", "clock_time_get": "gop", "fd_advise": "foog", "fd_allocate": "foo", "fd_close": "f",
    "fd_datasync": "f", "fd_fdstat_get": "fp", "fd_fdstat_set_flags": "fg", "fd_fdstat_set_rights": "foo",
    "fd_filestat_get": "fp", "fd_filestat_set_size": "fo", "fd_filestat_set_times": "foog", "fd_pread": "fvop",
    "fd_prestat_get": "fp", "fd_prestat_dir_name": "fb", "fd_pwrite": "fvop", "fd_read": "fvp",
    "fd_readdir": "fbop", "fd_renumber": "ff", "fd_seek": "fogp", "fd_sync": "f", "fd_tell": "fp",
    "fd_write": "fvp", "path_create_directory": "ft", "path_filestat_get": "fgtp",
    "path_filestat_set_times": "fgtoog", "path_link": "fgtft", "path_open": "fgtgoogp", "path_readlink": "ftbp",
    "path_remove_directory": "ft", "path_rename": "ftft", "path_symlink": "tft", "path_unlink_file": "ft",
    "poll_oneoff": "sp", "random_get": "b", "sched_yield": "", "sock_accept": "fgp", "sock_recv": "fvgpp",
    "sock_send": "fvgp", "sock_shutdown": "fg",
}  # fmt: skip

ENDS_THE_GUEST = frozenset(("proc_exit", "proc_raise"))

_PARAMETERS = {"o": "i64", "t": "int, int", "v": "int, int", "b": "int, int", "s": "int, int, int"}
_SLOTS = {"t": 2, "v": 2, "b": 2, "s": 3}


def arguments_module(folder: Path) -> Path:
    """Build it: MODULE FIRST makes the calls from this number on, and prints number, name, sort and errno of each."""
    assert KINDS.keys() == FUNCTIONS - ENDS_THE_GUEST
    source = folder / "arguments.c"
    source.write_text(TEMPLATE.read_text().replace("/* CALLS */", "\n".join(_calls())))
    return compile_c([source], folder / "arguments.wasm", "-Wno-unused-function")


def _calls() -> list[str]:
    lines = []
    for name, kinds in sorted(KINDS.items()):
        types = ", ".join(_PARAMETERS.get(kind, "int") for kind in kinds) or "void"
        lines.append(f'__attribute__((import_module("wasi_snapshot_preview1"), import_name("{name}")))')
        lines.append(f"int raw_{name}({types});")
        slots = [kind for kind in kinds for _ in range(_SLOTS.get(kind, 1))]
        given = ", ".join(f"{'' if kind == 'o' else '(int)'}a[{at}]" for at, kind in enumerate(slots))
        lines.append(f"static int do_{name}(const i64 *a) {{ (void)a; return raw_{name}({given}); }}")
    rows = (f'    {{"{name}", "{kinds}", do_{name}}},' for name, kinds in sorted(KINDS.items()))
    return [*lines, "static const struct call CALLS[] = {", *rows, "};"]
