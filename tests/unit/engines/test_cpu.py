"""Features of the CPU, which decide whether compiled code can be taken from the cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from runwasi.engines.cpu import features


def cpuinfo(folder: Path, text: str) -> str:
    path = folder / "cpuinfo"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("field", ["flags\t\t", "Features\t"])
def test_another_feature_is_another_digest_and_another_order_is_not(tmp_path: Path, field: str) -> None:
    one = features(cpuinfo(tmp_path, f"processor\t: 0\n{field}: sse avx\n"))
    assert one == features(cpuinfo(tmp_path, f"processor\t: 0\n{field}: avx sse\n"))
    assert one != features(cpuinfo(tmp_path, f"processor\t: 0\n{field}: avx sse avx_vnni\n"))


def test_only_the_first_cpu_counts(tmp_path: Path) -> None:
    first = "processor\t: 0\nflags\t: avx\n\n"
    assert features(cpuinfo(tmp_path, first)) == features(
        cpuinfo(tmp_path, f"{first}processor\t: 1\nflags\t: sse\n")
    )


def test_a_machine_that_tells_nothing_is_unknown(tmp_path: Path) -> None:
    assert features(str(tmp_path / "missing")) == "unknown"
    assert features(cpuinfo(tmp_path, "")) == "unknown"


def test_this_machine_tells_its_features() -> None:
    assert len(features()) == 16
