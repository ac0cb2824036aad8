"""Parses command lines in runc's form: one table of options per command, one small parser.

Options may be written `--name value`, `--name=value` or with one dash, before or between arguments; `--` ends
them. argparse could do the same, but imports `re`, which would take 5 ms of every container's start.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Value = bool | str | int | list[str]

FLAG, TEXT, NUMBER, LIST = "flag", "text", "number", "list"


class UsageError(Exception):
    """The command line is wrong; str() says why."""


class Option:
    """One option: kind is FLAG, TEXT, NUMBER or LIST (repeatable); value is its placeholder in the help."""

    __slots__ = ("default", "help", "hidden", "kind", "name", "short", "value")

    def __init__(
        self,
        name: str,
        help: str,  # noqa: A002 - the usual name in parsers
        *,
        kind: str = TEXT,
        short: str = "",
        default: str | int = "",
        value: str = "",
        hidden: bool = False,
    ) -> None:
        self.name = name
        self.help = help
        self.kind = kind
        self.short = short
        self.default = default
        self.value = value
        self.hidden = hidden

    def initial(self) -> Value:
        """Return the value of an option that was not given."""
        if self.kind == FLAG:
            return False
        if self.kind == LIST:
            return []
        return int(self.default or 0) if self.kind == NUMBER else self.default


class Given:
    """The contents of a command line: options by name, with their defaults, and the arguments in order."""

    __slots__ = ("_values", "arguments", "present")

    def __init__(self, options: Sequence[Option]) -> None:
        self._values: dict[str, Value] = {option.name: option.initial() for option in options}
        self.arguments: list[str] = []
        self.present: set[str] = set()
        """The names of the options that were given."""

    def put(self, option: Option, text: str) -> None:
        """Set an option's value from its text. Raises UsageError if it does not fit the option's kind."""
        if option.kind == LIST:
            values = self._values[option.name]
            assert isinstance(values, list)
            values.append(text)
        else:
            self._values[option.name] = _value(option, text)
        self.present.add(option.name)

    def flag(self, name: str) -> bool:
        """Return whether a FLAG was given."""
        return self._values[name] is True

    def text(self, name: str) -> str:
        """Return the value of a TEXT."""
        return str(self._values[name])

    def number(self, name: str) -> int:
        """Return the value of a NUMBER."""
        value = self._values[name]
        assert isinstance(value, int)
        return value

    def list(self, name: str) -> list[str]:
        """Return the values of a LIST."""
        value = self._values[name]
        assert isinstance(value, list)
        return value


def _value(option: Option, text: str) -> Value:
    if option.kind == FLAG:
        if text.lower() in {"true", "t", "1"}:
            return True
        if text.lower() in {"false", "f", "0"}:
            return False
        raise UsageError(f'invalid boolean value "{text}" for -{option.name}: expected true or false')
    if option.kind == NUMBER:
        try:
            return int(text)
        except ValueError:
            raise UsageError(f'invalid value "{text}" for flag -{option.name}: not a number') from None
    return text


HELP = Option("help", "show help", kind=FLAG, short="h")


def parse(options: Sequence[Option], words: Sequence[str], *, stop_at_first: bool = False) -> Given:
    """Split words into options and arguments. Raises UsageError for options that are not in the table."""
    known = {HELP.name: HELP, HELP.short: HELP}
    for option in options:
        known[option.name] = option
        if option.short:
            known[option.short] = option
    given = Given((*options, HELP))
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        if word == "--":
            break
        if word != "-" and word.startswith("-"):
            index += _take_option(given, known, word, words[index : index + 1])
            continue
        given.arguments.append(word)
        if stop_at_first:
            break
    given.arguments += words[index:]
    return given


def _take_option(given: Given, known: Mapping[str, Option], word: str, following: Sequence[str]) -> int:
    """Store one option; return how many of the following words were its value."""
    name, equals, text = word.lstrip("-").partition("=")
    option = known.get(name)
    if option is None:
        raise UsageError(f"flag provided but not defined: -{name}")
    if equals or option.kind == FLAG:
        given.put(option, text if equals else "true")
        return 0
    if not following:
        raise UsageError(f"flag needs an argument: -{name}")
    given.put(option, following[0])
    return 1
