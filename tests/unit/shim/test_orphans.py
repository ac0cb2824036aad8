"""Who reaps whom in a server, in a process of its own: its signals and children must not be pytest's."""

from __future__ import annotations

import subprocess
import sys

_PROLOGUE = """
import os, select
from runwasi.linux import processes
from runwasi.shim.server import orphans
from runwasi.shim.server.reactor import Reactor

orphans._GRACE = 0.01

def failed(error):
    raise error

reactor = Reactor(failed)
orphans.Orphans(reactor, {})

def ended_with(status):
    child = processes.fork_into()
    if child is None:
        os._exit(status)
    return child
"""


def _output(program: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", _PROLOGUE + program], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_child_that_ends_during_a_long_turn_keeps_its_status_for_its_waiter() -> None:
    assert _output("""
first = ended_with(3)

def first_ended(_events):
    reactor.unwatch(first.pidfd)
    print(processes.reap(first.pidfd))
    second = ended_with(4)
    os.waitid(os.P_PID, second.pid, os.WEXITED | os.WNOWAIT)  # and so it is a zombie at the next look

    def second_ended(_events):
        reactor.unwatch(second.pidfd)
        print(processes.reap(second.pidfd))
        reactor.stop()

    reactor.watch(second.pidfd, second_ended)

reactor.watch(first.pidfd, first_ended)
reactor.run()
""") == ["3", "4"]


def test_an_orphan_of_a_containers_process_is_reaped() -> None:
    assert (
        _output("""
processes.set_child_subreaper()
parent = processes.fork_into()
if parent is None:
    ours = os.pidfd_open(os.getpid())
    if os.fork() == 0:
        select.select([ours], [], [])  # until it is an orphan
    os._exit(0)

def parent_ended(_events):
    reactor.unwatch(parent.pidfd)
    processes.reap(parent.pidfd)

def look():
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # there is no child left
        reactor.stop()
    else:
        reactor.call_later(0.02, look)

reactor.watch(parent.pidfd, parent_ended)
look()
reactor.run()
""")
        == []
    )
