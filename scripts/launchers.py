"""Write the programs that users and containerd start, as small Python files.

A pip console script spends 15 to 20 ms before its first line of ours: site.py, .pth files, the package
metadata. These start the interpreter with -I -S and add the one folder they need, which takes 7 ms. Installed
ones read their modules from packs, see runwasi/startup/packs.py; those of a work tree must see its files change.

    launchers.py pack   --into FOLDER --path FOLDER
    launchers.py write  --python /usr/bin/python3.11 --bin FOLDER --path FOLDER [--path FOLDER ...] [--packs FOLDER]
    launchers.py remove --bin /usr/local/bin
"""

from __future__ import annotations

import argparse
import os
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
sys.stdout.flush()
os._exit(status)  # taking the interpreter down would cost 3 ms
"""


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
        "runwasi.shim.client.shared_mode",
        "runwasi.shim.client.cleanup",
        "runwasi.shim.daemon.handover",
        "runwasi.shim.server.spawn",
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
    """Return every program by its name."""
    table = {
        "runwasi": Program("runwasi.cli.main", "main", pack="cli"),
        "oci-tar-builder": Program("runwasi.cli.image_command", "tar_builder_main"),
    }
    for engine in ENGINES:
        quoted = f'"{engine}"'
        table[f"containerd-shim-{engine}-v1"] = Program(
            "runwasi.shim.client.launcher", "main", quoted, "shim"
        )
        table[f"containerd-shim-{engine}d-v1"] = Program(
            "runwasi.shim.client.shared_mode", "main", quoted, "shim"
        )
        table[f"containerd-{engine}d"] = Program("runwasi.shim.daemon.node_daemon", "main", quoted, "shim")
    return table


def pack(into: str, folder: str) -> None:
    """Pack the compiled modules below folder, each pack in an interpreter of its own, this one's version."""
    os.makedirs(into, exist_ok=True)
    for name, roots in PACKS.items():
        with open(os.path.join(into, name), "wb") as file:
            subprocess.run([sys.executable, "-IS", "-c", _PACK, folder, *roots], stdout=file, check=True)


def write(bin_folder: str, python: str, folders: list[str], packs: str) -> None:
    """Write every launcher into bin_folder, by renames, so that one being executed is never half there."""
    os.makedirs(bin_folder, exist_ok=True)
    for name, program in programs().items():
        path = os.path.join(bin_folder, name)
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(
                _LAUNCHER.format(
                    python=python,
                    mark=_MARK,
                    folders=folders,
                    prelude=_prelude(f"{packs}/{program.pack}") if packs and program.pack else "",
                    module=program.module,
                    function=program.function,
                    arguments=program.arguments,
                )
            )
        os.chmod(path + ".new", 0o755)
        os.replace(path + ".new", path)


def _prelude(pack: str) -> str:
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    from runwasi.startup.packs import prelude  # late: from the work tree that this file is in

    return prelude(pack)


def remove(bin_folder: str) -> None:
    """Remove the launchers from bin_folder, and leave a file of the same name that is not ours."""
    for name in programs():
        path = os.path.join(bin_folder, name)
        if _is_ours(path):
            os.unlink(path)
        elif os.path.lexists(path):
            print(f"left {path}: it is not a launcher of runwasi", file=sys.stderr)


def _is_ours(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return _MARK.encode() in file.read(4096)
    except FileNotFoundError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("action", choices=["pack", "write", "remove"])
    parser.add_argument("--bin", help="the folder of the programs")
    parser.add_argument("--into", help="the folder of the packs to make")
    parser.add_argument("--packs", default="", help="the folder of the packs that the programs read")
    parser.add_argument("--python", default=sys.executable, help="the interpreter they start")
    parser.add_argument("--path", action="append", default=[], help="a folder to import from, in order")
    given = parser.parse_args()
    folders = [os.path.abspath(folder) for folder in given.path]
    if given.action == "remove":
        remove(given.bin)
    elif given.action == "pack":
        pack(given.into, *folders)
    else:
        write(given.bin, given.python, folders, given.packs)


if __name__ == "__main__":
    main()
