"""The source archive and the wheels install into clean environments and run there. They need `make release`."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import runwasi
from devtools.bundle import make_bundle
from devtools.places import ROOT, WASI_DEMO_APP

STEM = f"runwasi-{runwasi.__version__}"
NAMES = {
    "sdist": f"{STEM}.tar.gz",
    "any": f"{STEM}-py3-none-any.whl",
    "native": f"{STEM}-py3-none-manylinux*.whl",
}


def built(kind: str) -> Path:
    found = list((ROOT / "dist").glob(NAMES[kind]))
    assert len(found) == 1, f"make release first: dist has no {NAMES[kind]}, or several"
    return found[0]


@pytest.fixture(scope="session", params=NAMES)
def programs(request: pytest.FixtureRequest, session_folder: Path) -> Path:
    """The folder of programs of a clean environment with nothing but one of the files and what it depends on."""
    environment = session_folder / f"environment-{request.param}"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    pip = [f"{environment}/bin/pip", "install", "--quiet", "--disable-pip-version-check"]
    constraints = ["--constraint", str(ROOT / "constraints-dev.txt")]
    subprocess.run([*pip, *constraints, str(built(request.param))], cwd="/", check=True)
    return environment / "bin"


def test_an_environment_runs_both_kinds_and_has_the_shims(programs: Path, folder: Path) -> None:
    native = make_bundle(folder / "native", ["/bin/busybox", "echo", "native"])
    wasm = {"app.wasm": WASI_DEMO_APP.read_bytes()}
    module = make_bundle(folder / "wasm", ["/app.wasm", "echo", "wasm"], files=wasm, busybox=False)
    root = ["--root", str(folder / "state")]
    outputs = []
    for number, bundle in enumerate((native, module)):
        run = [
            f"{programs}/runwasi",
            *root,
            "run",
            "--bundle",
            str(bundle.path),
            f"from-{folder.name}-{number}",
        ]
        outputs.append(subprocess.run(run, check=True, capture_output=True, text=True, cwd="/").stdout)
    shim = [f"{programs}/containerd-shim-wasmtime-v1", "-v"]
    said = subprocess.run(shim, check=True, capture_output=True, text=True, cwd="/").stdout
    assert outputs == ["native\n", "wasm\nexiting\n"]
    assert f"Version:  {runwasi.__version__}\n" in said


def test_the_source_archive_has_what_is_committed() -> None:
    """Only what belongs to the repository itself is left out."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    with tarfile.open(built("sdist")) as archive:
        names = {name.removeprefix(f"{STEM}/") for name in archive.getnames()}
    missing = [name for name in tracked.splitlines() if name not in names and not name.startswith(".")]
    assert missing == []


def test_make_install_works_from_the_source_archive(folder: Path) -> None:
    subprocess.run(["tar", "-xzf", built("sdist"), "-C", folder], check=True)
    source = folder / STEM
    subprocess.run([source / "scripts/install", "add", folder / "prefix"], check=True, capture_output=True)
    command = [f"{folder}/prefix/bin/runwasi", "--version"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said.startswith(f"runwasi version {runwasi.__version__}")
