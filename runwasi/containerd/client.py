"""Calls containerd's services: containers, images, content and leases of one namespace.

grpcio carries the calls; the messages are our own. Importing this module imports grpcio, which takes 40 ms and
starts threads once a channel is open, so only the process of image_helper does.
"""

from __future__ import annotations

import contextlib
import os
import time

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # read at import; the errors say what failed
import grpc

from runwasi.containerd.containerd_error import (
    ALREADY_EXISTS,
    INTERNAL,
    NOT_FOUND,
    UNAVAILABLE,
    ContainerdError,
    NotInContainerd,
)
from runwasi.wire.codec import Message
from runwasi.wire.messages import containers, content, images, introspection, leases, version
from runwasi.wire.messages.well_known import FieldMask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Self, TypeVar

    from runwasi.wire.messages.types import Descriptor

    M = TypeVar("M", bound=Message)

_CHUNK = 1 << 20
_CONTENT = "/containerd.services.content.v1.Content"
_IMAGES = "/containerd.services.images.v1.Images"
_CONTAINERS = "/containerd.services.containers.v1.Containers"
_LEASES = "/containerd.services.leases.v1.Leases"
_INTROSPECTION = "/containerd.services.introspection.v1.Introspection"
_VERSION = "/containerd.services.version.v1.Version"
_MAX_MESSAGE = 16 << 20  # containerd's own limit
_OPTIONS = (
    ("grpc.default_authority", "localhost"),  # Go's server refuses the path of a socket as a host
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", _MAX_MESSAGE),
    ("grpc.max_send_message_length", _MAX_MESSAGE),
    ("grpc.use_local_subchannel_pool", 1),  # a new connection must not reuse a broken one
)


class Containerd:
    """A connection to containerd in one namespace. Every method raises ContainerdError."""

    def __init__(self, address: str, namespace: str, timeout: float = 30) -> None:
        """Prepare to connect; the first call connects. timeout is in seconds, for each call."""
        self._address = address
        self._metadata = (("containerd-namespace", namespace),)
        self._timeout = timeout
        self._channel = grpc.insecure_channel(f"unix:{address.removeprefix('unix://')}", options=_OPTIONS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._channel.close()

    def image_name(self, container_id: str) -> str:
        """Return the name of a container's image, "" if its client recorded none."""
        request = containers.GetContainerRequest(id=container_id)
        answer = self._call(f"{_CONTAINERS}/Get", request, containers.GetContainerResponse)
        return answer.container.image if answer.container else ""

    def image_target(self, name: str) -> Descriptor:
        """Return the descriptor that an image's name refers to: a manifest or an index."""
        answer = self._call(f"{_IMAGES}/Get", images.GetImageRequest(name=name), images.GetImageResponse)
        if answer.image is None or answer.image.target is None:
            raise NotInContainerd(f"image {name} has no target", NOT_FOUND)
        return answer.image.target

    def info(self, digest: str) -> content.Info:
        """Return a blob's size and labels."""
        answer = self._call(f"{_CONTENT}/Info", content.InfoRequest(digest=digest), content.InfoResponse)
        return answer.info or content.Info(digest=digest)

    def read(self, digest: str) -> Iterator[bytes]:
        """Read a blob in pieces."""
        request = content.ReadContentRequest(digest=digest)
        for answer in self._stream(f"{_CONTENT}/Read", (request,), content.ReadContentResponse):
            yield answer.data

    def set_labels(self, digest: str, labels: Mapping[str, str]) -> None:
        """Set these labels of a blob, and leave its other labels alone."""
        mask = FieldMask(paths=tuple(f"labels.{key}" for key in labels))
        request = content.UpdateRequest(info=content.Info(digest=digest, labels=labels), update_mask=mask)
        self._call(f"{_CONTENT}/Update", request, content.UpdateResponse)

    def write(self, ref: str, digest: str, blob: memoryview, labels: Mapping[str, str], lease: str) -> None:
        """Store a blob under a lease, unless the blob exists.

        ref names the upload, and must be unique.
        """
        try:
            for _answer in self._stream(
                f"{_CONTENT}/Write",
                _write_requests(ref, digest, blob, labels),
                content.WriteContentResponse,
                (("containerd-lease", lease),),
            ):
                pass
        except ContainerdError as error:
            if error.code != ALREADY_EXISTS:
                raise

    @contextlib.contextmanager
    def lease(self, lease_id: str, seconds: int) -> Iterator[str]:
        """Hold a lease that protects the blobs written under it, until it ends or expires."""
        expiry = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
        request = leases.CreateRequest(id=lease_id, labels={"containerd.io/gc.expire": expiry})
        self._call(f"{_LEASES}/Create", request, leases.CreateResponse)
        try:
            yield lease_id
        finally:
            with contextlib.suppress(ContainerdError):  # it expires anyway, if containerd has gone
                self._call(f"{_LEASES}/Delete", leases.DeleteRequest(id=lease_id), Message)

    def version(self) -> str:
        """Return containerd's name for its release."""
        return self._call(f"{_VERSION}/Version", Message(), version.VersionResponse).version

    def content_root(self) -> str:
        """Return the content store's folder, "" if it reports none."""
        request = introspection.PluginsRequest(filters=("type==io.containerd.content.v1",))
        answer = self._call(f"{_INTROSPECTION}/Plugins", request, introspection.PluginsResponse)
        return next((plugin.exports["root"] for plugin in answer.plugins if "root" in plugin.exports), "")

    def _call(self, method: str, request: Message, answer_type: type[M]) -> M:
        call = self._channel.unary_unary(method, Message.encode, answer_type.decode)
        try:
            answer: M = call(request, timeout=self._timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self._translated(error, method) from None
        return answer

    def _stream(
        self,
        method: str,
        requests: Iterable[Message],
        answer_type: type[M],
        metadata: tuple[tuple[str, str], ...] = (),
    ) -> Iterator[M]:
        call = self._channel.stream_stream(method, Message.encode, answer_type.decode)
        try:
            yield from call(iter(requests), timeout=self._timeout, metadata=self._metadata + metadata)
        except grpc.RpcError as error:
            raise self._translated(error, method) from None

    def _translated(self, error: grpc.RpcError, method: str) -> ContainerdError:
        # the errors of a call are also the call
        code = error.code().value[0] if isinstance(error, grpc.Call) else INTERNAL
        why = error.details() if isinstance(error, grpc.Call) else str(error)
        if (
            code == UNAVAILABLE
        ):  # grpcio's message begins with the attempts, and ends with the kernel's reason
            return ContainerdError(
                f"containerd at {self._address} does not answer: {str(why).rpartition(': ')[2]}", code
            )
        service, _, name = method.rpartition("/")
        message = f"containerd: {service.rpartition('.')[2]}.{name}: {why}"
        return NotInContainerd(message, code) if code == NOT_FOUND else ContainerdError(message, code)


def _write_requests(
    ref: str, digest: str, blob: memoryview, labels: Mapping[str, str]
) -> Iterator[content.WriteContentRequest]:
    """Yield the pieces, then a commit: containerd checks size and digest, and sets the labels with it."""
    for offset in range(0, len(blob), _CHUNK):
        piece = bytes(blob[offset : offset + _CHUNK])
        yield content.WriteContentRequest(action=content.WRITE, ref=ref, offset=offset, data=piece)
    yield content.WriteContentRequest(
        action=content.COMMIT, ref=ref, total=len(blob), offset=len(blob), expected=digest, labels=labels
    )
