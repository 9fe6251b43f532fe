"""Conditions of `if` and `wait` (language.md 7). Pure: what words mean is handed in."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from anylog.errors import AnyLogError
from anylog.language.dictionary import shown
from anylog.language.tokens import Token, tokenise

Meaning = Callable[[str], Any]  # of a word with `!` or `$`: its value, None if undefined

_OPERATORS = ("==", "!=", "<=", ">=", "<", ">", "=")
_WORDS = {
    "contains": "contains",
    "includes": "contains",
    "startswith": "startswith",
    "startwith": "startswith",
    "endswith": "endswith",
    "endwith": "endswith",
    "childfrom": "childfrom",
}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_CAST = re.compile(r".*\.(int|float)$")


def holds(tokens: Sequence[Token], meaning: Meaning) -> bool:
    """Whether the condition is true. Raises AnyLogError 181 for one that cannot be read, 2 for a failed cast.

    Terms stand left to right with equal precedence, nested to the right: `A and B or C` is `A and (B or C)`.
    """
    if not tokens:
        raise AnyLogError(181, "a condition is missing")
    place = _term_end(tokens)
    value = _term(tokens[:place], meaning)
    if place == len(tokens):
        return value
    joined = tokens[place].text.lower()
    rest = tokens[place + 1 :]
    if not rest:
        raise AnyLogError(181, f"nothing stands after '{joined}'")
    if joined == "and":
        return holds(rest, meaning) if value else False
    return True if value else holds(rest, meaning)


def _term_end(tokens: Sequence[Token]) -> int:
    for place, token in enumerate(tokens):
        if token.is_word("and", "or"):
            if place == 0:
                raise AnyLogError(181, f"nothing stands before '{token.text}'")
            return place
    return len(tokens)


def _term(tokens: Sequence[Token], meaning: Meaning) -> bool:
    first = tokens[0]
    if len(tokens) == 1 and not first.quoted and first.text.startswith("(") and first.text.endswith(")"):
        return holds(tokenise(first.text[1:-1]), meaning)
    if first.is_word("not"):
        if len(tokens) == 2:
            return not _term(tokens[1:], meaning)
        raise AnyLogError(181, _written(tokens))
    if len(tokens) == 1:
        return _exists(_value(first, meaning))
    place = next((at for at, token in enumerate(tokens) if token.is_word(*_OPERATORS, *_WORDS)), -1)
    if place < 1 or place == len(tokens) - 1:
        raise AnyLogError(181, f"{_written(tokens)}: an operand or a comparison is missing")
    left, right = tokens[:place], tokens[place + 1 :]
    operator = tokens[place].text.lower()
    return _compare(_side(left, meaning), operator, _side(right, meaning), left, right)


def _written(tokens: Sequence[Token]) -> str:
    return "'" + " ".join(token.text for token in tokens) + "'"


def _value(token: Token, meaning: Meaning) -> Any:
    if token.quoted:
        return token.text
    if len(token.text) > 1 and token.text[0] == token.text[-1] == "'":
        return token.text[1:-1]
    return meaning(token.text)


def _side(tokens: Sequence[Token], meaning: Meaning) -> Any:
    if len(tokens) == 1:
        return _value(tokens[0], meaning)
    if any(token.text[:1] in "!$" for token in tokens):
        raise AnyLogError(181, f"unexpected words in {_written(tokens)}")
    return " ".join(token.text for token in tokens)


def _exists(value: Any) -> bool:
    if isinstance(value, str):
        return value not in ("", "False", "false")
    return bool(value)


def _compare(left: Any, operator: str, right: Any, lefts: Sequence[Token], rights: Sequence[Token]) -> bool:
    operator = _WORDS.get(operator, "==" if operator == "=" else operator)
    if operator in _WORDS.values():
        return _words(shown(left), operator, shown(right))
    if left is None or right is None:
        empty = left is None and right is None
        same = empty or (shown(left) == shown(right))
        return same if operator == "==" else not same if operator == "!=" else False
    for one, other, tokens in ((left, right, rights), (right, left, lefts)):
        if isinstance(one, bool) and not isinstance(other, bool) and shown(other).lower() not in ("true", "false"):
            raise AnyLogError(2, f"{_written(tokens)} is compared with true or false")
    cast = any(_CAST.match(token.text) for token in (*lefts, *rights) if token.text[:1] in "!$")
    numbers = [_number(left), _number(right)]
    if None not in numbers and not isinstance(left, bool) and not isinstance(right, bool):
        return _ordered(numbers[0], operator, numbers[1])
    if cast and not isinstance(left, bool) and not isinstance(right, bool):
        wrong = left if numbers[0] is None else right
        raise AnyLogError(2, f"'{shown(wrong)}' is not a number")
    return _ordered(shown(left).lower(), operator, shown(right).lower())


def _number(value: Any) -> float | int | None:
    if isinstance(value, (int, float)):
        return value
    text = shown(value).strip()
    if not _NUMBER.fullmatch(text):
        return None
    return int(text) if text.lstrip("+-").isdigit() else float(text)


def _ordered(left: Any, operator: str, right: Any) -> bool:
    results = {
        "==": left == right,
        "!=": left != right,
        "<": left < right,
        "<=": left <= right,
        ">": left > right,
        ">=": left >= right,
    }
    return bool(results[operator])


def _words(left: str, operator: str, right: str) -> bool:
    left, right = left.lower(), right.lower()
    if operator == "contains":
        return right in left
    if operator == "startswith":
        return left.startswith(right)
    if operator == "endswith":
        return left.endswith(right)
    separator = right[-1:]
    return left.startswith(right) and separator not in left[len(right) :] and len(left) > len(right)
