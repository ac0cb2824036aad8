"""Checkpoint and restore by the command line: criu needs a kernel it knows, which the virtual machine has."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from devtools.bundle import Bundle, make_bundle
from devtools.waiting import until
from tests.support.cgroups import cgroups_of
from tests.support.detached import Detached, wait_for_exit
from tests.support.runtime import Runtime

MIB = 1 << 20
COUNT = "i=0; while :; do i=$((i+1)); echo $i >>/count; sleep 0.1; done"

# The first process of a pid namespace: it leaves no zombies, whose session would keep the pid of what was saved.
REAPING = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN); print(flush=True); signal.pause()"


class Counter(Detached):
    """A container whose program counts into a file of its root."""

    def numbers(self) -> list[int]:
        """The numbers counted so far; the last line may be incomplete."""
        try:
            return [int(line) for line in (self.bundle.rootfs / "count").read_text().split()]
        except FileNotFoundError:
            return []

    def counts(self) -> int:
        """Wait until it has counted further, and return how far."""
        now = len(self.numbers())
        return len(until(self.numbers, lambda numbers: len(numbers) > now))

    def checkpoint(self, *options: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Save it, from the bundle's folder."""
        return self.runtime("checkpoint", *options, self.id, cwd=self.bundle.path, check=check)

    def restore(self, *options: str | Path) -> None:
        """Bring it back, detached, from the bundle's folder."""
        self._make("restore", "--detach", *map(str, options))

    def _make(self, *words: str, stdin: int = subprocess.DEVNULL, pass_fds: tuple[int, ...] = ()) -> None:
        # Its streams are /dev/null: runc cannot save a container whose streams are files of the host.
        command = self.runtime.command(*words, "--bundle", str(self.bundle.path), self.id)
        done = subprocess.run(
            command,
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if words[0] == "restore" else subprocess.DEVNULL,
            pass_fds=pass_fds,
            cwd=self.bundle.path,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (done.stderr or b"").decode()

    def delete(self) -> None:
        """Delete it, running or not."""
        self.runtime("delete", "--force", self.id)


@pytest.fixture(params=["runwasi", "runc"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runtime]:
    runtime = Runtime(request.param, tmp_path / "root")
    yield runtime
    runtime.clean()


@pytest.fixture
def runwasi(tmp_path: Path) -> Iterator[Runtime]:
    runtime = Runtime("runwasi", tmp_path / "root")
    yield runtime
    runtime.clean()


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Bundle]:
    """Make a bundle: made(arguments, mounts=[...], memory={...})."""

    def make(
        arguments: Sequence[str] = ("sh", "-c", COUNT),
        *,
        mounts: Sequence[Mapping[str, Any]] = (),
        namespaces: Sequence[Mapping[str, Any]] = (),
        **resources: Any,
    ) -> Bundle:
        bundle = make_bundle(tmp_path / "bundle", arguments)
        bundle.config["mounts"] += mounts
        given = {namespace["type"] for namespace in namespaces}
        others = [each for each in bundle.linux["namespaces"] if each["type"] not in given]
        bundle.linux["namespaces"] = [*others, *namespaces]
        bundle.linux["resources"].update(resources)
        return bundle.write()

    return make


def bind(source: Path, destination: str, *options: str) -> dict[str, Any]:
    return {
        "destination": destination,
        "type": "bind",
        "source": str(source),
        "options": ["rbind", *options],
    }


def test_a_container_counts_on_where_it_was(
    either: Runtime, made: Callable[..., Bundle], container_id: str, tmp_path: Path
) -> None:
    counter = Counter(either, made(), container_id)
    counter.run()
    counter.counts()
    counter.checkpoint()
    assert (counter.bundle.path / "checkpoint/inventory.img").exists()
    assert not (either.root / container_id).exists()
    assert not Path(f"/sys/fs/cgroup/{container_id}").exists()
    counter.restore("--pid-file", tmp_path / "pid")
    state = either.state(container_id)
    pid = int((tmp_path / "pid").read_text())
    assert (state["status"], state["pid"]) == ("running", pid)
    assert cgroups_of(pid) == [f"0::/{container_id}"]
    seen = counter.counts()
    assert counter.numbers() == list(range(1, seen + 1))
    either("kill", container_id, "KILL")
    wait_for_exit(pid)
    either("delete", container_id)
    assert not Path(f"/sys/fs/cgroup/{container_id}").exists()


def test_mounts_limits_and_namespaces_are_those_of_the_bundle(
    runwasi: Runtime, made: Callable[..., Bundle], container_id: str, tmp_path: Path
) -> None:
    for name, content in (("old", "before"), ("new", "after")):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "file").write_text(content)
    mounts = [
        bind(tmp_path / "old", "/shared"),
        bind(tmp_path / "old/file", "/etc/file", "ro"),
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw"]},
    ]
    bundle = made(
        ("sh", "-c", f"mkdir /sys/fs/cgroup/below; sleep 1000 & {COUNT}"),
        mounts=mounts,
        namespaces=[{"type": "cgroup"}],
        memory={"limit": 64 * MIB},
        pids={"limit": 20},
    )
    counter = Counter(runwasi, bundle, container_id)
    counter.run()
    counter.counts()
    beside = runwasi.command("exec", "--detach", container_id, "sleep", "1000")  # not of its tree: not saved
    subprocess.run(
        beside, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    counter.checkpoint("--image-path", tmp_path / "image", "--work-path", tmp_path / "work")
    assert (tmp_path / "work/dump.log").exists()

    for mount, source in zip(bundle.config["mounts"][-3:], ("new", "new/file"), strict=False):
        mount["source"] = str(tmp_path / source)
    bundle.linux["resources"]["memory"]["limit"] = 48 * MIB
    told = tmp_path / "told"
    bundle.config["hooks"] = {
        "createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", f"cat >{told}"]}],
    }
    bundle.write()
    counter.restore("--image-path", tmp_path / "image", "--work-path", tmp_path / "work")
    counter.counts()
    cgroup = Path(f"/sys/fs/cgroup/{container_id}")
    assert (cgroup / "memory.max").read_text() == f"{48 * MIB}\n"
    assert (cgroup / "pids.max").read_text() == "20\n"
    state = json.loads(told.read_text())
    assert (state["id"], state["status"]) == (container_id, "created")
    assert str(state["pid"]) in (cgroup / "cgroup.procs").read_text().split()
    shown = runwasi(
        "exec",
        container_id,
        *(
            "sh",
            "-c",
            "cat /shared/file /etc/file /proc/self/cgroup; hostname; ifconfig lo; ps; ls /sys/fs/cgroup",
        ),
    ).stdout
    assert shown.startswith("afterafter0::/\nbundle\n")
    assert "UP LOOPBACK" in shown
    assert "below" in shown
    assert sum(line.endswith(" sleep 1000") for line in shown.splitlines()) == 1
    counter.delete()
    assert not cgroup.exists()


def test_a_container_runs_on_through_pre_dumps_until_the_last_checkpoint(
    runwasi: Runtime, made: Callable[..., Bundle], container_id: str, tmp_path: Path
) -> None:
    counter = Counter(runwasi, made(), container_id)
    counter.run()
    counter.counts()
    before = runwasi.state(container_id)
    counter.checkpoint("--pre-dump", "--image-path", tmp_path / "first")
    counter.checkpoint("--leave-running", "--image-path", tmp_path / "second", "--parent-path", "../first")
    assert (tmp_path / "second/parent").readlink() == Path("../first")
    assert runwasi.state(container_id) == before
    counter.counts()
    runwasi("pause", container_id)
    counter.checkpoint("--leave-running", "--parent-path", "../../second")
    assert runwasi.state(container_id) == {**before, "status": "paused"}
    counter.delete()
    counter.restore()
    assert counter.status == "running"  # as with runc: frozen is the cgroup, not what it holds
    seen = counter.counts()
    assert counter.numbers() == list(range(1, seen + 1))
    runwasi("pause", container_id)
    runwasi("resume", container_id)
    counter.counts()


def test_joined_namespaces_are_joined_again(
    runwasi: Runtime, made: Callable[..., Bundle], container_id: str
) -> None:
    unshare = ("unshare", "--net", "--ipc", "--uts", "--pid", "--fork", "--kill-child")
    holder = subprocess.Popen([*unshare, sys.executable, "-c", REAPING], stdout=subprocess.PIPE)
    assert holder.stdout
    holder.stdout.readline()
    try:
        (child,) = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()
        kinds = {"network": "net", "ipc": "ipc", "uts": "uts", "pid": "pid"}
        joined = [{"type": kind, "path": f"/proc/{child}/ns/{name}"} for kind, name in kinds.items()]
        bundle = made(namespaces=joined)
        del bundle.config["hostname"]
        counter = Counter(runwasi, bundle.write(), container_id)
        counter.run()
        counter.counts()
        counter.checkpoint()
        counter.restore()
        counter.counts()
        pid = counter.pid
        for name in kinds.values():
            assert os.readlink(f"/proc/{pid}/ns/{name}") == os.readlink(f"/proc/{child}/ns/{name}")
        counter.delete()
    finally:
        holder.kill()
        holder.wait()


def test_a_user_namespace_is_restored_with_its_ids(
    runwasi: Runtime, made: Callable[..., Bundle], container_id: str, tmp_path: Path
) -> None:
    bundle = made(namespaces=[{"type": "user"}])
    ids = {"containerID": 0, "hostID": 100_000, "size": 65_536}
    bundle.linux.update(uidMappings=[ids], gidMappings=[ids])
    for path in (bundle.rootfs, *bundle.rootfs.rglob("*")):
        os.lchown(path, 100_000, 100_000)
    for folder in (tmp_path, *tmp_path.parents):
        folder.chmod(folder.stat().st_mode | 0o011)
    counter = Counter(runwasi, bundle.write(), container_id)
    counter.run()
    counter.counts()
    counter.checkpoint()
    counter.restore()
    counter.counts()
    assert Path(f"/proc/{counter.pid}/uid_map").read_text().split() == ["0", "100000", "65536"]
    assert runwasi("exec", container_id, "id", "-u").stdout == "0\n"


def test_a_foreground_restore_has_our_streams_and_returns_the_programs_status(
    runwasi: Runtime, made: Callable[..., Bundle], container_id: str, tmp_path: Path
) -> None:
    program = (
        "trap 'exit 9' TERM; echo first; echo bad >&2; read line; echo got $line; while :; do sleep 0.1; done"
    )
    counter = Counter(runwasi, made(("sh", "-c", program)), container_id)
    with (tmp_path / "out").open("wb") as out:  # a file, a pipe and a device: each kind of stream
        command = runwasi.command("run", "--bundle", str(counter.bundle.path), container_id)
        first = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.DEVNULL, cwd="/"
        )
    until((tmp_path / "out").read_text, lambda text: text == "first\n")
    counter.checkpoint()
    assert first.wait(timeout=30) == 137
    command = runwasi.command("restore", container_id)
    second = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=counter.bundle.path,
    )
    assert second.stdin
    assert second.stdout
    second.stdin.write(b"word\n")
    second.stdin.flush()
    assert second.stdout.readline() == b"got word\n"
    second.terminate()
    output, errors = second.communicate(timeout=30)
    assert (second.returncode, output, errors) == (9, b"", b"")
    assert not (runwasi.root / container_id).exists()


def test_a_terminal_is_sent_to_the_console_socket_again(
    runwasi: Runtime, made: Callable[..., Bundle], container_id: str, tmp_path: Path
) -> None:
    bundle = made(("sh", "-c", "while read line; do echo got $line; done"))
    bundle.process["terminal"] = True
    counter = Counter(runwasi, bundle.write(), container_id)
    for make, word in ((counter.run, b"one"), (counter.restore, b"two")):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / word.decode()))
            listener.listen()
            make("--console-socket", str(tmp_path / word.decode()))
            connection, _ = listener.accept()
            with connection:
                _, (master,), _, _ = socket.recv_fds(connection, 4096, 1)
        os.write(master, word + b"\n")
        shown = b""
        while b"got " + word not in shown:
            shown += os.read(master, 4096)
        if make == counter.run:
            counter.checkpoint()
        os.close(master)


def test_connections_and_locks_are_saved_when_asked(
    runwasi: Runtime, made: Callable[..., Bundle], container_id: str
) -> None:
    count = COUNT.replace(">>/count", "")
    say = f"while sleep 0.1; do ({count}) | nc 127.0.0.1 7; done"
    talk = f"sleep 1000 | nc -l -p 7 >/heard & ({say}) & /usr/bin/flock /lock sleep 1000"
    bundle = made(("sh", "-c", talk), mounts=[bind(Path("/usr"), "/usr", "ro")])
    for folder in ("lib", "lib64"):
        (bundle.rootfs / folder).symlink_to(f"usr/{folder}")
    counter = Counter(runwasi, bundle, container_id)
    counter.run()

    def heard() -> list[str]:
        path = counter.bundle.rootfs / "heard"
        return path.read_text().split() if path.exists() else []

    until(heard, len)
    for options, reason in ((("--file-locks",), "tcp-established"), (("--tcp-established",), "file-locks")):
        refused = counter.checkpoint(*options, check=False)
        assert refused.returncode == 1
        assert reason in refused.stderr
        assert counter.status == "running"
    now = len(heard())
    until(heard, lambda numbers: len(numbers) > now)
    counter.checkpoint("--file-locks", "--tcp-established")
    now = len(heard())
    counter.restore("--file-locks", "--tcp-established")
    numbers = until(heard, lambda numbers: len(numbers) > now)
    assert numbers == [str(number) for number in range(1, len(numbers) + 1)]
    counter.delete()


def test_memory_can_follow_when_it_is_touched(
    runwasi: Runtime, made: Callable[..., Bundle], container_id: str, tmp_path: Path
) -> None:
    counter = Counter(runwasi, made(), container_id)
    counter.run()
    counter.counts()
    ready, told = os.pipe()
    places = ("--image-path", str(tmp_path / "image"), "--work-path", str(tmp_path / "work"))
    serving = subprocess.Popen(
        runwasi.command(
            *("checkpoint", "--lazy-pages", "--page-server", "127.0.0.1:2727", "--status-fd", str(told)),
            *places,
            container_id,
        ),
        pass_fds=(told,),
    )
    os.close(told)
    assert os.read(ready, 1) == b"\0"
    os.close(ready)
    fetching = subprocess.Popen(
        [
            *("criu", "lazy-pages", "--page-server", "--address", "127.0.0.1", "--port", "2727"),
            *("--images-dir", tmp_path / "image", "--work-dir", tmp_path / "work"),
        ]
    )
    until((tmp_path / "work/lazy-pages.socket").exists, bool)
    copy = Counter(runwasi, counter.bundle, f"{container_id}-copy")
    copy.restore("--lazy-pages", *places)
    seen = copy.counts()
    assert copy.numbers() == list(range(1, seen + 1))
    assert fetching.wait(timeout=60) == 0
    assert serving.wait(timeout=60) == 0
    copy.delete()


def test_a_failed_checkpoint_or_restore_leaves_nothing_behind(
    runwasi: Runtime, made: Callable[..., Bundle], container_id: str, tmp_path: Path
) -> None:
    counter = Counter(runwasi, made(), container_id)
    counter.run()
    counter.counts()
    refused = runwasi("checkpoint", "--image-path", "/proc/nowhere", container_id, check=False)
    assert "/proc/nowhere" in refused.stderr
    assert counter.status == "running"
    counter.checkpoint()
    cores = list((counter.bundle.path / "checkpoint").glob("core-*.img"))
    cores[0].write_bytes(cores[0].read_bytes()[:20])
    for options, reason in (((), "criu restore failed: "), (("--lazy-pages",), "lazy-pages")):
        refused = runwasi("restore", *options, container_id, cwd=counter.bundle.path, check=False)
        assert refused.returncode == 1
        assert reason in refused.stderr
        assert "restore.log" in refused.stderr
        assert not (runwasi.root / container_id).exists()
        assert not Path(f"/sys/fs/cgroup/{container_id}").exists()
