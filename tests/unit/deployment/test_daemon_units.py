"""The units of the node daemon."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from devtools.places import ROOT
from runwasi.cli.main import main
from runwasi.deployment import daemon_units
from runwasi.deployment.target_node import TargetNode

_SERVICE, _SOCKET = "containerd-wasmtimed.service", "containerd-wasmtimed.socket"


def test_the_packaged_units_are_those_that_install_writes() -> None:
    packaged = ROOT / "packaging/containerd-wasmtimed"
    program = "/usr/local/bin/containerd-wasmtimed"
    assert packaged.with_suffix(".service").read_text() == daemon_units.service("wasmtime", program)
    assert packaged.with_suffix(".socket").read_text() == daemon_units.socket("wasmtime")


def test_units_come_and_go_below_another_root(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / daemon_units.FOLDER.removeprefix("/")
    assert main(["install", "units", "--host", str(tmp_path), "--bin", "/opt/bin", "--write"]) == 0
    names = {path.name for path in folder.iterdir()}
    assert names == {"containerd-wasmtimed.service", "containerd-wasmtimed.socket"}
    assert "ExecStart=/opt/bin/containerd-wasmtimed" in (folder / "containerd-wasmtimed.service").read_text()
    assert f"there is no {tmp_path}/opt/bin/containerd-wasmtimed" in capfd.readouterr().err
    assert main(["uninstall", "units", "--host", str(tmp_path), "--write"]) == 0
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("service", "socket", "starts"),
    [
        ("inactive", "inactive", "enable --now SOCKET SERVICE"),
        ("active", "active", "enable --now SOCKET SERVICE"),
        ("deactivating", "inactive", "enable SOCKET SERVICE; start --no-block SOCKET"),
    ],
)
def test_the_socket_waits_for_a_daemon_that_ends(
    service: str, socket: str, starts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _play_systemd(monkeypatch, service, socket)
    plan = daemon_units.install(TargetNode(), ["wasmtime"], "/usr/local/bin")
    assert _words(plan.after) == f"daemon-reload; {starts}"
    assert plan.due == (socket != "active")
    assert any("serves pods" in note for note in plan.notes) == (service == "deactivating")


@pytest.mark.parametrize(
    ("service", "copied"), [("inactive", False), ("active", True), ("deactivating", True)]
)
def test_a_daemon_that_runs_keeps_a_copy_of_its_unit_until_it_has_ended(
    service: str, copied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    _play_systemd(monkeypatch, service, "active")
    monkeypatch.setattr(TargetNode, "has", lambda *_: True)
    before = daemon_units.uninstall(TargetNode(), ["wasmtime"]).before
    copy = ("cp", f"{daemon_units.FOLDER}/{_SERVICE}", f"/run/systemd/system/{_SERVICE}")
    assert (before[0] == copy) == copied
    stops = "stop --job-mode=ignore-dependencies SOCKET; stop --no-block SERVICE"
    assert _words(before[copied:]) == f"disable SOCKET SERVICE; {stops}"
    assert "ExecStopPost=-/bin/rm -f /run/systemd/system/%n\n" in daemon_units.service("wasmtime", "/bin/x")


def _play_systemd(monkeypatch: pytest.MonkeyPatch, service: str, socket: str) -> None:
    states = {_SERVICE: service, _SOCKET: socket}
    monkeypatch.setattr(TargetNode, "has_systemd", lambda _: True)
    monkeypatch.setattr(daemon_units, "run", lambda command: f"{states[command[-1]]}\n")


def _words(commands: Sequence[Sequence[str]]) -> str:
    """Return calls of systemctl in short."""
    text = "; ".join(" ".join(command) for command in commands).replace("systemctl ", "")
    return text.replace(_SERVICE, "SERVICE").replace(_SOCKET, "SOCKET")
