"""doctor: look at the node, and say what runwasi would need."""

from __future__ import annotations

import os
import sys

from runwasi.cli import output
from runwasi.cli.command import Command
from runwasi.cli.doctor import (
    cgroup_findings,
    containerd_findings,
    daemon_findings,
    engine_findings,
    engine_users_findings,
    kernel_findings,
    leftover_findings,
)
from runwasi.cli.doctor.finding import MISSING, OK, WARN, Finding
from runwasi.cli.options import Option, UsageError
from runwasi.executor.errors import describe
from runwasi.oci.encode import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from runwasi.cli.options import Given
    from runwasi.cli.settings import Settings

_STYLES = {OK: "green", WARN: "yellow", MISSING: "red"}


def _doctor(given: Given, settings: Settings) -> int:
    form = given.text("format")
    if form not in {"table", "json"}:
        raise UsageError(f"invalid format option: {form}: expected table or json")
    findings = list(_findings(given.text("address"), settings.root))
    if form == "json":
        output.write(dumps([finding.members() for finding in findings], "  ") + "\n")
    elif sys.stdout.isatty():
        _print_rich(findings)
    else:
        _print_plain(findings)
    return 1 if any(finding.is_fatal() for finding in findings) else 0


def _findings(address: str, root: str) -> Iterator[Finding]:
    """Run all checks; report one that the kernel forbids, and go on."""
    checks: tuple[tuple[str, Iterable[Finding]], ...] = (
        ("runwasi", engine_findings.program()),
        ("kernel", kernel_findings.kernel()),
        ("cgroups", cgroup_findings.cgroups()),
        ("lsm", kernel_findings.security_modules()),
        ("seccomp", kernel_findings.seccomp()),
        ("userns", kernel_findings.user_namespaces()),
        ("criu", kernel_findings.criu()),
        ("engine", engine_findings.engines()),
        ("containerd", containerd_findings.containerd(address)),
        ("daemon", daemon_findings.daemons()),
        ("docker", engine_users_findings.docker()),
        ("podman", engine_users_findings.podman()),
        ("leftovers", leftover_findings.leftovers(root)),
        ("rights", _rights()),
    )
    for area, check in checks:
        try:
            yield from check
        except OSError as error:
            yield Finding(area, WARN, f"cannot look: {describe(error)}", "sudo runwasi doctor", unseen=True)


def _rights() -> Iterator[Finding]:
    if os.geteuid() != 0:
        says = "you are not root: other users' containers, and containerd, could not be seen in full"
        yield Finding("rights", WARN, says, "sudo runwasi doctor")


def _print_plain(findings: list[Finding]) -> None:
    width = max(len(finding.area) for finding in findings)
    for finding in findings:
        output.write(f"{finding.status:7}  {finding.area:{width}}  {finding.says}\n")
        if finding.mend:
            output.write(f"{'':7}  {'':{width}}  to mend: {finding.mend}\n")
    output.write(f"\n{_verdict(findings)}\n")


def _verdict(findings: list[Finding]) -> str:
    """Say in one line whether containers can run here."""
    fatal = _areas(finding for finding in findings if finding.is_fatal())
    if fatal:
        return f"No container can run on this node. Missing: {fatal}."
    unseen = _areas(finding for finding in findings if finding.unseen)
    verdict = "Containers can run on this node"
    verdict += f", as far as could be seen. Not seen: {unseen}." if unseen else "."
    lacking = sum(finding.status != OK and not finding.unseen for finding in findings)
    return verdict + (f" {lacking} of the above could be better." if lacking else "")


def _areas(findings: Iterable[Finding]) -> str:
    return ", ".join(dict.fromkeys(finding.area for finding in findings))


def _print_rich(findings: list[Finding]) -> None:
    from rich.console import Console  # late: 100 ms, for people only
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    for finding in findings:
        says = Text(finding.says)
        if finding.mend:
            says.append("\nto mend: ", style="dim")
            says.append(finding.mend, style="bold")
        table.add_row(Text(finding.status, style=_STYLES[finding.status]), finding.area, says)
    console = Console()
    console.print(table)
    console.print(f"\n{_verdict(findings)}", highlight=False)


COMMANDS = {
    "doctor": Command(
        "doctor",
        "say what this node has and lacks for runwasi, and what mends it",
        _doctor,
        description="""\
Each line is ok, warn (something works less well) or missing, with the command that mends it. Nothing is
changed. The exit status is 1 if no container could run. Run it as root to see everything.""",
        options=(
            Option("format", "table or json", short="f", default="table", value="FORM"),
            Option(
                "address",
                "containerd's socket (default: $CONTAINERD_ADDRESS, or the usual one)",
                value="SOCKET",
            ),
        ),
    )
}
