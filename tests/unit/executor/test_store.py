"""The state folder: names that are refused, claims that are exclusive, files that are whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runwasi.executor.errors import AlreadyExists, ContainerError, Invalid, NotFound
from runwasi.executor.lifecycle.deletion import delete_forced
from runwasi.executor.lifecycle.store import GATE, STATE, Damaged, Saved, StateFolder, container_ids
from runwasi.linux.waiting import finish
from runwasi.oci.record import replaced

SAVED = Saved(
    id="one",
    bundle="/b",
    rootfs="/b/rootfs",
    created="2026-01-01T00:00:00Z",
    owner=0,
    creator_pid=1,
    creator_start_time=2,
    cgroup_paths={"memory": "/sys/fs/cgroup/memory/one"},
)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc", "a b", "a\n", "ü", "a" * 2000])
def test_an_id_that_is_no_plain_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Invalid, match="container id"):
        StateFolder(str(tmp_path), name)


def test_an_id_can_be_claimed_once(tmp_path: Path) -> None:
    StateFolder(str(tmp_path), "one").claim()
    with pytest.raises(AlreadyExists, match="container with given ID already exists: one"):
        StateFolder(str(tmp_path), "one").claim()


@pytest.mark.parametrize("source", ["fifo", "/dev/zero", "folder"])
def test_what_is_no_file_is_no_state_and_is_not_read(tmp_path: Path, source: str) -> None:
    folder = StateFolder(str(tmp_path), "one")
    folder.claim()
    for name in (STATE, "config.json"):
        path = tmp_path / "one" / name
        if source == "fifo":
            os.mkfifo(path)
        elif source == "folder":
            path.mkdir()
        else:
            path.symlink_to(source)
    for read in (folder.load, folder.config):
        with pytest.raises((Damaged, IsADirectoryError)):
            read()


def test_a_state_root_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "root").write_text("")
    with pytest.raises(ContainerError, match=f"{tmp_path}/root"):
        StateFolder(f"{tmp_path}/root", "one").claim()


def test_a_saved_state_is_loaded(tmp_path: Path) -> None:
    folder = StateFolder(str(tmp_path), "one")
    folder.claim()
    folder.save(SAVED)
    folder.save(replaced(SAVED, pid=77))
    assert folder.load() == replaced(SAVED, pid=77)
    assert list(container_ids(str(tmp_path))) == ["one"]


# What each version of runwasi has written, with all members: files that are on nodes. Add to it, change nothing.
WRITTEN = [
    """{"id":"one","bundle":"/b","rootfs":"/b/rootfs","created":"2026-01-01T00:00:00Z","owner":0,"creatorPid":1,
    "creatorStartTime":2,"pid":3,"startTime":4,"cgroupPaths":{"memory":"/sys/fs/cgroup/memory/one"},"systemd":true,
    "rootless":true,"engine":"wasmtime","resctrl":"r","mountedBefore":["/b/rootfs/proc"]}""",
    """{"version":1,"id":"one","bundle":"/b","rootfs":"/b/rootfs","created":"2026-01-01T00:00:00Z","owner":0,
    "creatorPid":1,"creatorStartTime":2,"pid":3,"startTime":4,"cgroupPaths":{"memory":"/sys/fs/cgroup/memory/one"},
    "systemd":true,"rootless":true,"engine":"wasmtime","resctrl":"r","mountedBefore":["/b/rootfs/proc"]}""",
    """{"version":1,"id":"one","bundle":"/b","rootfs":"/b/rootfs","created":"2026-01-01T00:00:00Z","owner":0,
    "creatorPid":1,"creatorStartTime":2,"pid":3,"startTime":4,"cgroupPaths":{"memory":"/sys/fs/cgroup/memory/one"},
    "systemd":true,"rootless":true,"engine":"wasmtime","kind":"wasm","resctrl":"r","mountedBefore":["/b/rootfs/proc"]}""",
]


@pytest.mark.parametrize("written", WRITTEN)
def test_the_state_of_an_earlier_version_is_understood(tmp_path: Path, written: str) -> None:
    folder = StateFolder(str(tmp_path), "one")
    folder.claim()
    folder.write(STATE, written.encode())
    expected = replaced(
        SAVED,
        pid=3,
        start_time=4,
        systemd=True,
        rootless=True,
        engine="wasmtime",
        resctrl="r",
        mounted_before=("/b/rootfs/proc",),
    )
    assert folder.load() == replaced(expected, kind="wasm" if "kind" in written else "")


def test_the_state_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    folder = StateFolder(str(tmp_path), "one")
    folder.claim()
    folder.write(STATE, b'{"version":2,"id":"one","new":"meaning"}')
    with pytest.raises(ContainerError, match=r"made by a later runwasi.*version 2, and this runwasi knows 1"):
        finish(delete_forced(str(tmp_path), "one"))
    assert (tmp_path / "one" / STATE).exists()


def test_a_container_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="container does not exist: one"):
        StateFolder(str(tmp_path), "one").load()


@pytest.mark.parametrize("content", [b"", b"{", b'{"id":3}', b'{"id":"one"}', b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_state_is_said_to_be(tmp_path: Path, content: bytes) -> None:
    folder = StateFolder(str(tmp_path), "one")
    folder.claim()
    (tmp_path / "one" / STATE).write_bytes(content)
    with pytest.raises(Damaged, match=r"one/state\.json is damaged"):
        folder.load()


def test_a_claim_without_a_state_is_damage_too(tmp_path: Path) -> None:
    folder = StateFolder(str(tmp_path), "one")
    folder.claim()
    with pytest.raises(Damaged, match="missing"):
        folder.load()


def test_a_state_of_another_container_is_damage_too(tmp_path: Path) -> None:
    for name in ("one", "two"):
        StateFolder(str(tmp_path), name).claim()
    StateFolder(str(tmp_path), "two").save(SAVED)
    with pytest.raises(Damaged, match="is that of another container, one"):
        StateFolder(str(tmp_path), "two").load()


def test_a_folder_that_another_delete_removes_at_the_same_time_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = StateFolder(str(tmp_path), "one")
    folder.claim()
    (tmp_path / "one" / GATE).touch()
    rmdir = os.rmdir

    def removed_by_another(path: str) -> None:
        if not os.listdir(path):
            rmdir(path)
        rmdir(path)

    monkeypatch.setattr(os, "rmdir", removed_by_another)
    folder.remove()
    assert list(tmp_path.iterdir()) == []


def test_removing_twice_is_fine(tmp_path: Path) -> None:
    folder = StateFolder(str(tmp_path), "one")
    folder.claim()
    folder.save(SAVED)
    folder.remove()
    folder.remove()
    assert list(tmp_path.iterdir()) == []
