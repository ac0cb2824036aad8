"""BLAKE2b from the interpreter's own C module: hashlib loads OpenSSL, which takes 2 ms."""

from __future__ import annotations

from _blake2 import blake2b

__all__ = ("blake2b",)
