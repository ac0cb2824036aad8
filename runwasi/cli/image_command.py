"""image: builds and inspects OCI archives."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import sys

from runwasi.cli import output
from runwasi.cli.command import Command
from runwasi.cli.options import UsageError
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
    from typing import NoReturn

    from runwasi.cli.options import Given
    from runwasi.cli.settings import Settings
    from runwasi.images.archive import Progress
    from runwasi.images.reader import ImageSummary

_BIG = 16 << 20
"""The number of bytes from which we show a progress bar."""


class _Parser(argparse.ArgumentParser):
    """Reports mistakes like every command."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(message)


def _image(given: Given, _settings: Settings) -> int:
    parser = _Parser(prog="runwasi image", description="Build and inspect OCI archives.")
    _add_arguments(parser)
    try:
        arguments = parser.parse_args(given.arguments)
        return build(arguments) if arguments.image_command == "build" else _inspect(arguments)
    except SystemExit:  # after --help
        return 0
    except ImageError as error:
        raise ContainerError(str(error)) from None


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="image_command", required=True, metavar="COMMAND")
    builder = commands.add_parser("build", help="build an image from WebAssembly or from a root filesystem")
    add_build_arguments(builder)
    inspector = commands.add_parser("inspect", help="show an archive's images, and check their digests")
    inspector.add_argument("archive", help="an OCI archive")
    inspector.add_argument("--format", choices=("table", "json"), default="table", help="default: table")


def add_build_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `build`."""
    named = parser.add_argument_group("name")
    named.add_argument("-n", "--name", required=True, help="last part of the image's name")
    named.add_argument("-t", "--tag", required=True, help="tag")
    named.add_argument("-r", "--repo", required=True, help="the part before the name, such as host:5000/team")
    content = parser.add_argument_group("content")
    content.add_argument(
        "-m",
        "--module",
        action="append",
        default=[],
        metavar="FILE",
        help="a module or component; repeatable",
    )
    content.add_argument(
        "-l",
        "--layer",
        action="append",
        default=[],
        metavar="TYPE=FILE",
        help="a file as a layer of this media type; repeatable",
    )
    content.add_argument("-c", "--components", metavar="DIR", help="every .wasm file of a folder")
    content.add_argument("--rootfs", metavar="DIR", help="a folder as root filesystem, for an ordinary image")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("-a", "--as-artifact", action="store_true", help="a wasm OCI artifact, not an image")
    form.add_argument(
        "--as-files",
        action="store_true",
        help="an ordinary image with the modules as files, for tools that do not know wasm layers",
    )
    parser.add_argument("-o", "--out-path", metavar="FILE", help="default: NAME.tar; a folder takes NAME.tar")
    defaults = parser.add_argument_group("defaults for the image's containers; not for artifacts")
    defaults.add_argument("--entrypoint", metavar="WORDS", default="", help="default: the only module")
    defaults.add_argument("--cmd", metavar="WORDS", default="", help="arguments after the entrypoint")
    defaults.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="repeatable")
    defaults.add_argument("--user", default="", help="user or uid, with an optional :group")
    defaults.add_argument("--workdir", default="", help="working directory")


def build(arguments: argparse.Namespace) -> int:
    """Build the image that the arguments describe, and print its name and digest. Raises ImageError, OSError."""
    name = image_name(f"{arguments.repo.rstrip('/')}/{arguments.name}", arguments.tag)
    target = _target(arguments.out_path, name)
    settings = RunConfig(
        entrypoint=_words("--entrypoint", arguments.entrypoint),
        cmd=_words("--cmd", arguments.cmd),
        env=tuple(arguments.env),
        user=arguments.user,
        working_dir=arguments.workdir,
    )
    digest = _build(arguments, target, name, settings)
    output.write(f"{target}: {name}@{digest}\n")
    return 0


def _words(option: str, text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise ImageError(f"{option} {text}: {error}") from None


def _build(arguments: argparse.Namespace, target: str, name: ImageName, settings: RunConfig) -> str:
    sources = _sources(arguments)
    if arguments.rootfs:
        if sources or arguments.as_artifact or arguments.as_files:
            raise ImageError(
                "--rootfs makes an ordinary image: it excludes modules, layers, -a and --as-files"
            )
        with _progress("Packing", _size_of_tree(arguments.rootfs)) as progress:
            return build_rootfs_image(target, name, arguments.rootfs, settings, progress)
    if arguments.as_artifact and settings.members():
        raise ImageError("an artifact has no place for an entrypoint, cmd, env, user or workdir")
    with _progress("Writing", 2 * sum(os.path.getsize(path) for _, path in sources)) as progress:
        layers = [LayerFile(path, media_type, progress) for media_type, path in sources]
        if arguments.as_artifact:
            return build_artifact(target, name, layers, progress)
        if arguments.as_files:
            return build_files_image(target, name, layers, settings, progress)
        return build_wasm_image(target, name, layers, settings, progress)


def _sources(arguments: argparse.Namespace) -> list[tuple[str, str]]:
    """Return the layers to build as (media type, path); "" derives the type from the file. Raises ImageError."""
    if arguments.module and arguments.components:
        raise ImageError("-m and -c exclude each other: name the modules, or the folder that contains them")
    sources = [("", path) for path in arguments.module]
    for layer in arguments.layer:
        media_type, equals, path = layer.partition("=")
        if not (media_type and equals and path):
            raise ImageError(f"-l {layer}: expected TYPE=FILE")
        sources.append((media_type, path))
    if arguments.components:
        sources += [("", path) for path in _components(arguments.components)]
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


def _target(out_path: str | None, name: ImageName) -> str:
    default = f"{name.last_part}.tar"
    if out_path is None:
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


def _inspect(arguments: argparse.Namespace) -> int:
    from runwasi.images.reader import inspect  # late: building needs none of it

    images = inspect(arguments.archive)
    if arguments.format == "json":
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


COMMANDS = {
    "image": Command(
        "image",
        "build and inspect images of WebAssembly and of root filesystems",
        _image,
        arguments="build|inspect ...",
        description="""\
Images are written as OCI archives, which `ctr image import`, skopeo and podman read.

    runwasi image build --repo localhost --name hello --tag v1 --module hello.wasm
    runwasi image inspect hello.tar""",
        least=1,
        most=None,
        stop_at_first=True,
    )
}
