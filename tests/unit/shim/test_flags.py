"""A shim's command line, as containerd writes it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runwasi.shim.flags import Flags, UsageError


def test_containerds_own_arguments_are_read() -> None:
    flags = Flags.parse(
        [
            "-namespace",
            "k8s.io",
            "-address",
            "/run/c.sock",
            "-publish-binary",
            "/bin/c",
            "-id",
            "x",
            "-debug",
            "start",
        ]
    )
    assert (flags.namespace, flags.address, flags.publish_binary, flags.id) == (
        *("k8s.io", "/run/c.sock", "/bin/c", "x"),
    )
    assert flags.debug
    assert flags.action == "start"


@pytest.mark.parametrize("arguments", [["-id=x"], ["--id=x"], ["--id", "x"], ["-id", "x"]])
def test_gos_ways_to_write_a_flag_are_all_understood(arguments: list[str]) -> None:
    assert Flags.parse(arguments).id == "x"


def test_an_empty_value_is_a_value() -> None:
    assert Flags.parse(["-id", "", "-namespace=", "delete"]).action == "delete"


@pytest.mark.parametrize(("value", "meant"), [("1", True), ("true", True), ("F", False), ("0", False)])
def test_a_switch_may_have_a_value(value: str, meant: bool) -> None:
    assert Flags.parse([f"-debug={value}"]).debug is meant


@pytest.mark.parametrize(
    ("arguments", "why"),
    [(["-id"], "needs an argument"), (["-what", "x"], "not defined: -what"), (["-debug=maybe"], "maybe")],
)
def test_invalid_arguments_are_named(arguments: list[str], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        Flags.parse(arguments)


@given(st.text(), st.text(), st.booleans())
def test_arguments_parse_to_the_same(container_id: str, bundle: str, debug: bool) -> None:
    flags = Flags()
    flags.id, flags.bundle, flags.debug, flags.action = container_id, bundle, debug, "start"
    again = Flags.parse(flags.arguments())
    assert vars(again) == vars(flags)


@pytest.mark.parametrize("action", ["--", "-id", "-"])
def test_an_action_like_a_flag_stays_the_action(action: str) -> None:
    flags = Flags.parse(["--", action])
    assert flags.action == action
    assert Flags.parse(flags.arguments()).action == action


@pytest.mark.parametrize("namespace", ["", ".", "..", "../other", "/"])
def test_a_namespace_whose_state_would_be_elsewhere_is_refused(namespace: str) -> None:
    with pytest.raises(UsageError, match="shim namespace"):
        Flags.parse(["-namespace", namespace, "start"]).check_namespace()
