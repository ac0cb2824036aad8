"""A hostile guest that looks for processes, its own above all: as a module, as a component, and as Python in one."""

from __future__ import annotations

from pathlib import Path

from devtools.components.build import HERE
from tests.support.wasm import compile_c

LAST = "400"
"""The highest number of a process that is tried."""

SCRIPT = """
FILES = '''
    mem maps environ cmdline mountinfo status exe root root/etc cwd fd fd/0 map_files ns/pid task task/1/mem auxv
'''.split()
WAYS = '''
    self thread-self 1 self/task/1 thread-self/task/1 sys/../self ./self fs/../1 self/root/proc/self
'''.split()
reached, tries = [], 0
def read_link(path):
    if os.readlink(path) == "/proc/self/fd":
        raise ValueError("what /dev/fd holds in every container: where it leads is tried")
def look(path):
    global tries
    tries += 1
    for how in (os.stat, read_link, os.listdir, lambda path: open(path, "rb"), lambda path: open(path, "r+b")):
        try:
            how(path)
        except (OSError, ValueError):
            continue
        reached.append(path)
for folder in FOLDERS:
    try:
        listed = [name for name in os.listdir(folder) if name.isdigit()]
    except OSError:
        listed = []
    for name in [*WAYS, *listed, *map(str, range(1, 400))]:
        look(f"{folder}/{name}")
        if name in WAYS:
            for file in FILES:
                look(f"{folder}/{name}/{file}")
    for file in ("mem", "maps", "environ", "mountinfo", "status", "exe", "fd"):
        look(f"{folder}/{file}")
"""
"""The same for the components that run Python: from FOLDERS makes reached and tries."""


def prober_module(folder: Path) -> Path:
    """Build it for WASI preview 1: prober LAST FOLDER..."""
    return compile_c([HERE / "prober.c"], folder / "prober.wasm")


def reached(output: str) -> list[str]:
    """Return what it reached, having made sure that it did look."""
    *found, last = output.splitlines()
    words = last.split()
    assert words[0] == "tried", output[-2000:]
    assert int(words[1]) > 300, last
    return found
