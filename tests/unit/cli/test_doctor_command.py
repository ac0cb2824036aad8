"""The doctor's lines, its JSON and its exit status."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from runwasi.cli.doctor import (
    cgroup_findings,
    containerd_findings,
    daemon_findings,
    engine_findings,
    kernel_findings,
    leftover_findings,
)
from runwasi.cli.doctor.finding import MISSING, OK, WARN, Finding
from runwasi.cli.main import main
from runwasi.engines import registry
from runwasi.engines.engine import EngineMissing
from runwasi.linux import libc


@pytest.fixture
def anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A command line for a node without a containerd or shims, and with a state root of its own."""
    monkeypatch.setattr(containerd_findings, "pid_behind", lambda _address: 0)
    for name in ("shim_roots", "_sockets", "_mounts"):
        monkeypatch.setattr(leftover_findings, name, lambda *_: iter(()))
    return ["--root", str(tmp_path / "root"), "doctor", "--address", str(tmp_path / "none")]


def test_every_line_has_a_status_and_what_is_not_ok_has_a_remedy(
    anywhere: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    main([*anywhere, "--format", "json"])
    findings = json.loads(capfd.readouterr().out)
    assert {finding["status"] for finding in findings} <= {OK, WARN, MISSING}
    assert [finding for finding in findings if finding["status"] != OK and not finding["mend"]] == []
    areas = {
        "runwasi",
        "python",
        "kernel",
        "lsm",
        "seccomp",
        "userns",
        "criu",
        "engine",
        "containerd",
        "daemon",
    }
    assert areas <= {finding["area"] for finding in findings}


def test_the_table_says_the_same(anywhere: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    main([*anywhere, "--format", "json"])
    findings = json.loads(capfd.readouterr().out)
    main(anywhere)
    lines = capfd.readouterr().out.splitlines()
    for finding in findings:
        assert any(line.startswith(finding["status"]) and finding["area"] in line for line in lines)


def test_another_format_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--format", "xml"]) == 1
    assert "invalid format option: xml: expected table or json" in capfd.readouterr().err


def test_a_node_that_can_run_no_container_fails(
    anywhere: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def none() -> None:
        raise OSError(2, "no cgroup hierarchy is mounted")

    monkeypatch.setattr(cgroup_findings, "layout", none)
    assert main(anywhere) == 1
    said = capfd.readouterr().out
    assert "missing  cgroups" in said
    assert "to mend: mount -t cgroup2" in said
    assert said.endswith("\nNo container can run on this node. Missing: cgroups.\n")


def test_the_last_line_says_that_containers_can_run(
    anywhere: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(anywhere) == 0
    said = capfd.readouterr().out
    assert said.splitlines()[-1].startswith("Containers can run on this node.")


def test_the_last_line_says_what_could_not_be_seen(
    anywhere: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def forbidden() -> Iterator[Finding]:
        raise PermissionError(13, "Permission denied")
        yield

    monkeypatch.setattr(cgroup_findings, "cgroups", forbidden)
    assert main(anywhere) == 0
    last = capfd.readouterr().out.splitlines()[-1]
    assert last.startswith("Containers can run on this node, as far as could be seen. Not seen: cgroups.")


def test_a_call_that_the_kernel_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_findings, "_CALLS", (("future_call", 9999, (), "a test"),))
    lacking = [finding for finding in kernel_findings.kernel() if finding.status == MISSING]
    assert [finding.says for finding in lacking] == ["lacks future_call, for a test"]
    assert lacking[0].is_fatal()


def test_the_calls_are_probed_with_arguments_that_change_nothing() -> None:
    """This kernel has them all, or no container test passes."""
    assert [finding.status for finding in kernel_findings.kernel()] == [OK, OK]
    assert {number for _, number, _, _ in kernel_findings._CALLS} >= {libc.SYS_CLONE3, libc.SYS_OPENAT2}


def test_an_engine_that_is_missing_comes_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise EngineMissing(f"{name} needs its library")

    monkeypatch.setattr(registry, "load", missing)
    found = {finding.says.partition(":")[0]: finding for finding in engine_findings.engines()}
    assert found["wasmedge"].mend == "apt-get install libwasmedge0 (Debian 13 or newer)"
    assert found["wasmedge"].status == WARN
    assert found["wasmtime"].is_fatal()


def test_a_plugged_in_engine_that_raises_anything_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(registry, "names", lambda: ("other",))
    monkeypatch.setattr(registry, "load", broken)
    (finding,) = engine_findings.engines()
    assert finding.says == "other: RuntimeError: no such thing"


def test_a_file_in_the_place_of_the_daemons_socket_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "manager.sock"
    place.touch()
    monkeypatch.setenv("RUNWASI_DAEMON_SOCKET", str(place))
    monkeypatch.setattr(registry, "names", lambda: ("wasmtime",))
    (finding,) = daemon_findings.daemons()
    assert finding.status == WARN
    assert finding.mend == f"rm {place}"
    assert os.path.exists(place)


@pytest.mark.parametrize(
    ("systemd", "mend"),
    [
        (True, "runwasi install units --write --restart"),
        (False, "start containerd-wasmtimed (no systemd runs here)"),
    ],
)
def test_units_are_advised_where_systemd_runs(
    systemd: bool, mend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNWASI_DAEMON_SOCKET", str(tmp_path / "none"))
    monkeypatch.setattr(registry, "names", lambda: ("wasmtime",))
    monkeypatch.setattr(os.path, "isdir", lambda _path: systemd)
    (finding,) = daemon_findings.daemons()
    assert finding.mend == mend
