"""Makes the bundle's Python from Debian's packages, with all libraries down to the loader."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from scripts.bundle import interpreter
from scripts.bundle.bundle_installer import INTERPRETER, LOADER

SUITE, VERSION = "trixie", "3.13"
PACKAGES = f"python{VERSION} libpython{VERSION}-stdlib python3-prctl libseccomp2 libgcc-s1 libstdc++6"
"""python3-prctl is the one dependency of ours that has no wheels."""

_LEFT_OUT = (
    *("test", "idlelib", "tkinter", "turtledemo", "turtle.py", "ensurepip", "venv", "pydoc_data", "lib2to3"),
    *("sqlite3", "dbm", "curses", "__phello__", "unittest", "doctest.py", "_pyrepl", f"config-{VERSION}-*"),
)
_EXTENSIONS_LEFT_OUT = (
    *(
        "_test*",
        "_xxtest*",
        "xx*",
        "_ctypes_test*",
        "_sqlite3*",
        "_dbm*",
        "_curses*",
        "readline*",
        "_tkinter*",
    ),
    *("_codecs_*", "_multibytecodec*", "_lsprof*"),  # of languages whose encodings no node's names are in
)
_ALSO = ("libseccomp.so.2",)  # loaded by its name


def fetch(arch: str, cache: Path) -> Path:
    """Return the folder with the packages of an architecture (amd64, arm64), unpacked into the cache the first time.

    Raises CalledProcessError.
    """
    folder = cache / f"bundle-{arch}"
    if not folder.is_dir():
        environment = {**os.environ, "DEBIAN_ARCH": arch}
        command = ["scripts/debian-package", SUITE, PACKAGES, str(folder), "--with-dependencies"]
        subprocess.run(command, check=True, env=environment)
    return folder


def make(packages: Path, version: Path) -> None:
    """Make the folder `python` of a version, and the extension prctl in its `site-packages`.

    Raises OSError, CalledProcessError. Source: man 1 patchelf.
    """
    python = version / INTERPRETER
    python.parent.mkdir(parents=True)
    shutil.copy(packages / f"usr/bin/python{VERSION}", python)
    placeholders = [
        "--set-interpreter",
        interpreter.LOADER,
        "--force-rpath",
        "--set-rpath",
        interpreter.LIBRARIES,
    ]
    subprocess.run(["patchelf", *placeholders, python], check=True)
    library = version / f"python/lib/python{VERSION}"
    source = packages / f"usr/lib/python{VERSION}"
    shutil.copytree(
        source,
        library,
        ignore=shutil.ignore_patterns("__pycache__", "lib-dynload", "sitecustomize.py", *_LEFT_OUT),
    )
    shutil.copytree(
        source / "lib-dynload", library / "lib-dynload", ignore=shutil.ignore_patterns(*_EXTENSIONS_LEFT_OUT)
    )
    (version / "site-packages").mkdir(exist_ok=True)
    modules = packages / "usr/lib/python3/dist-packages"
    for pattern in ("_prctl.*.so", "prctl.py"):
        for found in modules.glob(pattern):
            shutil.copy(found, version / "site-packages")


def add_libraries(packages: Path, version: Path) -> None:
    """Copy the loader, and every library that a program or extension below the version names.

    Raises LookupError for one that no package has, and CalledProcessError. Source: man 5 elf, DT_NEEDED.
    """
    folder = version / "python/lib"
    (found,) = packages.glob("usr/lib/*/ld-linux-*.so.*")
    shutil.copy(found, version / LOADER)
    os.symlink(Path(LOADER).name, folder / found.name)  # the C library asks for it by this name
    asked = set(_ALSO)
    for path in version.rglob("*"):
        if path.is_file() and (path == version / INTERPRETER or ".so" in path.name):
            asked |= _needed(path)
    done = {found.name, *(path.name for path in version.glob("site-packages/**/*.so*"))}
    while asked - done:
        name = min(asked - done)
        source = _library(packages, found.parent, name)
        shutil.copy(source, folder / name)
        asked |= _needed(source)
        done.add(name)


def _library(packages: Path, folder: Path, name: str) -> Path:
    for place in (folder, *packages.glob("lib/*-linux-gnu")):
        if (place / name).exists():
            return (place / name).resolve()
    raise LookupError(f"no package has the library {name}")


def _needed(path: Path) -> set[str]:
    """Return the names of the libraries that a file asks for."""
    done = subprocess.run(["readelf", "--dynamic", path], check=True, capture_output=True, text=True)
    return set(re.findall(r"\(NEEDED\).*\[(.+)\]", done.stdout))


def licenses(packages: Path, into: Path) -> None:
    """Copy the copyright file of each Debian package to a folder of its name. Raises OSError."""
    for path in sorted(packages.glob("usr/share/doc/*/copyright")):
        target = into / path.parent.name
        target.mkdir(parents=True)
        shutil.copy(path, target / "copyright")
