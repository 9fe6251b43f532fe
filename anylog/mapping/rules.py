"""The schema of a mapping policy, column by column: read once, then asked for each reading (ingest.md 5). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import frozen

from anylog.columns import AUTOMATIC
from anylog.errors import AnyLogError
from anylog.mapping import names, times
from anylog.mapping.bring import MISSING, Bring, Each, Find, is_bring, named
from anylog.mapping.columns import fault
from anylog.mapping.scripts import Does, Script
from anylog.mapping.values import (
    Kind,
    Nothing,
    Unfit,
    as_it_is,
    column_name,
    declared_column,
    instant,
    iso,
    kind_of,
    short,
    text_of,
    to_text,
)

_NOW: Any = type("Now", (), {"__repr__": lambda self: "now()"})()
_PARAM = re.compile(r"\bparams\.([0-9]{1,4})\b")
_SCRIPTED = re.compile(r"__.*__")


@frozen
class Rule:
    """How a column gets its value, for the destinations and readings it is for."""

    column: str
    kind: Kind
    find: Find | None  # None: the value is `literal`
    path: str  # where the value comes from, for reasons
    literal: Any = None  # converted already, or _NOW
    default: Any = MISSING  # converted already, or _NOW
    script: Script | None = None
    root: bool = False
    work: Callable[[Any], Any] | None = None  # `apply`
    dbms: str | None = None
    table: str | None = None
    optional: bool = False

    def value(self, policy: str, reading: Any, message: Any, now: float) -> Any:
        """The value of the column for a reading; MISSING: the row has none. Raises AnyLogError 6."""
        if self.find is None:
            return instant(now) if self.literal is _NOW else self.literal
        found: Any = MISSING
        try:
            found = self.find(message if self.root else reading)
            if found is None:
                return None
            if found is MISSING:
                raise Nothing("no value")
            if type(found) is Each:
                found = self._only(found)
            if self.work is not None:
                found = self.work(found)
            return self.kind.convert(found)
        except Unfit as why:
            if isinstance(why, Nothing) or self.kind.ledger == "TIMESTAMP":
                if self.default is not MISSING:
                    return instant(now) if self.default is _NOW else self.default
                if self.optional:
                    return MISSING
            seen = "" if found is MISSING else f": {short(found)}"
            raise fault(f"policy '{policy}', column '{self.column}'", self.path, f"{why}{seen}") from None

    def _only(self, found: Each) -> Any:
        """A path through a list inside a reading: one value is that value, several are a list."""
        present = [each for each in found if each is not MISSING]
        if not present:
            raise Nothing("no value")
        return present[0] if len(present) == 1 else present


@frozen
class Star:
    """The column `*`: attributes with their own names and the types that their values show."""

    entries: tuple[str, ...]
    script: Script | None
    root: bool

    def add_to(self, row: dict[str, Any], policy: str, reading: Any, taken: frozenset[str]) -> None:
        """Copy what `bring` lists and the reading has into the row; `taken` are columns with rules of their own."""
        if not isinstance(reading, dict):
            return
        for entry in self.entries:
            if entry == "*":
                self._copy(row, policy, reading, "", taken)
                continue
            value = named(entry)(reading)
            if isinstance(value, dict):
                self._copy(row, policy, value, f"{entry}_", taken)
            elif value is not MISSING:
                self._copy(row, policy, {entry: value}, "", taken)

    def _copy(
        self, row: dict[str, Any], policy: str, values: Mapping[str, Any], before: str, taken: frozenset[str]
    ) -> None:
        for attribute, value in values.items():
            try:
                column = column_name(f"{before}{attribute}")
                if column not in taken and column not in row and column not in AUTOMATIC:
                    row[column] = as_it_is(value)
            except (Unfit, AnyLogError) as why:
                raise fault(f"policy '{policy}', column '*'", f"[{str(attribute)[:80]}]", str(why)) from None


@frozen
class Check:
    """An entry `__x__` of a schema: it holds a script and gives no column."""

    script: Script


Entry = tuple[Rule, ...] | Star | Check


def read_script(body: Mapping[str, Any], what: str, refused: Does) -> Script | None:
    """The `condition` or `script` of a rule or policy. Raises AnyLogError 87."""
    given = [key for key in ("condition", "script") if body.get(key)]
    if len(given) == 2:
        raise AnyLogError(87, f"{what} has a 'condition' and a 'script': one of them is enough")
    return Script.read(body[given[0]], f"'{given[0]}' of {what}", refused) if given else None


def read_schema(schema: Mapping[str, Any], params: Sequence[Any]) -> tuple[Entry, ...]:
    """The columns of a schema with one list of params. Raises AnyLogError 87, 40, 2 or 237 naming the column."""
    entries: list[Entry] = []
    seen: set[str] = set()
    for name, given in schema.items():
        if _SCRIPTED.fullmatch(name):
            script = read_script(given, f"'{name}'", Does.SKIP_EVENT) if isinstance(given, dict) else None
            if script is not None:
                entries.append(Check(script))
            continue
        rules = given if isinstance(given, list) else [given]
        if not rules or not all(isinstance(rule, dict) for rule in rules):
            raise AnyLogError(87, f"column '{name[:80]}': an object or a list of objects is needed")
        if name == "*":
            entries += [_star(rule) for rule in rules]
            continue
        try:
            column = declared_column(name)
            read = tuple(_rule(name, column, rule, params) for rule in rules)
        except AnyLogError as why:
            raise AnyLogError(why.number, f"column '{name[:80]}': {why}") from None
        if column in seen:
            raise AnyLogError(87, f"column '{name[:80]}' is in the schema twice")
        seen.add(column)
        entries.append(read)
    return tuple(entries)


def _star(given: Mapping[str, Any]) -> Star:
    if given.get("type", "*") != "*":
        raise AnyLogError(87, "column '*': its type is '*', too")
    bring = given.get("bring")
    listed = [bring] if isinstance(bring, str) else bring
    if not isinstance(listed, list) or not listed or not all(isinstance(each, str) and each for each in listed):
        raise AnyLogError(87, "column '*': 'bring' is a list of attributes, or of '*' for all")
    entries = tuple(re.sub(r"^\[\s*['\"]?(.*?)['\"]?\s*\]$", r"\1", each.strip()) for each in listed)
    return Star(entries, read_script(given, "column '*'", Does.SKIP_ATTRIBUTE), given.get("root") is True)


def _rule(name: str, column: str, given: Mapping[str, Any], params: Sequence[Any]) -> Rule:
    kind = given.get("type")
    if not isinstance(kind, str):
        raise AnyLogError(87, "'type' is missing")
    if kind.strip() == "*":
        raise AnyLogError(87, "the type '*' is of the column '*' alone")
    if given.get("blob"):
        _refuse_blob()
    typed = kind_of(kind)
    find, path, literal = _where(name, column, given, params, typed)
    return Rule(
        column,
        typed,
        find,
        path,
        literal,
        _default(given["default"], params, typed) if "default" in given else MISSING,
        read_script(given, "the column", Does.SKIP_ATTRIBUTE),
        given.get("root") is True,
        _applied(given.get("apply")),
        _only_for(given, "dbms", "database"),
        _only_for(given, "table", "table"),
        given.get("optional") is True,
    )


def _refuse_blob() -> None:
    """Blobs (ingest.md 6) begin here: a rule with `blob` would hand its value on to be stored, and keep its name."""
    raise AnyLogError(237, "blobs in messages are not in this build")


def _where(
    name: str, column: str, given: Mapping[str, Any], params: Sequence[Any], kind: Kind
) -> tuple[Find | None, str, Any]:
    """How the value is found, in words too, or the literal it is."""
    for key in ("bring", "value"):
        if key not in given or given[key] is None:
            continue
        source = _with_params(given[key], params)
        if isinstance(source, str) and (key == "bring" or is_bring(source)):
            bring = Bring.read(source)
            return bring.find, bring.text, None
        if key == "bring":
            raise AnyLogError(87, f"'bring' is a path such as [a][b], not {short(source)}")
        return None, short(source), _converted(source, kind, "value")
    return _by_name(name, column), f"[{name[:80]}]", None


def _by_name(name: str, column: str) -> Find:
    """The attribute called like the column: exactly, in any letter case, or by its normalised name (ingest.md 1.3)."""
    exact = named(name)

    def find(reading: Any) -> Any:
        found = exact(reading)
        if found is MISSING and isinstance(reading, dict):
            for attribute, value in reading.items():
                try:
                    if type(attribute) is str and column_name(attribute) == column:
                        return value
                except AnyLogError:
                    continue
        return found

    return find


def _with_params(given: Any, params: Sequence[Any]) -> Any:
    """`params.N` replaced, N from 0; a text that is nothing else becomes the value itself."""
    if not isinstance(given, str) or "params." not in given:
        return given
    places = [int(each) for each in _PARAM.findall(given)]
    if any(place >= len(params) for place in places):
        raise AnyLogError(87, f"'{given[:80]}': there are {len(params)} params, the first is params.0")
    whole = _PARAM.fullmatch(given.strip())
    if whole:
        return params[int(whole[1])]
    try:
        return _PARAM.sub(lambda found: text_of(params[int(found[1])]), given)
    except Unfit as why:
        raise AnyLogError(87, f"'{given[:80]}': {why}") from None


def _default(given: Any, params: Sequence[Any], kind: Kind) -> Any:
    given = _with_params(given, params)
    if isinstance(given, str) and given.strip() in ("''", '""'):
        given = ""
    if given == "" and kind.convert is not to_text:
        return None  # the column's own default, where it has one (storage.md 2.7)
    return _converted(given, kind, "default")


def _converted(given: Any, kind: Kind, what: str) -> Any:
    if given is None:
        return None
    try:
        if isinstance(given, str) and given.strip().lower() in ("now", "now()"):
            kind.convert("2000-01-01T00:00:00Z")
            return _NOW
        return kind.convert(given)
    except Unfit as why:
        raise AnyLogError(87, f"'{what}' {short(given)} of the type {kind.name}: {why}") from None


def _only_for(given: Mapping[str, Any], key: str, what: str) -> str | None:
    text = given.get(key)
    if text is None:
        return None
    if not isinstance(text, str):
        raise AnyLogError(87, f"'{key}' is a name, not {short(text)}")
    return names.normalise(text, what)


def _applied(given: Any) -> Callable[[Any], Any] | None:
    if given is None:
        return None
    if given in ("base64decoding", "opencv"):
        _refuse_blob()
    if not isinstance(given, str) or given not in _APPLIED:
        raise AnyLogError(87, f"'apply' is one of {', '.join(_APPLIED)}, not {short(given)}")
    return _APPLIED[given]


def _epoch_to_datetime(value: Any) -> Any:
    """A number, or a text of digits, as a time; anything else stays what it is."""
    text = value.strip() if isinstance(value, str) else value
    if isinstance(text, str) and not re.fullmatch(r"-?[0-9]{1,20}(?:\.[0-9]{1,20})?", text):
        return value
    moment = times.timestamp_of(text)
    return value if moment is None else iso(moment)


def _json_dump(value: Any) -> str:
    return to_text([value])[1:-1]  # a list is written as JSON, whatever it holds


_APPLIED: dict[str, Callable[[Any], Any]] = {"epoch_to_datetime": _epoch_to_datetime, "json_dump": _json_dump}
