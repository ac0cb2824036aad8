"""Containers of a user without privileges."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bundle import make_bundle
from tests.support.detached import wait_for_exit
from tests.support.folders import remove_folder
from tests.support.runtime import PROGRAMS

_USER = 12345


class User:
    """A user without privileges, with a home that holds bundles and state."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def command(self, *words: str | Path, runtime_dir: bool = True) -> list[str]:
        """A command line of ours as this user."""
        environment = [f"XDG_RUNTIME_DIR={self.home}/run"] if runtime_dir else ["-u", "XDG_RUNTIME_DIR"]
        switch = ["setpriv", "--reuid", str(_USER), "--regid", str(_USER), "--clear-groups"]
        return [*switch, "env", *environment, str(PROGRAMS["runwasi"]), *map(str, words)]

    def __call__(
        self, *words: str | Path, check: bool = True, runtime_dir: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run one command of ours as this user."""
        command = self.command(*words, runtime_dir=runtime_dir)
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}: {done.returncode}\n{done.stderr}")
        return done

    def bundle(self, *arguments: str, files: dict[str, bytes] | None = None) -> Path:
        """Make a bundle of this user's that runs arguments, configured by `spec --rootless`."""
        path = self.home / "bundle"
        make_bundle(path, arguments, files=files)
        (path / "config.json").unlink()
        for entry in (path, *path.rglob("*")):
            os.chown(entry, _USER, _USER, follow_symlinks=False)
        self("spec", "--rootless", "--bundle", path, *arguments)
        config = json.loads((path / "config.json").read_text())
        config["process"]["terminal"] = False
        (path / "config.json").write_text(json.dumps(config))
        return path


@pytest.fixture
def user(session_name: str) -> Iterator[User]:
    """A user without privileges."""
    home = Path(tempfile.mkdtemp(prefix=f"{session_name}-home-"))
    (home / "run").mkdir()
    for path in (home, home / "run"):
        os.chown(path, _USER, _USER)
    yield User(home)
    remove_folder(home)


def test_a_user_is_root_in_their_own_container(user: User, container_id: str) -> None:
    path = user.bundle("sh", "-c", "id -u; cat /proc/self/uid_map; exit 4")
    done = user("run", "--bundle", path, container_id, check=False)
    assert done.returncode == 4
    assert done.stdout.split() == ["0", "0", str(_USER), "1"]
    assert user("list", "-q").stdout == ""


def test_a_users_container_lives_through_every_command(user: User, container_id: str) -> None:
    path = user.bundle("sleep", "100")
    command = user.command("run", "--detach", "--bundle", path, container_id)
    null = subprocess.DEVNULL
    subprocess.run(command, stdin=null, stdout=null, stderr=null, check=True)
    state = json.loads(user("state", container_id).stdout)
    assert (state["status"], state["owner"]) == ("running", f"#{_USER}")
    assert user("exec", container_id, "hostname").stdout == "runwasi\n"
    user("kill", container_id, "KILL")
    wait_for_exit(state["pid"])
    user("delete", container_id)
    assert user("list", "-q").stdout == ""


def test_a_module_needs_no_privileges(user: User, container_id: str, wasi_demo_app: bytes) -> None:
    path = user.bundle("/demo.wasm", "echo", "hello", files={"/demo.wasm": wasi_demo_app})
    assert "hello" in user("run", "--bundle", path, container_id).stdout


def test_root_of_a_users_namespace_may_use_their_own_runtime(user: User, container_id: str) -> None:
    """As rootless Podman calls a runtime: uid 0, but not the host's."""
    path = user.bundle("sh", "-c", "id -u; exit 6")
    config = json.loads((path / "config.json").read_text())
    for name in ("uidMappings", "gidMappings"):
        config["linux"][name][0]["hostID"] = 0
    (path / "config.json").write_text(json.dumps(config))
    command = user.command("run", "--bundle", path, container_id)
    command[6:6] = ["unshare", "--user", "--map-root-user", "--mount"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (6, "0\n"), done.stderr
    assert (user.home / "run/runwasi").is_dir()


def test_a_configuration_for_root_is_refused_with_the_remedy(user: User, container_id: str) -> None:
    path = user.bundle("true")
    config = json.loads((path / "config.json").read_text())
    config["linux"]["namespaces"] = [item for item in config["linux"]["namespaces"] if item["type"] != "user"]
    del config["linux"]["uidMappings"], config["linux"]["gidMappings"]
    (path / "config.json").write_text(json.dumps(config))
    refused = user("run", "--bundle", path, container_id, check=False)
    assert refused.returncode == 1
    assert "rootless container requires a user namespace ($.linux.namespaces)" in refused.stderr
    assert "runwasi spec --rootless" in refused.stderr


def test_without_a_folder_for_state_it_says_which_one(user: User, container_id: str) -> None:
    path = user.bundle("true")
    refused = user("run", "--bundle", path, container_id, check=False, runtime_dir=False)
    assert refused.returncode == 1
    assert "state root /run/runwasi: Permission denied" in refused.stderr
