"""Resource control groups, on folders that stand in for the filesystem: few machines have one."""

from __future__ import annotations

from errno import ENOTSUP
from pathlib import Path

import pytest

from runwasi.linux import resctrl


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which a new group has the files that the kernel would put there."""
    make = resctrl._make

    def make_with_files(directory: str) -> bool:
        made = make(directory)
        if made:
            fill(Path(directory))
        return made

    monkeypatch.setattr(resctrl, "_make", make_with_files)
    fill(tmp_path)
    return tmp_path


def fill(group: Path) -> None:
    (group / "mon_groups").mkdir(exist_ok=True)
    for name in ("tasks", "schemata"):
        (group / name).touch()


def test_a_group_is_made_with_its_shares_and_monitored(root: Path) -> None:
    resctrl.join("c1", 42, ["L3:0=f", "MB:0=50"], "c1", root=str(root))
    assert (root / "c1/schemata").read_text() == "L3:0=f\nMB:0=50\n"
    assert (root / "c1/tasks").read_text() == "42"
    assert (root / "c1/mon_groups/c1/tasks").read_text() == "42"


def test_a_group_of_others_must_have_the_same_shares(root: Path) -> None:
    resctrl._make(str(root / "gold"))
    (root / "gold/schemata").write_text("    L3:0=0ff;1=0ff\n    MB:0= 50;1=100\n")
    resctrl.join("gold", 42, ["L3:0=ff", "MB:1=100"], root=str(root))
    assert (root / "gold/tasks").read_text() == "42"
    with pytest.raises(OSError, match="exists with another L3 schema"):
        resctrl.join("gold", 43, ["L3:0=f"], root=str(root))


def test_a_group_without_shares_must_be_there(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such class of service"):
        resctrl.join("gold", 42, root=str(root))


def test_the_root_group_is_everybodys(root: Path) -> None:
    resctrl.join("/", 42, root=str(root))
    assert (root / "tasks").read_text() == "42"
    resctrl.leave("/", remove=True, root=str(root))
    assert root.exists()


def test_leaving_twice_is_fine(root: Path) -> None:
    (root / "c1/mon_groups").mkdir(parents=True)
    (root / "c1/mon_groups/c1").mkdir()
    resctrl.leave("c1", "c1", root=str(root))
    assert (root / "c1/mon_groups").exists()
    resctrl.leave("c1", "c1", root=str(root))


def test_a_machine_without_it_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no resource control") as refusal:
        resctrl.join("c1", 42, root=str(tmp_path / "absent"))
    assert refusal.value.errno == ENOTSUP
