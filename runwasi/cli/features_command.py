"""features: print what this runtime, its libraries and the kernel can do."""

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
        "show what this runtime can do, as JSON",
        _features,
        description="The document is that of the runtime specification's features.md.",
    )
}
