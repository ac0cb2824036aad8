"""features: prints the features of this runtime, its libraries and the kernel."""

from __future__ import annotations

from runwasi.cli import output
from runwasi.cli.command import Command
from runwasi.executor.runtime_features import features
from runwasi.oci.encode import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.cli.options import Given
    from runwasi.cli.settings import Settings


def _features(_given: Given, _settings: Settings) -> int:
    output.write(dumps(features(), "    ") + "\n")
    return 0


COMMANDS = {
    "features": Command(
        "features",
        "show the features of this runtime as JSON",
        _features,
        description="The document follows the runtime specification's features.md.",
    )
}
