"""Conditions and scripts of mapping policies (ingest.md 5): whether a column, a reading or a message is taken. Pure.

A script is a list of lines, `if <condition> then <what>` or `<what>` alone, where what is `skip attribute`, `skip
event`, `exit script` or `change policy <name>`; `else`, `else if` and `do` refer to the `if` before them. A line that
is a condition alone must hold. Nothing else is run: a mapping has no effects but its rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from attrs import frozen

from anylog.errors import AnyLogError
from anylog.language.conditions import Test, condition
from anylog.language.dictionary import Scope
from anylog.language.tokens import Token, joined, tokens_of

MOST_LINES = 1000


class Does(Enum):
    """What a script says is to be done."""

    GO_ON = "nothing special"
    SKIP_ATTRIBUTE = "skip attribute"
    SKIP_EVENT = "skip event"
    CHANGE_POLICY = "change policy"


@frozen
class Said:
    """The result of a script; `policy` is the name that `change policy` gives."""

    does: Does
    policy: str = ""


GO_ON = Said(Does.GO_ON)
_SKIP_ATTRIBUTE = Said(Does.SKIP_ATTRIBUTE)
_SKIP_EVENT = Said(Does.SKIP_EVENT)
_EXIT = Said(Does.GO_ON, "exit")  # known by identity


@frozen
class _Line:
    test: Test | None
    otherwise: bool  # `else`: only if the `if` before it was false
    follows: bool  # `do`: only if the `if` before it was true
    said: Said | None  # None after `then`: what follows with `do` and `else`
    text: str
    alone: bool = False  # a condition without `then`


@frozen
class Script:
    """A condition or a script, read once."""

    lines: tuple[_Line, ...]
    text: str
    refused: Said  # what a condition that stands alone says when it is false

    @classmethod
    def read(cls, source: Any, what: str, refused: Does) -> Script | None:
        """From the value of `condition` or `script`: a text, or a list of lines; None if there is nothing in it.

        `refused` is what a bare condition means that is false. Raises AnyLogError 87 naming `what` and the line.
        """
        texts = [source] if isinstance(source, str) else source
        if not isinstance(texts, list) or not all(isinstance(line, str) for line in texts):
            raise AnyLogError(87, f"{what}: a text or a list of lines is needed")
        if len(texts) > MOST_LINES:
            raise AnyLogError(87, f"{what}: {len(texts):,} lines, at most {MOST_LINES:,}")
        lines = []
        for text in texts:
            if not text.strip():
                continue
            try:
                lines.append(_line(tokens_of(text), text))
            except AnyLogError as why:
                raise AnyLogError(87, f"{what}, '{text[:80]}': {why}") from None
        return cls(tuple(lines), "; ".join(texts), Said(refused)) if lines else None

    @property
    def changes_to(self) -> set[str]:
        """The names that `change policy` may give."""
        return {line.said.policy for line in self.lines if line.said and line.said.does is Does.CHANGE_POLICY}

    def say(self, scope: Scope, reading: Any) -> Said:
        """What is to be done for a reading; `[attribute]` in a condition is of it.

        Raises AnyLogError 6 for values that cannot be compared as the condition asks.
        """
        row: Mapping[str, Any] = reading if isinstance(reading, dict) else {}
        held = True  # whether the last `if` was true
        for line in self.lines:
            if (line.otherwise and held) or (line.follows and not held):
                continue
            if line.test is not None:
                try:
                    held = line.test(scope, row)
                except AnyLogError as why:
                    raise AnyLogError(6, f"'{line.text[:200]}': {why}") from None
                except (RecursionError, TypeError, ValueError, OverflowError):
                    raise AnyLogError(6, f"'{line.text[:200]}': a value that cannot be compared") from None
                if line.alone:
                    if not held:
                        return self.refused
                    continue
                if not held:
                    continue
            if line.said is _EXIT:
                return GO_ON
            if line.said is not None:
                return line.said
        return GO_ON


def _line(tokens: Sequence[Token], text: str) -> _Line:
    otherwise = bool(tokens) and tokens[0].is_word("else")
    follows = bool(tokens) and tokens[0].is_word("do")
    rest = tokens[1:] if otherwise or follows else tokens
    if not rest or not rest[0].is_word("if"):
        return _Line(None, otherwise, follows, _said(rest), text)
    then = next((place for place, token in enumerate(rest) if token.is_word("then")), len(rest))
    test = condition(rest[1:then])
    said = _said(rest[then + 1 :]) if rest[then + 1 :] else None
    return _Line(test, otherwise, follows, said, text, alone=then == len(rest))


def _said(tokens: Sequence[Token]) -> Said:
    words = [token.text.lower() for token in tokens]
    if words and words[0] == "do":
        words, tokens = words[1:], tokens[1:]
    if words == ["skip", "attribute"]:
        return _SKIP_ATTRIBUTE
    if words == ["skip", "event"]:
        return _SKIP_EVENT
    if words == ["exit", "script"]:
        return _EXIT
    if words[:2] == ["change", "policy"] and len(words) > 2:
        rest = tokens[3:] if words[2] == "to" and len(words) > 3 else tokens[2:]
        if len(rest) == 1:
            return Said(Does.CHANGE_POLICY, rest[0].text.strip("\"'"))
    raise AnyLogError(
        87,
        f"a script of a mapping may 'skip attribute', 'skip event', 'exit script' or 'change policy <name>',"
        f" not '{joined(tokens)[:80]}'",
    )
