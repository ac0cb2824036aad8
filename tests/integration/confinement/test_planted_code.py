"""Native code in the process of a wasm container, as after a hole in its engine: its filter lets nothing through."""

from __future__ import annotations

from pathlib import Path

import pytest

from devtools.engines import engine_host
from runwasi.executor.workload.wasm_filter import FILTERS
from tests.integration.conftest import BundleMaker

_ENTRY_POINT = "[runwasi.engines]\nplanted = tests.support.planted_engine:PlantedEngine\n"


@pytest.mark.parametrize("asked", [(), ("no-sockets",)], ids=["sockets", "none"])
@pytest.mark.parametrize("name", [*FILTERS, "any"])
def test_native_code_in_a_wasm_container_gets_nothing_done(
    name: str, asked: tuple[str, ...], bundle: BundleMaker, folder: Path, container_id: str
) -> None:
    package = folder / "packages" / "planted-1.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: planted\nVersion: 1\n")
    (package / "entry_points.txt").write_text(_ENTRY_POINT)
    host = engine_host("wasmtime")
    made = bundle(["/app.wasm", name, *asked], files={"/app.wasm": b"\0asm\1\0\0\0"})
    done = host.runwasi(
        "--root", str(folder / "root"), "run", "--engine", "planted", "--bundle", str(made.path), container_id,
        packages=[package.parent],
    )  # fmt: skip
    assert done.stderr == ""
    assert (done.stdout, done.returncode) == ("tried\n", 0)
