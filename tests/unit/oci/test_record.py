"""The base class of records."""

from __future__ import annotations

from typing import Any

import pytest

from runwasi.oci.linux import IdMapping
from runwasi.oci.record import replaced
from runwasi.oci.state import ContainerProcessState, State

STATE = State(oci_version="1.3.0", id="c1", status="running", pid=7, bundle="/b")


def test_members_are_given_by_name_and_read_back() -> None:
    mapping = IdMapping(container_id=0, host_id=5, size=1)
    assert (mapping.container_id, mapping.host_id, mapping.size) == (0, 5, 1)
    assert repr(mapping) == "IdMapping(container_id=0, host_id=5, size=1)"


def test_records_cannot_be_changed() -> None:
    anything: Any = STATE
    with pytest.raises(AttributeError, match="immutable"):
        anything.pid = 8
    with pytest.raises(AttributeError, match="immutable"):
        del anything.pid


def test_equality_counts_defaults_that_were_not_given() -> None:
    assert replaced(STATE, annotations={}) == STATE
    assert replaced(STATE, pid=8) != STATE
    assert object() != STATE


def test_a_missing_or_unknown_member_is_a_type_error() -> None:
    anything: Any = IdMapping
    with pytest.raises(TypeError, match="needs host_id, size"):
        anything(container_id=1)
    with pytest.raises(TypeError, match="has no member sise"):
        anything(container_id=1, host_id=1, sise=1)


def test_a_copy_differs_only_where_it_was_told() -> None:
    stopped = replaced(STATE, status="stopped", pid=0)
    assert (stopped.id, stopped.status, stopped.pid) == ("c1", "stopped", 0)
    assert STATE.status == "running"


def test_state_is_written_with_the_specifications_names() -> None:
    assert STATE.to_json() == '{"ociVersion":"1.3.0","id":"c1","status":"running","pid":7,"bundle":"/b"}'


def test_a_seccomp_listener_is_sent_the_state_within_its_own() -> None:
    sent = ContainerProcessState(oci_version="1.3.0", fds=("seccompFd",), pid=7, state=STATE)
    assert sent.to_json() == (
        '{"ociVersion":"1.3.0","fds":["seccompFd"],"pid":7,"state":' + STATE.to_json() + "}"
    )
