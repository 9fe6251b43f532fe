"""From text to lines and tokens: one row per rule of the grammar."""

from __future__ import annotations

import pytest

from anylog.errors import AnyLogError
from anylog.language.tokens import Kind, joined, logical_lines, tokens_of

TOKENS = [
    ("a=b", ["a", "=", "b"]),
    ("!x+!y", ["!x", "+", "!y"]),
    ("port=!p.int", ["port", "=", "!p.int"]),
    ("a == b != c <= d >= e < f > g", ["a", "==", "b", "!=", "c", "<=", "d", ">=", "e", "<", "f", ">", "g"]),
    ("a==b", ["a", "==", "b"]),
    ("a -> b->c", ["a", "->", "b", "->", "c"]),
    ("tab\tbetween", ["tab", "between"]),
    ('"a b" c', ["a b", "c"]),
    ('x=""', ["x", "=", ""]),
    ("'a b' `c d`", ["'a b'", "`c d`"]),
    ("don't stop", ["don't", "stop"]),
    ('\\"!x y\\" z', ['"!x y"', "z"]),
    ("run client (1.2.3.4:5, b) get", ["run", "client", "(1.2.3.4:5, b)", "get"]),
    ('(a = b and c = "d)")', ['(a = b and c = "d)")']),
    ("bring.sort(1,0) now()", ["bring.sort(1,0)", "now()"]),
    ('p = {"a": [1, 2], "b": "}"}', ["p", "=", '{"a": [1, 2], "b": "}"}']),
    ("bring [*][id] , [a][b]:[c]", ["bring", "[*][id]", ",", "[a][b]:[c]"]),
    ("[*][ip] : [*][port]", ["[*][ip]", ":", "[*][port]"]),
    ("x[key with space][b] = v", ["x[key with space][b]", "=", "v"]),
    ("!t.col[1] file_name[0]", ["!t.col[1]", "file_name[0]"]),
    ("replies{} = a", ["replies{}", "=", "a"]),
    ("replies[] = a", ["replies[]", "=", "a"]),
    ("./a/b\\c-d*e@f$g,h;i%j", ["./a/b\\c-d*e@f$g,h;i%j"]),
    ("a # b", ["a"]),
    ("a#b abc#", ["a#b", "abc#"]),
    ("in ('a b','c d')", ["in", "('a b','c d')"]),
    ("'a b','c d'", ["'a b'", ",'c d'"]),
    ("a[b", ["a[b"]),
]


@pytest.mark.parametrize(("text", "expected"), TOKENS)
def test_tokens(text: str, expected: list[str]) -> None:
    """Quotes, brackets, operators and words, in the order of the grammar's rules."""
    assert [token.text for token in tokens_of(text)] == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('print "a', "missing double quotation"),
        ("x = (a", "missing ')'"),
        ("x = {a", "missing '}'"),
        ("x = [a", "missing ']'"),
        ("x = " + "(" * 101 + ")" * 101, "nested more than 100 deep"),
    ],
)
def test_wrong_tokens(text: str, reason: str) -> None:
    """What is opened must be closed; the error says what is missing and where."""
    with pytest.raises(AnyLogError, match=reason.replace("(", r"\(").replace(")", r"\)")) as raised:
        tokens_of(text)
    assert raised.value.number == 2


def test_kinds() -> None:
    """The kind of a token decides what happens in it."""
    tokens = tokens_of('w "d" \'s\' (g) {j} [l] = \\"e\\"')
    assert [token.kind for token in tokens] == [
        Kind.WORD, Kind.DOUBLE, Kind.SINGLE, Kind.GROUP, Kind.JSON, Kind.JSON, Kind.OPERATOR, Kind.ESCAPED,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0.0,  0.0", "0.0, 0.0"), ("a=b", "a=b"), ("now() +2h", "now() +2h"), ("http://h/?a=1", "http://h/?a=1")],
)
def test_joined(text: str, expected: str) -> None:
    """Words are joined by one blank; what was glued together stays together."""
    assert joined(tokens_of(text)) == expected


LINES = [
    ("a\n\n   \nb", [(1, "a"), (4, "b")]),
    ("# all\na # rest\nb#c", [(2, "a"), (3, "b#c")]),
    ('print "a # b"', [(1, 'print "a # b"')]),
    ("print don't # worry", [(1, "print don't")]),
    ("a\r\nb\r\n", [(1, "a"), (2, "b")]),
    ("\ufeffa", [(1, "a")]),
    ("<a\n  b   \n\n c>\nd", [(1, "a   b  c"), (5, "d")]),
    ("<a>", [(1, "a")]),
    ("<run x where a = b and # why\n c = d>", [(1, "run x where a = b and  c = d")]),
    ("<do x = 5\n>", [(1, "do x = 5")]),
    ('p = {"a":\n  {"b": 1}\n}\nq', [(1, 'p = {"a": {"b": 1} }'), (4, "q")]),
    ("p = [1,\n2]", [(1, "p = [1, 2]")]),
    ("a & b & c", [(1, "a"), (1, "b"), (1, "c")]),
    ('a "x & y" & b', [(1, 'a "x & y"'), (1, "b")]),
    ("a (x & y)", [(1, "a (x & y)")]),
    ("http://h?a=1&b=2", [(1, "http://h?a=1&b=2")]),
    (":label:\n  :other:", [(1, ":label:"), (2, "  :other:")]),
]


@pytest.mark.parametrize(("text", "expected"), LINES)
def test_logical_lines(text: str, expected: list[tuple[int, str]]) -> None:
    """Blocks, JSON over lines, comments and `&`; each line knows the number it begins at."""
    assert [(line.number, line.text) for line in logical_lines(text)] == expected


def test_the_first_ones_alone() -> None:
    """What stands behind them is not even looked at."""
    text = 'a {"b": 1} = "c d" and "e'
    assert [token.text for token in tokens_of(text, 4)] == ["a", '{"b": 1}', "=", "c d"]
    with pytest.raises(AnyLogError, match="missing double quotation"):
        tokens_of(text)


def test_typed_quotes_span_lines() -> None:
    """A statement that came by HTTP may have line ends inside its quotes; in a script they are an error of the line."""
    text = 'sql town "select a\nfrom b"\nget status'
    assert [line.text for line in logical_lines(text, typed=True)] == ['sql town "select a from b"', "get status"]
    assert len(logical_lines(text)) == 3


@pytest.mark.parametrize(("text", "line"), [("a\n<b\nc", 2), ("a\n\np = {\nb", 3)])
def test_unclosed_blocks_are_named(text: str, line: int) -> None:
    """A block without an end is refused with the line where it begins."""
    with pytest.raises(AnyLogError, match=f"^line {line}: ") as raised:
        logical_lines(text)
    assert raised.value.number == 2
