"""`runwasi image` and `oci-tar-builder`: what they take, and what they say of what they do not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from runwasi.cli import main as cli
from runwasi.cli import oci_tar_builder
from runwasi.images.reader import inspect

CORE = b"\0asm\1\0\0\0"
COMPONENT = b"\0asm\x0d\0\1\0"
NAMED = ("--repo", "localhost:5000/team", "--name", "app", "--tag", "v1")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "app.wasm").write_bytes(CORE)
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/b.wasm").write_bytes(COMPONENT)
    (tmp_path / "parts/a.wasm").write_bytes(COMPONENT + b"\0\1\0")
    (tmp_path / "parts/README").write_text("not wasm")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def titles(archive: str) -> list[str]:
    (image,) = inspect(archive)
    return [layer.title for layer in image.layers]


def test_the_archive_is_called_as_the_image_is(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert oci_tar_builder.main([*NAMED, "-m", "app.wasm"]) == 0
    assert capfd.readouterr().out.startswith("app.tar: localhost:5000/team/app:v1@sha256:")
    assert titles("app.tar") == ["app.wasm"]


def test_an_out_path_may_be_a_folder(here: Path) -> None:
    assert oci_tar_builder.main([*NAMED, "-m", "app.wasm", "-o", "parts"]) == 0
    assert titles("parts/app.tar") == ["app.wasm"]


def test_components_are_taken_in_the_order_of_their_names(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert oci_tar_builder.main([*NAMED, "-c", "parts", "-l", "text/plain=parts/README"]) == 0
    assert titles("app.tar") == ["README", "a.wasm", "b.wasm"]
    assert "README is skipped" in capfd.readouterr().err


def test_as_files_makes_an_ordinary_image(here: Path) -> None:
    assert oci_tar_builder.main([*NAMED, "-m", "app.wasm", "--as-files"]) == 0
    (image,) = inspect("app.tar")
    assert image.platform.startswith("linux/")
    assert [layer.media_type for layer in image.layers] == ["application/vnd.oci.image.layer.v1.tar+gzip"]
    assert sorted(os.listdir(here)) == ["app.tar", "app.wasm", "parts"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "no layers"),
        (("-m", "app.wasm", "-c", "parts"), "exclude each other"),
        (("-l", "app.wasm"), "expected TYPE=FILE"),
        (("-l", "=app.wasm"), "expected TYPE=FILE"),
        (("-m", "absent.wasm"), "absent.wasm: No such file or directory"),
        (("-m", "parts/README"), "parts/README: not WebAssembly"),
        (("-c", "/var/empty-folder-that-is-not"), "No such file or directory"),
        (("--rootfs", "parts", "-m", "app.wasm"), "--rootfs makes an ordinary image"),
        (("--rootfs", "app.wasm"), "app.wasm: not a folder"),
        (("-a", "-m", "app.wasm", "--cmd", "x"), "an artifact has no place for"),
        (("-m", "app.wasm", "-o", "absent/app.tar"), "No such file or directory"),
        (("-m", "app.wasm", "-t", "a b"), "is not a tag"),
        (("-m", "app.wasm", "--cmd", "it's"), "--cmd it's: No closing quotation"),
        (("-m", "app.wasm", "-r", "UPPER"), "is not a repository"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    here: Path, capfd: pytest.CaptureFixture[str], words: tuple[str, ...], why: str
) -> None:
    assert oci_tar_builder.main([*NAMED, *words]) == 1
    error = capfd.readouterr().err
    assert error.startswith("oci-tar-builder: ")
    assert why in error
    assert error.count("\n") == 1
    assert sorted(os.listdir(here)) == ["app.wasm", "parts"]


def test_the_builder_says_which_options_are_missing(capfd: pytest.CaptureFixture[str]) -> None:
    assert oci_tar_builder.main(["--name", "app"]) == 2
    assert capfd.readouterr().err.startswith("oci-tar-builder: missing --repo, --tag (see ")


def test_inspect_writes_a_table_or_json(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["image", "build", *NAMED, "-m", "app.wasm"]) == 0
    capfd.readouterr()
    assert cli.main(["image", "inspect", "app.tar"]) == 0
    assert "Name      localhost:5000/team/app:v1\n" in capfd.readouterr().out
    assert cli.main(["image", "inspect", "app.tar", "--format", "json"]) == 0
    (image,) = json.loads(capfd.readouterr().out)
    assert image["layers"][0]["title"] == "app.wasm"


def test_inspect_refuses_what_is_no_archive(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["image", "inspect", "app.wasm"]) == 1
    assert capfd.readouterr().err.startswith("runwasi: image inspect: app.wasm: not a tar archive")


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("paint",),
        ("inspect",),
        ("inspect", "app.tar", "--format", "xml"),
        ("build", "--tag"),
        ("build", "--name", "app"),
        ("build", *NAMED, "-m", "app.wasm", "app.tar"),
        ("build", *NAMED, "-m", "app.wasm", "--as-artifact", "--as-files"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_one_line(
    words: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["image", *words]) == 1
    error = capfd.readouterr().err
    assert error.startswith("runwasi: ")
    assert error.endswith("(see `runwasi image --help`)\n")
    assert error.count("\n") == 1
