"""ps shows a container's own program from the beginning, and nothing of the host.

A module runs in the runtime's process, whose own command line tells of the host's paths and containerd's sockets.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from devtools.bundle import Bundle, in_user_namespace
from devtools.components.build import component
from devtools.containerd import Containerd
from devtools.serving import free_port
from devtools.waiting import until
from tests.integration.conftest import DEMO_IMAGE, BundleMaker
from tests.support.detached import Detached
from tests.support.mode import OURS
from tests.support.runtime import Runtime

Demo = Callable[..., Bundle]


@pytest.fixture
def demo(bundle: BundleMaker, wasi_demo_app: bytes) -> Demo:
    """Make a bundle that runs the demo module."""

    def make(*arguments: str) -> Bundle:
        return bundle([*arguments], files={"/bin/demo-application.wasm": wasi_demo_app})

    return make


SLEEP = ("/bin/demo-application.wasm", "sleep", "100")


def shown(pid: int) -> list[str]:
    """The arguments of a process and its environment's variables, as everybody and as root may read them."""
    folder = Path(f"/proc/{pid}")
    assert (folder / "environ").read_bytes() == b""
    return (folder / "cmdline").read_bytes().decode().split("\0")


def test_a_module_shows_its_own_arguments(runwasi: Runtime, demo: Demo, container_id: str) -> None:
    made = demo(*SLEEP, "", "two words", "ünïcode", "")
    container = Detached(runwasi, made, container_id)
    container.run()
    assert shown(container.pid) == [*made.process["args"], ""]
    assert Path(f"/proc/{container.pid}/comm").read_text() == "demo-applicatio\n"


def test_arguments_may_be_long(runwasi: Runtime, demo: Demo, container_id: str) -> None:
    made = demo(*SLEEP, *(f"{number:0100}" for number in range(1000)))
    container = Detached(runwasi, made, container_id)
    container.run()
    assert shown(container.pid) == [*made.process["args"], ""]


def test_in_a_user_namespace_too(runwasi: Runtime, demo: Demo, container_id: str) -> None:
    container = Detached(runwasi, in_user_namespace(demo(*SLEEP)), container_id)
    container.run()
    assert shown(container.pid) == [*SLEEP, ""]


@pytest.mark.parametrize("arguments", [SLEEP, ("/bin/sleep", "100")])
def test_a_container_that_is_only_created_shows_what_it_will_run(
    runwasi: Runtime, demo: Demo, container_id: str, arguments: tuple[str, ...]
) -> None:
    container = Detached(runwasi, demo(*arguments), container_id)
    container.create()
    assert shown(container.pid) == [*arguments, ""]


def test_a_module_that_is_executed_shows_its_arguments(
    runwasi: Runtime, demo: Demo, container_id: str, folder: Path
) -> None:
    Detached(runwasi, demo("sleep", "100"), container_id).run()
    command = runwasi.command("exec", "--detach", "--pid-file", folder / "pid", container_id, *SLEEP)
    null = subprocess.DEVNULL
    subprocess.run(command, stdin=null, stdout=null, stderr=null, check=True)
    assert shown(int((folder / "pid").read_text())) == [*SLEEP, ""]


def test_neighbours_see_only_its_own_command_line(
    runwasi: Runtime, demo: Demo, new_id: Callable[[], str]
) -> None:
    first = Detached(runwasi, demo(*SLEEP), new_id())
    first.run()
    made = demo("sh", "-c", "cat /proc/1/cmdline /proc/1/comm; cat /proc/[0-9]*/cmdline")
    for entry in made.linux["namespaces"]:
        if entry["type"] == "pid":
            entry["path"] = f"/proc/{first.pid}/ns/pid"
    output = runwasi("run", "--bundle", made.write().path, new_id()).stdout
    line, others = output.split("\n")
    assert line.split("\0") == [*SLEEP, "demo-applicatio"]
    assert "python" not in others


def test_the_workers_of_a_server_show_the_same(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["/hello.wasm", "--flag"], files={"/hello.wasm": component("hello").read_bytes()})
    made.process["env"] += [f"WASMTIME_HTTP_PROXY_SOCKET_ADDR=127.0.0.1:{free_port()}"]
    made.config["annotations"] = {"io.runwasi.http.workers": "2"}
    container = Detached(runwasi, made.write(), container_id)
    container.run()
    pid = container.pid
    children = Path(f"/proc/{pid}/task/{pid}/children")
    workers = until(lambda: children.read_text().split(), lambda pids: len(pids) == 2)
    for each in (pid, *map(int, workers)):
        assert shown(each) == ["/hello.wasm", "--flag", ""]
    os.kill(pid, 9)
    container.wait()


def test_under_containerd_a_module_shows_its_own_command_line(
    containerd: Containerd, container_id: str
) -> None:
    arguments = ("/wasi-demo-app.wasm", "sleep", "100")
    with containerd.task(OURS, DEMO_IMAGE, container_id, *arguments) as pid:
        assert shown(pid) == [*arguments, ""]
        ps = containerd.ctr("task", "exec", "--exec-id", "ps", container_id, "ps", "-o", "args").stdout
        assert "/wasi-demo-app.wasm sleep 100" in ps
        assert "containerd" not in ps
        assert "python" not in ps
