"""run in the foreground and in the background."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import BundleMaker
from tests.support.detached import Detached
from tests.support.runtime import Runtime


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_the_exit_status_is_the_programs(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str, code: int
) -> None:
    made = bundle(["sh", "-c", f"exit {code}"])
    assert oci_runtime("run", "--bundle", made.path, container_id, check=False).returncode == code
    assert oci_runtime("list", "-q").stdout == ""


def test_death_by_a_signal_is_128_and_the_signal(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["sh", "-c", "kill -KILL $$"])
    made.linux["namespaces"] = [item for item in made.linux["namespaces"] if item["type"] != "pid"]
    made.write()
    assert oci_runtime("run", "--bundle", made.path, container_id, check=False).returncode == 137


def test_streams_pass_through(oci_runtime: Runtime, bundle: BundleMaker, container_id: str) -> None:
    made = bundle(["sh", "-c", "cat; echo out; echo err >&2"])
    done = oci_runtime("run", "--bundle", made.path, container_id, stdin=b"in\n")
    assert (done.stdout, done.stderr) == ("in\nout\n", "err\n")


def test_much_output_arrives_whole(oci_runtime: Runtime, bundle: BundleMaker, container_id: str) -> None:
    made = bundle(["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x"])
    assert len(oci_runtime("run", "--bundle", made.path, container_id).stdout) == 3_000_000


def test_the_current_folder_is_the_bundle_without_one(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["echo", "here"])
    assert oci_runtime("run", container_id, cwd=made.path).stdout == "here\n"


def test_a_kept_container_stays_until_it_is_deleted(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["true"])
    oci_runtime("run", "--keep", "--bundle", made.path, container_id)
    assert oci_runtime.state(container_id)["status"] == "stopped"
    oci_runtime("delete", container_id)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_are_passed_on(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str, number: signal.Signals
) -> None:
    name = number.name.removeprefix("SIG")
    program = f"trap 'echo caught; exit 7' {name}; echo ready; while :; do sleep 0.05; done"
    made = bundle(["sh", "-c", program])
    command = oci_runtime.command("run", "--bundle", made.path, container_id)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        running.send_signal(number)
        assert running.wait(30) == 7
        assert running.stdout.read() == "caught\n"


def test_a_program_in_the_background_runs_on(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    container = Detached(oci_runtime, bundle(["sh", "-c", "read line; echo got $line"]), container_id)
    read, write = os.pipe()
    container.run(stdin=read)
    os.close(read)
    assert container.status == "running"
    os.write(write, b"word\n")
    os.close(write)
    container.wait()
    assert container.output == "got word\n"


def test_processes_left_behind_end_with_the_program(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["sh", "-c", "sleep 100 >/dev/null 2>&1 & echo started"])
    made.linux["namespaces"] = [item for item in made.linux["namespaces"] if item["type"] != "pid"]
    made.write()
    assert runwasi("run", "--bundle", made.path, container_id).stdout == "started\n"


def test_a_module_runs_like_a_program(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, wasi_demo_app: bytes
) -> None:
    made = bundle(["/app.wasm", "exit", "9"], files={"/app.wasm": wasi_demo_app}, busybox=False)
    done = runwasi("run", "--bundle", made.path, container_id, check=False)
    assert done.returncode == 9
    made.process["args"] = ["/app.wasm", "echo", "hello"]
    made.write()
    assert "hello" in runwasi("run", "--bundle", made.path, container_id).stdout


def test_a_folder_made_by_spec_runs_its_module(
    runwasi: Runtime, folder: Path, container_id: str, wasi_demo_app: bytes
) -> None:
    (folder / "b/rootfs").mkdir(parents=True)
    (folder / "b/rootfs/demo.wasm").write_bytes(wasi_demo_app)
    runwasi("spec", "--wasm", "--bundle", folder / "b", "/demo.wasm", "echo", "made by spec")
    assert "made by spec" in runwasi("run", "--bundle", folder / "b", container_id).stdout


def test_capabilities_that_cannot_be_granted_are_warned_of(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["true"])
    made.process["capabilities"] = {"bounding": ["CAP_NONE", "CAP_KILL"], "ambient": ["CAP_KILL"]}
    made.write()
    warned = runwasi("run", "--bundle", made.path, container_id).stderr
    assert "level=warning" in warned
    assert "ignoring unknown or unavailable capabilities: [CAP_NONE]" in warned


def test_ambient_capabilities_that_runc_spec_asks_for_in_vain_are_no_warning(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["sleep", "100"])
    made.process["capabilities"]["ambient"] = ["CAP_KILL"]
    container = Detached(oci_runtime, made.write(), container_id)
    container.run()
    assert container.errors == ""
    assert oci_runtime("exec", container_id, "true").stderr == ""


def test_ambient_capabilities_that_cannot_be_raised_are_a_detail_of_the_log(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["true"])
    made.process["capabilities"]["ambient"] = ["CAP_KILL"]
    told = runwasi("run", "--bundle", made.write().path, container_id, options=("--debug",)).stderr
    assert "level=debug msg=\"can't raise ambient capability CAP_KILL: it is not both" in told


@pytest.mark.cgroup_v2
def test_a_container_may_be_in_all_of_anothers_namespaces(
    runwasi: Runtime, bundle: BundleMaker, new_id: Callable[[], str]
) -> None:
    made = bundle(["sleep", "100"])
    for path in (made.rootfs, *made.rootfs.rglob("*")):
        os.chown(path, 100000, 100000, follow_symlinks=False)
    made.linux["namespaces"] += [{"type": kind} for kind in ("user", "time", "cgroup")]
    mapping = [{"containerID": 0, "hostID": 100000, "size": 1000}]
    offsets = {"boottime": {"secs": 1000000}}
    made.linux.update(uidMappings=mapping, gidMappings=mapping, timeOffsets=offsets)
    first, second = Detached(runwasi, made.write(), new_id()), new_id()
    first.run()
    for namespace in made.linux["namespaces"]:
        if namespace["type"] != "mount":
            kind = {"network": "net"}.get(namespace["type"], namespace["type"])
            namespace["path"] = f"/proc/{first.pid}/ns/{kind}"
    for name in ("uidMappings", "gidMappings", "timeOffsets"):
        del made.linux[name]
    made.config.pop("hostname")
    made.process["args"] = [
        "sh",
        "-c",
        "cat /proc/1/cmdline /proc/self/uid_map; hostname; cut -d. -f1 /proc/uptime",
    ]
    made.write()
    output = runwasi("run", "--bundle", made.path, second).stdout
    assert output.startswith("sleep")
    assert "100000" in output
    assert "bundle" in output
    assert int(output.split()[-1]) > 1000000


def test_an_interrupt_during_creation_leaves_nothing(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, folder: Path
) -> None:
    made = bundle(["true"])
    os.mkfifo(folder / "began")
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"echo > {folder}/began; exec sleep 100"]}
    made.config["hooks"] = {"createRuntime": [hook]}
    made.write()
    command = runwasi.command("run", "--bundle", made.path, container_id)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as running:
        (folder / "began").read_text()
        running.terminate()
        assert running.wait(30) == 128 + signal.SIGTERM
    assert runwasi("list", "-q").stdout == ""
