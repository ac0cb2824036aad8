"""`make install` and the bundle install the manual and the completions, and remove them again."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

from devtools.places import ROOT
from scripts import documents

FILES = {
    "man/man1/runwasi.1": ".TH RUNWASI 1",
    "bash-completion/completions/runwasi": "complete -o bashdefault -F _runwasi runwasi",
    "zsh/site-functions/_runwasi": "#compdef runwasi",
    "fish/vendor_completions.d/runwasi.fish": "complete -c runwasi",
}


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_every_user_can_read_the_installed_manual_and_completions(tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        documents.write(str(tmp_path / "usr/share"))
    finally:
        os.umask(umask)
    assert _files(tmp_path / "usr/share") == sorted(FILES)
    folders = [path for path in tmp_path.rglob("*") if path.is_dir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o755}
    for name, text in FILES.items():
        assert text in (tmp_path / "usr/share" / name).read_text()
        assert stat.S_IMODE((tmp_path / "usr/share" / name).stat().st_mode) == 0o644
    assert (tmp_path / "usr/share" / documents.MANUAL).read_bytes() == (
        ROOT / "docs/man/runwasi.1"
    ).read_bytes()


def test_a_second_installation_leaves_what_has_not_changed(tmp_path: Path) -> None:
    documents.write(str(tmp_path))
    before = {name: (tmp_path / name).stat().st_ino for name in FILES}
    (tmp_path / documents.MANUAL).write_text("older")
    documents.write(str(tmp_path))
    after = {name: (tmp_path / name).stat().st_ino for name in FILES}
    assert {name for name in FILES if before[name] != after[name]} == {documents.MANUAL}


def test_removal_leaves_the_files_of_others(tmp_path: Path) -> None:
    documents.write(str(tmp_path))
    other = tmp_path / "man/man1/other.1"
    other.write_text("")
    documents.remove(str(tmp_path))
    documents.remove(str(tmp_path))
    assert _files(tmp_path) == ["man/man1/other.1"]


def test_the_installers_interpreter_needs_no_package_for_them(tmp_path: Path) -> None:
    program = f"import sys; sys.path.append({str(ROOT)!r}); from scripts import documents; "
    program += "documents.write(sys.argv[1])"
    subprocess.run([sys.executable, "-ISB", "-c", program, str(tmp_path)], check=True)
    assert _files(tmp_path) == sorted(FILES)
