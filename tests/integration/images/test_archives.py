"""The tools that read image archives take those of the builder."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from devtools.containerd import Containerd
from devtools.places import WASI_DEMO_APP
from runwasi.cli import oci_tar_builder

NAMES = [("localhost:5000/team/sub", "app"), ("registry.example.org", "app"), ("localhost", "a.b_c")]
FORMS = [(), ("--as-artifact",), ("--as-files",)]


def build(folder: Path, repository: str, name: str, *form: str) -> tuple[Path, str]:
    """Build an image of the demo module; returns the archive and the image's full name."""
    archive = folder / "image.tar"
    words = ["--repo", repository, "--name", name, "--tag", "v1", "--module", str(WASI_DEMO_APP)]
    assert oci_tar_builder.main([*words, "--out-path", str(archive), *form]) == 0
    return archive, f"{repository}/{name}:v1"


@pytest.mark.parametrize(("repository", "name"), NAMES)
@pytest.mark.parametrize("form", FORMS, ids=["layers", "artifact", "files"])
def test_skopeo_copies_it(folder: Path, repository: str, name: str, form: Sequence[str]) -> None:
    archive, _ = build(folder, repository, name, *form)
    source = f"oci-archive:{archive}:v1"
    subprocess.run(["skopeo", "copy", source, f"oci:{folder}/copy:v1"], check=True, capture_output=True)
    raw = subprocess.run(
        ["skopeo", "inspect", "--raw", f"oci:{folder}/copy:v1"], check=True, capture_output=True
    )
    assert [layer["size"] for layer in json.loads(raw.stdout)["layers"]]


@pytest.fixture
def podman(folder: Path) -> list[str]:
    """podman with a storage of its own."""
    return ["podman", "--root", f"{folder}/root", "--runroot", f"{folder}/run", "--storage-driver", "vfs"]


@pytest.mark.parametrize(("repository", "name"), NAMES)
def test_podman_loads_it_as_files(folder: Path, podman: list[str], repository: str, name: str) -> None:
    archive, full_name = build(folder, repository, name, "--as-files")
    loaded = subprocess.run([*podman, "load", "-i", archive], check=True, capture_output=True, text=True)
    assert loaded.stdout.strip() == f"Loaded image: {full_name}"


@pytest.mark.parametrize(("repository", "name"), NAMES)
@pytest.mark.parametrize("form", FORMS, ids=["layers", "artifact", "files"])
def test_ctr_imports_it_under_its_name(
    each_containerd: Containerd, folder: Path, repository: str, name: str, form: Sequence[str]
) -> None:
    archive, full_name = build(folder, repository, name, *form)
    # Unpacking is what containerd 1.6.20 cannot do with wasm layers; it keeps the image all the same.
    unpack = ("--no-unpack",) if each_containerd.host.name == "1.6" and "--as-files" not in form else ()
    each_containerd.ctr("image", "import", "--all-platforms", *unpack, archive)
    assert full_name in each_containerd.ctr("image", "ls", "-q").stdout.split()
    each_containerd.ctr("image", "rm", "--sync", full_name)


def test_an_old_containerd_says_why_it_cannot_unpack_wasm_layers(
    containerd: Containerd, folder: Path
) -> None:
    archive, full_name = build(folder, "localhost", "app")
    done = containerd.ctr("image", "import", "--all-platforms", archive, check=False)
    assert "mismatched image rootfs and manifest layers" in done.stderr
    containerd.ctr("image", "rm", "--sync", full_name)
