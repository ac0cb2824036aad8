"""Podman and Docker of this system's release, with storage of their own and a runtime of our choice."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from devtools.containerd import HOSTS, readiness_socket, running_containerd, wait_until_ready
from devtools.places import BIN, CACHE
from tests.support.runtime import PROGRAMS

_DOCKER = CACHE / "docker/usr"
_NEWEST_DOCKER = CACHE / "docker-sid/usr"
_NEWEST_CLIENT = CACHE / "docker-cli-sid/usr/bin/docker"
_STOP_SECONDS = 30

_PODMAN_CONFIG = """\
[containers]
# Where hard limits cannot be raised, not even root's.
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


class ContainerEngine:
    """A command line like Docker's; calling it runs one command."""

    def __init__(
        self, command: list[str | Path], environment: dict[str, str], run_options: list[str]
    ) -> None:
        self._command = command
        self.environment = environment
        self.run_options = run_options

    def __call__(
        self, *arguments: str | Path, check: bool = True, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run one command and capture what it prints."""
        done = subprocess.run(
            [*self._command, *arguments],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def run(self, *arguments: str, check: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """`run` with the runtime and without a network."""
        return self("run", "--network", "none", *self.run_options, *arguments, check=check, stdin=stdin)

    def command(self, *arguments: str) -> list[str | Path]:
        """A command line, for those who start it in their own way."""
        return [*self._command, *arguments]


@contextlib.contextmanager
def podman(folder: Path, runtime: str) -> Iterator[ContainerEngine]:
    """Podman with an OCI runtime by its name in PROGRAMS."""
    (folder / "containers.conf").write_text(_PODMAN_CONFIG)
    command: list[str | Path] = [
        "podman",
        "--root",
        folder / "root",
        "--runroot",
        folder / "run",
        "--tmpdir",
        folder / "tmp",
    ]
    environment = dict(os.environ, CONTAINERS_CONF=str(folder / "containers.conf"))
    environment["PODMAN_IGNORE_CGROUPSV1_WARNING"] = "1"  # of Podman 5
    engine = ContainerEngine([*command, "--runtime", PROGRAMS[runtime]], environment, [])
    try:
        yield engine
    finally:
        engine("rm", "--all", "--force", "--time", "0")


@contextlib.contextmanager
def docker(folder: Path, runtime: str) -> Iterator[ContainerEngine]:
    """Docker over a containerd of its own, with an OCI runtime by its name in PROGRAMS."""
    (folder / "daemon.json").write_text("{}")
    address = f"unix://{folder}/docker.sock"
    environment = dict(os.environ, PATH=f"{_DOCKER}/bin:{_DOCKER}/sbin:/usr/sbin:/usr/bin:/sbin:/bin")
    engine = ContainerEngine(
        [_DOCKER / "bin/docker", "--host", address], environment, ["--runtime", f"tested-{runtime}"]
    )
    with running_containerd(folder / "containerd", HOSTS["1.6"], namespace="moby") as containerd:
        command: list[str | Path] = [
            *(_DOCKER / "sbin/dockerd", "--config-file", folder / "daemon.json", "--host", address),
            *("--data-root", folder / "data", "--exec-root", folder / "exec", "--pidfile", folder / "pid"),
            *("--containerd", containerd.address, "--oom-score-adjust", "0"),
            *("--bridge", "none", "--iptables=false", "--ip-forward=false"),
            *("--add-runtime", f"tested-{runtime}={PROGRAMS[runtime]}"),
        ]
        with _daemon(command, environment, folder):
            yield engine
            _remove_all(engine)


@contextlib.contextmanager
def newest_docker(folder: Path) -> Iterator[ContainerEngine]:
    """The newest Docker with containerd's image store, our shims and our command line, in a network of its own."""
    features = {"containerd-snapshotter": True}
    runtimes = {"runwasi": {"path": str(PROGRAMS["runwasi"])}}
    (folder / "daemon.json").write_text(json.dumps({"features": features, "runtimes": runtimes}))
    address = f"unix://{folder}/docker.sock"
    path = f"{BIN}:{_NEWEST_DOCKER}/bin:{_NEWEST_DOCKER}/sbin:{HOSTS['2'].programs}:/usr/sbin:/usr/bin:/sbin:/bin"
    environment = dict(os.environ, PATH=path)
    engine = ContainerEngine([_NEWEST_CLIENT, "--host", address], environment, [])
    with running_containerd(folder / "containerd", HOSTS["2"], namespace="moby") as containerd:
        command: list[str | Path] = [
            *("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"),
            *(_NEWEST_DOCKER / "sbin/dockerd", "--config-file", folder / "daemon.json", "--host", address),
            *("--data-root", folder / "data", "--exec-root", folder / "exec", "--pidfile", folder / "pid"),
            *("--containerd", containerd.address, "--bridge", "none", "--ip-forward=false"),
        ]
        with _daemon(command, environment, folder):
            yield engine
            _remove_all(engine)


def _remove_all(engine: ContainerEngine) -> None:
    left = engine("ps", "--all", "--quiet").stdout.split()
    if left:
        engine("rm", "--force", *left)


@contextlib.contextmanager
def _daemon(command: list[str | Path], environment: dict[str, str], folder: Path) -> Iterator[None]:
    notify = folder / "notify.sock"
    with readiness_socket(notify) as ready, (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env=environment | {"NOTIFY_SOCKET": str(notify)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            wait_until_ready(ready)
            yield
        finally:
            process.terminate()
            process.wait(_STOP_SECONDS)
