"""Transform policies: attributes of one flat object, spread over many tables by their names (ingest.md 5.1). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from anylog.columns import AUTOMATIC
from anylog.errors import AnyLogError
from anylog.mapping.bring import MISSING, Bring, is_bring, named
from anylog.mapping.columns import fault
from anylog.mapping.parts import ROWS, Parts, at_once
from anylog.mapping.topics import Mapped
from anylog.mapping.values import (
    MOST_TEXT,
    Kind,
    Nothing,
    Unfit,
    as_it_is,
    column_name,
    declared_column,
    instant,
    kind_of,
    place_name,
    short,
    to_text,
    weight,
)

LONGEST = 256  # characters of a name that is matched: the pattern is somebody's own, and may be slow
_GROUP = re.compile(r"re\.group\(\s*([0-9]{1,2})\s*\)")

Named = Callable[["re.Match[str] | None"], "str | None"]


@frozen
class Static:
    """A column of the schema, the same for all attributes of a row."""

    column: str
    kind: Kind
    text: Named | None  # a literal, with groups of the attribute's name
    bring: Bring | None
    path: str
    default: Any  # converted already, MISSING, or the text "now()"
    fixed: Any = MISSING  # a literal that is no text

    def value(self, policy: str, message: Any, found: re.Match[str] | None, now: float) -> Any:
        """Raises AnyLogError 6 if there is none."""
        value: Any = MISSING
        try:
            if self.fixed is not MISSING:
                return self.fixed
            if self.text is not None:
                text = self.text(found)
                value = MISSING if text is None else instant(now) if text.lower() in ("now", "now()") else text
            elif self.bring is not None:
                value = self.bring.find(message)
            else:
                value = named(self.path)(message)
            if value is None:
                return None
            if value is MISSING:
                raise Nothing("no value")
            return self.kind.convert(value)
        except Unfit as why:
            if self.default is not MISSING and (isinstance(why, Nothing) or self.kind.ledger == "TIMESTAMP"):
                return instant(now) if self.default == "now()" else self.default
            seen = "" if value is MISSING else f": {short(value)}"
            raise fault(f"policy '{policy}', column '{self.column}'", self.path, f"{why}{seen}") from None


@frozen
class Transform:
    """A transform policy, ready to be applied."""

    ident: str
    pattern: re.Pattern[str] | None
    dbms: Named
    table: Named
    column: Named
    schema: tuple[Static, ...]  # `id` first, if there is one

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> Transform:
        """The inside of `{"transform": ...}`. Raises AnyLogError 87, 170 without an id, naming what is wrong."""
        ident = body.get("id")
        if not isinstance(ident, str) or not ident:
            raise AnyLogError(170, "a transform policy needs an 'id'")
        try:
            return cls._read(ident, body)
        except AnyLogError as why:
            raise AnyLogError(why.number, f"policy '{ident[:80]}': {why}") from None

    @classmethod
    def _read(cls, ident: str, body: Mapping[str, Any]) -> Transform:
        pattern = None
        text = body.get("re_match")
        if text is not None:
            try:
                pattern = re.compile(text)
            except (re.error, TypeError, RecursionError, OverflowError) as why:
                raise AnyLogError(87, f"'re_match' {short(text)}: {why}") from None
        groups = pattern.groups if pattern else -1
        places: dict[str, Named] = {}
        for key in ("dbms", "table", "column"):
            place = body.get(key)
            if not isinstance(place, str) or not place.strip():
                raise AnyLogError(87, f"'{key}' is missing")
            places[key] = _named(place, key, groups)
        schema = body.get("schema") or {}
        if not isinstance(schema, dict):
            raise AnyLogError(87, "'schema' is an object with columns")
        statics = []
        for name, rule in schema.items():
            try:
                statics.append(_static(name, rule, groups))
            except (AnyLogError, Unfit) as why:
                number = why.number if isinstance(why, AnyLogError) else 87
                raise AnyLogError(number, f"column '{name[:80]}': {why}") from None
        statics.sort(key=lambda each: each.column != "id")
        return cls(ident, pattern, places["dbms"], places["table"], places["column"], tuple(statics))

    def apply(self, message: Any, now: float, *, dbms: str | None = None, table: str | None = None) -> list[Mapped]:
        """The rows of a message (parsed JSON), table by table; attributes whose names do not match are left out.

        `now` is in seconds since 1970; `dbms` and `table` are given by the caller and win. Each entry of a message that
        is a list is a message. Raises AnyLogError 6: then nothing of the message may be stored.
        """
        return at_once(self.parts(message, now, dbms=dbms, table=table))

    def parts(
        self, message: Any, now: float, *, dbms: str | None = None, table: str | None = None
    ) -> Parts[list[Mapped]]:
        """As `apply`, in parts."""
        mapped: dict[tuple[str, str], Mapped] = {}
        for each in message if isinstance(message, list) else [message]:
            if not isinstance(each, dict):
                raise AnyLogError(6, f"policy '{self.ident}': an object is needed, not {short(each)}")
            for base, name, row in (yield from self._rows(each, now, dbms, table)):
                mapped.setdefault((base, name), Mapped(base, name, [], policy=self.ident)).rows.append(row)
        return list(mapped.values())

    def _rows(
        self, message: Mapping[str, Any], now: float, dbms: str | None, table: str | None
    ) -> Parts[list[tuple[str, str, dict[str, Any]]]]:
        rows: dict[tuple[str, str, Any], dict[str, Any]] = {}
        size = 0
        fixed = {each.column for each in self.schema}
        for number, (attribute, value) in enumerate(message.items(), 1):
            found = None
            if number % ROWS == 0:
                yield ROWS
            if type(attribute) is not str:
                raise fault(f"policy '{self.ident}', attribute", short(attribute), "a name is a text")
            if self.pattern is not None:
                found = self.pattern.match(attribute) if len(attribute) <= LONGEST else None
                if found is None:
                    continue
            base = dbms if dbms is not None else self.dbms(found)
            name = table if table is not None else self.table(found)
            title = self.column(found)
            if not base or not name or not title:
                continue
            try:
                base, name = place_name(base, "database"), place_name(name, "table")
                column = column_name(title)
                taken = as_it_is(value)
            except (AnyLogError, Unfit) as why:
                raise fault(f"policy '{self.ident}', attribute", attribute, str(why)) from None
            if column in AUTOMATIC or column in fixed:
                continue
            ident = None
            if self.schema and self.schema[0].column == "id":
                ident = self.schema[0].value(self.ident, message, found, now)
            key = (base, name, to_text(ident) if isinstance(ident, dict | list) else ident)
            row = rows.get(key)
            if row is None:
                row = rows[key] = {}
                for each in self.schema:
                    row[each.column] = ident if each.column == "id" else each.value(self.ident, message, found, now)
                size += weight(row.values())
                if size > MOST_TEXT:
                    raise AnyLogError(6, f"policy '{self.ident}': a long text in each of many rows")
            if column in row:
                raise fault(f"policy '{self.ident}', attribute", attribute, f"another is the column '{column}' already")
            row[column] = taken
        yield len(message) % ROWS
        return [(base, name, row) for (base, name, _), row in rows.items()]


def _named(text: str, what: str, groups: int) -> Named:
    """A literal, or one with groups of the match in it; None where such a group is empty."""
    used = [int(each) for each in _GROUP.findall(text)]
    if any(each > groups for each in used):
        raise AnyLogError(87, f"'{what}' {short(text)}: 're_match' has {max(groups, 0)} groups")
    if not used:
        return lambda found: text

    def name(found: re.Match[str] | None) -> str | None:
        if found is None or not all(found[each] for each in used):
            return None
        return _GROUP.sub(lambda group: str(found[int(group[1])]), text)

    return name


def _static(name: str, rule: Any, groups: int) -> Static:
    if not isinstance(rule, dict):
        raise AnyLogError(87, "an object is needed")
    if not isinstance(rule.get("type"), str):
        raise AnyLogError(87, "'type' is missing")
    kind = kind_of(rule["type"])
    default: Any = MISSING
    if "default" in rule:
        given = rule["default"]
        is_now = isinstance(given, str) and given.strip().lower() in ("now", "now()")
        default = "now()" if is_now else None if given is None or given in ("", "''") else kind.convert(given)
    source = rule.get("bring", rule.get("value"))
    bring = None
    text: Named | None = None
    fixed: Any = MISSING
    if isinstance(source, str):
        if "bring" in rule or is_bring(source):
            bring = Bring.read(source)
        else:
            text = _named(source, "value", groups)
    elif source is not None:
        fixed = kind.convert(source)
    path = name if source is None else source if isinstance(source, str) else short(source)
    return Static(declared_column(name), kind, text, bring, path, default, fixed)
