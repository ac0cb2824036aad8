"""completion: prints a script that makes a shell complete commands, options and container ids."""

from __future__ import annotations

from runwasi.cli import output
from runwasi.cli.command import Command
from runwasi.cli.main import command_named, summaries
from runwasi.cli.options import FLAG, HELP, UsageError
from runwasi.cli.settings import OPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from runwasi.cli.options import Given, Option
    from runwasi.cli.settings import Settings

_BASH = """\
# Completion of runwasi for bash: source it, or put it into a completions folder.
_runwasi() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} word command=
    case $prev in
    {file_options}) COMPREPLY=($(compgen -f -- "$cur")); return ;;
    esac
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case $word in
        {names}) command=$word; break ;;
        esac
    done
    case $command in
    "") COMPREPLY=($(compgen -W "{globals} {words}" -- "$cur")) ;;
{cases}
    esac
    if [[ $command && $cur != -* ]]; then
        COMPREPLY+=($(compgen -W "$(runwasi list --quiet 2>/dev/null)" -- "$cur"))
    fi
}}
complete -o bashdefault -F _runwasi runwasi
"""


def _completion(given: Given, _settings: Settings) -> int:
    output.write(script_for(given.arguments[0]))
    return 0


def script_for(shell: str) -> str:
    """Return the script for bash, zsh or fish. Raises UsageError for any other shell."""
    if shell == "bash":
        return bash()
    if shell == "zsh":
        return "#compdef runwasi\nautoload -U +X bashcompinit && bashcompinit\n" + bash()
    if shell == "fish":
        return fish()
    raise UsageError(f'no completion for "{shell}", only for bash, zsh and fish')


def bash() -> str:
    """Return the script for bash, which zsh can also read."""
    names = list(summaries())
    commands = {name: command_named(name) for name in names}
    cases = [
        f'    {name}) COMPREPLY=($(compgen -W "{_words(command.options)}" -- "$cur")) ;;'
        for name, command in commands.items()
    ]
    takes_file = {
        f"--{option.name}"
        for options in (OPTIONS, *(command.options for command in commands.values()))
        for option in options
        if option.value in {"FILE", "FOLDER", "SOCKET"}
    }
    return _BASH.format(
        file_options="|".join(sorted(takes_file)),
        names="|".join(names),
        words=" ".join(names),
        globals=_words(OPTIONS),
        cases="\n".join(cases),
    )


def fish() -> str:
    """Return the script for fish."""
    lines = ["# Completion of runwasi for fish: put it into a completions folder."]
    lines += _fish_options("not __fish_seen_subcommand_from " + " ".join(summaries()), OPTIONS)
    for name, summary in summaries().items():
        lines.append(f"complete -c runwasi -n __fish_use_subcommand -f -a {name} -d {_quoted(summary)}")
        lines += _fish_options(f"__fish_seen_subcommand_from {name}", command_named(name).options)
    ids = "(runwasi list --quiet 2>/dev/null)"
    lines.append(f"complete -c runwasi -n 'not __fish_use_subcommand' -f -a '{ids}'")
    return "\n".join(lines) + "\n"


def _fish_options(condition: str, options: Iterable[Option]) -> list[str]:
    lines = []
    for option in options:
        if option.hidden:
            continue
        short = f" -s {option.short}" if option.short else ""
        value = "" if option.kind == FLAG else " -r"
        described = _quoted(option.help)
        lines.append(f"complete -c runwasi -n '{condition}' -l {option.name}{short}{value} -d {described}")
    return lines


def _words(options: Iterable[Option]) -> str:
    return " ".join(f"--{option.name}" for option in (*options, HELP) if not option.hidden)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


COMMANDS = {
    "completion": Command(
        "completion",
        "print a completion script for a shell",
        _completion,
        arguments="bash|zsh|fish",
        description="For bash: source <(runwasi completion bash)",
        least=1,
        most=1,
    )
}
