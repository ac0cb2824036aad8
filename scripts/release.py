"""Build the files of a release twice, compare them, and put them into dist.

    python -m scripts.release [--rehearse] [--arch ARCH...]

They are the source archive, the wheel of this architecture and the one for any, and for each architecture the bundle
and the Debian packages, with SHA256SUMS. Each build has a fresh clone of the commit. --rehearse says why a commit
could not be released, and goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import runwasi
from scripts.source_time import source_time

ROOT = Path(__file__).parents[1]
_SUMS = "SHA256SUMS"
_VERSION = re.compile(r"\d+\.\d+\.\d+(rc\d+)?")


def git(*arguments: str) -> str:
    """Return the output of git in this work tree, stripped. Raises CalledProcessError."""
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


def problems(version: str, changelog: str, status: str, tagged: str, head: str) -> list[str]:
    """Return the reasons why this commit cannot be released; the list is empty if it can.

    status is the output of `git status --short`; tagged is the commit that the version's tag names, "" without one.
    """
    found = []
    if not _VERSION.fullmatch(version):
        found.append(f"runwasi/__init__.py: {version} is no version X.Y.Z or X.Y.ZrcN")
    if not re.search(rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE):
        found.append(f'CHANGELOG.md: has no section "## {version} - DATE": turn "Unreleased" into it')
    if status:
        found.append(f"the work tree has changes that are not committed:\n{status}")
    if tagged and tagged != head:
        found.append(f"the tag v{version} names another commit: raise the version")
    return found


def _tagged(version: str) -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--quiet", "--verify", f"v{version}^{{commit}}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()


def build(clone: Path, commit: str, architectures: list[str]) -> dict[str, str]:
    """Build everything in a fresh clone; return the SHA-256 of each file in its dist. Raises CalledProcessError."""
    shutil.rmtree(clone, ignore_errors=True)
    git("clone", "--quiet", "--no-checkout", str(ROOT), str(clone))
    git("-C", str(clone), "checkout", "--quiet", "--detach", commit)
    (clone / "build/cache").mkdir(parents=True)
    for packages in (ROOT / "build/cache").glob("bundle-a*"):  # of Debian, for the bundle
        (clone / "build/cache" / packages.name).symlink_to(packages)
    commands = [["scripts.bundle", "--arch", arch] for arch in architectures]
    commands += [["scripts.deb", "--arch", arch] for arch in architectures]
    commands.append(["hatchling", "build", "--directory", "dist", "--target", "sdist", "--target", "wheel"])
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(source_time())}
    for command in commands:
        _run(clone, environment, command)
    wheel = ["hatchling", "build", "--directory", "dist", "--target", "wheel"]
    _run(clone, {**environment, "RUNWASI_BUILD_CLIENT": "off"}, wheel)
    return {path.name: _sum(path) for path in sorted((clone / "dist").iterdir())}


def _run(clone: Path, environment: dict[str, str], module: list[str]) -> None:
    command = [sys.executable, "-m", *module]
    subprocess.run(command, cwd=clone, env=environment, check=True, stdout=subprocess.DEVNULL)


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def differing(first: dict[str, str], second: dict[str, str]) -> list[str]:
    """Return the names of the files that are not the same in both."""
    return sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))


def publish(built: Path, sums: dict[str, str], into: Path) -> None:
    """Copy the files into a folder, in place of another release's, with SHA256SUMS for `sha256sum --check`.

    Raises OSError.
    """
    into.mkdir(exist_ok=True)
    for old in into.glob("runwasi[-_]*"):
        old.unlink()
    for name in sums:
        shutil.copy(built / name, into / name)
    (into / _SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()))


def main() -> None:
    """Build the release twice, compare, and publish into dist; exit with the reason if one of these fails."""
    parser = argparse.ArgumentParser(
        prog="release", description="Build the files of a release, and compare two builds."
    )
    parser.add_argument(
        "--rehearse", action="store_true", help="go on with a commit that could not be released"
    )
    parser.add_argument(
        "--arch", nargs="+", choices=["amd64", "arm64"], default=["amd64", "arm64"], help="only these"
    )
    given = parser.parse_args()
    version, head = runwasi.__version__, git("rev-parse", "HEAD")
    changelog = (ROOT / "CHANGELOG.md").read_text()
    found = problems(version, changelog, git("status", "--short"), _tagged(version), head)
    for problem in found:
        print(f"release: {problem}", file=sys.stderr)
    if found and not given.rehearse:
        sys.exit(1)
    clones = [ROOT / "build/release" / name for name in ("first", "second")]
    with ThreadPoolExecutor(len(clones)) as pool:
        first, second = pool.map(lambda clone: build(clone, head, given.arch), clones)
    if differing(first, second):
        sys.exit(f"release: two builds differ, in build/release: {', '.join(differing(first, second))}")
    publish(clones[0] / "dist", first, ROOT / "dist")
    print(*first, sep="\n")


if __name__ == "__main__":
    main()
