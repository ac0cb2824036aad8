"""A native program whose process looks like an engine's is not taken for a module."""

from __future__ import annotations

import json

import pytest

from devtools.places import BUSYBOX
from tests.integration.conftest import BundleMaker
from tests.support.detached import Detached
from tests.support.runtime import Runtime


@pytest.mark.parametrize("program", ["/lib/libwasmtime/sleep", "/wasmer/sleep"])
def test_a_program_named_like_an_engines_library_stays_native(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, program: str
) -> None:
    made = bundle([program, "1000"], files={program: BUSYBOX.read_bytes()})
    Detached(runwasi, made, container_id).run()
    [shown] = json.loads(runwasi("top", "--format", "json").stdout)
    runwasi("delete", "--force", container_id)
    assert (shown["kind"], shown["engine"], shown["httpResponses"]) == ("native", "-", None)
