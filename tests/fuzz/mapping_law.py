"""What must hold for any message, whatever rules map it.

* There are rows, or an AnyLogError that names what is wrong with the message; with wrong rules, one that says so.
* What becomes of an entry of a list does not hang on its neighbours, nor on the fast way that a whole column takes.
* The rows can be written, and what was written is read as the same rows.
* The rows are converted to the types of a table, each for itself, or parked with a reason: none is lost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from anylog.columns import later
from anylog.errors import AnyLogError
from anylog.language.dictionary import Dictionary, Scope
from anylog.ledger.types import merge
from anylog.mapping import schema
from anylog.mapping.body import normal_form, read_body, read_message, written
from anylog.mapping.policies import compile_policy
from anylog.mapping.rows import convert, convert_each
from anylog.mapping.topics import Mapped, read_topic
from anylog.processes.msg_topics import Subscribed

SCOPE = Scope(Dictionary(), {})
LARGE = 300_000  # bytes of a body of repeated parts
NOW = 1_700_000_000.0
DEFAULT = "2023-11-14 22:13:20.000000"
KINDS = ("str", "int", "bigint", "float", "bool", "timestamp", "date", "time", "uuid", "char(3)", "decimal", "nonetype")
TABLES = (
    {"a": "INT", "b": "VARCHAR", "t": "TIMESTAMP"},
    {"a": "BIGINT", "b": "CHAR(3)", "v": "FLOAT", "t": later("TIMESTAMP"), "d": "DATE", "h": "TIME"},
    {"a": "BOOLEAN", "b": "UUID", "v": "DECIMAL", "c": "CIDR"},
)
# Of a message: which column, table or other part of a rule, or which place of the text.
CULPRIT = re.compile(
    r"column '|the (database|table|source|readings|type)|attribute|none of the columns|a(n)? (object|list) of objects|"
    r"an object is needed|in the rows of one message|in each of many rows|changed more than|'\[|"
    r"line \d|column \d|byte \d|entry \d|object \d|nested deeper|is empty|objects and lists"
)
TOPIC = "( name = x and dbms = d and table = t and {} )"
TOPICS = [
    'column.n.timestamp = now and column.v.int = "bring [a]"',
    'column.v.float = "bring [a]" and column.b.str = "bring [b]" and column.t.timestamp = "bring [t]"',
    'column.v.str = "bring [a][][b]" and column.n.int = "bring [a][][c]" and column.b.str = "bring [b]"',
    'column.v = (type = "bring [b]" and value = "bring [a]" and optional = true)',
    'column.v.str = "bring.json [*]" and column.t.date = "bring [t]"',
    'column.v.str = "bring [a] _ [b][]:[c]" and column.h.time = "bring [h]"',
    'column.v.str = "bring.unique [a][*][]" and column.n.bigint = "bring.count [b]"',
    'column.v.uuid = "bring [a]" and column.b = (type = "char(3)" and value = "bring.first [b]" and optional = true)',
    'column.v.decimal = "bring.min [a][]" and column.b.bool = "bring [b]"',
]
EACH = 'column.v.{} = "bring [a][][b]" and column.s.str = "bring [s]"'
DYNAMIC = ("dbms = d", 'dbms = "bring [a]"', "dbms = d and table_prefix = x", "dbms = d and table_name_as_topic = true")
SCHEMAS: list[dict[str, Any]] = [
    {"v": {"type": "int", "bring": "[a]", "default": 7}, "*": {"type": "*", "bring": ["*"]}},
    {"t": {"type": "timestamp", "bring": "[t]", "apply": "epoch_to_datetime"}, "v": {"type": "float", "bring": "[b]"}},
    {"v": {"type": "str", "bring": "[a][b]", "root": True}, "b": {"type": "int", "condition": "if [b] > 5"}},
    {
        "v": [
            {"type": "int", "bring": "[a]", "condition": "if [b] == x"},
            {"type": "str", "bring": "[a]", "default": ""},
        ]
    },
    {
        "v": {"type": "str", "bring": "[a]", "apply": "json_dump"},
        "w": {"type": "bool", "bring": "[b]", "default": None},
    },
    {
        "v": {
            "type": "int",
            "bring": "[a]",
            "script": ["if [b] < 0 then skip event", "else if [b] == x then skip attribute"],
        },
        "V W": {"type": "char(3)", "bring": "[b] _ [t]", "default": "now()"},
        "*": {"type": "*", "bring": ["b", "a"], "root": True},
    },
    {
        "v": {"type": "str", "bring": "[a][b]", "default": ""},
        "w": {"type": "timestamp", "bring": "[t]", "default": "now"},
        "x": {"type": "bigint", "bring": "[c]", "optional": True, "table": "t"},
    },
]
OTHER = {
    "mapping": {"id": "other", "dbms": "o", "table": "bring [b]", "schema": {"o": {"type": "str", "bring": "[a]"}}}
}
POLICIES: list[dict[str, Any]] = [
    {
        "mapping": {
            "id": "p",
            "dbms": "d",
            "table": "bring [b]" if place % 2 else "t",
            "source": {"bring": "[s]", "default": "0"},
            "readings": readings,
            "params": [["a", 7], ["b", "x"]] if place % 3 == 2 else None,
            "import": {"other": "other"},
            "script": ["if [t] > 5 then change policy to other", "if [s] contains x"] if place % 4 == 3 else None,
            "schema": each,
        }
    }
    for place, each in enumerate(SCHEMAS)
    for readings in ("", "a", "[a][][b]")
] + [
    {"transform": {"id": "t", "re_match": "(.*)_(.+)", "dbms": "d", "table": "re.group(1)", "column": "re.group(2)"}},
    {
        "transform": {
            "id": "t",
            "dbms": "d",
            "table": "t",
            "column": "c",
            "schema": {"id": {"type": "int", "bring": "[a]"}},
        }
    },
    {
        "transform": {
            "id": "t",
            "re_match": "([^_]*)_?(.*)",
            "dbms": "d",
            "table": "t_re.group(1)",
            "column": "c",
            "schema": {
                "w": {"type": "str", "value": "re.group(2)", "default": ""},
                "t": {"type": "timestamp", "default": "now"},
            },
        }
    },
]
Apply = Callable[[Any], list[Mapped]]


def topic(text: str) -> tuple[Apply, Mapping[str, str]]:
    """A topic as it is declared; and its types."""
    read = read_topic(text, SCOPE)
    return (lambda message: read.apply(message, NOW)), read.mapping.types if read.mapping else {}


def policy(body: Mapping[str, Any]) -> tuple[Apply, Mapping[str, str]]:
    """A policy of the ledger; and its types."""
    read = compile_policy(body, SCOPE, {"other": OTHER}.get)
    types = getattr(read, "types", None)
    return (lambda message: read.apply(message, NOW)), types("d", "t") if types else {}


RULES = [*(topic(TOPIC.format(each)) for each in TOPICS), *(policy(each) for each in POLICIES)]
COLUMNS = [topic(TOPIC.format(EACH.format(kind)))[0] for kind in KINDS]
NAMED = [Subscribed(read_topic(f"( name = x/# and {each} and dynamic = true )", SCOPE), 0) for each in DYNAMIC]


def law(data: bytes) -> None:
    """The first byte says what the rest is: a message, or rules and in the next line one; raises AssertionError."""
    if not data:
        return
    how, rest = data[0], data[1:]
    if how % 8 == 1:
        if how & 0x80 and len(rest) > 1:
            repeated(rest[0], rest[1:])
        else:
            stored(rows_of(rest), {})
        return
    if how % 8 == 2:
        for client in NAMED:
            named(client, *rest.partition(b"\n")[::2])
        return
    if how % 8 < 4:
        message = read(rest)
        if message is not None and how % 8 == 3:
            if isinstance(message[0], list):
                alone(COLUMNS[(how >> 3) % len(KINDS)], message[0])
        elif message is not None:
            for apply, types in RULES:
                mapped(apply, types, message[0])
        return
    text, _, payload = rest.partition(b"\n")
    rules = declared(how, text.decode("utf-8", "replace"))
    message = read(payload) if rules is not None else None
    if rules is not None and message is not None:
        mapped(rules[0], rules[1], message[0])


def repeated(places: int, body: bytes) -> None:
    """A large body or message: some bytes, then others again and again, and some at the end; the fuzzer times it."""
    head, tail = places % 16, places // 16
    unit = body[head : len(body) - tail]
    if unit:
        large = body[:head] + unit * (LARGE // len(unit)) + body[len(body) - tail :]
        rows_of(large)
        read(large)


def declared(how: int, text: str) -> tuple[Apply, Mapping[str, str]] | None:
    """Rules that are an input themselves; None if they are refused."""
    kind = KINDS[(how >> 3) % len(KINDS)]
    try:
        if how % 8 == 4:
            return topic(TOPIC.format(f"column.v.{kind} = {text}"))
        if how % 8 == 5:
            body = {"id": "p", "dbms": "d", "table": "t", "schema": {"v": {"type": kind, "bring": text}}}
            return policy({"mapping": body})
        if how % 8 == 6:
            return topic(text)
        try:
            body = json.loads(text)
        except (ValueError, RecursionError):
            return None
        if not isinstance(body, dict) or "re_match" in text:
            return None  # an expression can be made to take for ever; it is the owner's of the ledger
        return policy({"id": "p", "mapping": {"id": "p", "dbms": "d", "table": "t", **body}})
    except AnyLogError as failed:
        assert failed.number in (2, 40, 87, 113, 170, 237) and 0 < len(str(failed)) < 3000, (failed.number, str(failed))
        return None


def read(payload: bytes) -> tuple[Any] | None:
    """The message; None if it is refused."""
    try:
        message = read_message(payload)
    except AnyLogError as failed:
        culprit(failed, (6, 501))
        return None
    again = read_message(written(message))
    assert again == message, "it is written otherwise than it was read"
    return (message,)


def rows_of(payload: bytes) -> list[dict[str, Any]]:
    """The rows of a body; none if it is refused."""
    try:
        return read_body(payload)
    except AnyLogError as failed:
        culprit(failed, (6, 501))
        return []


def culprit(failed: AnyLogError, numbers: Sequence[int]) -> None:
    """What is said is not endless, and says what is wrong."""
    text = str(failed)
    assert failed.number in numbers and len(text) < 3000, (failed.number, text[:300])
    assert CULPRIT.search(text) or text.startswith("Failed to process JSON data"), f"which? {text!r}"


def mapped(apply: Apply, types: Mapping[str, str], message: Any) -> None:
    """Rows, or a reason."""
    before = written(message)
    try:
        found = apply(message)
    except AnyLogError as failed:
        culprit(failed, (6,))
        return
    assert written(message) == before, "the message was changed"
    for each in found:
        assert each.rows and each.dbms and each.table and each.source
        stored(each.rows, types)


def named(client: Subscribed, name: bytes, payload: bytes) -> None:
    """A client whose tables are named by topics."""
    try:
        found = client.rows(name.decode("utf-8", "replace"), payload, NOW)
    except AnyLogError as failed:
        assert failed.number in (6, 28, 40, 501) and 0 < len(str(failed)) < 3000, (failed.number, str(failed))
        return
    for each in found:
        assert each.rows and each.dbms and each.table
        stored(each.rows, client.types(each.dbms, each.table))


def alone(apply: Apply, values: list[Any]) -> None:
    """A list of readings makes the rows that each of them makes; if one makes none, nor does the list."""
    told: list[Any] = []
    for part in (values, *([each] for each in values)):
        try:
            told.append([row for each in apply({"a": [{"b": each} for each in part], "s": "x"}) for row in each.rows])
        except AnyLogError as failed:
            culprit(failed, (6,))
            told.append(None)
    together, single = told[0], told[1:]
    assert together == (None if None in single else [row for rows in single for row in rows]), (values, told)
    if together is not None:
        assert [type(row["v"]) for row in together] == [type(row["v"]) for rows in single for row in rows], told


def stored(rows: list[dict[str, Any]], types: Mapping[str, str]) -> None:
    """They are written and read again, and converted to the types of a table."""
    if not rows:
        return
    data = normal_form(rows)
    assert read_body(data) == rows, "rows are written otherwise than they are read"
    inferred = schema.infer(rows)
    for table in ({**inferred, **types}, *TABLES):
        columns = dict(table)
        for _ in range(8):
            done = convert(rows, columns, DEFAULT)
            if not done.wanted:
                break
            for name, kind in done.wanted.items():
                columns[name] = merge(columns[name], kind) if name in columns else later(kind)
        else:
            raise AssertionError(f"columns are never wide enough: {done.wanted}")
        values = json.loads(done.values)
        assert len(values) == done.count and done.count + len(done.misfits) == len(rows)
        assert all(len(each) == len(done.names) for each in values)
        parked = dict(done.misfits)
        assert all(parked.values())
        alone, each_of = [], iter(values)
        for place, row in enumerate(rows[:20]):
            single = convert([row], columns, DEFAULT)
            assert not single.wanted and [parked.get(place)] == [dict(single.misfits).get(0)], (row, columns)
            if place not in parked:
                alone.append(row)
                assert json.loads(single.values) == [next(each_of)], (row, columns)
        quick = convert_each([[row] for row in alone], columns, DEFAULT)
        if quick is not None and alone:
            assert [json.loads(each.values)[0] for each in quick] == values[: len(alone)]


def seeds() -> list[bytes]:
    """Where a fuzzer begins."""
    messages = [
        {"a": 1, "b": "x", "t": "2023-11-14T22:13:20Z", "s": "7"},
        {"a": [{"b": 1.5, "c": 2}, {"b": None, "c": 3}], "b": 6},
        {"a": {"b": [1, 2]}, "b": ["u", "v"], "h": "12:34:56"},
        [{"a": "8", "b": True}, {"a": 2**63, "b": "true"}],
        {"a_b": 1, "a_c": [], "x": {}, "t": 1700000000, "d": "2023-11-14", "c": "10.0.0.1"},
        {"a": "0b9f0a2e-7d8f-4d0c-9d5a-2f6f5b1f5a11", "b": "1e5", "v": "-0.50"},
    ]
    times = [
        "2023-11-14T22:13:20Z",
        "2023-11-14 22:13:20.123456",
        "2023-11-14T22:13:20+05:30",
        "11/14/2023 10:13:20 PM",
    ]
    times += ["2023-11-14", "22:13", "22:13:20.5", "1700000000", "1700000000123", "20231114T221320"]
    texts = [json.dumps(each).encode() for each in messages]
    texts += [json.dumps([{"a": each, "t": each, "d": each, "h": each} for each in times]).encode()]
    texts += [json.dumps({"a": [{"b": each, "c": place} for place, each in enumerate(times)]}).encode()]
    texts += [
        b'{"a":' + b"9" * 40 + b"}",
        b'{"a":1e999}',
        b"[" * 30 + b"1" + b"]" * 30,
        b'{"a":"\xc3\xbc\\u0000"}',
        b"5",
    ]
    texts += [b'{"a":1}\n{"b":2},\n{"a":"x"}', b"\xef\xbb\xbf[{}]"]
    found = [bytes([how]) + text for text in texts for how in (0, 1)]
    brings = ["[a]", "[a][]", "[a][][b] _ [b]", ".unique [b][]", "[a(prefix(2))]", "[*][b]", "[a]:[b]"]
    found += [
        bytes([4 + (place << 3)]) + f'"bring {each}"\n'.encode() + texts[place % 6] for place, each in enumerate(brings)
    ]
    found += [bytes([5 + (place << 3)]) + f"{each}\n".encode() + texts[place % 6] for place, each in enumerate(brings)]
    found += [b"\6" + TOPIC.format(each).encode() + b"\n" + texts[place % 6] for place, each in enumerate(TOPICS)]
    found += [
        bytes([3 + (place << 3)]) + json.dumps([each] * 7).encode() for place, each in enumerate([*times, 1.5, True])
    ]
    found += [bytes([3 + (place << 3)]) + json.dumps([5, -1, 2**31, 7.0, 8, "9", None]).encode() for place in range(12)]
    found += [b"\x81\1{{},", b'\x81\x21{"a":1,}}', b"\x81\2[1,]", b'\x81\1{"a":1}\n']
    found += [b"\2x/a b/c\n" + text for text in texts] + [b"\2x\n" + each.encode() for each in (*times, "true", "1e5")]
    found += [b"\7" + json.dumps(each["mapping"]).encode() + b"\n" + texts[0] for each in POLICIES[:9]]
    found += [b"\7" + json.dumps({"schema": each, "readings": "a"}).encode() + b"\n" + texts[1] for each in SCHEMAS]
    return found
