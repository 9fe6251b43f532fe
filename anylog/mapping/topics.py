"""Topics of message clients: `topic = ( ... )` read once (ingest.md 4.1), then applied to each message (4.3). Pure.

A message that cannot be mapped is AnyLogError 6 naming the column, its path and why; nothing of it is stored then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any, NamedTuple, Protocol

from attrs import field, frozen

from anylog.errors import AnyLogError
from anylog.language.dictionary import Scope
from anylog.language.tokens import Kind as TokenKind
from anylog.language.tokens import Token, tokens_of
from anylog.language.where import split_pairs, value_text
from anylog.mapping import names
from anylog.mapping.bring import MISSING, Bring, Each, is_bring
from anylog.mapping.columns import Column, fault
from anylog.mapping.parts import ROWS, Parts, at_once
from anylog.mapping.values import (
    MOST_TEXT,
    Kind,
    Unfit,
    place_name,
    short,
    text_of,
    weight,
)


class Mapped(NamedTuple):
    """Rows for one table."""

    dbms: str  # normalised, as all names here
    table: str
    rows: list[dict[str, Any]]
    source: str = "0"  # id of the data source
    policy: str = "0"  # id of the mapping policy that made them: the `instructions` of the file


class Mapper(Protocol):
    """A mapping or transform policy, compiled."""

    def parts(
        self, message: Any, now: float, *, dbms: str | None = None, table: str | None = None
    ) -> Parts[list[Mapped]]: ...


@frozen
class Place:
    """Where rows go: the name of a database or a table, fixed or found in the message."""

    what: str  # "database" or "table"
    text: str  # as declared
    name: str | None  # the normalised name, if it is fixed
    bring: Bring | None

    @classmethod
    def read(cls, what: str, text: str) -> Place:
        """Raises AnyLogError 2 or 40 naming what cannot be read."""
        if is_bring(text):
            return cls(what, text, None, Bring.read(text))
        return cls(what, text, names.normalise(text, what), None)

    def of(self, message: Any) -> str | Each:
        """The name, or one for each entry of a list. Raises AnyLogError 6 if there is none."""
        if self.bring is None:
            assert self.name is not None
            return self.name
        try:
            found = self.bring.find(message)
            if type(found) is Each:
                return Each([self._spelled(each) for each in found])
            return self._spelled(found)
        except Unfit as why:
            raise fault(f"the {self.what}", self.text, str(why)) from None
        except AnyLogError as why:
            raise fault(f"the {self.what}", self.text, str(why)) from None

    def one(self, message: Any) -> str:
        """The name, where only one makes sense; raises AnyLogError 6 if there is none or a list of them."""
        found = self.of(message)
        if isinstance(found, Each):
            raise fault(f"the {self.what}", self.text, "a list of names where one is needed")
        return found

    def _spelled(self, found: Any) -> str:
        if found is MISSING or found is None or found == "":
            raise Unfit("no value")
        if isinstance(found, dict | list):
            raise Unfit(f"no name: {short(found)}")
        return place_name(text_of(found), self.what)


@frozen
class Columns:
    """The mapping of a topic that declares its columns itself."""

    dbms: Place
    table: Place
    columns: tuple[Column, ...]
    _flat: Callable[[dict[str, Any]], Mapped | None] | None = field(init=False, eq=False, repr=False)
    _even: Callable[[Sequence[Any], float], list[dict[str, Any]] | None] | None = field(
        init=False, eq=False, repr=False
    )

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_flat", _flat(self.dbms, self.table, self.columns))
        object.__setattr__(self, "_even", _even(self.columns) if self.dbms.name and self.table.name else None)

    @property
    def types(self) -> dict[str, str]:
        """Column -> ledger type, of those whose type is fixed: the schema of a table that does not exist yet."""
        return {each.name: each.kind.ledger for each in self.columns if each.kind is not None and each.kind.ledger}

    def apply(self, message: Any, now: float) -> list[Mapped]:
        """The rows of a message (parsed JSON), table by table; `now` in seconds since 1970.

        Raises AnyLogError 6 naming the column, its path and why: then nothing of the message may be stored.
        """
        if type(message) is dict and self._flat is not None:
            quick = self._flat(message)
            if quick is not None:
                return [quick]
        return at_once(self._parts(message, now))

    def parts(self, message: Any, now: float) -> Parts[list[Mapped]]:
        """As `apply`, in parts."""
        if type(message) is dict and self._flat is not None:
            quick = self._flat(message)
            if quick is not None:
                return [quick]
        return (yield from self._parts(message, now))

    def _parts(self, message: Any, now: float) -> Parts[list[Mapped]]:
        found: list[Any] = []
        for column in self.columns:
            found.append(column.found(message, now))
            if type(found[-1]) is Each:
                yield len(found[-1])
        dbms, table = self.dbms.of(message), self.table.of(message)
        kinds = [column.kinds(message) for column in self.columns]
        sizes = {len(each) for each in (*found, dbms, table) if type(each) is Each}
        if not sizes:
            assert isinstance(dbms, str) and isinstance(table, str)
            return [Mapped(dbms, table, [self._row(found, kinds, now)])]
        if len(sizes) > 1:
            raise self._uneven(found, dbms, table)
        rows = yield from self._rows(found, kinds, sizes.pop(), now)
        return _by_table(dbms, table, rows)

    def together(self, messages: Sequence[Any], now: float) -> Mapped | None:
        """What `apply` makes of each, one row a message; None if any of them needs a look of its own, or all do."""
        rows = self._even(messages, now) if self._even is not None else None
        if rows is None:
            return None
        assert self.dbms.name is not None and self.table.name is not None
        return Mapped(self.dbms.name, self.table.name, rows)

    def _row(self, found: Sequence[Any], kinds: Sequence[Kind | list[Kind]], now: float) -> dict[str, Any]:
        row = {}
        for column, value, kind in zip(self.columns, found, kinds, strict=True):
            if not isinstance(kind, Kind):
                raise fault(f"the type of {column.what}", column.path, "a list of types for one value")
            done = value if column.bring is None and column.kind is not None else column.value(value, kind, now)
            if done is not MISSING:
                row[column.name] = done
        if not row:
            raise AnyLogError(6, "none of the columns has a value")
        return row

    def _rows(
        self, found: Sequence[Any], kinds: Sequence[Kind | list[Kind]], size: int, now: float
    ) -> Parts[list[dict[str, Any]]]:
        every: list[Sequence[Any]] = []
        repeated = 0
        for column, value, kind in zip(self.columns, found, kinds, strict=True):
            if not isinstance(kind, Kind) and len(kind) != size:
                raise fault(f"the type of {column.what}", column.path, f"{len(kind)} types for {size} rows")
            if type(value) is Each:
                every.append((yield from column.values(value, kind, now)))
                continue
            if isinstance(kind, Kind) and (column.bring is not None or column.kind is None):
                value = column.value(value, kind, now)
            repeated += weight((value,)) * size
            if repeated > MOST_TEXT:
                raise fault(column.what, column.path, f"too long a value for {size:,} rows: {short(value)}")
            if isinstance(kind, Kind):
                every.append([value] * size)
            else:
                every.append((yield from column.values(Each([value] * size), kind, now)))
        titles = [column.name for column in self.columns]
        gaps = any(column.optional for column in self.columns)
        rows: list[dict[str, Any]] = []
        lines = zip(*every, strict=True)
        while some := [dict(zip(titles, values, strict=True)) for values in islice(lines, ROWS)]:
            if gaps:
                some = [{name: value for name, value in row.items() if value is not MISSING} for row in some]
                if not all(some):
                    place = len(rows) + some.index({}) + 1
                    raise AnyLogError(6, f"none of the columns has a value (entry {place} of the list)")
            rows += some
            yield len(some)
        return rows

    def _uneven(self, found: Sequence[Any], dbms: Any, table: Any) -> AnyLogError:
        sized = [(column.what, column.path, each) for column, each in zip(self.columns, found, strict=True)]
        sized += [("the database", self.dbms.text, dbms), ("the table", self.table.text, table)]
        lists = [(what, path, len(each)) for what, path, each in sized if type(each) is Each]
        first = lists[0]
        what, path, size = next(each for each in lists if each[2] != first[2])
        return fault(what, path, f"a list of {size} values, that of {first[0]} has {first[2]}")


def _flat(dbms: Place, table: Place, columns: Sequence[Column]) -> Callable[[dict[str, Any]], Mapped | None] | None:
    """How most messages are mapped: an object whose attributes become columns, one by one. None if this one is not so.

    What it makes is None for a message that is not as most are; that is looked at in full, and has its reason there.
    """
    taken: list[tuple[str, str, Callable[[Any], Any]]] = []
    for column in columns:
        if column.bring is None or not column.bring.plain or column.kind is None:
            return None
        taken.append((column.name, column.bring.plain, column.kind.convert))
    places: list[tuple[str, str, str]] = []
    for place in (dbms, table):
        if place.bring is not None and not place.bring.plain:
            return None
        places.append((place.name or "", place.bring.plain if place.bring else "", place.what))
    (base, base_key, base_what), (name, name_key, name_what) = places

    def flat(message: dict[str, Any]) -> Mapped | None:
        try:
            row = {}
            for column, key, convert in taken:
                value = message[key]
                row[column] = None if value is None else convert(value)
            into, under = base, name
            if base_key:
                into = message[base_key]
                if type(into) is not str or not into:
                    return None
                into = place_name(into, base_what)
            if name_key:
                under = message[name_key]
                if type(under) is not str or not under:
                    return None
                under = place_name(under, name_what)
            return Mapped(into, under, [row])
        except (KeyError, Unfit, AnyLogError):
            return None

    return flat


def _even(columns: Sequence[Column]) -> Callable[[Sequence[Any], float], list[dict[str, Any]] | None] | None:
    """How many messages that are all as most are, see `_flat`, are mapped: column by column. None if these are not."""
    sources: list[tuple[Column, Kind, int]] = []  # with their place among what is taken from a message
    keys: list[str] = []
    for column in columns:
        if column.kind is None or (column.bring is not None and not column.bring.plain):
            return None
        sources.append((column, column.kind, len(keys)))
        if column.bring is not None:
            keys.append(column.bring.plain)
    if not keys:
        return None
    titles = [column.name for column in columns]
    take, gaps = itemgetter(*keys), any(column.optional for column in columns)

    def even(messages: Sequence[Any], now: float) -> list[dict[str, Any]] | None:
        if set(map(type, messages)) != {dict}:
            return None
        try:
            if gaps:
                found: list[Sequence[Any]] = [[message.get(key, MISSING) for message in messages] for key in keys]
            else:
                taken = map(take, messages) if len(keys) > 1 else ((take(message),) for message in messages)
                found = list(zip(*taken, strict=True))
            values: list[Sequence[Any]] = []
            for column, kind, place in sources:
                if column.bring is None:
                    values.append([column.found(None, now)] * len(messages))
                    continue
                some = found[place]
                if column.optional and MISSING in some:
                    there = iter(_converted(kind, [each for each in some if each is not MISSING]))
                    values.append([MISSING if each is MISSING else next(there) for each in some])
                else:
                    values.append(_converted(kind, some))
        except (KeyError, Unfit, AnyLogError):
            return None
        rows = [dict(zip(titles, line)) for line in zip(*values)]  # noqa: B905 (they are as long as the messages)
        if gaps:
            rows = [{name: value for name, value in row.items() if value is not MISSING} for row in rows]
        return rows if all(rows) else None

    return even


def _converted(kind: Kind, values: Sequence[Any]) -> Sequence[Any]:
    done = kind.convert_all(values) if values else ()
    return [None if each is None else kind.convert(each) for each in values] if done is None else done


def _by_table(dbms: str | Each, table: str | Each, rows: list[dict[str, Any]]) -> list[Mapped]:
    """Rows under the database and table of each, in the order in which these come first."""
    if not rows:
        return []
    if isinstance(dbms, str) and not isinstance(table, Each):
        return [Mapped(dbms, table, rows)]
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    bases = dbms if isinstance(dbms, Each) else [dbms] * len(rows)
    tables = table if isinstance(table, Each) else [table] * len(rows)
    for base, name, row in zip(bases, tables, rows, strict=True):
        found.setdefault((base, name), []).append(row)
    return [Mapped(base, name, some) for (base, name), some in found.items()]


@frozen
class Topic:
    """One `topic = ( ... )` of a message client."""

    name: str  # the filter
    qos: int | None = None  # None: that of the client
    mapping: Columns | None = None  # None: policies map it, or nothing does
    policies: tuple[str, ...] = ()  # ids
    dbms: Place | None = None
    table: Place | None = None
    persist: bool = False  # the text of each message goes to a file (`persist`, `flush`)
    dynamic: bool = False
    only_log: bool = False
    table_prefix: str = ""
    name_as_table: bool = False

    def apply(self, message: Any, now: float, policies: Sequence[Mapper] = ()) -> list[Mapped]:
        """The rows of a message (parsed JSON) by its own columns, or by the `policies` it names, compiled, in order.

        `now` is in seconds since 1970. Raises AnyLogError 6 as soon as one of them cannot map it: then nothing of the
        message may be stored.
        """
        if self.mapping is not None:
            return self.mapping.apply(message, now)
        return at_once(self.parts(message, now, policies))

    def parts(self, message: Any, now: float, policies: Sequence[Mapper] = ()) -> Parts[list[Mapped]]:
        """As `apply`, in parts."""
        if self.mapping is not None:
            return (yield from self.mapping.parts(message, now))
        dbms = None if self.dbms is None else self.dbms.one(message)
        table = None if self.table is None else self.table.one(message)
        mapped: list[Mapped] = []
        for policy in policies:
            mapped += yield from policy.parts(message, now, dbms=dbms, table=table)
        return mapped


# The text of the option.

_KEYS = ("name", "qos", "dbms", "table", "policy", "persist", "flush", "dynamic", "table_prefix", "table_name_as_topic")
_COLUMN_KEYS = ("type", "value", "optional", "default")


def read_topic(text: str, scope: Scope, *, only_log: bool = False) -> Topic:
    """What stands after `topic =`: `( name = ... and ... )`, or the bare name of one whose messages are only logged.

    `only_log` is the option of the client: dbms, table and columns may be left out then. Raises AnyLogError 2 or 40
    naming what is wrong.
    """
    if not text.strip().startswith("("):
        name = _plain(text)
        if not name or "=" in name:
            raise AnyLogError(2, f"a topic is written ( name = ... and ... ), not '{text[:80]}'")
        return Topic(name, only_log=True)
    tokens = tokens_of(text)
    if len(tokens) != 1:
        raise AnyLogError(2, f"a topic is written ( name = ... and ... ), not '{text[:80]}'")
    given: dict[str, list[str]] = {}
    columns: dict[str, Column] = {}
    for key, value in _pairs(tokens_of(tokens[0].text[1:-1])):
        if key.lower().startswith("column."):
            column = _column(key[len("column.") :], value, scope)
            if column.name in columns:
                raise AnyLogError(2, f"{column.what} is declared twice")
            columns[column.name] = column
        elif key.lower() not in _KEYS:
            raise AnyLogError(2, f"no key '{key[:80]}' in a topic; there are {', '.join(_KEYS)} and column.<name>")
        else:
            given.setdefault(key.lower(), []).append(_plain(value_text(value, scope)))
    return _topic(given, tuple(columns.values()), only_log)


def _topic(given: Mapping[str, list[str]], columns: tuple[Column, ...], only_log: bool) -> Topic:
    for key, texts in given.items():
        if len(texts) > 1 and key != "policy":
            raise AnyLogError(2, f"'{key}' is given twice in a topic")
        if "" in texts:
            raise AnyLogError(2, f"'{key}' of the topic is empty")
    one = {key: texts[0] for key, texts in given.items()}
    if "name" not in one:
        raise AnyLogError(2, "a topic needs a 'name'")
    what = f"topic '{one['name'][:80]}'"
    qos = one.get("qos")
    if qos is not None and qos not in ("0", "1", "2"):
        raise AnyLogError(40, f"{what}: '{qos[:80]}' is not a value for 'qos', which is 0, 1 or 2")
    dbms = Place.read("database", one["dbms"]) if "dbms" in one else None
    table = Place.read("table", one["table"]) if "table" in one else None
    policies = tuple(given.get("policy", ()))
    persist = _flag(one, "persist") or _flag(one, "flush")
    dynamic = _flag(one, "dynamic")
    modes = [name for name, on in (("policy", policies), ("persist", persist), ("dynamic", dynamic)) if on]
    if len(modes) > 1:
        raise AnyLogError(2, f"{what}: '{modes[0]}' and '{modes[1]}' exclude one another")
    if modes and columns:
        raise AnyLogError(2, f"{what}: with '{modes[0]}' it has no columns of its own")
    if dynamic and dbms is None:
        raise AnyLogError(2, f"{what}: 'dynamic' needs a 'dbms'")
    mapping = None
    if not modes and (columns or not only_log):
        missing = [name for name, there in (("dbms", dbms), ("table", table), ("column", columns)) if not there]
        if missing or dbms is None or table is None:
            raise AnyLogError(2, f"{what}: without a policy it needs '{missing[0]}'")
        mapping = Columns(dbms, table, columns)
    return Topic(
        one["name"],
        None if qos is None else int(qos),
        mapping,
        policies,
        dbms,
        table,
        persist,
        dynamic,
        only_log,
        one.get("table_prefix", ""),
        _flag(one, "table_name_as_topic"),
    )


def _pairs(tokens: Sequence[Token]) -> list[tuple[str, tuple[Token, ...]]]:
    """Keys and values; `flush` may stand alone."""
    parts: list[list[Token]] = [[]]
    for token in tokens:
        if token.is_word("and"):
            parts.append([])
        else:
            parts[-1].append(token)
    pairs: list[tuple[str, tuple[Token, ...]]] = []
    for place, part in enumerate(parts):
        if not part:
            if place + 1 == len(parts) and place:
                continue  # an `and` after the last pair
            raise AnyLogError(2, "a 'key = value' is missing in the topic")
        if len(part) == 1 and part[0].is_word("flush", "persist"):
            pairs.append((part[0].text.lower(), (Token(TokenKind.WORD, "true", 0, 0),)))
        else:
            pairs += [(pair.key, pair.value) for pair in split_pairs(part)]
            _check_value(*pairs[-1])
    return pairs


def _check_value(key: str, value: Sequence[Token]) -> None:
    """A second `=` belongs to `separator`, or an `and` is missing before it."""
    for place, token in enumerate(value):
        if token.is_operator("=") and not (place and value[place - 1].is_word("separator")):
            raise AnyLogError(2, f"a second '=' in the value of '{key[:80]}': is an 'and' missing?")


def _column(rest: str, value: Sequence[Token], scope: Scope) -> Column:
    """`name.type = value` or `name = ( type = t and value = v and optional = o and default = d )`."""
    if len(value) == 1 and value[0].kind is TokenKind.GROUP:
        name = _plain(rest)
        given: dict[str, str] = {}
        for pair in split_pairs(tokens_of(value[0].text[1:-1])):
            key = pair.key.lower()
            if key not in _COLUMN_KEYS:
                raise AnyLogError(2, f"column '{name[:80]}': no key '{pair.key[:80]}', only {', '.join(_COLUMN_KEYS)}")
            if key in given:
                raise AnyLogError(2, f"column '{name[:80]}': '{key}' is given twice")
            given[key] = _plain(value_text(pair.value, scope))
        for key in ("type", "value"):
            if key not in given:
                raise AnyLogError(2, f"column '{name[:80]}': '{key}' is missing")
        optional, default = _flag(given, "optional"), given.get("default")
        return Column.read(name, given["type"], given["value"], optional=optional, default=default)
    name, dot, kind = rest.rpartition(".")
    if not dot or not name:
        raise AnyLogError(2, f"column '{rest[:80]}': no type; write column.<name>.<type> = value")
    return Column.read(_plain(name), kind, _plain(value_text(value, scope)))


def _plain(text: str) -> str:
    """A text without the quotes round it."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'`" and text[0] not in text[1:-1]:
        return text[1:-1]
    return text


def _flag(given: Mapping[str, str], key: str) -> bool:
    text = given.get(key, "false").lower()
    if text not in ("true", "false"):
        raise AnyLogError(40, f"'{text[:80]}' is not a value for '{key}', which is true or false")
    return text == "true"
