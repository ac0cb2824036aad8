"""Signals are readable from a pipe, also when the interpreter could not write to it."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """\
import os, select, signal
from runwasi.linux.signal_pipe import SignalPipe

pipe = SignalPipe()
signal.signal(signal.SIGUSR1, lambda number, frame: pipe.noted(number))
if {full}:
    kept = os.dup(pipe._write)
    os.dup2(os.open("/dev/full", os.O_WRONLY), pipe._write)  # where the interpreter's own write fails
    signal.signal(signal.SIGUSR1, lambda number, frame: (os.dup2(kept, pipe._write), pipe.noted(number)))
signal.raise_signal(signal.SIGUSR1)
assert select.select([pipe], [], [], 5)[0]
assert pipe.take() == bytes([signal.SIGUSR1])
assert pipe.take() == b""
signal.raise_signal(signal.SIGUSR1)
signal.signal(signal.SIGUSR2, lambda number, frame: pipe.noted(number))
signal.set_wakeup_fd(-1)  # as if the interpreter could not write the second one's number
signal.raise_signal(signal.SIGUSR2)
assert pipe.take() == bytes([signal.SIGUSR1, signal.SIGUSR2])
if os.fork() == 0:  # a child writes nothing: its descriptors are others' by then
    signal.raise_signal(signal.SIGUSR1)
    os._exit(0)
os.wait()
assert pipe.take() == b""
pipe.close()
class Broken:
    def __del__(self):
        raise OSError("told all the same")
Broken()
"""


def run(*, full: bool) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(full=full)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()


def test_a_signal_is_read_once() -> None:
    assert run(full=False)[-1] == "OSError: told all the same"


def test_a_failed_write_loses_no_signal_and_is_not_talked_of() -> None:
    said = run(full=True)
    assert "Exception ignored in" in said[0]
    assert "wakeup" not in "".join(said)
    assert said[-1] == "OSError: told all the same"
