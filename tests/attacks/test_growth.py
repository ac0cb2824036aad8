"""A guest whose memory grows, and may move, between calls: the host writes where the memory is, and nowhere else."""

from __future__ import annotations

import pytest

from tests.integration.conftest import BundleMaker
from tests.support.runtime import Runtime

GROWING = b"""(module
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func $written (param $at i32)
    (i64.store (local.get $at) (i64.const 0))
    (if (call $random (local.get $at) (i32.const 8)) (then unreachable))
    (if (i64.eqz (i64.load (local.get $at))) (then unreachable)))
  (func (export "_start") (local $left i32)
    (local.set $left (i32.const 300))
    (loop $more
      (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
      (call $written (i32.const 0))
      (call $written (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 8)))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br_if $more (local.get $left)))))"""


@pytest.mark.parametrize("address_space", [None, 2 << 30])
def test_what_the_host_writes_is_in_memory_that_has_grown(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, address_space: int | None
) -> None:
    """With less address space than a memory may need, wasmtime moves it when it grows."""
    made = bundle(["/app.wat"], files={"/app.wat": GROWING}, busybox=False)
    if address_space is not None:
        made.process["rlimits"] = [{"type": "RLIMIT_AS", "soft": address_space, "hard": address_space}]
    assert runwasi("run", "--bundle", made.write().path, container_id).stdout == ""
