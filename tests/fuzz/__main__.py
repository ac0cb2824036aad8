"""Fuzz every target, or the named ones, each for a set time: python -m tests.fuzz [--seconds N] [TARGET...]."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from devtools.places import BUILD, ROOT
from tests.fuzz import native_client
from tests.fuzz.harness import CORPUS, load, target_names
from tests.fuzz.keep import keep as keep_finds

FOUND = BUILD / "fuzz"
"""The findings: a folder of inputs for each target, and a file beside it for each crash."""
_LONGEST = 4096  # bytes of an input; 65536 for what is larger by itself
_LARGE = ("image_archive", "wasm_component", "spec")


class Outcome(NamedTuple):
    """The result of a target."""

    executions: int
    coverage: int
    features: int
    crashes: list[Path]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--keep", action="store_true", help="add what earlier searches found to the corpora")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(_names())}")
    options = parser.parse_args()
    unknown = set(options.targets) - set(_names())
    if unknown:
        parser.error(f"there is no target {', '.join(sorted(unknown))}")
    if options.keep:
        for name in options.targets or _names():
            keep(name)
        return 0
    crashes: list[Path] = []
    print(f"{'target':18} {'executions':>12} {'coverage':>9} {'features':>9}  crashes", flush=True)
    for name in options.targets or _names():
        outcome = fuzz(name, options.seconds)
        crashes += outcome.crashes
        counts = f"{outcome.executions:12,} {outcome.coverage:9,} {outcome.features:9,}"
        print(f"{name:18} {counts}  {len(outcome.crashes)}", flush=True)
    for crash in crashes:
        print(f"crash: {crash} (and how it ended: {crash}.log)")
    return 1 if crashes else 0


def _names() -> list[str]:
    return [*target_names(), native_client.NAME]


def keep(name: str) -> None:
    """Add to the corpus, of what was found, a few inputs that reach what it does not reach yet."""
    if name != native_client.NAME:
        keep_finds(name, FOUND / name)
        return
    kept = CORPUS / name
    kept.mkdir(parents=True, exist_ok=True)
    before = set(kept.iterdir())
    with tempfile.TemporaryDirectory() as scratch:
        _run(name, ["-set_cover_merge=1", "-max_len=512", str(kept), str(FOUND / name)], scratch)
    for path in set(kept.iterdir()) - before:
        path.rename(kept / path.name[:12])  # a digest, for which so many digits are enough


def fuzz(name: str, seconds: int) -> Outcome:
    """Search for so many seconds, or until a crash is found."""
    folder = FOUND / name
    folder.mkdir(parents=True, exist_ok=True)
    kept = CORPUS / name
    seeds = native_client.seeds() if name == native_client.NAME else load(name).seeds()
    for number, seed in enumerate(seeds):
        (folder / f"seed-{number}").write_bytes(seed)
    with tempfile.TemporaryDirectory() as scratch:
        arguments = [
            f"-max_total_time={seconds}", "-timeout=25", "-rss_limit_mb=2048", "-print_final_stats=1",
            f"-max_len={65536 if name in _LARGE else _LONGEST}", f"-artifact_prefix={scratch}/",
            str(folder), *([str(kept)] if kept.is_dir() else []),
        ]  # fmt: skip
        code, log = _run(name, arguments, scratch)
        return _outcome(name, log, code, Path(scratch))


def _run(name: str, arguments: list[str], scratch: str) -> tuple[int, str]:
    """Run the fuzzer of a target; return its status and what it said."""
    if name == native_client.NAME:
        command = [str(native_client.build(FOUND))]
    else:
        command = [sys.executable, "-m", "tests.fuzz.search", name]
    ended = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, errors="replace", check=False, cwd=ROOT,
        env=native_client.environment(scratch),
    )  # fmt: skip
    return ended.returncode, ended.stdout + ended.stderr


def _outcome(name: str, log: str, code: int, scratch: Path) -> Outcome:
    crashes = []
    for artefact in sorted(path for path in scratch.iterdir() if path.is_file() and "-" in path.name):
        crash = FOUND / f"{name}-{artefact.name}"
        shutil.move(artefact, crash)
        Path(f"{crash}.log").write_text(log)
        crashes.append(crash)
    if code and not crashes:
        raise SystemExit(f"the fuzzer of {name} did not run:\n{log[-4000:]}")
    executions = re.findall(r"number_of_executed_units:\s*(\d+)", log) or re.findall(r"#(\d+)\s", log)
    progress = re.findall(r"cov: (\d+) ft: (\d+)", log)
    coverage, features = progress[-1] if progress else ("0", "0")
    return Outcome(int(executions[-1]) if executions else 0, int(coverage), int(features), crashes)


if __name__ == "__main__":
    sys.exit(main())
