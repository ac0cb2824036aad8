"""A container's output and input are complete, whoever goes away meanwhile."""

from __future__ import annotations

import os
import select
import time
from typing import TYPE_CHECKING

import pytest

from devtools.ttrpc import CallError
from devtools.waiting import until
from tests.support.shim import RunningShim, Shim, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.integration.conftest import BundleMaker

_SECONDS = 20


@pytest.fixture
def fifo(folder: Path) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        path = folder / name
        os.mkfifo(path, 0o700)
        return path

    return make


class Reader:
    """The client's end of an output FIFO."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def read(self, enough: bytes | None = None) -> bytes:
        """Read up to and with `enough`, or to the end; what came so far when neither comes in time."""
        data, deadline = b"", time.monotonic() + _SECONDS
        while time.monotonic() < deadline and (enough is None or enough not in data):
            select.select([self.fd], [], [], 1)
            try:
                part = os.read(self.fd, 65536)
            except BlockingIOError:
                continue
            if not part:
                return data
            data += part
        return data

    def close(self) -> None:
        os.close(self.fd)


def sh(script: str) -> list[str]:
    return ["sh", "-c", script]


def test_output_arrives_and_ends_with_the_process(
    either_shim: Shim, bundle: BundleMaker, container_id: str, fifo: Callable[[str], Path]
) -> None:
    out, err = fifo("out"), fifo("err")
    with running(either_shim, container_id, bundle(sh("echo out; echo err >&2"))) as task:
        readers = Reader(out), Reader(err)
        task.run(stdout=str(out), stderr=str(err))
        assert [reader.read() for reader in readers] == [b"out\n", b"err\n"]
        assert task.call("Wait").exit_status == 0
        task.call("Delete")
        for reader in readers:
            reader.close()


def test_input_arrives_and_ends_with_close_io(
    either_shim: Shim, bundle: BundleMaker, container_id: str, fifo: Callable[[str], Path]
) -> None:
    stdin, out, err = fifo("in"), fifo("out"), fifo("err")
    with running(either_shim, container_id, bundle(sh("cat; echo end"))) as task:
        reader = Reader(out)
        writer = os.open(stdin, os.O_RDWR)
        errors = Reader(err)
        task.run(stdin=str(stdin), stdout=str(out), stderr=str(err))
        os.write(writer, b"hello\n")
        assert reader.read(b"hello\n") == b"hello\n"
        task.call("CloseIO", stdin=True)
        os.close(writer)
        assert reader.read() == b"end\n"
        assert task.call("Wait").exit_status == 0
        reader.close()
        errors.close()


def test_a_client_that_goes_away_and_comes_back_misses_nothing(
    our_shim: Shim, bundle: BundleMaker, container_id: str, fifo: Callable[[str], Path]
) -> None:
    out, go = fifo("out"), fifo("in")
    script = "for i in 1 2 3 4; do read line; echo $i; done"
    with running(our_shim, container_id, bundle(sh(script))) as task:
        writer = os.open(go, os.O_RDWR)
        first = Reader(out)
        task.run(stdin=str(go), stdout=str(out))
        os.write(writer, b"\n")
        assert first.read(b"1\n") == b"1\n"
        first.close()
        os.write(writer, b"\n\n\n")  # nobody reads now
        assert task.call("Wait").exit_status == 0
        late = Reader(out)
        assert late.read() == b"2\n3\n4\n"
        late.close()
        os.close(writer)


def test_a_full_stdout_without_a_reader_stops_nobody_else(
    our_shim: Shim, bundle: BundleMaker, container_id: str, fifo: Callable[[str], Path]
) -> None:
    out = fifo("out")
    with running(our_shim, container_id, bundle(sh("yes"))) as task:
        task.run(stdout=str(out))
        task.call("State")
        task.call("Kill", signal=9)
        assert task.call("Wait").exit_status == 137
        task.call("Delete")


def test_a_file_collects_both_streams(
    either_shim: Shim, bundle: BundleMaker, container_id: str, folder: Path
) -> None:
    log = folder / "deep" / "log"
    with running(either_shim, container_id, bundle(sh("echo one; echo two >&2; exec sleep 1000"))) as task:
        task.run(stdout=f"file://{log}", stderr=f"file://{log}")
        until(log.read_text, lambda text: sorted(text.split()) == ["one", "two"])
        task.call("Kill", signal=9)
        task.call("Wait")
        task.call("Delete")


def test_a_file_has_all_that_was_written_before_the_end(
    our_shim: Shim, bundle: BundleMaker, container_id: str, folder: Path
) -> None:
    # runc's shim of 1.6 closes the file of both when stdout ends, and what stderr still holds is lost
    log = folder / "log"
    with running(our_shim, container_id, bundle(sh("echo one; echo two >&2"))) as task:
        task.run(stdout=f"file://{log}", stderr=f"file://{log}")
        task.call("Wait")
        task.call("Delete")
        assert sorted(log.read_text().split()) == ["one", "two"]


@pytest.mark.parametrize("exists", [False, True])
def test_a_file_collects_a_terminals_output(
    our_shim: Shim, bundle: BundleMaker, container_id: str, folder: Path, exists: bool
) -> None:
    log = folder / "log"
    if exists:
        log.touch()
    made = bundle(sh("tty; exec sleep 1000"))
    made.process["terminal"] = True
    with running(our_shim, container_id, made.write()) as task:
        task.run(terminal=True, stdout=str(log) if exists else f"file://{log}")
        until(lambda: log.exists() and log.read_bytes(), lambda text: text == b"/dev/pts/0\r\n")
        task.call("Kill", signal=9)
        task.call("Wait")
        task.call("Delete")


def test_a_file_is_a_processs_input(
    our_shim: Shim, bundle: BundleMaker, container_id: str, folder: Path
) -> None:
    (folder / "in").write_text("hello\n")
    with running(our_shim, container_id, bundle(["cat"])) as task:
        task.run(stdin=str(folder / "in"), stdout=f"file://{folder}/log")
        assert task.call("Wait").exit_status == 0
        task.call("Delete")
    assert (folder / "log").read_text() == "hello\n"


def test_a_terminal_goes_on_when_the_disk_of_its_file_is_full(
    our_shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(sh("seq 1 100000; exit 3"))
    made.process["terminal"] = True
    with running(our_shim, container_id, made.write()) as task:
        task.run(terminal=True, stdout="file:///dev/full")
        assert task.call("Wait").exit_status == 3
        log = our_shim.log(made)
        task.call("Delete")
    assert log.count("write file:///dev/full: No space left on device") == 1
    assert "traceback" not in log


def test_a_terminal_goes_on_when_its_logger_has_ended(
    our_shim: Shim, bundle: BundleMaker, container_id: str, folder: Path
) -> None:
    program = folder / "logger"
    program.write_text("#!/bin/sh\nexec 5>&-\n")
    program.chmod(0o755)
    made = bundle(sh("seq 1 100000; exit 3"))
    made.process["terminal"] = True
    with running(our_shim, container_id, made.write()) as task:
        task.run(terminal=True, stdout=f"binary://{program}")
        assert task.call("Wait").exit_status == 3
        log = our_shim.log(made)
        task.call("Delete")
    assert "traceback" not in log


def test_a_file_that_cannot_be_opened_is_named(
    our_shim: Shim, bundle: BundleMaker, container_id: str, folder: Path
) -> None:
    with running(our_shim, container_id, bundle(["true"])) as task:
        with pytest.raises(CallError, match=f"open {folder}: Is a directory"):
            task.create(stdout=f"file://{folder}")
        with pytest.raises(CallError, match=f"open {folder}/no: No such file or directory"):
            task.create(stdout=f"{folder}/no")


def test_a_logger_program_reads_both_streams(
    either_shim: Shim, bundle: BundleMaker, container_id: str, folder: Path
) -> None:
    program, log = folder / "logger", folder / "log"
    program.write_text(
        "#!/bin/sh\n"
        'echo "args $*" > "$2"; echo "env $CONTAINER_ID $CONTAINER_NAMESPACE" >> "$2"\n'
        "exec 5>&-\n"
        'trap "" TERM\n'
        'cat <&3 >> "$2"; cat <&4 >> "$2"\n'
    )
    program.chmod(0o755)
    with running(either_shim, container_id, bundle(sh("echo out; echo err >&2"))) as task:
        task.run(stdout=f"binary://{program}?log={log}", stderr=f"binary://{program}?log={log}")
        task.call("Wait")
        task.call("Delete")
        written = until(lambda: log.read_text().splitlines(), lambda lines: "err" in lines)
        assert written == [
            f"args log {log}",
            f"env {container_id} {either_shim.namespace}",
            "out",
            "err",
        ]


def test_a_missing_fifo_fails_create_and_leaves_nothing(
    either_shim: Shim, bundle: BundleMaker, container_id: str, folder: Path
) -> None:
    from devtools.ttrpc import CallError

    with running(either_shim, container_id, bundle(sh("true"))) as task:
        with pytest.raises(CallError):
            task.create(stdin=str(folder / "missing"), stdout="nonsense://x")
        with pytest.raises(CallError):
            task.call("State")


class Terminal:
    """A container with a terminal, and the client's ends of its FIFOs."""

    def __init__(self, task: RunningShim, fifo: Callable[[str], Path]) -> None:
        stdin, out = fifo("in"), fifo("out")
        self.writer = os.open(stdin, os.O_RDWR)
        self.reader = Reader(out)
        self.task = task
        task.run(terminal=True, stdin=str(stdin), stdout=str(out))

    def close(self) -> None:
        os.close(self.writer)
        self.reader.close()


@pytest.fixture
def terminal(
    either_shim: Shim, bundle: BundleMaker, container_id: str, fifo: Callable[[str], Path]
) -> Iterator[Callable[[str], Terminal]]:
    opened: list[Terminal] = []

    def open_terminal(script: str) -> Terminal:
        made = bundle(sh(script))
        made.process["terminal"] = True
        made.write()
        task = RunningShim(either_shim, container_id, made)
        opened.append(Terminal(task, fifo))
        return opened[-1]

    yield open_terminal
    for terminal in opened:
        terminal.close()
        terminal.task.peer.close()


def test_a_terminal_echoes_and_answers(terminal: Callable[[str], Terminal]) -> None:
    session = terminal("read line; tty; echo got $line")
    os.write(session.writer, b"hello\n")
    assert session.reader.read() == b"hello\r\n/dev/pts/0\r\ngot hello\r\n"
    assert session.task.call("Wait").exit_status == 0
    session.task.call("Delete")


def test_a_terminal_knows_its_size(terminal: Callable[[str], Terminal]) -> None:
    session = terminal("read line; stty size")
    session.task.call("ResizePty", width=100, height=30)
    os.write(session.writer, b"\n")
    assert b"30 100" in session.reader.read()


def test_a_terminals_last_words_arrive_however_many(terminal: Callable[[str], Terminal]) -> None:
    session = terminal("read line; seq 1 20000; echo end")
    os.write(session.writer, b"\n")
    lines = session.reader.read().split()
    assert lines[-2:] == [b"20000", b"end"]
    assert len(lines) == 20001


def test_a_creation_that_takes_long_lets_other_calls_pass(
    our_shim: Shim, bundle: BundleMaker, container_id: str, folder: Path
) -> None:
    program, go = folder / "logger", folder / "go"
    program.write_text(f"#!/bin/sh\nread line < {go}; exec 5>&-; cat <&3 >/dev/null\n")
    program.chmod(0o755)
    os.mkfifo(go)
    with running(our_shim, container_id, bundle(sh("true"))) as task:
        creating = task.tasks.begin(
            "Create", id=task.id, bundle=str(task.bundle.path), stdout=f"binary://{program}"
        )
        assert task.call("Connect").task_pid == 0
        with pytest.raises(CallError, match="already exists"):
            task.create()
        go.write_text("\n")
        assert task.tasks.collect("Create", creating).pid > 0
