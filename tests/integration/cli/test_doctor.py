"""`runwasi doctor` beside real containerds, daemons and containers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devtools.containerd import HOSTS, running_containerd
from devtools.daemon import Daemon
from devtools.places import BIN, ROOT
from devtools.waiting import until
from runwasi.linux import processes
from tests.integration.conftest import BundleMaker
from tests.support.runtime import Runtime

Finding = dict[str, Any]
_OF_ANOTHER_VERSION = """
import sys, runwasi
runwasi.__version__ = "9.9"
from runwasi.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def _doctor(
    *options: str | Path, root: str | Path = "/nowhere", program: list[str] | None = None
) -> list[Finding]:
    command = [*(program or [str(BIN / "runwasi")]), "--root", root, "doctor", "--format", "json", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    findings: list[Finding] = json.loads(done.stdout)
    return findings


def _of(area: str, findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding["area"] == area]


def test_a_containerd_that_does_not_run_is_said(folder: Path) -> None:
    (finding,) = _of("containerd", _doctor("--address", folder / "none.sock"))
    assert finding["status"] == "warn"
    assert f"does not run: no {folder}/none.sock" in finding["says"]
    assert "start containerd" in finding["mend"]


@pytest.mark.parametrize("release", list(HOSTS))
def test_doctor_reports_containerds_configuration_before_and_after_install(
    release: str, folder: Path, session_name: str
) -> None:
    host = HOSTS[release]
    with running_containerd(folder, host, namespace=session_name, cri_config="\n") as containerd:
        before = _doctor("--address", containerd.address)
        assert _of("containerd", before)[0]["status"] == "ok"
        assert _of("shims", before)[0]["status"] == "ok"
        (runtimes,) = _of("runtimes", before)
        assert runtimes["status"] == "missing"
        assert runtimes["mend"] == "runwasi install containerd --write --restart"

        config = folder / "config.toml"
        path = f"{host.programs}:{os.environ['PATH']}"
        command: list[str | Path] = [BIN / "runwasi", "install", "containerd", "--config", config, "--write"]
        subprocess.run(command, env=dict(os.environ, PATH=path), check=True, capture_output=True)

        known, stale = _of("runtimes", _doctor("--address", containerd.address))
        assert known["says"].startswith("wasmtime is io.containerd.wasmtime.v1, sandboxer podsandbox")
        assert "began before" in stale["says"]


def test_a_daemon_of_this_installation_is_well(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = Daemon(folder)
    monkeypatch.setenv("RUNWASI_DAEMON_SOCKET", str(daemon.path))
    try:
        finding = _of("daemon", _doctor())[0]
        assert (finding["status"], str(daemon.pid) in finding["says"]) == ("ok", True)
    finally:
        daemon.stop()
    assert "does not run" in _of("daemon", _doctor())[0]["says"]


def test_a_daemon_of_another_version_is_to_be_replaced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = Daemon(folder)
    monkeypatch.setenv("RUNWASI_DAEMON_SOCKET", str(daemon.path))
    try:
        finding = _of("daemon", _doctor(program=[sys.executable, "-c", _OF_ANOTHER_VERSION]))[0]
    finally:
        daemon.stop()
    assert finding["status"] == "warn"
    assert "of another version or installation" in finding["says"]
    assert f"kill -HUP {daemon.pid}" in finding["mend"]


def test_a_daemon_that_hangs_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = Daemon(folder)
    monkeypatch.setenv("RUNWASI_DAEMON_SOCKET", str(daemon.path))
    try:
        os.kill(daemon.pid, signal.SIGSTOP)
        assert "does not answer" in _of("daemon", _doctor())[0]["says"]
    finally:
        daemon.stop(signal.SIGKILL)


def test_the_named_command_removes_what_a_killed_container_left(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    command = runwasi.command("run", "--detach", "--bundle", bundle(["sleep", "60"]).path, container_id)
    null = subprocess.DEVNULL  # the container keeps them
    subprocess.run(command, stdin=null, stdout=null, stderr=null, check=True)
    assert not any(container_id in finding["says"] for finding in _doctor(root=runwasi.root))
    pid = runwasi.state(container_id)["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: _is_dead(pid), bool)

    (finding,) = [each for each in _doctor(root=runwasi.root) if container_id in each["says"]]
    assert (finding["area"], finding["status"]) == ("leftovers", "warn")
    assert "has ended and was not deleted" in finding["says"]

    program, *words = finding["mend"].split()
    subprocess.run([BIN / program, *words], check=True)
    assert not any(container_id in finding["says"] for finding in _doctor(root=runwasi.root))


def _is_dead(pid: int) -> bool:
    try:
        return processes.process_state(pid) in "ZX"
    except ProcessLookupError:
        return True


def test_the_named_command_removes_the_socket_of_a_dead_server(new_id: Callable[[], str]) -> None:
    path = Path("/run/containerd/s") / f"0-{new_id()}"[:80]
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        assert not any(str(path) in finding["says"] for finding in _doctor())
    (finding,) = [each for each in _doctor() if str(path) in each["says"]]
    subprocess.run(finding["mend"].split(), check=True)
    assert not path.exists()


def test_another_user_is_told_what_could_not_be_seen() -> None:
    user = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups", str(BIN / "runwasi")]
    finding = _of("rights", _doctor(program=user))[0]
    assert finding["mend"] == "sudo runwasi doctor"
