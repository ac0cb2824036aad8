"""The inset: whatever a guest does, its client sees the same with it and without it."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from devtools.components.build import component, dummy, wasm_tools
from runwasi.engines import wasmtime_capi
from runwasi.engines.engine import CannotHandle, Context, Module
from runwasi.engines.guest_limits import Limits
from runwasi.engines.wasm.component_outline import NotUnderstood
from runwasi.engines.wasmtime import INSET_VERSION, WasmtimeEngine
from runwasi.wasi import interfaces
from runwasi.wasi.component import wit_types
from runwasi.wasi.component.capi import OUT, lib, take_error, word
from runwasi.wasi.component.linker import HostLinker
from runwasi.wasi.component.world import World
from runwasi.wasi.http import exchange as exchanges
from runwasi.wasi.http.exchange import Exchange
from runwasi.wasi.http.framing import Framing
from runwasi.wasi.http.guest_call import GuestCall, Handler
from runwasi.wasi.http.requests import RequestHead
from runwasi.wasi.inset.inset_common import COMMON
from runwasi.wasi.inset.inset_functions import FUNCTIONS, PASSED_ON
from runwasi.wasi.inset.inset_host import inset
from runwasi.wasi.inset.inset_interface import ANSWER, HOST, SIGNATURES
from runwasi.wasi.inset.setting import with_inset
from runwasi.wasi.io.poll import wait_for_any

HANDLER = "wasi:http/incoming-handler@0.2.12"

SHORT = "farowpMxy."
"""The calls of a guest for a short response, all of which the inset keeps."""

LETTERS = "fFabBcdeEhHjsSDkKCiArtTg2GovpPqwyYzWL0mMNOuUVxQRIJZ!"


class Outcome(NamedTuple):
    """The response that the client gets, and the log that the operator reads."""

    status: int
    lines: bytes
    body: bytes
    whole: bool
    trouble: str
    told: bytes


STUCK = Outcome(0, b"", b"", False, "waits for a client that never takes this body", b"")


@cache
def _engine() -> int:
    interfaces.load()
    return wasmtime_capi.WasmEngine(fuel=False, memory_reservation=None, parallel=False).pointer


@cache
def _handler(name: str, inset_in: bool) -> Handler:
    binary = component(name).read_bytes()
    error = lib.new(_engine(), *_sized(with_inset(binary) if inset_in else binary), OUT)
    if error:
        raise take_error(error)
    pointer = word(OUT)
    linker = HostLinker(_engine(), wit_types.imports(_engine(), pointer), concurrent=True)
    _LINKERS.append(linker)
    if inset_in:
        function = lib.get_export_index(pointer, None, *_sized(ANSWER.encode()))
    else:
        instance = lib.get_export_index(pointer, None, *_sized(HANDLER.encode()))
        function = lib.get_export_index(pointer, instance, *_sized(b"handle"))
    world = World([""])
    return Handler(_engine(), pointer, linker.pointer, function, world, Limits, inset=inset_in)


_LINKERS: list[HostLinker] = []  # which hold the callbacks


def _sized(data: bytes) -> tuple[bytes, int]:
    return data, len(data)


def _outcome(handler: Handler) -> Outcome:
    """Let a guest work for a request, and send what there is whenever it waits."""
    exchange, framing = Exchange(RequestHead()), Framing()
    exchange.body.ended = True
    read_end, write_end = os.pipe()
    kept = os.dup(1)
    os.dup2(write_end, 1)
    try:
        call = GuestCall(handler, exchange)
        sent = b"".join(framing.take(exchange))
        while call.suspended:
            assert call.guest.suspension is not None
            waits_for = list(call.guest.suspension.waits_for)
            if not call.ready():
                if all(each.sources() == (None, 0, None) for each in waits_for):
                    call.cancel()
                    return STUCK
                wait_for_any(waits_for)
            call.resume()
            sent += b"".join(framing.take(exchange))
    finally:
        os.dup2(kept, 1)
        for fd in (kept, write_end):
            os.close(fd)
    told = os.read(read_end, 1 << 16)
    os.close(read_end)
    trouble = call.trouble.partition("\n")[0]
    return _seen(sent, exchange, trouble, told)


def _seen(sent: bytes, exchange: Exchange, trouble: str, told: bytes) -> Outcome:
    head, _, body = sent.partition(b"\r\n\r\n")
    _, _, lines = head.partition(b"\r\n")
    whole = not exchange.aborted
    if b"transfer-encoding: chunked" in lines:
        body = _unchunked(body)
    lines = re.sub(
        rb"(date: \w\w\w, [^\r]*|transfer-encoding: chunked|content-length: \d+)(\r\n|$)", b"", lines
    )
    return Outcome(exchange.status, lines.rstrip(), body, whole, _kind(trouble), told)


def _unchunked(body: bytes) -> bytes:
    whole = b""
    while body and (size := int(body.partition(b"\r\n")[0], 16)):
        begin = body.index(b"\r\n") + 2
        whole += body[begin : begin + size]
        body = body[begin + size + 2 :]
    return whole


def _kind(trouble: str) -> str:
    """Traps have other words where a handle is invalid: the number is another."""
    return "trap" if "trap" in trouble or "failed" in trouble else trouble


@pytest.fixture
def no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a flush stay, however long the guest takes: so what is sent does not depend on the machine."""
    monkeypatch.setattr(exchanges, "FLUSH_DELAY", 1e9)
    monkeypatch.setattr(Exchange, "hurry", lambda _self: None)


def _both(script: str) -> tuple[Outcome, Outcome]:
    found = []
    for inset_in in (False, True):
        handler = _handler("script", inset_in)
        handler.world.args = [script]
        found.append(_outcome(handler))
    return found[0], found[1]


def _compare(script: str) -> None:
    """The bodies by their sizes first, as they are too large to be shown."""
    plain, ours = _both(script)
    if plain != STUCK:
        assert plain._replace(body=b"") == ours._replace(body=b"")
        assert len(plain.body) == len(ours.body)
        assert (plain.body == ours.body) is True


@pytest.mark.usefixtures("no_hurry")
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.sampled_from(LETTERS), max_size=14).map("".join))
@example(SHORT)
def test_results_differ_only_in_their_time(script: str) -> None:
    _compare(script)


_RARELY = st.sampled_from(["", "", "", "", "", "A", "i", "fr", "v", "!"])
_PLAUSIBLE = st.tuples(
    st.sampled_from(["f", "F"]), st.text("abBcdeEhHjsSDkKC", max_size=4), _RARELY,
    st.just("r"), st.text("tT2gG", max_size=2), _RARELY, st.sampled_from(["o", "oZ", "oI"]),
    st.sampled_from(["p", "p", "", "P"]), st.just("w"), st.sampled_from(["", "", "p"]),
    st.text("WL0mMNOuUVZQRI", max_size=6), _RARELY, st.sampled_from(["x", "x", "x", ""]),
    st.sampled_from(["y", "y", "y", "yp", "z", "Z", "fY", ""]), st.text("ZQR!", max_size=2),
).map("".join)  # fmt: skip
_LARGE = st.lists(st.sampled_from(["9", "L", "W", "M", "U", "Z"]), max_size=12).map(
    lambda writes: f"farowp{''.join(writes)}xy."
)


@pytest.mark.usefixtures("no_hurry")
@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(_PLAUSIBLE)
def test_nothing_but_the_time_is_different_where_it_makes_sense(script: str) -> None:
    _compare(script)


@pytest.mark.usefixtures("no_hurry")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(_LARGE)
def test_large_bodies_are_the_same(script: str) -> None:
    _compare(script)


@pytest.mark.parametrize(
    "script", [SHORT, "FrtowpMxy.", "frp.", "farowpLLLWxy.", "farowWxyp.", "fsropQwmMuxy."]
)
def test_a_short_response_takes_no_call_of_the_host(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_self: Exchange, _response: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Exchange, "respond", never)
    handler = _handler("script", True)
    handler.world.args = [script]
    assert _outcome(handler).status in (200, 404)


def test_a_second_flush_sends_the_bytes() -> None:
    """A guest that computes between its flushes is not kept from streaming."""
    handler = _handler("script", True)
    handler.world.args = ["farowpWWWWxy."]
    waits: list[bytes] = []
    exchange, framing = Exchange(RequestHead()), Framing()
    exchange.body.ended = True
    call = GuestCall(handler, exchange)
    while call.suspended:
        waits.append(b"".join(framing.take(exchange)))
        call.resume()
    assert waits[0].count(b"hello") == 2


def test_it_is_in_all_that_wit_component_makes() -> None:
    for name in ("hello", "server", "script"):
        assert HOST.encode() in with_inset(component(name).read_bytes())
    assert HOST.encode() in with_inset(dummy("server").read_bytes())


@pytest.mark.parametrize("name", ["program", "functions"])
def test_it_is_in_nothing_else(name: str) -> None:
    with pytest.raises(NotUnderstood):
        with_inset(component(name).read_bytes())


def test_it_is_not_set_in_twice() -> None:
    once = with_inset(component("hello").read_bytes())
    with pytest.raises(NotUnderstood, match="reserved for runwasi"):
        with_inset(once)


@pytest.mark.parametrize(
    ("where", "what"),
    [
        (
            "(core instance $main ",
            '(alias core export $wit-component-shim-instance "memory" (core memory))\n  ',
        ),
        (
            "(core instance $main ",
            '(alias core export $wit-component-shim-instance "more-0" (core func))\n  ',
        ),
        ('(import "shim" "$imports"', '(import "shim" "memory" (memory 1))\n    '),
    ],
)
def test_a_component_that_would_reach_into_it_does_without(where: str, what: str) -> None:
    """Without the inset the shim has no such thing, and the component is none."""
    text = wasm_tools("print", component("hello")).decode()
    assert text.count(where) == 1
    hostile = wasm_tools("parse", stdin=text.replace(where, what + where).encode())
    with pytest.raises(NotUnderstood, match="of its shim"):
        with_inset(hostile)


def test_a_component_that_seems_to_have_it_is_refused() -> None:
    """The result of its own function would be taken for a response in the inset's form."""
    seeming = with_inset(component("hello").read_bytes())
    with pytest.raises(CannotHandle, match="reserved for runwasi"):
        WasmtimeEngine().precompile(seeming)
    with tempfile.TemporaryFile() as file:
        file.write(seeming)
        file.flush()
        with pytest.raises(CannotHandle, match="reserved for runwasi"):
            WasmtimeEngine().can_handle(Context(["app"], Module("app", file.fileno())))


@settings(max_examples=500)
@given(st.data())
def test_no_component_breaks_it(data: st.DataObject) -> None:
    mutated = bytearray(component("hello").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(8, len(mutated) - 1))
        mutated[at] = data.draw(st.integers(0, 255))
    try:
        with_inset(bytes(mutated[: data.draw(st.sampled_from([None, at]))]))
    except NotUnderstood:
        pass


def test_another_inset_has_another_version() -> None:
    """Artefacts with the old one would be taken for those with the new one."""
    texts = repr((COMMON, FUNCTIONS, PASSED_ON, SIGNATURES))
    assert (INSET_VERSION, hashlib.sha256(texts.encode()).hexdigest()[:16]) == (1, "96d04fb7dfbaea11")


def test_the_host_has_what_the_inset_asks_for() -> None:
    functions: dict[str, Callable[..., object]] = inset.functions
    assert set(functions) == set(SIGNATURES)
    for name, (params, _) in SIGNATURES.items():
        assert functions[name].__code__.co_argcount == 1 + len(params)
