"""Writes the paths of loader and libraries into an interpreter's file: nothing else ties it to a place.

Linux executes the loader at the absolute path in a program's PT_INTERP segment, and the loader looks for libraries in
the folders of its DT_RPATH. The bundle's interpreter has long placeholders there, and the bundle's installer writes
its own paths over them. $ORIGIN would not do for the libraries: a pod's server is executed from a private clone of
the interpreter's mount (docs/decisions/0002-read-only-interpreter.md), where no path leads to them.
Source: man 5 elf, man 8 ld.so.
"""

from __future__ import annotations

import os

LOADER = "/runwasi-loader".ljust(1023, "/")
LIBRARIES = "/runwasi-libraries".ljust(1023, "/")
"""The placeholders: 1,023 bytes, longer than any path that fits into a script's first line."""


class WrongInterpreter(Exception):
    """The file has no placeholders, or a path is too long for them."""


def name_loader(path: str, loader: str, libraries: str) -> None:
    """Make the program at path start by this loader, with the libraries of this folder.

    Both are absolute paths. The file is replaced by a rename, as others may share it or run from it. Raises OSError,
    WrongInterpreter.
    """
    with open(path, "rb") as file:
        content = file.read()
        mode = os.fstat(file.fileno()).st_mode & 0o777
    for placeholder, name in ((LOADER, loader), (LIBRARIES, libraries)):
        room, wanted = os.fsencode(placeholder) + b"\0", os.fsencode(name) + b"\0"
        if content.count(room) != 1:
            raise WrongInterpreter(f"{path}: is not the interpreter of a bundle")
        if len(wanted) > len(room):
            raise WrongInterpreter(f"{name}: the path is longer than {len(room) - 1} bytes")
        content = content.replace(room, wanted.ljust(len(room), b"\0"))
    with open(f"{path}.new", "wb") as file:
        file.write(content)
        os.fchmod(file.fileno(), mode)
    os.replace(f"{path}.new", path)
