"""Rows of JSON become one list of lists for an engine: the hot path, so it works column by column.

Sources: storage.md 2.7, ingest.md 1.3, hard-parts.md 4 and 5. A converted row depends on the row, the columns and the
default time alone, so every member stores the same and parks the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import compress
from operator import itemgetter
from typing import Any

import orjson
from attrs import define, field, frozen

from anylog.columns import AUTOMATIC, Later
from anylog.errors import AnyLogError
from anylog.ledger.types import char_size, merge
from anylog.mapping import names, schema, times
from anylog.mapping.body import TooWide, written

_EXACT_FLOAT = 1 << 53  # whole numbers up to here are floats without loss
_FEW = 6  # up to here a look at each time costs less than one at the column
_SHOWN = 80  # characters of a value in a reason
_NUL = "\\u0000"  # as the serialiser writes it
_NEW, _LAST = 1_000_000, 2_000_000  # ranks of reasons, after those of the columns


@frozen
class Converted:
    """Rows in the form in which they are loaded, and those that do not fit."""

    names: tuple[str, ...]  # all columns that were asked for, in their order
    values: str  # a JSON list of lists, one inner list for each row that fits, in the order of `names`
    count: int  # rows in `values`
    misfits: list[tuple[int, str]]  # position among the rows, from 0, and the reason
    # Columns to add and types to widen to before these rows can be loaded; then `values` is of no use.
    wanted: dict[str, str]


class Misfit(Exception):
    """This value can be nothing in this column; the text says why."""


class WithNul(Misfit):
    """A text no engine keeps."""


class Wider(Exception):
    """The value fits a column of the type named by the text, which this column can be widened to."""


def convert(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], default_time: str) -> Converted:
    """Bring rows into the types of a table's data columns (ledger types, automatic columns left out).

    An attribute goes to the column spelled like it, else to the one of its normalised name. Where two attributes of a
    row mean one column, the one spelled like it counts, else the first; the other is left out. Missing and null are
    NULL, or `default_time` in a TIMESTAMP, DATE or TIME column that the table began with; an empty text is the same.

    `default_time` is a timestamp text in UTC; raises AnyLogError 40 if it is none.
    """
    work = _Work(rows, {column: kind for column, kind in columns.items() if column not in AUTOMATIC})
    work.defaults = _defaults(default_time)
    found, unknown = _gather(rows, work.columns)
    converted = [work.column(column, kind, found[column]) for column, kind in work.columns.items()]
    for column, values in unknown.items():
        work.add(column, values)
    work.make_room()
    return work.result(converted)


def convert_each(
    parts: Sequence[Sequence[Mapping[str, Any]]], columns: Mapping[str, str], default_time: str | None
) -> list[Converted] | None:
    """`convert` of several short lists of rows in one go; None if anything about them needs a second look.

    Without a default time also if a time is missing.
    """
    rows = [row for part in parts for row in part]
    work = _Work(rows, {column: kind for column, kind in columns.items() if column not in AUTOMATIC})
    work.defaults = {} if default_time is None else _defaults(default_time)
    found, unknown = _gather(rows, work.columns)
    if unknown or not work.columns:
        return None
    converted = [work.column(column, kind, found[column]) for column, kind in work.columns.items()]
    if work.misfits or work.wider:
        return None
    if default_time is None and any(
        kind in _TIMES and not isinstance(kind, Later) and None in values
        for kind, values in zip(work.columns.values(), converted, strict=True)
    ):
        return None
    lines = list(zip(*converted, strict=True))
    names, first = tuple(work.columns), 0
    done = []
    for part in parts:
        values = orjson.dumps(lines[first : first + len(part)]).decode()
        if _NUL in values:
            return None
        done.append(Converted(names, values, len(part), [], {}))
        first += len(part)
    return done


@define
class _Work:
    """One conversion while it is under way."""

    rows: Sequence[Mapping[str, Any]]
    columns: dict[str, str]
    defaults: dict[str, str] = field(factory=dict)
    misfits: dict[int, tuple[tuple[int, str], str]] = field(factory=dict)  # position: rank and reason
    wider: list[tuple[int, str, str]] = field(factory=list)  # position, column, type it should have
    new: dict[str, list[tuple[int, str, Any]]] = field(factory=dict)  # column: position, attribute, value

    def column(self, name: str, kind: str, values: Sequence[Any]) -> Sequence[Any]:
        """The values of one column, ready for the engine; what does not fit is noted and None."""
        kinds = set(map(type, values))
        default = self.default(kind)
        if kinds == {type(None)} or not kinds:
            return [default] * len(values)
        quick: _Quick = _QUICK.get(kind, _quick_char)
        done = quick(kind, kinds, values)
        if done is not None:
            return done
        return self.one_by_one(name, kind, values)

    def default(self, kind: str) -> str | None:
        """What stands where a value is missing."""
        return None if isinstance(kind, Later) else self.defaults.get(kind)

    def one_by_one(self, name: str, kind: str, values: Sequence[Any]) -> list[Any]:
        """As `column`, with a look at each value."""
        one: _One = _CAREFUL.get(kind, _to_char)
        rank = self.rank(name)
        default = self.default(kind)
        done: list[Any] = []
        for position, value in enumerate(values):
            out: Any = default
            if value is not None and not (value == "" and kind in _TIMES and (default or isinstance(kind, Later))):
                try:
                    out = one(kind, value)
                except WithNul:
                    self.nul(position, name, value)
                except Misfit as why:
                    self.misfit(position, rank, f"column {name!r} is {kind}: {why}: {_short(value)}")
                except Wider as wider:
                    self.wider.append((position, name, str(wider)))
            done.append(out)
        return done

    def add(self, column: str, values: list[tuple[int, str, Any]]) -> None:
        """Note the values of attributes that have no column."""
        try:
            names.normalise(column, "column")
        except AnyLogError as error:
            for position, _attribute, _value in values:
                self.misfit(position, (_NEW, column), f"an attribute cannot be a column: {error}")
            return
        for position, attribute, value in values:
            try:
                _check_new(value)
            except Misfit as why:
                self.misfit(position, (_NEW, column), f"attribute {_short(attribute)}: {why}: {_short(value)}")
        self.new[column] = values

    def make_room(self) -> None:
        """Park the later rows whose attributes are more than a table takes; the columns of the others stay."""
        room = schema.MOST_COLUMNS - len(self.columns)
        if len(self.new) <= room:
            return
        wanting: dict[int, list[str]] = {}
        for column, values in self.new.items():
            for position, _attribute, _value in values:
                wanting.setdefault(position, []).append(column)
        taken: set[str] = set()
        for position, columns in sorted(wanting.items()):
            more = [column for column in columns if column not in taken]
            if position in self.misfits:
                continue
            if len(taken) + len(more) > room:
                told = f"{more[0]!r} would be more than the {schema.MOST_COLUMNS} columns a table may have"
                self.misfit(position, (_NEW, ""), f"an attribute cannot be a column: {told}")
            else:
                taken.update(more)

    def nul(self, position: int, name: str, text: str) -> None:
        """Park a row for a text with a NUL: whole columns are only searched for it at the end, so it ranks last."""
        reason = f"column {name!r} is {self.columns[name]}: a text with a NUL character: {_short(text)}"
        self.misfit(position, (_LAST + self.rank(name)[0], ""), reason)

    def misfit(self, position: int, rank: tuple[int, str], reason: str) -> None:
        """Park a row. Of several reasons the one of least rank is kept, so that it hangs on this row alone."""
        known = self.misfits.get(position)
        if known is None or rank < known[0]:
            self.misfits[position] = rank, reason

    def rank(self, name: str) -> tuple[int, str]:
        """The place of a column among the reasons for parking a row."""
        return list(self.columns).index(name), ""

    def result(self, converted: Sequence[Sequence[Any]]) -> Converted:
        """Put the columns together to rows, without the misfits."""
        values = self.written(converted)
        if _NUL in values:
            for name, column in zip(self.columns, converted, strict=True):
                for position, value in enumerate(column):
                    if type(value) is str and "\0" in value:
                        self.nul(position, name, value)
            values = self.written(converted)
        return Converted(
            tuple(self.columns),
            values,
            len(self.rows) - len(self.misfits),
            [(position, reason) for position, (_, reason) in sorted(self.misfits.items())],
            self.wanted(),
        )

    def written(self, converted: Sequence[Sequence[Any]]) -> str:
        """The JSON text of the rows that fit."""
        lines: list[Any] = list(zip(*converted, strict=True)) if converted else [()] * len(self.rows)
        if self.misfits:
            lines = list(compress(lines, [position not in self.misfits for position in range(len(lines))]))
        return orjson.dumps(lines).decode()

    def wanted(self) -> dict[str, str]:
        """What rows that fit need of the schema; a row that is parked changes nothing."""
        wanted: dict[str, str] = {}
        for position, column, kind in self.wider:
            if position not in self.misfits:
                wanted[column] = merge(wanted.get(column, kind), kind)
        for column, values in self.new.items():
            fitting = [(attribute, value) for position, attribute, value in values if position not in self.misfits]
            inferred = schema.infer_column(fitting)
            if inferred is not None:
                wanted[column] = inferred
        return wanted


# Which values belong to which column.

_Unknown = dict[str, list[tuple[int, str, Any]]]


def _gather(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> tuple[dict[str, Sequence[Any]], _Unknown]:
    """The values of each column, row by row (None where missing), and what has no column."""
    if not rows:
        return dict.fromkeys(columns, ()), {}
    attributes = list(rows[0])
    sources, unknown, doubtful = _plan(attributes, columns)
    if not doubtful and set(map(len, rows)) == {len(attributes)}:
        try:
            found = _same_attributes(rows, attributes)
        except KeyError:
            pass
        else:
            nothing = (None,) * len(rows)
            return (
                {column: found[sources[column]] if column in sources else nothing for column in columns},
                {
                    column: values
                    for column, attribute in unknown.items()
                    if (values := [(p, attribute, v) for p, v in enumerate(found[attribute]) if v is not None])
                },
            )
    return _gather_mixed(rows, columns)


def _same_attributes(rows: Sequence[Mapping[str, Any]], attributes: list[str]) -> dict[str, Sequence[Any]]:
    """Attribute -> its values; raises KeyError if a row lacks one."""
    if len(attributes) < 2:
        return {attribute: [row[attribute] for row in rows] for attribute in attributes}
    return dict(zip(attributes, zip(*map(itemgetter(*attributes), rows), strict=True), strict=True))


def _gather_mixed(
    rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]
) -> tuple[dict[str, Sequence[Any]], _Unknown]:
    """As `_gather`, for rows that differ in their attributes: a plan for each list of attributes."""
    found: dict[str, Any] = {column: [None] * len(rows) for column in columns}
    extra: _Unknown = {}
    plans: dict[tuple[str, ...], tuple[list[tuple[list[Any], str]], dict[str, str]]] = {}
    for position, row in enumerate(rows):
        attributes = tuple(row)
        plan = plans.get(attributes)
        if plan is None:
            sources, unknown, _ = _plan(attributes, columns)
            plan = plans[attributes] = [(found[column], each) for column, each in sources.items()], unknown
        for values, attribute in plan[0]:
            values[position] = row[attribute]
        for column, attribute in plan[1].items():
            if row[attribute] is not None:
                extra.setdefault(column, []).append((position, attribute, row[attribute]))
    return found, extra


def _plan(attributes: Sequence[str], columns: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str], bool]:
    """For rows with these attributes: column -> attribute, new column -> attribute, and whether their order mattered.

    What cannot be a column is in the second under its own name.
    """
    sources: dict[str, str] = {}
    unknown: dict[str, str] = {}
    doubtful = False
    for attribute in attributes:
        if attribute in columns:
            doubtful |= attribute in sources
            sources[attribute] = attribute
            continue
        try:
            column = names.column(attribute)
        except AnyLogError:
            unknown[attribute] = attribute
            continue
        if column in AUTOMATIC:
            continue
        place = sources if column in columns else unknown
        if column in place:
            doubtful = True
            if attribute == column:
                place[column] = attribute
        else:
            place[column] = attribute
    return sources, unknown, doubtful


# Whole columns at once, for values that need no second look; None asks for the look at each.

_Quick = Callable[[str, set[type], Sequence[Any]], Sequence[Any] | None]


def _quick_whole(kind: str, kinds: set[type], values: Sequence[Any]) -> Sequence[Any] | None:
    present = _present(kinds, values)
    if kinds - {type(None)} != {int}:
        return None
    most = schema.MOST_INT if kind == "INT" else schema.MOST_BIGINT
    return values if -most <= min(present) and max(present) <= most else None


def _quick_real(kind: str, kinds: set[type], values: Sequence[Any]) -> Sequence[Any] | None:
    if not kinds <= {float, int, type(None)}:
        return None
    present = _present(kinds, values)
    if int in kinds and (min(present) < -_EXACT_FLOAT or max(present) > _EXACT_FLOAT):
        return None
    # NaN and the infinities show in the sum; a sum that merely overflows costs a second look.
    return values if math.isfinite(sum(present)) else None


def _quick_text(kind: str, kinds: set[type], values: Sequence[Any]) -> Sequence[Any] | None:
    return values if kinds <= {str, type(None)} else None


def _quick_char(kind: str, kinds: set[type], values: Sequence[Any]) -> Sequence[Any] | None:
    if not kinds <= {str, type(None)}:
        return None
    return values if max(map(len, _present(kinds, values))) <= (char_size(kind) or 0) else None


def _quick_boolean(kind: str, kinds: set[type], values: Sequence[Any]) -> Sequence[Any] | None:
    return values if kinds <= {bool, type(None)} else None


def _quick_timestamp(kind: str, kinds: set[type], values: Sequence[Any]) -> Sequence[Any] | None:
    if kinds != {str}:
        return None
    if len(values) >= _FEW:
        return times.timestamps(values)
    each = list(map(times.timestamp, values))
    return None if None in each else each


def _quick_never(kind: str, kinds: set[type], values: Sequence[Any]) -> Sequence[Any] | None:
    return None


def _present(kinds: set[type], values: Sequence[Any]) -> Sequence[Any]:
    return [value for value in values if value is not None] if type(None) in kinds else values


_QUICK: dict[str, _Quick] = {
    "INT": _quick_whole,
    "BIGINT": _quick_whole,
    "DECIMAL": _quick_real,
    "FLOAT": _quick_real,
    "VARCHAR": _quick_text,
    "BOOLEAN": _quick_boolean,
    "TIMESTAMP": _quick_timestamp,
    "DATE": _quick_never,
    "TIME": _quick_never,
    "UUID": _quick_never,
    "CIDR": _quick_never,
}


# One value. Null, and an empty text where there is a default, never come here.

_One = Callable[[str, Any], Any]


def _to_whole(kind: str, value: Any) -> Any:
    number = _number(value)
    if type(number) is float:
        raise Wider(merge(kind, schema.infer_value("", number) or "FLOAT"))
    if kind == "INT" and not -schema.MOST_INT <= number <= schema.MOST_INT:
        raise Wider("BIGINT")
    return number


def _to_real(kind: str, value: Any) -> Any:
    number = _number(value)
    if type(number) is int and abs(number) > _EXACT_FLOAT and int(float(number)) != number:
        raise Misfit("a whole number that a float cannot keep exactly")
    return number


def _number(value: Any) -> int | float:
    """The number a value is or spells; raises Misfit."""
    if type(value) is str:
        text = value.strip()
        if schema.WHOLE.fullmatch(text):
            value = int(text) if len(text) <= 20 else TooWide(text)
        elif schema.REAL.fullmatch(text):
            value = float(text)
    if type(value) is float:
        if math.isfinite(value):
            return value
    elif type(value) is int and -schema.MOST_BIGINT - 1 <= value <= schema.MOST_BIGINT:
        return value
    elif type(value) is int or type(value) is TooWide:
        raise Misfit("a number beyond 64 bits")
    raise Misfit("not a number")


def _to_text(kind: str, value: Any) -> str:
    sort = type(value)
    if sort is str:
        if "\0" in value:
            # SQLite's JSON functions end a text there, PostgreSQL takes none at all.
            raise WithNul("a text with a NUL character")
        return str(value)
    if sort is bool:
        return "true" if value else "false"
    if sort is int or sort is float or sort is TooWide:
        return str(_number(value))
    if sort is dict or sort is list:
        return _json(value)
    raise Misfit(f"a {sort.__name__} is no JSON value")


def _to_char(kind: str, value: Any) -> str:
    text = _to_text(kind, value)
    if len(text) > (char_size(kind) or 0):
        raise Wider(merge(kind, schema.text_type(text)))
    return text


def _to_boolean(kind: str, value: Any) -> bool:
    if type(value) is bool:
        return value
    if type(value) is int and value in (0, 1):
        return value == 1
    if type(value) is str and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise Misfit("neither true nor false")


def _to_timestamp(kind: str, value: Any) -> str:
    text = times.timestamp_of(value)
    if text is None:
        raise Misfit("not a time")
    return text


def _to_date(kind: str, value: Any) -> str:
    text = times.date_of(value) if type(value) is str else None
    if text is None:
        raise Misfit("not a date")
    return text


def _to_time(kind: str, value: Any) -> str:
    text = times.time_of(value) if type(value) is str else None
    if text is None:
        raise Misfit("not a time of day")
    return text


def _to_uuid(kind: str, value: Any) -> str:
    if type(value) is str and schema.UUID.fullmatch(value.strip()):
        return value.strip().lower()
    raise Misfit("not a UUID")


def _to_cidr(kind: str, value: Any) -> str:
    if type(value) is str and schema.is_address(value.strip()):
        return value.strip().lower()
    raise Misfit("not an IP address or network")


_CAREFUL: dict[str, _One] = {
    "INT": _to_whole,
    "BIGINT": _to_whole,
    "DECIMAL": _to_real,
    "FLOAT": _to_real,
    "VARCHAR": _to_text,
    "BOOLEAN": _to_boolean,
    "TIMESTAMP": _to_timestamp,
    "DATE": _to_date,
    "TIME": _to_time,
    "UUID": _to_uuid,
    "CIDR": _to_cidr,
}


def _check_new(value: Any) -> None:
    """Whether the value could be loaded into any column; raises Misfit."""
    _to_text("VARCHAR", value)


def _json(value: Any) -> str:
    try:
        text = written(value).decode()
    except TypeError as error:
        raise Misfit(str(error)) from None
    # The serialiser writes null for NaN; no parser gives us one, but a connector might.
    if "null" in text and _holds_nan(value):
        raise Misfit("NaN or an infinity inside")
    return text


def _holds_nan(value: Any) -> bool:
    if type(value) is float:
        return not math.isfinite(value)
    inner = value.values() if type(value) is dict else value if type(value) is list else ()
    return any(map(_holds_nan, inner))


def _short(value: Any) -> str:
    try:
        text = repr(value) if type(value) is float else written(value).decode()
    except TypeError:
        text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


_TIMES = ("TIMESTAMP", "DATE", "TIME")


def _defaults(default_time: str) -> dict[str, str]:
    moment = times.timestamp(default_time)
    if moment is None:
        raise AnyLogError(40, f"{default_time!r} is not a time")
    return {"TIMESTAMP": moment, "DATE": moment[:10], "TIME": moment[11:]}
