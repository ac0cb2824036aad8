"""The parser of command lines."""

from __future__ import annotations

import pytest

from runwasi.cli.command import Command, check_arguments
from runwasi.cli.options import FLAG, LIST, NUMBER, Given, Option, UsageError, parse

OPTIONS = (
    Option("bundle", "", short="b"),
    Option("detach", "", kind=FLAG, short="d"),
    Option("preserve-fds", "", kind=NUMBER),
    Option("env", "", kind=LIST, short="e"),
    Option("format", "", default="table"),
)


def test_options_that_are_not_given_have_their_defaults() -> None:
    given = parse(OPTIONS, ["id"])
    assert given.arguments == ["id"]
    assert (given.text("bundle"), given.text("format")) == ("", "table")
    assert given.flag("detach") is False
    assert given.number("preserve-fds") == 0
    assert given.list("env") == []
    assert given.present == set()


@pytest.mark.parametrize(
    "words",
    [
        ["--bundle", "/b", "id"],
        ["--bundle=/b", "id"],
        ["-bundle", "/b", "id"],
        ["-b", "/b", "id"],
        ["-b=/b", "id"],
        ["id", "--bundle", "/b"],
        ["--bundle", "/a", "--bundle", "/b", "id"],
        ["--bundle", "/b", "--", "id"],
    ],
)
def test_every_way_to_write_a_value(words: list[str]) -> None:
    given = parse(OPTIONS, words)
    assert (given.text("bundle"), given.arguments, given.present) == ("/b", ["id"], {"bundle"})


@pytest.mark.parametrize(("word", "value"), [("-d", True), ("--detach", True), ("--detach=false", False)])
def test_flags_take_a_value_only_after_an_equals_sign(word: str, value: bool) -> None:
    given = parse(OPTIONS, [word, "id"])
    assert (given.flag("detach"), given.arguments) == (value, ["id"])


def test_lists_keep_every_value_and_its_commas() -> None:
    assert parse(OPTIONS, ["-e", "A=1,2", "--env", "B="]).list("env") == ["A=1,2", "B="]


def test_with_stop_at_first_no_option_follows_the_first_argument() -> None:
    given = parse(OPTIONS, ["-d", "id", "ls", "-d", "--", "--bundle"], stop_at_first=True)
    assert given.arguments == ["id", "ls", "-d", "--", "--bundle"]


def test_two_dashes_end_the_options_and_one_is_an_argument() -> None:
    assert parse(OPTIONS, ["-", "--", "-d"]).arguments == ["-", "-d"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nope"], "flag provided but not defined: -nope"),
        (["--bundle"], "flag needs an argument: -bundle"),
        (["--detach=maybe"], 'invalid boolean value "maybe" for -detach: expected true or false'),
        (["--preserve-fds", "two"], 'invalid value "two" for flag -preserve-fds'),
    ],
)
def test_a_word_that_fits_no_option_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(OPTIONS, words)


@pytest.mark.parametrize(
    ("least", "most", "count", "message"),
    [
        (1, 1, 0, "requires exactly 1 argument"),
        (1, 1, 2, "requires exactly 1 argument"),
        (1, 2, 0, "requires a minimum of 1 argument"),
        (1, 2, 3, "requires a maximum of 2 argument"),
        (1, None, 0, "requires a minimum of 1 argument"),
    ],
)
def test_the_number_of_arguments_is_checked(least: int, most: int | None, count: int, message: str) -> None:
    command = Command("kill", "", lambda _given, _settings: 0, least=least, most=most)
    given = Given(())
    given.arguments = ["x"] * count
    with pytest.raises(UsageError, match=message):
        check_arguments(command, given)
