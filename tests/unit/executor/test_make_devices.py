"""The device nodes of a container are its own, whatever its creator does meanwhile."""

from __future__ import annotations

import os
from errno import EPERM
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from runwasi.executor.child import make_devices
from runwasi.executor.child.make_devices import Node
from runwasi.executor.protocol import PROCEED, Channel

if TYPE_CHECKING:
    from collections.abc import Iterator

_NODE = Node("/dev/null", 0o020600, os.makedev(1, 3))


@pytest.fixture
def context() -> Iterator[Any]:
    """A child whose creator has just set the rules for devices."""
    parent, child = Channel.pair()
    parent.send(PROCEED, "7")
    yield SimpleNamespace(plan=SimpleNamespace(userns=False), channel=child, pid=0)
    parent.close()
    child.close()


def _made(context: Any, monkeypatch: pytest.MonkeyPatch, *, allowed: bool) -> list[str]:
    """Return how a node was made where the kernel allows it, or not, once the rules are set, and not before."""
    made = []

    def mknod(*_: object, **__: object) -> None:
        if not (context.pid and allowed):
            raise PermissionError(EPERM, os.strerror(EPERM))
        made.append("made")

    monkeypatch.setattr(os, "mknod", mknod)
    monkeypatch.setattr(make_devices, "_bind_node", lambda *_: made.append("bound"))
    make_devices._make_node(context, 0, "null", _NODE)
    return made


def test_a_node_is_made_that_is_refused_only_while_the_rules_are_set(
    context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host's in its place may have another mode or owner, or not be there."""
    assert _made(context, monkeypatch, allowed=True) == ["made"]


def test_where_no_node_can_be_made_the_hosts_is_bound(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _made(context, monkeypatch, allowed=False) == ["bound"]
