"""Run tests and report which lines and branches of the product they run: `make coverage`.

It measures the processes of the tests and what these start from the work tree: command lines, shims, servers, node
daemons, and containers up to their program or their guest. It does not measure installed copies, the native client,
processes of users who cannot read the work tree, or what a killed process ran since its last fork. So the figure is a
lower bound. Tests that judge time, memory or imports may fail under it; `make test` judges those.

    python -m scripts.measure_coverage [--keep] [TESTS ...]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from coverage import Coverage, CoverageData

from devtools import coverage_notes
from devtools.places import BUILD, ROOT

FOLDER = BUILD / "coverage"
DATA = FOLDER / "data"
TESTS = ("tests/unit", "tests/wasi", "tests/integration")


def main() -> int:
    """Run pytest on the tests that the arguments name, or on all; print the figures of each folder, and of all.

    Returns pytest's exit status.
    """
    parser = argparse.ArgumentParser(
        description="Report which lines and branches of the product the tests run."
    )
    parser.add_argument("--keep", action="store_true", help="add to what earlier runs have measured")
    parser.add_argument("tests", nargs="*", default=TESTS, help="what pytest is to run")
    given = parser.parse_args()
    sources = sorted(path for path in (ROOT / "runwasi").rglob("*.py") if path.parent.name != "messages")
    if not given.keep:
        shutil.rmtree(FOLDER, ignore_errors=True)
        coverage_notes.prepare(FOLDER, sources)
        _write_programs()
    failed = _run(given.tests)
    _report(sources)
    return failed


def _write_programs() -> None:
    """Copy the work tree's programs, and have their launchers measured."""
    begin = coverage_notes.hook(str(FOLDER)).encode()
    for folder in ("bin", "lib"):
        shutil.copytree(BUILD / folder, FOLDER / folder)
    for program in (*FOLDER.glob("bin/*"), *FOLDER.glob("lib/runwasi/launchers/*")):
        text = program.read_bytes()
        if text.startswith(b"#!"):
            program.write_bytes(text.replace(b"\ntry:\n", b"\n" + begin + b"try:\n", 1))
    site = FOLDER / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_bytes(begin)


def _run(tests: list[str]) -> int:
    """Run the tests; every interpreter with site.py that they start reads our sitecustomize."""
    environment = {**os.environ, coverage_notes.VARIABLE: str(FOLDER), "RUNWASI_BIN": str(FOLDER / "bin")}
    environment["PYTHONPATH"] = str(FOLDER / "site")
    command = [sys.executable, "-m", "pytest", "-q", *tests]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def _report(sources: list[Path]) -> None:
    """Print the figures by folder, and write coverage.py's report of every line."""
    DATA.unlink(missing_ok=True)
    data = CoverageData(basename=str(DATA))
    data.add_arcs(coverage_notes.noted(FOLDER))
    data.write()
    report = Coverage(data_file=str(DATA), branch=True, config_file=False)
    report.load()
    folders: dict[str, list[int]] = {}
    for source in sources:
        numbers = report._analyze(str(source)).numbers
        counts = (
            numbers.n_executed,
            numbers.n_statements,
            numbers.n_executed_branches,
            numbers.n_branches,
        )
        for name in ("/".join(source.parent.relative_to(ROOT).parts[:2]), "all"):
            row = folders.setdefault(name, [0] * len(counts))
            row[:] = map(sum, zip(row, counts, strict=True))
    print(f"{'':22}{'lines':>8}{'run':>9}{'branches':>10}{'taken':>9}")
    for name, (lines_run, lines, taken, branches) in sorted(folders.items(), key=lambda row: row[0] == "all"):
        print(f"{name:22}{lines:8}{_percent(lines_run, lines)}{branches:10}{_percent(taken, branches)}")
    report.html_report(directory=str(FOLDER / "html"))
    print(f"line by line: {FOLDER / 'html/index.html'}")


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:7.1f} %" if whole else f"{'-':>9}"


if __name__ == "__main__":
    sys.exit(main())
