"""Checkpoint through the Task service: what is refused. What criu itself can do depends on the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from devtools.ttrpc import CallError
from runwasi.wire.messages import task_types
from runwasi.wire.messages.options import CheckpointOptions
from runwasi.wire.messages.well_known import Any
from tests.support.shim import Shim, running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import BundleMaker


def test_a_checkpoint_that_fails_says_why_and_changes_nothing(
    our_shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    options = Any(type_url="containerd.runc.v1.CheckpointOptions", value=CheckpointOptions().encode())
    with running(our_shim, container_id, bundle(["sleep", "1000"])) as task:
        task.run()
        with pytest.raises(CallError, match="/proc/nowhere"):
            task.call("Checkpoint", path="/proc/nowhere", options=options)
        assert task.call("State").status == task_types.RUNNING


def test_a_wasm_container_cannot_be_checkpointed(
    our_shim: Shim, bundle: BundleMaker, container_id: str, folder: Path, wasi_demo_app: bytes
) -> None:
    made = bundle(["/app.wasm", "sleep", "1000"], files={"/app.wasm": wasi_demo_app})
    with running(our_shim, container_id, made) as task:
        task.run()
        with pytest.raises(CallError, match="WebAssembly"):
            task.call("Checkpoint", path=str(folder / "images"))
        assert task.call("State").status == task_types.RUNNING
