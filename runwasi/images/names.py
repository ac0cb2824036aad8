"""Parses image names: a repository, perhaps with a registry's host and port, and a tag."""

from __future__ import annotations

import re

from runwasi.images.image_error import ImageError
from runwasi.oci.record import Record

# The grammar of github.com/distribution/reference: a domain has a dot or a port, or is localhost.
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_DOMAIN = (
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?\.[A-Za-z0-9.-]*[A-Za-z0-9]|localhost|\[[0-9A-Fa-f:.]+\])"
    r"(?::[0-9]+)?|[A-Za-z0-9-]+:[0-9]+"
)
_REPOSITORY = re.compile(rf"(?:(?:{_DOMAIN})/)?{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_LONGEST_REPOSITORY = 255


class ImageName(Record):
    """`registry:5000/team/app` and `latest`."""

    repository: str
    tag: str

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}"

    @property
    def last_part(self) -> str:
        """The repository without the registry and the path: `app`."""
        return self.repository.rpartition("/")[2]


def image_name(repository: str, tag: str) -> ImageName:
    """Check both parts. Raises ImageError."""
    if not _REPOSITORY.fullmatch(repository) or len(repository) > _LONGEST_REPOSITORY:
        raise ImageError(
            f"{repository!r} is not a repository: expected lower-case path parts, perhaps after a registry's"
            " host[:port], such as registry.example:5000/team/app"
        )
    if not _TAG.fullmatch(tag):
        raise ImageError(f"{tag!r} is not a tag: expected letters, digits, '.', '_' or '-', at most 128")
    return ImageName(repository=repository, tag=tag)


def parse_image_name(text: str) -> ImageName:
    """Split `repository[:tag]`, tag `latest` by default. Raises ImageError."""
    head, colon, tail = text.rpartition(":")
    if colon and "/" not in tail:
        return image_name(head, tail)
    return image_name(text, "latest")
