"""Events for the metrics process: a line each, and nobody waits for its reader."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runwasi.executor.telemetry import metric_events


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(metric_events.OVERRIDE, str(tmp_path))
    return tmp_path


def _descriptors() -> list[str]:
    return os.listdir("/proc/self/fd")


def test_without_a_reader_nothing_happens(folder: Path) -> None:
    before = _descriptors()
    metric_events.report("start", "wasm", 0.1)
    os.mkfifo(folder / "events")
    metric_events.report("start", "wasm", 0.1)
    assert _descriptors() == before


def test_a_reader_gets_a_line_for_each_event(folder: Path) -> None:
    os.mkfifo(folder / "events")
    reader = os.open(folder / "events", os.O_RDWR | os.O_NONBLOCK)
    metric_events.report("start", "wasm", 0.1)
    metric_events.report("exit", "wasm", 134)
    assert os.read(reader, 4096) == b"start wasm 0.1\nexit wasm 134\n"
    os.close(reader)


def test_a_reader_that_does_not_read_delays_nobody(folder: Path) -> None:
    os.mkfifo(folder / "events")
    reader = os.open(folder / "events", os.O_RDWR | os.O_NONBLOCK)
    before = _descriptors()
    for number in range(20_000):
        metric_events.report("exit", "native", number)
    assert _descriptors() == before
    os.close(reader)
