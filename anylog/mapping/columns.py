"""One column of a topic: where its value comes from in a message, and what it becomes (ingest.md 4.1, 4.3). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import field, frozen

from anylog.errors import AnyLogError
from anylog.mapping.bring import MISSING, Bring, Each, is_bring
from anylog.mapping.parts import ROWS, Parts
from anylog.mapping.values import (
    Kind,
    Nothing,
    Unfit,
    declared_column,
    instant,
    kind_of,
    known_kind,
    short,
)


def fault(what: str, path: str, reason: str) -> AnyLogError:
    """What is wrong with a message: `what` is the column or the table's name, `path` how it was looked for."""
    return AnyLogError(6, f"{what}, '{path[:200]}': {reason}" if path else f"{what}: {reason}")


@frozen
class Column:
    """A column of a topic: what it is called, where its value comes from, and what it becomes."""

    name: str
    kind: Kind | None  # None: `type_from` says it for each row
    type_from: Bring | None
    bring: Bring | None  # None: the value is `literal`, or the time if `is_now`
    literal: Any = None  # converted already
    is_now: bool = False
    optional: bool = False
    default: Any = MISSING  # where there is no value: converted already if the type is fixed, or _NOW
    what: str = field(default="", eq=False)  # for reasons

    @classmethod
    def read(cls, name: str, kind: str, value: str, *, optional: bool = False, default: str | None = None) -> Column:
        """From the texts of a declaration. Raises AnyLogError 2 or 40 naming the column."""
        what = f"column '{name[:80]}'"
        try:
            column = declared_column(name)
            if is_bring(kind):
                type_from, fixed = Bring.read(kind), None
            else:
                type_from, fixed = None, kind_of(kind)
            if is_bring(value):
                other = MISSING if default is None else _default(default, fixed)
                bring = Bring.read(value)
                return cls(column, fixed, type_from, bring, optional=optional, default=other, what=what)
            if value.strip().lower() in ("now", "now()"):
                if fixed is not None:
                    fixed.convert("2000-01-01T00:00:00Z")
                return cls(column, fixed, type_from, None, is_now=True, optional=optional, what=what)
            literal = value if fixed is None else fixed.convert(value)
            return cls(column, fixed, type_from, None, literal, optional=optional, what=what)
        except Unfit as why:
            told = short(value) if default is None or not is_bring(value) else f"default {short(default)}"
            raise AnyLogError(40, f"{what}: {told}: {why}") from None
        except AnyLogError as why:
            raise AnyLogError(why.number, f"{what}: {why}") from None

    @property
    def path(self) -> str:
        """Where the value comes from, for reasons and lists."""
        return self.bring.text if self.bring else "now" if self.is_now else short(self.literal)

    def found(self, message: Any, now: float) -> Any:
        """The value as it is in the message: one, Each, or MISSING."""
        if self.bring is None:
            return instant(now) if self.is_now else self.literal
        try:
            return self.bring.find(message)
        except Unfit as why:
            raise fault(self.what, self.path, str(why)) from None

    def kinds(self, message: Any) -> Kind | list[Kind]:
        """The type, or one for each row."""
        if self.type_from is None:
            assert self.kind is not None
            return self.kind
        try:
            told = self.type_from.find(message)
            if type(told) is Each:
                return [_kind(each) for each in told]
            return _kind(told)
        except (Unfit, AnyLogError) as why:
            raise fault(f"the type of {self.what}", self.type_from.text, str(why)) from None

    def value(self, found: Any, kind: Kind, now: float, row: int = 0) -> Any:
        """What is stored for a value that was found; MISSING: nothing. `row` (from 1) is for the reason."""
        if found is None:
            return None
        try:
            if found is MISSING:
                raise Nothing("no value")
            return kind.convert(found)
        except Unfit as why:
            # An optional value that is there but wrong is not dropped in silence; a time is, says ingest.md 4.5.
            if isinstance(why, Nothing) or kind.ledger == "TIMESTAMP":
                if self.default is not MISSING:
                    return self._instead(kind, now)
                if self.optional:
                    return MISSING
            place = f" (entry {row} of the list)" if row else ""
            seen = "" if found is MISSING else f": {short(found)}"
            raise fault(self.what, self.path, f"{why}{seen}{place}") from None

    def _instead(self, kind: Kind, now: float) -> Any:
        """The default, as a value of that type. Raises AnyLogError 6."""
        value = instant(now) if self.default is _NOW else self.default
        if self.kind is not None or value is None:
            return value
        try:
            return kind.convert(value)
        except Nothing:
            return None
        except Unfit as why:
            raise fault(self.what, self.path, f"the default {short(value)}: {why}") from None

    def values(self, found: Each, kinds: Kind | Sequence[Kind], now: float) -> Parts[list[Any]]:
        """As `value`, for all entries of a list; there are as many `kinds`, if it is not one for all."""
        values: list[Any] = []
        for first in range(0, len(found), ROWS):
            some = found[first : first + ROWS]
            done: Sequence[Any] | None = None
            if isinstance(kinds, Kind):
                done = kinds.convert_all(some)
                if done is None:
                    done = [self.value(each, kinds, now, row) for row, each in enumerate(some, first + 1)]
            else:
                pairs = zip(some, kinds[first : first + ROWS], strict=True)
                done = [self.value(each, kind, now, row) for row, (each, kind) in enumerate(pairs, first + 1)]
            values += done
            yield len(some)
        return values


_NOW: Any = type("Now", (), {"__repr__": lambda self: "now()"})()


def _default(text: str, kind: Kind | None) -> Any:
    """The text of a default, as it is stored; of no type yet, as it is. Raises Unfit."""
    word = text.strip().lower()
    if word == "null":
        return None
    if word in ("now", "now()"):
        if kind is not None:
            kind.convert("2000-01-01T00:00:00Z")
        return _NOW
    if kind is None:
        return text
    try:
        return kind.convert(text)
    except Nothing:  # an empty text: the column's own default, where it has one (storage.md 2.7)
        return None


def _kind(told: Any) -> Kind:
    if type(told) is not str:
        raise Unfit("no value" if told is MISSING or told is None else f"not a type: {short(told)}")
    return known_kind(told)
