"""Conditions: one row per rule of language.md 7."""

from __future__ import annotations

from typing import Any

import pytest

from anylog.errors import AnyLogError
from anylog.language.conditions import holds
from anylog.language.dictionary import Dictionary, Scope
from anylog.language.tokens import tokens_of

VALUES: dict[str, Any] = {
    "a": "x", "b": "X", "n": "5", "m": "10", "zero": "0", "t": "true", "f": "False", "typed": 0, "five": 5,
    "yes": True, "path": "/a/b/c", "words": "Hello World", "plus": "+5",
}  # fmt: skip
ROW = {"value": 11, "threshold": {"max": 10}, "none": None}

CONDITIONS = [
    ("!a", True),
    ("!undefined", False),
    ("not !undefined", True),
    ("not !a", False),
    ("!zero", True),
    ("!zero.int", False),
    ("!typed", False),
    ("!yes", True),
    ("!undefined == x", False),
    ("!undefined != x", True),
    ('!undefined == ""', True),
    ("!a == !b", True),
    ("!a == X", True),
    ("!a != y", True),
    ("!n < !m", True),
    ("!n == 5.0", True),
    ("!n != 5.0", False),
    ("!plus == +5", True),
    ("!five == 5", True),
    ("!n.int < 10", True),
    ("!m.int >= 10", True),
    ("!m <= 10", True),
    ("!undefined.int == 5", False),
    ("!undefined < 5", False),
    ("abc < abd", True),
    ("abc10 < abc9", True),
    ("!t.bool == true", True),
    ("!f.bool == TRUE", False),
    ("!undefined.bool == false", True),
    ("!t == TRUE", True),
    ("!yes == true", True),
    ("!a == 'x'", True),
    ('!words == "hello world"', True),
    ("!words contains WORLD", True),
    ("!words includes nope", False),
    ("!words startswith hello", True),
    ("!words startwith world", False),
    ("!words endswith WORLD", True),
    ("/a/b childfrom /a/", True),
    ("/a/b/c childfrom /a/", False),
    ("/a/ childfrom /a/", False),
    ("not !undefined and !a", True),
    ("!undefined and !a or !b", False),
    ("!a or !undefined and !undefined", True),
    ("!a and !undefined or !b", True),
    ("!undefined or !a and !b", True),
    ("!a == x and (!n == 4 or !m == 10)", True),
    ("(!a == y or !n == 5) and !m == 10", True),
    ("not (!a == y)", True),
    ("((!a))", True),
    ("[value] > [threshold][max]", True),
    ("[none] is declared", False),
    ("[none] not declared", True),
    ("[value] is declared", True),
]


def scope() -> Scope:
    dictionary = Dictionary()
    for key, value in VALUES.items():
        dictionary.set(key, value)
    return Scope(dictionary, {})


@pytest.mark.parametrize(("text", "expected"), CONDITIONS)
def test_conditions(text: str, expected: bool) -> None:
    """Existence, comparison by type, text tests, order of evaluation, groups, rows."""
    assert holds(tokens_of(text), scope(), ROW) is expected


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("", 181),
        ("!a ==", 181),
        ("!a !=", 181),
        ("== !a", 181),
        ("!a and", 181),
        ("!a or !b ==", 181),
        ("!a !b", 181),
        ("!a == x stray", 181),
        ("not", 181),
        ("not !a == x", 181),
        ("!a = x", 181),
        ("!a contains", 181),
        ("!a == (x", 2),
        ("!a.int == 5", 2),
        ("!n.int == five", 2),
        ("!t.bool == maybe", 2),
    ],
)
def test_wrong_conditions(text: str, number: int) -> None:
    """What is no condition is refused, even behind a term that decides; so are values that cannot be compared."""
    with pytest.raises(AnyLogError) as raised:
        holds(tokens_of(text), scope())
    assert raised.value.number == number


def test_rows_are_needed_for_attributes() -> None:
    """`[attribute]` says what it belongs to."""
    with pytest.raises(AnyLogError, match="row of data"):
        holds(tokens_of("[value] > 1"), scope())
