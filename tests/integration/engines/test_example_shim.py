"""The example engine's own shim, written as its package's program would be, under containerd."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from devtools.containerd import Containerd
from devtools.engines import engine_host
from tests.integration.conftest import BUSYBOX_IMAGE, DEMO_IMAGE

_PROGRAM = """\
#!{python}
import sys
sys.path[:0] = {paths!r}
from runwasi_pywasm.shim import main
main()
"""


@pytest.fixture
def example_shim(folder: Path) -> str:
    """The program's path, which containerd takes in a runtime name's place."""
    program = folder / "containerd-shim-pywasm-v1"
    program.write_text(_PROGRAM.format(python=sys.executable, paths=engine_host("pywasm").paths))
    program.chmod(0o755)
    return str(program)


def ctr_run(containerd: Containerd, *arguments: str) -> subprocess.CompletedProcess[str]:
    return containerd.ctr("run", "--rm", "--runtime", *arguments, check=False)


def test_wasm_and_native_containers_run(containerd: Containerd, example_shim: str, container_id: str) -> None:
    command = ("/wasi-demo-app.wasm", "echo", "interpreted")
    wasm = ctr_run(containerd, example_shim, DEMO_IMAGE, f"{container_id}-wasm", *command)
    assert (wasm.returncode, wasm.stdout) == (0, "interpreted\nexiting\n"), wasm.stderr
    native = ctr_run(containerd, example_shim, BUSYBOX_IMAGE, f"{container_id}-native", "echo", "native")
    assert (native.returncode, native.stdout) == (0, "native\n"), native.stderr


def test_it_insists_on_the_name_containerd_forms(example_shim: str) -> None:
    text = Path(example_shim).read_text().replace("main()", "")
    text += "from runwasi_pywasm.engine import PywasmEngine; import runwasi.shim\n"
    text += 'runwasi.shim.run("io.containerd.other.v1", PywasmEngine())\n'
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    assert "makes io.containerd.pywasm.v1, not io.containerd.other.v1" in done.stderr
