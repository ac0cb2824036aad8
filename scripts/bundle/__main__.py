"""Make the portable bundle: python -m scripts.bundle [--arch amd64|arm64] [--into FOLDER] [EXTRA...]

The bundle is runwasi-VERSION-linux-ARCH.tar.xz: this work tree's package, its dependencies as wheels, CPython with
its libraries and loader from Debian's packages, and the compiled client. It needs nothing of a node but the kernel
and a shell. The same commit, packages and tools make the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

import runwasi
from devtools.pip import PIP_INSTALL
from runwasi.startup import installation
from scripts import launchers
from scripts.bundle import python_tree
from scripts.bundle.bundle_installer import INTERPRETER, LOADER, PREFIX
from scripts.source_time import source_time

ROOT = Path(__file__).parents[2]
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_WHEELS = (
    "manylinux_2_39",
    "manylinux_2_34",
    "manylinux_2_31",
    "manylinux_2_28",
    "manylinux_2_17",
    "manylinux2014",
)
_FROM_DEBIAN = "python-prctl"
_INSTALLER = (
    "__init__.py",
    "documents.py",
    "installer.py",
    "launchers.py",
    "bundle/__init__.py",
    "bundle/interpreter.py",
    "bundle/bundle_installer.py",
)

_INSTALL = """\
#!/bin/sh
# Install runwasi under a prefix, or remove it: install [add [PREFIX]] | install remove [PREFIX]
# The prefix is /opt/runwasi unless given.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
python=$here/version/python
exec "$python/lib/ld.so" --library-path "$python/lib" --argv0 "$python/bin/python3" "$python/bin/python3" \\
    -ISB "$here/installer/run.py" "$@"
"""
_RUN = """\
import os, sys
here = os.path.dirname(os.path.abspath(__file__))
sys.path += [here, os.path.dirname(here) + "/version/site-packages"]
from scripts.bundle.bundle_installer import main
main()
"""


def make(arch: str, bundle: Path, extras: list[str]) -> None:
    """Make the bundle's folder for amd64 or arm64, with these optional dependencies.

    Raises CalledProcessError, LookupError, OSError; exits with a message without a compiler that links statically.
    """
    cache = ROOT / "build/cache"
    packages = python_tree.fetch(arch, cache)
    version = bundle / "version"
    python_tree.make(packages, version)
    _add_packages(arch, version / "site-packages", extras)
    python_tree.add_libraries(packages, version)
    name = f"{runwasi.__version__}-{_digest(version)}"
    (bundle / "NAME").write_text(f"{name}\n")
    tool = version
    if arch != _own_arch():  # bytecode is the same on every architecture
        tool = cache / "bundle-tool"
        shutil.rmtree(tool, ignore_errors=True)
        own = python_tree.fetch(_own_arch(), cache)
        python_tree.make(own, tool)
        python_tree.add_libraries(own, tool)
    _compile(tool, version, name)
    where = f"../lib/runwasi/{name}/{installation.LAUNCHERS}/%s"
    if arch != _own_arch():
        os.environ["CC"] = f"{_MACHINES[arch]}-linux-gnu-gcc"
    if launchers.compile_client(str(version / "client"), VERSION=name, LAUNCHER=where) != "static":
        sys.exit("the bundle's shims are linked statically: install a C compiler and a static C library")
    for file in _INSTALLER:
        target = bundle / "installer/scripts" / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "scripts" / file, target)
    (bundle / "installer/run.py").write_text(_RUN)
    (bundle / "install").write_text(_INSTALL)
    shutil.copy(ROOT / "LICENSE", bundle)
    python_tree.licenses(packages, bundle / "licenses")
    subprocess.run(["chmod", "-R", "u=rwX,go=rX", bundle], check=True)
    (bundle / "install").chmod(0o755)


def _own_arch() -> str:
    return next(arch for arch, machine in _MACHINES.items() if machine == os.uname().machine)


def _add_packages(arch: str, site: Path, extras: list[str]) -> None:
    """Add this work tree's package and, as wheels for the architecture, what it depends on."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    wanted = project["dependencies"] + [
        name for extra in extras for name in project["optional-dependencies"][extra]
    ]
    wanted = [name for name in wanted if not name.startswith(_FROM_DEBIAN)]
    with tempfile.TemporaryDirectory() as folder:
        command = [*PIP_INSTALL, "--no-compile", "--target", folder]
        command += ["--only-binary", ":all:", "--implementation", "cp"]
        command += ["--python-version", python_tree.VERSION, "--constraint", "constraints-dev.txt"]
        for tag in _WHEELS:
            command += ["--platform", f"{tag}_{_MACHINES[arch]}"]
        subprocess.run([*command, *wanted], check=True, cwd=ROOT)
        shutil.rmtree(f"{folder}/bin", ignore_errors=True)
        for record in Path(folder).glob("*.dist-info/*"):
            if record.name in ("RECORD", "direct_url.json", "REQUESTED"):
                record.unlink()
        shutil.copytree(folder, site, dirs_exist_ok=True)
    for name in _tracked("runwasi"):
        target = site / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)


def _tracked(folder: str) -> list[str]:
    done = subprocess.run(
        ["git", "ls-files", "-z", folder], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return done.stdout.strip("\0").split("\0")


def _digest(version: Path) -> str:
    """Return what tells this content, launchers and compiler from all others."""
    digest = hashlib.sha256(launchers.compiler().encode())
    files = sorted(path for path in version.rglob("*") if path.is_file())
    for path in [*(ROOT / "scripts" / file for file in _INSTALLER), *files]:
        name = path.relative_to(version if path.is_relative_to(version) else ROOT)
        digest.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:12]


def _compile(tool: Path, version: Path, name: str) -> None:
    """Compile all modules, and pack those that programs import at every start."""
    python = [
        str(tool / LOADER),
        "--library-path",
        str(tool / "python/lib"),
        "--argv0",
        str(tool / INTERPRETER),
    ]
    python += [str(tool / INTERPRETER), "-ISB"]
    final = f"{PREFIX}/lib/runwasi/{name}"
    compiling = [
        "-m",
        "compileall",
        "-q",
        "-f",
        "--invalidation-mode",
        "unchecked-hash",
        "-s",
        str(version),
        "-p",
        final,
    ]
    folders = [str(version / "site-packages"), str(version / f"python/lib/python{python_tree.VERSION}")]
    subprocess.run([*python, *compiling, *folders], check=True)
    launchers.pack(str(version / "bytecode"), folders[0], python)


def archive(bundle: Path, path: Path, time: int) -> None:
    """Write the folder as a tar.xz at path. It depends on nothing but the content and time, in seconds since 1970."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = time, 0, 0, "root", "root"
        return entry

    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(f"{path}.new", "w:xz", format=tarfile.PAX_FORMAT) as tar:
        tar.add(bundle, bundle.name, recursive=False, filter=plain)
        for each in sorted(bundle.rglob("*")):
            tar.add(each, f"{bundle.name}/{each.relative_to(bundle)}", recursive=False, filter=plain)
    os.replace(f"{path}.new", path)


def main() -> None:
    """Make the bundle that the arguments ask for, and print its path."""
    parser = argparse.ArgumentParser(prog="bundle", description="Make the portable bundle.")
    parser.add_argument("extras", nargs="*", help="optional dependencies to add: wasmer, metrics")
    parser.add_argument("--arch", choices=sorted(_MACHINES), default=_own_arch(), help="(%(default)s)")
    parser.add_argument("--into", type=Path, default=ROOT / "dist", metavar="FOLDER", help="instead of dist")
    given = parser.parse_args()
    name = f"runwasi-{runwasi.__version__}-linux-{given.arch}"
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as folder:
        bundle = Path(folder, name)
        make(given.arch, bundle, given.extras)
        archive(bundle, given.into / f"{name}.tar.xz", source_time())
    print(given.into / f"{name}.tar.xz")


if __name__ == "__main__":
    main()
