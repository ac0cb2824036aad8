"""The program `oci-tar-builder`: `runwasi image build` under the name that users of other runtimes know."""

from __future__ import annotations

import sys

from runwasi.cli import output
from runwasi.cli.command import Command, check_arguments
from runwasi.cli.help import command_help
from runwasi.cli.image_command import BUILD_OPTIONS, build
from runwasi.cli.options import UsageError, parse
from runwasi.cli.signal_forwarding import Interrupted
from runwasi.executor.errors import describe
from runwasi.images.image_error import ImageError
from runwasi.linux.standard_streams import open_missing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_BUILDER = Command(
    "oci-tar-builder", "build an OCI archive whose layers are WebAssembly", build, options=BUILD_OPTIONS
)


def main(words: Sequence[str] | None = None) -> int:
    """Build the image of a command line, by default sys.argv's; return the exit status."""
    open_missing()
    name = _BUILDER.name
    try:
        status = _run(sys.argv[1:] if words is None else words)
        output.flush()
        return status
    except UsageError as error:
        output.write_error(f"{name}: {error} (see `{name} --help`)")
        return 2
    except Interrupted as signal:
        return 128 + signal.number
    except (ImageError, OSError) as error:
        output.write_error(f"{name}: {describe(error)}")
        return 1


def _run(words: Sequence[str]) -> int:
    given = parse(_BUILDER.options, words)
    if given.flag("help"):
        output.write(command_help(_BUILDER, program=_BUILDER.name))
        return 0
    check_arguments(_BUILDER, given)
    return build(given)
