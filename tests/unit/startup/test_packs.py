"""Packed modules are imported without their files; other modules come from the folder as usual."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from runwasi.startup.packs import prelude

_ROOT = Path(__file__).parents[3]
_PACK = "from runwasi.startup.packs import pack; sys.stdout.buffer.write(pack(['runwasi.oci.state']))"


def _python(code: str, *path: Path) -> bytes:
    folders = [str(folder) for folder in path]
    command = [sys.executable, "-IS", "-c", f"import sys; sys.path += {folders!r}\n{code}"]
    return subprocess.run(command, capture_output=True, check=True, cwd="/").stdout


def _packed(folder: Path) -> str:
    """Make a pack of the state document's modules; returns the prelude that reads it."""
    path = folder / "pack"
    path.write_bytes(_python(_PACK, _ROOT))
    return prelude(str(path), str(_ROOT))


def test_a_packed_module_is_imported_without_its_file(tmp_path: Path) -> None:
    code = "from runwasi.oci.state import State; print(State.__name__, sys.modules['runwasi.oci'].__path__)"
    assert _python(_packed(tmp_path) + code) == f"State ['{_ROOT}/runwasi/oci']\n".encode()


def test_a_module_that_is_not_packed_comes_from_its_folder(tmp_path: Path) -> None:
    code = "from runwasi.oci import image; print(image.__spec__.origin)"
    assert _python(_packed(tmp_path) + code, _ROOT) == f"{_ROOT}/runwasi/oci/image.py\n".encode()


def test_a_traceback_names_the_file_that_was_packed(tmp_path: Path) -> None:
    code = "from runwasi.oci import state; print(state.State.to_json.__code__.co_filename)"
    assert _python(_packed(tmp_path) + code) == f"{_ROOT}/runwasi/oci/state.py\n".encode()


def test_a_program_started_from_a_packed_one_reads_a_pack_beside_it(tmp_path: Path) -> None:
    code = "from runwasi.startup.packs import prelude_of; print(prelude_of('server'), end='')"
    assert _python(_packed(tmp_path) + code).decode() == prelude(f"{tmp_path}/server", str(_ROOT))
    assert _python(code, _ROOT) == b""


def test_a_forgotten_pack_frees_its_memory_and_modules_come_from_their_folder(tmp_path: Path) -> None:
    code = """
import weakref
from runwasi.startup import packs
from runwasi.oci import record
(part,) = map(weakref.ref, record.__spec__.loader._read.values())
packs.forget()
from runwasi.oci import encode
print(part(), encode.__spec__.origin)
"""
    assert _python(_packed(tmp_path) + code, _ROOT) == f"None {_ROOT}/runwasi/oci/encode.py\n".encode()


def test_a_root_may_be_imported_before_those_whose_packages_it_needs(tmp_path: Path) -> None:
    """The package of a module in its part belongs to the part of a root that is packed before it."""
    roots = ["runwasi.executor.limits.limits_v1", "runwasi.executor.child.run_wasm"]
    path = tmp_path / "pack"
    path.write_bytes(
        _python(f"from runwasi.startup.packs import pack; sys.stdout.buffer.write(pack({roots!r}))", _ROOT)
    )
    code = "from runwasi.executor.child import run_wasm; print(run_wasm.LimitsInForce.__module__)"
    assert _python(prelude(str(path), str(_ROOT)) + code) == b"runwasi.executor.limits.limits_in_force\n"
