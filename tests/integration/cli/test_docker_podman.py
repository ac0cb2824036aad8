"""Podman and Docker with our command line as their runtime, and with runc."""

from __future__ import annotations

import os
import pty
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.waiting import until
from tests.integration.conftest import BUSYBOX_IMAGE, DEMO_IMAGE
from tests.support.container_engines import ContainerEngine, docker, podman
from tests.support.memory import memory_limit

_FOREVER = ("sh", "-c", "trap 'exit 6' TERM; echo ready; while true; do sleep 1000 & wait; done")


@pytest.fixture(scope="module", params=["podman-runwasi", "podman-runc", "docker-runwasi", "docker-runc"])
def engine(
    request: pytest.FixtureRequest, session_folder: Path, busybox_image: Path, demo_image: Path
) -> Iterator[ContainerEngine]:
    """Podman and Docker, each over our runtime and over runc."""
    name, _, runtime = request.param.partition("-")
    folder = Path(tempfile.mkdtemp(prefix="e", dir=session_folder))
    with {"podman": podman, "docker": docker}[name](folder, runtime) as engine:
        engine("load", "--input", busybox_image)
        engine("load", "--input", demo_image)
        yield engine


@pytest.fixture
def container(engine: ContainerEngine) -> Iterator[str]:
    """A container that runs until it is told to end."""
    identity = engine.run("--detach", BUSYBOX_IMAGE, *_FOREVER).stdout.strip()
    until(lambda: engine("logs", identity).stdout, lambda output: output == "ready\n")
    yield identity
    engine("rm", "--force", identity, check=False)


def test_run_prints_and_exits_as_the_program(engine: ContainerEngine) -> None:
    done = engine.run("--rm", BUSYBOX_IMAGE, "sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)


def test_run_passes_standard_input(engine: ContainerEngine) -> None:
    assert engine.run("--rm", "--interactive", BUSYBOX_IMAGE, "cat", stdin="hello\n").stdout == "hello\n"


def test_run_gives_a_terminal(engine: ContainerEngine) -> None:
    command = engine.command(
        "run", "--rm", "--tty", "--network", "none", *engine.run_options, BUSYBOX_IMAGE, "tty"
    )
    assert "/dev/pts/0" in _on_a_terminal(command, engine)


def test_exec_runs_beside_init(engine: ContainerEngine, container: str) -> None:
    done = engine("exec", container, "sh", "-c", "echo in; exit 4", check=False)
    assert (done.stdout, done.returncode) == ("in\n", 4)


def test_exec_gives_a_terminal(engine: ContainerEngine, container: str) -> None:
    assert "/dev/pts/" in _on_a_terminal(
        engine.command("exec", "--interactive", "--tty", container, "tty"), engine
    )


def _on_a_terminal(command: list[str | Path], engine: ContainerEngine) -> str:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command, env=engine.environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        output = b""
        while True:
            try:
                output += os.read(ours, 4096)
            except OSError:  # EIO: the other side is closed
                break
    os.close(ours)
    assert process.returncode == 0, output
    return output.decode()


def test_stop_ends_it_gracefully(engine: ContainerEngine, container: str) -> None:
    engine("stop", "--time", "30", container)
    assert engine("inspect", "--format", "{{.State.ExitCode}}", container).stdout.strip() == "6"


def test_stats_show_what_it_uses(engine: ContainerEngine, container: str) -> None:
    fields = "{{.PIDs}}"
    assert int(engine("stats", "--no-stream", "--format", fields, container).stdout) == 2


def test_top_lists_its_processes(engine: ContainerEngine, container: str) -> None:
    assert "sleep 1000" in engine("top", container).stdout


def test_pause_and_unpause(engine: ContainerEngine, container: str) -> None:
    engine("pause", container)
    assert engine("inspect", "--format", "{{.State.Status}}", container).stdout.strip() == "paused"
    engine("unpause", container)
    assert engine("inspect", "--format", "{{.State.Status}}", container).stdout.strip() == "running"


def test_limits_are_changed(engine: ContainerEngine, container: str) -> None:
    engine("update", "--memory", "100m", "--memory-swap", "200m", container)
    pid = int(engine("inspect", "--format", "{{.State.Pid}}", container).stdout)
    assert memory_limit(pid) == 100 << 20


def test_restart_begins_anew(engine: ContainerEngine, container: str) -> None:
    engine("restart", "--time", "1", container)
    assert engine("inspect", "--format", "{{.State.Status}}", container).stdout.strip() == "running"


def test_a_missing_program_exits_127(engine: ContainerEngine) -> None:
    done = engine.run("--rm", BUSYBOX_IMAGE, "/bin/absent", check=False)
    assert done.returncode == 127
    assert "/bin/absent" in done.stderr


def test_wasm_runs(engine: ContainerEngine, request: pytest.FixtureRequest) -> None:
    if "runc" in request.node.name:
        assert engine.run("--rm", DEMO_IMAGE, "echo", "hello", check=False).returncode != 0
    else:
        assert engine.run("--rm", DEMO_IMAGE, "echo", "hello").stdout == "hello\nexiting\n"
