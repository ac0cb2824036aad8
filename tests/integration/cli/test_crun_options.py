"""Options that callers of crun give, Podman among them, and that runc does not have."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import BundleMaker
from tests.support.detached import Detached, wait_for_exit
from tests.support.runtime import Runtime


def test_a_configuration_may_have_another_name(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["echo", "from config.json"])
    made.write()
    made.process["args"] = ["echo", "from another"]
    (made.path / "other.json").write_text(json.dumps(made.config))
    options = ("--cgroup-manager", "cgroupfs")
    for word in ("--config", "-f"):
        done = runwasi("run", "-b", made.path, word, "other.json", container_id, options=options)
        assert done.stdout == "from another\n"


def test_a_container_may_do_without_a_cgroup(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, folder: Path
) -> None:
    """Podman's `--cgroups=disabled`."""
    made = bundle(["sh", "-c", "sleep 100 & wait"])
    made.config["mounts"] = [mount for mount in made.config["mounts"] if mount["type"] != "cgroup"]
    made.config["linux"].pop("resources", None)
    words = ("run", "--detach", "--pid-file", folder / "pid", "--bundle", made.write().path, container_id)
    command = runwasi.command(*words, options=("--cgroup-manager", "disabled"))
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=60, check=True)
    pid = int((folder / "pid").read_text())
    assert Path(f"/proc/{pid}/cgroup").read_text() == Path("/proc/self/cgroup").read_text()
    assert runwasi.state(container_id)["status"] == "running"
    assert runwasi("exec", container_id, "echo", "inside").stdout == "inside\n"
    runwasi("delete", "--force", container_id)
    wait_for_exit(pid)


def test_a_limit_without_a_cgroup_is_refused(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["true"])
    made.config["linux"]["resources"] = {"pids": {"limit": 10}}
    refused = runwasi(
        "run", "-b", made.write().path, container_id, options=("--cgroup-manager=disabled",), check=False
    )
    assert refused.returncode == 1
    assert "controller pids is not available" in refused.stderr


def test_an_unknown_cgroup_manager_is_refused(runwasi: Runtime) -> None:
    refused = runwasi("list", options=("--cgroup-manager", "cgmanager"), check=False)
    assert refused.returncode == 1
    assert 'invalid value "cgmanager" for --cgroup-manager' in refused.stderr


def test_a_log_file_may_be_said_to_be_one(runwasi: Runtime, folder: Path, container_id: str) -> None:
    runwasi("state", container_id, options=(f"--log=file:{folder}/log",), check=False)
    assert "container does not exist" in (folder / "log").read_text()


@pytest.mark.parametrize("command", ["create", "run"])
def test_a_log_that_cannot_be_written_is_found_out_first(
    runwasi: Runtime, bundle: BundleMaker, folder: Path, container_id: str, command: str
) -> None:
    """Not when there is something to say, with a container half-made."""
    refused = runwasi(
        *(command, "-b", bundle(["true"]).write().path, container_id),
        options=("--debug", "--log", str(folder / "none/log")),
        check=False,
    )
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == f"runwasi: {folder}/none/log: No such file or directory\n"


def test_delete_regex_deletes_every_container_with_a_matching_id(
    runwasi: Runtime, bundle: BundleMaker, new_id: Callable[[], str]
) -> None:
    ids = [f"{new_id()}-{name}" for name in ("one", "other", "stays")]
    for container_id in ids:
        Detached(runwasi, bundle(["sleep", "100"]).write(), container_id).run()
    refused = runwasi("delete", "--regex", "o(ne|ther)$", check=False)
    assert "not stopped" in refused.stderr
    runwasi("delete", "--force", "--regex", "o(ne|ther)$")
    assert runwasi("list", "--quiet").stdout.split() == ids[2:]
    assert "( is not a regular expression" in runwasi("delete", "--regex", "(", check=False).stderr


def test_the_callers_groups_are_kept_when_asked_for(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    """Podman's `--group-add keep-groups`."""
    made = bundle(["grep", "^Groups:", "/proc/self/status"])
    made.process["user"] = {"uid": 1000, "gid": 1000}

    def groups() -> list[str]:
        command = ["setpriv", "--groups", "7,70000", *runwasi.command("run", "-b", made.path, container_id)]
        return subprocess.check_output(command, stdin=subprocess.DEVNULL, text=True).split()[1:]

    made.write()
    assert groups() == []
    made.config["annotations"] = {"run.oci.keep_original_groups": "1"}
    made.write()
    assert groups() == ["7", "70000"]
