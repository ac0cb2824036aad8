"""SHA-256 from the interpreter's own C module: hashlib loads OpenSSL, which takes 2 ms.

hashlib's is several times faster for large input, where those 2 ms do not matter.
"""

from __future__ import annotations

try:
    from _sha2 import sha256  # type: ignore[import-not-found, unused-ignore]  # its name since CPython 3.12
except ImportError:
    from _sha256 import sha256  # type: ignore[import-not-found, unused-ignore, no-redef]

__all__ = ("sha256",)
