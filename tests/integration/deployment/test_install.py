"""`make install` and `make uninstall`: an environment and launchers that need nothing else of the machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.places import ROOT
from scripts import launchers
from tests.integration.conftest import BundleMaker

_BARE = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}


@pytest.fixture(scope="module")
def prefix(session_folder: Path) -> Iterator[Path]:
    """A prefix with everything installed, and removed at the end."""
    prefix = session_folder / "prefix"
    (prefix / "bin").mkdir(parents=True)
    said = _install("add", prefix)
    assert said == f"installed in {prefix}/bin; `runwasi doctor` says what this node has and lacks\n"
    yield prefix
    _install("remove", prefix)
    assert [path for path in prefix.rglob("*") if not path.is_dir()] == []


def _install(action: str, prefix: Path) -> str:
    """Return what it says, all of it."""
    done = subprocess.run(
        [ROOT / "scripts/install", action, prefix],
        check=True,
        timeout=300,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.stdout


def _version(prefix: Path) -> Path:
    """The folder of the only version."""
    (version,) = (path for path in (prefix / "lib/runwasi").iterdir() if path.is_dir())
    return version


def _run(prefix: Path, program: str, *arguments: str) -> str:
    done = subprocess.run(
        [prefix / "bin" / program, *arguments], env=_BARE, cwd="/", capture_output=True, text=True, check=True
    )
    return done.stdout


def test_every_program_starts_without_the_work_tree(prefix: Path) -> None:
    assert "runwasi" in _run(prefix, "runwasi", "--version")
    assert "Version:" in _run(prefix, "containerd-shim-wasmtime-v1", "-v")
    assert "oci-tar-builder" in _run(prefix, "oci-tar-builder", "--help")
    names = {path.name for path in (prefix / "bin").iterdir()}
    assert {"containerd-shim-wasmtime-v1", "containerd-shim-wasmtimed-v1", "containerd-wasmtimed"} <= names


def test_the_manual_and_the_completions_are_installed(prefix: Path) -> None:
    assert (prefix / "share/man/man1/runwasi.1").read_text().startswith(".TH RUNWASI 1")
    program = f"source {prefix}/share/bash-completion/completions/runwasi; complete -p runwasi"
    done = subprocess.run(["bash", "-ec", program], env=_BARE, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("-F _runwasi runwasi\n")


def test_nothing_of_the_work_tree_is_imported(prefix: Path) -> None:
    folder = str(_version(prefix) / "site-packages")
    for program in [*(prefix / "bin").iterdir(), *(_version(prefix) / "launchers").iterdir()]:
        content = program.read_bytes()
        assert str(ROOT).encode() not in content
        assert folder.encode() in content or content.startswith(b"\x7fELF")


def test_a_shim_is_native_and_has_a_launcher_to_go_back_to(prefix: Path) -> None:
    name = "containerd-shim-wasmtime-v1"
    assert (prefix / "bin" / name).read_bytes().startswith(b"\x7fELF")
    native = _run(prefix, f"{_version(prefix)}/launchers/{name}", "-v")
    assert _run(prefix, name, "-v") == native


def test_without_a_compiler_the_shims_are_python_programs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert not launchers.compile_client(str(folder / "client"))
    launchers.write(str(folder / "bin"), "/usr/bin/python3", ["/lib"])
    assert "shim.client.python_client" in (folder / "bin/containerd-shim-wasmtime-v1").read_text()
    launchers.remove(str(folder / "bin"))
    assert not list((folder / "bin").iterdir())


def test_an_installed_runwasi_runs_a_native_and_a_wasm_container(
    prefix: Path, bundle: BundleMaker, folder: Path, container_id: str, wasi_demo_app: bytes
) -> None:
    root = str(folder / "root")
    native = bundle(["echo", "native"])
    wasm = bundle(["/app.wasm", "echo", "wasm"], files={"/app.wasm": wasi_demo_app})
    run = ("--root", root, "run", "--bundle")
    assert _run(prefix, "runwasi", *run, str(native.path), container_id) == "native\n"
    assert _run(prefix, "runwasi", *run, str(wasm.path), container_id) == "wasm\nexiting\n"


def test_bytecode_is_there_and_is_not_checked_at_each_start(prefix: Path) -> None:
    package = _version(prefix) / "site-packages/runwasi"
    sources = list(package.rglob("*.py"))
    for source in sources:
        (compiled,) = (source.parent / "__pycache__").glob(f"{source.stem}.cpython-*.pyc")
        # PEP 552: the flags after the magic number; 1 is "by hash", and 2 would be "to be checked"
        assert int.from_bytes(compiled.read_bytes()[4:8], "little") == 1


def test_a_container_start_reads_modules_from_packs_only(
    prefix: Path, bundle: BundleMaker, folder: Path, container_id: str
) -> None:
    trace = folder / "trace"
    strace = ("strace", "-f", "-e", "openat", "-o", trace)
    run = ("--root", folder / "root", "run", "--bundle", bundle(["true"]).path, container_id)
    subprocess.run([*strace, prefix / "bin/runwasi", *run], env=_BARE, check=True)
    opened = trace.read_text()
    assert f"{_version(prefix)}/bytecode/cli" in opened
    assert "site-packages/runwasi/" not in opened


def test_nobody_but_root_may_write_what_is_installed(prefix: Path) -> None:
    for path in [prefix / "lib/runwasi", *(prefix / "lib/runwasi").rglob("*"), *(prefix / "bin").iterdir()]:
        status = path.lstat()
        assert status.st_uid == os.geteuid()
        assert not status.st_mode & 0o022 or path.is_symlink()


def test_the_same_content_is_installed_once(prefix: Path) -> None:
    before = _version(prefix).stat()
    _install("add", prefix)
    assert os.path.samestat(_version(prefix).stat(), before)


def test_a_version_that_is_not_as_it_was_installed_is_replaced(prefix: Path) -> None:
    (_version(prefix) / "site-packages/stale.py").touch()
    _install("add", prefix)
    assert not (_version(prefix) / "site-packages/stale.py").exists()
    assert "runwasi" in _run(prefix, "runwasi", "--version")


def test_uninstall_leaves_a_program_that_is_not_ours(prefix: Path, folder: Path) -> None:
    (folder / "bin").mkdir()
    (folder / "bin/runwasi").write_text("#!/bin/sh\n")
    _install("remove", folder)
    assert (folder / "bin/runwasi").exists()


def test_the_lock_of_an_installed_program_is_not_taken_for_a_descriptor_of_the_caller(
    prefix: Path, bundle: BundleMaker, folder: Path, container_id: str
) -> None:
    run = ["--root", f"{folder}/root", "run", "--bundle", str(bundle(["true"]).path), "--preserve-fds", "1"]
    command = [str(prefix / "bin/runwasi"), *run, container_id]
    refused = subprocess.run(command, env=_BARE, capture_output=True, text=True, check=False)
    assert "unable to stat preserved-fd 0 (of 1): not open" in refused.stderr


def test_the_lock_of_an_installed_program_does_not_become_a_closed_standard_stream(
    prefix: Path, bundle: BundleMaker, folder: Path, container_id: str
) -> None:
    run = ["--root", f"{folder}/root", "run", "--bundle", str(bundle(["readlink", "/proc/self/fd/0"]).path)]
    command = ["sh", "-c", 'exec "$@" <&-', "sh", str(prefix / "bin/runwasi"), *run, container_id]
    done = subprocess.run(command, env=_BARE, capture_output=True, text=True, check=True)
    assert done.stdout == "/dev/null\n"


def test_a_package_is_made_below_another_root(folder: Path) -> None:
    prefix = folder / "destination/opt/runwasi"
    for action in ("add", "remove"):
        command = [str(ROOT / "scripts/install"), action, "/opt/runwasi"]
        subprocess.run(
            command, env={**os.environ, "DESTDIR": str(folder / "destination")}, check=True, timeout=300
        )
        if action == "add":
            version = _version(prefix)
            assert f"/opt/runwasi/lib/runwasi/{version.name}/bytecode" in (prefix / "bin/runwasi").read_text()
            assert str(folder) not in (prefix / "bin/runwasi").read_text()
    assert [path for path in prefix.rglob("*") if not path.is_dir()] == []
