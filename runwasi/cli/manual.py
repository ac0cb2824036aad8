"""Makes the man page from the tables that the parser uses; `python -m runwasi.cli.manual` prints it."""

from __future__ import annotations

from runwasi import __version__
from runwasi.cli import output
from runwasi.cli.main import command_named, summaries
from runwasi.cli.options import FLAG, NUMBER
from runwasi.cli.settings import OPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from runwasi.cli.command import Command
    from runwasi.cli.options import Option

_ABOUT = """\
.B runwasi
runs OCI bundles: native programs as any runtime does, and WebAssembly modules and
components in an engine inside the container. It takes the commands and options of
.BR runc (8),
so every caller of runc can call it.
.PP
A bundle is a folder with a
.I config.json
and usually a root filesystem.
.B runwasi
looks at the program that
.I process.args
names to see whether it is native or WebAssembly.
.PP
If the caller closed a standard stream,
.B runwasi
and the container get
.I /dev/null
instead."""

_FILES = """\
.TP
.I /run/runwasi
State of the containers of root.
.TP
.I $XDG_RUNTIME_DIR/runwasi
State of the containers of another user.
.TP
.I /var/cache/runwasi
Compiled modules and system call filters.
.TP
.I /etc/runwasi/config.toml
The node's configuration. It must belong to root, and nobody else may write to it. Its key
.B unsafe_annotations
lists the unsafe annotations that containers may have, such as "io.runwasi.unsafe.seccomp"; the default is
none. An unknown key is an error. The environment variable
.B RUNWASI_CONFIG
names another file."""

_STATUS = """\
0 on success; 1 on failure, or 255 from
.BR exec .
.BR run " and " exec
in the foreground return the program's own status, or 128 + n if signal n ended it; 134 means that a
module trapped. If the kernel refuses to execute the program, such as a script without its interpreter,
the status is 1. 141 means that nobody read the output."""


def manual() -> str:
    """Return the page runwasi(1) as roff. Source: man 7 man."""
    commands = [_command(command_named(name)) for name in summaries()]
    sections = {
        "NAME": "runwasi \\- OCI container runtime for WebAssembly and native programs",
        "SYNOPSIS": ".B runwasi\n[\\fIglobal options\\fR] \\fIcommand\\fR [\\fIoptions\\fR] [\\fIarguments\\fR]",
        "DESCRIPTION": _ABOUT,
        "GLOBAL OPTIONS": _options(OPTIONS),
        "COMMANDS": "\n".join(commands),
        "EXIT STATUS": _STATUS,
        "FILES": _FILES,
        "SEE ALSO": ".BR runc (8),\n.BR crun (1),\n.BR containerd (8)",
    }
    head = f'.TH RUNWASI 1 "" "runwasi {__version__}"\n'
    return head + "".join(f".SH {title}\n{text}\n" for title, text in sections.items())


def _command(command: Command) -> str:
    usage = f"runwasi {command.name} [options] {command.arguments}".rstrip()
    lines = [f".SS {command.name} \\- {_escaped(command.summary)}", f".B {_escaped(usage)}"]
    if command.description:
        lines += [".PP", ".nf", *(_escaped(line) for line in command.description.splitlines()), ".fi"]
    return "\n".join([*lines, _options(command.options)]).rstrip()


def _options(options: Iterable[Option]) -> str:
    return "\n".join(_option(option) for option in options if not option.hidden)


def _option(option: Option) -> str:
    names = f"\\fB\\-\\-{_escaped(option.name)}\\fR"
    if option.short:
        names += f", \\fB\\-{option.short}\\fR"
    if option.kind != FLAG:
        names += f" \\fI{_escaped(option.value or ('N' if option.kind == NUMBER else 'VALUE'))}\\fR"
    return f".TP\n{names}\n{_escaped(option.help)}"


def _escaped(text: str) -> str:
    """Escape text, so that roff prints it unchanged."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    output.write(manual())
