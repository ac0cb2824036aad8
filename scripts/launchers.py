"""Write the programs that users and containerd start, as small Python files.

A pip console script spends 15 to 20 ms before its first line of ours: site.py, .pth files, the package
metadata. These start the interpreter with -I -S and add the one folder they need, which takes 7 ms. Installed
ones read their modules from packs, see runwasi/startup/packs.py; those of a work tree must see its files change.

    launchers.py pack    --into FOLDER --path FOLDER
    launchers.py compile --into FILE
    launchers.py write   --python /usr/bin/python3.11 --bin FOLDER --path FOLDER [--path FOLDER ...]
                         [--packs FOLDER] [--client FILE]
    launchers.py remove  --bin /usr/local/bin

The shims themselves are the compiled client, where there is a compiler: it asks the node daemon, and executes the
launcher of the same name in lib/runwasi/launchers, beside the programs' folder, when nobody answers.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys

ENGINES = ("wasmtime", "wasmedge", "wasmer")

_MARK = "# A launcher of runwasi"
_LAUNCHER = """\
#!{python} -IS
{mark}: written by its installer, removed by `make uninstall`.
import gc, os, sys

gc.disable()  # nothing that a start makes is garbage before its end
sys.path += {folders!r}
{prelude}from {module} import {function}

status = {function}({arguments})
os._exit(status)  # taking the interpreter down would cost 3 ms
"""


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

# Pack -> the modules that its program imports at every start, in that order. The server's are those of a pod's
# first container.
PACKS = {
    "cli": (
        "runwasi.cli.main",
        "runwasi.cli.run",
        "runwasi.cli.lifecycle",
        "runwasi.cli.exec_command",
        "runwasi.cli.inspect",
        *_LATE,
    ),
    "shim": (
        "runwasi.shim.client.launcher",
        "runwasi.shim.bootstrap",
        "runwasi.shim.server.spawn",
        "runwasi.shim.client.cleanup",
        "runwasi.shim.client.python_client",
    ),
    "server": ("runwasi.shim.server.pod_server", *_LATE),
}

_PACK = """\
import sys
sys.path.append(sys.argv[1])
from runwasi.startup.packs import pack
sys.stdout.buffer.write(pack(sys.argv[2:]))"""


class Program:
    """A program: the function that it calls, that call's arguments, and the pack it reads, "" for none."""

    def __init__(self, module: str, function: str, arguments: str = "", pack: str = "") -> None:
        self.module = module
        self.function = function
        self.arguments = arguments
        self.pack = pack


def programs() -> dict[str, Program]:
    """Return every program by its name; the shims are those that ask the daemon first."""
    table = {
        "runwasi": Program("runwasi.cli.main", "main", pack="cli"),
        "oci-tar-builder": Program("runwasi.cli.oci_tar_builder", "main"),
    }
    for engine in ENGINES:
        table[f"containerd-{engine}d"] = Program(
            "runwasi.shim.daemon.node_daemon", "main", f'"{engine}"', "shim"
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


def compile_client(into: str) -> bool:
    """Compile the client of the node daemon; False where there is no compiler. A static one starts quicker."""
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CC", ""), *_COMPILERS))), None)
    if compiler is None:
        print("no C compiler: the shims will be Python programs, which start slower", file=sys.stderr)
        return False
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path.append(root)
    from runwasi import __version__  # late: from the work tree that this file is in

    os.makedirs(os.path.dirname(into) or ".", exist_ok=True)
    command = [
        compiler,
        "-O2",
        *_WARNINGS,
        f'-DVERSION="{__version__}"',
        "-o",
        into,
        os.path.join(root, _SOURCE),
    ]
    for how in (["-static"], []):
        done = subprocess.run([*command, *how], check=False, capture_output=True, text=True)
        if done.returncode == 0:
            return True
    sys.exit(f"cannot compile {_SOURCE}:\n{done.stderr}")


def pack(into: str, folder: str) -> None:
    """Pack the compiled modules below folder, each pack in an interpreter of its own, this one's version."""
    os.makedirs(into, exist_ok=True)
    for name, roots in PACKS.items():
        with open(os.path.join(into, name), "wb") as file:
            subprocess.run([sys.executable, "-IS", "-c", _PACK, folder, *roots], stdout=file, check=True)


def write(bin_folder: str, python: str, folders: list[str], packs: str, client: str = "") -> None:
    """Write every program into bin_folder, by renames, so that one being executed is never half there.

    client is the compiled one, if there is one.
    """
    launcher = _Writer(python, folders, packs)
    native = cold_launchers() if client else {}
    for name, program in programs().items():
        if name in native:
            _put(f"{bin_folder}/{name}", _content(client))
        else:
            _put(f"{bin_folder}/{name}", launcher.text(program))
    for name, program in native.items():
        _put(f"{_beside(bin_folder)}/{name}", launcher.text(program))


class _Writer:
    """What all launchers have in common."""

    def __init__(self, python: str, folders: list[str], packs: str) -> None:
        self._python = python
        self._folders = folders
        self._packs = packs

    def text(self, program: Program) -> bytes:
        """Return the launcher of a program."""
        prelude = _prelude(f"{self._packs}/{program.pack}") if self._packs and program.pack else ""
        return _LAUNCHER.format(
            python=self._python,
            mark=_MARK,
            folders=self._folders,
            prelude=prelude,
            module=program.module,
            function=program.function,
            arguments=program.arguments,
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


def _beside(bin_folder: str) -> str:
    return os.path.join(os.path.dirname(os.path.abspath(bin_folder)), COLD_LAUNCHERS)


def _prelude(pack: str) -> str:
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    from runwasi.startup.packs import prelude  # late: from the work tree that this file is in

    return prelude(pack)


def remove(bin_folder: str) -> None:
    """Remove the programs from bin_folder, and leave a file of the same name that is not ours."""
    for name in programs():
        path = os.path.join(bin_folder, name)
        if _is_ours(path):
            os.unlink(path)
        elif os.path.lexists(path):
            print(f"left {path}: it is not a program of runwasi", file=sys.stderr)


def _is_ours(path: str) -> bool:
    """Look for the mark, which the client has too."""
    try:
        return _MARK.encode() in _content(path)
    except FileNotFoundError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("action", choices=["pack", "compile", "write", "remove"])
    parser.add_argument("--bin", help="the folder of the programs")
    parser.add_argument("--into", help="the folder of the packs to make, or the client to compile")
    parser.add_argument(
        "--client", default="", help="the compiled client; without one the shims are Python programs"
    )
    parser.add_argument("--packs", default="", help="the folder of the packs that the programs read")
    parser.add_argument("--python", default=sys.executable, help="the interpreter they start")
    parser.add_argument("--path", action="append", default=[], help="a folder to import from, in order")
    given = parser.parse_args()
    folders = [os.path.abspath(folder) for folder in given.path]
    if given.action == "remove":
        remove(given.bin)
    elif given.action == "pack":
        pack(given.into, *folders)
    elif given.action == "compile":
        compile_client(given.into)
    else:
        client = given.client if os.path.exists(given.client) else ""
        write(given.bin, given.python, folders, given.packs, client)


if __name__ == "__main__":
    main()
