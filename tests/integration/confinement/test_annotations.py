"""Annotations as images and tenants may set them: what is refused, what is believed, and when."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.bundle import Bundle
from devtools.oci_image import busybox_layer, write_image
from tests.integration.conftest import BundleMaker
from tests.support.container_engines import ContainerEngine, podman
from tests.support.detached import Detached
from tests.support.runtime import Runtime

SECCOMP = "io.runwasi.unsafe.seccomp"


@pytest.fixture
def node(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the node's configuration is; there is none yet."""
    path = folder / "node.toml"
    monkeypatch.setenv("RUNWASI_CONFIG", str(path))
    return path


def sleeping(bundle: BundleMaker, module: bytes, **annotations: str) -> Bundle:
    made = bundle(["/app.wasm", "sleep", "100"], files={"/app.wasm": module})
    made.config["annotations"] = annotations
    return made.write()


def seccomp_of(pid: int) -> str:
    """The kernel's word for a process's filter: 0 without, 2 with."""
    found = re.search(r"^Seccomp:\s*(\d)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return found[1]


def test_an_unsafe_annotation_fails_create_with_what_would_allow_it(
    runwasi: Runtime, bundle: BundleMaker, wasi_demo_app: bytes, container_id: str, node: Path
) -> None:
    made = sleeping(bundle, wasi_demo_app, **{SECCOMP: "unconfined"})
    done = runwasi("create", "--bundle", made.path, container_id, check=False)
    assert done.returncode == 1
    assert f'$.annotations["{SECCOMP}"]: is unsafe, and this node does not allow it' in done.stderr
    assert f'unsafe_annotations = ["{SECCOMP}"] into {node}' in done.stderr
    assert not runwasi.root.exists()  # nothing was made


@pytest.mark.parametrize(
    ("annotations", "why"),
    [
        (
            {"io.runwasi.fule": "1"},
            '$.annotations["io.runwasi.fule"]: there is no such annotation; did you mean',
        ),
        ({"io.runwasi.fuel": "lots"}, "$.annotations[\"io.runwasi.fuel\"]: 'lots' is not a whole number"),
        ({"io.runwasi.seccomp": "unconfined"}, f"is now called {SECCOMP}"),
        ({"org.criu.config": "/evil"}, '$.annotations["org.criu.config"]: is unsafe'),
        ({"org.systemd.property.MemoryMax": "uint64 0"}, "is unsafe"),
    ],
)
@pytest.mark.parametrize("kind", ["native", "wasm"])
def test_forbidden_annotations_fail_create(
    runwasi: Runtime,
    bundle: BundleMaker,
    wasi_demo_app: bytes,
    container_id: str,
    node: Path,
    kind: str,
    annotations: dict[str, str],
    why: str,
) -> None:
    assert not node.exists()
    made = sleeping(bundle, wasi_demo_app) if kind == "wasm" else bundle(["true"])
    made.config["annotations"] = annotations
    done = runwasi("run", "--bundle", made.write().path, container_id, check=False)
    assert done.returncode == 1
    assert why in done.stderr


def test_a_native_container_may_have_what_only_modules_heed(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["echo", "hello"])
    made.config["annotations"] = {"io.runwasi.fuel": "1", "io.runwasi.network": "off"}
    assert runwasi("run", "--bundle", made.write().path, container_id).stdout == "hello\n"


def test_a_configuration_that_another_user_can_write_allows_nothing(
    runwasi: Runtime, bundle: BundleMaker, wasi_demo_app: bytes, container_id: str, node: Path
) -> None:
    node.write_text(f'unsafe_annotations = ["{SECCOMP}"]')
    node.chmod(0o666)
    made = sleeping(bundle, wasi_demo_app, **{SECCOMP: "unconfined"})
    done = runwasi("create", "--bundle", made.path, container_id, check=False)
    assert done.returncode == 1
    assert f"{node}: not trusted: users other than root may write to it" in done.stderr


def test_a_containers_environment_does_not_choose_the_configuration(
    runwasi: Runtime, bundle: BundleMaker, wasi_demo_app: bytes, container_id: str, node: Path, folder: Path
) -> None:
    assert not node.exists()
    theirs = folder / "theirs.toml"
    theirs.write_text(f'unsafe_annotations = ["{SECCOMP}"]')
    made = sleeping(bundle, wasi_demo_app, **{SECCOMP: "unconfined"})
    made.process["env"].append(f"RUNWASI_CONFIG={theirs}")
    done = runwasi("create", "--bundle", made.write().path, container_id, check=False)
    assert "this node does not allow it" in done.stderr


def test_an_exec_gives_up_confinement_only_while_the_node_allows_it(
    runwasi: Runtime, bundle: BundleMaker, wasi_demo_app: bytes, container_id: str, node: Path
) -> None:
    node.write_text(f'unsafe_annotations = ["{SECCOMP}"]')
    container = Detached(runwasi, sleeping(bundle, wasi_demo_app, **{SECCOMP: "unconfined"}), container_id)
    container.run()
    assert seccomp_of(container.pid) == "0"
    command = ("exec", container_id, "/app.wasm", "echo", "hello")
    assert runwasi(*command).stdout == "hello\nexiting\n"
    node.unlink()
    done = runwasi(*command, check=False)
    assert done.returncode != 0
    assert "this node does not allow it" in done.stderr


@pytest.fixture
def engine(session_folder: Path) -> Iterator[ContainerEngine]:
    """Podman over our runtime."""
    with podman(Path(tempfile.mkdtemp(prefix="p", dir=session_folder)), "runwasi") as engine:
        yield engine


@pytest.mark.parametrize(
    ("annotations", "why"),
    [
        ({SECCOMP: "unconfined"}, f'annotations[\\\\?"{SECCOMP}\\\\?"]: is unsafe'),
        ({"io.runwasi.fules": "5"}, "did you mean io.runwasi.fuel"),
        ({"io.runwasi.fuel": "1000"}, "all fuel consumed"),
    ],
)
def test_an_images_annotations_are_judged_when_podman_passes_them(
    engine: ContainerEngine, wasi_demo_app: bytes, folder: Path, annotations: dict[str, str], why: str
) -> None:
    layer = busybox_layer({"app.wasm": wasi_demo_app})
    write_image(
        folder / "image.tar",
        "localhost/annotated:latest",
        layer,
        command=["/app.wasm"],
        annotations=annotations,
    )
    identity = engine("pull", "--quiet", f"oci-archive:{folder}/image.tar").stdout.strip()
    done = engine.run("--rm", identity, "/app.wasm", "echo", "hello", check=False)
    assert done.returncode != 0
    assert re.search(re.sub(r"([\[\]])", r"\\\1", why), done.stderr), done.stderr
