"""A command line that asks for a terminal nobody would get says how to ask for one."""

from __future__ import annotations

import pytest

from runwasi.cli.bundles import check_terminal
from runwasi.cli.options import Option, UsageError, parse

_OPTIONS = (Option("console-socket", "", value="SOCKET"),)


@pytest.mark.parametrize(
    ("words", "terminal", "advice"),
    [
        ([], True, "give --console-socket"),
        (["--console-socket", "/s"], False, "needs --detach and process.terminal"),
    ],
)
def test_a_refused_terminal_comes_with_advice(words: list[str], terminal: bool, advice: str) -> None:
    with pytest.raises(UsageError, match=advice):
        check_terminal(parse(_OPTIONS, words), terminal=terminal, detached=True)
