"""Versions of an installation: kept while processes run from them, removed after, and never half switched."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runwasi.startup import installation
from scripts import installer, launchers

ROOT = Path(__file__).parents[3]
SHIM, COMMAND = "containerd-shim-wasmtime-v1", "runwasi"


class Prefix:
    """A prefix with versions that hold nothing but their programs."""

    def __init__(self, path: Path) -> None:
        self.place = installer.Place(str(path), "")
        self.versions = path / "lib/runwasi"
        self.programs = path / "bin"

    def stage(self, name: str) -> Path:
        """Make a version beside the others, as an installer does before it switches to it."""
        staged = self.versions / f"{installation.STAGED}{name}"
        for folder, program in (("bin", SHIM), ("bin", COMMAND), ("launchers", SHIM)):
            (staged / folder).mkdir(parents=True, exist_ok=True)
            (staged / folder / program).write_text(
                f"# A launcher of runwasi\n{self.versions}/{name}/{folder}"
            )
        for file in (installation.LOCK, installation.SUPERSEDED):
            (staged / file).touch()
        installer.write_manifest(str(staged))
        return staged

    def switch(self, name: str) -> None:
        installer.switch(self.place, str(self.stage(name)), name)

    def add(self, name: str) -> None:
        self.switch(name)
        installation.remove_superseded(str(self.versions))

    def left(self) -> list[str]:
        return (
            sorted(path.name for path in self.versions.iterdir() if path.is_dir())
            if self.versions.exists()
            else []
        )

    def started(self) -> dict[str, str]:
        """The version that each program starts from."""
        return {
            path.name: path.read_text().split("/")[-2]
            for path in self.programs.iterdir()
            if path.suffix != ".new"
        }

    def process(self, name: str, code: str = "") -> subprocess.Popen[bytes]:
        """A process that runs from a version until its standard input ends, having run the code."""
        text = _RUNS_FROM.format(root=str(ROOT), folder=str(self.versions / name), code=code, wait=_WAIT)
        process = subprocess.Popen(
            [sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return process


_RUNS_FROM = """
import fcntl, os, sys
sys.path.insert(0, {root!r})
from runwasi.startup import installation
lock = os.open({folder!r} + "/lock", os.O_RDONLY | os.O_CLOEXEC)
fcntl.fcntl(lock, fcntl.F_OFD_SETLKW, bytes(32))
installation.hold(lock, {folder!r})
wait = {wait!r}
{code}
print("ready", flush=True)
sys.stdin.read()
installation.leave(comes_delete="delete" in sys.argv)
exec(wait)
"""
_WAIT = """
import os
while True:
    try:
        os.wait()  # the child that removes what we were the last of
    except ChildProcessError:
        break
"""
_FORK = """
import select
parent = os.pidfd_open(os.getpid())
os.fork() and os._exit(0)
select.select([parent], [], [])  # until then the parent holds the lock too
os.close(parent)
"""
_EXECUTE = """
code = installation.hand_over() + "print('ready', flush=True); sys.stdin.read(); installation.leave()\\n" + wait
os.execv(sys.executable, [sys.executable, "-c", f"import sys; sys.path.insert(0, {sys.path[0]!r})\\n{code}"])
"""
_LIFTED = "installation.lift(100); assert installation.held() == (100,)"
_KILLED = "print('ready', flush=True); sys.stdin.read(); os._exit(9)"


@pytest.fixture
def prefix(tmp_path: Path) -> Prefix:
    prefix = Prefix(tmp_path)
    prefix.add("one")
    return prefix


def end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    assert process.stdout is not None
    assert process.stdout.read() == b""  # of whoever has it
    process.wait(20)
    process.stdout.close()


def test_a_new_version_takes_the_place_of_the_old_one(prefix: Prefix) -> None:
    prefix.add("two")
    assert prefix.left() == ["two"]
    assert prefix.started() == {SHIM: "two", COMMAND: "two"}


@pytest.mark.parametrize(
    "code", ["", _FORK, _EXECUTE, _LIFTED], ids=["itself", "a fork", "a program", "lifted"]
)
def test_the_last_process_of_a_superseded_version_removes_it(prefix: Prefix, code: str) -> None:
    process = prefix.process("one", code)
    prefix.add("two")
    assert prefix.left() == ["one", "two"]
    assert prefix.started() == {SHIM: "two", COMMAND: "two"}
    end(process)
    assert prefix.left() == ["two"]


def test_a_process_of_the_current_version_removes_nothing(prefix: Prefix) -> None:
    end(prefix.process("one"))
    assert prefix.left() == ["one"]


def test_of_two_processes_the_last_one_removes_the_version(prefix: Prefix) -> None:
    first, second = prefix.process("one"), prefix.process("one")
    prefix.add("two")
    end(first)
    assert prefix.left() == ["one", "two"]
    end(second)
    assert prefix.left() == ["two"]


def test_the_next_installation_removes_what_a_killed_process_left(prefix: Prefix) -> None:
    process = prefix.process("one", _KILLED)
    prefix.switch("two")
    end(process)
    assert prefix.left() == ["one", "two"]
    prefix.add("three")
    assert prefix.left() == ["three"]


def test_a_removal_that_was_killed_is_finished(prefix: Prefix) -> None:
    prefix.switch("two")
    (prefix.versions / "one").rename(prefix.versions / ".removed-one")
    for path in (prefix.versions / ".removed-one").iterdir():
        if path.is_file():
            path.unlink()
    installation.remove_superseded(str(prefix.versions))
    assert prefix.left() == ["two"]


def test_a_version_that_is_installed_again_is_kept(prefix: Prefix) -> None:
    process = prefix.process("one")
    prefix.add("two")
    prefix.add("one")
    assert prefix.started() == {SHIM: "one", COMMAND: "one"}
    end(process)
    assert prefix.left() == ["one"]


def test_a_damaged_version_is_left_to_those_who_run_from_it(prefix: Prefix) -> None:
    (prefix.versions / f"one/bin/{COMMAND}").write_text("damaged")
    assert installer.free_name(str(prefix.versions), "one") == "one-2"
    assert installer.free_name(str(prefix.versions), "two") == "two"


def test_an_uninstalled_version_stays_with_its_shims_for_the_pods_from_before(prefix: Prefix) -> None:
    older = prefix.process("one")
    prefix.add("two")
    newer = prefix.process("two")
    installer.remove(prefix.place)
    assert (prefix.left(), prefix.started()) == (["one", "two"], {SHIM: "two"})
    assert (
        (prefix.programs / SHIM).read_text().endswith("two/launchers")
    )  # which knows that it starts nothing
    end(newer)
    assert (prefix.left(), prefix.started()) == (["one"], {SHIM: "one"})
    end(older)
    assert not prefix.versions.exists()
    assert list(prefix.programs.iterdir()) == []


def test_after_a_removal_a_server_leaves_the_version_to_delete(prefix: Prefix) -> None:
    server = prefix.process("one", "sys.argv.append('delete')")
    installer.remove(prefix.place)
    end(server)
    assert prefix.started() == {SHIM: "one"}
    end(prefix.process("one"))
    assert list(prefix.programs.iterdir()) == []


def test_an_installation_after_a_removal_stays(prefix: Prefix) -> None:
    old = prefix.process("one")
    installer.remove(prefix.place)
    prefix.add("two")
    end(old)
    assert (prefix.left(), prefix.started()) == (["two"], {SHIM: "two", COMMAND: "two"})


def test_a_removal_leaves_nothing_when_nothing_runs(prefix: Prefix) -> None:
    installer.remove(prefix.place)
    assert not prefix.versions.exists()
    assert list(prefix.programs.iterdir()) == []
    installer.remove(prefix.place)


def test_whoever_may_only_read_the_lock_cannot_take_it_alone(prefix: Prefix) -> None:
    lock = os.open(prefix.versions / "one" / installation.LOCK, os.O_RDONLY)
    with pytest.raises(OSError, match="Bad file descriptor"):
        fcntl.fcntl(lock, fcntl.F_OFD_SETLK, installation._WHOLE_FILE)
    os.close(lock)


def test_only_root_may_lock_what_programs_wait_for(prefix: Prefix) -> None:
    assert (prefix.versions / installation.LOCK).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("action", ["switch", "remove"])
def test_an_installer_killed_at_any_step_leaves_programs_that_work(tmp_path: Path, action: str) -> None:
    """The step of the kill moves on until the installer comes to its end."""
    for step in range(1, 200):
        prefix = Prefix(tmp_path / str(step))
        prefix.add("one")
        staged = prefix.stage("two")
        pid = os.fork()
        if pid == 0:
            _die_at(step)
            if action == "switch":
                installer.switch(prefix.place, str(staged), "two")
            else:
                installer.remove(prefix.place)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        for program, version in prefix.started().items():
            if action == "switch" or program == SHIM:
                assert (prefix.versions / version / "bin" / program).exists(), (step, program)
        prefix.add("three")
        assert prefix.started() == {SHIM: "three", COMMAND: "three"}
        assert prefix.left() == ["three"]
        if status == 0:
            return
    pytest.fail("it never came to its end")


def _die_at(step: int) -> None:
    """End this process before it changes the file system for the step-th time."""
    left = step

    def count(event: str, _arguments: object) -> None:
        nonlocal left
        if event in ("os.rename", "os.remove", "os.rmdir", "open"):
            left -= 1
            if left == 0:
                os._exit(9)

    sys.addaudithook(count)


# launchers


@pytest.fixture
def launcher(prefix: Prefix) -> Path:
    """A launcher of version one, as it was written."""
    folder = prefix.versions.parent / "written"
    launchers.write_installed(str(folder), sys.executable, str(prefix.versions / "one"), client="")
    return folder / "bin/runwasi"


def start_of(launcher: Path, text: str) -> subprocess.CompletedProcess[str]:
    """Run a launcher's text as the interpreter does that read it before the file was replaced."""
    code = f"import sys; sys.argv = [{str(launcher)!r}, 'argument']\n{text}"
    return subprocess.run([sys.executable, "-IS", "-c", code], capture_output=True, text=True, check=False)


def test_a_launcher_whose_version_was_removed_meanwhile_starts_the_new_one(
    prefix: Prefix, launcher: Path
) -> None:
    text = launcher.read_text()
    prefix.add("two")
    launcher.write_text("#!/bin/sh\necho new $1\n")
    assert start_of(launcher, text).stdout == "new argument\n"


@pytest.mark.parametrize("file", ["kept", "removed"])
def test_a_launcher_whose_version_is_gone_says_so(prefix: Prefix, launcher: Path, file: str) -> None:
    text = launcher.read_text()
    prefix.add("two")
    if file == "removed":
        launcher.unlink()
    done = start_of(launcher, text)
    assert done.returncode == 1
    assert done.stderr == f"{launcher}: {prefix.versions}/one is gone, please install runwasi again\n"


def test_a_launcher_keeps_its_version_before_it_reads_anything_there(prefix: Prefix, launcher: Path) -> None:
    text = launcher.read_text().partition("sys.path +=")[0]
    keep = subprocess.Popen(
        [sys.executable, "-IS", "-c", f"{text}\nprint('ready', flush=True)\nsys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert keep.stdout is not None
    assert keep.stdout.readline() == b"ready\n"
    prefix.add("two")
    assert prefix.left() == ["one", "two"]
    end(keep)
