"""`runwasi install containerd` extends a configuration, and containerd reads it as intended."""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from devtools.containerd import HOSTS, running_containerd
from devtools.places import BIN

_PLUGINS = {2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.runtime"}
_BY_SYSTEMD = """
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
    SystemdCgroup = true
"""


def _runwasi(
    release: str, verb: str, config: Path, *options: str, check: bool = True
) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ, PATH=f"{HOSTS[release].programs}:{os.environ['PATH']}")
    command: list[str | Path] = [BIN / "runwasi", verb, "containerd", "--config", config, *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=check)


def _runtimes(release: str, config: Path) -> dict[str, Any]:
    """The runtimes as containerd reads them."""
    containerd = HOSTS[release].programs / "containerd"
    dump = subprocess.check_output([containerd, "--config", config, "config", "dump"], text=True)
    document = tomllib.loads(dump)
    plugin = document["plugins"][_PLUGINS[document["version"]]]
    runtimes: dict[str, Any] = plugin["containerd"]["runtimes"]
    return runtimes


@pytest.mark.parametrize(("release", "version"), [("1.6", 2), ("1.7", 2), ("2", 2), ("2", 3)])
def test_containerd_knows_the_runtime_beside_runc_afterwards(
    release: str, version: int, tmp_path: Path
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f"version = {version}\n")
    runc = _runtimes(release, config)["runc"]

    _runwasi(release, "install", config, "--write")

    runtimes = _runtimes(release, config)
    assert runtimes["wasmtime"]["runtime_type"] == "io.containerd.wasmtime.v1"
    assert "io.runwasi.fuel" in runtimes["wasmtime"]["pod_annotations"]
    assert runtimes["runc"]["runtime_type"] == runc["runtime_type"]


@pytest.mark.parametrize("release", list(HOSTS))
def test_the_default_configuration_keeps_all_it_says(release: str, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    containerd = HOSTS[release].programs / "containerd"
    config.write_bytes(subprocess.check_output([containerd, "config", "default"]))
    before = config.read_text()
    runtimes = _runtimes(release, config)

    _runwasi(release, "install", config, "--write", "--shared")

    assert config.read_text().startswith(before)
    after = _runtimes(release, config)
    assert after.keys() == {*runtimes, "wasmtime", "wasmtimed"}
    assert after["runc"] == runtimes["runc"]

    _runwasi(release, "uninstall", config, "--write")

    assert config.read_text() == before


@pytest.mark.parametrize("release", list(HOSTS))
def test_a_missing_configuration_is_made_and_removed(release: str, tmp_path: Path) -> None:
    config = tmp_path / "containerd/config.toml"
    _runwasi(release, "install", config, "--write")
    assert {"runc", "wasmtime"} <= _runtimes(release, config).keys()
    _runwasi(release, "uninstall", config, "--write")
    assert not config.exists()


def test_nothing_is_written_without_write(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("version = 2\n")

    shown = _runwasi("1.6", "install", config)

    assert "+  runtime_type" in shown.stdout
    assert "Nothing was changed. Add --write" in shown.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]
    assert config.read_text() == "version = 2\n"


@pytest.mark.parametrize("release", list(HOSTS))
def test_a_second_time_changes_nothing(release: str, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    _runwasi(release, "install", config, "--write")
    before = config.read_bytes()

    assert _runwasi(release, "install", config, "--write").stdout == "containerd: nothing to do\n"

    assert config.read_bytes() == before


def test_a_configuration_that_is_no_toml_is_left_alone_and_its_line_named(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("version = 2\nroot == 3\n")

    done = _runwasi("1.6", "install", config, "--write", check=False)

    assert done.returncode == 1
    assert f"{config}: " in done.stderr
    assert "line 2" in done.stderr
    assert "left as it was" in done.stderr
    assert config.read_text() == "version = 2\nroot == 3\n"
    assert list(tmp_path.iterdir()) == [config]


def test_a_configuration_that_containerd_refuses_is_left_alone(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('version = 3\nroot = "/x"\n')

    done = _runwasi("1.7", "install", config, "--write", check=False)

    assert done.returncode == 1
    assert "containerd refuses" in done.stderr
    assert config.read_text() == 'version = 3\nroot = "/x"\n'


@pytest.mark.parametrize("release", list(HOSTS))
@pytest.mark.parametrize("by_systemd", [False, True])
def test_the_driver_of_cgroups_is_copied_from_runc(release: str, by_systemd: bool, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("version = 2\n" + (_BY_SYSTEMD if by_systemd else ""))

    _runwasi(release, "install", config, "--write")

    options = _runtimes(release, config)["wasmtime"].get("options") or {}
    assert options.get("SystemdCgroup", False) is by_systemd
    assert (tmp_path / "runwasi-options.toml").exists() is (by_systemd and release == "1.6")


@pytest.mark.parametrize("version", [2, 3])
def test_containerd_2_gets_a_file_in_the_folder_that_it_imports(version: int, tmp_path: Path) -> None:
    config, folder = tmp_path / "config.toml", tmp_path / "conf.d"
    folder.mkdir()
    by_systemd = _BY_SYSTEMD.replace(_PLUGINS[2], _PLUGINS[version])
    config.write_text(f'version = {version}\nimports = ["{folder}/*.toml"]\n{by_systemd}')
    before = config.read_text()

    _runwasi("2", "install", config, "--write")

    assert config.read_text() == before
    runtimes = _runtimes("2", config)
    assert runtimes["wasmtime"]["options"]["SystemdCgroup"] is True
    assert runtimes["runc"]["options"]["SystemdCgroup"] is True
    assert _runwasi("2", "install", config, "--write").stdout == "containerd: nothing to do\n"

    _runwasi("2", "uninstall", config, "--write")
    assert list(folder.iterdir()) == []


def test_containerd_1_gets_no_file_of_its_own_which_would_replace_the_rest(tmp_path: Path) -> None:
    config, folder = tmp_path / "config.toml", tmp_path / "conf.d"
    folder.mkdir()
    config.write_text(f'version = 2\nimports = ["{folder}/*.toml"]\n{_BY_SYSTEMD}')
    _runwasi("1.7", "install", config, "--write")
    assert list(folder.iterdir()) == []
    assert _runtimes("1.7", config).keys() == {"runc", "wasmtime"}


@pytest.mark.parametrize("release", list(HOSTS))
def test_missing_settings_of_an_operators_table_are_reported(release: str, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    table = '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.wasmtime]\n'
    config.write_text(f'version = 2\n{_BY_SYSTEMD}{table}  runtime_type = "io.containerd.wasmtime.v1"\n')
    before = config.read_text()

    done = _runwasi(release, "install", config, "--write")

    assert config.read_text() == before
    assert "it has no pod_annotations" in done.stderr
    assert "lacks the option SystemdCgroup, which runc has" in done.stderr


def test_a_restart_that_is_due_is_not_forgotten(session_name: str, folder: Path) -> None:
    config = folder / "config.toml"
    with running_containerd(folder, HOSTS["1.6"], namespace=session_name, cri_config="\n"):
        for _ in range(2):  # the second time as well: no restart came between
            assert "not in force yet" in _runwasi("1.6", "install", config, "--write").stderr
    written = config.read_text().partition("# --- runwasi")
    with running_containerd(
        folder, HOSTS["1.6"], namespace=session_name, cri_config="\n" + "".join(written[1:])
    ):
        assert _runwasi("1.6", "install", config, "--write").stdout == "containerd: nothing to do\n"
