"""The helper that asks containerd for a server: it stays while it is asked, and its absence is no failure."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from runwasi.containerd.containerd_error import ContainerdError, NotFound
from runwasi.containerd.image_helper import ImageHelper
from runwasi.engines.layer_choice import Layer
from runwasi.linux import processes
from runwasi.wire.messages.containers import Container, GetContainerResponse


class Service(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # not generic at run time
    """A containerd whose containers have no image."""

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        if call.method != "/containerd.services.containers.v1.Containers/Get":
            return None
        return grpc.unary_unary_rpc_method_handler(self._get)

    def _get(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        if b"missing" in request:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such container")
        return GetContainerResponse(container=Container(id="c")).encode()


@pytest.fixture
def containerd(tmp_path: Path) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((Service(),))
    server.add_insecure_port(f"unix:{tmp_path}/s")
    server.start()
    yield f"{tmp_path}/s"
    server.stop(None).wait()


@pytest.fixture
def helper() -> Iterator[ImageHelper]:
    helper = ImageHelper("wasmtime", idle=30)
    child = helper.start()
    assert child is not None
    yield helper
    helper.ended()
    assert select.select([child.pidfd], [], [], 30)[0], "it ends when nobody can ask it any more"
    assert processes.reap(child.pidfd) == 0
    os.close(child.pidfd)


def test_one_helper_answers_again_and_again(helper: ImageHelper, containerd: str) -> None:
    assert helper.start() is None
    for _ in range(3):
        with pytest.raises(ContainerdError, match="no image is recorded for c in containerd"):
            helper.fetch_layers(containerd, "default", "c")


def test_an_error_keeps_its_words_and_its_code(helper: ImageHelper, containerd: str) -> None:
    with pytest.raises(ContainerdError, match=r"^containerd: Containers.Get: no such container$") as failure:
        helper.fetch_layers(containerd, "default", "missing")
    assert failure.value.code == NotFound("", 5).code


def test_a_containerd_that_is_not_there_is_told_in_one_line(helper: ImageHelper, tmp_path: Path) -> None:
    with pytest.raises(ContainerdError) as failure:
        helper.fetch_layers(f"{tmp_path}/none", "default", "c")
    assert str(failure.value).startswith(f"containerd at {tmp_path}/none does not answer: ")
    assert "\n" not in str(failure.value)


def test_an_idle_helper_ends_and_the_next_request_starts_another() -> None:
    helper = ImageHelper("wasmtime", idle=0.01)
    for _ in range(2):
        child = helper.start()
        assert child is not None
        assert select.select([child.pidfd], [], [], 30)[0]
        assert processes.reap(child.pidfd) == 0
        os.close(child.pidfd)
        helper.ended()


def test_who_finds_the_helper_gone_asks_by_itself(tmp_path: Path) -> None:
    helper = ImageHelper("wasmtime", idle=0.01)
    child = helper.start()
    assert child is not None
    assert select.select([child.pidfd], [], [], 30)[0]
    processes.reap(child.pidfd)
    os.close(child.pidfd)  # and the server has not noticed yet
    with pytest.raises(ContainerdError, match="does not answer"):
        helper.fetch_layers(f"{tmp_path}/none", "default", "c")
    helper.ended()


def test_a_layers_text_survives_what_an_image_calls_it() -> None:
    layer = Layer("a\nb\0c", "application/wasm", "sha256:12", "sha256:34", 7, ("k1", "k2"))
    read = Layer.from_text(layer.to_text(), 8)
    assert (read.title, read.digest, read.blob, read.fd, read.kept) == (
        "a bc",
        "sha256:12",
        "sha256:34",
        8,
        ("k1", "k2"),
    )
