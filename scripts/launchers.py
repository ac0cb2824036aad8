"""Write the programs that users and containerd start, as small Python files.

A pip console script spends 15 to 20 ms before its first line of ours: site.py, .pth files, the package
metadata. These start the interpreter with -I -S and add the one folder they need, which takes 7 ms.

    launchers.py write  --python /usr/bin/python3.11 --bin build/bin --path FOLDER [--path FOLDER ...]
    launchers.py remove --bin /usr/local/bin
"""

from __future__ import annotations

import argparse
import os
import sys

ENGINES = ("wasmtime", "wasmedge", "wasmer")

_MARK = "# A launcher of runwasi"
_LAUNCHER = """\
#!{python} -IS
{mark}: written by its installer, removed by `make uninstall`.
import gc, os, sys

gc.disable()  # nothing that a start makes is garbage before its end
sys.path += {folders!r}
from {module} import {function}

status = {function}({arguments})
sys.stdout.flush()
os._exit(status)  # taking the interpreter down would cost 3 ms
"""


def programs() -> dict[str, tuple[str, str, str]]:
    """Every program's name, with the module and the function that it calls, and the arguments of the call."""
    table = {
        "runwasi": ("runwasi.cli.main", "main", ""),
        "oci-tar-builder": ("runwasi.cli.image", "tar_builder_main", ""),
    }
    for engine in ENGINES:
        table[f"containerd-shim-{engine}-v1"] = ("runwasi.shim.main", "main", f'"{engine}"')
        table[f"containerd-shim-{engine}d-v1"] = ("runwasi.shim.client", "main", f'"{engine}"')
        table[f"containerd-{engine}d"] = ("runwasi.shim.daemon", "main", f'"{engine}"')
    return table


def write(bin_folder: str, python: str, folders: list[str]) -> None:
    """Write every launcher into bin_folder, by renames, so that one being executed is never half there."""
    os.makedirs(bin_folder, exist_ok=True)
    for name, (module, function, arguments) in programs().items():
        path = os.path.join(bin_folder, name)
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(
                _LAUNCHER.format(
                    python=python,
                    mark=_MARK,
                    folders=folders,
                    module=module,
                    function=function,
                    arguments=arguments,
                )
            )
        os.chmod(path + ".new", 0o755)
        os.replace(path + ".new", path)


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
    parser.add_argument("action", choices=["write", "remove"])
    parser.add_argument("--bin", required=True, help="the folder of the programs")
    parser.add_argument("--python", default=sys.executable, help="the interpreter they start")
    parser.add_argument("--path", action="append", default=[], help="a folder to import from, in order")
    given = parser.parse_args()
    if given.action == "remove":
        remove(given.bin)
    else:
        write(given.bin, given.python, [os.path.abspath(folder) for folder in given.path])


if __name__ == "__main__":
    main()
