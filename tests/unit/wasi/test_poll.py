"""Pollables whose source is gone, and lists of them."""

from __future__ import annotations

import os
import select
import socket

import pytest

from runwasi.linux.fd import Fd
from runwasi.wasi.component.guest import MOST_HANDLES, Guest
from runwasi.wasi.component.interface import GuestFault, Resource
from runwasi.wasi.component.world import World
from runwasi.wasi.io.poll import Pollable


def test_a_pollable_of_a_dropped_socket_does_not_look_at_the_number_s_next_owner() -> None:
    ours, peer = socket.socketpair()
    pollable = Pollable(ours, select.POLLIN)
    assert not pollable.ready()
    number = ours.fileno()
    ours.close()
    reading, writing = os.pipe()
    os.dup2(reading, number)
    try:
        assert pollable.ready()
        assert pollable.sources()[0] is None
    finally:
        for fd in {reading, writing, number}:
            os.close(fd)
        peer.close()


def test_a_pollable_of_a_closed_descriptor_is_ready() -> None:
    reading, writing = map(Fd, os.pipe())
    pollable = Pollable(reading, select.POLLIN)
    assert not pollable.ready()
    reading.close()
    writing.close()
    assert pollable.ready()


def test_a_guest_holds_only_so_many_handles() -> None:
    dropped = []

    class Held(Resource):
        def drop(self) -> None:
            dropped.append(self)

    guest = Guest(0, -1, World())
    try:
        held = Held()
        for _ in range(MOST_HANDLES):
            guest.hold(held)
        with pytest.raises(GuestFault):
            guest.hold(Held())
        assert len(dropped) == 1
    finally:
        guest.close()
