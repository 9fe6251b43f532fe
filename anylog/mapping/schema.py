"""Types of columns: what a value is, and what two values are together.

Sources: storage.md 2.2 to 2.4 and 2.7, hard-parts.md 4.4. The types themselves are in `ledger/types.py`.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from anylog.columns import AUTOMATIC
from anylog.columns import indexes as indexes
from anylog.errors import AnyLogError
from anylog.ledger.types import char_size as char_size
from anylog.ledger.types import create_statement as create_statement
from anylog.ledger.types import merge as merge
from anylog.ledger.types import parse_type as parse_type
from anylog.ledger.types import widened as widened
from anylog.mapping import names, times
from anylog.mapping.body import written

MOST_INT = 99_999_999
MOST_BIGINT = (1 << 63) - 1
MOST_COLUMNS = 1500  # data columns of a table: PostgreSQL takes 1,600 columns, SQLite 2,000
LONGEST_CHAR = 8  # a longer text is a VARCHAR
EARLIEST_EPOCH = 946_684_800  # the year 2000: digits below it are a number, even where a column is named after time

# Digits of ASCII only: those of other scripts are text.
WHOLE = re.compile(r"-?[0-9]+")
REAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def infer_value(name: str, value: Any) -> str | None:
    """The ledger type of one value of the attribute `name`, by the first rule of storage.md 2.4 that fits.

    None says nothing about a type: null, and what no column can hold (a number beyond 64 bits, NaN).
    """
    kind = type(value)
    if kind is str:
        return _infer_text(name, value)
    if kind is bool:
        return "BOOLEAN"
    if kind is int:
        if -MOST_INT <= value <= MOST_INT:
            return "INT"
        return "BIGINT" if -MOST_BIGINT - 1 <= value <= MOST_BIGINT else None
    if kind is float:
        if not math.isfinite(value):
            return None
        point = repr(value).partition(".")[2]
        return "DECIMAL" if value and len(point) <= 5 and point.isdigit() else "FLOAT"
    if kind is dict or kind is list:
        return "VARCHAR"
    return None


def text_type(text: str) -> str:
    """The type of a text taken as nothing but a text: CHAR(n) up to 8 characters, else VARCHAR."""
    return f"CHAR({len(text)})" if 0 < len(text) <= LONGEST_CHAR else "VARCHAR"


def infer(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The data columns and types for rows of a table that does not exist yet, in the order in which they appear.

    Automatic columns, names that cannot be columns and attributes that are null in all rows are left out. Where two
    attributes of a row have one normalised name, the one spelled like the column counts, else the first. A row that
    would make them more than MOST_COLUMNS is left out.
    """
    columns: dict[str, list[tuple[str, Any]]] = {}
    spelled: dict[str, str | None] = {}
    for row in rows:
        taken: dict[str, tuple[str, Any]] = {}
        for attribute, value in row.items():
            if attribute not in spelled:
                spelled[attribute] = column_of(attribute)
            column = spelled[attribute]
            if column is not None and (column not in taken or attribute == column):
                taken[column] = (attribute, value)
        if len(columns) + len(taken) > MOST_COLUMNS and len(columns.keys() | taken.keys()) > MOST_COLUMNS:
            continue
        for column, found in taken.items():
            columns.setdefault(column, []).append(found)
    inferred = ((column, infer_column(found)) for column, found in columns.items())
    return {column: kind for column, kind in inferred if kind is not None}


def infer_column(found: Sequence[tuple[str, Any]]) -> str | None:
    """The type that (attribute, value) pairs of one column have together; None if all are null."""
    merged: str | None = None
    typed: list[Any] = []
    for attribute, value in found:
        kind = infer_value(attribute, value)
        if kind is None:
            continue
        typed.append(value)
        if kind != merged:
            merged = kind if merged is None else merge(merged, kind)
    size = char_size(merged) if merged else None
    if size is None:
        return merged
    # CHAR and another type make CHAR(32) (2.4), which a UUID or a time does not fit in.
    longest = max(len(value if type(value) is str else written(value)) for value in typed)
    return "VARCHAR" if longest > size else merged


def column_of(attribute: str) -> str | None:
    """The column an attribute is loaded into, or None: an automatic column, or a name that cannot be a column."""
    try:
        column = names.column(attribute)
    except AnyLogError:
        return None
    return None if column in AUTOMATIC else column


def _infer_text(name: str, text: str) -> str:
    size = len(text)
    if size == 0:
        return "VARCHAR"
    if size == 36 and UUID.fullmatch(text):
        return "UUID"
    if text[0] in "0123456789:-.+abcdefABCDEF":
        kind = _infer_digits(name, text)
        if kind is not None:
            return kind
    return text_type(text)


def _infer_digits(name: str, text: str) -> str | None:
    if times.plain_timestamp(text):
        return "TIMESTAMP"
    if len(text) == 10 and times.date_of(text) is not None:
        return "DATE"
    if times.time_of(text) is not None:
        return "TIME"
    if is_address(text):
        return "CIDR"
    if WHOLE.fullmatch(text):
        if "time" in name.lower() and _is_epoch(text):
            return "TIMESTAMP"
        if len(text) < 9:
            return "INT"
        # Beyond 64 bits it is a text of digits.
        return "BIGINT" if len(text) <= 20 and -MOST_BIGINT - 1 <= int(text) <= MOST_BIGINT else None
    if "." in text and len(text) <= 19 and REAL.fullmatch(text) and math.isfinite(float(text)):
        return "FLOAT"
    return None


def _is_epoch(digits: str) -> bool:
    return len(digits) <= 19 and int(digits) >= EARLIEST_EPOCH and times.timestamp_of(digits) is not None


def is_address(text: str) -> bool:
    """Whether the text is an IPv4 or IPv6 address, or a network of them (`10.0.0.0/8`)."""
    if len(text) > 43 or not ("." in text or ":" in text) or "%" in text:
        return False
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return "/" not in text or text.rpartition("/")[2].isdigit()
