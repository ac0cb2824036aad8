"""Parses a shim's command line in Go's flag syntax: -name value, -name=value, --name; the action comes last.

containerd calls `-namespace NS -address SOCKET -publish-binary PATH -id ID [-bundle PATH] [-debug]
start|delete`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_TEXT = (
    "namespace",
    "address",
    "publish-binary",
    "id",
    "bundle",
    "socket",
    "group",
    "ttrpc-address",
    "shim-cgroup",
    "idle",
    "program",
    "handover",
)
_SWITCHES = ("debug", "v", "version", "info", "h", "help")
_TRUE, _FALSE = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")


class UsageError(ValueError):
    """The command line is wrong; the text says why."""


class Flags:
    """The contents of the command line; a text that was not given is empty.

    group, ttrpc_address and shim_cgroup are ours: the launcher passes them to the server it starts. idle, program and
    handover are the node daemon's.
    """

    def __init__(self) -> None:
        self.namespace = self.address = self.id = self.bundle = self.socket = ""
        self.publish_binary = self.group = self.ttrpc_address = self.shim_cgroup = ""
        self.idle = self.program = self.handover = ""
        self.debug = self.v = self.version = self.info = self.h = self.help = False
        self.action = ""

    @classmethod
    def parse(cls, arguments: list[str]) -> Flags:
        """Parse the arguments after the program's name. Raises UsageError."""
        flags = cls()
        rest = iter(arguments)
        for argument in rest:
            if argument == "--":
                flags.action = next(rest, "")
                break
            if len(argument) < 2 or argument[0] != "-":
                flags.action = argument
                break
            flags._take(argument, rest)
        return flags

    def _take(self, argument: str, rest: Iterator[str]) -> None:
        """Set the flag of an argument; its value may be the next argument in rest. Raises UsageError."""
        name, has_value, value = argument.lstrip("-").partition("=")
        if name in _SWITCHES:
            self._set(name, _switch(name, value) if has_value else True)
        elif name in _TEXT:
            self._set(name, value if has_value else _following(name, rest))
        else:
            raise UsageError(f"flag provided but not defined: -{name}")

    def arguments(self) -> list[str]:
        """Return arguments that parse to the same."""
        texts = {name: getattr(self, name.replace("-", "_")) for name in _TEXT}
        arguments = [part for name, value in texts.items() if value for part in (f"-{name}", value)]
        arguments += [f"-{name}" for name in _SWITCHES if getattr(self, name)]
        if self.action.startswith("-"):  # it came after the end of the flags
            arguments.append("--")
        return [*arguments, self.action] if self.action else arguments

    def check_namespace(self) -> None:
        """Refuse a namespace that is missing, or whose state would be elsewhere. Raises UsageError."""
        if not self.namespace:
            raise UsageError("shim namespace cannot be empty: give -namespace")
        if "/" in self.namespace or self.namespace in (".", ".."):
            raise UsageError(f"shim namespace {self.namespace!r} is not one name")

    def _set(self, name: str, value: str | bool) -> None:
        setattr(self, name.replace("-", "_"), value)


def _following(name: str, rest: Iterator[str]) -> str:
    value = next(rest, None)
    if value is None:
        raise UsageError(f"flag needs an argument: -{name}")
    return value


def _switch(name: str, value: str) -> bool:
    if value not in _TRUE + _FALSE:
        raise UsageError(f'invalid boolean value "{value}" for -{name}: expected true or false')
    return value in _TRUE
