"""Every command has help and a working example (architecture.md 11): the manual cannot be out of date."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.task import Clock

from anylog.language.command import Command
from anylog.language.context import Context, Result
from anylog.language.dictionary import Dictionary
from anylog.language.interpreter import Interpreter
from anylog.language.logs import Logs
from anylog.language.words import Words
from anylog.node import ALL_COMMANDS
from anylog.waiting import deferring

SAMPLES = {"ip": "127.0.0.1", "external_ip": "127.0.0.1"}  # what an example's `!key` stands for; "7" where not named
GRAMMAR = {"if", "set"}  # the interpreter reads these itself, before it looks for a command
EXAMPLES = [(command, example) for command in ALL_COMMANDS for example in command.examples]


def shown(value: object) -> str:
    return value if isinstance(value, str) else getattr(value, "words", "") or getattr(value, "__name__", "")


@pytest.mark.parametrize("command", ALL_COMMANDS, ids=shown)
def test_help(command: type[Command]) -> None:
    """A first sentence that ends, a usage, and at least one example."""
    first = command.explanation().split("\n\n")[0]
    assert command.__doc__ and first.endswith((".", ":")), f"the help of '{shown(command)}' begins with a sentence"
    assert command.usage_text()
    assert command.examples, f"'{shown(command)}' has no example"
    assert command.http, f"'{shown(command)}' has no HTTP method"


def test_words_are_their_own() -> None:
    """No two commands are spelled alike."""
    seen: dict[str, str] = {}
    for command in ALL_COMMANDS:
        for spelling in (command.words, *command.also):
            assert seen.setdefault(spelling, command.__name__) == command.__name__, spelling


class Desk:
    """An interpreter of all commands, none of which does anything but say that it was understood."""

    def __init__(self) -> None:
        self.understood: list[tuple[type[Command], Sequence[str], dict[str, Any]]] = []
        self.dictionary = Dictionary()
        clock = Clock()
        self.interpreter = Interpreter(
            words=Words([self.quiet(command) for command in ALL_COMMANDS]),
            dictionary=self.dictionary,
            environ={},
            clock=clock,
            node=None,  # type: ignore[arg-type]
            logs=Logs(clock),
            read_file=self.read_file,
        )

    def quiet(self, command: type[Command]) -> type[Command]:
        """The command with everything it declares, and nothing to do."""

        async def run(_: Command, node: object, context: Context, operands: Sequence[str], **options: Any) -> None:
            self.understood.append((command, operands, options))

        return type(command.__name__, (command,), {"run": run, "__doc__": command.__doc__})

    async def read_file(self, name: str, folder: str, local: bool) -> tuple[str, str]:
        return name, ""

    @deferring
    async def execute(self, text: str) -> Result:
        return await self.interpreter.execute(text, Context(origin="console"))


@pytest.mark.parametrize(("command", "example"), EXAMPLES, ids=shown)
def test_example(command: type[Command], example: str) -> None:
    """Each example is understood: as this command, its options read, nothing refused."""
    desk = Desk()
    for key in re.findall(r"!(\w+)", example):
        desk.dictionary.set(key, SAMPLES.get(key, "7"))
    outcome: list[Any] = []
    desk.execute(example).addBoth(outcome.append)
    assert outcome and isinstance(outcome[0], Result), f"{example}: {outcome}"
    if command.words not in GRAMMAR:
        assert [understood for understood, _, _ in desk.understood] == [command], example
