"""Log lines are logrus's, and writing one never stops the server."""

from __future__ import annotations

import os
import re

from runwasi.shim.server.log import Log, open_log


def written(log_kind: str, **fields: str) -> str:
    read_end, write_end = os.pipe()
    log = Log(write_end, instance="one", pod="two words")
    getattr(log, log_kind)('said "so"', **fields)
    os.close(write_end)
    with open(read_end, encoding="utf-8") as file:
        return file.read()


def test_a_line_is_what_containerd_copies_into_its_log() -> None:
    line = written("warning", error="a=b\nc")
    assert re.fullmatch(
        r'time="\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z" level=warning msg="said \\"so\\""'
        r' instance=one pod="two words" error="a=b\\nc"\n',
        line,
    )


def test_control_characters_reach_no_terminal() -> None:
    assert written("warning", error="\x1b[2J\r\x9b\u202e").endswith(r'error="\x1b[2J\r\u009b\u202e"' + "\n")


def test_debug_lines_need_the_flag() -> None:
    assert written("debug") == ""


def test_a_fifo_without_a_reader_takes_lines_until_it_is_full(tmp_path: os.PathLike[str]) -> None:
    path = os.path.join(tmp_path, "log")
    os.mkfifo(path)
    fd = open_log(path)
    log = Log(fd)
    for _ in range(2000):
        log.info("x" * 100)
    os.close(fd)


def test_a_missing_fifo_is_no_reason_to_fail(tmp_path: os.PathLike[str]) -> None:
    fd = open_log(os.path.join(tmp_path, "log"))
    Log(fd).info("nobody hears this")
    os.close(fd)
