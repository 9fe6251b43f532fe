"""Layouts of an answer: json, json:list, json:output and table, with the statistics after them (query.md 6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import orjson
from attrs import define, field, frozen

from anylog.errors import AnyLogError
from anylog.language.tables import bar_table
from anylog.query.answer import PAGE, Column, Connection, as_text, real_text
from anylog.waiting import deferring

FORMATS = ("json", "json:list", "json:output", "table")
HEADED_ONCE = 1000  # rows of a table up to which the heading is printed once
_ARGUMENTS = 60  # titles in one json_object: an SQLite function takes 127 arguments
_BUT_LAST = "-1, -2147483647"  # of substr: all that stands before the last character
_DEEP = 100  # operands of `||` in one pair of parentheses: an SQLite expression may be 1,000 deep

# What stands before the rows, between them, and after; before the statistics and after them.
_FRAMES = {
    "json": ('{"Query":[', ",\n", "]", ",\n", "}"),
    "json:list": ("[", ",\n", "]", "\n{", "}"),
    "json:output": ("", "\n", "", "\n{", "}"),
    "table": ("", "", "", "\n{", "}"),
}


def quoted(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def joined(texts: Sequence[str]) -> str:
    """Texts one after the other, as an expression that is not too deep for the engine however many they are."""
    parts = [" || ".join(texts[first : first + _DEEP]) for first in range(0, len(texts), _DEEP)]
    return " || ".join(f"({part})" for part in parts)


class JsonRows:
    """Rows as JSON objects, made by the engine."""

    def __init__(self, separator: str) -> None:
        self._separator = separator.replace("\n", "' || char(10) || '")

    def short(self, columns: Sequence[Column]) -> str | None:
        """All rows at once."""
        return f"group_concat({self._row(columns)}, '{self._separator}')"

    def page(self, connection: Connection, columns: Sequence[Column], rows: str, count: int) -> str:
        """One statement a page."""
        text: str | None = connection.execute(f"select {self.short(columns)} from {rows}").fetchone()[0]
        return text or ""

    def rows(self, total: int, columns: int) -> int:
        """A first page that is not too large whatever the rows hold."""
        return min(PAGE, 10_000 // columns)

    def _row(self, columns: Sequence[Column]) -> str:
        pairs = [f"{quoted(column.title)}, {self._value(column)}" for column in columns]
        objects = [
            f"json_object({', '.join(pairs[first : first + _ARGUMENTS])})" for first in range(0, len(pairs), _ARGUMENTS)
        ]
        if len(objects) == 1:
            return objects[0]
        # Each part once and without the braces inside: naming one twice would double the work at every part.
        inner = [f"substr({objects[0]}, {_BUT_LAST})"]
        inner += [f"substr(substr({each}, 2), {_BUT_LAST})" for each in objects[1:-1]]
        return " || ',' || ".join([*inner, f"substr({objects[-1]}, 2)"])

    def _value(self, column: Column) -> str:
        value = column.source
        if column.type == "BOOLEAN":
            return f"json(case when {value} then 'true' when not {value} then 'false' end)"
        if column.number:
            # `|| ''` makes a text of what the engine may remember to be JSON
            return (
                f"case typeof({value}) when 'real' then {real_text(value)} when 'blob' then hex({value})"
                f" when 'text' then {value} || '' else {value} end"
            )
        return as_text(value) if column.widened else value


class TableRows:
    """Rows in columns as wide as their widest cell."""

    def short(self, columns: Sequence[Column]) -> str | None:
        """Never: the widths come first."""
        return None

    def rows(self, total: int, columns: int) -> int:
        """All at once while one heading is enough."""
        return HEADED_ONCE if total < HEADED_ONCE else min(HEADED_ONCE, PAGE)

    def page(self, connection: Connection, columns: Sequence[Column], rows: str, count: int) -> str:
        """Two statements a batch: how wide, then the lines."""
        cells = [self._cell(column) for column in columns]
        longest = connection.execute(
            f"select {', '.join(f'max(length({cell}))' for cell in cells)} from {rows}"
        ).fetchone()
        widths = [max(len(column.title), width or 0) for column, width in zip(columns, longest, strict=True)]
        last = len(columns) - 1
        shown = [
            self._padded(column, cell, width, place == last)
            for place, (column, cell, width) in enumerate(zip(columns, cells, widths, strict=True))
        ]
        line = joined([f"{each} || ' '" for each in shown])
        text = connection.execute(f"select group_concat({line}, char(10)) from {rows}").fetchone()[0]
        return self.heading(columns, widths) + (text or "") + "\n"

    def heading(self, columns: Sequence[Column], widths: Sequence[int]) -> str:
        """Titles over dashes."""
        titles = " ".join(column.title.ljust(width) for column, width in zip(columns, widths, strict=True)).rstrip()
        return f"\n{titles}\n{''.join('-' * width + ' ' for width in widths)}\n"

    def _cell(self, column: Column) -> str:
        value = column.source
        if column.type == "BOOLEAN":
            return f"case when {value} then 'true' when not {value} then 'false' else 'null' end"
        if column.number or column.widened:
            value = as_text(value)
        return f"replace(replace(coalesce({value}, 'null'), char(10), ' '), char(13), ' ')"

    def _padded(self, column: Column, cell: str, width: int, last: bool) -> str:
        left = cell if last else f"printf('%!-{width}s', {cell})"
        right = f"printf('%!{width}s', {cell})"
        if column.type == "BOOLEAN":
            return left
        return f"case when typeof({column.source}) in ('integer', 'real') then {right} else {left} end"


def layout_of(name: str) -> JsonRows | TableRows:
    """How rows are laid out. Raises AnyLogError 161."""
    if name not in FORMATS:
        raise AnyLogError(161, f"'{name}' is not one of {', '.join(FORMATS)}")
    return TableRows() if name == "table" else JsonRows(_FRAMES[name][1])


def statistics(count: int, seconds: float, *, nodes: int = 1, targets: int = 0, lines: bool = False) -> str:
    """The statistics as one member of a JSON object, on one line or (for a console) on several.

    `targets` is how many nodes were asked, if more than the `nodes` that answered.
    """
    whole = int(max(seconds, 0))
    apart = ",\n" + " " * 16 if lines else ","
    time = f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"
    took = f'"Nodes": {nodes}'
    if targets > nodes:
        took = f'"Target Nodes": {targets}{apart}"Participating Nodes": {nodes}'
    return f'"Statistics":[{{"Count": {count}{apart}"Time":"{time}"{apart}{took}}}]'


class Rows(Protocol):
    """The rows of an answer, wherever they come from."""

    columns: list[Column]

    @property
    def count(self) -> int: ...

    @property
    def over(self) -> bool: ...

    async def next(self) -> str | bytes | None: ...

    def close(self) -> None: ...


@frozen
class Missing:
    """A node that takes no part in a partial answer."""

    address: str
    number: int
    text: str

    def row(self) -> tuple[str, str, int, int, str]:
        """As `Reply errors` shows it (query.md 7.3)."""
        host, _, port = self.address.rpartition(":")
        return host or self.address, port, 0, self.number, self.text


_ERRORS = ("Node IP", "Port", "Par", "Ret-Code", "Error Message")


@define(kw_only=True, eq=False)
class Laid:
    """An answer as `context.Pages`: the rows, what stands around them, and the statistics."""

    answer: Rows
    format: str
    stat: bool = True
    lines: bool = False  # statistics on several lines, as a console shows them
    title: str = ""  # before a table
    elapsed: Callable[[], float]
    ended: Callable[[bool], None] = field(default=lambda whole: None)
    failed: Callable[[AnyLogError], None] = field(default=lambda error: None)
    nodes: int = 1
    missing: Sequence[Missing] = ()  # who does not take part
    media: str = field(init=False)
    _begun: bool = False
    _over: bool = False

    def __attrs_post_init__(self) -> None:
        self.media = "text/plain; charset=utf-8" if self.format == "table" else "application/json"

    @deferring
    async def next(self) -> bytes | None:
        """The next page, or None after the last."""
        if self._over:
            return None
        opening, between, closing, before, after = _FRAMES[self.format]
        try:
            text = await self.answer.next()
        except AnyLogError as error:
            self.failed(error)
            raise
        parts: list[str | bytes] = []
        if not self._begun:
            self._begun = True
            parts.append(opening)
            if self.format == "table":
                parts.append(self.title and f"\n{self.title}\n")
                if text is None or not self.answer.count:
                    columns = self.answer.columns
                    parts.append(TableRows().heading(columns, [len(column.title) for column in columns]))
        elif text is not None:
            parts.append(between)
        parts.append(text or "")
        if text is None or self.answer.over:
            self._over = True
            parts.append(closing)
            if self.stat:
                told = statistics(
                    self.answer.count,
                    self.elapsed(),
                    nodes=self.nodes,
                    targets=self.nodes + len(self.missing),
                    lines=self.lines,
                )
                empty = self.format == "json:output" and not self.answer.count
                parts += [before.removeprefix("\n") if empty else before, told, after if self.format != "json" else ""]
            if self.missing:
                parts.append(self._reply_errors(before))
            if self.format == "json":
                parts.append(after)
            self._end(True)
        return b"".join(part if isinstance(part, bytes) else part.encode("utf-8", "replace") for part in parts)

    def _reply_errors(self, before: str) -> str:
        """Who is missing: a partial answer says so even where nothing else stands after its rows (decisions 3)."""
        rows = [missing.row() for missing in self.missing]
        if self.format == "table":
            return "\n" + bar_table(_ERRORS, rows, heading="Reply errors:").replace("\r\n", "\n") + "\n"
        told = orjson.dumps([dict(zip(_ERRORS, row, strict=True)) for row in rows]).decode()
        return f'{before}"Reply errors":{told}{"" if self.format == "json" else "}"}'

    def close(self) -> None:
        """Let go; safe at any time."""
        self._over = True
        self.answer.close()
        self._end(False)

    def _end(self, whole: bool) -> None:
        ended, self.ended = self.ended, lambda whole: None
        ended(whole)
