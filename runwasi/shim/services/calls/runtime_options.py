"""Reads the runtime options of a Create call, which clients send in one of three messages.

runc.v1.Options      clients of containerd 2, and those of 1.x for runc's own shim
linux.runc           clients of containerd 1.x for every other runtime: `ctr run --no-pivot`, `--uidmap`
runtimeoptions.v1    containerd's CRI plugin and Docker for every other runtime: the configuration's `options` table
                     as TOML, or a file of it

All have the same names.
"""

from __future__ import annotations

import os
import stat

from runwasi.executor.errors import Invalid
from runwasi.wire.messages.options import Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.wire.messages.well_known import Any

_RUNC = "containerd.runc.v1.Options"
_OLDER = "containerd.linux.runc.CreateOptions"
_GENERIC = "runtimeoptions.v1.Options"
_SHIM_CGROUP = "shimcgroup"
_MAX_FILE = 64 << 10


def runtime_options(packed: Any | None) -> Options:
    """Return the options in a request; without any, the defaults. Raises Invalid, WireError."""
    if packed is None or not packed.value:
        return Options()
    options = _decoded(packed)
    if any("\0" in value for value in vars(options).values() if isinstance(value, str)):
        raise Invalid("an option contains a zero byte")
    return options


def _decoded(packed: Any) -> Options:
    kind = message_name(packed)
    if kind == _RUNC:
        return Options.decode(packed.value)
    if kind == _OLDER:
        return _from_older(packed.value)
    if kind == _GENERIC:
        return _from_toml(_generic_text(packed.value))
    raise Invalid(
        f"options of type {packed.type_url} are not understood: {_RUNC}, {_OLDER} and {_GENERIC} are"
    )


def shim_cgroup(packed: Any) -> str:
    """Return the cgroup that the pod's server has to join, "" for none. Raises Invalid, WireError.

    Options of an unknown type name none; Create refuses them.
    """
    kind = message_name(packed)
    if kind == _GENERIC:
        text = _generic_text(packed.value)
        mentioned = _SHIM_CGROUP in text.replace("_", "").lower()
        return _from_toml(text).shim_cgroup if mentioned else ""  # to parse TOML takes a start 8 ms
    return runtime_options(packed).shim_cgroup if kind in (_RUNC, _OLDER) else ""


def message_name(packed: Any) -> str:
    """Return the name of the message in an Any, whose URL may have a host before it."""
    return packed.type_url.rpartition("/")[2]


def _from_older(value: bytes) -> Options:
    from runwasi.wire.messages.older_options import CreateOptions  # late: clients of 1.x only

    older = CreateOptions.decode(value)
    return Options(**{name: getattr(older, name) for _, name, _ in CreateOptions.FIELDS})


def _generic_text(value: bytes) -> str:
    """Return the TOML of the message for any runtime."""
    from runwasi.wire.messages import runtime_options as generic  # late: CRI's way only

    options = generic.Options.decode(value)
    text = _file(options.config_path) if options.config_path else options.config_body
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise Invalid("options are not UTF-8") from None


def _file(path: str) -> bytes:
    """Read a file of options. It must be a regular file of limited size: the node daemon must not block."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise Invalid(f"options file {path}: {error.strerror}") from None
    except ValueError:
        raise Invalid(f"options file {path!r}: the path contains a zero byte") from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise Invalid(f"options file {path}: not a regular file")
        if status.st_size > _MAX_FILE:
            raise Invalid(f"options file {path}: larger than {_MAX_FILE >> 10} KiB")
        return os.read(fd, _MAX_FILE)
    finally:
        os.close(fd)


def _from_toml(text: str) -> Options:
    """Read the names of runc's options, in any capitalisation; ignore others, which belong to other runtimes."""
    import tomllib  # late: 8 ms, for pods with options only

    try:
        table = tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, or an integer of more digits than int() takes
        raise Invalid(f"options are not TOML: {error}") from None
    except RecursionError:
        raise Invalid("options are not TOML: they are nested too deeply") from None
    names = {name.replace("_", ""): name for _, name, _ in Options.FIELDS}
    members: dict[str, object] = {}
    for key, value in table.items():
        name = names.get(key.replace("_", "").lower())
        if name is None:
            continue
        wanted = type(getattr(Options, name))
        if type(value) is not wanted:
            raise Invalid(f"option {key} is {value!r}, and must be of type {wanted.__name__}")
        members[name] = value
    return Options(**members)  # type: ignore[arg-type]
