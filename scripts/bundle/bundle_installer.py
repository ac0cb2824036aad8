"""Install the bundle under a prefix, or remove it again. The bundle's `install` calls this with its own interpreter.

    install [add [PREFIX]]     PREFIX is /opt/runwasi unless given
    install remove [PREFIX]

The prefix gets the same folders as from `make install`: one for this version, which is made beside the others and
moved into place when it is whole, and the programs, which are then replaced by a rename each. Processes of an older
version keep it. DESTDIR, when set, is put before every path that is written to.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys

from scripts import documents, installer
from scripts.bundle.interpreter import WrongInterpreter, name_loader

PREFIX = "/opt/runwasi"
INTERPRETER, LOADER = "python/bin/python3", "python/lib/ld.so"
"""Below the folder of a version."""
_FIRST_LINE = 255
"""Bytes that Linux reads of a script's first line, from 5.1 on. Source: man 2 execve."""


class WrongPrefix(Exception):
    """Programs below this prefix could not start: their first line would be too long, or have a space."""


def add(place: installer.Place, bundle: str, *, share: bool = False) -> None:
    """Install the version that is in the bundle's folder.

    With share, files are hard links to the bundle's, which saves their space; the interpreter never is one. A package
    that shares them has its own manual and completions. Raises OSError, WrongInterpreter, WrongPrefix; exits with a
    message if the installed version was changed.
    """
    with open(f"{bundle}/NAME", encoding="utf-8") as file:
        name = file.read().strip()
    interpreter = f"{place.named}/{name}/{INTERPRETER}"
    if len(os.fsencode(f"#!{interpreter} -IS")) > _FIRST_LINE or " " in interpreter or "\t" in interpreter:
        raise WrongPrefix(
            f"{interpreter}: Linux takes no spaces and {_FIRST_LINE} bytes at most in a script's first line"
        )
    with installer.staged(place.versions) as under_way:
        if installer.free_name(place.versions, name) != name:
            sys.exit(
                f"{place.versions}/{name} was changed since it was installed: stop its pods and remove it first"
            )
        shutil.copytree(
            f"{bundle}/version",
            under_way,
            dirs_exist_ok=True,
            copy_function=os.link if share else shutil.copy,
        )
        final = f"{place.named}/{name}"
        name_loader(f"{under_way}/{INTERPRETER}", f"{final}/{LOADER}", f"{final}/{os.path.dirname(LOADER)}")
        installer.finish(place, under_way, name, interpreter, f"{under_way}/client")
    if not share:
        documents.write(place.share)
    installer.remove_others(place)


def main() -> None:
    """Install or remove as the arguments ask; exit with a message on failure."""
    parser = argparse.ArgumentParser(
        prog="install", description="Install runwasi under a prefix, or remove it."
    )
    parser.add_argument("action", choices=["add", "remove"], nargs="?", default="add")
    parser.add_argument("prefix", nargs="?", default=PREFIX)
    parser.add_argument(
        "--share",
        action="store_true",
        help="for packages of a system: make hard links to the bundle's files, and no manual",
    )
    given = parser.parse_args()
    place = installer.Place(os.path.abspath(given.prefix), os.environ.get("DESTDIR", ""))
    bundle = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    try:
        if given.action == "add":
            add(place, bundle, share=given.share)
        else:
            installer.remove(place)
            if not given.share:
                documents.remove(place.share)
    except (OSError, WrongInterpreter, WrongPrefix) as error:
        sys.exit(f"install: {error}")


if __name__ == "__main__":
    main()
