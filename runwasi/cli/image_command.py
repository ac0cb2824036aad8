"""image: builds and inspects OCI archives."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys

from runwasi.cli import output
from runwasi.cli.command import Command, check_arguments
from runwasi.cli.help import command_help
from runwasi.cli.options import FLAG, LIST, Option, UsageError, parse
from runwasi.executor.errors import ContainerError
from runwasi.images.image_error import ImageError
from runwasi.images.names import ImageName, image_name
from runwasi.images.tar_builder import (
    LayerFile,
    RunConfig,
    build_artifact,
    build_files_image,
    build_rootfs_image,
    build_wasm_image,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from runwasi.cli.options import Given
    from runwasi.cli.settings import Settings
    from runwasi.images.archive import Progress
    from runwasi.images.reader import ImageSummary

_BIG = 16 << 20
"""The number of bytes from which we show a progress bar."""


def _image(given: Given, settings: Settings) -> int:
    name, *rest = given.arguments
    command = _SUBCOMMANDS.get(name)
    if command is None:
        raise UsageError(f"image {name}: expected build or inspect")
    given = parse(command.options, rest)
    if given.flag("help"):
        output.write(command_help(command))
        return 0
    check_arguments(command, given)
    try:
        return command.action(given, settings)
    except ImageError as error:
        raise ContainerError(str(error)) from None


def build(given: Given, _settings: Settings | None = None) -> int:
    """Build the image that the options describe, and print its name and digest.

    Raises UsageError, ImageError or OSError.
    """
    if missing := [option for option in _REQUIRED if not given.text(option)]:
        raise UsageError(f"missing --{', --'.join(missing)}")
    name = image_name(f"{given.text('repo').rstrip('/')}/{given.text('name')}", given.text("tag"))
    target = _target(given.text("out-path"), name)
    settings = RunConfig(
        entrypoint=_words("entrypoint", given),
        cmd=_words("cmd", given),
        env=tuple(given.list("env")),
        user=given.text("user"),
        working_dir=given.text("workdir"),
    )
    digest = _build(given, target, name, settings)
    output.write(f"{target}: {name}@{digest}\n")
    return 0


def _words(option: str, given: Given) -> tuple[str, ...]:
    text = given.text(option)
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise ImageError(f"--{option} {text}: {error}") from None


def _build(given: Given, target: str, name: ImageName, settings: RunConfig) -> str:
    sources = _sources(given)
    rootfs = given.text("rootfs")
    as_artifact, as_files = given.flag("as-artifact"), given.flag("as-files")
    if as_artifact and as_files:
        raise UsageError("--as-artifact and --as-files exclude each other")
    if rootfs:
        if sources or as_artifact or as_files:
            raise ImageError(
                "--rootfs makes an ordinary image: it excludes modules, layers, -a and --as-files"
            )
        with _progress("Packing", _size_of_tree(rootfs)) as progress:
            return build_rootfs_image(target, name, rootfs, settings, progress)
    if as_artifact and settings.members():
        raise ImageError("an artifact has no place for an entrypoint, cmd, env, user or workdir")
    with _progress("Writing", 2 * sum(os.path.getsize(path) for _, path in sources)) as progress:
        layers = [LayerFile(path, media_type, progress) for media_type, path in sources]
        if as_artifact:
            return build_artifact(target, name, layers, progress)
        if as_files:
            return build_files_image(target, name, layers, settings, progress)
        return build_wasm_image(target, name, layers, settings, progress)


def _sources(given: Given) -> list[tuple[str, str]]:
    """Return the layers to build as (media type, path); "" derives the type from the file. Raises ImageError."""
    if given.list("module") and given.text("components"):
        raise ImageError("-m and -c exclude each other: name the modules, or the folder that contains them")
    sources = [("", path) for path in given.list("module")]
    for layer in given.list("layer"):
        media_type, equals, path = layer.partition("=")
        if not (media_type and equals and path):
            raise ImageError(f"-l {layer}: expected TYPE=FILE")
        sources.append((media_type, path))
    if given.text("components"):
        sources += [("", path) for path in _components(given.text("components"))]
    return sources


def _components(folder: str) -> list[str]:
    """Return the .wasm files of a folder, sorted by name; report other files."""
    found = []
    for name in sorted(os.listdir(folder)):
        if name.endswith(".wasm"):
            found.append(os.path.join(folder, name))
        else:
            output.write_error(f"{folder}: {name} is skipped: its name does not end in .wasm")
    if not found:
        raise ImageError(f"{folder}: contains no .wasm file")
    return found


def _target(out_path: str, name: ImageName) -> str:
    default = f"{name.last_part}.tar"
    if not out_path:
        return default
    return os.path.join(out_path, default) if os.path.isdir(out_path) else out_path


def _size_of_tree(folder: str) -> int:
    return sum(
        os.lstat(os.path.join(parent, name)).st_size for parent, _, names in os.walk(folder) for name in names
    )


@contextlib.contextmanager
def _progress(what: str, total: int) -> Iterator[Progress | None]:
    """Show a progress bar for many bytes; show none for few, or without a terminal."""
    if total < _BIG or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # late: 60 ms, only for a person
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn(what), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda advanced: bar.advance(task, advanced)


def _inspect(given: Given, _settings: Settings) -> int:
    from runwasi.images.reader import inspect  # late: building needs none of it

    form = given.text("format")
    if form not in ("table", "json"):
        raise UsageError(f"--format {form}: expected table or json")
    images = inspect(given.arguments[0])
    if form == "json":
        output.write(json.dumps([_as_json(image) for image in images], indent=2) + "\n")
    else:
        output.write("\n\n".join(_as_text(image) for image in images) + "\n")
    return 0


def _as_json(image: ImageSummary) -> dict[str, object]:
    return {
        "name": image.name,
        "platform": image.platform,
        "digest": image.digest,
        "configType": image.config_type,
        "layers": [
            {"title": layer.title, "mediaType": layer.media_type, "size": layer.size, "digest": layer.digest}
            for layer in image.layers
        ],
    }


def _as_text(image: ImageSummary) -> str:
    lines = [
        f"Name      {image.name}",
        f"Platform  {image.platform}",
        f"Digest    {image.digest}",
        f"Config    {image.config_type}",
    ]
    for number, layer in enumerate(image.layers):
        lines += [
            f"Layer {number}   {layer.title or '-'}",
            f"          {layer.media_type}, {layer.size:,} bytes",
            f"          {layer.digest}",
        ]
    return "\n".join(lines)


_REQUIRED = ("repo", "name", "tag")

BUILD_OPTIONS = (
    Option("repo", "the part before the name, such as host:5000/team; required", short="r"),
    Option("name", "last part of the image's name; required", short="n"),
    Option("tag", "tag; required", short="t"),
    Option("module", "a module or component; repeatable", kind=LIST, short="m", value="FILE"),
    Option("layer", "a file as a layer of this type; repeatable", kind=LIST, short="l", value="TYPE=FILE"),
    Option("components", "every .wasm file of a folder", short="c", value="DIR"),
    Option("rootfs", "a folder as root filesystem, for an ordinary image", value="DIR"),
    Option("as-artifact", "a wasm OCI artifact, not an image", kind=FLAG, short="a"),
    Option(
        "as-files", "an ordinary image with the modules as files, for tools without wasm layers", kind=FLAG
    ),
    Option("out-path", "default: NAME.tar; a folder takes NAME.tar", short="o", value="FILE"),
    Option("entrypoint", "what containers run; default: the only module", value="WORDS"),
    Option("cmd", "arguments after the entrypoint", value="WORDS"),
    Option("env", "a variable of containers; repeatable", kind=LIST, value="NAME=VALUE"),
    Option("user", "user or uid of containers, with an optional :group"),
    Option("workdir", "working directory of containers"),
)

_SUBCOMMANDS = {
    "build": Command(
        "image build",
        "build an image from WebAssembly or from a root filesystem",
        build,
        options=BUILD_OPTIONS,
    ),
    "inspect": Command(
        "image inspect",
        "show an archive's images and check their digests",
        _inspect,
        description="The archive is an OCI layout as a plain tar, or compressed with gzip.",
        arguments="ARCHIVE",
        options=(Option("format", "table or json", default="table"),),
        least=1,
        most=1,
    ),
}

COMMANDS = {
    "image": Command(
        "image",
        "build and inspect images of WebAssembly and of root filesystems",
        _image,
        arguments="build|inspect ...",
        description="""\
Images are written as OCI archives, which `ctr image import`, skopeo and podman read.

    runwasi image build --repo localhost --name hello --tag v1 --module hello.wasm
    runwasi image inspect hello.tar

`runwasi image build --help` lists the options of build.""",
        least=1,
        most=None,
        stop_at_first=True,
    )
}
