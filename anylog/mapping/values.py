"""Values of messages as values of typed columns (ingest.md 4.4, 4.5): a type is read once, then only applied. Pure.

What comes out is JSON that the node can write, load and hash: no NaN, no number that would be rounded in silence, no
text that is not Unicode. Times are UTC; a time without zone is UTC, too (decisions.md 31).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

from attrs import frozen

from anylog.columns import AUTOMATIC
from anylog.errors import AnyLogError
from anylog.mapping import names, schema, times
from anylog.mapping.body import TooWide, written

MOST_TEXT = 256 << 20  # characters in the rows of one message: a list must not multiply a long text beyond measure

_SHORT = 256  # characters of names that are remembered
_SHOWN = 80  # characters of a value in a reason
_WIDEST = 4096  # bits of a whole number that is still shown or kept as digits
_LEAST, _MOST = -(1 << 63), (1 << 64) - 1  # what the serialiser writes as a number
_DEEP = 254  # levels the serialiser goes down


class Unfit(Exception):
    """This value cannot be what it should be; the text says why."""


class Nothing(Unfit):
    """An empty text where a column wants a number, a time or a yes or no: it counts as no value."""


Convert = Callable[[Any], Any]
ConvertAll = Callable[[Sequence[Any]], "Sequence[Any] | None"]


@frozen
class Kind:
    """A type of a column, ready to be applied."""

    name: str  # as declared, lower case
    ledger: str | None  # type of the column in the ledger; None: it is inferred from the values
    convert: Convert  # one value, not null; raises Unfit
    convert_all: ConvertAll  # several values, nulls among them; None: look at each


def kind_of(text: str) -> Kind:
    """The type a topic or policy names, in any letter case. Raises AnyLogError 40 for one that is none of ours."""
    found = _TYPE.fullmatch(" ".join(text.lower().split()))
    name = found[1] if found else ""
    size = found[2] if found else None
    if name in ("char", "character"):
        ledger = f"CHAR({int(size or 1)})"
        if size is None or 0 < int(size) <= 10_000_000:
            return Kind(text.lower(), ledger, to_text, _texts)
    unified = _UNIFIED.get(name)
    if unified is None or (size is not None and unified not in ("VARCHAR", "FLOAT")):
        raise AnyLogError(40, f"{text[:_SHOWN]!r} is not a type of a column")
    if unified == "byte":
        return Kind(name, "CHAR(1)", to_text, _texts)
    if unified == "none":
        return Kind(name, None, as_it_is, _never)
    convert, convert_all = _WORK[unified]
    return Kind(name, unified, convert, convert_all)


def column_name(attribute: str) -> str:
    """The column of an attribute (ingest.md 1.3). Raises AnyLogError 40 for what cannot be a name."""
    return _column(attribute) if len(attribute) < _SHORT else names.column(attribute)


def declared_column(name: str) -> str:
    """The same of a column that somebody declares. Raises AnyLogError 40 also for one that every table has."""
    column = column_name(name)
    if column in AUTOMATIC:
        raise AnyLogError(40, f"'{column}' is a column that the node fills itself")
    return column


_column = lru_cache(4096)(names.column)  # of short names only: blanks round a name may be many


def known_kind(text: str) -> Kind:
    """As `kind_of`, for types that messages name again and again."""
    return _kind(text) if len(text) < _SHORT else kind_of(text)


_kind = lru_cache(1024)(kind_of)


def place_name(name: str, what: str) -> str:
    """The name of a database or table that a message gives, as `names.normalise` spells it; AnyLogError 40 likewise."""
    return _normalised(name, what) if len(name) < _SHORT else names.normalise(name, what)


_normalised = lru_cache(4096)(names.normalise)


def weight(values: Iterable[Any]) -> int:
    """About how many characters values have that may be long; 0 for what has no JSON, which is refused elsewhere."""
    size = 0
    for value in values:
        if type(value) is str:
            size += len(value)
        elif type(value) is list or type(value) is dict:
            try:
                size += len(written(value))
            except (TypeError, ValueError, RecursionError):
                continue
    return size


def instant(now: float) -> str:
    """Seconds since 1970 as the text that is stored. Raises AnyLogError 40 beyond the years 1 to 9999."""
    moment = times.epoch(now)
    if moment is None:
        raise AnyLogError(40, f"{now!r} is not a time")
    return iso(moment)


def iso(moment: str) -> str:
    """`YYYY-MM-DD HH:MM:SS.ffffff` in UTC as `YYYY-MM-DDTHH:MM:SS[.ffffff]Z`."""
    end = 19 if moment.endswith(".000000") else 26
    return f"{moment[:10]}T{moment[11:end]}Z"


def short(value: Any) -> str:
    """A value for a reason: its JSON, or what Python shows of it, cut."""
    try:
        text = repr(value) if type(value) is float else written(value).decode()
    except (TypeError, ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def text_of(value: Any) -> str:
    """Any JSON value as text: yes and no in lower case, lists and objects as JSON, null as nothing. Raises Unfit."""
    return "" if value is None else to_text(value)


def to_text(value: Any) -> str:
    """A value of a VARCHAR or CHAR column."""
    sort = type(value)
    if sort is str:
        if not value.isascii():
            _check_unicode(value)
        return str(value)
    if sort is bool:
        return "true" if value else "false"
    if sort is float:
        _check_finite(value)
        return repr(value)
    if sort is int:
        return str(_shown_whole(value))
    if sort is TooWide:
        return str(value.digits)
    if sort is dict or sort is list:
        return _json(value).decode()
    raise Unfit(f"a {sort.__name__} is no JSON value")


def as_it_is(value: Any) -> Any:
    """A value whose type is inferred: the same value, if it can be written as JSON at all."""
    sort = type(value)
    if sort is str:
        if not value.isascii():
            _check_unicode(value)
    elif sort is int:
        if not _LEAST <= value <= _MOST:
            return TooWide(str(_shown_whole(value)))
    elif sort is float:
        _check_finite(value)
    elif sort is dict or sort is list:
        _json(value)
    elif sort is not bool and sort is not TooWide and value is not None:
        raise Unfit(f"a {sort.__name__} is no JSON value")
    return value


def to_number(value: Any) -> int | float:
    """A value of a FLOAT column; texts that spell a number are one, and true is 1."""
    sort = type(value)
    if sort is str:
        text = value.strip()
        if not text:
            raise Nothing("an empty text is no number")
        if schema.WHOLE.fullmatch(text):
            value = int(text) if len(text) <= 20 else TooWide(text)
        elif len(text) <= 400 and schema.REAL.fullmatch(text):
            value = float(text)
        else:
            raise Unfit("not a number")
        sort = type(value)
    if sort is float:
        _check_finite(value)
        return float(value)
    if sort is bool:
        return int(value)
    if sort is int and -schema.MOST_BIGINT - 1 <= value <= schema.MOST_BIGINT:
        return int(value)
    if sort is int or sort is TooWide:
        raise Unfit("a number beyond 64 bits")
    raise Unfit("not a number")


def to_whole(value: Any) -> int | float:
    """A value of an INT or BIGINT column. A number with a fraction stays one: it widens the column."""
    number = to_number(value)
    if type(number) is float and number.is_integer():
        if not -schema.MOST_BIGINT - 1 <= number <= schema.MOST_BIGINT:
            raise Unfit("a number beyond 64 bits")
        return int(number)
    return number


def to_boolean(value: Any) -> bool:
    """A value of a BOOLEAN column: true, false, 1, 0, or the text of one of them."""
    if type(value) is bool:
        return value
    if type(value) is int and value in (0, 1):
        return value == 1
    if type(value) is str:
        word = value.strip().lower()
        if not word:
            raise Nothing("an empty text is neither true nor false")
        if word in ("true", "1"):
            return True
        if word in ("false", "0"):
            return False
    raise Unfit("neither true nor false")


def to_timestamp(value: Any) -> str:
    """A value of a TIMESTAMP column (ingest.md 4.5)."""
    if type(value) is str and _STORED.fullmatch(value):
        return value
    moment = times.timestamp_of(value)
    if moment is None:
        if type(value) is str and not value.strip():
            raise Nothing("an empty text is no time")
        raise Unfit("not a time")
    return iso(moment)


def _to_date(value: Any) -> str:
    return _spelled(value, times.date_of, "a date")


def _to_time(value: Any) -> str:
    return _spelled(value, times.time_of, "a time of day")


def _to_uuid(value: Any) -> str:
    return _spelled(value, lambda text: text.strip().lower() if schema.UUID.fullmatch(text.strip()) else None, "a UUID")


def _spelled(value: Any, read: Callable[[str], str | None], what: str) -> str:
    if type(value) is str:
        if not value.strip():
            raise Nothing(f"an empty text is not {what}")
        found = read(value)
        if found is not None:
            return found
    raise Unfit(f"not {what}")


# Several values at once, for those that need no second look.


def _texts(values: Sequence[Any]) -> Sequence[Any] | None:
    plain = set(map(type, values)) <= _TEXT and all(each is None or each.isascii() for each in values)
    return values if plain else None


def _wholes(values: Sequence[Any]) -> Sequence[Any] | None:
    most = schema.MOST_BIGINT
    return values if set(map(type, values)) == {int} and -most <= min(values) and max(values) <= most else None


def _numbers(values: Sequence[Any]) -> Sequence[Any] | None:
    kinds = set(map(type, values))
    # NaN and infinities show in the sum.
    if kinds == {float}:
        return values if math.isfinite(sum(values)) else None
    return _wholes(values)


def _booleans(values: Sequence[Any]) -> Sequence[Any] | None:
    return values if set(map(type, values)) <= {bool, type(None)} else None


def _timestamps(values: Sequence[Any]) -> Sequence[Any] | None:
    if len(values) < 6 or set(map(type, values)) != {str}:
        return None
    text = "\n".join(values)
    stored = text.replace(".000000Z", "Z")
    if _STORED_LINES.fullmatch(stored) and stored.count("\n") == len(values) - 1:
        return values if stored == text else stored.split("\n")
    moments = times.timestamps(values)
    if moments is None:
        return None
    first = values[0]
    shape = len(first) if first[10] == "T" and first[-1] == "Z" else 0
    if shape in (20, 27) and set(map(len, values)) == {shape}:  # all have one shape, which is ours
        return values if len(first) == 20 else [f"{v[:19]}Z" if v[20:26] == "000000" else v for v in values]
    return [iso(each) for each in moments]


def _never(values: Sequence[Any]) -> None:
    return None


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Unfit("a text with half a character") from None


def _check_finite(number: float) -> None:
    if not math.isfinite(number):
        raise Unfit("not a finite number")


def _shown_whole(number: int) -> int:
    if number.bit_length() > _WIDEST:
        raise Unfit("a number of more than a thousand digits")
    return number


def _json(value: Any) -> bytes:
    """The JSON of a list or an object; raises Unfit for what has none, such as one too deep."""
    try:
        text = written(value)
    except (TypeError, ValueError, RecursionError):
        raise Unfit(f"cannot be written as JSON (deeper than {_DEEP} levels, or not all of it is JSON)") from None
    # The serialiser writes null for NaN.
    if b"null" in text and _holds_nan(value):
        raise Unfit("not a finite number inside")
    return text


def _holds_nan(value: Any) -> bool:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if type(each) is float:
            if not math.isfinite(each):
                return True
        elif type(each) is dict:
            waiting.extend(each.values())
        elif type(each) is list:
            waiting.extend(each)
    return False


# Times as they are stored, of days that every month has: what needs no second look.
_STORED_TEXT = (
    r"(?!0000)[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])"
    r"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.(?!000000)[0-9]{6})?Z"
)
_STORED = re.compile(_STORED_TEXT)
_STORED_LINES = re.compile(f"{_STORED_TEXT}(?:\n{_STORED_TEXT})*")
_TEXT = {str, type(None)}
_TYPE = re.compile(r"([a-z][a-z0-9 ]*?) ?(?:\( ?([0-9]{1,9})(?: ?, ?[0-9]{1,9})? ?\))?")
_UNIFIED: dict[str, str] = {
    **dict.fromkeys(("str", "string", "varchar", "char varying", "character varying", "bytestring"), "VARCHAR"),
    **dict.fromkeys(("nodeid", "expandednodeid", "qualifiedname", "qualifiedmame", "localizedtext"), "VARCHAR"),
    **dict.fromkeys(("variant", "datavalue", "diagnosticinfo"), "VARCHAR"),
    **dict.fromkeys(("int", "integer", "int16", "uint16", "int32", "uint32", "sbyte", "statuscode"), "INT"),
    **dict.fromkeys(("int64", "uint64", "bigint"), "BIGINT"),
    **dict.fromkeys(("float", "float64", "double", "decimal", "numeric"), "FLOAT"),
    **dict.fromkeys(("bool", "boolean"), "BOOLEAN"),
    **dict.fromkeys(("timestamp", "datetime"), "TIMESTAMP"),
    **{"date": "DATE", "time": "TIME", "uuid": "UUID", "byte": "byte", "nonetype": "none"},
}
_WORK: dict[str, tuple[Convert, ConvertAll]] = {
    "VARCHAR": (to_text, _texts),
    "INT": (to_whole, _wholes),
    "BIGINT": (to_whole, _wholes),
    "FLOAT": (to_number, _numbers),
    "BOOLEAN": (to_boolean, _booleans),
    "TIMESTAMP": (to_timestamp, _timestamps),
    "DATE": (_to_date, _never),
    "TIME": (_to_time, _never),
    "UUID": (_to_uuid, _never),
}
