"""The Debian packages install, upgrade under running containers, and go without a trace, in both releases."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from devtools.bundle import make_bundle
from devtools.places import WASI_DEMO_APP
from tests.release.own_containerd import CONTAINERD
from tests.support.roots import run_in

INSTALL = "dpkg -i /packages/runwasi_*.deb >/dev/null"


@pytest.fixture
def root(debian: Path, packages: tuple[Path, Path], newer_packages: tuple[Path, Path]) -> Path:
    """The root with the packages in /packages and /newer, and a bundle of each kind."""
    for folder, files in (("packages", packages), ("newer", newer_packages)):
        (debian / folder).mkdir()
        for file in files:
            shutil.copy(file, debian / folder)
    make_bundle(debian / "native", ["/bin/busybox", "echo", "native"])
    wasm = {"app.wasm": WASI_DEMO_APP.read_bytes()}
    make_bundle(debian / "wasm", ["/app.wasm", "echo", "wasm"], files=wasm, busybox=False)
    return debian


def test_it_installs_where_there_is_no_python_and_runs_both_kinds(root: Path) -> None:
    done = run_in(
        root,
        f"""
        ! command -v python3
        {INSTALL}
        dpkg --verify runwasi
        runwasi install units 2>&1 | grep -o "ExecStart=.*"
        runwasi run --bundle /native "$RUNWASI_TEST_SESSION-native"
        runwasi run --bundle /wasm "$RUNWASI_TEST_SESSION-wasm"
        test -x /usr/bin/containerd-shim-wasmtime-v1
        man=$(zcat /usr/share/man/man1/runwasi.1.gz | head -c 3); echo "$man"
        """,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.splitlines() == [
        "ExecStart=/usr/bin/containerd-wasmtimed",
        "native",
        "wasm",
        "exiting",
        ".TH",
    ]


def test_containers_outlive_an_upgrade_and_keep_their_version_until_they_end(root: Path) -> None:
    done = run_in(
        root,
        f"""
        {INSTALL}
        {CONTAINERD}
        old=$(ls -d /usr/lib/runwasi/*-*)
        tasks run --detach --runtime io.containerd.wasmtime.v1 --rootfs /wasm/rootfs wasm /app.wasm sleep 1000
        tasks run --detach --runtime io.containerd.wasmtime.v1 --rootfs /native/rootfs native /bin/busybox sleep 1000
        dpkg -i /newer/runwasi_*.deb | grep "^kept $old: processes run from it" >/dev/null
        new=$(ls -d /usr/lib/runwasi/*-* | grep -vx "$old")
        grep "$new/" /usr/bin/runwasi | head -n 1 | cut -c 1-2
        tasks task exec --exec-id one native /bin/busybox echo executed
        tasks task metrics native | grep -q pids && echo measured
        tasks run --rm --runtime io.containerd.wasmtime.v1 --rootfs /native/rootfs later /bin/busybox echo later
        test -e "$old/manifest"
        end wasm
        end native
        wait_for "! test -e $old"
        test -e "$new/manifest"
        """,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.splitlines() == ["#!", "executed", "measured", "later"]


def test_the_node_daemon_follows_an_upgrade_and_keeps_its_pods(root: Path) -> None:
    """In shared mode: the daemon executes the new program, which serves the pods from before."""
    done = run_in(
        root,
        f"""
        {INSTALL}
        unset RUNWASI_DAEMON
        containerd-wasmtimed 2>/run/daemon.log &
        daemon=$!
        {CONTAINERD}
        wait_for "test -S /run/io.containerd.wasmtime.v1/manager.sock"
        tasks run --detach --runtime io.containerd.wasmtimed.v1 --rootfs /native/rootfs shared /bin/busybox sleep 1000
        old=$(ls -d /usr/lib/runwasi/*-*)
        dpkg -i /newer/runwasi_*.deb >/dev/null
        new=$(ls -d /usr/lib/runwasi/*-* | grep -vx "$old")
        tasks run --rm --runtime io.containerd.wasmtimed.v1 --rootfs /wasm/rootfs later /app.wasm echo later
        wait_for "ls -l /proc/$daemon/fd | grep $new/lock"
        wait_for "! test -e $old"
        tasks task exec --exec-id one shared /bin/busybox echo executed
        end shared
        kill $daemon
        """,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.splitlines() == ["later", "exiting", "executed"]


def test_shims_clean_up_after_a_removal_and_a_purge_leaves_nothing(root: Path) -> None:
    """dpkg keeps its own logs and lists."""
    done = run_in(
        root,
        f"""
        look() {{ find / -xdev -path /tmp -prune -o -print | grep -Ev "^/(var/lib/dpkg|var/log|native)" | sort; }}
        look >/tmp/before
        {INSTALL}
        {CONTAINERD}
        tasks run --detach --runtime io.containerd.wasmtime.v1 --rootfs /native/rootfs native /bin/busybox sleep 1000
        runwasi run --bundle /wasm "$RUNWASI_TEST_SESSION-wasm"
        dpkg -r runwasi | grep -o "processes run from it"
        ls /usr/bin | grep runwasi || echo "no command"
        end native
        wait_for "! test -e /usr/lib/runwasi"
        dpkg -P runwasi >/dev/null
        look >/tmp/after
        diff /tmp/before /tmp/after
        ls /run | grep -E "runwasi|wasm" || echo "no state"
        """,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.splitlines() == [
        "wasm",
        "exiting",
        "processes run from it",
        "no command",
        "no state",
    ]


def test_a_purge_leaves_the_cache_while_there_are_containers(root: Path) -> None:
    done = run_in(
        root,
        f"""
        {INSTALL}
        runwasi create --bundle /native "$RUNWASI_TEST_SESSION-left"
        runwasi run --bundle /wasm "$RUNWASI_TEST_SESSION-wasm"
        dpkg -P runwasi 2>&1 | grep -o "some containers are left"
        ls -d /var/cache/runwasi
        dpkg -i /packages/runwasi_*.deb >/dev/null
        runwasi delete --force "$RUNWASI_TEST_SESSION-left"
        dpkg -P runwasi >/dev/null
        ls -d /var/cache/runwasi || true
        """,
    )
    assert [line for line in done.stdout.splitlines() if "left" in line or line.startswith("/")] == [
        "some containers are left",
        "/var/cache/runwasi",
    ]
    assert "cannot access '/var/cache/runwasi'" in done.stderr


SYSTEMCTL = """
mkdir -p /run/systemd/system /usr/local/bin
cat >/usr/local/bin/systemctl <<'SCRIPT'
#!/bin/sh
echo "systemctl $*" >>/tmp/calls
case "$*" in
    *is-enabled*) echo enabled ;;
    *"UnitFileState"*) echo enabled ;;
    *"show --property ActiveState"*) cat /run/state ;;
esac
SCRIPT
chmod +x /usr/local/bin/systemctl
echo inactive >/run/state
calls() { cat /tmp/calls; rm /tmp/calls; }
"""


def test_the_units_are_enabled_and_a_running_daemon_is_reloaded_by_an_upgrade(root: Path) -> None:
    done = run_in(
        root,
        f"""
        {SYSTEMCTL}
        wants=/etc/systemd/system/sockets.target.wants/containerd-wasmtimed.socket
        dpkg -i /packages/*.deb >/dev/null
        readlink -f $wants
        grep ExecStart= /usr/lib/systemd/system/containerd-wasmtimed.service
        echo active >/run/state
        rm -f /tmp/calls
        dpkg -i /newer/*.deb >/dev/null
        calls | grep -E "reload|start|stop"
        echo deactivating >/run/state
        dpkg -r runwasi-systemd >/dev/null
        calls | grep -E "stop|daemon-reload"
        ls /run/systemd/system
        dpkg -i /newer/runwasi-systemd_*.deb >/dev/null
        calls | grep -E "reload|start|stop"
        dpkg -r runwasi-systemd >/dev/null
        dpkg -P runwasi-systemd runwasi >/dev/null
        find /etc /var/lib/systemd /usr/lib/systemd | grep wasm || echo nothing
        """,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    service = "containerd-wasmtimed.service"
    assert done.stdout.splitlines() == [
        "/usr/lib/systemd/system/containerd-wasmtimed.socket",
        "ExecStart=/usr/bin/containerd-wasmtimed",
        "systemctl --system daemon-reload",
        f"systemctl reload {service}",
        f"systemctl stop containerd-wasmtimed.socket {service}",
        "systemctl --system daemon-reload",
        service,
        "containerd-wasmtimed.socket",
        "systemctl --system daemon-reload",
        "systemctl start --no-block containerd-wasmtimed.socket",
        "nothing",
    ]
