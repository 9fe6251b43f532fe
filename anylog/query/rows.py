"""How rows travel between nodes: made inside the engine, framed so that pages are found again in any stream of bytes.

A page is two numbers of four bytes (its length, its rows) and its text. Forms:

objects   finished JSON objects, one after the other with the separator that the answer has
keyed     a JSON list of sort keys in the first line, then one finished JSON object a line
lists     JSON lists of plain values, with commas between them
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Any

import orjson
from attrs import define, field
from twisted.internet.defer import Deferred

from anylog.errors import AnyLogError
from anylog.interfaces import IBody
from anylog.query.answer import Answer, Column, as_text, real_text
from anylog.query.formats import JsonRows, joined
from anylog.waiting import deferring

OBJECTS, KEYED, LISTS = "objects", "keyed", "lists"
FORMS = (OBJECTS, KEYED, LISTS)
HEAD = Struct(">II")
LONG = ("statement", "titles", "types", "columns", "marks", "check", "only")
LARGE = 16 << 10  # bytes of these up to which they travel in the head
LONGEST_PAGE = 64 << 20  # bytes; one row is a page at least
_ARGUMENTS = 100  # values in one json_array: an SQLite function takes 127 arguments
_LARGEST = "1.7976931348623157e308"


def _value(column: Column) -> str:
    """A value as it is stored, for another engine of the same kind: numbers without loss."""
    value = column.source
    if column.number:
        return (
            f"case typeof({value}) when 'real' then {real_text(value)} when 'blob' then hex({value})"
            f" when 'text' then {value} || '' else {value} end"
        )
    return as_text(value) if column.widened else f"case typeof({value}) when 'blob' then hex({value}) else {value} end"


def _list(values: Sequence[str]) -> str:
    parts = [f"json_array({', '.join(values[at : at + _ARGUMENTS])})" for at in range(0, len(values), _ARGUMENTS)]
    if len(parts) == 1:
        return parts[0]
    inner = [f"substr(substr({part}, 2), -1, -2147483647)" for part in parts]
    return f"'[' || {joined(_between(inner))} || ']'"


def _between(texts: Sequence[str]) -> list[str]:
    return [piece for text in texts for piece in ("','", text)][1:]


class ListRows(JsonRows):
    """Rows as JSON lists."""

    def __init__(self) -> None:
        super().__init__(",")

    def short(self, columns: Sequence[Column]) -> str | None:
        return f"group_concat({_list([_value(column) for column in columns])}, ',')"


class KeyedRows(JsonRows):
    """Rows as JSON objects, and the sort keys beside them, which are the last columns."""

    def __init__(self, keys: int) -> None:
        super().__init__("\n")
        self._keys = keys

    def short(self, columns: Sequence[Column]) -> str | None:
        shown, keys = columns[: -self._keys], columns[-self._keys :]
        values = [
            f"case typeof({key.source}) when 'real' then json(printf('%!.17g',"
            f" max(-{_LARGEST}, min({_LARGEST}, {key.source})))) when 'blob' then hex({key.source})"
            f" when 'text' then {key.source} || '' else {key.source} end"
            for key in keys
        ]
        lists = f"'[' || group_concat({_list(values)}, ',') || ']'"
        return f"{lists} || char(10) || {super().short(shown)}"


def layout_for(form: str, lines: bool, keys: int) -> JsonRows:
    """The layout of a form. Raises AnyLogError 21."""
    if form == OBJECTS:
        return JsonRows("\n" if lines else ",\n")
    if form == KEYED and keys > 0:
        return KeyedRows(keys)
    if form == LISTS:
        return ListRows()
    raise AnyLogError(21, f"'{form}' is not a form of rows")


def question(head: Mapping[str, Any]) -> tuple[Mapping[str, Any], bytes]:
    """A question as it travels: its long parts in the body, where a head might become too large."""
    long = {name: head[name] for name in LONG if name in head}
    packed = orjson.dumps(long)
    if len(packed) <= LARGE:
        return head, b""
    return {name: value for name, value in head.items() if name not in long}, packed


def asked(head: Mapping[str, Any], body: bytes) -> Mapping[str, Any]:
    """The question again. Raises AnyLogError 21."""
    if not body:
        return head
    try:
        long = orjson.loads(body)
        return {**head, **{name: long[name] for name in LONG if name in long}}
    except (ValueError, TypeError):
        raise AnyLogError(21, "the body of a select is not a JSON object") from None


def framed(text: bytes, rows: int) -> bytes:
    """One page as it travels."""
    return HEAD.pack(len(text), rows) + text


@define(eq=False)
class SentPages:
    """The pages of an answer as the body of a reply."""

    _answer: Answer
    _first: bytes | None = None  # a page that was made already

    @deferring
    async def next(self) -> bytes | None:
        """One page a piece."""
        first, self._first = self._first, None
        if first is not None:
            return first
        return await next_page(self._answer)

    def close(self) -> None:
        """Stop the statement, give the connection back."""
        self._first = None
        self._answer.close()


async def next_page(answer: Answer) -> bytes | None:
    """The next page of an answer, framed; None after the last."""
    before = answer.taken
    text = await answer.next()
    return None if text is None else framed(text.encode("utf-8", "replace"), answer.taken - before)


@define(eq=False)
class ReceivedPages:
    """Finds the pages again, wherever the stream was cut. Fails with AnyLogError 15 or 21."""

    _address: str
    _body: IBody | None
    _held: bytearray = field(factory=bytearray)
    _over: bool = False

    @classmethod
    def of(cls, address: str, first: bytes, body: IBody | None) -> ReceivedPages:
        """Pages that begin in the head of a reply and go on in its body."""
        return cls(address, body, bytearray(first))

    @deferring
    async def next(self) -> tuple[int, bytes] | None:
        """Rows and text of the next page, or None after the last."""
        while True:
            if len(self._held) >= HEAD.size:
                size, rows = HEAD.unpack_from(self._held)
                if size > LONGEST_PAGE or rows > size + 1:
                    raise AnyLogError(21, f"a page of {size} bytes and {rows} rows", node=self._address)
                if len(self._held) >= HEAD.size + size:
                    text = bytes(memoryview(self._held)[HEAD.size : HEAD.size + size])
                    del self._held[: HEAD.size + size]
                    return rows, text
            if self._over or self._body is None:
                if self._held:
                    raise AnyLogError(15, "the answer ended in the middle of a page", node=self._address)
                return None
            more: Deferred[bytes | None] = self._body.next()
            piece = await more
            if piece is None:
                self._over = True
            else:
                self._held += piece

    def close(self) -> None:
        """Cancel what is still to come."""
        self._over = True
        self._held.clear()
        if self._body is not None:
            self._body.close()
