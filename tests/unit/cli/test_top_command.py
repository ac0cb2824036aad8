"""`runwasi top` on a narrow terminal, and for a user who may not look everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO

import pytest
from rich.console import Console

from runwasi.cli import node_containers
from runwasi.cli.main import main
from runwasi.cli.node_containers import Sample
from runwasi.cli.top_command import _TITLES, _table


def test_shims_that_this_user_may_not_see_count_as_one(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def shim_roots(engines: list[str]) -> Iterator[tuple[str, str]]:
        raise PermissionError(13, "Permission denied", f"/run/containerd/{engines[0]}")
        yield

    monkeypatch.setattr(node_containers, "shim_roots", shim_roots)
    monkeypatch.setattr(node_containers, "container_ids", lambda _root: ())
    assert main(["top", "--once"]) == 0
    said = capfd.readouterr()
    assert said.out.startswith("NAMESPACE")
    assert "1 more could not be read" in said.err


def test_a_narrow_terminal_cuts_long_names_and_commands_only() -> None:
    sample = Sample.__new__(Sample)
    for name, value in {
        "namespace": "k8s.io",
        "pod": "default/" + "p" * 40,
        "id": "c" * 40,
        "command": "sh " + "x" * 200,
        "kind": "wasm",
        "engine": "wasmtime",
        "status": "running",
        "served": None,
        "limit": None,
        "cpu": 12.5,
        "memory": 5 << 20,
        "pids": 2,
        "created": "2026-01-01T00:00:00Z",
    }.items():
        setattr(sample, name, value)
    console = Console(width=110, file=StringIO())
    console.print(_table([sample]))
    assert isinstance(console.file, StringIO)
    titles, row, *more = console.file.getvalue().splitlines()
    assert titles.split() == list(_TITLES)
    assert row.count("…") == 3
    assert more == []
