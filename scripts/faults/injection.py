"""Injects one fault into one run of a command, and records what came of it."""

from __future__ import annotations

import errno
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from scripts import launchers
from scripts.faults.cases import ENDED, Case, Kind, Machine, Refused

KILL = "kill"
ENDED_PROGRAM = "ended"
"""The interpreter's own start could not be finished, and the process has ended."""
ERRORS = ("EPERM", "ENOSPC", "EMFILE", "ENOMEM", "EINTR", "EIO")
FAULTS = (*ERRORS, KILL)
REFUSED, PANICKED, TOLERATED, KILLED, SKIPPED, MISSED, WRONG = (
    "refused",
    "panicked",
    "tolerated",
    "killed",
    "skipped",
    "missed",
    "WRONG",
)
_SECONDS = 40
_PANIC = "panicked at"
_SOURCE = Path(__file__).parent / "injector.c"


class Fault(NamedTuple):
    """The call of the process, both in order from the first of ours, and its errno's name or KILL."""

    process: int
    call: int
    kind: str


def error_number(name: str) -> int:
    """Return the number of an errno's name."""
    number: int = getattr(errno, name)
    return number


class Outcome(NamedTuple):
    """The result of a fault: one of the words above; the call's number and the output."""

    what: str
    said: str = ""


def mark(program: str | Path, folder: str) -> str:
    """Return a part of the path of the first file of ours that a program opens: in a folder of ours, or a pack."""
    return "/bytecode/" if b"bytecode/" in Path(program).read_bytes() else f"/runwasi/{folder}"


def build(program: Path) -> None:
    """Compile the tracer."""
    command = [launchers.compiler(), "-O2", "-Wall", "-Werror", "-o", str(program), str(_SOURCE)]
    subprocess.run(command, check=True)


class Injector:
    """The compiled tracer, for one kind of container."""

    def __init__(self, machine: Machine, kind: Kind) -> None:
        self.machine = machine
        self.kind = kind
        self.program = machine.folder / "injector"
        self._expected: dict[str, str] = {}
        self._numbers = 0
        if not self.program.exists():
            build(self.program)

    def calls(self, case: Case) -> dict[int, int]:
        """Run a case without any fault; return how many calls each process makes, and keep what it brings about."""
        container = self._begin(case)
        status, report, said = self._run(case, container, ["0", "0", "count"])
        if status:
            raise RuntimeError(f"{case.name} fails without a fault: {said}")
        self._expected[case.name] = case.outcome(container)
        self._end(container)
        lines = [line.split() for line in report.splitlines()]
        return {int(process): int(calls) for word, process, calls in lines if word == "count"}

    def inject(self, case: Case, fault: Fault) -> Outcome:
        """Run a case with a fault, judge its outcome, and clean up."""
        container = self._begin(case)
        how = KILL if fault.kind == KILL else str(error_number(fault.kind))
        try:
            outcome = self._judge(case, container, fault, how)
        except (subprocess.TimeoutExpired, AssertionError) as error:
            outcome = Outcome(WRONG, f"hangs: {str(error)[:300]}")
        left = self._end(container)
        if left and outcome.what != WRONG:
            outcome = Outcome(WRONG, f"{outcome.what}, and left behind: {left}")
        return outcome

    def _judge(self, case: Case, container: str, fault: Fault, how: str) -> Outcome:
        status, report, said = self._run(case, container, [str(fault.process), str(fault.call), how])
        if not report:
            return Outcome(MISSED)
        call = " ".join(report.split()[3:])
        if report.startswith("skipped"):
            return Outcome(SKIPPED, call)
        if "Traceback" in said or "Fatal Python" in said:
            return Outcome(WRONG, f"{call}: {said}")
        if fault.kind == KILL and (fault.process == 0 or status):
            return Outcome(KILLED, call)
        if status:
            return self._judge_failure(fault, call, status, said)
        return self._judge_success(case, container, fault, call, said)

    def _judge_failure(self, fault: Fault, call: str, status: int, said: str) -> Outcome:
        if self._is_engines_end(said, fault):
            return Outcome(PANICKED, f"{call}: {said}")
        if _is_clear(said):
            return Outcome(REFUSED, f"{call}: {said}")
        return Outcome(WRONG, f"{call}: ends with {status}, unclear: {said!r}")

    def _judge_success(self, case: Case, container: str, fault: Fault, call: str, said: str) -> Outcome:
        try:
            found = case.outcome(container)
        except Refused as refusal:  # what waits to be started has ended, and start says so
            is_told = fault.process > 0 and _is_clear(str(refusal))
            return Outcome(REFUSED if is_told else WRONG, f"{call}: then {refusal}")
        expected = self._expected[case.name]
        if found == expected or (ENDED in found and fault.process > 0):
            return Outcome(TOLERATED, call)
        return Outcome(WRONG, f"{call}: succeeds, but:\n{_difference(expected, found)}\n{said}")

    def _is_engines_end(self, said: str, fault: Fault) -> bool:
        """Return whether the engine ended the module's process with its own message; ours about that is one line."""
        ours = [line for line in said.splitlines() if line.startswith("runwasi: ")]
        return self.kind.name == "wasm" and fault.process > 0 and _PANIC in said and len(ours) <= 1

    def _begin(self, case: Case) -> str:
        self._numbers += 1
        container = f"{self.machine.session}-{self.kind.name}-{self._numbers}"
        self.kind.place(container)
        self.kind.reset()
        case.prepare(container)
        return container

    def _run(self, case: Case, container: str, words: list[str]) -> tuple[int, str, str]:
        errors = self.machine.folder / "stderr"
        reader, writer = os.pipe()
        with errors.open("wb") as stderr, open(reader, "rb") as report:
            tracer = [str(self.program), str(writer), *words, mark(self.machine.command()[0], "cli")]
            process = subprocess.Popen(
                [*tracer, *self.machine.command(*case.words(container))],
                pass_fds=[writer],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
            os.close(writer)
            try:
                _wait(process)
            finally:
                process.kill()
                status = process.wait()
            return status, report.read().decode(), errors.read_text(errors="replace").strip()

    def _end(self, container: str) -> str:
        """Delete by force; return what is left."""
        done = self.machine.run("delete", "--force", container)
        self.machine.drop_consoles()
        if done.returncode:
            return f"delete --force fails: {done.stderr}"
        return "\n".join(self.machine.has_left(container))


def _wait(process: subprocess.Popen[bytes]) -> None:
    """Wait until a process has ended, without looking again and again. Raises TimeoutExpired."""
    pidfd = os.pidfd_open(process.pid)
    try:
        if not select.select([pidfd], [], [], _SECONDS)[0]:
            raise subprocess.TimeoutExpired(process.args, _SECONDS)
    finally:
        os.close(pidfd)


def _is_clear(said: str) -> bool:
    return len(said.splitlines()) == 1 and len(said) > 12


def _difference(expected: str, found: str) -> str:
    import difflib

    return "\n".join(difflib.unified_diff(expected.splitlines(), found.splitlines(), lineterm="", n=0))


def tell(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)
    sys.stdout.flush()
