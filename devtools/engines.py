"""Runs each engine with what it needs: installed beside the work tree, in a process as a container's would be."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import json
import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from devtools.pip import PIP_INSTALL
from devtools.places import CACHE, ROOT
from devtools.syscall_traces import traced

BUILT_IN = ("wasmtime", "wasmedge", "wasmer")
ALL = (*BUILT_IN, "pywasm")
EXAMPLE = ROOT / "examples" / "runwasi-pywasm"

Completed = subprocess.CompletedProcess[str]


class EngineHost:
    """An engine and the interpreter that can load it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.python = _python_for(name)
        self.paths = [str(path) for path in (ROOT, sysconfig.get_path("platlib"), *_packages_for(name))]
        python_path = {"PYTHONPATH": ":".join(self.paths), "PYTHONDONTWRITEBYTECODE": "1"}
        self.environment = {**os.environ, **python_path}

    def run(self, module: Path, *args: str, stdin: str = "", **job: object) -> Completed:
        """Run a module to its end. `job` is what devtools.engine_host takes."""
        return subprocess.run(
            [*traced(), *self._command(module, args, job)],
            check=False,
            input=stdin,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def runwasi(self, *arguments: str, packages: Sequence[Path] = ()) -> Completed:
        """Run our command line in the interpreter that has this engine, and the packages in these folders."""
        program = "import sys; from runwasi.cli.main import main; sys.exit(main())"
        command = [*self.python, "-c", program, *arguments]
        return subprocess.run(
            command,
            env={**self.environment, "PYTHONPATH": ":".join((*self.paths, *map(str, packages)))},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @contextmanager
    def running_as_pid_1(self, module: Path, *args: str, **job: object) -> Iterator[PidOne]:
        """Run a module as the first process of a pid namespace; it has said "ready" when the block begins."""
        command = ["unshare", "--pid", "--fork", "--kill-child", *self._command(module, args, job)]
        process = subprocess.Popen(
            command, env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdin
        assert process.stdout
        try:
            assert process.stdout.readline() == "ready\n"
            yield PidOne(process)
        finally:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()

    def _command(self, module: Path, args: Sequence[str], job: Mapping[str, object]) -> list[str]:
        described = {"engine": self.name, "module": str(module), "args": [str(module), *args], **job}
        return [*self.python, "-m", "devtools.engine_host", json.dumps(described)]


class PidOne:
    """A module that is process 1 of its namespace."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def end_by(self, number: signal.Signals, within: float) -> int:
        """Send it a signal and return its exit status. Raises TimeoutExpired."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        os.kill(int(children.split()[0]), number)
        return self._process.wait(within)


@functools.cache
def engine_host(name: str) -> EngineHost:
    """The engine of this name, its library installed if need be."""
    return EngineHost(name)


def _python_for(engine: str) -> list[str]:
    """WasmEdge is in Debian 13; its library runs on older systems together with the C library it was built for."""
    if engine != "wasmedge" or _loads("libwasmedge.so.0"):
        return [sys.executable]
    release = CACHE / "libwasmedge-trixie"
    if not release.exists():
        script = ROOT / "scripts" / "debian-package"
        subprocess.run([script, "trixie", "libwasmedge0", release, "--with-dependencies"], check=True)
    (loader,) = release.glob("usr/lib/*/ld-linux-*.so.*")
    return [str(loader), "--library-path", str(loader.parent), os.path.realpath(sys.executable)]


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _packages_for(engine: str) -> list[Path]:
    if engine == "wasmer":
        return [python_package("wasmer-sdk==0.5.0")]
    if engine == "pywasm":
        return [python_package("pywasm==2.2.3"), _installed_example()]
    return []


def python_package(requirement: str) -> Path:
    """The folder of a package from PyPI, without its dependencies; downloaded once, kept out of the environment."""
    return _installed(requirement, CACHE / "pypi" / requirement)


def _installed_example() -> Path:
    """The example engine as users get it, with the metadata by which it is found; anew when it has changed."""
    content = hashlib.sha256()
    for file in sorted(EXAMPLE.rglob("*")):
        if file.suffix in (".py", ".toml", ".md"):
            content.update(file.read_bytes())
    return _installed(str(EXAMPLE), CACHE / "examples" / content.hexdigest())


def _installed(what: str, folder: Path) -> Path:
    if not folder.exists():
        partial = folder.with_name(f"{folder.name}.{os.getpid()}")
        subprocess.run([*PIP_INSTALL, "--no-deps", "--target", partial, what], check=True)
        partial.rename(folder)
    return folder
