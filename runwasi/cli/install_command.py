"""install and uninstall: put runwasi into the configuration of what calls it, as a diff first."""

from __future__ import annotations

import os

from runwasi.cli import output
from runwasi.cli.command import Command
from runwasi.cli.options import FLAG, LIST, Option, UsageError
from runwasi.cli.targets import TARGETS, Wanted, install_plan, is_found, uninstall_plan
from runwasi.deployment.deployment_error import DeploymentError
from runwasi.deployment.target_node import TargetNode, run
from runwasi.engines.engine import EngineError
from runwasi.executor.errors import ContainerError, describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runwasi.cli.options import Given
    from runwasi.cli.settings import Settings
    from runwasi.deployment.target_plan import TargetPlan

_ALL = "all"


def _install(given: Given, settings: Settings) -> int:
    return _command(given, settings, "install", install_plan)


def _uninstall(given: Given, settings: Settings) -> int:
    return _command(given, settings, "uninstall", uninstall_plan)


def _command(given: Given, settings: Settings, verb: str, plan: Callable[[str, Wanted], TargetPlan]) -> int:
    targets = _targets(given)
    wanted = _wanted(given)
    if not targets:
        return _overview(wanted, settings, verb, plan)
    if targets == [_ALL]:
        targets = [target for target in TARGETS if is_found(target, wanted.node)]
    try:
        plans = [plan(target, wanted) for target in targets]
        if not given.flag("write"):
            return _show(plans)
        for each in plans:
            _carry_out(each, restart=given.flag("restart"))
    except DeploymentError as error:
        raise ContainerError(str(error)) from None
    except PermissionError as error:
        raise ContainerError(f"{describe(error)}: run it as root") from None
    return 0


def _wanted(given: Given) -> Wanted:
    """Return the command line's choices for every target. Raises UsageError for an unknown engine."""
    config, folder = given.text("config"), given.text("bin")
    try:
        return Wanted(
            TargetNode(given.text("host") or "/"),
            engines=given.list("engine"),
            shared=given.flag("shared"),
            config=os.path.abspath(config) if config else "",
            folder=os.path.abspath(folder) if folder else "",
        )
    except EngineError as error:
        raise UsageError(str(error)) from None


def _targets(given: Given) -> list[str]:
    targets = given.arguments
    for target in targets:
        if target not in {*TARGETS, _ALL}:
            raise UsageError(f'no target "{target}": there are {", ".join(TARGETS)}, and {_ALL}')
    if _ALL in targets and len(targets) > 1:
        raise UsageError(f'"{_ALL}" stands alone')
    if given.text("config") and targets not in (["containerd"], ["docker"]):
        raise UsageError("--config names the file of one target, containerd or docker")
    if not targets and given.flag("write"):
        raise UsageError(f"--write needs targets: {', '.join(TARGETS)}, or {_ALL}")
    return targets


def _overview(
    wanted: Wanted, settings: Settings, verb: str, plan: Callable[[str, Wanted], TargetPlan]
) -> int:
    """Show what is on the node, and what there would be to do."""
    status = 0
    width = max(map(len, TARGETS))
    for target, what in TARGETS.items():
        if not is_found(target, wanted.node):
            output.write(f"{target:{width}}  -  {what}\n")
            continue
        try:
            planned = plan(target, wanted)
        except (DeploymentError, OSError) as error:
            settings.log.error(f"{target}: {describe(error) if isinstance(error, OSError) else error}")
            status = 1
            continue
        output.write(f"{target:{width}}  {_summary(planned)}\n{'':{width}}  found: {planned.found}\n")
        for note in planned.notes:
            output.write(f"{'':{width}}  note: {note}\n")
    output.write(
        f"\nNothing was changed. For the changes as diffs: runwasi {verb} TARGET..., or all. "
        "Add --write to make them.\n"
    )
    return status


def _summary(plan: TargetPlan) -> str:
    if plan.changes:
        return "to change: " + ", ".join(change.path for change in plan.changes)
    return f"to do: {plan.hint}" if plan.due else "nothing to do"


def _show(plans: list[TargetPlan]) -> int:
    """Print what would change; what is not part of the text goes to standard error."""
    pending = False
    for plan in plans:
        _print_notes(plan, _summary(plan) if not plan.shown else plan.found)
        for change in plan.changes:
            output.write(change.diff())
        output.write(plan.shown)
        pending = pending or bool(plan.changes) or plan.due
    if pending:
        output.flush()
        output.write_error("Nothing was changed. Add --write to make the changes.")
    return 0


def _carry_out(plan: TargetPlan, *, restart: bool) -> None:
    """Write the files, and make running programs notice. Raises DeploymentError, OSError."""
    _print_notes(plan, plan.found)
    if plan.shown and plan.after:
        output.write("".join(run(command, plan.shown) for command in plan.after))
        return
    output.write(plan.shown)
    if plan.changes and plan.before:
        if not restart:
            raise DeploymentError(f"{plan.target}: run `{_one_line(plan.before)}` first, or add --restart")
        _run_each(plan.before)
    for change in plan.changes:
        _say(change.apply())
    if plan.changes or plan.due:
        _bring_into_force(plan, restart=restart)
    else:
        output.write(f"{plan.target}: nothing to do\n")


def _bring_into_force(plan: TargetPlan, *, restart: bool) -> None:
    """Run the commands that make running programs notice, or say which would."""
    if restart and plan.after:
        _run_each(plan.after)
        return
    remedy = _one_line(plan.after) or plan.hint
    if remedy:
        output.flush()
        output.write_error(f"{plan.target}: the change is not in force yet: {remedy}")


def _one_line(commands: Sequence[Sequence[str]]) -> str:
    return " && ".join(map(" ".join, commands))


def _run_each(commands: Sequence[Sequence[str]]) -> None:
    for command in commands:
        run(command)
        _say(f"ran {' '.join(command)}")


def _say(done: str) -> None:
    """Print at once what was done, as the next step may fail."""
    output.write(f"{done}\n")
    output.flush()


def _print_notes(plan: TargetPlan, first: str) -> None:
    output.flush()
    output.write_error(f"{plan.target}: {first}")
    for note in plan.notes:
        output.write_error(f"{plan.target}: note: {note}")


_LISTED = "\n".join(f"    {name:12}{text}" for name, text in TARGETS.items())
_OPTIONS = (
    Option("write", "make the changes; without it they are only shown", kind=FLAG, short="w"),
    Option(
        "restart",
        "with --write: have running programs notice, through systemctl; also after an earlier restart failed",
        kind=FLAG,
    ),
    Option(
        "engine",
        "an engine to offer (default: wasmtime, and engines of other packages)",
        kind=LIST,
        value="NAME",
    ),
    Option("shared", "offer the engines' shared mode too, as the runtime wasmtimed", kind=FLAG),
    Option("config", "the target's file, instead of the usual one", value="FILE"),
    Option(
        "bin",
        "folder of the programs (default: this installation's, or /usr/local/bin if that links to them)",
        value="FOLDER",
    ),
    Option("host", "folder that stands for the node's root (default: /)", value="FOLDER"),
)

COMMANDS = {
    command.name: command
    for command in (
        Command(
            "install",
            "put runwasi into the configuration of containerd and others",
            _install,
            arguments="[TARGET...|all]",
            description=f"""\
Without a target, shows what is on this node and what there would be to do.

{_LISTED}

all stands for those that the node has, without kubernetes and kind. Changes are shown as a diff until
--write is given. Files keep their comments, and a copy of each is left beside it. A file that cannot be
read is refused.""",
            options=_OPTIONS,
            most=None,
        ),
        Command(
            "uninstall",
            "take runwasi out of the configuration of containerd and others",
            _uninstall,
            arguments="[TARGET...|all]",
            description="Takes the same targets as install, and takes away what install wrote. Stop the pods first.",
            options=_OPTIONS,
            most=None,
        ),
    )
}
