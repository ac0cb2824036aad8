"""compile: compile modules for this node before a container needs them."""

from __future__ import annotations

from runwasi.cli import output
from runwasi.cli.command import Command
from runwasi.cli.options import FLAG, LIST, Option, UsageError
from runwasi.engines import registry
from runwasi.engines.annotations import check
from runwasi.engines.engine import EngineError
from runwasi.engines.module_cache import DEFAULT_ROOT, ModuleCache
from runwasi.executor.errors import ContainerError
from runwasi.executor.workload.compiler import compile_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.cli.options import Given
    from runwasi.cli.settings import Settings


def _compile(given: Given, settings: Settings) -> int:
    annotations = _annotations(given)
    try:
        check(annotations)
        engine = registry.load(given.text("engine"))
        engine.configure(annotations)
        cache = ModuleCache(given.text("cache"))
        for made in compile_files(engine, given.arguments, cache, announce=settings.log.warning):
            if not given.flag("quiet"):
                how = "already there" if made.cached else f"{made.seconds:.1f} s"
                output.write(f"{made.path}: {made.size / (1 << 20):.1f} MiB for {engine.name}, {how}\n")
                output.flush()  # the next may take long
    except EngineError as error:
        raise ContainerError(str(error)) from None
    return 0


def _annotations(given: Given) -> dict[str, str]:
    pairs = {}
    for text in given.list("annotation"):
        name, separator, value = text.partition("=")
        if not separator:
            raise UsageError(f"annotation {text}: expected NAME=VALUE")
        pairs[name] = value
    return pairs


COMMANDS = {
    "compile": Command(
        "compile",
        "compile modules for this node before their first start",
        _compile,
        arguments="FILE...",
        description="What a container's first start would do: each file is compiled once, in a process without\n"
        "rights, and kept for every container that brings the same bytes. Core modules, components and\n"
        "text are taken.",
        options=(
            Option("engine", "engine to compile for", default=registry.DEFAULT, value="NAME"),
            Option(
                "annotation",
                "annotation of containers that changes the code, as io.runwasi.fuel",
                kind=LIST,
                value="NAME=VALUE",
            ),
            Option("cache", "folder that keeps what was compiled", default=DEFAULT_ROOT, value="FOLDER"),
            Option("quiet", "print nothing", kind=FLAG, short="q"),
        ),
        least=1,
        most=None,
    )
}
