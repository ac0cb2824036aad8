"""containerd as the node installer configures it: a pod's annotations, the driver of cgroups, and its features."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import grpc
import pytest

from devtools.containerd import HOSTS, remove_namespace_folders, running_containerd
from devtools.cri import Cri, api
from devtools.places import BIN
from tests.integration.conftest import BUSYBOX_IMAGE, DEMO_IMAGE
from tests.integration.cri.conftest import PAUSE_IMAGE, cri_config

_RUNWASI = BIN / "runwasi"
_RUNC_BY_SYSTEMD = """
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = true
"""
_OF_RUNCS_KIND = f"""
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runcs-kind]
      runtime_type = "io.containerd.runc.v2"
      runtime_path = "{BIN}/containerd-shim-wasmtime-v1"
"""

Start = Callable[..., AbstractContextManager[Cri]]


@pytest.fixture
def start(
    session_name: str, session_folder: Path, pause_image: Path, busybox_image: Path, demo_image: Path
) -> Iterator[Start]:
    """Start a release of containerd with a configuration that the installer has had its turn at."""
    bridge = session_name[:15]

    @contextmanager
    def start(release: str, more: str = "") -> Iterator[Cri]:
        folder = Path(tempfile.mkdtemp(prefix="i", dir=session_folder))
        images = [pause_image, busybox_image, demo_image]
        config = _configured(release, folder / "etc", cri_config(folder, bridge) + more)
        with running_containerd(
            folder, HOSTS[release], namespace="k8s.io", images=images, cri_config=config
        ) as containerd:
            (folder / "logs").mkdir()
            cri = Cri(containerd, cgroup_parent=f"/{session_name}", logs=folder / "logs")
            for image in (PAUSE_IMAGE, BUSYBOX_IMAGE, DEMO_IMAGE):
                cri.wait_for_image(image)
            yield cri
            cri.close()

    yield start
    subprocess.run(["ip", "link", "delete", bridge], capture_output=True, check=False)
    remove_namespace_folders(session_name)


def _configured(release: str, folder: Path, config: str) -> str:
    """The configuration after the installer, without its first line."""
    folder.mkdir()
    file = folder / "config.toml"
    file.write_text(f"version = 2\n{config}")
    path = f"{HOSTS[release].programs}:{os.environ['PATH']}"
    subprocess.run(
        [_RUNWASI, "install", "containerd", "--config", file, "--write"],
        env=dict(os.environ, PATH=path),
        check=True,
    )
    return file.read_text().partition("\n")[2]


@pytest.mark.parametrize("release", list(HOSTS))
def test_a_safe_annotation_of_a_pod_reaches_the_guest_and_no_other(start: Start, release: str) -> None:
    annotations = {
        "io.runwasi.fuel": "1000",
        "io.runwasi.unsafe.seccomp": "unconfined",
        "other.example/x": "1",
    }
    with start(release) as cri, cri.pod("wasmtime", annotations=annotations) as pod:
        container = pod.run(DEMO_IMAGE, [], ["echo", "hello"])
        assert container.wait() == 134
        assert "all fuel consumed by WebAssembly" in container.log_lines(1)[0]


@pytest.mark.parametrize("release", list(HOSTS))
def test_the_shim_uses_the_driver_of_cgroups_that_runc_uses(start: Start, release: str) -> None:
    """systemd refuses what is no slice, where it runs; where it does not, that is said."""
    with start(release, _RUNC_BY_SYSTEMD) as cri:
        for handler in ("runc", "wasmtime"):
            with pytest.raises(grpc.RpcError, match="systemd"):
                cri.run_pod(handler)


def _features(cri: Cri) -> dict[str, tuple[bool, bool]]:
    handlers = cri.runtime.Status(api.StatusRequest()).runtime_handlers
    return {
        each.name: (each.features.recursive_read_only_mounts, each.features.user_namespaces)
        for each in handlers
    }


def test_containerd_knows_the_features_of_a_shim_of_runcs_kind(start: Start, folder: Path) -> None:
    ids = [api.IDMapping(host_id=200_000, container_id=0, length=65536)]
    users = api.UserNamespace(mode=api.POD, uids=ids, gids=ids)
    options = api.NamespaceOption(pid=api.CONTAINER, userns_options=users)
    mount = api.Mount(container_path="/data", host_path=str(folder), readonly=True, recursive_read_only=True)
    with start("2", _OF_RUNCS_KIND) as cri:
        assert _features(cri)["runcs-kind"] == (True, True)
        with cri.pod("runcs-kind") as pod:
            wasm = pod.run(DEMO_IMAGE, [], ["echo", "from", "wasm"])
            assert wasm.log_lines(1)[0] == "from wasm"
            native = pod.run(
                BUSYBOX_IMAGE, ["sh", "-c", "exec 2>&1; touch /data/x || echo refused"], mounts=[mount]
            )
            assert native.log_lines(2)[-1] == "refused"
        security = api.LinuxSandboxSecurityContext(namespace_options=options)
        inside = api.LinuxContainerSecurityContext(namespace_options=options)
        with cri.pod("runcs-kind", security=security) as pod:
            mapped = pod.run(BUSYBOX_IMAGE, ["cat", "/proc/self/uid_map"], security=inside)
            assert mapped.log_lines(1)[0].split() == ["0", "200000", "65536"]
