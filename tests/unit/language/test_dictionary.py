"""The dictionary, references and late-bound JSON: one row per form."""

from __future__ import annotations

import json
from typing import Any

import pytest

from anylog.errors import AnyLogError
from anylog.language.dictionary import Dictionary, Scope, is_secret, read_json, resolve_json

ENVIRON = {"HOME": "/home/a", "AGAIN": "!port", "DOMAIN": "acme.org"}


def filled() -> Scope:
    """A scope with a value of every kind."""
    dictionary = Dictionary()
    for key, value in {
        "port": "32149",
        "count": 7,
        "zero": "0",
        "ratio": "1.5",
        "yes": "TRUE",
        "no": "False",
        "flag": True,
        "name": "My Big Node",
        "dir": "/data",
        "file": "start",
        "ip": "10.0.0.1",
        "host": "edge",
        "a.b": "dotted",
        "text": "abcdef",
        "items": [{"x": 1, "y": "one"}, {"x": 2}],
        "late": '{"k": [10, 20]}',
        "tree": {"a": {"b": 5}, "none": None},
        "db_password": "secret",
    }.items():
        dictionary.set(key, value)
    return Scope(dictionary, ENVIRON)


REFERENCES: list[tuple[str, Any]] = [
    ("plain", "plain"),
    ("!port", "32149"),
    ("!count", 7),
    ("!undefined", None),
    ("!!port", "!port"),
    ("!!undefined", "!undefined"),
    ("$HOME", "/home/a"),
    ("$NOPE", None),
    ("$AGAIN", "32149"),
    ("!port.int", 32149),
    ("!ratio.int", None),
    ("!ratio.float", 1.5),
    ("!count.str", "7"),
    ("!text.int", None),
    ("!yes.bool", True),
    ("!no.bool", False),
    ("!undefined.bool", False),
    ("!zero.bool", True),
    ("!undefined.int", None),
    ("!name.name", "my_big_node"),
    ("!text.len", 6),
    ("!items.len", 2),
    ("!late.len", 1),
    ("!undefined.len", 0),
    ("!tree.replies", 1),
    ("!tree.diff", 1),
    ("!undefined.diff", 0),
    ("!text[1:3]", "bc"),
    ("!text[:2]", "ab"),
    ("!text[4:]", "ef"),
    ("!text[9:]", None),
    ("!items[0]", {"x": 1, "y": "one"}),
    ("!items[9]", None),
    ("!items.y[0]", "one"),
    ("!items.x[1]", 2),
    ("!late[k]", [10, 20]),
    ("!late[k][1]", 20),
    ("!tree[a][b]", 5),
    ("!tree[nope]", None),
    ("!dir/sub/!file.al", "/data/sub/start.al"),
    ("!dir\\sub", "/data/sub"),
    ("$HOME/x", "/home/a/x"),
    ("!host.$DOMAIN", "edge.acme.org"),
    ("!host.domain.com", "edge.domain.com"),
    ("!ip:!port", "10.0.0.1:32149"),
    ("http://!ip:!port/a", "http://10.0.0.1:32149/a"),
    ("!undefined/a", None),
    ("/a/!undefined", None),
    ("!a.b", "dotted"),
    ("p!assword", "p!assword"),
    ("pa$$word", "pa$$word"),
    ("!", "!"),
    ("wow!", "wow!"),
]


@pytest.mark.parametrize(("word", "expected"), REFERENCES)
def test_references(word: str, expected: Any) -> None:
    """Every form of a reference, its type, and what it is when the key is not defined."""
    value = filled().resolve(word)
    assert (type(value), value) == (type(expected), expected)


def test_who_asks_from_elsewhere_sees_no_secrets() -> None:
    """A reference is no way round the guarded `get dictionary` and `get env var`."""
    scope = filled()
    guarded = Scope(scope.dictionary, scope.environ, guarded=True)
    assert scope.resolve("!db_password") == "secret"
    assert [guarded.resolve(word) for word in ("!db_password", "$HOME", "!port")] == [None, None, "32149"]
    assert is_secret("Password") and not is_secret("passing_by_dir")


def test_empty_is_undefined() -> None:
    """Assigning an empty text deletes; a name that no key may have is refused."""
    dictionary = Dictionary()
    for empty in ("", "''", None):
        dictionary.set("x", "1")
        dictionary.set("x", empty)
        assert "x" not in dictionary and dictionary.get("x") is None
    with pytest.raises(AnyLogError, match="'a/b' is not a name") as raised:
        dictionary.set("a/b", 1)
    assert raised.value.number == 175


def test_items() -> None:
    """Listing by part of a key, any letter case, sorted."""
    dictionary = Dictionary()
    for key in ("b_dir", "a_DIR", "port"):
        dictionary.set(key, 1)
    assert [key for key, _ in dictionary.items("Dir")] == ["a_DIR", "b_dir"]
    assert [key for key, _ in dictionary.items()] == ["a_DIR", "b_dir", "port"]


def test_nested_assignment() -> None:
    """Only the last level may be missing; JSON text becomes values; an empty text removes an entry."""
    dictionary = Dictionary()
    dictionary.assign("x", ["k"], "v")
    dictionary.assign("x", ["m"], {})
    dictionary.assign("x", ["m", "n"], 3)
    dictionary.assign("x", ["k"], "")
    assert dictionary.get("x") == {"m": {"n": 3}}
    dictionary.set("text", '{"a": [1, 2]}')
    dictionary.assign("text", ["a", "1"], 5)
    assert dictionary.get("text") == {"a": [1, 5]}
    for parts, reason in ((["q", "r"], r"'x\[q\]' is not assigned"), (["m", "n", "o"], r"'x\[m\]\[n\]' has no place")):
        with pytest.raises(AnyLogError, match=reason):
            dictionary.assign("x", parts, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"operator" : {"ip" : !ip, "port" : !port.int}}', {"operator": {"ip": "10.0.0.1", "port": 32149}}),
        ('{"script" : ["process !dir/a.al"]}', {"script": ["process !dir/a.al"]}),
        ("{'a' : '!ip', 'b': True, 'c': None,}", {"a": "!ip", "b": True, "c": None}),
        ("[!count, !flag, !items]", [7, True, [{"x": 1, "y": "one"}, {"x": 2}]]),
        ("{!name : !late}", {"My Big Node": {"k": [10, 20]}}),
        ('{"a": "it\'s"}', {"a": "it's"}),
        ("{'a': 'say \"x\"'}", {"a": 'say "x"'}),
    ],
)
def test_late_bound_json(text: str, expected: Any) -> None:
    """References outside quotes are replaced when JSON is used; the result is strict JSON."""
    assert json.loads(resolve_json(text, filled())) == expected


@pytest.mark.parametrize("text", ['{"a" : !undefined}', "{nope", "{'a': }", '{"a" "b"}', "[" * 99999])
def test_what_is_no_json(text: str) -> None:
    """An undefined reference and anything that is no JSON is error 6."""
    with pytest.raises(AnyLogError) as raised:
        resolve_json(text, filled())
    assert raised.value.number == 6


def test_lenient_reading() -> None:
    """Python's words, single quotes and trailing commas are understood without references, too."""
    assert read_json("{'a': [true, False, null, 1.5,],}") == {"a": [True, False, None, 1.5]}
