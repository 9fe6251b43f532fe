"""SQL files of readings: INSERT statements are read as rows, no engine sees them (ingest.md 10, decisions.md 5)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from attrs import define, frozen

from anylog.columns import AUTOMATIC
from anylog.errors import AnyLogError
from anylog.mapping.body import MOST_OBJECTS, TooWide
from anylog.mapping.names import normalise

_TOKEN = re.compile(
    r"""
    (?P<space>(?:\s+|--[^\n]*|/\*.*?\*/)+)
    |(?P<text>'[^']*(?:''[^']*)*')
    |(?P<quoted>"[^"]*(?:""[^"]*)*"|`[^`]*`)
    |(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w.]))
    |(?P<word>[^\W\d][\w$]*)
    |(?P<mark>[(),;.+\-])
    """,
    re.VERBOSE | re.DOTALL,
)
_TYPED = {"timestamp", "date", "time"}  # may stand before a text: TIMESTAMP '2026-11-21 09:00:00'
_NOW = {"current_timestamp", "now"}  # of use in automatic columns alone, where the value does not count
_SHOWN = 40  # characters of a culprit in an error


def read_sql(data: bytes, dbms: str, table: str) -> list[dict[str, Any]]:
    """The rows of a file of `INSERT INTO table (columns) VALUES (literals), ...;` statements.

    The table is `table` or one of its partitions, `par_<table>_<...>`, with or without the name of its database.
    Automatic columns are left out: the node fills them. Nothing else is understood, and nothing is executed.
    Raises AnyLogError 16 naming the statement and the place of what is not understood, 501 for too many rows.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise AnyLogError(16, f"SQL file: not UTF-8 (byte {error.start + 1})") from None
    return _Reader(text, dbms, table).rows()


@frozen
class _Word:
    """One token; `kind` as the groups of the pattern are named, "end" behind the last."""

    kind: str
    text: str
    start: int

    def says(self, *words: str) -> bool:
        return self.kind == "word" and self.text.lower() in words

    def is_mark(self, mark: str) -> bool:
        return self.kind == "mark" and self.text == mark


@define
class _Reader:
    """Goes through the statements of one file once, from left to right."""

    text: str
    dbms: str
    table: str
    number: int = 0  # of the statement at hand
    count: int = 0  # rows until now

    def rows(self) -> list[dict[str, Any]]:
        """All rows of all statements."""
        words, found = self._words(), list[dict[str, Any]]()
        word = next(words)
        while word.kind != "end":
            if word.is_mark(";"):
                word = next(words)
                continue
            self.number += 1
            columns = self._head(word, words)
            word = self._values(columns, words, found)
        if not found:
            raise AnyLogError(16, "SQL file: there is no INSERT statement in it")
        return found

    def _words(self) -> Iterator[_Word]:
        text, at, end = self.text, 0, len(self.text)
        match = _TOKEN.match
        while at < end:
            found = match(text, at)
            if found is None:
                raise self._wrong(at, f"{self._shown(at)} is not understood")
            if found.lastgroup != "space":
                yield _Word(found.lastgroup or "", found.group(), at)
            at = found.end()
        while True:
            yield _Word("end", "", end)

    # ------------------------------------------------------------------ INSERT INTO table (columns) VALUES

    def _head(self, word: _Word, words: Iterator[_Word]) -> list[str | None]:
        """The columns, in order; None for automatic ones."""
        if not word.says("insert"):
            raise self._wrong(word.start, f"only INSERT INTO is allowed, not {self._shown(word.start)}")
        self._need(next(words), "INTO")
        self._check_table(words)
        columns: list[str | None] = []
        while True:
            word = next(words)
            if word.kind not in ("word", "quoted"):
                raise self._wrong(word.start, f"the name of a column is missing at {self._shown(word.start)}")
            name = self._name(word)
            if name in columns:
                raise self._wrong(word.start, f"the column '{name}' is named twice")
            columns.append(None if name.lower() in AUTOMATIC else name)
            word = next(words)
            if word.is_mark(")"):
                break
            if not word.is_mark(","):
                raise self._wrong(word.start, f"',' or ')' is missing at {self._shown(word.start)}")
        self._need(next(words), "VALUES")
        if all(name is None for name in columns):
            raise self._wrong(word.start, "there is no column that the node does not fill itself")
        return columns

    def _check_table(self, words: Iterator[_Word]) -> None:
        """`table`, `par_table_x`, `dbms.table`; then a parenthesis opens."""
        parts, word = [next(words)], next(words)
        while word.is_mark("."):
            parts.append(next(words))
            word = next(words)
        start = parts[0].start
        if any(part.kind not in ("word", "quoted") for part in parts) or len(parts) > 2:
            raise self._wrong(start, f"the name of a table is missing at {self._shown(start)}")
        names = [self._name(part) for part in parts]
        own = normalise(names[-1], "table", 16)
        if own != self.table and not own.startswith(f"par_{self.table}_"):
            raise self._wrong(start, f"the file is for the table '{self.table}', not for '{names[-1]}'")
        if len(names) == 2 and normalise(names[0], "database", 16) != self.dbms:
            raise self._wrong(start, f"the file is for the database '{self.dbms}', not for '{names[0]}'")
        if not word.is_mark("("):
            raise self._wrong(word.start, f"the columns have to be named, in parentheses, at {self._shown(word.start)}")

    def _name(self, word: _Word) -> str:
        if word.kind == "word":
            return word.text
        quote = word.text[0]
        return word.text[1:-1].replace(quote * 2, quote)

    def _need(self, word: _Word, keyword: str) -> None:
        if not word.says(keyword.lower()):
            raise self._wrong(word.start, f"{keyword} is missing at {self._shown(word.start)}")

    # ------------------------------------------------------------------ (literals), (literals) ;

    def _values(self, columns: list[str | None], words: Iterator[_Word], found: list[dict[str, Any]]) -> _Word:
        """Add the rows of one statement; gives the word behind it."""
        while True:
            word = next(words)
            if not word.is_mark("("):
                raise self._wrong(word.start, f"'(' is missing at {self._shown(word.start)}")
            row: dict[str, Any] = {}
            for place, name in enumerate(columns):
                word = next(words)
                value, word = self._literal(word, words, name is None)
                if name is not None:
                    row[name] = value
                if not word.is_mark("," if place < len(columns) - 1 else ")"):
                    raise self._wrong(word.start, self._uneven(word, place + 1, len(columns)))
            self.count += 1
            if self.count > MOST_OBJECTS:
                raise AnyLogError(501, f"a file may have {MOST_OBJECTS:,} rows, this one has more: send it in parts")
            found.append(row)
            word = next(words)
            if word.is_mark(","):
                continue
            if word.kind == "end" or word.is_mark(";"):
                return word
            raise self._wrong(word.start, f"{self._shown(word.start)} is not understood behind a row")

    def _uneven(self, word: _Word, values: int, columns: int) -> str:
        if word.is_mark(")"):
            return f"{values} values for {columns} columns"
        if word.is_mark(","):
            return f"more values than the {columns} columns"
        return f"{self._shown(word.start)} is not understood behind a value"

    def _literal(self, word: _Word, words: Iterator[_Word], automatic: bool) -> tuple[Any, _Word]:
        """The value that begins with `word`, and the word behind it."""
        if word.kind == "text":
            return word.text[1:-1].replace("''", "'"), next(words)
        if word.kind == "number":
            return self._number(word, ""), next(words)
        if word.kind == "mark" and word.text in "+-":
            number = next(words)
            if number.kind == "number":
                return self._number(number, word.text.replace("+", "")), next(words)
        elif word.kind == "word":
            said = word.text.lower()
            if said in ("null", "default"):
                return None, next(words)
            if said in ("true", "false"):
                return said == "true", next(words)
            following = next(words)
            if said in _TYPED and following.kind == "text":
                return following.text[1:-1].replace("''", "'"), next(words)
            if automatic and said in _NOW:
                if following.is_mark("(") and (following := next(words)).is_mark(")"):
                    following = next(words)
                return None, following
        raise self._wrong(word.start, f"{self._shown(word.start)} is not a literal")

    def _number(self, word: _Word, sign: str) -> Any:
        if word.text.isdecimal():
            digits = sign + (word.text.lstrip("0") or "0")
            if len(digits) <= 20 and -(1 << 63) <= int(digits) < 1 << 64:
                return int(digits)
            return TooWide(digits)
        value = float(sign + word.text)
        if not math.isfinite(value):
            raise self._wrong(word.start, f"the number {self._shown(word.start)} is too large")
        return value

    # ------------------------------------------------------------------ what is wrong, and where

    def _shown(self, at: int) -> str:
        piece = self.text[at : at + _SHOWN].split("\n")[0].rstrip()
        return repr(piece) if piece else "the end"

    def _wrong(self, at: int, what: str) -> AnyLogError:
        line = self.text.count("\n", 0, at) + 1
        character = at - self.text.rfind("\n", 0, at)
        return AnyLogError(16, f"SQL file, statement {max(self.number, 1)}, line {line}, character {character}: {what}")
