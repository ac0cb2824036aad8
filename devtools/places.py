"""Names the places of things in the work tree."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
# The work tree's own programs, or installed ones.
BIN = Path(os.environ.get("RUNWASI_BIN", BUILD / "bin"))
# What the native client executes where no daemon answers; the only shims where there is no compiler.
LAUNCHERS = BIN.parent / "lib/runwasi/launchers"
CACHE = BUILD / "cache"
WASI_DEMO_APP = BUILD / "wasi-demo-app.wasm"
BUSYBOX = Path("/bin/busybox")

# Everything a test session starts carries this in its environment, so that what it leaves behind can be told
# from what others do on the same machine.
SESSION_VARIABLE = "RUNWASI_TEST_SESSION"
