"""Chooses how the tests of a session have their pods served, by the variable RUNWASI_TESTS_SHIM.

cold     the native client finds no daemon, and the launcher starts a server
normal   the Python client asks a node daemon, which forks a server
shared   the native client asks a node daemon, which serves the pod itself
"""

from __future__ import annotations

import os

from devtools.containerd import SHARED, WASMTIME

MODE = os.environ.get("RUNWASI_TESTS_SHIM", "cold")

OURS = SHARED if MODE == "shared" else WASMTIME
"""containerd's name of our runtime."""
