"""Configurations to start from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from runwasi.cli import spec_command
from runwasi.cli.main import main
from runwasi.oci.spec import loads

if TYPE_CHECKING:
    from pathlib import Path


def written(path: Path, *words: str) -> dict[str, Any]:
    assert main(["spec", "--bundle", str(path), *words]) == 0
    text = (path / "config.json").read_bytes()
    loads(text)
    document: dict[str, Any] = json.loads(text)
    return document


def test_the_native_configuration_runs_a_shell_on_a_terminal(tmp_path: Path) -> None:
    document = written(tmp_path)
    assert document["process"]["args"] == ["sh"]
    assert document["process"]["terminal"] is True
    assert {"type": "network"} in document["linux"]["namespaces"]


def test_a_program_may_be_named(tmp_path: Path) -> None:
    assert written(tmp_path, "ls", "-l")["process"]["args"] == ["ls", "-l"]


def test_the_wasm_configuration_runs_the_only_module(tmp_path: Path) -> None:
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "rootfs/hello.wasm").touch()
    document = written(tmp_path, "--wasm")
    assert document["process"]["args"] == ["/hello.wasm"]
    assert document["process"]["terminal"] is False
    assert document["process"]["capabilities"] == {}


def test_among_several_modules_one_must_be_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "rootfs/a.wasm").touch()
    (tmp_path / "rootfs/b.wat").touch()
    assert main(["spec", "--wasm", "--bundle", str(tmp_path)]) == 1
    assert "expected the name of one module: /a.wasm, /b.wat" in capfd.readouterr().err
    assert written(tmp_path, "--wasm", "/b.wat", "x")["process"]["args"] == ["/b.wat", "x"]


def test_a_rootless_configuration_maps_root_to_the_user_and_asks_for_nothing_forbidden(
    tmp_path: Path,
) -> None:
    config = spec_command.native_config(["sh"])
    spec_command.make_rootless(config, 1000, 100)
    loads(json.dumps(config).encode())
    assert config["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 1000, "size": 1}]
    assert config["linux"]["gidMappings"] == [{"containerID": 0, "hostID": 100, "size": 1}]
    assert {"type": "network"} not in config["linux"]["namespaces"]
    assert "resources" not in config["linux"]
    assert not [word for mount in config["mounts"] for word in mount.get("options", ()) if "gid=" in word]


def test_an_existing_configuration_is_kept(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text("mine")
    assert main(["spec", "--bundle", str(tmp_path)]) == 1
    assert "exists. Remove it first" in capfd.readouterr().err
    assert (tmp_path / "config.json").read_text() == "mine"
