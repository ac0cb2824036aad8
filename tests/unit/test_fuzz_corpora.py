"""The fuzz targets, without a fuzzer: real inputs, and those that a fuzzer found worth keeping."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz import native_client
from tests.fuzz.harness import CORPUS, Exceeded, check, corpus_of, load, target_names


@pytest.mark.parametrize("name", target_names())
def test_a_target_takes_real_inputs_and_every_kept_one(name: str) -> None:
    target = load(name)
    for seed in target.seeds():
        check(target, seed)
        check(target, seed[: len(seed) // 2])
    for path in corpus_of(name):
        try:
            check(target, path.read_bytes())
        except Exception as error:
            raise AssertionError(f"{path} is a crash of the target {name}") from error


def test_the_native_client_takes_every_kept_input(tmp_path: Path) -> None:
    program = native_client.build_replay(tmp_path)
    for number, seed in enumerate(native_client.seeds()):
        (tmp_path / f"seed-{number}").write_bytes(seed)
    inputs = [*corpus_of(native_client.NAME), *sorted(tmp_path.glob("seed-*"))]
    done = subprocess.run(
        [program, *inputs], env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_every_corpus_is_of_a_target_and_small() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} <= {*target_names(), native_client.NAME}
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 1 << 20


class _Broken:
    """Raises what it allows, what it does not, or never returns, as the input says."""

    ALLOWED: tuple[type[BaseException], ...] = (KeyError,)

    def seeds(self) -> Iterator[bytes]:
        yield b"allowed"

    def run(self, data: bytes) -> None:
        if data == b"allowed":
            raise KeyError
        if data == b"crash":
            raise IndexError
        while data == b"endless":
            pass


def test_an_error_that_a_target_does_not_document_is_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.harness.SECONDS", 0.1)
    check(_Broken(), b"allowed")
    with pytest.raises(IndexError):
        check(_Broken(), b"crash")
    with pytest.raises(Exceeded):
        check(_Broken(), b"endless")
