"""Make the Debian packages from a bundle's archive: python -m scripts.deb --arch amd64|arm64 [--into FOLDER]

runwasi_VERSION_ARCH.deb has the bundle of that architecture and runwasi-systemd_VERSION_all.deb systemd's units.
The same commit, archive and dpkg make the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import runwasi
from runwasi.cli import completion
from runwasi.deployment import daemon_units
from runwasi.engines import registry
from scripts import documents
from scripts.deb import control
from scripts.launchers import ENGINES
from scripts.source_time import source_time

ROOT = Path(__file__).parents[2]
BUNDLE = "usr/lib/runwasi/bundle"
_COMPLETIONS = {
    "bash": f"usr/share/{documents.BASH}",
    "zsh": "usr/share/zsh/vendor-completions/_runwasi",  # Debian's folder for packages
    "fish": f"usr/share/{documents.FISH}",
}
_SCRIPTS = ("postinst", "prerm", "postrm")


def maintainer() -> str:
    """Return "NAME <EMAIL>" from DEBFULLNAME and DEBEMAIL, else from the commit's author. Raises CalledProcessError.

    Source: man 1 debchange.
    """
    command = ["git", "log", "-1", "--format=%an%n%ae"]
    name, email = subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    return f"{os.environ.get('DEBFULLNAME', name)} <{os.environ.get('DEBEMAIL', email)}>"


def make(
    bundle: Path, arch: str, version: str, into: Path, time: int, compression: str = "xz"
) -> tuple[Path, Path]:
    """Make both packages of a version from a bundle's folder; return the paths of runwasi's and runwasi-systemd's.

    time, in seconds since 1970, is that of every file in them. Raises CalledProcessError, LookupError, OSError.
    """
    debian, whose = control.version_of(version), maintainer()
    changes = control.changelog((ROOT / "CHANGELOG.md").read_text(), version, debian, whose, time)
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into) as folder:
        runtime, units = Path(folder, "runwasi"), Path(folder, "runwasi-systemd")
        shutil.copytree(bundle, runtime / BUNDLE, symlinks=True)
        _write_documents(runtime, changes, control.copyright_of(bundle / "licenses", time))
        _write_units(units, changes, time)
        made = into / f"runwasi_{debian}_{arch}.deb", into / f"runwasi-systemd_{debian}_all.deb"
        _build(runtime, made[0], control.runtime(debian, arch, whose, _size(runtime)), time, compression)
        _build(units, made[1], control.units(debian, whose, _size(units)), time, compression)
    return made


def _write_documents(tree: Path, changes: str, licences: str) -> None:
    folder = tree / "usr/share/doc/runwasi"
    _compress(folder / "changelog.gz", changes.encode())
    (folder / "copyright").write_text(licences)
    _compress(tree / f"usr/share/{documents.MANUAL}.gz", (ROOT / "docs/man/runwasi.1").read_bytes())
    for shell, name in _COMPLETIONS.items():
        (tree / name).parent.mkdir(parents=True)
        (tree / name).write_text(completion.script_for(shell))
    _copy_overrides(tree, "runwasi")


def _write_units(tree: Path, changes: str, time: int) -> None:
    folder = tree / "usr/lib/systemd/system"
    folder.mkdir(parents=True)
    name = registry.daemon_name(registry.DEFAULT)
    (folder / f"{name}.service").write_text(daemon_units.service(registry.DEFAULT, f"/usr/bin/{name}"))
    (folder / f"{name}.socket").write_text(daemon_units.socket(registry.DEFAULT))
    folder = tree / "usr/share/doc/runwasi-systemd"
    _compress(folder / "changelog.gz", changes.encode())
    (folder / "copyright").write_text(control.copyright_of(tree, time))
    _copy_overrides(tree, "runwasi-systemd")


def _copy_overrides(tree: Path, package: str) -> None:
    source = ROOT / f"packaging/debian/{package}.lintian-overrides"
    if source.exists():
        (tree / "usr/share/lintian/overrides").mkdir(parents=True)
        shutil.copy(source, tree / f"usr/share/lintian/overrides/{package}")


def _compress(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, mtime=0))


def _size(tree: Path) -> int:
    """Return how much a tree takes, in KiB, as dpkg-gencontrol counts: files rounded up, and 1 for all else."""
    return sum(
        -(-path.lstat().st_size // 1024) if path.is_file() and not path.is_symlink() else 1
        for path in tree.rglob("*")
    )


def _build(tree: Path, package: Path, fields: str, time: int, compression: str) -> None:
    """Build a package. Neither the umask nor who builds it shows."""
    subprocess.run(["chmod", "-R", "u=rwX,go=rX", tree], check=True)
    sums = [
        f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {path.relative_to(tree)}\n"
        for path in sorted(tree.rglob("*"))
        if path.is_file() and not path.is_symlink()
    ]
    folder = tree / "DEBIAN"
    folder.mkdir(mode=0o755)
    (folder / "control").write_text(fields)
    (folder / "md5sums").write_text("".join(sums))
    for name in ("control", "md5sums"):
        (folder / name).chmod(0o644)
    for script in _SCRIPTS:
        text = (ROOT / f"packaging/debian/{tree.name}.{script}").read_text()
        (folder / script).write_text(text.replace("@ENGINES@", " ".join(ENGINES)))
        (folder / script).chmod(0o755)
    for path in [tree, *tree.rglob("*")]:
        os.utime(path, (time, time), follow_symlinks=False)
    command = ["dpkg-deb", "--root-owner-group", f"-Z{compression}", "--threads-max=1", "--build"]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(time)}
    subprocess.run([*command, tree, package], check=True, env=environment, stdout=subprocess.DEVNULL)


def main() -> None:
    """Make the packages from the bundle's archive in dist, and print their paths."""
    parser = argparse.ArgumentParser(prog="deb", description="Make the Debian packages from a bundle.")
    parser.add_argument("--arch", choices=["amd64", "arm64"], required=True, help="of the bundle in dist")
    parser.add_argument("--into", type=Path, default=ROOT / "dist", metavar="FOLDER", help="instead of dist")
    given = parser.parse_args()
    name = f"runwasi-{runwasi.__version__}-linux-{given.arch}"
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as folder:
        subprocess.run(["tar", "-xJf", ROOT / f"dist/{name}.tar.xz", "-C", folder], check=True)
        made = make(Path(folder, name), given.arch, runwasi.__version__, given.into, source_time())
    print(*made, sep="\n")


if __name__ == "__main__":
    main()
