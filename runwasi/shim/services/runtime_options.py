"""Runtime options of a Create call: runc's own message, or TOML in the one for other runtimes.

containerd's CRI plugin sends `containerd.runc.v1.Options` for runc's shim only and
`runtimeoptions.v1.Options` with the configuration's `options` table as TOML for every other; both carry the
same names.
"""

from __future__ import annotations

from runwasi.executor.errors import Invalid
from runwasi.wire.messages.options import Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.wire.messages.well_known import Any

_RUNC = "containerd.runc.v1.Options"
_GENERIC = "runtimeoptions.v1.Options"


def runtime_options(packed: Any | None) -> Options:
    """Return the options in a request; without any, the defaults. Raises Invalid, WireError."""
    if packed is None or not packed.value:
        return Options()
    kind = packed.type_url.rpartition("/")[2]
    if kind == _RUNC:
        return Options.decode(packed.value)
    if kind == _GENERIC:
        return _generic(packed.value)
    raise Invalid(f"options of type {packed.type_url} are not understood: {_RUNC} or {_GENERIC} are")


def _generic(value: bytes) -> Options:
    from runwasi.wire.messages import runtime_options as generic  # late: CRI's way only

    options = generic.Options.decode(value)
    if options.config_path:
        try:
            with open(options.config_path, encoding="utf-8") as file:
                return _from_toml(file.read())
        except OSError as error:
            raise Invalid(f"options file {options.config_path}: {error.strerror}") from None
    try:
        return _from_toml(options.config_body.decode())
    except UnicodeDecodeError:
        raise Invalid("options are not UTF-8") from None


def _from_toml(text: str) -> Options:
    """Read the names of runc's options, however they are capitalised; others are another runtime's."""
    import tomllib  # late: 8 ms, for pods with options only

    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Invalid(f"options are not TOML: {error}") from None
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
