"""Run a function in new namespaces and bring back what it returns or raises."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable, Sequence
from typing import TypeVar

from runwasi.linux.idmap import IdMap, write_maps
from runwasi.linux.mounts import MS_PRIVATE, MS_REC, mount
from runwasi.linux.namespaces import CLONE_NEWNS, CLONE_NEWUSER
from runwasi.linux.processes import fork_into, reap

Result = TypeVar("Result")

MAPPED_FROM = 100_000
"""Where the ids of a user namespace made here are in ours."""


def run_in(
    flags: int, body: Callable[[], Result], *, maps: Sequence[IdMap] | None = None, private: bool = False
) -> Result:
    """Fork into the namespaces of flags and return what body returns there; what it raises is raised here.

    In a user namespace the child becomes root by maps, 65536 ids from MAPPED_FROM unless given. With private
    nothing that it mounts reaches the caller's mount namespace.
    """
    answer, answering = os.pipe()
    go, going = os.pipe()
    child = fork_into(flags)
    if child is None:
        os.close(going)
        os.read(go, 1)
        _answer(answering, lambda: _prepared(flags, body, private))
    assert child is not None
    os.close(answering)
    os.close(go)
    if flags & CLONE_NEWUSER:
        mapping = maps or (IdMap(0, MAPPED_FROM, 65536),)
        write_maps(child.pid, mapping, mapping)
    os.close(going)
    with open(answer, "rb") as stream:
        data = stream.read()
    status = reap(child.pidfd)
    os.close(child.pidfd)
    if not data:
        raise ChildProcessError(f"the child ended with status {status} and no answer")
    failed, result = pickle.loads(data)
    if failed:
        raise result
    return result  # type: ignore[no-any-return]


def _prepared(flags: int, body: Callable[[], Result], private: bool) -> Result:
    if flags & CLONE_NEWUSER:
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    if private and flags & CLONE_NEWNS:
        mount(None, "/", None, MS_PRIVATE | MS_REC)
    return body()


def _answer(pipe: int, body: Callable[[], object]) -> None:
    """Write what body returns or raises and end the process."""
    try:
        data = pickle.dumps((False, body()))
    except BaseException as error:  # noqa: BLE001 - it is raised again in the parent
        error.add_note("in the child: " + traceback.format_exc())
        data = pickle.dumps((True, error))
    with open(pipe, "wb") as stream:
        stream.write(data)
    os._exit(0)
