"""Programs that the kernel does not execute: which command says so, and with what status, as with runc.

runc lets `start` succeed and the program end with 1; ours fails then, and says why. What is not even a program is
refused by `create`, see cli/test_errors.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from devtools.bundle import Bundle
from tests.integration.conftest import BundleMaker
from tests.support.detached import Detached
from tests.support.runtime import Runtime

Edit = Callable[[Bundle], None]


def with_file(content: bytes, mode: int = 0o755) -> Edit:
    """Have the program be a file of this content."""

    def edit(bundle: Bundle) -> None:
        (bundle.rootfs / "program").write_bytes(content)
        (bundle.rootfs / "program").chmod(mode)
        bundle.process["args"] = ["/program"]

    return edit


def with_arguments(*arguments: str) -> Edit:
    return lambda bundle: bundle.process.update(args=list(arguments))


def with_environment(*entries: str, cwd: str = "/") -> Edit:
    return lambda bundle: bundle.process.update(args=["true"], env=list(entries), cwd=cwd)


def with_link(name: str, target: str) -> Edit:
    def edit(bundle: Bundle) -> None:
        (bundle.rootfs / name).symlink_to(target)
        bundle.process["args"] = [f"/{name}"]

    return edit


NOT_FOUND_IN_PATH = "executable file not found in $PATH"
# What the lookup refuses is told by create and run with 1, by exec with 255.
LOOKED_UP: dict[str, tuple[Edit, str]] = {
    "ENOENT": (with_arguments("/nowhere"), "stat /nowhere: no such file or directory"),
    "ENOENT in PATH": (with_arguments("nowhere"), NOT_FOUND_IN_PATH),
    "EACCES": (with_file(b"\x7fELF", 0o644), "permission denied"),
    "EACCES of a folder": (with_arguments("/bin"), "permission denied"),
    "ELOOP": (with_link("loop", "loop"), "stat /loop: too many levels of symbolic links"),
    "ENOTDIR": (with_arguments("/bin/busybox/x"), "stat /bin/busybox/x: not a directory"),
    "ENAMETOOLONG": (with_arguments("/" + "n" * 300), ": file name too long"),
    "no environment": (with_environment(), NOT_FOUND_IN_PATH),
    "no PATH": (with_environment("HOME=/"), NOT_FOUND_IN_PATH),
    "empty PATH": (with_environment("PATH=", cwd="/bin"), NOT_FOUND_IN_PATH),
    "empty part of PATH": (with_environment("PATH=:/x", cwd="/bin"), "found relative to current directory"),
    "relative PATH": (with_environment("PATH=bin"), "found relative to current directory"),
}
# What execve refuses is the program's own end: status 1, and its only words.
EXECUTED: dict[str, tuple[Edit, str]] = {
    "ENOENT of an interpreter": (with_file(b"#!/nowhere\n"), "no such file or directory"),
    "EACCES of an interpreter": (with_file(b"#!/bin\n"), "permission denied"),
    "ELOOP of interpreters": (with_file(b"#!/program\n"), "too many levels of symbolic links"),
    "ENOEXEC": (with_file(b"\x7fELF" + bytes(60)), "exec format error"),
    "E2BIG": (with_arguments("true", "x" * 200_000), "argument list too long"),
    "E2BIG in all": (with_arguments("true", *["x" * 100_000] * 30), "argument list too long"),
}


@pytest.mark.parametrize("case", LOOKED_UP)
def test_run_and_create_refuse_what_is_not_there(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str, case: str
) -> None:
    edit, words = LOOKED_UP[case]
    made = bundle(["true"])
    edit(made)
    made.write()
    for command in ("run", "create"):
        refused = oci_runtime(command, "--bundle", made.path, container_id, check=False)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert words in refused.stderr


@pytest.mark.parametrize("case", LOOKED_UP)
def test_exec_of_what_is_not_there_is_255(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str, case: str
) -> None:
    edit, words = LOOKED_UP[case]
    refused = executed(oci_runtime, bundle(["sleep", "100"]), container_id, edit)
    assert refused[0] == 255
    assert words in refused[1]


@pytest.mark.parametrize("case", EXECUTED)
def test_run_fails_with_1_when_execve_refuses_the_program(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str, case: str
) -> None:
    edit, words = EXECUTED[case]
    made = bundle(["true"])
    edit(made)
    done = oci_runtime("run", "--bundle", made.write().path, container_id, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("exec /")
    assert done.stderr.endswith(f": {words}\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("case", EXECUTED)
def test_exec_of_what_execve_refuses_is_the_programs_end(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str, case: str
) -> None:
    edit, words = EXECUTED[case]
    status, said = executed(oci_runtime, bundle(["sleep", "100"]), container_id, edit)
    assert status == 1
    assert said.startswith("exec /")
    assert said.endswith(f": {words}\n")


@pytest.mark.parametrize("case", EXECUTED)
def test_start_says_what_execve_refuses(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, case: str
) -> None:
    edit, words = EXECUTED[case]
    made = bundle(["true"])
    edit(made)
    Detached(runwasi, made.write(), container_id).create()
    refused = runwasi("start", container_id, check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"runwasi: start {container_id}: exec /")
    assert refused.stderr.endswith(f": {words}\n")
    assert runwasi.state(container_id)["status"] == "stopped"


def test_exec_of_what_is_no_program_at_all_is_status_1(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    status, said = executed(oci_runtime, bundle(["sleep", "100"]), container_id, with_file(b"GIF89a"))
    assert status == 1
    assert "/program: " in said


def test_a_program_that_is_being_written_is_busy(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["/bin/busybox", "true"])
    with (made.rootfs / "bin/busybox").open("ab"):
        done = oci_runtime("run", "--bundle", made.path, container_id, check=False)
    assert (done.returncode, done.stderr) == (1, "exec /bin/busybox: text file busy\n")


def executed(runtime: Runtime, made: Bundle, container: str, edit: Edit) -> tuple[int, str]:
    """Execute what an edit of the bundle's process describes; returns the status and what was said."""
    Detached(runtime, made, container).run()
    own = dict(made.process)
    edit(made)
    process: Path = made.path / "process.json"
    process.write_text(json.dumps(made.process))
    made.process.clear()
    made.process.update(own)
    done = runtime("exec", "--process", process, container, check=False)
    assert done.stdout == ""
    return done.returncode, done.stderr
