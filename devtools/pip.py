"""The command that installs Python packages with this interpreter's pip."""

from __future__ import annotations

import sys

PIP_INSTALL = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
"""Add options and packages."""
