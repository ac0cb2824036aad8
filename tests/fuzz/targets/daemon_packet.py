"""The packets of the node daemon, and the command line and the input that come in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runwasi.executor.errors import Invalid
from runwasi.shim.bootstrap import Bootstrap
from runwasi.shim.client import packet
from runwasi.shim.client.packet import MAX_CALL, CallPacket, PacketError
from runwasi.shim.flags import Flags, UsageError
from runwasi.wire.codec import WireError
from runwasi.wire.messages.bootstrap import BootstrapParams
from runwasi.wire.messages.options import Options
from runwasi.wire.messages.well_known import Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ALLOWED = (PacketError, UsageError, Invalid, WireError)


def run(data: bytes) -> None:
    try:
        kind, status, output, errors = packet.read_reply(data)
    except PacketError:
        pass
    else:
        assert packet.read_reply(packet.reply(kind, status, output, errors)) == (kind, status, output, errors)
    call = CallPacket.decode(data[:MAX_CALL])
    assert CallPacket.decode(call.encode()).stdin == call.stdin
    flags = Flags.parse(list(call.arguments))
    again = Flags.parse(flags.arguments())
    assert again.__dict__ == flags.__dict__
    Bootstrap.read(call.stdin, flags).answer("unix:///run/s")


def seeds() -> Iterator[bytes]:
    arguments = [
        "-namespace",
        "k8s.io",
        "-address",
        "/run/containerd.sock",
        "-publish-binary",
        "ctr",
        "-id",
        "c1",
    ]
    params = BootstrapParams(instance_id="c1", namespace="k8s.io", socket_dir="/run/s", log_level=-4)
    options = Any(type_url="containerd.runc.v1.Options", value=Options(shim_cgroup="/shims").encode())
    toml = Any(type_url="runtimeoptions.v1.Options", value=b'\x1a\x12ShimCgroup = "/a"\n')
    for action, stdin in (
        ("start", params.encode()), ("start", options.encode()), ("start", toml.encode()), ("delete", b""),
    ):  # fmt: skip
        call = CallPacket(
            "1", "containerd-shim-wasmtime-v1", [*arguments, action], {"PATH": "/bin", "A": ""}, stdin
        )
        yield call.encode()
    yield packet.reply(packet.TAKEN)
    yield packet.reply(packet.ANSWER, 1, b"unix:///run/s", b"error")
