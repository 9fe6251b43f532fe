"""Every command has help and a working example (architecture.md 11): the manual cannot be out of date."""

from __future__ import annotations

import pytest

from anylog.language.command import Command
from anylog.language.words import Words
from anylog.node import ALL_COMMANDS


def shown(command: type[Command]) -> str:
    return command.words or command.__name__


@pytest.mark.parametrize("command", ALL_COMMANDS, ids=shown)
def test_help(command: type[Command]) -> None:
    """A first sentence that ends, a usage that begins with the words, and at least one example."""
    first = command.explanation().splitlines()[0]
    assert command.__doc__ and first.endswith("."), f"the help of '{shown(command)}' begins with a sentence"
    assert command.usage_text()
    assert command.examples, f"'{shown(command)}' has no example"
    assert command.http, f"'{shown(command)}' has no HTTP method"


def test_words_are_their_own() -> None:
    """No two commands are spelled alike."""
    seen: dict[str, str] = {}
    for command in ALL_COMMANDS:
        for spelling in (command.words, *command.also):
            assert seen.setdefault(spelling, command.__name__) == command.__name__, spelling


def test_registry_takes_them_all() -> None:
    """The registry of a node is made of exactly these."""
    Words(ALL_COMMANDS)
