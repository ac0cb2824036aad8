"""Keep compiled modules beside their layers in the content store, so that they go when the image goes.

The layer's content gets two labels: `runwasi.io/precompiled/ENGINE/KEY` says which artefact it is for us, and
`containerd.io/gc.ref.content.precompile.KEY` keeps it from the garbage collector for as long as the layer
lives. Until the labels are set, a lease does.

Labels are set by whoever may talk to containerd, which is root; no image can. A label is believed all the same
only of the layer that has it: what it names is run for no other module, engine or setting.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from contextlib import suppress

from runwasi.containerd.client import Containerd
from runwasi.containerd.containerd_error import NotFound
from runwasi.engines.module_cache import ModuleCache, UntrustedCache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PRECOMPILED = "runwasi.io/precompiled"
GC_REFERENCE = "containerd.io/gc.ref.content.precompile"

MAX_ARTEFACT = 1 << 30
"""Bytes of the largest artefact that is taken from the store."""

_LEASE_SECONDS = 600
_KEY_LENGTH = 64
_HEXADECIMAL = frozenset("0123456789abcdef")


def keep_artefact(address: str, namespace: str, engine: str, layer: str, key: str, artefact: int) -> None:
    """Write an artefact to the content store and tie it to the layer it was made of.

    layer is the digest of the layer's content, key the artefact's in the module cache. Several may do so at
    once. Raises ContainerdError; NotFound when the layer is gone, and then the artefact goes with the lease.
    """
    with (
        mmap.mmap(artefact, 0, prot=mmap.PROT_READ) as content,
        memoryview(content) as view,
        Containerd(address, namespace) as client,
    ):
        digest = f"sha256:{hashlib.sha256(view).hexdigest()}"
        unique = f"runwasi-{engine}-{key[:16]}-{os.getpid()}-{os.urandom(4).hex()}"
        with client.lease(unique, _LEASE_SECONDS) as lease:
            client.write(unique, digest, view, {PRECOMPILED: layer}, lease)
            client.set_labels(layer, {_label(engine, key): digest, f"{GC_REFERENCE}.{key}": digest})


def kept_keys(
    client: Containerd, engine: str, labels: Mapping[str, str], cache: ModuleCache, own_key: Callable[[], str]
) -> tuple[str, ...]:
    """Return the keys of the artefacts that the store holds for a layer with these labels.

    The one of own_key(), which is that of the layer's module, is put into this node's cache again when that has
    lost it, if the store's bytes are what its digest says.
    """
    prefix = f"{PRECOMPILED}/{engine}/"
    kept = []
    for label, digest in labels.items():
        key = label.removeprefix(prefix)
        if not label.startswith(prefix) or len(key) != _KEY_LENGTH or not _HEXADECIMAL.issuperset(key):
            continue
        try:
            info = client.info(digest)
        except NotFound:  # removed by hand: it is made again
            continue
        if PRECOMPILED not in info.labels or info.size > MAX_ARTEFACT:
            continue  # a layer of some image, say, and not what we wrote
        kept.append(key)
        if not cache.holds(key) and key == own_key():
            _restore(client, cache, key, digest)
    return tuple(kept)


def _restore(client: Containerd, cache: ModuleCache, key: str, digest: str) -> None:
    content = b"".join(client.read(digest))
    if f"sha256:{hashlib.sha256(content).hexdigest()}" == digest:
        with suppress(OSError, UntrustedCache):  # it is compiled again
            os.close(cache.store(key, content))


def _label(engine: str, key: str) -> str:
    return f"{PRECOMPILED}/{engine}/{key}"
