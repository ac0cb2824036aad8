"""containerd learns about memory limits and OOM kills, and rootfs mounts may have any length."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from devtools.bundle import Bundle
from runwasi.wire.messages.types import Mount
from tests.support.shim import EventSink, Shim, running

if TYPE_CHECKING:
    from tests.integration.conftest import BundleMaker


def test_an_out_of_memory_kill_is_told_before_the_exit(
    our_shim: Shim, bundle: BundleMaker, container_id: str, sink: EventSink
) -> None:
    hungry = bundle(["tail", "/dev/zero"])
    hungry.linux["resources"] = {"memory": {"limit": 16 << 20, "swap": 16 << 20}}
    hungry.write()
    with running(our_shim, container_id, hungry) as task:
        task.run()
        assert task.call("Wait").exit_status == 137
        assert sink.topics(4) == ["create", "start", "oom", "exit"]


@pytest.mark.parametrize("count", [3, 40, 200])
def test_an_overlay_of_many_layers_is_mounted(
    our_shim: Shim, bundle: BundleMaker, container_id: str, folder: Path, count: int
) -> None:
    """3 layers fit into mount's page, 40 after their common folder is left out, 200 only one by one."""
    made, base = bundle(["cat", "/layer-0", f"/layer-{count - 1}"]), bundle([])
    options = overlay(folder, base, count)
    os.mkfifo(folder / "out")
    reader = os.open(folder / "out", os.O_RDONLY | os.O_NONBLOCK)
    with running(our_shim, container_id, made) as task:
        rootfs = [Mount(type="overlay", source="overlay", options=options)]
        task.run(rootfs=rootfs, stdout=str(folder / "out"))
        assert task.call("Wait").exit_status == 0
        assert os.read(reader, 100) == b"first\nlast\n"
        task.call("Delete")
    os.close(reader)
    assert not os.path.ismount(made.rootfs)


def overlay(folder: Path, base: Bundle, count: int) -> list[str]:
    """Options of an overlay of so many layers, each in a folder with a name of usual length."""
    layers = []
    for number in range(count):
        layer = folder / "snapshots" / f"{number:064}" / "fs"
        layer.mkdir(parents=True)
        layers.append(layer)
    (layers[0] / "layer-0").write_text("first\n")
    (layers[-1] / f"layer-{count - 1}").write_text("last\n")
    for name in ("upper", "work"):
        (folder / name).mkdir()
    lower = ":".join(map(str, [*layers, base.rootfs]))
    return [f"workdir={folder}/work", f"upperdir={folder}/upper", f"lowerdir={lower}"]


def test_the_owners_of_a_rootfs_are_mapped(
    our_shim: Shim, bundle: BundleMaker, container_id: str, folder: Path
) -> None:
    for kind in ("bind", "overlay"):
        made, base = bundle(["stat", "-c", "%u:%g", "/bin/busybox"]), bundle([])
        mapping = ["uidmap=0:70000:65536", "gidmap=0:80000:65536"]
        options = ["rbind", "rw", *mapping]
        if kind == "overlay":
            options = [*overlay(folder, base, 2), *mapping]
        out = folder / f"out-{kind}"
        os.mkfifo(out)
        reader = os.open(out, os.O_RDONLY | os.O_NONBLOCK)
        with running(our_shim, f"{container_id}-{kind}", made) as task:
            task.run(rootfs=[Mount(type=kind, source=str(base.rootfs), options=options)], stdout=str(out))
            assert task.call("Wait").exit_status == 0
            assert os.read(reader, 100) == b"70000:80000\n"
            task.call("Delete")
        os.close(reader)
        assert sorted(path.name for path in made.path.iterdir() if path.name.startswith("mapped")) == []
