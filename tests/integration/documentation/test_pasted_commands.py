"""The command blocks of the README and the how-tos work as a reader would paste them, page by page.

A block is fenced: `sh` for commands alone, `console` for commands after "$ " with what they print. Every block runs,
unless NOT_RUN has a reason; what is printed is compared, unless it has figures. A page's blocks run in order in one
folder, where build/ and the like are the work tree's; `sudo`, `make` and `runwasi` are wrapped, and ctr's containerd
is a private one that has the demo's images.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from devtools.bundle import make_bundle
from devtools.containerd import HOSTS, Containerd, running_containerd
from devtools.daemon import Daemon
from devtools.places import BIN, ROOT
from tests.support.container_engines import podman

PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("packaging/**/*.md")])

NOT_RUN = {
    r"\b(?:IMAGE|ID|NODE|FILE|VERSION)\b": "names what only the reader has",
    r"\bkubectl\b|\bkind create\b": "needs a cluster: tests/kubernetes applies the manifests to one",
    r"\bsystemctl\b": "needs systemd: tests/vm/systemd has it",
    r"\bmake soak\b": "takes minutes, and ends when it is told",
    r"\bmake demo\b": "`make test-debian13` runs it, in a root of its own",
    r"\bmake (?:un)?install\b": "writes to /usr/local: test_upgrade.py installs under another prefix",
    r"\bdocker\b": "the shim needs a Docker of 23 or newer; test_docker_podman.py has Debian 12's and its own daemon",
    r"\b(?:un)?install\b.*--write": "writes to /etc: test_install.py has a folder that stands for it",
    r"--runtime runwasi\b": "after `runwasi install podman`; the block with the runtime's path does the same",
    r"\bpip install\b": "changes the environment, and `runwasi metrics` never ends: test_cli_metrics.py",
    r"\bcheckpoint\b": "criu does not know every kernel: tests/vm/checkpoint",
    r"\bcurl\b": "listens on a port of the host: test_wasi_http.py",
}
NOT_COMPARED = {
    r"\brunwasi top\b|--timing\b": "prints figures",
}

_BLOCK = re.compile(r"^```(sh|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """One fenced block: the script, and for each of its commands with a prompt what it prints."""

    script: str
    shown: str | None

    @property
    def reason(self) -> str | None:
        """Why it is not run, or None."""
        return next((why for pattern, why in NOT_RUN.items() if re.search(pattern, self.script)), None)


def blocks_of(page: Path) -> list[Block]:
    """Return the command blocks of a page, in order."""
    return [
        Block(text, None) if form == "sh" else Block(*_transcript(text))
        for form, text in _BLOCK.findall(page.read_text())
    ]


def _transcript(text: str) -> tuple[str, str]:
    commands, shown = [], []
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith("$ "):
            commands.append(line[2:])
            while commands[-1].endswith("\\"):
                commands[-1] = f"{commands[-1][:-1]} {next(lines).strip()}"
        elif line:
            shown.append(line)
    return "\n".join(commands), "\n".join(shown)


@pytest.fixture(scope="module")
def reader(
    session_name: str, session_folder: Path, demo_image: Path, busybox_image: Path
) -> Iterator[Containerd]:
    """A containerd that takes images of layers, with the demo's images."""
    folder = session_folder / "reader"
    with pytest.MonkeyPatch.context() as environment:
        daemon = Daemon(folder / "daemon")
        environment.setenv("RUNWASI_DAEMON_SOCKET", str(daemon.path))
        try:
            with running_containerd(
                folder, HOSTS["2"], namespace=session_name, images=[demo_image, busybox_image]
            ) as containerd:
                yield containerd
        finally:
            daemon.stop()


@pytest.fixture
def environment(reader: Containerd, folder: Path, session_name: str) -> Iterator[dict[str, str]]:
    """The environment of a reader's shell: wrappers for what would touch the machine, then the programs."""
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    with podman(folder, "runwasi") as engine:
        words = " ".join(map(str, engine.command()[:7]))
        built = " ".join(
            f"--old-file={name}" for name in (".venv/ready", "build/bin", "build/wasi-demo-app.wasm")
        )
        _wrapper(bin_folder / "sudo", 'exec "$@"')
        _wrapper(bin_folder / "make", f'unset MAKEFLAGS; exec /usr/bin/make -C {ROOT} {built} "$@"')
        _wrapper(bin_folder / "podman", f'PATH=/usr/sbin:/usr/bin:/sbin:/bin exec {words} "$@"')
        # One session's containers must not meet another's: a state root and cgroups of its own.
        _wrapper(
            bin_folder / "runwasi",
            f'[ "$1" != run ] || set -- "${{@:1:$#-1}}" "{session_name}-${{@: -1}}"',
            f'exec {BIN}/runwasi --root {folder}/root "$@"',
        )
        yield (
            engine.environment
            | reader.environment()
            | {
                "PATH": f"{bin_folder}:{reader.environment()['PATH']}",
                "CONTAINERD_ADDRESS": str(reader.address),
                "CONTAINERD_NAMESPACE": reader.namespace,
            }
        )


def _wrapper(path: Path, *lines: str) -> None:
    path.write_text("\n".join(["#!/bin/bash", *lines, ""]))
    path.chmod(0o755)


@pytest.fixture
def desk(folder: Path, wasi_demo_app: bytes) -> Path:
    """The folder in which a reader types: the work tree's files, and what the pages suppose the reader to have."""
    desk = folder / "desk"
    (desk / "components").mkdir(parents=True)
    (desk / "rootfs/bin").mkdir(parents=True)
    for name in ("build", "dist", "packaging", "examples"):
        (desk / name).symlink_to(ROOT / name)
    for name in ("app.wasm", "plugin.wasm", "components/part.wasm"):
        (desk / name).write_bytes(wasi_demo_app)
    (desk / "NOTICE").write_text("nothing\n")
    (desk / "rootfs/bin/app").write_text("#!/bin/sh\n")
    return desk


RUN = [page for page in PAGES if any(block.reason is None for block in blocks_of(page))]


@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_work(page: Path, desk: Path, environment: dict[str, str]) -> None:
    if page.name == "observing.md":
        make_bundle(desk / "hello", ["true"])
    for block in blocks_of(page):
        if block.reason is None:
            _paste(block, desk, environment)


def _paste(block: Block, desk: Path, environment: dict[str, str]) -> None:
    script = block.script
    for written, meant in {
        "/usr/local/bin/runwasi": f"{BIN}/runwasi",
        "file:///tmp/": f"file://{desk}/",
        "run --rm localhost/": "run --rm --network none localhost/",  # Podman's own network changes the host
    }.items():
        script = script.replace(written, meant)
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=desk,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    if block.shown is not None and not any(re.search(pattern, script) for pattern in NOT_COMPARED):
        assert done.stdout == f"{block.shown}\n", script


def test_every_reason_not_to_run_a_block_is_still_needed() -> None:
    scripts = [block.script for page in PAGES for block in blocks_of(page)]
    unused = [pattern for pattern in NOT_RUN if not any(re.search(pattern, script) for script in scripts)]
    assert unused == []
    assert len(RUN) > 8
