from __future__ import annotations

import os
import threading
from hashlib import sha256
from pathlib import Path

import pytest

from runwasi.engines import module_cache
from runwasi.engines.module_cache import (
    ModuleCache,
    UntrustedCache,
    cache_key,
    cache_key_of,
    cache_key_of_digest,
)

KEY = cache_key(b"module", "engine 1")
OTHER = cache_key(b"other", "engine 1")
ARTEFACT = b"machine code" * 1000


@pytest.fixture
def cache(tmp_path: Path) -> ModuleCache:
    return ModuleCache(str(tmp_path / "cache"))


@pytest.fixture
def modules(cache: ModuleCache) -> Path:
    """The folder of artefacts, with one of KEY in it."""
    os.close(cache.store(KEY, ARTEFACT))
    return Path(cache.root) / "modules"


def found(cache: ModuleCache, key: str = KEY) -> bytes | None:
    fd = cache.lookup(key)
    if fd is None:
        return None
    try:
        return os.pread(fd, 1 << 20, 0)
    finally:
        os.close(fd)


def test_a_stored_artefact_is_found(cache: ModuleCache) -> None:
    stored = cache.store(KEY, ARTEFACT)
    assert os.pread(stored, 1 << 20, 0) == ARTEFACT
    os.close(stored)
    assert found(cache) == ARTEFACT
    assert found(cache, OTHER) is None


def test_an_empty_cache_finds_nothing_and_makes_nothing(cache: ModuleCache) -> None:
    assert found(cache) is None
    assert not Path(cache.root).exists()


def test_the_key_is_of_bytes_and_settings(tmp_path: Path) -> None:
    assert len({KEY, OTHER, cache_key(b"module", "engine 2")}) == 3
    (tmp_path / "module").write_bytes(b"module")
    fd = os.open(tmp_path / "module", os.O_RDONLY)
    assert cache_key_of(fd, "engine 1") == KEY
    os.close(fd)


def test_the_key_is_the_same_however_it_is_hashed(tmp_path: Path) -> None:
    module = b"m" * module_cache.LARGE
    (tmp_path / "module").write_bytes(module)
    fd = os.open(tmp_path / "module", os.O_RDONLY)
    assert (
        cache_key(module, "engine 1")
        == cache_key_of(fd, "engine 1")
        == cache_key_of(fd, "engine 1", fast=True)
    )
    assert cache_key(module, "engine 1") == cache_key_of_digest(sha256(module).hexdigest(), "engine 1")
    os.close(fd)


def test_the_folder_is_closed_to_others_and_its_files_cannot_be_changed(modules: Path) -> None:
    assert modules.stat().st_mode & 0o777 == 0o700
    assert (modules / KEY).stat().st_mode & 0o777 == 0o444


def test_a_corrupt_artefact_is_removed_and_not_found(cache: ModuleCache, modules: Path) -> None:
    (modules / KEY).chmod(0o600)
    with (modules / KEY).open("r+b") as file:
        file.write(b"X")
    assert found(cache) is None
    assert not (modules / KEY).exists()


def test_a_torn_artefact_is_not_found(cache: ModuleCache, modules: Path) -> None:
    os.truncate(modules / KEY, 100)
    assert found(cache) is None


def test_an_artefact_is_not_digested_again_while_nobody_touched_it(
    cache: ModuleCache, modules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digested: list[int] = []
    whole_digest = module_cache._digest_of

    def counted(fd: int) -> bytes:
        digested.append(fd)
        return whole_digest(fd)

    monkeypatch.setattr(module_cache, "_digest_of", counted)
    assert found(cache) == ARTEFACT
    assert not digested
    monkeypatch.setattr(module_cache, "_boot", lambda: b"the next boot")
    assert [found(cache), found(cache)] == [ARTEFACT, ARTEFACT]
    assert len(digested) == 1
    (modules / KEY).touch()
    assert found(cache) == ARTEFACT
    assert len(digested) == 2


def test_a_tear_of_a_power_loss_is_noticed(
    cache: ModuleCache, modules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = module_cache._appearance
    monkeypatch.setattr(module_cache, "_appearance", lambda _: b"as before, but the boot")
    os.close(cache.store(KEY, ARTEFACT))
    (modules / KEY).chmod(0o600)
    (modules / KEY).write_bytes(bytes(len(ARTEFACT)))
    (modules / KEY).chmod(0o444)
    assert found(cache) is not None  # nothing to see in this boot
    monkeypatch.setattr(module_cache, "_appearance", before)
    assert found(cache) is None


def test_an_artefact_without_its_digest_is_not_found(cache: ModuleCache, modules: Path) -> None:
    (modules / f"{KEY}.sum").unlink()
    assert found(cache) is None


def test_a_symbolic_link_is_not_followed(cache: ModuleCache, modules: Path, tmp_path: Path) -> None:
    (modules / KEY).rename(tmp_path / "elsewhere")
    (modules / KEY).symlink_to(tmp_path / "elsewhere")
    assert found(cache) is None


def test_a_file_with_a_second_name_is_not_used(cache: ModuleCache, modules: Path, tmp_path: Path) -> None:
    os.link(modules / KEY, tmp_path / "another name")
    assert found(cache) is None


def test_a_file_that_others_may_write_is_not_used(cache: ModuleCache, modules: Path) -> None:
    (modules / KEY).chmod(0o664)
    assert found(cache) is None


@pytest.mark.parametrize("folder", ["", "modules"])
def test_a_folder_that_others_may_write_is_not_used(cache: ModuleCache, modules: Path, folder: str) -> None:
    (Path(cache.root) / folder).chmod(0o777)
    assert found(cache) is None
    with pytest.raises(UntrustedCache, match="has mode 0777, so others may write to it"):
        cache.store(KEY, ARTEFACT)


@pytest.mark.usefixtures("modules")
def test_a_folder_of_somebody_else_is_not_used(cache: ModuleCache, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert found(cache) is None
    with pytest.raises(UntrustedCache, match=f"belongs to uid {owner}, not to {owner + 1}"):
        cache.lock(KEY)


def test_a_link_in_the_folders_place_is_not_followed(
    cache: ModuleCache, modules: Path, tmp_path: Path
) -> None:
    modules.rename(tmp_path / "elsewhere")
    modules.symlink_to(tmp_path / "elsewhere")
    assert found(cache) is None


def test_the_least_recently_used_make_room(tmp_path: Path) -> None:
    cache = ModuleCache(str(tmp_path), limit=3 * len(ARTEFACT))
    keys = [cache_key(b"%d" % number, "") for number in range(4)]
    for age, key in enumerate(keys[:3]):
        os.close(cache.store(key, ARTEFACT))
        os.utime(tmp_path / "modules" / f"{key}.sum", (1000 + age, 1000 + age))
    assert found(cache, keys[0])  # which makes it the latest
    os.close(cache.store(keys[3], ARTEFACT))
    assert [bool(found(cache, key)) for key in keys] == [True, False, True, True]
    assert not (tmp_path / "modules" / f"{keys[1]}.sum").exists()


def test_an_artefact_larger_than_the_limit_stays_until_the_next(tmp_path: Path) -> None:
    cache = ModuleCache(str(tmp_path), limit=10)
    os.close(cache.store(KEY, ARTEFACT))
    assert found(cache) == ARTEFACT


def test_one_at_a_time_holds_a_key(cache: ModuleCache) -> None:
    order: list[str] = []
    first = cache.lock(KEY)
    waiting = threading.Thread(target=lambda: _hold(cache, order))
    with first:
        waiting.start()
        with cache.lock(OTHER):
            order.append("other keys are free")
        order.append("first is done")
    waiting.join(10)
    assert order == ["other keys are free", "first is done", "second has it"]
    assert not list((Path(cache.root) / "modules").iterdir())


def _hold(cache: ModuleCache, order: list[str]) -> None:
    with cache.lock(KEY):
        order.append("second has it")
