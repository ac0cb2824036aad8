"""`ctr run`: output, input, exit status, terminals, several at a time; under our shim and under runc's."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection

import pytest

from devtools.components.build import component
from devtools.containerd import Containerd
from devtools.serving import free_port
from devtools.waiting import until
from tests.integration.conftest import BUSYBOX_IMAGE, DEMO_IMAGE
from tests.support.events import watching
from tests.support.mode import OURS

DEMO = ("run", "--rm", "--runtime", OURS, DEMO_IMAGE)


@pytest.fixture
def run(
    containerd: Containerd, shim: str, container_id: str
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """ctr run --rm of a busybox command under the shim."""

    def run(
        *command: str, options: tuple[str, ...] = (), stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        return containerd.ctr(
            "run",
            "--rm",
            "--runtime",
            shim,
            *options,
            BUSYBOX_IMAGE,
            container_id,
            *command,
            stdin=stdin,
            check=check,
        )

    return run


Run = Callable[..., subprocess.CompletedProcess[str]]


def test_output_and_errors_arrive_apart(run: Run) -> None:
    done = run("sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_exit_status_is_the_programs(run: Run) -> None:
    assert run("sh", "-c", "exit 7", check=False).returncode == 7


def test_a_signal_is_told_as_128_and_its_number(run: Run) -> None:
    assert run("sh", "-c", "sh -c 'kill -KILL $$'; exit $?", check=False).returncode == 137


def test_standard_input_reaches_the_program_and_ends(
    containerd: Containerd, shim: str, container_id: str
) -> None:
    command = ("run", "--rm", "--runtime", shim, BUSYBOX_IMAGE, container_id, "cat")
    with containerd.start_ctr(*command) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("one\n")
        process.stdin.flush()
        # ctr forgets to close the task's input when its own ends before the task has started.
        assert process.stdout.readline() == "one\n"
        process.stdin.write("two\n")
        process.stdin.close()
        assert process.stdout.read() == "two\n"
    assert process.returncode == 0


def test_much_output_arrives_whole(run: Run) -> None:
    done = run("sh", "-c", "seq 1 200000")
    assert done.stdout.split() == [str(number) for number in range(1, 200001)]


def test_environment_and_working_directory_are_the_specs(run: Run) -> None:
    done = run("sh", "-c", "echo $COLOUR; pwd", options=("--env", "COLOUR=green", "--cwd", "/tmp"))
    assert done.stdout == "green\n/tmp\n"


def test_the_container_has_namespaces_of_its_own(run: Run) -> None:
    kinds = ("ipc", "mnt", "net", "pid", "uts")
    done = run("sh", "-c", "".join(f"readlink /proc/self/ns/{kind};" for kind in kinds))
    inside = set(done.stdout.split())
    assert len(inside) == len(kinds)
    assert not inside & {os.readlink(f"/proc/self/ns/{kind}") for kind in kinds}


def test_the_program_is_process_1(run: Run) -> None:
    assert run("sh", "-c", "echo $$").stdout == "1\n"


def test_a_read_only_root_refuses_writes(run: Run) -> None:
    done = run("sh", "-c", "touch /file", options=("--read-only",), check=False)
    assert done.returncode == 1
    assert "Read-only file system" in done.stderr


def test_a_bind_mount_is_there_with_its_options(run: Run, containerd: Containerd) -> None:
    (containerd.folder / "shared").mkdir(exist_ok=True)
    (containerd.folder / "shared/file").write_text("content")
    mount = f"type=bind,src={containerd.folder}/shared,dst=/shared,options=rbind:ro"
    done = run("sh", "-c", "cat /shared/file; touch /shared/new", options=("--mount", mount), check=False)
    assert done.stdout == "content"
    assert "Read-only file system" in done.stderr


def test_a_terminal_is_the_programs(containerd: Containerd, shim: str, container_id: str) -> None:
    ours, theirs = pty.openpty()
    command = containerd.ctr_command(
        "run",
        "--rm",
        "--tty",
        "--runtime",
        shim,
        BUSYBOX_IMAGE,
        container_id,
        "sh",
        "-c",
        "tty; test -t 2 && echo yes",
    )
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        output = _read_terminal(ours)
    os.close(ours)
    assert process.returncode == 0
    assert output.split() == ["/dev/pts/0", "yes"]


def _read_terminal(descriptor: int) -> str:
    output = b""
    while True:
        try:
            output += os.read(descriptor, 4096)
        except OSError:  # EIO: nobody has the other side open any more
            return output.decode()


def test_a_missing_program_fails_with_its_name_and_leaves_nothing(run: Run, containerd: Containerd) -> None:
    done = run("/bin/no-such-program", check=False)
    assert done.returncode != 0
    assert "/bin/no-such-program" in done.stderr
    assert "no such file" in done.stderr.lower()
    assert containerd.ctr("task", "ls", "-q").stdout == ""


def test_several_run_at_once(containerd: Containerd, shim: str, new_id: Callable[[], str]) -> None:
    processes = [
        containerd.start_ctr("run", "--rm", "--runtime", shim, BUSYBOX_IMAGE, new_id(), "echo", str(number))
        for number in range(8)
    ]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert outputs == [(f"{number}\n", "") for number in range(8)]


def test_wasm_gets_its_arguments(containerd: Containerd, container_id: str) -> None:
    done = containerd.ctr(*DEMO, container_id, "/wasi-demo-app.wasm", "echo", "hello", "you")
    assert done.stdout == "hello you\nexiting\n"


def test_wasm_exits_with_its_status(containerd: Containerd, container_id: str) -> None:
    done = containerd.ctr(*DEMO, container_id, "/wasi-demo-app.wasm", "exit", "42", check=False)
    assert done.returncode == 42


def test_a_component_answers_requests_until_it_is_told_to_end(
    containerd: Containerd, container_id: str
) -> None:
    port = free_port()
    listening = f"WASMTIME_HTTP_PROXY_SOCKET_ADDR=127.0.0.1:{port}"
    served = f"type=bind,src={component('hello')},dst=/hello.wasm,options=rbind:ro"
    options = ("--net-host", "--env", listening, "--mount", served)
    with (
        containerd.task(OURS, BUSYBOX_IMAGE, container_id, "/hello.wasm", options=options),
        watching(containerd) as events,
    ):
        assert until(lambda: _answer(port), bool) == b"Hello, world!\n"
        containerd.ctr("task", "kill", container_id)
        assert events.next("/tasks/exit").fields.get("exit_status", 0) == 0


def _answer(port: int) -> bytes:
    """Return what a server on a port of this machine answers, nothing while there is none."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as client:
        try:
            client.request("GET", "/")
        except ConnectionRefusedError:
            return b""
        return client.getresponse().read()


def test_wasm_and_native_run_side_by_side(containerd: Containerd, new_id: Callable[[], str]) -> None:
    with (
        containerd.task(OURS, DEMO_IMAGE, new_id()) as wasm,
        containerd.task(OURS, BUSYBOX_IMAGE, new_id(), "sleep", "1000") as native,
    ):
        assert len({wasm, native}) == 2
        running = [line for line in containerd.ctr("task", "ls").stdout.splitlines() if "RUNNING" in line]
        assert len(running) == 2


def test_a_file_neither_native_nor_wasm_is_refused_and_named(
    containerd: Containerd, container_id: str
) -> None:
    done = containerd.ctr(
        "run", "--rm", "--runtime", OURS, BUSYBOX_IMAGE, container_id, "/etc/passwd", check=False
    )
    assert done.returncode != 0
    assert "/etc/passwd" in done.stderr
