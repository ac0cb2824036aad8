"""wasi:cli: arguments, environment, standard streams, terminals and exit."""

from __future__ import annotations

import os

from runwasi.wasi.component.guest import Exit
from runwasi.wasi.component.interface import Interface, Resource
from runwasi.wasi.component.values import Err
from runwasi.wasi.io.fd_streams import DescriptorInput, DescriptorOutput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.wasi.component.guest import Guest
    from runwasi.wasi.component.values import Ok

environment = Interface("wasi:cli/environment")
exit_ = Interface("wasi:cli/exit")
stdin = Interface("wasi:cli/stdin")
stdout = Interface("wasi:cli/stdout")
stderr = Interface("wasi:cli/stderr")
terminal_input = Interface("wasi:cli/terminal-input")
terminal_output = Interface("wasi:cli/terminal-output")
terminal_stdin = Interface("wasi:cli/terminal-stdin")
terminal_stdout = Interface("wasi:cli/terminal-stdout")
terminal_stderr = Interface("wasi:cli/terminal-stderr")


@environment.function("get-environment")
def get_environment(guest: Guest) -> list[tuple[str, str]]:
    """Return the environment's (name, value) pairs."""
    return guest.world.env


@environment.function("get-arguments")
def get_arguments(guest: Guest) -> list[str]:
    """Return argv."""
    return guest.world.args


@environment.function("initial-cwd")
def initial_cwd(guest: Guest) -> str:
    """Return the working directory."""
    return guest.world.cwd


@exit_.function("exit")
def exit_status(_guest: Guest, status: Ok | Err) -> None:
    """End the guest with 0 or 1."""
    raise Exit(1 if isinstance(status, Err) else 0)


@exit_.function("exit-with-code")
def exit_with_code(_guest: Guest, code: int) -> None:
    """End the guest with an exit code."""
    raise Exit(code)


@stdin.function("get-stdin")
def get_stdin(_guest: Guest) -> DescriptorInput:
    """Return the stream that reads descriptor 0."""
    return DescriptorInput(0)


@stdout.function("get-stdout")
def get_stdout(_guest: Guest) -> DescriptorOutput:
    """Return the stream that writes descriptor 1."""
    return DescriptorOutput(1)


@stderr.function("get-stderr")
def get_stderr(_guest: Guest) -> DescriptorOutput:
    """Return the stream that writes descriptor 2."""
    return DescriptorOutput(2)


@terminal_input.resource("terminal-input")
class TerminalInput(Resource):
    """Marks an input as a terminal; WASI 0.2 defines no methods for it."""


@terminal_output.resource("terminal-output")
class TerminalOutput(Resource):
    """Marks an output as a terminal; WASI 0.2 defines no methods for it."""


@terminal_stdin.function("get-terminal-stdin")
def get_terminal_stdin(_guest: Guest) -> TerminalInput | None:
    """Return the terminal at descriptor 0, or None."""
    return TerminalInput() if os.isatty(0) else None


@terminal_stdout.function("get-terminal-stdout")
def get_terminal_stdout(_guest: Guest) -> TerminalOutput | None:
    """Return the terminal at descriptor 1, or None."""
    return TerminalOutput() if os.isatty(1) else None


@terminal_stderr.function("get-terminal-stderr")
def get_terminal_stderr(_guest: Guest) -> TerminalOutput | None:
    """Return the terminal at descriptor 2, or None."""
    return TerminalOutput() if os.isatty(2) else None
