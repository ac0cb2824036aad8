"""exec: further programs in a running container."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import BundleMaker
from tests.support.detached import Detached, wait_for_exit
from tests.support.runtime import Runtime


@pytest.fixture
def container(oci_runtime: Runtime, bundle: BundleMaker, container_id: str) -> Detached:
    """A running container of ours and of runc's."""
    made = Detached(oci_runtime, bundle(["sleep", "1000"]), container_id)
    made.run()
    return made


Exec = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def execute(container: Detached) -> Exec:
    """Run a program in it: execute(["id"], "--user", "1")."""

    def run(
        program: list[str], *options: str, check: bool = True, stdin: bytes | None = None
    ) -> subprocess.CompletedProcess[str]:
        return container.runtime("exec", *options, container.id, *program, check=check, stdin=stdin)

    return run


@pytest.mark.parametrize("code", [0, 3, 255])
def test_the_exit_status_is_the_programs(execute: Exec, code: int) -> None:
    assert execute(["sh", "-c", f"exit {code}"], check=False).returncode == code


def test_streams_pass_through(execute: Exec) -> None:
    done = execute(["sh", "-c", "cat; echo err >&2"], stdin=b"in\n")
    assert (done.stdout, done.stderr) == ("in\n", "err\n")


@pytest.mark.cgroup_v2
def test_the_program_sees_the_containers_processes_and_files(execute: Exec) -> None:
    assert "sleep" in execute(["cat", "/proc/1/cmdline"]).stdout
    assert execute(["hostname"]).stdout == "bundle\n"


def test_options_after_the_program_are_its_own(execute: Exec) -> None:
    assert execute(["echo", "-e", "--user", "a\\tb"]).stdout == "--user a\tb\n"


def test_options_change_what_the_program_gets(execute: Exec) -> None:
    assert execute(["pwd"], "--cwd", "/tmp").stdout == "/tmp\n"
    assert execute(["sh", "-c", "echo $A$B"], "--env", "A=1,2", "--env", "B=3").stdout == "1,23\n"
    assert execute(["id", "-u"], "--user", "1000").stdout == "1000\n"
    ids = execute(["id"], "--user", "1000:1001", "-g", "100", "-g", "65534").stdout
    assert "uid=1000 gid=1001" in ids
    assert "100" in ids
    assert "65534" in ids


def test_capabilities_may_be_added(execute: Exec) -> None:
    def effective(*options: str) -> int:
        status = execute(["cat", "/proc/self/status"], *options).stdout
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff")), 16)

    net_raw = 1 << 13
    assert not effective() & net_raw
    assert effective("--cap", "CAP_NET_RAW") & net_raw


def test_a_file_describes_the_process(container: Detached, folder: Path) -> None:
    document = {"cwd": "/tmp", "args": ["sh", "-c", "pwd; id -u; echo $X"], "env": ["PATH=/bin", "X=1"]}
    (folder / "process.json").write_text(json.dumps({**document, "user": {"uid": 5, "gid": 5}}))
    done = container.runtime("exec", "--process", folder / "process.json", container.id)
    assert done.stdout == "/tmp\n5\n1\n"


def test_a_program_in_the_background_has_its_pid_written(container: Detached, folder: Path) -> None:
    container.runtime(
        "exec",
        "--detach",
        "--pid-file",
        folder / "pid",
        container.id,
        "sh",
        "-c",
        "exec >/dev/null 2>&1; sleep 50",
    )
    pid = int((folder / "pid").read_text())
    assert os.readlink(f"/proc/{pid}/ns/pid") == os.readlink(f"/proc/{container.pid}/ns/pid")
    assert pid in json.loads(container.runtime("ps", "-f", "json", container.id).stdout)
    os.kill(pid, 9)
    wait_for_exit(pid)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (["nowhere"], "executable file not found in $PATH"),
        (["/bin/nowhere"], "no such file or directory"),
        (["/etc"], "permission denied"),
    ],
)
def test_a_program_that_cannot_run_is_status_255_with_the_words_engines_know(
    execute: Exec, program: list[str], message: str
) -> None:
    refused = execute(program, check=False)
    assert refused.returncode == 255
    assert message in refused.stderr.lower() or message in refused.stderr


def test_with_debug_it_tells_the_process(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, folder: Path
) -> None:
    Detached(runwasi, bundle(["sleep", "1000"]), container_id).run()
    options = ("--pid-file", folder / "pid")
    said = runwasi("exec", *options, container_id, "true", options=("--debug",)).stderr
    assert "level=debug" in said
    assert f"process {(folder / 'pid').read_text()} runs in container {container_id}" in said


def test_without_a_program_it_says_so(execute: Exec) -> None:
    refused = execute([], check=False)
    assert refused.returncode == 255
    assert "args cannot be empty" in refused.stderr


@pytest.mark.cgroup_v2
def test_a_paused_container_refuses_unless_told_otherwise(container: Detached, execute: Exec) -> None:
    container.runtime("pause", container.id)
    refused = execute(["true"], check=False)
    assert refused.returncode == 255
    assert "cannot exec in a paused container (use --ignore-paused to override)" in refused.stderr
    command = container.runtime.command("exec", "--ignore-paused", container.id, "echo", "late")
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as waiting:
        container.runtime("resume", container.id)
        assert waiting.communicate(timeout=30)[0] == "late\n"


def test_only_three_descriptors_are_inherited_and_those_asked_for(container: Detached, folder: Path) -> None:
    def descriptors(*options: str) -> set[str]:
        command = container.runtime.command("exec", *options, container.id, "ls", "/proc/self/fd")
        with (folder / "extra").open("wb") as extra:
            assert extra.fileno() > 2
            os.dup2(extra.fileno(), 3)  # may be the file itself
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, pass_fds=(3,), check=True
            )
        return set(done.stdout.decode().split())

    saved = os.dup(3) if os.path.exists("/proc/self/fd/3") else None
    try:
        plain = descriptors()
        assert {"0", "1", "2"} < plain
        assert len(plain) == 4  # and the one that ls reads the folder through
        assert len(descriptors("--preserve-fds", "1")) == 5
    finally:
        if saved is not None:
            os.dup2(saved, 3)
            os.close(saved)
