"""Write the programs that users and containerd start, as small Python files.

A pip console script spends 15 to 20 ms before its first line of ours: site.py, .pth files, the package
metadata. These start the interpreter with -I -S and add the one folder they need, which takes 7 ms. Installed
ones read their modules from packs, see runwasi/startup/packs.py; those of a work tree must see its files change.

    launchers.py compile --into FILE
    launchers.py write   --python /usr/bin/python3.11 --bin FOLDER --path FOLDER [--path FOLDER ...] [--client FILE]

make those of a work tree; scripts/installer.py calls the rest. The shims themselves are the compiled client, where
there is a compiler: it asks the node daemon, and when nobody answers executes the launcher of the same name, in a
work tree the one in lib/runwasi/launchers, beside the programs' folder.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ENGINES = ("wasmtime", "wasmedge", "wasmer")

MARK = "# A launcher of runwasi"
"""By which an installer knows a program of ours; the client has it too."""
_LAUNCHER = """\
#!{python} -IS
{mark}: written by its installer, removed by `make uninstall`.
import gc, os, sys

gc.disable()  # nothing that a start makes is garbage before its end
{hold}sys.path += {folders!r}
try:
{load}
except (OSError, ImportError, MemoryError) as error:
{otherwise}    sys.exit(f"{{sys.argv[0]}}: cannot load its modules: {{error}}")

status = {function}({arguments})
{leave}os._exit(status)  # taking the interpreter down would cost 3 ms
"""

# What an installed launcher adds: it holds its version before it reads anything there, see installation.py.
_HOLD = """\
import fcntl
version, lock = {version!r}, None
try:
    lock = os.open(version + "/lock", os.O_RDONLY | os.O_CLOEXEC)
    fcntl.fcntl(lock, fcntl.F_OFD_SETLKW, bytes(32))  # struct flock: for reading, the whole file
    there = os.path.samestat(os.fstat(lock), os.stat(version + "/lock"))
except OSError as error:
    there = error.errno != 2  # there are file systems without locks
if not there:  # it was removed since the interpreter read this file: begin again with the file of now
    if os.path.exists(sys.argv[0]) and version not in open(sys.argv[0]).read():
        os.execv(sys.argv[0], sys.argv)
    sys.exit(sys.argv[0] + ": " + version + " is gone, please install runwasi again")
"""
_NOTE = """\
from runwasi.startup import installation
installation.hold(lock, version)
"""
_LEAVE = "installation.leave()\n"

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_SOURCE = "runwasi/shim/client/client.c"
_COMPILERS = ("cc", "gcc", "clang")
_WARNINGS = ("-Wall", "-Wextra", "-Werror")
COLD_LAUNCHERS = "lib/runwasi/launchers"
"""Where the client finds the launchers, from the folder above its own."""

# What every container imports late: some of it belongs to one version of cgroups.
_LATE = (
    "runwasi.executor.parent.equip",
    "runwasi.executor.limits.limits_v1",
    "runwasi.executor.limits.limits_v2",
    "runwasi.linux.cgroups.device_rules",
    "runwasi.linux.cgroups.v1",
    "runwasi.linux.cgroups.v2",
    "runwasi.linux.network",
)

# What a wasm container imports besides, with the engine that comes with us and a core module.
_WASM = (
    "runwasi.executor.child.run_wasm",
    "runwasi.engines.registry",
    "runwasi.engines.wasmtime",
    "runwasi.engines.wasmtime_core",
)

# Pack -> the modules that its program imports at every start, in that order. The server's are those of a pod's
# first container.
PACKS = {
    "cli": (
        "runwasi.startup.installation",
        "runwasi.cli.main",
        "runwasi.cli.run",
        "runwasi.cli.lifecycle",
        "runwasi.cli.exec_command",
        "runwasi.cli.inspect",
        *_LATE,
        *_WASM,
    ),
    "shim": (
        "runwasi.startup.installation",
        "runwasi.shim.client.launcher",
        "runwasi.shim.bootstrap",
        "runwasi.shim.server.spawn",
        "runwasi.shim.client.cleanup",
        "runwasi.shim.client.python_client",
    ),
    "server": ("runwasi.startup.installation", "runwasi.shim.server.pod_server", *_LATE, *_WASM),
}

_PACK = """\
import sys
sys.path.append(sys.argv[1])
from runwasi.startup.packs import pack
sys.stdout.buffer.write(pack(sys.argv[2:]))"""


class Program:
    """A program: the function that it calls, that call's arguments, and the pack it reads, "" for none.

    One that replaces another begins again where it cannot load its modules.
    """

    def __init__(
        self, module: str, function: str, arguments: str = "", pack: str = "", *, replaces: bool = False
    ) -> None:
        self.module = module
        self.function = function
        self.arguments = arguments
        self.pack = pack
        self.replaces = replaces


def programs() -> dict[str, Program]:
    """Return every program by its name; the shims are those that ask the daemon first."""
    table = {
        "runwasi": Program("runwasi.cli.main", "main", pack="cli"),
        "oci-tar-builder": Program("runwasi.cli.oci_tar_builder", "main"),
    }
    for engine in ENGINES:
        table[f"containerd-{engine}d"] = Program(
            "runwasi.shim.daemon.node_daemon", "main", f'"{engine}"', "shim", replaces=True
        )
    return table | _shims("runwasi.shim.client.python_client")


def cold_launchers() -> dict[str, Program]:
    """Return, by the names of the shims, what does without the daemon."""
    return _shims("runwasi.shim.client.launcher")


def _shims(module: str) -> dict[str, Program]:
    table = {}
    for engine in ENGINES:
        table[f"containerd-shim-{engine}-v1"] = Program(module, "main", f'"{engine}"', "shim")
        table[f"containerd-shim-{engine}d-v1"] = Program(module, "main", f'"{engine}", shared=True', "shim")
    return table


def compiler() -> str:
    """Return the path of a C compiler, "" when there is none."""
    return next(filter(None, map(shutil.which, (os.environ.get("CC", ""), *_COMPILERS))), "")


def compile_client(into: str, **constants: str) -> str:
    """Compile the client of the node daemon; return how it is linked, "static" or "dynamic".

    Returns "" where there is no compiler. A static one starts quicker.
    """
    if not compiler():
        print("no C compiler: the shims will be Python programs, which start slower", file=sys.stderr)
        return ""
    os.makedirs(os.path.dirname(into) or ".", exist_ok=True)
    defined = [f'-D{name}="{value}"' for name, value in constants.items()]
    command = [compiler(), "-O2", *_WARNINGS, *defined, "-o", into, os.path.join(_ROOT, _SOURCE)]
    for linked, how in (("static", ["-static"]), ("dynamic", [])):
        done = subprocess.run([*command, *how], check=False, capture_output=True, text=True)
        if done.returncode == 0:
            return linked
    sys.exit(f"cannot compile {_SOURCE}:\n{done.stderr}")


def pack(into: str, folder: str, python: Sequence[str] = (sys.executable, "-IS")) -> None:
    """Pack the compiled modules below folder, each pack in an interpreter of its own, which compiled them."""
    os.makedirs(into, exist_ok=True)
    for name, roots in PACKS.items():
        with open(os.path.join(into, name), "wb") as file:
            subprocess.run([*python, "-c", _PACK, folder, *roots], stdout=file, check=True)


def write(bin_folder: str, python: str, folders: list[str], client: str = "") -> None:
    """Write every program of a work tree into bin_folder; client is the compiled one, if there is one."""
    beside = os.path.join(os.path.dirname(os.path.abspath(bin_folder)), COLD_LAUNCHERS)
    _write_all(bin_folder, beside, lambda program: _text(program, python, folders), client)


def write_installed(staged: str, python: str, version: str, client: str) -> None:
    """Write every program of a version that is to lie at the path `version` into the folder where it is made."""
    from runwasi.startup.packs import prelude  # late: a work tree's are written before there is a path to it

    site_packages = [f"{version}/site-packages"]
    hold = _HOLD.format(version=version)

    def text(program: Program) -> bytes:
        start = prelude(f"{version}/bytecode/{program.pack}", site_packages[0]) if program.pack else ""
        return _text(program, python, site_packages, hold=hold, prelude=start, note=_NOTE, leave=_LEAVE)

    _write_all(f"{staged}/bin", f"{staged}/launchers", text, client)


def _write_all(bin_folder: str, cold_folder: str, text: Callable[[Program], bytes], client: str) -> None:
    shims = cold_launchers()
    for name, program in programs().items():
        _put(f"{bin_folder}/{name}", _content(client) if client and name in shims else text(program))
    for name, program in shims.items():
        _put(f"{cold_folder}/{name}", text(program))


def _text(
    program: Program,
    python: str,
    folders: list[str],
    hold: str = "",
    prelude: str = "",
    note: str = "",
    leave: str = "",
) -> bytes:
    """Return the launcher of a program."""
    from runwasi.startup import again  # late: the work tree's, as above

    load = f"{prelude}{note}from {program.module} import {program.function}"
    return _LAUNCHER.format(
        python=python,
        mark=MARK,
        hold=hold,
        folders=folders,
        load="\n".join(f"    {line}" if line else "" for line in load.splitlines()),
        otherwise="".join(
            f"    {line}" for line in again.text("sys.argv[0]").splitlines(keepends=True) if program.replaces
        ),
        function=program.function,
        arguments=program.arguments,
        leave=leave,
    ).encode()


def _put(path: str, content: bytes) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "wb") as file:
        file.write(content)
    os.chmod(path + ".new", 0o755)
    os.replace(path + ".new", path)


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def remove(bin_folder: str, kept: str = "") -> None:
    """Remove the programs from bin_folder, and leave a file of the same name that is not ours.

    With kept also those stay whose names begin with it.
    """
    for name in programs():
        path = os.path.join(bin_folder, name)
        if os.path.lexists(path + ".new"):  # of an installation that was killed
            os.unlink(path + ".new")
        if kept and name.startswith(kept):
            continue
        if _is_ours(path):
            os.unlink(path)
        elif os.path.lexists(path):
            print(f"left {path}: it is not a program of runwasi", file=sys.stderr)


def _is_ours(path: str) -> bool:
    """Look for the mark, which the client has too."""
    try:
        return MARK.encode() in _content(path)
    except FileNotFoundError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("action", choices=["compile", "write"])
    parser.add_argument("--bin", help="the folder of the programs")
    parser.add_argument("--into", help="the client to compile")
    parser.add_argument(
        "--client", default="", help="the compiled client; without one the shims are Python programs"
    )
    parser.add_argument("--python", default=sys.executable, help="the interpreter they start")
    parser.add_argument("--path", action="append", default=[], help="a folder to import from, in order")
    given = parser.parse_args()
    sys.path.append(_ROOT)
    from runwasi import __version__  # late: from the work tree that this file is in

    if given.action == "compile":
        compile_client(given.into, VERSION=__version__)
    else:
        folders = [os.path.abspath(folder) for folder in given.path]
        write(given.bin, given.python, folders, given.client if os.path.exists(given.client) else "")


if __name__ == "__main__":
    main()
