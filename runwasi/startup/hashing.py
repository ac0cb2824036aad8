"""Compute SHA-256 with the interpreter's own C module: hashlib brings OpenSSL, which takes 2 ms to load.

hashlib's is several times faster on large input, where those 2 ms do not matter.
"""

from __future__ import annotations

try:
    from _sha2 import sha256  # type: ignore[import-not-found, unused-ignore]  # its name since CPython 3.12
except ImportError:
    from _sha256 import sha256  # type: ignore[import-not-found, unused-ignore, no-redef]

__all__ = ("sha256",)
