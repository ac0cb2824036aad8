"""Notes which lines and branches of the product run, in a process and in all that is forked from it.

coverage.py keeps what it traced in memory and writes it at the end. Most processes here have no such end: they are
forked, enter a container, close their descriptors, change their root, give up their rights, execute a program, or
call os._exit. So one file is mapped into every process, with a byte for each line and each branch, and the mapping
survives all of that. A process marks its bytes before it forks, before it executes a program and before it ends; one
that is killed loses what it ran since.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib.util
import marshal
import os
import sys
import threading
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Any

VARIABLE = "RUNWASI_COVERAGE"
"""The environment variable with the folder that `prepare` made: a process of the tests that has it is measured."""

_INDEX, _MARKS = "index", "marks"
_ROOT = Path(__file__).resolve().parent.parent

Arc = tuple[int, int]
"""A step from one line to the next, as coverage.py counts them; negative numbers enter and leave a function."""


def prepare(folder: Path, sources: list[Path]) -> None:
    """Make the two files that the measured processes share: where each source's arcs have their bytes, and the bytes.

    Raises OSError, and SyntaxError or NotPython of coverage.py for a source that is none.
    """
    index, size = {}, 0
    for source in sources:
        first_lines, arcs = _arcs(source)
        places = {arc: size + number for number, arc in enumerate(sorted(arcs))}
        size += len(places)
        index[str(source)] = marshal.dumps((first_lines, places))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _INDEX).write_bytes(marshal.dumps(index))
    (folder / _MARKS).write_bytes(bytes(size))
    (folder / _MARKS).chmod(0o666)  # tests run commands as other users, too


def _arcs(source: Path) -> tuple[dict[int, int], set[Arc]]:
    """Return the first line of each line's statement, and all arcs that a run of the source may contain.

    An arc from a line to itself says that the line ran.
    """
    from coverage.parser import PythonParser  # late: only the script that prepares needs it

    parser = PythonParser(filename=str(source))
    parser.parse_source()
    possible = parser.arcs()
    fixed_by_the_report = {arc for arc in parser._with_jump_fixers if parser._with_jump_fixers[arc] != arc}
    lines = {(line, line) for line in parser.statements}
    return parser.multiline_map, possible | fixed_by_the_report | lines


def noted(folder: Path) -> dict[str, list[Arc]]:
    """Return the arcs that have run, by the path of their source. Raises OSError."""
    index: dict[str, bytes] = marshal.loads((folder / _INDEX).read_bytes())
    marks = (folder / _MARKS).read_bytes()
    return {
        source: [arc for arc, place in marshal.loads(described)[1].items() if marks[place]]
        for source, described in index.items()
    }


def begin(folder: str) -> None:
    """Measure this process from now on; do nothing if it cannot reach the folder that `prepare` made."""
    try:
        with open(f"{folder}/{_INDEX}", "rb") as file:
            index: dict[str, bytes] = marshal.load(file)
        marks = _map(f"{folder}/{_MARKS}")
    except OSError:
        return
    ran: dict[str, set[int]] = {}
    marked: dict[str, int] = {}

    def note() -> None:
        for source, packed_arcs in list(ran.items()):
            if len(packed_arcs) != marked.get(source):
                marked[source] = len(packed_arcs)
                for place in _places(list(packed_arcs), index[source]):
                    marks[place] = 1

    _trace(ran, index)
    _note_at_each_end(note, folder)


def _places(packed_arcs: list[int], described: bytes) -> Iterator[int]:
    first_lines, places = marshal.loads(described)
    for packed in packed_arcs:
        here, there = _unpacked(packed)
        here = first_lines.get(here, here) if here > 0 else -first_lines.get(-here, -here)
        there = first_lines.get(there, there) if there > 0 else -first_lines.get(-there, -there)
        for arc in ((here, there), (here, here), (there, there)):
            if arc in places:
                yield places[arc]


def _unpacked(packed: int) -> Arc:
    """Return the arc that the tracer packed into a number. Source: coverage.py, Collector.flush_data."""
    here, there = packed & 0xFFFFFFF, packed >> 28 & 0xFFFFFFF
    return (-here if packed & 1 << 56 else here), (-there if packed & 1 << 57 else there)


def _trace(ran: dict[str, set[int]], sources: Container[str]) -> None:
    """Collect the arcs that run in the sources, with nothing of coverage.py but its tracer in C.

    The package itself would bring some sixty modules into each process.
    """
    tracer_module = _tracer_module()
    dispositions: dict[str, Any] = {}

    def disposition(name: str, _frame: object) -> Any:
        made = tracer_module.CFileDisposition()
        made.original_filename = made.canonical_filename = made.source_filename = name
        made.trace, made.file_tracer, made.has_dynamic_filename = name in sources, None, False
        return made

    def start() -> Any:
        tracer = tracer_module.CTracer()
        tracer.data, tracer.trace_arcs = ran, True
        tracer.should_trace, tracer.should_trace_cache = disposition, dispositions
        tracer.lock_data = tracer.unlock_data = tracer.warn = lambda *_: None
        tracer.concur_id_func = tracer.should_start_context = tracer.switch_context = tracer.check_include = (
            None
        )
        tracer.file_tracers = {}
        return tracer.start()

    def start_in_thread(frame: Any, event: Any, argument: Any) -> Any:
        sys.settrace(None)
        return start()(frame, event, argument)

    threading.settrace(start_in_thread)
    start()


def _tracer_module() -> Any:
    package = importlib.util.find_spec("coverage")
    assert package is not None
    assert package.origin is not None
    library = next(Path(package.origin).parent.glob("tracer.*.so"))
    spec = importlib.util.spec_from_file_location("coverage.tracer", library)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _map(path: str) -> Any:
    """Map a file and keep no descriptor of it; the module mmap would keep one."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long)
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        address = libc.mmap(None, size, 3, 1, fd, 0)  # PROT_READ | PROT_WRITE, MAP_SHARED
    finally:
        os.close(fd)
    if address in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), "mmap", path)
    return (ctypes.c_ubyte * size).from_address(address)


def _note_at_each_end(note: Callable[[], None], folder: str) -> None:
    execve, execv, end = os.execve, os.execv, os._exit

    def noted_execve(path: Any, arguments: Any, environment: Any) -> Any:
        note()
        return execve(path, _measured_interpreter(list(arguments), folder), environment)

    def noted_execv(path: Any, arguments: Any) -> Any:
        note()
        return execv(path, arguments)

    def noted_end(status: int) -> Any:
        note()
        end(status)

    for name, noted in (("execve", noted_execve), ("execv", noted_execv), ("_exit", noted_end)):
        setattr(os, name, noted)
    os.register_at_fork(before=note)
    atexit.register(note)


def _measured_interpreter(arguments: list[str], folder: str) -> list[str]:
    """Have a pod's server measured, too: a launcher executes it as `python -I -S -c CODE`."""
    if arguments[1:4] == ["-I", "-S", "-c"]:
        arguments[4] = hook(folder) + arguments[4]
    return arguments


def hook(folder: str) -> str:
    """Return Python text for the beginning of a program: it measures the interpreter, even one without site.py."""
    paths = [str(_ROOT), *(path for path in sys.path if path.endswith("site-packages"))]
    return f"""\
import sys
sys.path += {paths!r}
from devtools import coverage_notes
coverage_notes.begin({folder!r})
"""
