"""Installs the programs that containerd starts into its PATH.

`make install` installs them in a folder per version. A Python environment made by pip has none of them: here
it gets small launchers, which contain the paths of its interpreter and its folders.
"""

from __future__ import annotations

import os
import sys

import runwasi
from runwasi.deployment.file_change import FileChange
from runwasi.deployment.target_plan import TargetPlan
from runwasi.engines import registry
from runwasi.startup import installation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runwasi.deployment.target_node import TargetNode

_MARK = "# A launcher of runwasi"
_LAUNCHER = """\
#!{python} -IS
{mark}: written by `runwasi install programs`, removed by `runwasi uninstall programs`.
import gc, os, sys

gc.disable()  # nothing that a start makes is garbage before its end
sys.path += {folders!r}
from {module} import main

os._exit(main({arguments}))
"""


_USUAL = "/usr/local/bin"
_PATH = (_USUAL, "/usr/local/sbin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""Where systemd has a service look for programs. Source: man 5 systemd.exec, under $PATH."""


def default_folder(node: TargetNode) -> str:
    """Return the folder of our programs: this installation's, or the one in PATH that links to them."""
    version = installation.folder()
    if not version:
        return _USUAL
    own = _programs(version)
    shim = registry.shim_name(registry.DEFAULT)
    linked, program = (os.path.realpath(node.path(f"{folder}/{shim}")) for folder in (_USUAL, own))
    return _USUAL if own not in _PATH and linked == program else own


def is_in_path(folder: str) -> bool:
    """Return whether containerd looks for shims in a folder, as systemd starts it."""
    return folder in _PATH


def install(node: TargetNode, engines: Sequence[str], folder: str) -> TargetPlan:
    """Return the plan that puts the engines' shims and daemons into a folder. Raises DeploymentError, OSError."""
    version = installation.folder()
    if version:
        missing = [name for name in _names(engines) if not node.has(f"{folder}/{name}")]
        notes = (
            [f"{folder} lacks {', '.join(missing)}: link to those in {_programs(version)}, or install there"]
            if missing
            else []
        )
        return TargetPlan("programs", f"programs of {os.path.basename(version)} in {folder}", notes=notes)
    changes = []
    for name, module, arguments in _launchers(engines):
        text = _LAUNCHER.format(
            python=sys.executable, mark=_MARK, folders=_folders(), module=module, arguments=arguments
        )
        changes.append(_change(node, f"{folder}/{name}", text))
    return TargetPlan(
        "programs", f"shims in {folder}, for {sys.executable}", changes, notes=_owner_notes(folder)
    )


def _owner_notes(folder: str) -> list[str]:
    """Return a note if we are root, and another user could change the code that the launchers would run."""
    paths = (sys.prefix, *_folders())
    foreign = [path for path in paths if os.geteuid() == 0 and _owner_of(path) != 0]
    if not foreign:
        return []
    return [
        f"{foreign[0]} is another user's, who could change what {folder} runs as root: use an environment of root's"
    ]


def _owner_of(path: str) -> int:
    return os.stat(path).st_uid


def uninstall(node: TargetNode, engines: Sequence[str], folder: str) -> TargetPlan:
    """Return the plan that removes the launchers that install wrote."""
    notes = []
    if installation.folder():
        notes.append(
            "the programs go by `make uninstall` of the source tree, `install remove` of the bundle, or apt"
        )
    changes = [_change(node, f"{folder}/{name}", None) for name in _names(engines)]
    return TargetPlan("programs", f"shims in {folder}", changes, notes=notes)


def _programs(version: str) -> str:
    """Return the folder of an installation's programs, given the folder of its version."""
    prefix = version.rpartition("/lib/runwasi/")[0]
    return f"{prefix}/bin"


def _names(engines: Sequence[str]) -> list[str]:
    return [name for name, _, _ in _launchers(engines)]


def _launchers(engines: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return the programs for some engines: name, module and the arguments of its main."""
    client = "runwasi.shim.client.python_client"
    found = [("runwasi", "runwasi.cli.main", "")]
    for engine in engines:
        found += [
            (registry.shim_name(engine), client, f'"{engine}"'),
            (registry.shim_name(engine, shared=True), client, f'"{engine}", shared=True'),
            (registry.daemon_name(engine), "runwasi.shim.daemon.node_daemon", f'"{engine}"'),
        ]
    return found


def _folders() -> list[str]:
    """Return where this interpreter finds our package and those of others."""
    ours = os.path.dirname(os.path.dirname(os.path.abspath(runwasi.__file__)))
    others = [path for path in sys.path if path.endswith(("site-packages", "dist-packages")) and path != ours]
    return [ours, *others]


def _change(node: TargetNode, name: str, after: str | None) -> FileChange:
    """Return the change of a program; one that is not ours stays."""
    path = node.path(name)
    try:
        with open(path, "rb") as file:
            content = file.read()
    except FileNotFoundError:
        return FileChange(path, None, after, mode=0o755)
    if _MARK.encode() not in content or b"runwasi install programs" not in content:
        return FileChange(path, None, None)
    return FileChange(path, content.decode(), after, mode=0o755)
