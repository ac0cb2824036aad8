"""The table of measured calls is in the form that the measurement writes."""

from __future__ import annotations

from devtools.syscall_traces import Called
from runwasi.executor.workload.wasm_syscalls import ARGUMENTS, EXECUTABLE_MEMORY, SYSCALLS
from scripts.measure_syscalls import SELECTORS, TABLE, table

_ANONYMOUS_CODE = Called("mmap", (0, 4096, 7))


def measured(name: str) -> set[Called]:
    """Return calls that the table of a filter may have been made of."""
    calls = {Called(call, ()) for call in SYSCALLS[name]}
    for call, values in ARGUMENTS[name].items():
        calls |= {Called(call, (*[None] * SELECTORS[call], value)) for value in values}
    return calls | ({_ANONYMOUS_CODE} if name in EXECUTABLE_MEMORY else set())


def test_the_table_is_as_the_measurement_writes_it() -> None:
    assert table({name: measured(name) for name in SYSCALLS}) == TABLE.read_text()
