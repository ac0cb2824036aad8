"""The program `oci-tar-builder`: `runwasi image build` under the name that other runwasi users know."""

from __future__ import annotations

from runwasi.cli.image_command import tar_builder_main as main

__all__ = ["main"]
