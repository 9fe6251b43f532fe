"""Bodies: every form of one content gives the same rows, and what is wrong is named with its place."""

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anylog.errors import AnyLogError
from anylog.mapping.body import (
    DEEPEST,
    MOST_TOGETHER,
    TooWide,
    content_hash,
    normal_form,
    read_body,
    read_message,
    read_messages,
    written,
)

ROWS = [{"a": 1, "b": 'x}{\\"[,\n'}, {"a": 2.5, "b": None}, {"b": "ü", "a": [{"c": {}}]}]
TEXTS = [json.dumps(row) for row in ROWS]
FORMS = {
    "list": "[" + ",".join(TEXTS) + "]",
    "list over lines": "[\r\n\t" + ",\n".join(TEXTS) + "\n]\n",
    "lines": "\n".join(TEXTS),
    "lines with an end": "\n".join(TEXTS) + "\n",
    "lines of Windows": "\r\n".join(TEXTS) + "\r\n",
    "empty lines between": "\n\n".join(TEXTS) + "\n\n",
    "commas": ",".join(TEXTS),
    "comma at line ends": ",\n".join(TEXTS) + ",\n",
    "nothing between": "".join(TEXTS),
    "blanks": "  " + "  \t".join(TEXTS),
    "pretty": "\n".join(json.dumps(row, indent=2) for row in ROWS),
    "pretty list": json.dumps(ROWS, indent=2),
    "byte order mark": "\ufeff" + "\n".join(TEXTS),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_rows(form):
    """Same rows, same normal form, same hash, however they were put together."""
    rows = read_body(FORMS[form].encode())
    assert rows == ROWS
    assert normal_form(rows) == normal_form(ROWS)


def test_one_object():
    """One object is one row, also over several lines, also without attributes."""
    for body in (b'{"a":1}', b' {\n"a"\t:\r\n1}\n'):
        assert read_body(body) == [{"a": 1}]
    assert read_body(b"{}") == [{}]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "Message Body is empty"),
        (b" \r\n\t", "Message Body is empty"),
        (b"[]", "the list is empty"),
        (b"5", "not a number"),
        (b'"text"', "not a text"),
        (b"null", "not null"),
        (b"true", "not true or false"),
        (b"nothing here", "'nothing here' where an object should begin"),
        (b'[{"a":1},5]', "entry 2 of the list is a number"),
        (b"[[{}]]", "entry 1 of the list is a list"),
        (b'{"a":1},,{"a":2}', "',,' after object 1"),
        (b'{"a":1} x {"a":2}', "'x' after object 1"),
        (b',{"a":1}{"a":2}', "',' where an object should begin"),
        (b'{"a":1}{"a":', "object 2 (byte 8) is not closed"),
        (b'{"a":1}}', "byte 8: } closes nothing"),
        (b'{"a":1},{"b":x}', "object 2: "),
        (b"[{}][{}]", "line 1 column 5"),
        (b'[{"a":1},{"a":x}]', "line 1 column 15"),
        (b'{"a":1}[{"a":2}]', "line 1 column 8"),
        (b'{"a":NaN}', "line 1 column 6"),
        (b'{"a":-Infinity}', "line 1 column 7"),
        (b'{"a":1e999}', "infinity"),
        (b'{"a":' + b"9" * 400 + b"}", "infinity"),
        (b'{"a":"\xff"}', "not UTF-8 (byte 7)"),
        (b'{"a":1}\n{"a":"\xc3"}', "not UTF-8"),
        (b'{"a":"\\ud800"}', "surrogate"),
        (b'{"a":"x}\n{y"}', "control character"),
        (b'{"a":' + b"[" * 64 + b"]" * 64 + b"}", "nested deeper than 64 levels"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "nested deeper than 64 levels"),
        (b"[" * 100_000 + b"]" * 100_000, "depth"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "depth"),
        (b"{" * 100_000, "not closed"),
        (b'{"a":1} "x', "'\"x' after object 1"),
        (b"{" + b'\\"' * 500_000, "not closed"),  # it took an hour: each quote was tried up to the end
    ],
)
def test_refusals_name_the_culprit(body, said):
    """Error 6, never another exception."""
    with pytest.raises(AnyLogError) as refused:
        read_body(body)
    assert refused.value.number == 6
    assert str(refused.value).startswith("Failed to process JSON data: ")
    assert said in str(refused.value)


def test_depth_of_64_is_fine():
    """In every form, and many flat brackets are no depth."""
    deep = b'{"a":' + b"[" * 63 + b"]" * 63 + b"}"
    for body in (deep, b"[" + deep + b"]", deep + b"\n" + deep):
        assert read_body(body)[0] == json.loads(deep)
    assert len(read_body(b'{"a":[' + b",".join([b"{}"] * 500) + b"]}")) == 1


def test_wide_integers_are_kept_digit_by_digit():
    """The parser makes a float of them; here they stay what they are, wherever they lie, in every form."""
    edge = 1 << 64
    body = b'{"a":%d,"b":%d,"c":-%d,"d":[{"e":%d}],"f":-%d}' % (edge - 1, edge, (1 << 63) + 1, 10**40, 1 << 63)
    expected = {
        "a": edge - 1,
        "b": TooWide(str(edge)),
        "c": TooWide(str(-(1 << 63) - 1)),
        "d": [{"e": TooWide(str(10**40))}],
        "f": -(1 << 63),
    }
    for form, count in ((body, 1), (b"[" + body + b"," + body + b"]", 2), (b"{}\n" + body, 2), (b" " + body, 1)):
        rows = read_body(form)
        assert len(rows) == count
        assert rows[-1] == expected
        assert normal_form(rows[-1:]) == body + b"\n"


def test_long_digits_that_are_no_wide_integer():
    """Digits in texts, fractions and exponents are left alone; 64 bits unsigned are an integer."""
    body = (
        b'{"a":"123456789012345678901234567890","b":0.12345678901234567890123,"c":12345678901234567890123.5,"d":1e20}'
    )
    assert read_body(body) == [json.loads(body)]


def test_normal_form():
    """Compact, own key order, UTF-8 without needless escapes, LF after each object (ingest.md 1.2)."""
    rows = read_body(b'[ {"b": "\\u00fc/\\n" , "a" : 1.0}, {"x":null} ]')
    assert normal_form(rows) == '{"b":"ü/\\n","a":1.0}\n{"x":null}\n'.encode()
    assert normal_form([]) == b""


@pytest.mark.parametrize(
    "rows",
    [
        [{"a": "},{"}, {"a": 1}],
        [{"a": [{}, {}]}],
        [{}, {}, {}],
        [{"a": TooWide(str(1 << 70))}, {"a": 2}],
        [json.loads('{"a":' * 254 + "1" + "}" * 254)] * 2,
    ],
)
def test_normal_form_of_each_row(rows):
    """It hangs on the row alone: on no other row, and not on what a text looks like."""
    lines = [written(row) + b"\n" for row in rows]
    assert normal_form(rows) == b"".join(lines) == normal_form(tuple(rows)) == normal_form(row for row in rows)


def test_written_refuses_what_is_no_json():
    """A value of Python that JSON does not know is a TypeError."""
    with pytest.raises(TypeError):
        written({"a": object()})


def test_content_hash():
    """md5 of `dbms.table` and the bytes (ingest.md 9.2): the same rows in two tables differ."""
    assert content_hash("d", "t", b'{"a":1}\n') == hashlib.md5(b'd.t{"a":1}\n').hexdigest()
    assert content_hash("d", "t", b"x") != content_hash("d", "u", b"x")


LEAVES = st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = st.recursive(
    LEAVES | TEXT, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.dictionaries(TEXT, VALUES, max_size=4), min_size=1, max_size=4))
def test_any_rows_in_any_form(rows):
    """Lists, lines, glued objects and pretty ones of any content have one normal form, which reads back as itself."""
    texts = [json.dumps(row) for row in rows]
    pretty = "\n".join(json.dumps(row, indent=1, ensure_ascii=False) for row in rows)
    forms = {
        normal_form(read_body(body.encode())) for body in (json.dumps(rows), "\n".join(texts), "".join(texts), pretty)
    }
    assert len(forms) == 1
    (form,) = forms
    assert normal_form(read_body(form)) == form
    assert [json.loads(line) for line in form.splitlines()] == rows


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=40) | st.text('{}[],:"\\ \n1a', max_size=30).map(str.encode))
def test_any_bytes_give_rows_or_error_6(body):
    """No bytes lead to another exception."""
    try:
        rows = read_body(body)
    except AnyLogError as error:
        assert error.number == 6
    else:
        assert rows and all(type(row) is dict for row in rows)


@pytest.mark.parametrize("piece", [b"{}", b"[]", b'{"a":1}'])
def test_too_many_objects(piece):
    """A short text of a great many is refused before it is a great deal of memory."""
    with pytest.raises(AnyLogError) as refused:
        read_body(b'[{"a":[' + b",".join([piece] * 1_000_000) + b"]}]")
    assert (refused.value.number, refused.value.http) == (501, 413)
    assert "1,000,000" in str(refused.value)


def read_each(payloads):
    """The messages one by one; None if one is refused."""
    try:
        return [read_message(payload) for payload in payloads]
    except AnyLogError:
        return None


JSON_TEXTS = VALUES.map(json.dumps).map(str.encode)
BETWEEN = str((1 << 53) + 1)
PIECES = st.sampled_from([*'{}[],:"', "1", '"a"', "\\", " ", BETWEEN, f"{BETWEEN}.0", "9.007199254740993e15", "null"])


@settings(max_examples=300, deadline=None)
@given(
    st.lists(JSON_TEXTS, min_size=1, max_size=5)
    | st.lists(st.lists(PIECES, max_size=6).map("".join).map(str.encode), min_size=1, max_size=4)
)
def test_messages_that_are_read_together(payloads):
    """They are what each is alone, or they are left to be read alone: no two of them make up one value."""
    found = read_messages(payloads)
    assert found is None or (found == read_each(payloads) and repr(found) == repr(read_each(payloads)))


def test_messages_are_read_together():
    """Whatever is well-formed, in one go."""
    payloads = [b'{"a": 1}', b" [1, {}] ", b"true", b'"},{"', b"{}" * 1, b"null", b"-0.5e3"]
    assert read_messages(payloads) == [{"a": 1}, [1, {}], True, "},{", {}, None, -500.0]


@pytest.mark.parametrize(
    "payloads",
    [
        [],
        [b""],
        [b"1", b" "],
        [b'{"a":1},{"a":2}', b'{"a":[3', b"4]}"],
        [b'{"a":1},9007199254740993,{"a":2}', b'{"a":[3', b"4]}"],
        [b'{"a":1},9.007199254740993e15,{"a":2}', b'{"a":[3', b"4]}"],
        [b"1", b"9007199254740993"],
        [b"\xef\xbb\xbf{}", b"{}"],
        [b"1", b'"\xff"'],
        [b"1", b"123456789012345678901234567890"],
        [b"1", b"[" * (DEEPEST + 2) + b"]" * (DEEPEST + 2)],
        [b"1", b'"' + b"x" * MOST_TOGETHER + b'"'],
    ],
)
def test_messages_that_are_read_alone(payloads):
    """One that is odd in any way leaves all of them to the look at each."""
    assert read_messages(payloads) is None


def test_nested_messages_are_read_together():
    """Many that are nested a little are not taken for one that is nested deeply."""
    assert read_messages([b'{"a":[{"b":{}}]}'] * 100) == [{"a": [{"b": {}}]}] * 100
