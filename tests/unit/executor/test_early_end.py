"""What is said of a process that ended before its program ran blames only what is configured."""

from __future__ import annotations

from typing import Any

import pytest

from runwasi.executor.lifecycle.early_end import ended_early, ended_uncreated
from runwasi.oci.linux import Linux
from runwasi.oci.resources import Memory, Resources
from runwasi.oci.seccomp import Seccomp
from runwasi.oci.spec import Root, Spec


def spec_of(**linux: Any) -> Spec:
    return Spec(oci_version="1.0.0", root=Root(path="rootfs"), linux=Linux(**linux))


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        (None, "it was killed"),
        (Resources(memory=Memory(limit=-1)), "it was killed"),
        (Resources(memory=Memory(limit=4096)), "($.linux.resources.memory.limit)"),
        (Resources(unified={"memory.max": "4096"}), '($.linux.resources.unified["memory.max"])'),
    ],
)
def test_a_memory_limit_is_blamed_only_if_it_is_set(resources: Resources | None, said: str) -> None:
    assert str(ended_uncreated(spec_of(resources=resources), 137)).endswith(said)


def test_a_filter_is_blamed_only_if_there_is_one() -> None:
    filtered = spec_of(seccomp=Seccomp(default_action="SCMP_ACT_ERRNO"))
    assert "$.linux.seccomp" in str(ended_early(filtered))
    assert "$.linux.seccomp" in str(ended_uncreated(filtered, 159))
    assert str(ended_early(spec_of())).endswith("before its program ran")
    assert str(ended_uncreated(spec_of(), 1)).endswith("it ended with status 1")
