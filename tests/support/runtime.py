"""An OCI runtime's command line, ours or a peer's, with a root of its own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from devtools.places import BIN

PROGRAMS = {"runwasi": BIN / "runwasi", "runc": Path("/usr/sbin/runc"), "crun": Path("/usr/bin/crun")}


class Runtime:
    """One program with its --root; calling it runs one command and captures what it prints."""

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.root = root

    def __call__(
        self,
        *arguments: str | Path,
        check: bool = True,
        stdin: bytes | None = None,
        timeout: float = 60,
        options: tuple[str, ...] = (),
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run one command; options go before it, as runc's global flags do."""
        done = subprocess.run(
            self.command(*arguments, options=options),
            input=stdin if stdin is not None else b"",
            capture_output=True,
            timeout=timeout,
            check=False,
            cwd=cwd,
            env=env,
        )
        output, errors = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        if check and done.returncode != 0:
            raise AssertionError(
                f"{self.name} {' '.join(map(str, arguments))}: {done.returncode}\n{output}\n{errors}"
            )
        return subprocess.CompletedProcess(done.args, done.returncode, output, errors)

    def command(self, *arguments: str | Path, options: tuple[str, ...] = ()) -> list[str]:
        """The command line, for those who start it in their own way."""
        return [os.fspath(PROGRAMS[self.name]), "--root", str(self.root), *options, *map(str, arguments)]

    def state(self, container: str) -> dict[str, Any]:
        """Return a container's state as `state` prints it."""
        state: dict[str, Any] = json.loads(self("state", container).stdout)
        return state

    def clean(self) -> None:
        """Delete whatever containers a test left in this root."""
        if self.root.is_dir():
            for entry in sorted(self.root.iterdir()):
                self("delete", "--force", entry.name, check=False)
