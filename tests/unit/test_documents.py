"""Documents name files, folders and decisions that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from devtools.places import ROOT
from runwasi.executor.workload.wasm_filter import rules_of
from runwasi.executor.workload.wasm_syscalls import SYSCALLS

DOCUMENTS = sorted(
    path
    for path in (*ROOT.glob("*.md"), *ROOT.glob("[a-z]*/**/*.md"))
    if not {"build", "dist", "node_modules", ".venv"} & set(path.relative_to(ROOT).parts)
)
# Paths in documents are below the repository, the package, or the tests.
FOLDERS = [ROOT / name for name in (".", "runwasi", "tests", "tests/integration", "docs")]
OTHERS = {"site.py"}  # Python's own
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")
FILE = re.compile(r"`([\w./-]+\.(?:py|c|proto|md|yaml|service))`")
MEMBER = re.compile(r"`((?:\w+/)+\w+)\.(\w+)`")
TARGET = re.compile(r"^\s*(?:sudo )?make ([a-z0-9/-]+)|`make ([a-z0-9/-]+)`", re.MULTILINE)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_links_lead_somewhere(document: Path) -> None:
    broken = []
    for target, anchor in LINK.findall(document.read_text()):
        if "://" in target or target.startswith("mailto:"):
            continue
        path = (document.parent / target) if target else document
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(f"{target}#{anchor}")
    assert broken == []


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_files_that_are_named_exist(document: Path) -> None:
    missing = [
        name
        for name in FILE.findall(document.read_text())
        if name not in OTHERS and found(name, document) is None
    ]
    assert missing == []


def found(name: str, document: Path) -> Path | None:
    return next((folder / name for folder in (*FOLDERS, document.parent) if (folder / name).exists()), None)


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_functions_that_are_named_exist(document: Path) -> None:
    missing = []
    for module, member in MEMBER.findall(document.read_text()):
        path = found(f"{module}.py", document)
        if found(f"{module}.{member}", document) is None and (
            path is None
            or not re.search(rf"^(?:def|class) {member}\b|^{member} = ", path.read_text(), re.MULTILINE)
        ):
            missing.append(f"{module}.{member}")
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_make_knows_the_targets_in_the_documents(document: Path) -> None:
    known = set(re.findall(r"^([a-z0-9/-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked = {one or other for one, other in TARGET.findall(document.read_text())}
    assert asked - known == set()


def test_decisions_have_numbers_of_their_own() -> None:
    numbers = [path.name[:4] for path in sorted((ROOT / "docs/decisions").glob("*.md"))]
    assert len(set(numbers)) == len(numbers)
    for path in (ROOT / "docs/decisions").glob("*.md"):
        assert path.read_text().startswith(f"# {path.name[:4]}. "), path.name


DECISIONS = sorted((ROOT / "docs/decisions").glob("*.md"))
RECORD = re.compile(r"# .*\n\nDate: \d{4}-\d\d-\d\d\. Status: (accepted|superseded by \[\d{4}\]\(\S+\))[.;]")
OTHER_DECISION = re.compile(r"\[(\d{4})\]\((\d{4})-[^)]*\)")


@pytest.mark.parametrize("decision", DECISIONS, ids=named)
def test_a_decision_has_a_date_and_a_status(decision: Path) -> None:
    assert RECORD.match(decision.read_text())


@pytest.mark.parametrize("decision", DECISIONS, ids=named)
def test_a_decision_names_others_by_their_numbers(decision: Path) -> None:
    text = decision.read_text()
    assert [pair for pair in OTHER_DECISION.findall(text) if pair[0] != pair[1]] == []
    bare = re.findall(r"\((0\d{3})\)", text)
    assert [number for number in bare if not list(decision.parent.glob(f"{number}-*.md"))] == []


@pytest.mark.parametrize("decision", DECISIONS, ids=named)
def test_a_superseding_decision_names_what_it_supersedes(decision: Path) -> None:
    status = decision.read_text().split("\n")[2]
    for number in re.findall(r"superseded by \[(\d{4})\]", status):
        (later,) = decision.parent.glob(f"{number}-*.md")
        supersedes = re.search(r"^Supersedes .*$", later.read_text(), re.MULTILINE)
        assert supersedes is not None
        assert decision.name[:4] in supersedes[0]


FILTERS = {
    "wasmtime, core module": "wasmtime-core",
    "wasmtime, command": "wasmtime-component",
    "wasmtime, HTTP server": "wasmtime-http",
    "WasmEdge": "wasmedge-core",
    "Wasmer": "wasmer-core",
    "an engine of yours": "",
}


def test_the_table_of_filters_counts_what_is_measured_and_allowed() -> None:
    rows = re.findall(
        r"^\| (.+?) \| (\d*) ?\| (\d+) \| (?:yes|no) \|", (ROOT / "docs/security.md").read_text(), re.M
    )
    assert rows == [(title, *counts(name)) for title, name in FILTERS.items()]


def counts(name: str) -> tuple[str, str]:
    """Return how many calls were measured for a filter, "" for none, and how many it allows."""
    names, conditions = rules_of(name, network=True)
    return str(len(SYSCALLS.get(name, ())) or ""), str(len({*names, *(call for call, *_ in conditions)}))
