"""Makes the help texts from the tables that the parser uses."""

from __future__ import annotations

import os
import textwrap

from runwasi.cli.options import FLAG, HELP, NUMBER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from runwasi.cli.command import Command
    from runwasi.cli.options import Option

_ABOUT = """\
runwasi runs OCI bundles: native programs as any runtime does, and WebAssembly modules in an
engine inside the container. It takes runc's commands and options.

A bundle is a folder with a config.json and usually a root filesystem:

    mkdir -p hello/rootfs && cd hello
    cp ../hello.wasm rootfs/
    runwasi spec --wasm /hello.wasm
    runwasi run hello"""


def program_help(options: Sequence[Option], commands: Mapping[str, str]) -> str:
    """Return the program's help: its purpose, its commands with their summaries, the global options."""
    width = max(map(len, commands))
    listed = "\n".join(f"   {name:{width}}   {summary}" for name, summary in commands.items())
    return "\n\n".join(
        (
            "NAME:\n   runwasi - Open Container Initiative runtime for WebAssembly and native programs",
            "USAGE:\n   runwasi [global options] COMMAND [options] [arguments]",
            _ABOUT,
            f"COMMANDS:\n{listed}",
            f"GLOBAL OPTIONS:\n{_listed((*options, HELP))}",
            "Run `runwasi COMMAND --help` for more about a command.\n",
        )
    )


def command_help(command: Command, program: str = "") -> str:
    """Return a command's help; program is its name as a program of its own."""
    program = program or f"runwasi {command.name}"
    usage = f"{program} [options] {command.arguments}".rstrip()
    sections = [f"NAME:\n   {program} - {command.summary}", f"USAGE:\n   {usage}"]
    if command.description:
        sections.append(f"DESCRIPTION:\n{textwrap.indent(command.description, '   ')}")
    sections.append(f"OPTIONS:\n{_listed((*command.options, HELP))}")
    return "\n\n".join(sections) + "\n"


def _listed(options: Iterable[Option]) -> str:
    """Format options in two columns, the second wrapped to the width of the terminal."""
    shown = [(_names(option), option.help) for option in options if not option.hidden]
    column = min(30, max(len(names) for names, _ in shown)) + 3
    width = max(50, min(100, _columns()) - column - 3)
    lines = []
    for names, text in shown:
        first, *rest = textwrap.wrap(text, width)
        if len(names) > column - 2:
            lines.append(f"   {names}")
            names = ""
        lines.append(f"   {names:{column}}{first}")
        lines += [f"   {'':{column}}{line}" for line in rest]
    return "\n".join(lines)


def _names(option: Option) -> str:
    names = f"--{option.name}" + (f", -{option.short}" if option.short else "")
    if option.kind == FLAG:
        return names
    return f"{names} {option.value or ('N' if option.kind == NUMBER else 'VALUE')}"


def _columns() -> int:
    try:
        return os.get_terminal_size(1).columns
    except OSError:
        return 100
