"""The filters of wasm containers: as tight as they were measured to be, and nothing beside."""

from __future__ import annotations

import errno
import itertools
import os
from pathlib import Path

import pytest

from runwasi.executor.process.seccomp_profile import compiled
from runwasi.executor.workload import wasm_filter
from runwasi.executor.workload.wasm_filter import FILTERS
from runwasi.executor.workload.wasm_syscalls import ARGUMENTS, EXECUTABLE_MEMORY, SYSCALLS
from runwasi.linux.waiting import finish
from runwasi.oci.seccomp import Seccomp
from tests.support.seccomp import ATTACKS, call, filtered, number_of

ALL = (*FILTERS, "")
SOCKETS = {"socket"}
NEVER = {"clone3", "socketpair"}
"""Measured, and refused all the same: the C library then does without."""


def profile(name: str, *, network: bool) -> Seccomp:
    return wasm_filter.profile(wasm_filter.rules_of(name, network=network))


def names_of(wanted: Seccomp) -> set[str]:
    return {name for rule in wanted.syscalls if rule.action == "SCMP_ACT_ALLOW" for name in rule.names}


def tried(wanted: Seccomp, folder: Path, *calls: tuple[str, tuple[int, ...]]) -> list[int]:
    """Make the calls behind the filter; return their error numbers."""
    filter_ = finish(compiled(wanted, str(folder)))
    assert filter_ is not None
    numbers = [(number_of(name), arguments) for name, arguments in calls]
    reading, writing = os.pipe()

    def work() -> int:
        for number, arguments in numbers:
            os.write(writing, bytes((call(number, *arguments),)))
        return 0

    assert filtered(filter_, work) == 0
    os.close(writing)
    with open(reading, "rb") as file:
        return list(file.read())


@pytest.mark.parametrize(("name", "network"), list(itertools.product(ALL, (True, False))))
def test_native_code_behind_a_filter_gets_nothing_done(name: str, network: bool, tmp_path: Path) -> None:
    errors = tried(profile(name, network=network), tmp_path, *ATTACKS)
    let_through = [
        attack
        for attack, error in zip(ATTACKS, errors, strict=True)
        if error not in (errno.EPERM, errno.ENOSYS)
    ]
    assert let_through == []


@pytest.mark.parametrize("name", ALL)
def test_without_the_network_there_is_no_socket(name: str, tmp_path: Path) -> None:
    calls = [("socket", (family, kind, 0)) for family in (1, 2, 10) for kind in (1, 2, 3)]
    assert set(tried(profile(name, network=False), tmp_path, *calls)) == {errno.EPERM}


@pytest.mark.parametrize("name", FILTERS)
def test_without_the_network_a_socket_that_is_there_neither_listens_nor_connects(name: str) -> None:
    assert not names_of(profile(name, network=False)) & {"bind", "connect", "listen", "socketpair", "socket"}


def test_a_server_without_new_sockets_still_serves_its_clients() -> None:
    wanted = {"accept4", "recvfrom", "sendto", "setsockopt", "epoll_wait", "shutdown"}
    assert wanted <= names_of(profile("wasmtime-http", network=False))


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_has_what_was_measured(name: str) -> None:
    allowed = names_of(profile(name, network=True))
    assert set(SYSCALLS[name]) - allowed <= NEVER | SOCKETS
    if ARGUMENTS[name].get("socket"):
        assert "socket" in allowed


@pytest.mark.parametrize("name", FILTERS)
def test_a_measured_filter_is_tighter_than_the_widest(name: str) -> None:
    assert names_of(profile(name, network=True)) < names_of(profile("", network=True))


@pytest.mark.parametrize("name", FILTERS)
def test_memory_becomes_executable_only_where_an_engine_makes_code(name: str, tmp_path: Path) -> None:
    private_anonymous = 0x22
    (error,) = tried(
        profile(name, network=True), tmp_path, ("mmap", (0, 4096, 7, private_anonymous, 1 << 64 - 1))
    )
    assert error == (0 if name in EXECUTABLE_MEMORY else errno.EPERM)


def test_an_unknown_name_gets_the_widest(tmp_path: Path) -> None:
    assert profile("no such engine", network=True) == profile("", network=True)


@pytest.mark.parametrize("name", [name for name in EXECUTABLE_MEMORY if name.startswith("wasmtime")])
def test_where_wasmtime_makes_code_it_may_tell_the_other_cpus(name: str) -> None:
    """On arm64 it does so with membarrier, and fails where that is refused."""
    assert "membarrier" in names_of(profile(name, network=True))
