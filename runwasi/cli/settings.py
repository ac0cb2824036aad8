"""Reads the global options: the state root, the log, the cgroup driver."""

from __future__ import annotations

import os

from runwasi.cli.log_file import JSON, TEXT, LogFile
from runwasi.cli.options import FLAG, Option, UsageError
from runwasi.node.state_roots import COMMAND_LINE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.cli.options import Given

OPTIONS = (
    Option("debug", "enable debug logging", kind=FLAG),
    Option("log", "write the log to this file (default: standard error)", value="FILE"),
    Option("log-format", "log format: text or json", default="text", value="FORM"),
    Option("root", f"folder for the containers' state (default: {COMMAND_LINE})", value="FOLDER"),
    Option(
        "systemd-cgroup", 'let systemd make the cgroup; cgroupsPath is then "slice:prefix:name"', kind=FLAG
    ),
    Option(
        "cgroup-manager",
        "crun's option for the same: cgroupfs, systemd, or disabled for no cgroup",
        default="cgroupfs",
        value="NAME",
    ),
    Option(
        "rootless",
        "skip cgroups that we cannot use: true, false or auto",
        default="auto",
        value="WHEN",
    ),
    Option("criu", "accepted for old callers; criu is found in PATH", value="PATH", hidden=True),
    Option("version", "print the version", kind=FLAG, short="v"),
)


class Settings:
    """The options that every command obeys."""

    __slots__ = ("log", "no_cgroup", "root", "root_given", "rootless", "systemd_cgroup")

    def __init__(self, given: Given) -> None:
        form = given.text("log-format")
        if form not in (TEXT, JSON):
            raise UsageError(f"invalid log-format: {form}: expected text or json")
        self.log = LogFile(given.text("log").removeprefix("file:"), form, debug=given.flag("debug"))
        self.log.check()
        self.root_given = "root" in given.present
        self.root = _absolute_root(given.text("root")) if self.root_given else default_root()
        manager = _cgroup_manager(given.text("cgroup-manager"))
        self.systemd_cgroup = given.flag("systemd-cgroup") or manager == "systemd"
        self.no_cgroup = manager == "disabled"
        self.rootless = _rootless(given.text("rootless"))


def default_root() -> str:
    """Return /run/runwasi for the host's root, and a folder in $XDG_RUNTIME_DIR for everybody else."""
    runtime_dir = os.environ.get("XDG_RUNTIME_DIR")
    if runtime_dir and (os.geteuid() != 0 or in_user_namespace()):
        return f"{runtime_dir}/runwasi"
    return COMMAND_LINE


def in_user_namespace() -> bool:
    """Return whether ids are mapped: then we are root only in a user namespace."""
    with open("/proc/self/uid_map", "rb", 0) as file:
        return file.read().split() != [b"0", b"0", b"4294967295"]


def _absolute_root(path: str) -> str:
    root = os.path.abspath(path) if path else "/"
    if root == "/":
        raise UsageError("Option --root argument should not be set to /")
    return root


def _cgroup_manager(name: str) -> str:
    managers = ("cgroupfs", "systemd", "disabled")
    if name not in managers:
        raise UsageError(f'invalid value "{name}" for --cgroup-manager: one of {", ".join(managers)}')
    return name


def _rootless(text: str) -> bool:
    if text.lower() in {"true", "t", "1"}:
        return True
    if text.lower() in {"false", "f", "0"}:
        return False
    if text.lower() not in {"", "auto"}:
        raise UsageError(f'invalid value "{text}" for --rootless: true, false or auto')
    return os.geteuid() != 0 or in_user_namespace()
