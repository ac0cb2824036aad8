"""Runs a module with one engine until it has done all it has to do, beginning anew after what ended it.

Called with one argument, the JSON object of devtools.engine_host and beside it: most (runs), status (a status after
which it is begun anew, beside a trap's). The guest is told the number to begin at, and each line that it prints
begins with one. The engine is loaded once; each run is a fork of this process. Prints what the guest printed, and
then how it all ended: runs, status, and the most memory of a run in KiB.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile

from devtools import engine_host
from runwasi.engines import registry
from runwasi.engines.engine import EXIT_TRAP


def main() -> None:
    """Run it."""
    job = json.loads(sys.argv[1])
    engine = registry.load(job["engine"])
    engine.configure(job.get("annotations", {}))
    engine.load("core")
    again = {EXIT_TRAP, job["status"]}
    status, last, memory = _run(job, 0)
    runs = 1
    while status in again and runs < job["most"]:
        status, last, used = _run(job, last + 1)
        memory = max(memory, used)
        runs += 1
    print("ended", runs, status, memory)


def _run(job: dict[str, object], first: int) -> tuple[int, int, int]:
    """Return the status, the number of the last line, and the most memory in KiB."""
    with tempfile.TemporaryFile() as output:
        pid = os.fork()
        if pid == 0:
            os.dup2(output.fileno(), 1)
            sys.argv[1] = json.dumps({**job, "args": ["guest", str(first)]})
            engine_host.main()
        _, status, usage = os.wait4(pid, 0)
        output.seek(0)
        text = output.read()
    sys.stdout.buffer.write(text if text.endswith(b"\n") else text + b"\n")
    sys.stdout.buffer.flush()
    last = text.rstrip().splitlines()[-1] if text.strip() else b"-1"
    return os.waitstatus_to_exitcode(status), int(last.split()[0]), usage.ru_maxrss


if __name__ == "__main__":
    main()
