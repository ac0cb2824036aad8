"""Measure what the engines call behind their filter, and write runwasi/executor/workload/wasm_syscalls.py.

    python -m scripts.measure_syscalls [--keep FOLDER]      as root; ten minutes; --keep leaves the traces there

Runs the tests of WASI, engines, components and HTTP with every engine under strace, and some whole containers.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import textwrap
import uuid
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from devtools.bundle import make_bundle
from devtools.components.build import component
from devtools.places import BIN, ROOT, WASI_DEMO_APP
from devtools.serving import free_port
from devtools.syscall_traces import OPTIONS, VARIABLE, Called, calls_behind_the_filter, label_of
from devtools.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TABLE = ROOT / "runwasi/executor/workload/wasm_syscalls.py"

_INTEGRATION = (
    "engines/test_behaviour.py",
    "engines/test_wasmtime.py",
    "wasi/test_commands.py",
    "wasi/test_filesystem.py",
    "wasi/test_http_client.py",
    "wasi/test_sockets.py",
    "wasi/test_http_server.py",
    "wasi/test_http_server_lifecycle.py",
)
SUITES = ("tests/wasi", *(f"tests/integration/{name}" for name in _INTEGRATION))

SELECTORS = {"ioctl": 1, "prctl": 0, "prlimit64": 2, "socket": 0}
"""Of these calls, the values of an argument are written down too: by its index."""
_PROT_EXEC = 4

_HEADING = '''"""Lists the system calls that engines make behind their filter, by filter: an engine, and what it runs.

Written by scripts/measure_syscalls.py: do not edit it, measure again. wasm_filter makes filters of it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
'''


def main() -> int:
    """Measure, and write the table; return pytest's exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.measure_syscalls",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the traces there")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(exist_ok=True)
        failed = run_suites(folder)
        run_containers(folder)
        TABLE.write_text(table(measurements(folder)))
    return failed


def run_suites(folder: Path) -> int:
    """Run the tests, and return pytest's exit status; even a test that fails has recorded its calls."""
    command = [sys.executable, "-m", "pytest", "-q", "--timeout=600", *SUITES]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, VARIABLE: str(folder)}, check=False
    ).returncode


def run_containers(folder: Path) -> None:
    """Run whole containers, whose processes also follow their limits. Raises CalledProcessError, TimeoutExpired."""
    with tempfile.TemporaryDirectory() as scratch:
        module = WASI_DEMO_APP.read_bytes()
        command = component("program").read_bytes()
        server = component("hello").read_bytes()
        _run(folder, "wasmtime-core", scratch, ["/app.wasm", "echo", "hello"], module)
        _run(folder, "wasmtime-component", scratch, ["/app.wasm", "args", "one"], command)
        _serve(folder, scratch, server)


def _run(folder: Path, label: str, scratch: str, arguments: Sequence[str], program: bytes) -> None:
    name = f"measure-{uuid.uuid4().hex[:8]}"
    bundle = make_bundle(Path(scratch, name), arguments, files={"/app.wasm": program})
    subprocess.run(
        [*_strace(folder, label), *_runwasi(scratch), "run", "--bundle", bundle.path, name],
        check=True, timeout=120, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def _serve(folder: Path, scratch: str, program: bytes) -> None:
    """Serve requests in the host's network, change the limits of the container, and end it."""
    name, port = f"measure-{uuid.uuid4().hex[:8]}", free_port()
    bundle = make_bundle(Path(scratch, name), ["/app.wasm"], files={"/app.wasm": program})
    bundle.linux["namespaces"] = [each for each in bundle.linux["namespaces"] if each["type"] != "network"]
    bundle.process["env"] = [f"WASMTIME_HTTP_PROXY_SOCKET_ADDR=127.0.0.1:{port}"]
    bundle.write()
    runwasi = _runwasi(scratch)
    command = [*_strace(folder, "wasmtime-http"), *runwasi, "run", "--bundle", str(bundle.path), name]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        until(lambda: _get(port), bool)
        subprocess.run([*runwasi, "update", "--memory", "256m", name], check=True)
        _get(port)
        subprocess.run([*runwasi, "kill", name, "TERM"], check=True)
        process.wait(60)


def _runwasi(scratch: str) -> list[str]:
    return [str(BIN / "runwasi"), "--root", f"{scratch}/state"]


def _get(port: int) -> bool:
    return subprocess.run(
        [sys.executable, "-c", f"import urllib.request as u; u.urlopen('http://127.0.0.1:{port}/').read()"],
        check=False, capture_output=True,
    ).returncode == 0  # fmt: skip


def _strace(folder: Path, label: str) -> list[str]:
    return ["strace", *OPTIONS, "-o", str(folder / f"{label}.{uuid.uuid4().hex}")]


def measurements(folder: Path) -> dict[str, set[Called]]:
    """Return the recorded calls, by filter."""
    found: dict[str, set[Called]] = defaultdict(set)
    for trace in folder.iterdir():
        if label_of(trace) not in ("?", "other"):
            found[label_of(trace)] |= calls_behind_the_filter(trace.read_text(errors="replace"))
    return found


def table(measured: dict[str, set[Called]]) -> str:
    """Return the text of the module that holds the measurements, as ruff formats it."""
    syscalls = {label: {call.name for call in calls} for label, calls in sorted(measured.items())}
    every = set.intersection(*syscalls.values())
    more = "\n".join(f'{label!r}: """{_names(found - every, 8)}    """,' for label, found in syscalls.items())
    arguments = {label: _values(measured[label]) for label in syscalls}
    executable = [label for label in syscalls if _makes_memory_executable(measured[label])]
    text = (
        f'{_HEADING}\n_EVERY = """{_names(every, 4)}"""\n"""Calls behind every filter."""\n\n'
        f"_MORE = {{\n{more}\n}}\n"
        '"""Calls behind some, by filter."""\n\n'
        "SYSCALLS: Mapping[str, frozenset[str]] = {\n"
        '    name: frozenset(f"{_EVERY}{more}".split()) for name, more in _MORE.items()\n}\n\n'
        f"ARGUMENTS: Mapping[str, Mapping[str, Sequence[int]]] = {arguments!r}\n"
        '"""For calls of many uses, the values of the argument that selects the use."""\n\n'
        f"EXECUTABLE_MEMORY: Sequence[str] = {executable!r}\n"
        '"""The filters of those that make memory executable while they run."""\n'
    )
    command = [str(Path(sys.executable).parent / "ruff"), "format", "--stdin-filename", str(TABLE), "-"]
    return subprocess.run(command, check=True, input=text, capture_output=True, text=True).stdout


def _names(names: Iterable[str], indent: int) -> str:
    """Return a text of names, on lines of their own."""
    return "\n" + textwrap.indent(textwrap.fill(" ".join(sorted(names)), 116 - indent), " " * indent) + "\n"


def _values(calls: set[Called]) -> dict[str, tuple[int, ...]]:
    found: dict[str, set[int]] = defaultdict(set)
    for call in calls:
        index = SELECTORS.get(call.name)
        value = call.arguments[index] if index is not None and index < len(call.arguments) else None
        if value is not None:
            found[call.name].add(value)
    return {name: tuple(sorted(values)) for name, values in sorted(found.items())}


def _makes_memory_executable(calls: set[Called]) -> bool:
    for call in calls:
        if call.name in ("mmap", "mprotect", "pkey_mprotect") and len(call.arguments) > 2:
            protection = call.arguments[2]
            if protection is not None and protection & _PROT_EXEC:
                return True
    return False


if __name__ == "__main__":
    sys.exit(main())
