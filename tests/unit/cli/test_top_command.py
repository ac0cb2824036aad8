"""`runwasi top` of a user who may not look everywhere."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runwasi.cli import node_containers
from runwasi.cli.main import main


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
