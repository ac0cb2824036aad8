"""pause, resume and update: suspends a container, resumes it, and changes its limits."""

from __future__ import annotations

import sys

from runwasi.cli.command import Command
from runwasi.cli.options import Option, UsageError
from runwasi.executor.errors import Invalid
from runwasi.executor.lifecycle.container import Container
from runwasi.linux.waiting import finish
from runwasi.oci.decode import decode, decode_document, read_document
from runwasi.oci.resources import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runwasi.cli.options import Given
    from runwasi.cli.settings import Settings


def _pause(given: Given, settings: Settings) -> int:
    finish(Container.load(settings.root, given.arguments[0], settings.log.warning).pause())
    return 0


def _resume(given: Given, settings: Settings) -> int:
    Container.load(settings.root, given.arguments[0], settings.log.warning).resume()
    return 0


def _update(given: Given, settings: Settings) -> int:
    container = Container.load(settings.root, given.arguments[0], settings.log.warning)
    file = given.text("resources")
    container.update(_read_resources(file) if file else decode(Resources, _document_of(given)))
    shares = [given.text(name) for name in ("l3-cache-schema", "mem-bw-schema") if given.text(name)]
    if shares:
        _reshare(container, shares)
    return 0


def _read_resources(file: str) -> Resources:
    if file == "-":
        return decode_document(Resources, sys.stdin.buffer.read(), "standard input")
    return decode_document(Resources, read_document(file), file)


def _reshare(container: Container, shares: list[str]) -> None:
    """Change the container's share of caches and memory bandwidth."""
    if not container.saved.resctrl:
        raise Invalid("updating a non-existent Intel RDT configuration is not supported")
    from runwasi.linux import resctrl  # late: few hosts support it

    resctrl.reshare(container.saved.resctrl, shares)


# Option -> the place of its value in linux.resources.
_INTEGERS = {
    "blkio-weight": ("blockIO", "weight"),
    "cpu-period": ("cpu", "period"),
    "cpu-quota": ("cpu", "quota"),
    "cpu-burst": ("cpu", "burst"),
    "cpu-share": ("cpu", "shares"),
    "cpu-rt-period": ("cpu", "realtimePeriod"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime"),
    "cpu-idle": ("cpu", "idle"),
    "pids-limit": ("pids", "limit"),
}
_LISTS = {"cpuset-cpus": ("cpu", "cpus"), "cpuset-mems": ("cpu", "mems")}
_SIZES = {
    "memory": ("memory", "limit"),
    "memory-reservation": ("memory", "reservation"),
    "memory-swap": ("memory", "swap"),
    "kernel-memory": ("memory", "kernel"),
    "kernel-memory-tcp": ("memory", "kernelTCP"),
}


def _document_of(given: Given) -> dict[str, Any]:
    """Return the resources document for these options, so that they are checked like a file."""
    document: dict[str, dict[str, object]] = {}
    for options, read in ((_INTEGERS, _integer), (_LISTS, _as_is), (_SIZES, size_in_bytes)):
        for name, (part, member) in options.items():
            text = given.text(name)
            if text:
                document.setdefault(part, {})[member] = read(name, text)
    return document


def _as_is(_name: str, text: str) -> str:
    return text


def _integer(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UsageError(f'invalid value for {name}: "{text}" is not a whole number') from None


_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}


def size_in_bytes(name: str, text: str) -> int:
    """Parse a size such as 512, 64k, 32MB, 1.5GiB or -1. Raises UsageError naming the option."""
    if text == "-1":
        return -1
    lowered = text.strip().lower()
    number = lowered.rstrip("kmgtpib ")
    unit = lowered[len(number) :].strip().removesuffix("b").removesuffix("i")
    try:
        if unit not in _UNITS or number[:1] in {"-", "+"}:
            raise ValueError
        return int(float(number) * (1 << _UNITS[unit]))
    except (ValueError, OverflowError):
        raise UsageError(
            f'invalid value for {name}: "{text}" is not a size in bytes, such as 64m or 1.5GiB'
        ) from None


COMMANDS = {
    command.name: command
    for command in (
        Command("pause", "suspend all processes of a container", _pause, arguments="ID", least=1, most=1),
        Command("resume", "resume a paused container", _resume, arguments="ID", least=1, most=1),
        Command(
            "update",
            "change a running container's limits",
            _update,
            arguments="ID",
            description="Limits that are not given stay as they are. With --resources, the other options are\n"
            "ignored; the file is the linux.resources part of a config.json. A new memory limit also applies\n"
            "to running modules, less the engine's own share.",
            options=(
                Option(
                    "resources", "file with the new limits, - for standard input", short="r", value="FILE"
                ),
                Option("blkio-weight", "block I/O weight, 10 to 1000", value="N"),
                Option("cpu-period", "length of a CPU period in microseconds", value="N"),
                Option("cpu-quota", "CPU time in each period in microseconds", value="N"),
                Option("cpu-burst", "CPU time that may be accumulated, in microseconds", value="N"),
                Option("cpu-share", "CPU shares (relative weight)", value="N"),
                Option("cpu-rt-period", "length of a realtime period in microseconds", value="N"),
                Option("cpu-rt-runtime", "realtime CPU time in each period in microseconds", value="N"),
                Option("cpu-idle", "1 to run the container only on idle CPUs", value="N"),
                Option("cpuset-cpus", "CPUs to use, such as 0-3,7", value="LIST"),
                Option("cpuset-mems", "memory nodes to use", value="LIST"),
                Option("memory", "memory limit, such as 64M, or in bytes; -1 for no limit", value="SIZE"),
                Option(
                    "memory-reservation",
                    "memory that the container keeps when memory is scarce",
                    value="SIZE",
                ),
                Option("memory-swap", "limit of memory and swap together; -1 for no limit", value="SIZE"),
                Option("kernel-memory", "ignored by kernels since 5.12", value="SIZE", hidden=True),
                Option("kernel-memory-tcp", "ignored by kernels since 5.12", value="SIZE", hidden=True),
                Option("pids-limit", "maximum number of tasks; -1 for no limit", value="N"),
                Option("l3-cache-schema", "cache allocation in resctrl's format", value="LINE"),
                Option("mem-bw-schema", "memory bandwidth in resctrl's format", value="LINE"),
            ),
            least=1,
            most=1,
        ),
    )
}
