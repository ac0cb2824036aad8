"""Install runwasi under a prefix, or remove it.

    install add PREFIX [EXTRA...]    EXTRA is an optional dependency of pyproject.toml: wasmer, metrics
    install remove PREFIX

A version, by its number and a digest of its content, has a folder below PREFIX/lib/runwasi, and PREFIX/bin its
programs, which name that folder. A new one is made beside the others and moved into place when it is whole; then each
program is replaced by a rename, and then the others are superseded: an installer that is killed on the way leaves
programs that work. Processes of an older version keep it, see runwasi/startup/installation.py. PREFIX/share gets the
manual and the shell completions.

DESTDIR, when set, is put before every path that is written to, for those who make packages.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from fcntl import F_OFD_SETLK, fcntl

from runwasi.startup import installation
from scripts import documents, launchers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_MANIFEST = "manifest"
# These lay in lib/runwasi itself before there was a folder per version.
_BEFORE_VERSIONS = ("bytecode", "launchers", "site-packages")
_OF_ONE_RUN = ("RECORD", "direct_url.json")  # pip notes in them where it ran
_READ_LOCK = bytes(32)  # struct flock: F_RDLCK, the whole file


class Place:
    """Where an installation is: the folder of its versions as programs name it, and what is written to."""

    def __init__(self, prefix: str, destination: str) -> None:
        self.named = f"{prefix}/lib/runwasi"
        self.versions = f"{destination}{prefix}/lib/runwasi"
        self.programs = f"{destination}{prefix}/bin"
        self.share = f"{destination}{prefix}/share"


def add(place: Place, extras: list[str]) -> None:
    """Install this work tree."""
    with staged(place.versions) as under_way:
        site = f"{under_way}/site-packages"
        _install_packages(site, extras)
        name = free_name(place.versions, f"{_version(site)}-{_digest(site)}")
        final = f"{place.named}/{name}"
        # Unchecked: an installed file does not change, so no start of a container looks at its source's time again.
        compileall = [
            sys.executable,
            "-m",
            "compileall",
            "-q",
            "-j",
            "0",
            "--invalidation-mode",
            "unchecked-hash",
        ]
        subprocess.run([*compileall, "-s", under_way, "-p", final, site], check=True)
        launchers.pack(f"{under_way}/bytecode", site)
        client = f"{under_way}/client"
        where = f"../lib/runwasi/{name}/{installation.LAUNCHERS}/%s"
        compiled = launchers.compile_client(client, VERSION=name, LAUNCHER=where)
        finish(place, under_way, name, sys.executable, client if compiled else "")
    documents.write(place.share)
    remove_others(place)


def finish(place: Place, under_way: str, name: str, python: str, client: str) -> None:
    """Write the programs of a version under way, and have those in PATH start it instead of others.

    python is the interpreter's path once that version is in place; client is the compiled one, "" without one.
    """
    launchers.write_installed(under_way, python, f"{place.named}/{name}", client)
    if client:
        os.unlink(client)
    _open_to_all(under_way)
    write_manifest(under_way)
    switch(place, under_way, name)


def _open_to_all(folder: str) -> None:
    """Let everybody read what is in a folder, and its owner write, whatever the umask; a node may have no chmod."""
    for parent, folders, names in os.walk(folder):
        os.chmod(parent, 0o755)
        for path in (f"{parent}/{name}" for name in names):
            if not os.path.islink(path):
                os.chmod(path, 0o755 if os.stat(path).st_mode & 0o111 else 0o644)
        folders[:] = [name for name in folders if not os.path.islink(f"{parent}/{name}")]


def remove_others(place: Place) -> None:
    """Remove the versions that nothing starts and nobody runs from, and name those that stay."""
    installation.remove_superseded(place.versions)
    _tell_of_kept(place.versions)


def remove(place: Place) -> None:
    """Remove the installation. A version that processes still run from goes with the last of them."""
    try:
        lock = installation.own(place.versions, wait=True)
    except FileNotFoundError:
        launchers.remove(place.programs)
        return
    try:
        _remove_before_versions(place.versions)
        for name in installation.versions(place.versions):
            _mark(f"{place.versions}/{name}")
        with open(f"{place.versions}/{installation.UNINSTALLED}", "w", encoding="utf-8") as file:
            file.write(place.programs)
        launchers.remove(place.programs, kept=installation.CLEANERS)
        installation.settle_programs(place.versions)
    finally:
        os.close(lock)
    installation.remove_superseded(place.versions)
    if not installation.versions(place.versions):
        launchers.remove(place.programs)
    _tell_of_kept(place.versions)


def switch(place: Place, staged: str, name: str) -> None:
    """Move a version to where its programs expect it, unless it is there already, and have the programs start it."""
    lock = installation.own(place.versions, wait=True)
    try:
        version = f"{place.versions}/{name}"
        if not _is_whole(version):
            os.rename(staged, version)
        _unmark(version)
        documents.make_folders(place.programs)
        for program in sorted(os.listdir(f"{version}/{installation.PROGRAMS}")):
            installation.put_program(f"{version}/{installation.PROGRAMS}/{program}", place.programs)
        for other in installation.versions(place.versions):
            if other != name:
                _mark(f"{place.versions}/{other}")
        if os.path.lexists(f"{place.versions}/{installation.UNINSTALLED}"):
            os.unlink(f"{place.versions}/{installation.UNINSTALLED}")
        _remove_before_versions(place.versions)
    finally:
        os.close(lock)


@contextmanager
def staged(parent: str) -> Iterator[str]:
    """Make a folder for a version to come, which whoever removes superseded ones takes away when we are killed."""
    lock = _own_made(parent)
    try:
        staged = tempfile.mkdtemp(prefix=installation.STAGED, dir=parent)
        _mark(staged)
        held = os.open(f"{staged}/{installation.LOCK}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl(held, F_OFD_SETLK, _READ_LOCK)
    finally:
        os.close(lock)
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        os.close(held)


def _own_made(parent: str) -> int:
    """Make the folder of the versions and lock it, though others may just be removing it with the last version."""
    while True:
        documents.make_folders(parent)
        try:
            return installation.own(parent, wait=True)
        except FileNotFoundError:
            continue


def _install_packages(site: str, extras: list[str]) -> None:
    """Have pip put this work tree and what it depends on into a folder."""
    with tempfile.TemporaryDirectory() as folder:
        # pip of a throw-away environment: Debian's own refuses to run outside of one.
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        # Twice quiet: only its errors, not how it means to build python-prctl one day.
        pip = [f"{folder}/bin/pip", "install", "-qq", "--no-compile", "--disable-pip-version-check"]
        wanted = f"{_ROOT}[{','.join(extras)}]" if extras else _ROOT
        # Without debugging information a C extension is the same wherever it is compiled.
        subprocess.run(
            [*pip, "--target", site, wanted],
            env={
                **os.environ,
                "CFLAGS": f"{os.environ.get('CFLAGS', '')} -g0",
                "RUNWASI_BUILD_CLIENT": "off",  # ours is compiled for its version's folder
            },
            check=True,
        )
    shutil.rmtree(f"{site}/bin", ignore_errors=True)


def _version(site: str) -> str:
    (name,) = (
        name for name in os.listdir(site) if name.startswith("runwasi-") and name.endswith(".dist-info")
    )
    return name.removeprefix("runwasi-").removesuffix(".dist-info")


def _digest(site: str) -> str:
    """Return what tells this content, its interpreter, launchers and client from all others."""
    digest = hashlib.sha256(f"{sys.executable} {sys.version} {launchers.compiler()}".encode())
    for path in [launchers.__file__, *_files(site)]:
        if os.path.basename(path) in _OF_ONE_RUN:
            continue
        digest.update(f"{path.removeprefix(site)} {_hash_of(path)}\n".encode())
    return digest.hexdigest()[:12]


def free_name(parent: str, name: str) -> str:
    """Return the name for a version: another where that folder is damaged, for processes may run from it."""
    number = 1
    chosen = name
    while os.path.lexists(f"{parent}/{chosen}") and not _is_whole(f"{parent}/{chosen}"):
        number += 1
        chosen = f"{name}-{number}"
    return chosen


def _files(folder: str) -> list[str]:
    """Return the paths of all files below a folder that belong to its content, sorted."""
    ours = {f"{folder}/{name}" for name in (_MANIFEST, installation.LOCK, installation.SUPERSEDED)}
    paths = {os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names}
    return sorted(paths - ours)


def _hash_of(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifest(version: str) -> str:
    return "".join(f"{_hash_of(path)}  {path.removeprefix(version + '/')}\n" for path in _files(version))


def write_manifest(version: str) -> None:
    with open(f"{version}/{_MANIFEST}", "w", encoding="utf-8") as file:
        file.write(_manifest(version))


def _is_whole(version: str) -> bool:
    """Return whether a version is there as it was installed."""
    try:
        with open(f"{version}/{_MANIFEST}", encoding="utf-8") as file:
            return file.read() == _manifest(version)
    except FileNotFoundError:
        return False


def _mark(version: str) -> None:
    with open(f"{version}/{installation.SUPERSEDED}", "w", encoding="utf-8"):
        pass


def _unmark(version: str) -> None:
    if os.path.lexists(f"{version}/{installation.SUPERSEDED}"):
        os.unlink(f"{version}/{installation.SUPERSEDED}")


def _remove_before_versions(parent: str) -> None:
    for folder in _BEFORE_VERSIONS:
        shutil.rmtree(f"{parent}/{folder}", ignore_errors=True)


def _tell_of_kept(parent: str) -> None:
    for name in installation.superseded(parent):
        if not name.startswith("."):
            print(f"kept {parent}/{name}: processes run from it, and it goes with the last of them")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="install", description="Install runwasi under a prefix, or remove it."
    )
    parser.add_argument("action", choices=["add", "remove"])
    parser.add_argument("prefix")
    parser.add_argument("extras", nargs="*", help="optional dependencies to install too: wasmer, metrics")
    given = parser.parse_args()
    place = Place(os.path.abspath(given.prefix), os.environ.get("DESTDIR", ""))
    if given.action == "add":
        add(place, given.extras)
        print(f"installed in {place.programs}; `runwasi doctor` says what this node has and lacks")
    else:
        remove(place)
        documents.remove(place.share)
