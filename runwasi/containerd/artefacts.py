"""Keeps compiled modules beside their layers in the content store, so that they are removed with the image.

The layer's content gets two labels: `runwasi.io/precompiled/ENGINE/KEY` names the artefact for us, and
`containerd.io/gc.ref.content.precompile.KEY` protects it from the garbage collector for as long as the layer
exists. Until the labels are set, a lease protects it.

Only root, who may talk to containerd, can set labels; no image can. Even so, a label counts only for the layer
that has it: the artefact that it names is never run for another module, engine or setting.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from contextlib import suppress

from runwasi.containerd.client import Containerd
from runwasi.containerd.containerd_error import NotInContainerd
from runwasi.engines.module_cache import ModuleCache, UntrustedCache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PRECOMPILED = "runwasi.io/precompiled"
GC_REFERENCE = "containerd.io/gc.ref.content.precompile"

MAX_ARTEFACT = 1 << 30
"""The largest artefact that is read from the store, in bytes."""

_LEASE_SECONDS = 600
_KEY_LENGTH = 64
_HEXADECIMAL = frozenset("0123456789abcdef")


def keep_artefact(address: str, namespace: str, engine: str, layer: str, key: str, artefact: int) -> None:
    """Write an artefact to the content store, and tie it to its layer.

    layer is the digest of the layer's content, key the artefact's key in the module cache. Safe to call from
    several processes at once. Raises ContainerdError; NotInContainerd if the layer is gone: the artefact then goes
    with the lease.
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

    own_key() is the key of the layer's module. If this node's cache has lost that artefact, it is restored from the
    store, provided that the bytes match their digest.
    """
    prefix = f"{PRECOMPILED}/{engine}/"
    kept = []
    for label, digest in labels.items():
        key = label.removeprefix(prefix)
        if not label.startswith(prefix) or len(key) != _KEY_LENGTH or not _HEXADECIMAL.issuperset(key):
            continue
        try:
            info = client.info(digest)
        except NotInContainerd:  # removed by hand: it will be compiled again
            continue
        if PRECOMPILED not in info.labels or info.size > MAX_ARTEFACT:
            continue  # not one that we wrote; perhaps a layer of an image
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
