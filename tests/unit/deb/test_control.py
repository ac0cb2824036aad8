"""The packages' control files, as dpkg reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scripts.deb import control

if TYPE_CHECKING:
    from pathlib import Path

LOG = """\
# Changelog

## Unreleased

- To come.

## 0.2.0 - 2026-12-01

The second release.

### Operating a node

- One change, which is described
  on two lines.

## 0.1.0 - 2026-11-01

- The first.
"""


@pytest.mark.parametrize(
    ("version", "debian"),
    [("0.1.0", "0.1.0"), ("0.2.0rc1", "0.2.0~rc1"), ("1.0b2", "1.0~b2"), ("1.0.dev3", "1.0~dev3")],
)
def test_a_release_candidate_sorts_before_its_release(version: str, debian: str) -> None:
    assert control.version_of(version) == debian


def test_the_changelog_has_the_section_of_the_version_in_debians_form() -> None:
    written = control.changelog(LOG, "0.2.0", "0.2.0", "Us <us@host>", 0)
    assert (
        written.splitlines()
        == [
            "runwasi (0.2.0) unstable; urgency=medium",
            "",
            "  * The second release.",
            "  [ Operating a node ]",
            "  * One change, which is described on two lines.",
            "",
            " -- Us <us@host>  Thu, 01 Jan 1970 00:00:00 +0000",
            "",
        ][:-1]
    )


def test_a_version_without_a_section_has_what_is_not_released() -> None:
    assert "  * To come." in control.changelog(LOG, "0.3.0", "0.3.0", "Us <us@host>", 0)


def test_a_changelog_without_either_is_refused() -> None:
    with pytest.raises(LookupError, match=r"no section for 1\.0"):
        control.changelog("# Changelog\n", "1.0", "1.0", "Us <us@host>", 0)


def test_the_copyright_file_has_the_year_and_the_licence_of_each_package(tmp_path: Path) -> None:
    (tmp_path / "libone").mkdir()
    (tmp_path / "libone/copyright").write_text("Free to use.\n")
    written = control.copyright_of(tmp_path, 1_800_000_000)
    assert written.startswith("Copyright 2027 the authors of runwasi")
    assert written.endswith("From libone:\n\nFree to use.\n")
