"""The program `runwasi`: global options, the table of commands, and the reporting of errors."""

from __future__ import annotations

import os
import sys
from errno import ENOEXEC

from runwasi.cli import output
from runwasi.cli.command import check_arguments
from runwasi.cli.log_file import LogFile
from runwasi.cli.options import UsageError, parse
from runwasi.cli.settings import OPTIONS, Settings
from runwasi.cli.signal_forwarding import Interrupted
from runwasi.executor.errors import ContainerError, describe
from runwasi.linux.standard_streams import open_missing
from runwasi.node.state_roots import COMMAND_LINE
from runwasi.oci.decode import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runwasi.cli.command import Command

# Command -> the module that has it in its COMMANDS, and a summary. A module is imported only when its command
# is called, so that a container's start does not pay for the others.
_COMMANDS = {
    "checkpoint": ("checkpoint_commands", "save a running container to files, through criu"),
    "compile": ("compile_command", "compile modules for this node before their first start"),
    "completion": ("completion", "print a completion script for bash, zsh or fish"),
    "create": ("lifecycle", "create a container from a bundle; start then runs its program"),
    "delete": ("lifecycle", "remove a container and everything that was made for it"),
    "doctor": ("doctor_command", "say what this node has and lacks for runwasi, and what mends it"),
    "events": ("events_command", "show a container's resource usage and out-of-memory kills"),
    "exec": ("exec_command", "run another program in a running container"),
    "features": ("features_command", "show the features of this runtime as JSON"),
    "image": ("image_command", "build and inspect images of WebAssembly and of root filesystems"),
    "install": ("install_command", "put runwasi into the configuration of containerd and others"),
    "kill": ("lifecycle", "send a signal to a container's first process (default: SIGTERM)"),
    "list": ("inspect", "list the containers below the state root"),
    "metrics": ("metrics_command", "serve this node's metrics to Prometheus"),
    "pause": ("resource_commands", "suspend all processes of a container"),
    "ps": ("inspect", "list the processes of a container"),
    "restore": ("checkpoint_commands", "bring a container back from a checkpoint"),
    "resume": ("resource_commands", "resume a paused container"),
    "run": ("run", "create a container, run its program and delete it afterwards"),
    "spec": ("spec_command", "write a config.json to start from"),
    "start": ("lifecycle", "run the program of a created container"),
    "state": ("inspect", "show a container's state as JSON"),
    "timing": ("timing_command", "show how long each step of a container's start took"),
    "top": ("top_command", "show all containers of this node with their usage"),
    "uninstall": ("install_command", "take runwasi out of the configuration of containerd and others"),
    "update": ("resource_commands", "change a running container's limits"),
}


def main(words: Sequence[str] | None = None) -> int:
    """Run a command line, by default sys.argv's; return the exit status."""
    open_missing()
    call = _Invocation()
    try:
        status = call.carry_out(sys.argv[1:] if words is None else words)
        output.flush()
        return status
    except UsageError as error:
        call.log.error(f"{error} (see `{' '.join(('runwasi', *call.subject.split()[:1]))} --help`)")
    except (ContainerError, SpecError, OSError) as error:
        call.log.error(
            ": ".join(filter(None, (call.subject, _step_of(error), describe(error)))) + _advice(error)
        )
        if isinstance(error, ContainerError) and error.errno == ENOEXEC:
            return output.NOT_EXECUTED
    except (ImportError, MemoryError) as error:  # the kernel denied a late import its file, or us memory
        call.log.error(f"{call.subject}: {_lack(error)}" if call.subject else _lack(error))
    except Interrupted as signal:
        return 128 + signal.number
    except KeyboardInterrupt:
        return 128 + 2  # SIGINT
    return call.failure_status


class _Invocation:
    """The command line that is running: its log, the subject of its errors, and its exit status on error."""

    def __init__(self) -> None:
        self.log = LogFile()
        self.subject = ""
        self.failure_status = 1

    def carry_out(self, words: Sequence[str]) -> int:
        """Run the command that the words name; return the exit status. Raises any error."""
        given = parse(OPTIONS, words, stop_at_first=True)
        settings = Settings(given)
        self.log = settings.log
        if given.flag("version"):
            return _print_version()
        if not given.arguments or given.flag("help"):
            return _print_help([])
        name, *rest = given.arguments
        if name in {"help", "h"}:
            return _print_help(rest)
        command = command_named(name)
        self.subject = name
        self.failure_status = command.failure_status
        given = parse(command.options, rest, stop_at_first=command.stop)
        if given.flag("help"):
            return _print_help([name])
        check_arguments(command, given)
        self.subject = " ".join((name, *given.arguments[:1]))
        return command.action(given, settings)


def summaries() -> dict[str, str]:
    """Return all commands with their summaries, in alphabetical order."""
    return {name: summary for name, (_, summary) in _COMMANDS.items()}


def command_named(name: str) -> Command:
    """Return the command of this name. Raises UsageError."""
    try:
        module, _ = _COMMANDS[name]
    except KeyError:
        raise UsageError(f"No help topic for '{name}': no such command") from None
    qualified = f"runwasi.cli.{module}"
    __import__(qualified)  # late: commands import what they need
    command: Command = sys.modules[qualified].COMMANDS[name]
    return command


def _step_of(error: BaseException) -> str:
    """Name our function that failed, for a kernel error that names no object."""
    if not isinstance(error, OSError) or error.filename is not None:
        return ""
    trace, name = error.__traceback__, ""
    while trace is not None:
        code = trace.tb_frame.f_code
        if "runwasi" in code.co_filename:
            name = code.co_name
        trace = trace.tb_next
    return name.strip("_").replace("_", " ")


def _advice(error: BaseException) -> str:
    """Say what helps where only root may look: at the state of containers."""
    if not isinstance(error, PermissionError) or os.geteuid() == 0:
        return ""
    return " (try as root)" if str(error.filename).startswith(COMMAND_LINE) else ""


def _lack(error: ImportError | MemoryError) -> str:
    if isinstance(error, ImportError):
        return f"cannot load a module of runwasi: {describe(error)}"
    return "Cannot allocate memory"


def _print_help(names: Sequence[str]) -> int:
    from runwasi.cli.help import command_help, program_help  # late: only for people

    output.write(command_help(command_named(names[0])) if names else program_help(OPTIONS, summaries()))
    return 0


def _print_version() -> int:
    from runwasi.cli.version import version_text  # late: asks libseccomp

    output.write(version_text())
    return 0
