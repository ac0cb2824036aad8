"""Links between the pages of the documentation lead somewhere, and every page can be found."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from devtools.places import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("packaging/**/*.md")])
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    for link in _links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in _anchors(target), link


def test_the_readme_and_the_index_link_to_every_page() -> None:
    index = ROOT / "docs/README.md"
    readme, listed = _linked(ROOT / "README.md"), _linked(index)
    assert index in readme
    pages = {*ROOT.glob("docs/*.md"), ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"} - {index}
    assert {str(page.relative_to(ROOT)) for page in pages - listed} == set()


def test_the_site_has_every_page() -> None:
    site = (ROOT / "mkdocs.yml").read_text()
    assert {path.name for path in ROOT.glob("docs/*.md") if f": docs/{path.name}" not in site} == set()


def test_the_readme_has_the_ratios_that_were_measured() -> None:
    measured = (ROOT / "docs/benchmarks.md").read_text()
    rows = re.findall(r"^\| (B[\w.-]+), .*\| ([\d.]+) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert rows
    for name, ratio in rows:
        section = measured.partition(f"## {name}:")[2].partition("\n## ")[0]
        assert f"**{ratio}**" in section, f"README.md's row {name} is not what docs/benchmarks.md says"


def test_the_environment_page_has_every_variable_of_ours() -> None:
    variable = re.compile(r"\bRUNWASI_[A-Z_]+\b")
    read = {
        name
        for path in ROOT.glob("runwasi/**/*.[pc]*")
        if path.suffix in {".py", ".c"}
        for name in variable.findall(path.read_text())
    }
    assert set(variable.findall((ROOT / "docs/environment.md").read_text())) == read


def _linked(page: Path) -> set[Path]:
    return {(page.parent / link.partition("#")[0]).resolve() for link in _links(page)}


def _links(page: Path) -> list[str]:
    return [link for link in _LINK.findall(page.read_text()) if "://" not in link]


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
