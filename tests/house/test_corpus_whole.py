"""The corpus of command lines leaves no command out, and each of its lines says what is to come of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from anylog.errors import AnyLogError
from anylog.language.command import Command
from anylog.language.tokens import logical_lines, tokens_of
from anylog.language.words import Words
from anylog.node import ALL_COMMANDS
from anylog.plugins import find
from anylog.southbound.commands import commands

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "process"))
import corpus

EVERYTHING = (*ALL_COMMANDS, *commands(find().plugins.values()))
WORDS = Words(EVERYTHING)
ENTRIES = [entry for path in corpus.rooms() for entry in corpus.read(path)]
BEFORE = ("then", "do", "else", "task")  # words behind which a command begins

# Commands that no line asks for: where they are asked.
ELSEWHERE = {
    "exit node": "it would end the node that all others ask: tests/process/test_shell.py",
}


def asked(text: str) -> Iterator[type[Command]]:
    """The commands of a text, those behind an assignment, a condition or `schedule` included."""
    for line in logical_lines(text, typed=True):
        tokens = tokens_of(line.text)
        begins = [0, 2] if len(tokens) > 1 and tokens[1].is_operator("=") else [0]
        begins += [place + 1 for place, token in enumerate(tokens) if any(map(token.is_word, BEFORE))]
        for begin in begins:
            found = WORDS.match([token.text for token in tokens[begin:]])
            if found is not None:
                yield found[0]


def of(entry: corpus.Line | corpus.Lying) -> set[type[Command]]:
    """The commands of a line, or of a script; what is to be refused may be no command at all."""
    try:
        return set(asked(entry.text))
    except AnyLogError:
        return set()


COVERED = {command for entry in ENTRIES for command in of(entry)}


@pytest.mark.parametrize("command", [each for each in EVERYTHING if not each.later], ids=lambda each: each.words)
def test_every_command(command: type[Command]) -> None:
    """It is asked for at least once, or there is a reason why not."""
    assert (command in COVERED) != (command.words in ELSEWHERE), f"'{command.words}' has no line in the corpus"


def test_size() -> None:
    """Lines are not lost unseen."""
    lines = [entry for entry in ENTRIES if isinstance(entry, corpus.Line)]
    assert len(lines) > 1200, len(lines)
    assert sum(1 for line in lines if line.expected) > 0.6 * len(lines), "most lines tell something"


@pytest.mark.parametrize(
    ("expected", "status", "body", "good"),
    [
        ("", 200, "", True),
        ("", 200, "more", False),
        ("a", 200, "a\r\n", True),
        ("a\nb", 200, "a\r\nb", True),
        ("a", 200, "b", False),
        ("a", 400, '{"err_code": 2, "err_text": "t"}', False),
        ("a ... c", 200, "a b c", True),
        ("a ... c", 200, "a b d", False),
        ("~ ^b$", 200, "a\nb\n", True),
        ("~ ^b$", 200, "a\nbb", False),
        ("~ a\n~ b", 200, "a", False),
        ('{"a": 1}', 200, '{"a": 1, "b": 2}', True),
        ('{"a": 1}', 200, '{"b": 2}', False),
        ('{"a": 1}', 200, '{"a": true}', False),
        ('{"a": "x..."}', 200, '{"a": "xy"}', True),
        ('{"a": "..."}', 200, '{"a": 7}', True),
        ("[1]", 200, "[1, 2]", False),
        ('[1, "..."]', 200, "[1, 2]", True),
        ('[1, 2, "..."]', 200, "[1]", False),
        ("[1]", 200, "no", False),
        ("! 2 who", 400, '{"err_code": 2, "err_text": "t", "local_msg": "it is who?"}', True),
        ("! 2", 400, '{"err_code": 2, "err_text": "t"}', True),
        ("! 2 who", 400, '{"err_code": 3, "err_text": "who"}', False),
        ("! 2 who", 400, '{"err_code": 2, "err_text": "t"}', False),
        ("! 2", 200, "", False),
    ],
)
def test_answers_are_looked_at(expected: str, status: int, body: str, good: bool) -> None:
    """What is written is what has to come; a line cannot be right by accident."""
    lines = expected.split("\n") if expected else []
    assert bool(corpus.problem(lines, status, body)) != good


def test_what_is_no_corpus(tmp_path: Path) -> None:
    """A line that is neither a command nor an answer is told with its place."""
    path = tmp_path / "room.txt"
    path.write_text("# a\n> get status\n    x\nget status\n")
    with pytest.raises(ValueError, match=r"room.txt line 4: 'get status' is neither"):
        corpus.read(path)
