"""The confined compiler: what it sees, what bounds it, what is kept."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devtools.processes import is_zombie
from devtools.waiting import until
from runwasi.engines.engine import CannotHandle
from runwasi.engines.module_cache import ModuleCache
from runwasi.executor.workload.compiler import Bounds, compile_files, compile_module
from tests.support.spy_engine import SpyEngine

MIB = 1 << 20
SMALL = Bounds(memory=300 * MIB, module=MIB, artefact=16 * MIB, seconds=1)


@pytest.fixture
def cache(folder: Path) -> ModuleCache:
    return ModuleCache(str(folder / "cache"))


@contextmanager
def module(content: bytes) -> Iterator[int]:
    fd = os.memfd_create("module")
    try:
        os.write(fd, content)
        yield fd
    finally:
        os.close(fd)


def compiled(content: bytes, cache: ModuleCache, bounds: Bounds = SMALL) -> bytes:
    with module(content) as fd:
        artefact = compile_module(SpyEngine(), fd, cache, "m.wasm", bounds=bounds)
    try:
        return os.pread(artefact, MIB, 0)
    finally:
        os.close(artefact)


def test_the_compiler_sees_nothing_and_may_do_nothing(cache: ModuleCache) -> None:
    seen = json.loads(compiled(b"look", cache))
    assert len(seen.pop("descriptors")) == 2  # where to complain and where to leave the artefact
    assert seen == {
        "files": [],
        "uid": 65534,
        "groups": [],
        "pid": 1,
        "interfaces": ["lo"],
        "can_become_root": False,
        "can_make_a_device": False,
        "can_chroot": False,
    }


def test_a_user_without_rights_compiles_as_confined(cache: ModuleCache) -> None:
    result, result_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setgroups([])
        os.setresgid(54321, 54321, 54321)
        os.setresuid(54321, 54321, 54321)
        os.write(result_end, compiled(b"look", cache))
        os._exit(0)
    os.close(result_end)
    os.waitpid(pid, 0)
    seen = json.loads(os.read(result, 4096))
    os.close(result)
    assert (seen["files"], seen["uid"], seen["pid"], seen["interfaces"]) == ([], 65534, 1, ["lo"])
    assert [seen[name] for name in ("can_become_root", "can_make_a_device", "can_chroot")] == [False] * 3


def test_the_artefact_is_kept_and_found(cache: ModuleCache) -> None:
    with module(b"plain") as fd:
        for _ in range(2):
            artefact = compile_module(SpyEngine(), fd, cache, "m.wasm")
            assert os.pread(artefact, 100, 0) == b"artefact of plain"
            os.close(artefact)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"refuse", "not to my taste"),
        (b"fail", "compiling it failed: a bug in the compiler"),
        (b"allocate 400", "it ran out of the memory it may use"),
        (b"abort", "it ran out of the 300 MiB it may use, or crashed"),
        (b"write 17", "its result is larger than 16 MiB|File too large"),
        (b"spin", "it took longer than 1 s"),
        (b"x" * (MIB + 1), "the module is larger than 1 MiB"),
    ],
)
def test_a_compiler_that_goes_wrong_is_the_modules_error(
    cache: ModuleCache, content: bytes, why: str
) -> None:
    with pytest.raises(CannotHandle, match=why):
        compiled(content, cache)
    assert compiled(b"another", cache) == b"artefact of another"


def test_a_compiler_that_waits_for_ever_is_ended_and_was_announced(cache: ModuleCache) -> None:
    said: list[str] = []
    bounds = Bounds(seconds=3)
    with module(b"sleep") as fd, pytest.raises(CannotHandle, match="it took longer than 3 s"):
        compile_module(SpyEngine(), fd, cache, "m.wasm", bounds=bounds, announce=said.append)
    assert said == ["compiling m.wasm (0.0 MiB), once for this node"]


def test_a_quick_compilation_is_not_announced(cache: ModuleCache) -> None:
    said: list[str] = []
    with module(b"plain") as fd:
        os.close(compile_module(SpyEngine(), fd, cache, "m.wasm", announce=said.append))
    assert said == []


def test_the_artefact_cannot_be_changed_by_who_gets_it(cache: ModuleCache) -> None:
    Path(cache.root).mkdir()
    Path(cache.root).chmod(0o777)  # so that the artefact stays in memory
    said: list[str] = []
    with module(b"plain") as fd:
        artefact = compile_module(SpyEngine(), fd, cache, "m.wasm", announce=said.append)
    assert "so others may write to it: not used" in said[0]
    with pytest.raises(PermissionError):
        os.pwrite(artefact, b"X", 0)
    with pytest.raises(PermissionError):
        os.truncate(artefact, 0)
    os.close(artefact)


def test_those_who_want_the_same_at_once_wait_for_one_compilation(cache: ModuleCache) -> None:
    slow = b"slow"
    children = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            os._exit(0 if compiled(slow, cache, Bounds()) == b"artefact of slow" else 1)
        children.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * 4
    assert len([path for path in (Path(cache.root) / "modules").iterdir() if not path.suffix]) == 1


def test_files_are_compiled_ahead_of_their_start(cache: ModuleCache, folder: Path) -> None:
    (folder / "a.wasm").write_bytes(b"a")
    (folder / "b.wasm").write_bytes(b"b")
    paths = [str(folder / name) for name in ("a.wasm", "b.wasm", "a.wasm")]
    results = list(compile_files(SpyEngine(), paths, cache))
    assert [(result.path, result.size, result.cached) for result in results] == [
        (paths[0], len("artefact of a"), False),
        (paths[1], len("artefact of b"), False),
        (paths[2], len("artefact of a"), True),
    ]


def test_an_engine_without_a_compiler_says_so(cache: ModuleCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SpyEngine, "compatibility_key", lambda _: "")
    with pytest.raises(CannotHandle, match="the spy engine compiles nothing ahead of a start"):
        compiled(b"plain", cache)


def test_the_helper_goes_with_its_parent(cache: ModuleCache) -> None:
    pid = os.fork()
    if pid == 0:
        compiled(b"sleep", cache, Bounds())
    children = Path(f"/proc/{pid}/task/{pid}/children")
    helper = until(lambda: children.read_text().split(), bool)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    until(lambda: _runs(helper[0]), lambda runs: not runs)


def _runs(pid: str) -> bool:
    try:
        return not is_zombie(pid)
    except (FileNotFoundError, ProcessLookupError):
        return False
