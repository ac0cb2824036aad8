"""The program `oci-tar-builder`: `runwasi image build` under the name that users of other runtimes know."""

from __future__ import annotations

import argparse

from runwasi.cli import output
from runwasi.cli.image_command import add_build_arguments, build
from runwasi.cli.signal_forwarding import Interrupted
from runwasi.executor.errors import describe
from runwasi.images.image_error import ImageError
from runwasi.linux.standard_streams import open_missing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(words: Sequence[str] | None = None) -> int:
    """Build the image of a command line, by default sys.argv's; return the exit status."""
    open_missing()
    parser = argparse.ArgumentParser(
        prog="oci-tar-builder", description="Build an OCI archive whose layers are WebAssembly."
    )
    add_build_arguments(parser)
    arguments = parser.parse_args(words)
    try:
        status = build(arguments)
        output.flush()
        return status
    except Interrupted as signal:
        return 128 + signal.number
    except (ImageError, OSError) as error:
        output.write_error(f"{parser.prog}: {describe(error)}")
        return 1
