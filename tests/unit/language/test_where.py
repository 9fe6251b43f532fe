"""Options: one row per rule of language.md 6."""

from __future__ import annotations

import time

import pytest

from anylog.errors import AnyLogError
from anylog.language.command import Option, Text
from anylog.language.dictionary import Dictionary, Scope
from anylog.language.tokens import tokens_of
from anylog.language.where import read_where, replaced

OPTIONS: dict[str, Option] = {"dest": Text(many=True), "topic": Text(many=True), "include": Text(many=True, late=True)}


def scope() -> Scope:
    dictionary = Dictionary()
    for key, value in {"ip": "10.0.0.1", "port": 32149, "db": "my town", "words": "a and b"}.items():
        dictionary.set(key, value)
    return Scope(dictionary, {"HOME": "/h"})


PAIRS = [
    ("a = b", [("a", "b")]),
    ("a=b and c=d", [("a", "b"), ("c", "d")]),
    ("time = 2 minutes and volume = 1MB", [("time", "2 minutes"), ("volume", "1MB")]),
    ('a = "x and y" and b = c', [("a", "x and y"), ("b", "c")]),
    ("a = b and", [("a", "b")]),
    ("rest ip = !ip and column.temp = x", [("rest ip", "10.0.0.1"), ("column.temp", "x")]),
    ("port = !port and home = $HOME/x", [("port", "32149"), ("home", "/h/x")]),
    ("a = !words and b = c", [("a", "a and b"), ("b", "c")]),
    ("a = !!ip", [("a", "!ip")]),
    ("dest = a and dest = b", [("dest", "a"), ("dest", "b")]),
    ("dest = (a, !ip,c d)", [("dest", "a"), ("dest", "10.0.0.1"), ("dest", "c d")]),
    ("sort = (1,2)", [("sort", "(1,2)")]),
    (
        'topic = (name = t and dbms = !db and column.v = (type = float and value = "bring [v]"))',
        [("topic", '(name = t and dbms = "my town" and column.v = (type = float and value = "bring [v]"))')],
    ),
    ("topic = (name = a) and topic = (name = b)", [("topic", "(name = a)"), ("topic", "(name = b)")]),
    ("include = !ip and include !port", [("include", "!ip"), ("include", "!port")]),
    ('p = {"a": !ip}', [("p", '{"a": !ip}')]),
    ("date = -30d and other = now() +2h", [("date", "-30d"), ("other", "now() +2h")]),
    ("url = http://!ip:!port/?a=1", [("url", "http://10.0.0.1:32149/?a=1")]),
    ('name = ""', [("name", "")]),
]


@pytest.mark.parametrize(("text", "expected"), PAIRS)
def test_pairs(text: str, expected: list[tuple[str, str]]) -> None:
    """A value runs until the next `and`; lists repeat a key; nested options stay text."""
    assert read_where(tokens_of(text), OPTIONS, scope()) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a = !undefined", "Missing dictionary definition for '!undefined'"),
        ("a = b/!undefined", "Missing dictionary definition"),
        ("dest = (a, !undefined)", "Missing dictionary definition for '!undefined'"),
        ("topic = (name = !undefined)", "Missing dictionary definition for '!undefined'"),
        ("a", "'a' is not a 'key = value'"),
        ("a = b and c", "'c' is not a 'key = value'"),
        ("and a = b", "missing before 'and'"),
        ("a = b and and c = d", "missing before 'and'"),
        ("= b", "a key is missing"),
        ("a = ", "Missing value for key 'a'"),
        ("a = and b = c", "Missing value for key 'a'"),
    ],
)
def test_wrong_options(text: str, reason: str) -> None:
    """An undefined reference and a wrong structure are error 2, naming the culprit."""
    with pytest.raises(AnyLogError, match=reason) as raised:
        read_where(tokens_of(text), OPTIONS, scope())
    assert raised.value.number == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "town select * from t where ip = '!ip' and port = !port",
            "town select * from t where ip = '!ip' and port = 32149",
        ),
        ('"select !ip"', '"select !ip"'),
        ("a in (!port,5) and b != 3", "a in (32149,5) and b != 3"),
        ("x (!port, (!ip)) y", "x (32149, (10.0.0.1)) y"),
    ],
)
def test_replaced_text(text: str, expected: str) -> None:
    """Only what stands outside quotes is replaced; the rest of the text keeps its form."""
    assert replaced(text, scope()) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('f {"a": !port, "b": "!ip"}', 'f {"a": 32149, "b": "!ip"}'),
        ("f {'a': !!port, 'b': !db}", "f {'a': !port, 'b': \"my town\"}"),
        (r'f {"a\"": !port, "b": "\\"}', r'f {"a\"": 32149, "b": "\\"}'),
        (r"f {a\" !port, '!ip'}", r"f {a\" 32149, '!ip'}"),  # a quote that is not closed is a sign like others
    ],
)
def test_documents(text: str, expected: str) -> None:
    """In JSON for another node a reference becomes the JSON of its value; what stands in quotes is as it is."""
    assert replaced(text, scope(), documents=True) == expected


@pytest.mark.parametrize("sign", ['\\"', "\\'", '"\\', "'\\", '{"', "\\\"\\'", "'", '"', "!!a "])
def test_documents_full_of_signs(sign: str) -> None:
    """A document of ten times the length takes about ten times as long, not a hundred times."""

    def seconds(number: int) -> float:
        text = "f {" + sign * number + ("}" * number if "{" in sign else "}")
        begin = time.process_time()
        try:
            replaced(text, scope(), documents=True)
        except AnyLogError:  # brackets nested too deep
            pass
        return time.process_time() - begin

    assert seconds(50_000) < 40 * max(seconds(5000), 0.01)
