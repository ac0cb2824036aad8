"""compile: compiles modules for this node before a container needs them."""

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
                output.flush()  # the next module may take long
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
        description="It does in advance what a container's first start would do: it compiles each file once, in a\n"
        "process without rights, and keeps the result for every container with the same bytes. A file is\n"
        "a core module, a component, or the text of either.",
        options=(
            Option("engine", "engine to compile for", default=registry.DEFAULT, value="NAME"),
            Option(
                "annotation",
                "an annotation that changes the code, such as io.runwasi.fuel",
                kind=LIST,
                value="NAME=VALUE",
            ),
            Option("cache", "folder for the compiled modules", default=DEFAULT_ROOT, value="FOLDER"),
            Option("quiet", "print nothing", kind=FLAG, short="q"),
        ),
        least=1,
        most=None,
    )
}
