"""Checks a container's annotations: known, well-formed, and allowed by the node if they are unsafe.

It is imported only for containers with such annotations.
"""

from __future__ import annotations

from runwasi.engines.annotation_names import is_unsafe
from runwasi.engines.annotations import OURS, BadAnnotation, check, path_of, quoted
from runwasi.executor.errors import ContainerError
from runwasi.node import configuration
from runwasi.oci.decode import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def check_annotations(annotations: Mapping[str, str]) -> None:
    """Refuse unknown annotations with our prefix, invalid values, and unsafe annotations that the node forbids.

    Raises SpecError naming the annotation, and ContainerError for an invalid configuration of the node.
    """
    try:
        check(annotations)
    except BadAnnotation as bad:
        raise SpecError(path_of(bad.name), bad.why) from None
    check_unsafe(annotations)


def check_unsafe(annotations: Iterable[str]) -> None:
    """Refuse unsafe annotations that the node does not allow by name. Raises as check_annotations does."""
    unsafe = [name for name in annotations if is_unsafe(name)]
    if not unsafe:
        return
    allowed = _allowed()
    refused = [name for name in unsafe if name not in allowed]
    if refused:
        raise SpecError(path_of(refused[0]), _refusal([*sorted(allowed), *refused]))


def _allowed() -> frozenset[str]:
    try:
        allowed = configuration.load().unsafe_annotations
    except configuration.ConfigurationError as error:
        raise ContainerError(str(error)) from None
    for name in sorted(allowed):
        if not is_unsafe(name):
            unsafe = ", ".join(filter(is_unsafe, OURS))
            where = f"{configuration.path()}: unsafe_annotations"
            raise ContainerError(f"{where}: {name} is not an unsafe annotation, such as {unsafe}")
    return allowed


def _refusal(wanted: list[str]) -> str:
    return (
        "is unsafe, and this node does not allow it; to allow it, its operator writes"
        f" unsafe_annotations = [{', '.join(map(quoted, wanted))}] into {configuration.path()}"
    )
