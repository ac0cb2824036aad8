"""checkpoint and restore on the command line: runc's options, and what is refused before criu is asked.

What criu does is tested in the virtual machine, whose kernel it knows: tests/vm/checkpoint.
"""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING

import pytest

from tests.support.detached import Detached
from tests.support.runtime import Runtime

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import BundleMaker

WITHOUT_CRIU = {**os.environ, "PATH": "/nowhere"}


@pytest.fixture
def sleeper(runwasi: Runtime, bundle: BundleMaker, container_id: str) -> Detached:
    """A native container that runs."""
    container = Detached(runwasi, bundle(["sleep", "1000"]), container_id)
    container.run()
    return container


def options_of(runtime: Runtime, command: str) -> set[str]:
    return set(re.findall(r"--[a-z][a-z-]+", runtime(command, "--help").stdout.split("OPTIONS:")[1]))


@pytest.mark.parametrize("command", ["checkpoint", "restore"])
def test_every_option_of_runc_is_there(runwasi: Runtime, folder: Path, command: str) -> None:
    theirs = options_of(Runtime("runc", folder / "runc"), command)
    assert theirs - options_of(runwasi, command) <= {"--no-pivot"}  # accepted, and of no consequence


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            ("--manage-cgroups-mode", "hard"),
            "invalid --manage-cgroups-mode hard: one of ignore, soft, full, strict",
        ),
        (("--empty-ns", "pid"), 'namespace "pid" is not supported'),
        (("--page-server", "localhost"), "ADDRESS:PORT"),
        (("--page-server", "localhost:none"), "invalid port number"),
        (("--status-fd", "77"), "invalid --status-fd argument 77: Bad file descriptor"),
        (("--status-fd", "0"), "invalid --status-fd argument 0: not writable"),
        (("--parent-path", "/earlier"), "must be relative"),
        (("--parent-path", "../earlier"), "no such directory"),
        (("--image-path", "/proc/nowhere"), "/proc/nowhere"),
        (("--work-path", "/proc/nowhere"), "/proc/nowhere"),
    ],
)
def test_options_that_cannot_be_are_refused(
    runwasi: Runtime, sleeper: Detached, options: tuple[str, str], reason: str
) -> None:
    refused = runwasi("checkpoint", *options, sleeper.id, cwd=sleeper.bundle.path, check=False)
    assert refused.returncode == 1
    assert reason in refused.stderr
    assert sleeper.status == "running"


def test_without_criu_both_say_so_and_nothing_changes(
    runwasi: Runtime, sleeper: Detached, folder: Path
) -> None:
    def refuse(*words: str | Path) -> str:
        refused = runwasi(*words, cwd=sleeper.bundle.path, env=WITHOUT_CRIU, check=False)
        assert refused.returncode == 1
        return refused.stderr

    assert "criu is not installed" in refuse("checkpoint", sleeper.id)
    assert sleeper.status == "running"
    make_image(folder / "image")
    assert "criu is not installed" in refuse("restore", "--image-path", folder / "image", "other")
    assert not (runwasi.root / "other").exists()


def make_image(path: Path) -> None:
    """A folder that looks like a checkpoint until criu reads it."""
    path.mkdir()
    (path / "inventory.img").write_bytes(b"")
    (path / "descriptors.json").write_text(json.dumps(["/dev/null"] * 3))


def test_only_what_runs_a_native_program_can_be_saved(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, wasi_demo_app: bytes
) -> None:
    created = Detached(runwasi, bundle(["sleep", "1000"]), f"{container_id}-created")
    created.create()
    refused = runwasi("checkpoint", created.id, cwd=created.bundle.path, check=False)
    assert "cannot be checkpointed in created state" in refused.stderr
    made = bundle(["/app.wasm", "sleep", "1000"], files={"/app.wasm": wasi_demo_app})
    wasm = Detached(runwasi, made, container_id)
    wasm.run()
    refused = runwasi("checkpoint", wasm.id, cwd=made.path, check=False)
    assert refused.returncode == 1
    assert "runs WebAssembly, which cannot be checkpointed: its process is the engine's" in refused.stderr
    assert not (made.path / "checkpoint").exists()
    assert wasm.status == "running"
    refused = runwasi("checkpoint", "nobody", check=False)
    assert "container does not exist" in refused.stderr


def test_a_folder_without_a_checkpoint_is_not_restored(
    runwasi: Runtime, sleeper: Detached, folder: Path
) -> None:
    def refuse(container_id: str, image: Path) -> str:
        refused = runwasi(
            "restore", "--image-path", image, container_id, cwd=sleeper.bundle.path, check=False
        )
        assert refused.returncode == 1
        assert not (runwasi.root / "other").exists()
        return refused.stderr

    assert "no such directory" in refuse("other", folder / "nowhere")
    (folder / "empty").mkdir()
    assert "not a checkpoint of a container, inventory.img is missing" in refuse("other", folder / "empty")
    make_image(folder / "image")
    assert "container with given ID already exists" in refuse(sleeper.id, folder / "image")
    (folder / "image/descriptors.json").write_text("[1]")
    assert "descriptors.json does not name three descriptors" in refuse("other", folder / "image")


def test_features_tell_whether_criu_is_there(runwasi: Runtime) -> None:
    document = json.loads(runwasi("features", env=WITHOUT_CRIU).stdout)
    assert document["annotations"]["io.runwasi.checkpoint.enabled"] == "false"
    assert "org.criu.config" in document["potentiallyUnsafeConfigAnnotations"]
