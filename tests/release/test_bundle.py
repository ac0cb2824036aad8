"""The bundle installs and runs where there is nothing: no Python, no C library, no package manager."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from devtools.bundle import make_bundle
from devtools.places import WASI_DEMO_APP
from tests.release.own_containerd import CONTAINERD
from tests.support.roots import busybox_root, run_in


@pytest.fixture(scope="session")
def root(bundle: Path, session_folder: Path) -> Path:
    """A root of busybox alone, with the bundle unpacked, and a bundle of each kind to run."""
    path = busybox_root(session_folder)
    shutil.copytree(bundle, path / "bundle", symlinks=True)
    make_bundle(path / "native", ["/bin/busybox", "echo", "native"])
    wasm = {"app.wasm": WASI_DEMO_APP.read_bytes()}
    make_bundle(path / "wasm", ["/app.wasm", "echo", "wasm"], files=wasm, busybox=False)
    make_bundle(path / "sleeping", ["/app.wasm", "sleep", "60"], files=wasm, busybox=False)
    done = run_in(path, "/bundle/install")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return path


def test_it_runs_native_and_wasm_bundles_on_a_node_of_busybox_alone(root: Path) -> None:
    done = run_in(
        root,
        """
        /opt/runwasi/bin/runwasi --version | head -n 1
        /opt/runwasi/bin/runwasi run --bundle /native $RUNWASI_TEST_SESSION-native
        /opt/runwasi/bin/runwasi run --bundle /wasm $RUNWASI_TEST_SESSION-wasm
        """,
    )
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr, lines[0].startswith("runwasi version")) == (0, "", True)
    assert lines[1:] == ["native", "wasm", "exiting"]


def test_a_running_guest_has_no_file_from_outside_the_bundle(root: Path) -> None:
    """Nothing that is mapped into its process is the node's: neither loader nor library nor locale."""
    done = run_in(
        root,
        """
        /opt/runwasi/bin/runwasi run --detach --bundle /sleeping $RUNWASI_TEST_SESSION-maps
        pid=$(/opt/runwasi/bin/runwasi state $RUNWASI_TEST_SESSION-maps | sed -n 's/.*"pid": \\([0-9]*\\).*/\\1/p')
        cut -c74- /proc/$pid/maps | grep ^/ | sort -u
        /opt/runwasi/bin/runwasi delete --force $RUNWASI_TEST_SESSION-maps
        """,
    )
    assert (done.returncode, done.stderr) == (0, "")
    mapped = done.stdout.splitlines()
    assert any(path.endswith("/python/lib/libc.so.6") for path in mapped)
    strange = [
        path for path in mapped if not path.startswith("/opt/runwasi/lib/runwasi/") and "memfd:" not in path
    ]
    assert [path for path in strange if not path.startswith("/var/cache/runwasi")] == []


def test_it_runs_in_a_debian_without_python_by_hand_and_through_containerd(
    debian: Path, bundle: Path
) -> None:
    shutil.copytree(bundle, debian / "bundle", symlinks=True)
    make_bundle(debian / "native", ["/bin/busybox", "echo", "native"])
    wasm = {"app.wasm": WASI_DEMO_APP.read_bytes()}
    make_bundle(debian / "wasm", ["/app.wasm", "echo", "wasm"], files=wasm, busybox=False)
    done = run_in(
        debian,
        f"""
        ! command -v python3
        /bundle/install add /usr/local
        runwasi run --bundle /native "$RUNWASI_TEST_SESSION-native"
        runwasi run --bundle /wasm "$RUNWASI_TEST_SESSION-wasm"
        {CONTAINERD}
        shim="tasks run --rm --runtime io.containerd.wasmtime.v1 --rootfs"
        $shim /native/rootfs one /bin/busybox echo native below containerd
        $shim /wasm/rootfs two /app.wasm echo wasm below containerd
        /bundle/install remove /usr/local
        wait_for "! test -e /usr/local/lib/runwasi"
        """,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    by_hand = ["native", "wasm", "exiting"]
    assert done.stdout.splitlines() == [
        *by_hand,
        "native below containerd",
        "wasm below containerd",
        "exiting",
    ]


def test_it_installs_below_any_folder_and_its_programs_may_be_linked_to(root: Path) -> None:
    done = run_in(
        root,
        """
        /bundle/install add /usr/a/folder
        mkdir -p /usr/bin
        ln -s /usr/a/folder/bin/runwasi /usr/bin/runwasi
        runwasi --version | head -n 1
        /bundle/install remove /usr/a/folder
        find /usr/a/folder -type f
        """,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("runwasi version")
    assert len(done.stdout.splitlines()) == 1


def test_a_folder_that_no_program_could_start_from_is_refused(root: Path) -> None:
    done = run_in(root, "/bundle/install add '/usr/a folder' || ls /usr")
    assert "a folder" not in done.stdout
    assert "/usr/a folder/lib/runwasi/" in done.stderr
    assert "Linux takes no spaces and 255 bytes at most" in done.stderr


def test_installing_again_changes_nothing(root: Path) -> None:
    look = "find /opt/runwasi -type f | sort | while read -r file; do stat -c '%n %i %Y' $file; done | grep -v /bin/"
    before, again, after = run_in(root, look), run_in(root, "/bundle/install"), run_in(root, look)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert before.stdout == after.stdout != ""


def test_an_unpacked_bundle_that_ordinary_users_own_is_copied(bundle: Path, folder: Path) -> None:
    """Whoever owns the files of a bundle must not own those of what root installed from it."""
    mine = shutil.copytree(bundle, folder / "bundle", symlinks=True)
    for path in mine.rglob("*"):
        os.chown(path, 12345, 12345, follow_symlinks=False)
    subprocess.run([mine / "install", "add", folder / "prefix"], check=True)
    owners = {path.lstat().st_uid for path in (folder / "prefix").rglob("*")}
    assert owners == {0}
