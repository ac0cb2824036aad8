"""Wasm straight from images: layers run, are compiled once, and go with their image."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from devtools.containerd import HOSTS, running_containerd
from devtools.containerd import Containerd as Daemon
from devtools.waiting import until
from runwasi.containerd.artefacts import PRECOMPILED
from runwasi.containerd.blobs import open_blob
from runwasi.containerd.client import Containerd
from runwasi.oci.image import WASM_CONTENT_LAYER_TYPE
from tests.support.mode import OURS
from tests.support.prober import LAST, prober_module, reached
from tests.support.wasm_images import (
    all_labels,
    artefact_of,
    blobs,
    cache_entry,
    forget,
    unlike_any_other,
    wasm_image,
)
from tests.support.zstd_frames import stored_as_zstd

IMAGE = "localhost:5000/team/wasm:v1"
MAIN = "main.wasm"


class Store:
    """A containerd, and a way to bring images into it that no cache knows."""

    def __init__(self, containerd: Daemon, folder: Path, module: bytes, new_id: Callable[[], str]) -> None:
        self.containerd = containerd
        self._folder = folder
        self._module = module
        self._new_id = new_id

    def module(self) -> bytes:
        return unlike_any_other(self._module)

    def add(self, *layers: tuple[str, str, bytes], name: str = IMAGE) -> None:
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        self.containerd.ctr("images", "import", "--all-platforms", wasm_image(folder, name, layers))

    def add_module(self, name: str = IMAGE) -> str:
        """Add an image of one module; returns the layer's digest."""
        module = self.module()
        self.add((MAIN, "", module), name=name)
        return digest_of(module)

    def run(self, *arguments: str, image: str = IMAGE, fails: bool = False) -> str:
        """Run a container of the image and return its output, or the error when it shall fail."""
        command = ("run", "--rm", "--runtime", OURS, image, self._new_id(), *arguments)
        done = self.containerd.ctr(*command, check=not fails)
        assert (done.returncode != 0) == fails
        return done.stderr if fails else done.stdout


@pytest.fixture(scope="module", params=["1.7", "2"])
def image_containerd(
    request: pytest.FixtureRequest, session_name: str, session_folder: Path, shims: Path
) -> Iterator[Daemon]:
    """The releases that know layers which are no part of a root file system."""
    folder = Path(tempfile.mkdtemp(prefix="i", dir=session_folder))
    with running_containerd(folder, HOSTS[request.param], namespace=session_name, shims=shims) as containerd:
        yield containerd


@pytest.fixture
def store(
    image_containerd: Daemon, folder: Path, wasi_demo_app: bytes, new_id: Callable[[], str]
) -> Iterator[Store]:
    yield Store(image_containerd, folder, wasi_demo_app, new_id)
    for labels in all_labels(image_containerd).values():
        for label in labels:
            if label.startswith(f"{PRECOMPILED}/"):
                forget(label.rpartition("/")[2])
    for name in image_containerd.ctr("image", "ls", "-q").stdout.split():
        image_containerd.ctr("image", "rm", "--sync", name)


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_a_wasm_layer_runs_without_a_file_in_the_rootfs(store: Store) -> None:
    store.add_module()
    assert store.run("/main.wasm", "echo", "hello", "world") == "hello world\nexiting\n"


def test_a_layer_finds_no_process_in_proc(store: Store, folder: Path) -> None:
    store.add((MAIN, "", prober_module(folder).read_bytes()))
    assert reached(store.run("/main.wasm", LAST, "/proc", "/dev")) == []


def test_the_image_itself_says_what_runs(store: Store, container_id: str) -> None:
    store.add_module()
    with store.containerd.task(OURS, IMAGE, container_id):
        until(lambda: store.containerd.output_of(container_id), lambda output: "sandbox" in output)


def test_the_first_run_labels_the_layer_and_the_second_compiles_nothing(store: Store) -> None:
    layer = store.add_module()
    assert store.run("/main.wasm", "exit", "0") == ""
    key, artefact = artefact_of(store.containerd, layer)
    compiled = cache_entry(key).stat().st_ino
    assert artefact in blobs(store.containerd)
    store.run("/main.wasm", "exit", "0")
    assert cache_entry(key).stat().st_ino == compiled
    assert artefact_of(store.containerd, layer) == (key, artefact)


def test_removing_the_image_removes_what_was_compiled_of_it(store: Store) -> None:
    layer = store.add_module()
    store.run("/main.wasm", "exit", "0")
    _, artefact = artefact_of(store.containerd, layer)
    store.containerd.ctr("image", "rm", "--sync", IMAGE)
    assert not blobs(store.containerd) & {layer, artefact}


def test_a_removed_artefact_is_made_again(store: Store) -> None:
    layer = store.add_module()
    store.run("/main.wasm", "exit", "0")
    key, artefact = artefact_of(store.containerd, layer)
    store.containerd.ctr("content", "rm", artefact)
    forget(key)
    store.run("/main.wasm", "exit", "0")
    assert artefact_of(store.containerd, layer)[0] == key
    assert artefact_of(store.containerd, layer)[1] in blobs(store.containerd)


def test_a_removed_artefact_comes_back_from_the_nodes_cache(store: Store) -> None:
    layer = store.add_module()
    store.run("/main.wasm", "exit", "0")
    key, artefact = artefact_of(store.containerd, layer)
    compiled = cache_entry(key).stat().st_ino
    store.containerd.ctr("content", "rm", artefact)
    store.run("/main.wasm", "exit", "0")
    assert artefact in blobs(store.containerd)
    assert cache_entry(key).stat().st_ino == compiled


def test_a_lost_cache_is_filled_from_the_content_store(store: Store) -> None:
    layer = store.add_module()
    store.run("/main.wasm", "exit", "0")
    key, artefact = artefact_of(store.containerd, layer)
    forget(key)
    store.run("/main.wasm", "exit", "0")
    assert digest_of(cache_entry(key).read_bytes()) == artefact


@pytest.mark.parametrize("name", ["another module's", "no key", "a way out"])
def test_a_label_fills_the_cache_for_no_other_module(store: Store, name: str) -> None:
    # A client of containerd could have the code of its choice run in containers of other images.
    layer = store.add_module()
    store.run("/main.wasm", "exit", "0")
    _, artefact = artefact_of(store.containerd, layer)
    key = {"another module's": "f" * 64, "no key": "F00", "a way out": "../../escaped"}[name]
    store.containerd.ctr("content", "label", layer, f"{PRECOMPILED}/wasmtime/{key}={artefact}")
    store.run("/main.wasm", "exit", "0")
    assert not cache_entry(key).exists()


def test_a_label_that_names_a_layer_makes_no_code_of_it(store: Store) -> None:
    layer = store.add_module()
    store.run("/main.wasm", "exit", "0")
    key, artefact = artefact_of(store.containerd, layer)
    store.containerd.ctr("content", "label", layer, f"{PRECOMPILED}/wasmtime/{key}={layer}")
    forget(key)
    store.run("/main.wasm", "exit", "0")
    assert digest_of(cache_entry(key).read_bytes()) == artefact


def compiled_text(text: str) -> bytes:
    """Compile the inside of a module's text, unlike any other so that no cache has it."""
    done = subprocess.run(
        ["wat2wasm", "-", "-o", "/dev/stdout"],
        input=f"(module {text})".encode(),
        capture_output=True,
        check=True,
    )
    return unlike_any_other(done.stdout)


def test_ten_first_runs_of_one_image_at_once_all_succeed(store: Store) -> None:
    layer = store.add_module()
    with ThreadPoolExecutor(10) as pool:
        runs = [pool.submit(store.run, "/main.wasm", "echo", str(n)) for n in range(10)]
        assert [run.result() for run in runs] == [f"{n}\nexiting\n" for n in range(10)]
    assert artefact_of(store.containerd, layer)[1] in blobs(store.containerd)


def test_first_runs_of_ten_images_at_once_all_succeed(store: Store) -> None:
    names = [f"localhost:5000/team/wasm{n}:v1" for n in range(10)]
    layers = [store.add_module(name) for name in names]
    with ThreadPoolExecutor(10) as pool:
        runs = [pool.submit(store.run, "/main.wasm", "echo", name, image=name) for name in names]
        assert [run.result() for run in runs] == [f"{name}\nexiting\n" for name in names]
    artefacts = {artefact_of(store.containerd, layer)[1] for layer in layers}
    assert artefacts <= blobs(store.containerd)


def test_the_command_names_one_of_several_layers(store: Store) -> None:
    wasm = store.module()
    other = (b"\0asm\1\0\0\0", "other.wasm")
    store.add((MAIN, "", wasm), (other[1], "", other[0]))
    assert store.run("/main.wasm", "echo", "named") == "named\nexiting\n"
    error = store.run("/neither.wasm", fails=True)
    assert "the command /neither.wasm names none of the image's wasm layers: main.wasm, other.wasm" in error


def test_a_program_is_linked_with_the_layers_it_imports(store: Store) -> None:
    program = compiled_text(
        """
        (import "math" "add" (func $add (param i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_start")
          (if (i32.ne (call $add (i32.const 40) (i32.const 2)) (i32.const 42)) (then unreachable)))
        """
    )
    math = compiled_text(
        '(func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))'
    )
    store.add(("app.wasm", "", program), ("math.wasm", "", math))
    assert store.run("/app.wasm") == ""
    assert all(artefact_of(store.containerd, digest_of(module)) for module in (program, math))


def test_an_annotation_names_the_layer(store: Store, new_id: Callable[[], str]) -> None:
    store.add((MAIN, "", store.module()), ("other.wasm", "", b"\0asm\1\0\0\0"))
    command = ("run", "--rm", "--runtime", OURS, "--annotation", "io.runwasi.layer=main.wasm")
    done = store.containerd.ctr(*command, IMAGE, new_id(), "/any", "echo", "annotated")
    assert done.stdout == "annotated\nexiting\n"


@pytest.mark.parametrize(
    ("suffix", "compress"), [("+gzip", gzip.compress), ("+zstd", stored_as_zstd)], ids=["gzip", "zstd"]
)
def test_a_compressed_layer_runs(store: Store, suffix: str, compress: Callable[[bytes], bytes]) -> None:
    packed = compress(store.module())
    store.add((MAIN, f"{WASM_CONTENT_LAYER_TYPE}{suffix}", packed))
    assert store.run("/main.wasm", "echo", "unpacked") == "unpacked\nexiting\n"
    assert artefact_of(store.containerd, digest_of(packed))[1] in blobs(store.containerd)


def test_a_missing_layer_fails_create_with_its_digest(store: Store) -> None:
    layer = store.add_module()
    store.containerd.ctr("content", "rm", layer)
    error = store.run("/main.wasm", fails=True)
    assert f"image {IMAGE}: " in error
    assert layer in error
    assert "not found" in error


def test_a_damaged_layer_fails_create(store: Store) -> None:
    layer = store.add_module()
    root = store.containerd.folder / "root/io.containerd.content.v1.content/blobs/sha256"
    blob = root / layer.removeprefix("sha256:")
    blob.chmod(0o644)
    with blob.open("ab") as file:
        file.write(b"\0")
    assert f"the content of {layer} is damaged" in store.run("/main.wasm", fails=True)


def test_a_layer_of_an_unknown_type_fails_create_with_what_would_do(store: Store) -> None:
    store.add(("notes.txt", "text/plain", b"hello"))
    error = store.run("/main.wasm", fails=True)
    assert "has type text/plain, not one of application/vnd.bytecodealliance" in error


def test_a_container_without_an_image_is_told_so(
    store: Store, folder: Path, new_id: Callable[[], str]
) -> None:
    (folder / "empty").mkdir()
    command = ("run", "--rm", "--runtime", OURS, "--rootfs", str(folder / "empty"), new_id(), "/a.wasm")
    done = store.containerd.ctr(*command, check=False)
    assert done.returncode != 0
    assert "no image is recorded for" in done.stderr


def test_a_container_cannot_write_to_the_content_store(store: Store) -> None:
    layer = store.add_module()
    with Containerd(str(store.containerd.address), store.containerd.namespace) as client:
        fd, digest = open_blob(client, client.content_root(), layer, 0, 1 << 20)
    try:
        assert digest == layer
        with pytest.raises(OSError, match="Read-only file system"):
            os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
    finally:
        os.close(fd)
