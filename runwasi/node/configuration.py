"""Reads the node's configuration, /etc/runwasi/config.toml: the operator's decisions for all containers.

It is read only where one of its keys matters, not at every start: importing the TOML parser takes milliseconds.
A key is a slot of Configuration, read by a function that checks its type; docs/configuration.md describes each.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PATH = "/etc/runwasi/config.toml"

OVERRIDE = "RUNWASI_CONFIG"
"""Environment variable of the runtime's own process that names another file. No container can set it: a
container's environment reaches only its program."""

_MAX_SIZE = 1 << 20
_OVERFLOW_UID = 65534  # the owner that a user namespace shows for unmapped ids: man 7 user_namespaces


class ConfigurationError(Exception):
    """The file cannot be trusted or read; the message names the file and the key."""


class Configuration:
    """The file's settings, or the defaults without a file.

    leave_daemon        whether a shim that finds no node daemon leaves one running
    unsafe_annotations  unsafe annotations that containers of this node may use
    """

    __slots__ = ("leave_daemon", "unsafe_annotations")

    def __init__(self, document: Mapping[str, object]) -> None:
        """Read the document. Raises ValueError naming the wrong key."""
        unknown = sorted(document.keys() - set(self.__slots__))
        if unknown:
            raise ValueError(f"{unknown[0]}: unknown key; the keys are {', '.join(self.__slots__)}")
        self.leave_daemon = _switch(document, "leave_daemon", default=True)
        self.unsafe_annotations = frozenset(_strings(document, "unsafe_annotations"))


def path() -> str:
    """Return the path of the configuration."""
    return os.environ.get(OVERRIDE) or PATH


def load() -> Configuration:
    """Read the configuration, or return the defaults if there is no file. Raises ConfigurationError."""
    name = path()
    try:
        text = _read_trusted(name)
    except FileNotFoundError:
        return Configuration({})
    except OSError as error:
        raise ConfigurationError(f"{name}: {error.strerror}") from None
    import tomllib  # late: 3 ms

    try:
        return Configuration(tomllib.loads(text))
    except ValueError as error:  # TOMLDecodeError too
        raise ConfigurationError(f"{name}: {error}") from None
    except RecursionError:
        raise ConfigurationError(f"{name}: is nested too deeply") from None


def _read_trusted(name: str) -> str:
    """Read a file that only root can have written. Raises OSError, ConfigurationError."""
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigurationError(f"{name}: not a regular file")
        if status.st_uid not in _trusted_owners() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ConfigurationError(
                f"{name}: not trusted: users other than root may write to it (chown root, chmod go-w)"
            )
        content = file.read(_MAX_SIZE + 1)
    if len(content) > _MAX_SIZE:
        raise ConfigurationError(f"{name}: larger than {_MAX_SIZE >> 20} MiB")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{name}: not UTF-8 at byte {error.start}") from None


def _trusted_owners() -> set[int]:
    """Return the uids that the host's root may have here: nobody too, if a user namespace does not map it."""
    with open("/proc/self/uid_map", "rb", 0) as file:
        whole = file.read().split() == [b"0", b"0", b"4294967295"]
    return {0} if whole else {0, _OVERFLOW_UID}


def _switch(document: Mapping[str, object], key: str, *, default: bool) -> bool:
    value = document.get(key, default)
    if not isinstance(value, bool):
        raise ValueError(f"{key}: must be true or false")
    return value


def _strings(document: Mapping[str, object], key: str) -> tuple[str, ...]:
    value = document.get(key, [])
    if not isinstance(value, list):
        raise ValueError(f"{key}: must be a list of strings")
    found = tuple(item for item in value if isinstance(item, str))
    if len(found) != len(value):
        raise ValueError(f"{key}: must be a list of strings")
    return found
