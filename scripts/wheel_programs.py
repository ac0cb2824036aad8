"""Puts the programs that containerd starts into a wheel; hatchling calls this for `pip install .` and `pip wheel .`.

An installer puts them into the environment's folder of programs. With a C compiler the shims are the native client,
which belongs to one architecture, and the launchers that it executes when no daemon answers lie beside it. Without
one, or with RUNWASI_BUILD_CLIENT=off in the environment, they are Python programs and the wheel is for any machine.
Source: hatch.pypa.io, build hook plugins.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import tempfile
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_COLD = "-cold"
_OF_ENTRY_POINTS = ("runwasi", "oci-tar-builder")  # which installers make themselves

# An installer writes its interpreter into the first line, and nothing else: -IS is not to be had there.
_LAUNCHER = """\
#!python
{mark}: it came with a wheel, and goes with it.
import gc, os, sys

gc.disable()  # nothing that a start makes is garbage before its end
sys.path[:] = [folder for folder in sys.path if folder != os.path.dirname(os.path.realpath(__file__))]
from {module} import {function}

sys.argv[0] = sys.argv[0].removesuffix({cold!r})
os._exit({function}({arguments}))
"""


class ProgramsHook(BuildHookInterface[BuilderConfig]):
    """Adds the shims and the node daemons to a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make the programs and add them to build_data; none for an editable install: `make build/bin` makes those.

        version is "standard" or "editable".
        """
        if version == "editable":
            return
        sys.path.insert(0, self.root)
        from scripts import launchers  # late: an isolated build knows the tree's folder only here

        self._folder = tempfile.TemporaryDirectory()
        client, linked = f"{self._folder.name}/client", ""
        if os.environ.get("RUNWASI_BUILD_CLIENT") != "off":
            linked = launchers.compile_client(client, VERSION=self.metadata.version, LAUNCHER=f"%s{_COLD}")
        scripts: dict[str, str] = build_data["shared_scripts"]
        for name, program in launchers.programs().items():
            if name not in _OF_ENTRY_POINTS:
                is_shim = name in launchers.cold_launchers()
                scripts[self._put(name, client if linked and is_shim else program)] = name
        if linked:
            for name, program in launchers.cold_launchers().items():
                scripts[self._put(name + _COLD, program)] = name + _COLD
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{_platforms(linked)}"

    def _put(self, name: str, program: Any) -> str:
        """Write a program, or copy the client, to a file of its name; return the path."""
        from scripts import launchers  # late: as above

        path = f"{self._folder.name}/{name}"
        if isinstance(program, str):
            os.link(program, path)
            return path
        text = _LAUNCHER.format(
            mark=launchers.MARK,
            module=program.module,
            function=program.function,
            arguments=program.arguments,
            cold=_COLD,
        )
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o755)  # installers keep the mode
        return path


def _platforms(linked: str) -> str:
    """Return the platforms of a client; a static one needs no C library of a certain age."""
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    if linked != "static":
        return platform
    architecture = platform.removeprefix("linux_")
    return f"manylinux_2_17_{architecture}.musllinux_1_1_{architecture}"
