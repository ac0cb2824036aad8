"""containerd's services as calls: containers, images, content and leases of one namespace."""

from __future__ import annotations

import contextlib
import time

from runwasi.containerd.channel import ALREADY_EXISTS, INTERNAL, NOT_FOUND, CallError, Channel
from runwasi.wire.codec import Message, WireError
from runwasi.wire.messages import containers, content, images, introspection, leases
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


class ContainerdError(Exception):
    """containerd did not do what it was asked; str() is one line that says what and why."""

    def __init__(self, message: str, code: int = INTERNAL) -> None:
        super().__init__(message)
        self.code = code


class NotFound(ContainerdError):
    """containerd has no such container, image or content."""


class Containerd:
    """A connection to containerd in one namespace. Every method raises ContainerdError."""

    def __init__(self, address: str, namespace: str, timeout: float = 30) -> None:
        """Connect; timeout is in seconds and for each call."""
        try:
            self._channel = Channel(address, (("containerd-namespace", namespace),), timeout)
        except OSError as error:
            raise ContainerdError(f"connect to containerd at {address}: {error.strerror or error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._channel.close()

    def image_name(self, container_id: str) -> str:
        """Return the name of the image a container was made from, "" where its client recorded none."""
        request = containers.GetContainerRequest(id=container_id)
        answer = self._call(f"{_CONTAINERS}/Get", request, containers.GetContainerResponse)
        return answer.container.image if answer.container else ""

    def image_target(self, name: str) -> Descriptor:
        """Return what an image's name stands for: a manifest or an index."""
        answer = self._call(f"{_IMAGES}/Get", images.GetImageRequest(name=name), images.GetImageResponse)
        if answer.image is None or answer.image.target is None:
            raise NotFound(f"image {name} has no target", NOT_FOUND)
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
        """Set these labels of a blob and leave its others to whoever writes them at the same time."""
        mask = FieldMask(paths=tuple(f"labels.{key}" for key in labels))
        request = content.UpdateRequest(info=content.Info(digest=digest, labels=labels), update_mask=mask)
        self._call(f"{_CONTENT}/Update", request, content.UpdateResponse)

    def write(self, ref: str, digest: str, blob: memoryview, labels: Mapping[str, str], lease: str) -> None:
        """Store a blob under a lease; one that is there already is as good.

        ref names the upload and must be nobody else's.
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
        """Hold a lease that keeps what is written under it, at the latest until it expires."""
        expiry = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
        request = leases.CreateRequest(id=lease_id, labels={"containerd.io/gc.expire": expiry})
        self._call(f"{_LEASES}/Create", request, leases.CreateResponse)
        try:
            yield lease_id
        finally:
            with contextlib.suppress(ContainerdError):  # it expires, should containerd be gone by now
                self._call(f"{_LEASES}/Delete", leases.DeleteRequest(id=lease_id), Message)

    def content_root(self) -> str:
        """Return the folder that the content store says it lives in, "" where it says none."""
        request = introspection.PluginsRequest(filters=("type==io.containerd.content.v1",))
        answer = self._call(f"{_INTROSPECTION}/Plugins", request, introspection.PluginsResponse)
        return next((plugin.exports["root"] for plugin in answer.plugins if "root" in plugin.exports), "")

    def _call(self, method: str, request: Message, answer_type: type[M]) -> M:
        try:
            return answer_type.decode(self._channel.call(method, request.encode()))
        except (CallError, WireError) as error:
            raise _translated(error, method) from error

    def _stream(
        self,
        method: str,
        requests: Iterable[Message],
        answer_type: type[M],
        metadata: Iterable[tuple[str, str]] = (),
    ) -> Iterator[M]:
        encoded = (request.encode() for request in requests)
        try:
            for answer in self._channel.stream(method, encoded, metadata):
                yield answer_type.decode(answer)
        except (CallError, WireError) as error:
            raise _translated(error, method) from error


def _write_requests(
    ref: str, digest: str, blob: memoryview, labels: Mapping[str, str]
) -> Iterator[content.WriteContentRequest]:
    """Pieces, then a commit: containerd compares size and digest and sets the labels with it."""
    for offset in range(0, len(blob), _CHUNK):
        piece = bytes(blob[offset : offset + _CHUNK])
        yield content.WriteContentRequest(action=content.WRITE, ref=ref, offset=offset, data=piece)
    yield content.WriteContentRequest(
        action=content.COMMIT, ref=ref, total=len(blob), offset=len(blob), expected=digest, labels=labels
    )


def _translated(error: CallError | WireError, method: str) -> ContainerdError:
    code = error.code if isinstance(error, CallError) else INTERNAL
    service, _, name = method.rpartition("/")
    message = f"containerd: {service.rpartition('.')[2]}.{name}: {error}"
    return NotFound(message, code) if code == NOT_FOUND else ContainerdError(message, code)
