"""Reports an event of a container to the metrics process: a line in a FIFO, if that process reads it.

`runwasi metrics` reads and counts. Nobody waits for it: a line that does not fit is dropped, and while it does not
run, a report costs a few microseconds. A line is an event and its values, separated by blanks:

    create KIND SECONDS          a container was created; KIND is wasm or native
    start KIND SECONDS           its program runs
    failed OPERATION STEP        create or start failed in this step, "-" if in none
    exit KIND STATUS             its first process ended; KIND is "-" if it is not known
    module SOURCE                a module came from the node's cache ("cached"), or is compiled ("compiled")

Source: man 7 pipe (a write of at most PIPE_BUF bytes is whole), man 7 fifo (ENXIO without a reader).
"""

from __future__ import annotations

import os

FOLDER = "/run/runwasi-metrics"
OVERRIDE = "RUNWASI_METRICS_FOLDER"
"""Environment variable that names another folder."""


def events_path() -> str:
    """Return the path of the FIFO."""
    return f"{os.environ.get(OVERRIDE) or FOLDER}/events"


def report(*words: object) -> None:
    """Write an event; never fails and never waits."""
    try:
        fifo = os.open(events_path(), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return  # nobody reads
    try:
        os.write(fifo, (" ".join(map(str, words)) + "\n").encode())
    except OSError:
        return  # full
    finally:
        os.close(fifo)
