"""Hooks as real programs: input, environment, failures, timeouts, and what they leave behind."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from runwasi.executor.errors import ContainerError
from runwasi.executor.lifecycle.hooks import run_all, run_each
from runwasi.linux.waiting import finish
from runwasi.oci.spec import Hook


def shell(script: str, *, timeout: int | None = None, env: tuple[str, ...] = ()) -> Hook:
    return Hook(path="/bin/sh", args=("sh", "-c", script), env=env, timeout=timeout)


def test_a_hook_reads_the_state_and_has_only_its_own_environment(tmp_path: Path) -> None:
    script = f'cat > {tmp_path}/state; echo "$NAME-$HOME" > {tmp_path}/env'
    finish(run_all("prestart", [shell(script, env=("NAME=value",))], b'{"id":"one"}'))
    assert (tmp_path / "state").read_bytes() == b'{"id":"one"}'
    assert (tmp_path / "env").read_text() == "value-\n"


def test_a_state_longer_than_a_pipe_blocks_nobody() -> None:
    finish(run_all("prestart", [shell("exit 0")], b"x" * 1_000_000))


def test_a_failure_names_the_hook_and_what_it_said() -> None:
    hooks = [shell("exit 0"), shell("echo went wrong >&2; exit 3"), shell("exit 0")]
    with pytest.raises(ContainerError, match=r"prestart hook #1: /bin/sh: exit status 3: went wrong"):
        finish(run_all("prestart", hooks, b"{}"))


def test_hooks_after_a_failure_do_not_run(tmp_path: Path) -> None:
    with pytest.raises(ContainerError):
        finish(run_all("prestart", [shell("exit 1"), shell(f"touch {tmp_path}/second")], b"{}"))
    assert not (tmp_path / "second").exists()


def test_with_warnings_the_next_hook_still_runs(tmp_path: Path) -> None:
    warnings: list[str] = []
    finish(run_each("poststop", [shell("exit 1"), shell(f"touch {tmp_path}/second")], b"{}", warnings.append))
    assert (tmp_path / "second").exists()
    assert len(warnings) == 1


def test_a_hook_that_takes_too_long_is_killed() -> None:
    began = time.monotonic()
    with pytest.raises(ContainerError, match="timed out after 1 s"):
        finish(run_all("createRuntime", [shell("exec sleep 60", timeout=1)], b"{}"))
    assert time.monotonic() - began < 30


def test_a_missing_program_is_named_with_its_json_path() -> None:
    with pytest.raises(ContainerError, match=r"\$\.hooks\.poststart\[0\]\.path"):
        finish(run_all("poststart", [Hook(path="/does/not/exist")], b"{}"))


def test_a_program_that_the_hook_leaves_running_is_not_waited_for() -> None:
    began = time.monotonic()
    finish(run_all("prestart", [shell("sleep 5 & exit 0")], b"{}"))
    assert time.monotonic() - began < 4
