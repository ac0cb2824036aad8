"""Make the node installer's image: python -m scripts.node_installer [--arch amd64|arm64] [--into FOLDER]

It is made of the bundle in dist, on_node.py and one static program, and of nothing else; `make installer-image`
makes the bundle first. The image is an OCI archive, runwasi-node-installer-VERSION-ARCH.tar.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import runwasi
from devtools.oci_image import tree_layer, write_image
from scripts.launchers import compiler

ROOT = Path(__file__).parents[2]
PROGRAM = "node-installer"
_HERE = Path(__file__).parent
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


def make(bundle: Path, arch: str, name: str, into: Path) -> Path:
    """Make the image of that name from a bundle's folder; return its archive. Raises CalledProcessError, OSError."""
    archive = into / f"runwasi-{PROGRAM}-{runwasi.__version__}-{arch}.tar"
    with tempfile.TemporaryDirectory(dir=bundle.parent) as folder:
        tree = Path(folder)
        bundle.rename(tree / "bundle")
        shutil.copy(_HERE / "on_node.py", tree)
        _compile(arch, tree / PROGRAM)
        subprocess.run(["chmod", "-R", "u=rwX,go=rX", tree], check=True)
        layer = tree_layer(tree)
        write_image(archive, name, layer, command=["stay"], entrypoint=[f"/{PROGRAM}"], architecture=arch)
    return archive


def _compile(arch: str, into: Path) -> None:
    own = os.uname().machine == _MACHINES[arch]
    command = [compiler() if own else f"{_MACHINES[arch]}-linux-gnu-gcc"]
    command += ["-O2", "-s", "-static", "-Wall", "-Wextra", "-Werror", "-o", str(into)]
    subprocess.run([*command, _HERE / "node_installer.c"], check=True)


def main() -> None:
    """Make the image from the bundle's archive in dist, and print its path."""
    own = next((arch for arch, machine in _MACHINES.items() if machine == os.uname().machine), None)
    parser = argparse.ArgumentParser(prog="node_installer", description="Make the node installer's image.")
    parser.add_argument("--arch", choices=sorted(_MACHINES), default=own, help="(%(default)s)")
    parser.add_argument("--into", type=Path, default=ROOT / "dist", metavar="FOLDER", help="instead of dist")
    default = f"localhost/runwasi-{PROGRAM}:{runwasi.__version__}"
    parser.add_argument("--name", default=default, help="the image's name (%(default)s)")
    given = parser.parse_args()
    name = f"runwasi-{runwasi.__version__}-linux-{given.arch}"
    archive = ROOT / f"dist/{name}.tar.xz"
    if not archive.exists():
        sys.exit(f"node_installer: make bundle first: there is no {archive}")
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as folder:
        subprocess.run(["tar", "-xJf", archive, "-C", folder], check=True)
        print(make(Path(folder, name), given.arch, given.name, given.into))


if __name__ == "__main__":
    main()
