"""What came through a door, as rows: every form of ingest.md 1.2, its normal form and its hash."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from attrs import frozen

from anylog.errors import AnyLogError

MOST_OBJECTS = 1_000_000  # objects and lists in one body
SEAL = 16  # hex digits of a seal
DEEPEST = 64  # levels of objects and lists in one row, the row itself included
MOST_TOGETHER = 1 << 20  # bytes of messages that are read in one go; below `MOST_OBJECTS` of them

# Stands between messages that are read together. As an integer it has one spelling only, so that all that are found
# are in the text as such; and it is no float, so that none is taken for it.
_BETWEEN = (1 << 53) + 1
_BETWEEN_TEXT = b"%d" % _BETWEEN

# Where 64 bits end in decimal digits: 20 digits, or 19 after a minus. With digits and minus as one kind of character,
# either is a run of 20, of which every second byte of the body sees 10.
_DIGITS = bytes(48 if byte in b"0123456789-" else 32 for byte in range(256))
_RUN = b"0" * 10
_WIDE = re.compile(rb"-[0-9]{19}|[0-9]{20}")

# A text that is not closed goes to the end, and nothing of it is tried again: else each of its quotes would be.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[{}\[\]]', re.DOTALL)


@frozen
class TooWide:
    """An integer that does not fit in 64 bits: kept digit by digit, because a parser would round it to a float."""

    digits: str

    def __str__(self) -> str:
        return self.digits


def read_body(body: bytes, most: int = MOST_OBJECTS) -> list[dict[str, Any]]:
    """The rows of a PUT or POST body: an object, a list of objects, or objects one after the other.

    Between objects there may be blanks, line ends and one comma. An integer from 2**64 on, or below -2**63, is a
    `TooWide`. Raises AnyLogError 6, saying what is wrong and where, or 501 for more than `most` objects and lists; then
    nothing of the body is of use.
    """
    data = body.removeprefix(b"\xef\xbb\xbf")
    if not data or data.isspace():
        raise _refused("Message Body is empty")
    if len(data) > most and objects_in(data) > most:
        # Two bytes of text may become a hundred of memory.
        raise AnyLogError(501, f"a body may have {most:,} objects and lists, this one has more: send it in parts")
    try:
        parsed = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        data, parsed = _objects(data, error)
    rows = _rows(parsed)
    # Counting brackets is cheap and settles it for flat rows; a walk is for the others.
    if data.count(b"{") + data.count(b"[") - len(rows) >= DEEPEST:
        _check_depth(rows)
    if _RUN in data[::2].translate(_DIGITS) and _WIDE.search(data):
        rows = _rows(json.loads(data, parse_int=_whole))
    return rows


def objects_in(data: bytes) -> int:
    """Objects and lists of a text, as they are counted where there may not be too many: also those in its strings."""
    return data.count(b"{") + data.count(b"[")


def read_message(payload: bytes) -> Any:
    """The JSON value that a message is. Integers as in `read_body`.

    Raises AnyLogError 6, saying what is wrong and where, or 501 for too many objects.
    """
    data = payload.removeprefix(b"\xef\xbb\xbf")
    if len(data) > MOST_OBJECTS and objects_in(data) > MOST_OBJECTS:
        raise AnyLogError(501, f"a message may have {MOST_OBJECTS:,} objects and lists, this one has more")
    try:
        parsed = orjson.loads(data)
    except orjson.JSONDecodeError as why:
        if not data or data.isspace():
            raise _refused("the message is empty") from None
        _check_utf8(data)
        raise _refused(str(why)) from None
    if len(data) > DEEPEST and data.count(b"{") + data.count(b"[") > DEEPEST:
        _check_depth([parsed])
    if _RUN in data[::2].translate(_DIGITS) and _WIDE.search(data):
        parsed = json.loads(data, parse_int=_whole)
    return parsed


def read_messages(payloads: Sequence[bytes]) -> list[Any] | None:
    """As `read_message` for each, in one go; None if one of them needs a look of its own, or all are too large."""
    data = b"[%b]" % (b",%b," % _BETWEEN_TEXT).join(payloads)
    if not payloads or len(data) > MOST_TOGETHER or data.count(_BETWEEN_TEXT) != len(payloads) - 1:
        return None
    try:
        parsed = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    # Two halves in two messages could make up one value, and one message could be two: then these are elsewhere.
    if len(parsed) != 2 * len(payloads) - 1 or parsed[1::2] != [_BETWEEN] * (len(payloads) - 1):
        return None
    messages: list[Any] = parsed[::2]
    holding = [each for each in messages if type(each) is dict or type(each) is list]
    if data.count(b"{") + data.count(b"[") - 1 - len(holding) >= DEEPEST:
        try:
            _check_depth(holding)
        except AnyLogError:
            return None
    return None if _RUN in data[::2].translate(_DIGITS) and _WIDE.search(data) else messages


def written(value: Any) -> bytes:
    """A value as compact JSON in UTF-8, integers of any width digit by digit.

    Raises TypeError for what is no JSON value.
    """
    return orjson.dumps(value, _exactly)


def normal_form(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Rows as they are stored and hashed: compact JSON in their own key order, one object a line, each ended by LF."""
    rows = rows if type(rows) is list or type(rows) is tuple else list(rows)
    try:
        data = orjson.dumps(rows, _exactly)
    except TypeError:  # perhaps one that is just not too deep by itself
        data = b""
    # As a list it takes a seventh of the time. What parts two rows there is seen nowhere else, if it is not there more
    # often; within a row it may be, between the objects of a list or in a text.
    if rows and data.count(b"},{") == len(rows) - 1:
        return data[1:-1].replace(b"},{", b"}\n{") + b"\n"
    dumps, option = orjson.dumps, orjson.OPT_APPEND_NEWLINE
    return b"".join([dumps(row, _exactly, option) for row in rows])


def content_hash(dbms: str, table: str, data: bytes) -> str:
    """The 32 hex digits that name a content of a table (ingest.md 9.2); the same rows in two tables differ."""
    md5 = hashlib.md5(f"{dbms}.{table}".encode(), usedforsecurity=False)
    md5.update(data)
    return md5.hexdigest()


def sealed_hash(dbms: str, table: str, seal: str, data: bytes) -> str:
    """The hash of what was cut from a stream where it is not registered: equal contents are not one there (9.2).

    `seal` are 16 hex digits that no other buffer has; they stand in front, so that everybody can see that it fits.
    """
    return seal + content_hash(dbms, f"{table}.{seal}", data)[: 32 - len(seal)]


def is_sealed(hash: str, dbms: str, table: str, data: bytes) -> bool:
    """Whether a hash is the one of `sealed_hash` for this content."""
    return hash == sealed_hash(dbms, table, hash[:SEAL], data)


def _refused(what: str) -> AnyLogError:
    return AnyLogError(6, f"Failed to process JSON data: {what}")


def _exactly(value: Any) -> Any:
    if type(value) is TooWide:
        return orjson.Fragment(value.digits)
    raise TypeError(f"{type(value).__name__} is no JSON value")


def _whole(digits: str) -> int | TooWide:
    if len(digits) < 19:
        return int(digits)
    if len(digits) > 20:
        return TooWide(digits)
    number = int(digits)
    return number if -(1 << 63) <= number < 1 << 64 else TooWide(digits)


def _rows(parsed: Any) -> list[dict[str, Any]]:
    if type(parsed) is dict:
        return [parsed]
    if type(parsed) is not list:
        raise _refused(f"an object or a list of objects is needed, not {_kind(parsed)}")
    if not parsed:
        raise _refused("the list is empty")
    if set(map(type, parsed)) != {dict}:
        for position, row in enumerate(parsed, 1):
            if type(row) is not dict:
                raise _refused(f"entry {position} of the list is {_kind(row)}, not an object")
    return parsed


def _kind(value: Any) -> str:
    kinds = {str: "a text", bool: "true or false", list: "a list", type(None): "null"}
    return kinds.get(type(value), "a number")


def _objects(data: bytes, error: orjson.JSONDecodeError) -> tuple[bytes, Any]:
    """Objects that follow one another, as one list: its text and what it holds. `error` is why it is no one value."""
    lines = [line for line in map(bytes.strip, data.split(b"\n")) if line]
    if len(lines) > 1 and all(line.startswith(b"{") for line in lines):
        text = b"[%b]" % b",".join(lines)
        try:
            parsed = orjson.loads(text)
        except orjson.JSONDecodeError:
            pass
        else:
            # An illegal line end inside a text could glue two lines to one object: then the scan says what is wrong.
            if len(parsed) == len(lines):
                return text, parsed
    _check_utf8(data)
    spans = _spans(data, error)
    if len(spans) < 2:
        raise _refused(str(error))
    text = b"[%b]" % b",".join(spans)
    try:
        return text, orjson.loads(text)
    except orjson.JSONDecodeError:
        for position, span in enumerate(spans, 1):
            try:
                orjson.loads(span)
            except orjson.JSONDecodeError as why:
                raise _refused(f"object {position}: {why}") from None
        raise _refused(str(error)) from None


def _check_utf8(data: bytes) -> None:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise _refused(f"the body is not UTF-8 (byte {error.start + 1})") from None


def _spans(data: bytes, error: orjson.JSONDecodeError) -> list[bytes]:
    """The texts of the objects of a body, found by their braces; between them blanks and at most one comma."""
    spans: list[bytes] = []
    depth = start = end = 0
    for token in _TOKEN.finditer(data):
        mark = token.group()
        if mark in (b"{", b"["):
            if depth == 0:
                if mark == b"[":
                    raise _refused(str(error))  # a list is one value or none of ours
                _check_between(data[end : token.start()], len(spans))
                start = token.start()
            depth += 1
        elif mark in (b"}", b"]"):
            depth -= 1
            if depth < 0:
                raise _refused(f"byte {token.start() + 1}: {mark.decode()} closes nothing")
            if depth == 0:
                end = token.end()
                spans.append(data[start:end])
    if depth:
        raise _refused(f"object {len(spans) + 1} (byte {start + 1}) is not closed")
    _check_between(data[end:], len(spans))
    return spans


def _check_between(gap: bytes, before: int) -> None:
    if gap.strip() not in ((b"", b",") if before else (b"",)):
        shown = gap.strip()[:40].decode("utf-8", "replace")
        raise _refused(f"{shown!r} {f'after object {before}' if before else 'where an object should begin'}")


def _check_depth(rows: Sequence[Any]) -> None:
    """Go down level by level; a level is all values of the one above, so a long body is no deep recursion."""
    level: list[Any] = list(rows)
    for _ in range(DEEPEST):
        below: list[Any] = []
        for value in level:
            inner = value.values() if type(value) is dict else value
            below += [each for each in inner if type(each) is dict or type(each) is list]
        if not below:
            return
        level = below
    raise _refused(f"nested deeper than {DEEPEST} levels")
