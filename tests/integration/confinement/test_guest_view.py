"""A guest does not reach the process that it runs in, or any other, by whatever way there is a procfs.

/proc/self/mem of the engine's process would be the end of the sandbox (docs/security.md). The hostile guests look in
every folder that a container can have a procfs in; programs executed into the container see it whole.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from devtools.bundle import Bundle, in_user_namespace
from devtools.components.build import component
from devtools.serving import free_port, script
from devtools.waiting import until
from tests.integration.conftest import BundleMaker
from tests.support.detached import Detached
from tests.support.prober import LAST, SCRIPT, prober_module, reached
from tests.support.runtime import Runtime

Json = Any


@pytest.fixture(scope="session")
def module(session_folder: Path) -> bytes:
    """The hostile guest as a core module."""
    return prober_module(session_folder).read_bytes()


@pytest.fixture(params=["module", "component"])
def prober(request: pytest.FixtureRequest, bundle: BundleMaker, module: bytes) -> Callable[..., Bundle]:
    """Make a bundle whose guest looks in folders: a module, or a component on the library's file system."""
    content = module if request.param == "module" else component("prober").read_bytes()

    def make(*folders: str) -> Bundle:
        return bundle(["/app.wasm", LAST, *folders], files={"/app.wasm": content})

    return make


@contextmanager
def swapping(first: Path, second: Path) -> Iterator[None]:
    """Exchange two folders again and again meanwhile, as a hostile neighbour with the same volume would."""
    code = (
        "import ctypes, os, sys\n"
        "rename, (one, other) = ctypes.CDLL(None).renameat2, map(os.fsencode, sys.argv[1:])\n"
        "while True:\n"
        "    rename(-100, one, -100, other, 2)"  # RENAME_EXCHANGE
    )
    process = subprocess.Popen([sys.executable, "-c", code, first, second])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def found(runwasi: Runtime, made: Bundle, container_id: str) -> list[str]:
    """Run a prober and return what it reached."""
    return reached(runwasi("run", "--bundle", made.write().path, container_id).stdout)


def bind(source: str | Path, destination: str, *options: str) -> Json:
    return {
        "destination": destination,
        "type": "bind",
        "source": str(source),
        "options": ["rbind", *options],
    }


Prober = Callable[..., Bundle]


def test_a_guest_finds_no_process(runwasi: Runtime, prober: Prober, container_id: str) -> None:
    assert found(runwasi, prober("/proc", "/dev", "/dev/fd", "/sys", "/"), container_id) == []


def test_links_of_the_image_lead_to_none(runwasi: Runtime, prober: Prober, container_id: str) -> None:
    made = prober("/link", "/task", "/deep/../link", "/up")
    for name, target in (
        ("link", "/proc"),
        ("task", "/proc/self/task/1"),
        ("deep", "proc/self"),
        ("up", "../../proc/thread-self"),
    ):
        (made.rootfs / name).symlink_to(target)
    assert found(runwasi, made, container_id) == []


def test_volumes_bring_none(runwasi: Runtime, prober: Prober, container_id: str) -> None:
    made = prober("/host", "/host/proc", "/second", "/one", "/own", "/file", "/sub")
    (made.rootfs / "file").touch()
    made.config["mounts"] += [
        bind("/", "/host"),
        bind("/proc", "/second", "ro"),
        {"destination": "/second", "type": "proc", "source": "proc"},
        bind("/proc/1", "/one"),
        bind("/proc/self", "/own"),
        bind("/proc/1/environ", "/file"),
        bind("/proc/sys", "/sub"),
    ]
    assert found(runwasi, made, container_id) == []


def test_folders_that_are_swapped_meanwhile_hide_none(
    runwasi: Runtime, bundle: BundleMaker, module: bytes, new_id: Callable[[], str], folder: Path
) -> None:
    volume = folder / "volume"
    for name in ("a/proc", "b/proc"):
        (volume / name).mkdir(parents=True)
    look = ["/app.wasm", "3", "/volume/a/proc", "/volume/b/proc"]
    made = bundle(look, files={"/app.wasm": module})
    made.config["mounts"] += [bind(volume, "/volume")]
    made.config["mounts"] += [bind("/proc", f"/volume/{name}/proc") for name in "ab"]
    made.write()
    ran = 0
    with swapping(volume / "a", volume / "b"):
        for _ in range(15):
            done = runwasi("run", "--bundle", made.path, new_id(), check=False)
            if done.returncode == 0:
                ran += 1
                assert reached(done.stdout) == []
            else:
                # by the view, or by the mount whose place was swapped for the procfs before it
                refusals = ("hide processes from the guest", "destination is inside a proc filesystem")
                assert any(refusal in done.stderr for refusal in refusals)
    assert ran


def test_a_file_of_a_process_that_is_bound_is_empty(
    runwasi: Runtime, bundle: BundleMaker, wasi_guest: bytes, container_id: str
) -> None:
    made = bundle(["/app.wasm", "cat", "/file"], files={"/app.wasm": wasi_guest, "/file": b"the image's"})
    made.config["mounts"] += [bind("/proc/1/status", "/file")]
    assert runwasi("run", "--bundle", made.write().path, container_id).stdout == ""


def test_annotated_preopens_bring_none(
    runwasi: Runtime, prober: Prober, container_id: str, preopens: str
) -> None:
    made = prober("/p", "/q", "/r")
    made.config["mounts"] += [bind("/proc", "/host/proc")]
    made.config["annotations"] = {preopens: "/p=/proc,/q=/host/proc,/r=/proc/sys"}
    assert found(runwasi, made, container_id) == []


def test_a_preopen_inside_a_process_is_not_there(
    runwasi: Runtime, prober: Prober, container_id: str, preopens: str
) -> None:
    made = prober("/p")
    made.config["annotations"] = {preopens: "/p=/proc/self"}
    done = runwasi("run", "--bundle", made.write().path, container_id, check=False)
    assert done.returncode != 0
    assert "/proc/self" in done.stderr


def test_without_a_pid_namespace_there_is_none(runwasi: Runtime, prober: Prober, container_id: str) -> None:
    made = prober("/proc")
    made.linux["namespaces"] = [entry for entry in made.linux["namespaces"] if entry["type"] != "pid"]
    assert found(runwasi, made, container_id) == []


def test_beside_others_of_a_pod_there_is_none(
    runwasi: Runtime, prober: Prober, bundle: BundleMaker, new_id: Callable[[], str]
) -> None:
    pause = Detached(runwasi, bundle(["sleep", "100"]), new_id())
    pause.run()
    made = prober("/proc")
    for entry in made.linux["namespaces"]:
        if entry["type"] == "pid":
            entry["path"] = f"/proc/{pause.pid}/ns/pid"
    assert found(runwasi, made, new_id()) == []


def test_in_a_user_namespace_there_is_none(runwasi: Runtime, prober: Prober, container_id: str) -> None:
    made = in_user_namespace(prober("/proc", "/second"))
    made.config["mounts"] += [bind("/proc", "/second")]
    assert found(runwasi, made, container_id) == []


def test_without_a_mount_namespace_there_is_none(runwasi: Runtime, prober: Prober, container_id: str) -> None:
    made = prober("/proc")
    made.linux["namespaces"] = [entry for entry in made.linux["namespaces"] if entry["type"] != "mount"]
    for member in ("maskedPaths", "readonlyPaths"):
        del made.linux[member]
    assert found(runwasi, made, container_id) == []
    assert not any(str(made.path) in line for line in Path("/proc/self/mountinfo").read_text().splitlines())


def test_with_a_root_that_was_moved_there_is_none(
    runwasi: Runtime, prober: Prober, container_id: str
) -> None:
    made = prober("/proc")
    done = runwasi("run", "--no-pivot", "--bundle", made.write().path, container_id)
    assert reached(done.stdout) == []


def test_where_none_can_be_had_without_processes_it_is_empty(
    runwasi: Runtime, bundle: BundleMaker, wasi_guest: bytes, prober: Prober, new_id: Callable[[], str]
) -> None:
    def run(made: Bundle) -> subprocess.CompletedProcess[str]:
        # With something hidden in the host's, the kernel gives a user namespace no procfs (mount_too_revealing).
        command = " ".join(runwasi.command("run", "--bundle", in_user_namespace(made).path, new_id()))
        code = f"mount -t tmpfs hides /proc/bus && exec {command}"
        return subprocess.run(
            ["unshare", "-m", "sh", "-c", code], capture_output=True, text=True, check=False, timeout=60
        )

    assert reached(run(prober("/proc")).stdout) == []
    made = bundle(["/app.wasm", "cat", "/proc/cpuinfo"], files={"/app.wasm": wasi_guest})
    assert "No such file" in run(made).stderr


def test_hooks_see_all_and_the_guest_after_them_none(
    runwasi: Runtime, bundle: BundleMaker, module: bytes, container_id: str, folder: Path
) -> None:
    script = "cat /proc/self/status /proc/$PPID/comm > /notes/seen"
    made = bundle(["/app.wasm", LAST, "/proc", "."], files={"/app.wasm": module})
    made.config["mounts"] += [bind(folder, "/notes")]
    made.config["hooks"] = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}
    made.process.update(user={"uid": 1000, "gid": 1000}, cwd="/tmp")
    folder.chmod(0o777)
    container = Detached(runwasi, made.write(), container_id)
    container.create()
    assert _effective(container.pid) == 1 << 18  # CAP_SYS_CHROOT: it is to enter its view
    runwasi("start", container_id)
    container.wait()
    assert reached(container.output) == []
    seen = dict(
        line.split(":\t", 1) for line in (folder / "seen").read_text().splitlines()[:-1] if ":\t" in line
    )
    assert int(seen["CapEff"], 16) == 0
    assert (folder / "seen").read_text().endswith("app.wasm\n")


def test_the_rights_to_enter_the_view_are_given_up(
    runwasi: Runtime, bundle: BundleMaker, wasi_demo_app: bytes, container_id: str
) -> None:
    made = bundle(["/demo.wasm", "sleep", "100"], files={"/demo.wasm": wasi_demo_app})
    made.config["hooks"] = {"startContainer": [{"path": "/bin/true"}]}
    container = Detached(runwasi, made.write(), container_id)
    container.run()
    assert _effective(container.pid) == 0


def _effective(pid: int) -> int:
    """The effective capabilities of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff"))


@pytest.mark.cgroup_v2
@pytest.mark.parametrize("first", ["native", "wasm"])
@pytest.mark.parametrize("users", ["host", "mapped"])
def test_a_module_that_is_executed_finds_none(
    runwasi: Runtime,
    bundle: BundleMaker,
    module: bytes,
    wasi_demo_app: bytes,
    container_id: str,
    first: str,
    users: str,
) -> None:
    arguments = ["sleep", "100"] if first == "native" else ["/demo.wasm", "sleep", "100"]
    made = bundle(arguments, files={"/app.wasm": module, "/demo.wasm": wasi_demo_app})
    made.config["mounts"] += [bind("/proc", "/host/proc")]
    if users == "mapped":
        in_user_namespace(made)
    Detached(runwasi, made.write(), container_id).run()
    done = runwasi("exec", container_id, "/app.wasm", LAST, "/proc", "/host/proc")
    assert reached(done.stdout) == []


@pytest.mark.parametrize("users", ["host", "mapped"])
def test_a_program_that_is_executed_sees_all(
    runwasi: Runtime, bundle: BundleMaker, wasi_demo_app: bytes, container_id: str, users: str
) -> None:
    made = bundle(["/demo.wasm", "sleep", "100"], files={"/demo.wasm": wasi_demo_app})
    if users == "mapped":
        in_user_namespace(made)
    container = Detached(runwasi, made.write(), container_id)
    container.run()
    code = "cat /proc/1/status; ls /proc/self/fd/0; readlink /proc/self/ns/pid; test ! -s /proc/keys && echo masked"
    seen = runwasi("exec", container_id, "sh", "-c", code).stdout
    assert "\nPid:\t1\n" in seen
    assert "/proc/self/fd/0\npid:[" in seen
    assert seen.endswith("masked\n")
    entered = ["nsenter", "-t", str(container.pid), "-m", "-p", "/bin/cat", "/proc/1/status"]
    assert "\nPid:\t1\n" in subprocess.run(entered, check=True, capture_output=True, text=True).stdout


def test_a_program_is_executed_where_there_is_no_mount_namespace(
    runwasi: Runtime, bundle: BundleMaker, wasi_demo_app: bytes, container_id: str
) -> None:
    made = bundle(["/demo.wasm", "sleep", "100"], files={"/demo.wasm": wasi_demo_app})
    made.linux["namespaces"] = [entry for entry in made.linux["namespaces"] if entry["type"] != "mount"]
    for member in ("maskedPaths", "readonlyPaths"):
        del made.linux[member]
    Detached(runwasi, made.write(), container_id).run()
    seen = runwasi("exec", container_id, "sh", "-c", "ls /demo.wasm; cat /proc/1/status").stdout
    assert seen.startswith("/demo.wasm\n")
    assert "\nPid:\t1\n" in seen


@pytest.mark.cgroup_v2  # another kernel: before Linux 6.15 only what is mounted can be copied
def test_files_of_proc_that_show_no_process_are_there(
    runwasi: Runtime, bundle: BundleMaker, wasi_guest: bytes, new_id: Callable[[], str], folder: Path
) -> None:
    (folder / "meminfo").write_text("MemTotal: little\n")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        made = bundle(["/app.wasm", *arguments], files={"/app.wasm": wasi_guest})
        made.config["mounts"] += [bind(folder / "meminfo", "/proc/meminfo"), bind("/proc/sys", "/sub", "ro")]
        return runwasi("run", "--bundle", made.write().path, new_id(), check=False)

    assert "processor" in run("cat", "/proc/cpuinfo").stdout
    assert run("cat", "/proc/meminfo").stdout == "MemTotal: little\n"  # as lxcfs has it
    assert run("cat", "/proc/sys/kernel/ostype").stdout == "Linux\n"
    assert run("cat", "/sub/kernel/ostype").stdout == "Linux\n"
    assert run("cat", "/proc/sys/kernel/hostname").stdout == "bundle\n"
    assert run("cat", "/proc/keys").stdout == ""  # masked
    for path in ("/proc/sys/kernel/hostname", "/sub/kernel/hostname", "/proc/sysrq-trigger"):
        assert run("write", path, "x").returncode == 1


def test_a_procfs_of_processes_alone_is_empty(
    runwasi: Runtime, bundle: BundleMaker, wasi_guest: bytes, container_id: str
) -> None:
    made = bundle(["/app.wasm", "cat", "/proc/cpuinfo"], files={"/app.wasm": wasi_guest})
    made.config["mounts"][0]["options"] = ["subset=pid"]
    assert runwasi("run", "--bundle", made.write().path, container_id, check=False).returncode == 1


def test_later_mounts_of_the_host_reach_a_volume(
    runwasi: Runtime, bundle: BundleMaker, wasi_guest: bytes, container_id: str, shared_folder: Path
) -> None:
    made = bundle(["/app.wasm", "cat", "/volume/inner/file"], files={"/app.wasm": wasi_guest})
    made.config["mounts"] += [bind(shared_folder, "/volume", "rslave")]
    container = Detached(runwasi, made.write(), container_id)
    container.create()
    inner = shared_folder / "inner"
    subprocess.run(["mount", "-t", "tmpfs", "late", inner], check=True)
    try:
        (inner / "file").write_text("late")
        runwasi("start", container_id)
        until(lambda: container.output, lambda output: output == "late")
        container.wait()
    finally:
        subprocess.run(["umount", "-l", inner], check=True)


def test_a_folder_of_a_process_is_no_working_directory(
    runwasi: Runtime, prober: Prober, container_id: str
) -> None:
    made = prober("/proc")
    made.process["cwd"] = "/proc/self/task"
    done = runwasi("run", "--bundle", made.write().path, container_id, check=False)
    assert done.returncode == 1
    assert "a module sees no process in /proc ($.process.cwd)" in done.stderr


def test_another_user_works_where_it_should(
    runwasi: Runtime, bundle: BundleMaker, wasi_guest: bytes, container_id: str
) -> None:
    made = bundle(["/app.wasm", "cat", "file"], files={"/app.wasm": wasi_guest, "/home/file": b"mine"})
    made.process.update(user={"uid": 1000, "gid": 1000}, cwd="/home")
    os.chown(made.rootfs / "home", 1000, 1000)
    (made.rootfs / "home").chmod(0o700)
    assert runwasi("run", "--bundle", made.write().path, container_id).stdout == "mine"


def test_a_component_with_our_file_system_finds_none(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["/app.wasm"], files={"/app.wasm": component("shell").read_bytes()})
    made.config["mounts"] += [bind("/proc", "/second")]
    code = f"FOLDERS = ['/proc', '/second', '/dev']\n{SCRIPT}\nprint(tries > 1000, reached)"
    output = runwasi("run", "--bundle", made.write().path, container_id, stdin=code.encode()).stdout
    assert output.strip() == "True []"


def test_a_request_of_a_server_finds_none(runwasi: Runtime, bundle: BundleMaker, container_id: str) -> None:
    made = bundle(["/app.wasm"], files={"/app.wasm": component("server").read_bytes()})
    port = free_port()
    made.process["env"] += [f"WASMTIME_HTTP_PROXY_SOCKET_ADDR=127.0.0.1:{port}"]
    made.config["annotations"] = {"io.runwasi.http.workers": "2"}
    made.config["mounts"] += [bind("/proc", "/second")]
    made.linux["namespaces"] = [entry for entry in made.linux["namespaces"] if entry["type"] != "network"]
    container = Detached(runwasi, made.write(), container_id)
    container.run()
    code = f"FOLDERS = ['/proc', '/second']\n{SCRIPT}\nanswer(out, str((tries > 1000, reached)).encode())"
    assert asked(port, code) == "(True, [])"
    runwasi("kill", container_id, "KILL")
    container.wait()


def test_no_code_of_a_server_runs_before_its_start(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["/app.wasm"], files={"/app.wasm": component("starter").read_bytes()})
    container = Detached(runwasi, made, container_id)
    container.create()
    assert container.status == "created"
    runwasi("start", container_id)
    runwasi("kill", container_id, "KILL")
    container.wait()


def asked(port: int, code: str) -> str:
    """Have the server run Python for a request, once it listens."""
    import http.client

    def ask() -> str:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            client.request("GET", "/", headers=script(code))
            return client.getresponse().read().decode()
        except ConnectionRefusedError:
            return ""
        finally:
            client.close()

    return until(ask, bool)


@pytest.fixture(scope="session")
def wasi_guest(session_folder: Path) -> bytes:
    """A module that does what its first argument says."""
    from tests.support.wasm import guest

    return guest(session_folder).read_bytes()


@pytest.fixture
def preopens() -> str:
    """The annotation that names a guest's folders."""
    from runwasi.engines.annotations import PREOPENS

    return PREOPENS.name


@pytest.fixture
def shared_folder(folder: Path) -> Iterator[Path]:
    """A folder that shares with its copies what is mounted in it, with a mount point in it."""
    shared = folder / "shared"
    shared.mkdir()
    subprocess.run(["mount", "--bind", shared, shared], check=True)
    subprocess.run(["mount", "--make-shared", shared], check=True)
    (shared / "inner").mkdir()
    yield shared
    subprocess.run(["umount", "-l", shared], check=True)
