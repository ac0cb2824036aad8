"""A node for the installer: a root filesystem of busybox and containerd, with systemctl played by the test."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from devtools.cluster import Cluster, Program
from devtools.folders import mounts_below, remove_folder
from runwasi.deployment.file_change import BACKUP
from tests.support.roots import busybox_root

DAEMON = "containerd-wasmtimed"
_SYSTEMCTL = """\
#!/bin/sh
if [ "$1" = show ]; then
    cat /run/systemctl/state
    exit
fi
echo "$*" >/run/systemctl/calls
read -r status </run/systemctl/answers
exit "$status"
"""
_END = "end"


class InstallerNode:
    """The cluster's node as the installer finds it.

    prefix    where it is to install: the same path in the node's root and for the containerd outside of it
    calls     what systemctl was called with
    failing   how many restarts of containerd are to fail from now on
    """

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        self.root = busybox_root(folder)
        self.prefix = folder / "prefix/runwasi"
        self.calls: list[str] = []
        self.failing = 0
        self._fifos = self.root / "run/systemctl"
        self._daemon: Program | None = None

    def prepare(self) -> None:
        """Put containerd, its configuration without our runtimes, and systemctl there."""
        for name in (
            "etc/containerd",
            "etc/systemd/system",
            "run/systemd/system",
            "run/systemctl",
            "usr/bin",
        ):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        self.prefix.parent.mkdir()
        subprocess.run(["mount", "--bind", self.root, self.root], check=True)
        subprocess.run(["mount", "--make-rshared", self.root], check=True)  # as systemd makes a node's
        for source in (Path("/proc"), Path("/dev"), self.prefix.parent, self.cluster.containerd.folder):
            target = self.root / str(source).removeprefix("/")
            target.mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", "--bind", source, target], check=True)
        self._put_containerd()
        (self.root / "usr/bin/systemctl").write_text(_SYSTEMCTL)
        (self.root / "usr/bin/systemctl").chmod(0o755)
        for name in ("calls", "answers"):
            os.mkfifo(self._fifos / name)
        self._stop_daemon()

    def _put_containerd(self) -> None:
        containerd = self.cluster.containerd
        program = containerd.host.programs / "containerd"
        shutil.copy(program, self.root / "usr/bin")
        said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        for library in re.findall(r"(/\S+) \(0x", said):
            (self.root / library[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, self.root / library[1:])
        text = (containerd.folder / "config.toml").read_text()
        ours = re.compile(
            r"^ *\[plugins\S*\.runtimes\.wasmtimed?\]\n( +(runtime_type|pod_annotations).*\n)+", re.M
        )
        text, tables = ours.subn("", text)
        assert tables == 2
        containerd.configuration = self.root / "etc/containerd/config.toml"
        containerd.configuration.write_text(text)

    def files(self) -> dict[str, bytes]:
        """All files of the root and below the prefix, but for copies of old ones; and the folders of the prefix."""
        found: dict[str, bytes] = {}
        others = set(mounts_below(self.root))
        for top in (self.root, self.prefix.parent):
            for folder, folders, names in os.walk(top):
                folders[:] = [name for name in folders if f"{folder}/{name}" not in others]
                paths = [Path(folder, name) for name in names]
                plain = [path for path in paths if path.is_file() and not path.is_symlink()]
                found |= {str(path): path.read_bytes() for path in plain if not path.name.endswith(BACKUP)}
                if top != self.root:
                    found[folder] = b""
        return found

    @contextlib.contextmanager
    def systemd(self) -> Iterator[None]:
        """Answer systemctl until the end of the block."""
        thread = threading.Thread(target=self._answer)
        thread.start()
        try:
            yield
        finally:
            (self._fifos / "calls").write_text(f"{_END}\n")
            thread.join()
            self._stop_daemon()

    def _answer(self) -> None:
        while (call := (self._fifos / "calls").read_text().strip()) != _END:
            self.calls.append(call)
            (self._fifos / "answers").write_text(f"{self._do(call)}\n")

    def _do(self, call: str) -> int:
        if call == "restart containerd":
            if self.failing:
                self.failing -= 1
                return 1
            self.cluster.containerd.stop()
            self.cluster.containerd.start()
        elif call.startswith("enable --now") and self._daemon is None:
            socket = os.environ["RUNWASI_DAEMON_SOCKET"]
            program = self.prefix / "bin" / DAEMON
            self._daemon = Program(self.cluster.folder, program, "-address", socket, ready=True)
            self._daemon.start()
            (self._fifos / "state").write_text("active\n")
        elif call.startswith("stop"):
            self._stop_daemon()
        return 0

    def _stop_daemon(self) -> None:
        if self._daemon is not None:
            self._daemon.stop()
            self._daemon = None
        (self._fifos / "state").write_text("inactive\n")
        (self.root / f"run/systemd/system/{DAEMON}.service").unlink(
            missing_ok=True
        )  # as the unit does in the end

    def remove(self) -> None:
        """Remove its root, and give containerd back the configuration that it had."""
        self.cluster.containerd.configuration = None
        remove_folder(self.folder)
