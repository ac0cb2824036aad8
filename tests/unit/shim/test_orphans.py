"""Who reaps whom in a server, in a process of its own: its signals and children must not be pytest's."""

from __future__ import annotations

import subprocess
import sys

_PROLOGUE = """
import os, time
from runwasi.linux import processes
from runwasi.shim.server import orphans
from runwasi.shim.server.reactor import Reactor

orphans._GRACE = 0.05

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


def test_a_child_that_ends_in_a_long_turn_keeps_its_status_for_who_waits() -> None:
    assert _output("""
first = ended_with(3)

def first_ended(_events):
    reactor.unwatch(first.pidfd)
    print(processes.reap(first.pidfd))
    second = ended_with(4)
    time.sleep(0.2)  # longer than the grace period, as the start of many containers at once is

    def second_ended(_events):
        reactor.unwatch(second.pidfd)
        print(processes.reap(second.pidfd))
        reactor.stop()

    reactor.watch(second.pidfd, second_ended)

reactor.watch(first.pidfd, first_ended)
reactor.run()
""") == ["3", "4"]


def test_what_a_containers_process_leaves_behind_is_reaped() -> None:
    assert _output("""
processes.set_child_subreaper()
parent = processes.fork_into()
if parent is None:
    if os.fork() == 0:
        time.sleep(0.1)
        os._exit(0)
    os._exit(0)

def parent_ended(_events):
    reactor.unwatch(parent.pidfd)
    processes.reap(parent.pidfd)

reactor.watch(parent.pidfd, parent_ended)
reactor.call_later(1, reactor.stop)
reactor.run()
print(orphans._zombies())
""") == ["set()"]
