"""BLAKE2b from the interpreter's own C module: hashlib brings OpenSSL, which takes 2 ms to load."""

from __future__ import annotations

from _blake2 import blake2b

__all__ = ("blake2b",)
