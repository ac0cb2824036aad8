"""The man page, made from the tables that the parser uses: `python -m runwasi.cli.manual` prints it."""

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
so that whatever calls that can call it.
.PP
A bundle is a folder with a
.I config.json
and usually a root filesystem; what its
.I process.args
names is looked at to find out whether it is native or WebAssembly.
.PP
A standard stream that the caller closed is
.I /dev/null
to
.B runwasi
and to the container."""

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
The node's configuration: root's, and writable to nobody else. Its key
.B unsafe_annotations
is a list of the unsafe annotations that containers may have, such as "io.runwasi.unsafe.seccomp"; without
it there are none. A key that there is not is an error. The environment variable
.B RUNWASI_CONFIG
names another file."""

_STATUS = """\
0 when the command did its work; 1 when it did not, 255 for
.BR exec .
.BR run " and " exec
in the foreground return the program's own status, or 128 + n when signal n ended it; 134 says that a
module trapped. A program that the kernel does not execute, such as a script without its interpreter,
has the status 1. 141 says that nobody read what was printed."""


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
    """Return text that roff prints as it is."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    output.write(manual())
