"""Has a program that replaces another, and cannot load its modules, begin again.

The program that it replaces has ended by then (runwasi.shim.daemon.handover), and its pods have nobody else.
"""

from __future__ import annotations

ATTEMPTS = 3
"""How often a program begins; the offset of the file of the handover counts the failures, also across execs."""

_TEXT = """\
if "-handover" in sys.argv:
    import posix
    file = sys.argv[sys.argv.index("-handover") + 1]
    if file.isdigit() and posix.lseek(int(file), 1, 1) < {attempts}:
        print({program}, "cannot load its modules yet:", error, file=sys.stderr, flush=True)
        {unhold}posix.execv({program}, [{program}, *sys.argv[1:]])
"""


def text(program: str, locks: tuple[int, ...] = ()) -> str:
    """Return the Python text that begins again, for where `error` was caught and no module of ours may be there.

    program is an expression of the program's path; locks are descriptors to close.
    """
    unhold = "".join(f"posix.close({lock}); " for lock in locks)
    return _TEXT.format(program=program, attempts=ATTEMPTS, unhold=unhold)
