"""The helper that asks containerd for a server: it stays while it is asked, and its absence is no failure.

Each test has a server of its own, an interpreter that has not imported grpcio: a process with grpcio's threads must
not fork, and this one is such a process.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from devtools.places import ROOT
from runwasi.engines.layer_choice import Layer
from runwasi.wire.messages.containers import Container, GetContainerResponse

_SERVER = """
import os, select, sys
from runwasi.containerd.containerd_error import ContainerdError
from runwasi.containerd.image_helper import ImageHelper
from runwasi.linux import processes

def ended(child):
    assert select.select([child.pidfd], [], [], 60)[0], "it does not end"
    assert processes.reap(child.pidfd) == 0
    os.close(child.pidfd)

def ask(helper, container_id):
    try:
        helper.fetch_layers(sys.argv[1], "default", container_id)
    except ContainerdError as error:
        print(error.code, error)

"""


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


def _said(code: str, address: str) -> list[str]:
    """Run a server's code and return the lines it printed."""
    command = [sys.executable, "-c", _SERVER + code, address]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def test_one_helper_answers_again_and_again_and_ends_with_its_server(containerd: str) -> None:
    code = """
helper = ImageHelper("wasmtime")
child = helper.start()
assert helper.start() is None
ask(helper, "c")
ask(helper, "missing")
ask(helper, "c")
helper.ended()
ended(child)
"""
    no_image, missing, again = _said(code, containerd)
    assert no_image.startswith("13 no image is recorded for c in containerd")
    assert missing == "5 containerd: Containers.Get: no such container"
    assert again == no_image


def test_a_containerd_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    code = """
helper = ImageHelper("wasmtime")
child = helper.start()
ask(helper, "c")
helper.ended()
ended(child)
"""
    (line,) = _said(code, f"{tmp_path}/none")
    assert line.startswith(f"14 containerd at {tmp_path}/none does not answer: ")


def test_an_idle_helper_ends_and_the_next_request_starts_another(tmp_path: Path) -> None:
    code = """
helper = ImageHelper("wasmtime", idle=0.01)
for _ in range(2):
    ended(helper.start())
    helper.ended()
print("done")
"""
    assert _said(code, f"{tmp_path}/none") == ["done"]


def test_who_finds_the_helper_gone_asks_by_itself(containerd: str) -> None:
    code = """
helper = ImageHelper("wasmtime", idle=0.01)
ended(helper.start())  # and the server has not noticed yet
ask(helper, "missing")
"""
    assert _said(code, containerd) == ["5 containerd: Containers.Get: no such container"]


def test_a_layer_is_read_back_whatever_its_title() -> None:
    layer = Layer("a\nb\0c", "application/wasm", "sha256:12", "sha256:34", 7, ("k1", "k2"))
    read = Layer.from_text(layer.to_text(), 8)
    assert (read.title, read.digest, read.blob, read.fd, read.kept) == (
        "a bc",
        "sha256:12",
        "sha256:34",
        8,
        ("k1", "k2"),
    )
