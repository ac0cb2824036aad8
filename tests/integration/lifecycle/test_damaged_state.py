"""State folders that say something else than we wrote: clear words, no traceback, and nobody else is killed."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devtools.bundle import default_config
from runwasi.cli.main import main
from runwasi.executor.lifecycle.store import Saved
from runwasi.linux.cgroups import cgroup_at, cgroup_from
from runwasi.linux.mounts import mount
from runwasi.linux.namespaces import CLONE_NEWNS, CLONE_NEWPID
from runwasi.linux.processes import start_time
from runwasi.linux.waiting import finish
from runwasi.oci.encode import dumps
from tests.integration.conftest import BundleMaker
from tests.support.detached import Detached, wait_for_exit
from tests.support.in_namespaces import run_in
from tests.support.runtime import Runtime

Json = Any
COMMANDS = (["state"], ["list"], ["ps"], ["kill"], ["pause"], ["delete"], ["delete", "--force"])


# one thing wrong at a time, in a real container


@pytest.fixture
def container(runwasi: Runtime, bundle: BundleMaker, container_id: str) -> Detached:
    made = Detached(runwasi, bundle(["sleep", "1000"]), container_id)
    made.run()
    return made


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that nobody may touch."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        alive = process.poll() is None
        process.kill()
    assert alive


def path_in(container: Detached, name: str) -> Path:
    return container.runtime.root / container.id / name


def edit(path: Path, **members: object) -> None:
    """Have a JSON file say something else."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **members}))


@pytest.mark.parametrize("command", [["kill", "{}", "KILL"], ["kill", "{}"], ["delete", "--force", "{}"]])
def test_a_pid_that_became_another_process_is_left_alone(
    container: Detached, bystander: subprocess.Popen[bytes], command: list[str]
) -> None:
    another = start_time(bystander.pid) - 1  # both may have started in the same hundredth of a second
    edit(path_in(container, "state.json"), pid=bystander.pid, startTime=another)
    assert container.runtime.state(container.id)["status"] == "stopped"
    done = container.runtime(*(word.format(container.id) for word in command), check=False)
    assert (done.returncode == 0) == (command[0] == "delete")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("pid", [(1 << 31) - 1, (1 << 32) - 1])
def test_a_pid_that_cannot_be_is_a_stopped_container(container: Detached, pid: int) -> None:
    edit(path_in(container, "state.json"), pid=pid)
    assert container.runtime.state(container.id)["status"] == "stopped"
    assert "not running" in container.runtime("kill", container.id, check=False).stderr
    container.runtime("delete", "--force", container.id)


@pytest.mark.parametrize("place", ["", "/", "/.", "/x/../..", "/../../../tmp", "/x/"])
def test_only_a_cgroup_below_the_root_is_taken_from_a_state(place: str) -> None:
    # Whoever is in it would be killed by delete.
    for name, directory in cgroup_at("/x").paths().items():
        with pytest.raises(ValueError, match="not a cgroup below the root"):
            cgroup_from({name: directory.removesuffix("/x") + place})


@pytest.mark.cgroup_v2
def test_a_container_whose_cgroup_is_not_known_is_deleted_by_force(container: Detached) -> None:
    state = path_in(container, "state.json")
    paths = json.loads(state.read_text())["cgroupPaths"]
    pid = container.pid
    edit(state, cgroupPaths={"memory": "/sys/fs/cgroup"})
    for command in ("ps", "delete"):
        done = container.runtime(command, container.id, check=False)
        assert done.returncode == 1
        assert f"{state} is damaged: /sys/fs/cgroup is not a cgroup below the root" in done.stderr
    done = container.runtime("delete", "--force", container.id)
    assert "/sys/fs/cgroup is not a cgroup below the root" in done.stderr
    wait_for_exit(pid)
    assert not state.exists()
    finish(cgroup_from(paths).remove())


def test_a_damaged_configuration_is_named_and_hides_no_other_container(
    container: Detached, bundle: BundleMaker, new_id: Callable[[], str]
) -> None:
    other = Detached(container.runtime, bundle(["sleep", "1000"]), new_id())
    other.run()
    config = path_in(container, "config.json")
    config.write_text('{"ociVersion": "1.0.2", "process": 3}')
    done = container.runtime("state", container.id, check=False)
    assert done.returncode == 1
    assert f"{config} is damaged: $.process" in done.stderr
    listed = container.runtime("list", "--quiet")
    assert listed.stdout.split() == [other.id]
    assert str(config) in listed.stderr
    container.runtime("delete", "--force", container.id)


# anything at all wrong, where only our own processes are in reach

GROUP = "/sys/fs/cgroup/memory/nobody"
NUMBERS = st.integers(-2, 1 << 70) | st.sampled_from([0, 1, 2, (1 << 31) - 1, 1 << 31, (1 << 32) - 1])
PATHS = st.sampled_from(
    ["", "/", "/nonexistent", "relative", "/nonexistent/../x", "/\0", "\ud800", GROUP, "/sys/fs/cgroup"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | PATHS | st.floats(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(PATHS, inner, max_size=2),
    max_leaves=4,
)
MEMBERS = [
    *("id", "bundle", "rootfs", "created", "owner", "creatorPid", "creatorStartTime", "pid", "cgroupPaths"),
    *("rootless", "engine", "resctrl", "mountedBefore", "version", "more"),
]


def valid_state(pid: int, started: int) -> Json:
    """Return a valid state.json of a container whose process is pid."""
    known = Saved(
        id="one",
        bundle="/nonexistent",
        rootfs="/nonexistent/rootfs",
        created="2026-01-01T00:00:00Z",
        owner=0,
        creator_pid=pid,
        creator_start_time=started,
        pid=pid,
        start_time=started,
        cgroup_paths={"memory": GROUP},
    )
    return json.loads(dumps(known))


def damaged(document: Json, changes: dict[str, Json], cut: int | None) -> bytes:
    """A document with members changed, and cut off somewhere."""
    text = json.dumps({**document, **changes})
    return text.encode("utf-8", "surrogatepass")[:cut]


def run_command(root: str, words: Sequence[str]) -> tuple[int, str]:
    """Run a command line in this process; what it raises is the traceback that nobody should see."""
    line = ["--root", root, *words[:1], *(() if words[0] == "list" else ("one",)), *words[1:]]
    out, err = io.StringIO(), io.StringIO()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                status = main(line)
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        said.seek(0)
        return status, err.getvalue() + said.read().decode()


class Alone:
    """A pid namespace with nobody in it but us and a victim, and no cgroups to kill by."""

    def __init__(self) -> None:
        mount("proc", "/proc", "proc")
        mount("none", "/sys/fs/cgroup", "tmpfs")
        self.victim = subprocess.Popen(["sleep", "1000"])
        self.started = start_time(self.victim.pid)

    def check(self, files: dict[str, bytes]) -> None:
        """Try every command on a container with these files."""
        for command in COMMANDS:
            with tempfile.TemporaryDirectory() as root:
                os.mkdir(f"{root}/one")
                for name, content in files.items():
                    Path(root, "one", name).write_bytes(content)
                status, words = run_command(root, command)
                assert status in (0, 1)
                assert status == 0 or words.strip()
                assert "Traceback" not in words
            assert self.victim.poll() is None


FUZZED = settings(
    max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True
)
CHANGES = st.dictionaries(st.sampled_from(MEMBERS), VALUES, max_size=3)
CUTS = st.none() | st.integers(0, 400)


def test_any_damage_of_a_state_is_survived_and_kills_nobody() -> None:
    def body() -> None:
        alone = Alone()
        config = json.dumps(default_config(["true"])).encode()

        @FUZZED
        @given(CHANGES, CUTS)
        def survive(changes: dict[str, Json], cut: int | None) -> None:
            state = valid_state(alone.victim.pid, alone.started + 1)  # it is not the victim's any more
            changes.pop("startTime", None)
            alone.check({"state.json": damaged(state, changes, cut), "config.json": config})

        survive()

    run_in(CLONE_NEWPID | CLONE_NEWNS, body, private=True)


def test_any_damage_of_a_configuration_is_survived_and_kills_nobody() -> None:
    def body() -> None:
        alone = Alone()
        state = json.dumps(valid_state(alone.victim.pid, alone.started + 1)).encode()
        members = st.sampled_from(list(default_config(["true"])))

        @FUZZED
        @given(st.dictionaries(members, VALUES, max_size=2), CUTS)
        def survive(changes: dict[str, Json], cut: int | None) -> None:
            config = damaged(default_config(["true"]), changes, cut)
            alone.check({"state.json": state, "config.json": config})

        survive()

    run_in(CLONE_NEWPID | CLONE_NEWNS, body, private=True)
