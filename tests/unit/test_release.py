"""`make release` refuses an unfinished release."""

from __future__ import annotations

import hashlib
import subprocess
from typing import TYPE_CHECKING

import pytest

from scripts import release

if TYPE_CHECKING:
    from pathlib import Path

LOG = "# Changelog\n\n## Unreleased\n\n## 0.2.0 - 2026-12-01\n\n- New.\n"


def test_a_version_with_its_section_in_a_clean_work_tree_can_be_released() -> None:
    assert release.problems("0.2.0", LOG, "", "", "abc") == []
    assert release.problems("0.2.0", LOG, "", "abc", "abc") == []


@pytest.mark.parametrize(
    ("version", "status", "tagged", "why"),
    [
        ("0.2", "", "", "0.2 is no version X.Y.Z"),
        ("0.3.0", "", "", 'has no section "## 0.3.0 - DATE"'),
        ("0.2.0", " M README.md", "", "changes that are not committed:\n M README.md"),
        ("0.2.0", "", "def", "the tag v0.2.0 names another commit"),
    ],
)
def test_a_commit_that_cannot_be_released_is_refused_with_the_reason(
    version: str, status: str, tagged: str, why: str
) -> None:
    assert any(why in problem for problem in release.problems(version, LOG, status, tagged, "abc"))


def test_files_that_only_one_build_has_or_that_differ_are_named() -> None:
    first, second = {"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "4", "d": "3"}
    assert release.differing(first, first) == []
    assert release.differing(first, second) == ["b", "c", "d"]


def test_published_files_have_sums_that_sha256sum_checks(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"one")
    release.publish(tmp_path, {"one": hashlib.sha256(b"one").hexdigest()}, tmp_path / "dist")
    check = ["sha256sum", "--check", "--status", "SHA256SUMS"]
    assert subprocess.run(check, cwd=tmp_path / "dist", check=False).returncode == 0
