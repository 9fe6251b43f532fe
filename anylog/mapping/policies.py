"""Mapping policies: read once, then applied to each message (ingest.md 5). Pure.

A wrong policy is AnyLogError 87 (40 and 2 for types, names and paths in it) naming the column. A message that cannot be
mapped is AnyLogError 6 naming policy, column, path and reason; nothing of it is stored then.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any

from attrs import define, field, frozen

from anylog.errors import AnyLogError
from anylog.language.dictionary import Scope
from anylog.ledger.types import merge
from anylog.mapping import names
from anylog.mapping.bring import MISSING, Bring, Each, Find, is_bring, named
from anylog.mapping.columns import fault
from anylog.mapping.parts import Parts, at_once
from anylog.mapping.rules import Check, Entry, Rule, Star, read_schema, read_script
from anylog.mapping.scripts import Does, Said, Script
from anylog.mapping.topics import Mapped, Mapper, Place
from anylog.mapping.transforms import Transform
from anylog.mapping.values import MOST_TEXT, Unfit, short, text_of, weight

MOST_POLICIES = 100  # that one may import, they and theirs
MOST_CHANGES = 10  # of the policy for one reading
MOST_PARAMS = 1000  # lists of params

FindPolicy = Callable[[str], Mapping[str, Any] | None]


def compile_policy(policy: Mapping[str, Any], scope: Scope, find: FindPolicy = lambda ident: None) -> Mapper:
    """A `{"mapping": ...}` or `{"transform": ...}` of the ledger, ready to be applied.

    `scope` is where `!key` in conditions is looked up, at each message; `find` gives the policies that are imported, by
    id. Raises AnyLogError 87 for a wrong policy, 113 for an imported one that is not there, 170 for one without an id,
    237 for what this build does not do (blobs).
    """
    if isinstance(policy.get("transform"), dict):
        return Transform.read(policy["transform"])
    if not isinstance(policy.get("mapping"), dict):
        raise AnyLogError(87, f"neither a 'mapping' nor a 'transform' policy: {short(list(policy)[:3])}")
    return MappingPolicy.read(policy, scope, find)


@frozen
class _Policy:
    """One policy, without those it imports."""

    ident: str
    dbms: Place
    table: Place
    source: Callable[[Any], str] | None
    readings: Find | None  # None: the message is the reading
    readings_text: str
    script: Script | None
    schemas: tuple[tuple[Entry, ...], ...]  # one for each list of params, else one
    columns: frozenset[str]
    imports: Mapping[str, str]  # name: id


@define
class _Work:
    """One message while it is mapped."""

    now: float
    scope: Scope
    dbms: str | None
    table: str | None
    mapped: dict[tuple[str, str, str, str], Mapped] = field(factory=dict)
    weight: int = 0
    empty: str = ""  # the policy that found no value for a reading, and skipped nothing of it

    def add(self, dbms: str, table: str, source: str, policy: str, row: dict[str, Any]) -> None:
        """A row is made. Raises AnyLogError 6 if all of them hold too much."""
        self.weight += weight(row.values())
        if self.weight > MOST_TEXT:
            raise AnyLogError(6, f"policy '{policy}': more than {MOST_TEXT:,} characters in the rows of one message")
        key = (dbms, table, source, policy)
        into = self.mapped.get(key)
        if into is None:
            into = self.mapped[key] = Mapped(dbms, table, [], source, policy)
        into.rows.append(row)


class _Changed(Exception):
    """Another policy is to map this; the text is its name in `import`."""


@frozen
class MappingPolicy:
    """A mapping policy and those it imports, ready to be applied."""

    ident: str
    policies: Mapping[str, _Policy] = field(repr=False)  # by id
    scope: Scope = field(repr=False)

    @classmethod
    def read(cls, policy: Mapping[str, Any], scope: Scope, find: FindPolicy = lambda ident: None) -> MappingPolicy:
        """Raises AnyLogError as `compile_policy` does."""
        first = _read(policy.get("mapping"))
        policies = {first.ident: first}
        waiting = [first]
        while waiting:
            for name, ident in waiting.pop().imports.items():
                if ident in policies:
                    continue
                if len(policies) >= MOST_POLICIES:
                    raise AnyLogError(87, f"policy '{first.ident}' imports more than {MOST_POLICIES} policies")
                found = find(ident)
                if found is None or not isinstance(found.get("mapping"), dict):
                    raise AnyLogError(113, f"policy '{first.ident}': import '{name}': no mapping policy '{ident}'")
                policies[ident] = _read({**found["mapping"], "id": ident})
                waiting.append(policies[ident])
        return cls(first.ident, policies, scope)

    @property
    def inferred(self) -> bool:
        """Whether it has a column `*`, so that the columns of a table are not known before its rows."""
        return any(isinstance(entry, Star) for schema in self._own.schemas for entry in schema)

    def types(self, dbms: str, table: str, makers: Container[str] = ()) -> dict[str, str]:
        """Column -> ledger type for a table that does not exist yet, in the order of the schema, without `*`.

        Of the policies that name that table, and of `makers`: ids of those of which rows for it came.
        """
        found: dict[str, str] = {}
        for policy in self.policies.values():
            if policy.ident not in makers and (policy.dbms.name, policy.table.name) != (dbms, table):
                continue
            for rule in _rules(policy):
                if rule.dbms in (None, dbms) and rule.table in (None, table) and rule.kind.ledger:
                    found[rule.column] = merge(found.get(rule.column, rule.kind.ledger), rule.kind.ledger)
        return found

    @property
    def most(self) -> int:
        """How many rows it makes of one reading at most."""
        return max(len(policy.schemas) for policy in self.policies.values())

    def is_mapped(self, row: Mapping[str, Any]) -> bool:
        """Whether a row of a file was mapped before: all its attributes are columns of the schema (ingest.md 5)."""
        return bool(row) and self._own.columns.issuperset(row)

    def require(self, column: str) -> None:
        """The column its table is partitioned by must be in the schema. Raises AnyLogError 87."""
        if column != "insert_timestamp" and column not in self._own.columns:
            raise AnyLogError(87, f"policy '{self.ident}' has no column '{column}', by which its table is partitioned")

    def apply(self, message: Any, now: float, *, dbms: str | None = None, table: str | None = None) -> list[Mapped]:
        """The rows of a message (parsed JSON), table by table; none if its condition does not hold.

        `now` is in seconds since 1970; `dbms` and `table` are given by the caller and win. Each entry of a message that
        is a list is a message. Raises AnyLogError 6: then nothing of the message may be stored.
        """
        return at_once(self.parts(message, now, dbms=dbms, table=table))

    def parts(
        self, message: Any, now: float, *, dbms: str | None = None, table: str | None = None
    ) -> Parts[list[Mapped]]:
        """As `apply`, in parts."""
        work = _Work(now, self.scope, dbms, table)
        for each in message if isinstance(message, list) else [message]:
            yield from self._message(work, self._own, each)
        if work.empty and not work.mapped:
            raise AnyLogError(6, f"policy '{work.empty}': none of the columns has a value")
        return list(work.mapped.values())

    @property
    def _own(self) -> _Policy:
        return self.policies[self.ident]

    def _message(self, work: _Work, policy: _Policy, message: Any) -> Parts[None]:
        for _ in range(MOST_CHANGES):
            if policy.script is None:
                break
            said = self._say(policy, policy.script, message)
            if said.does in (Does.SKIP_EVENT, Does.SKIP_ATTRIBUTE):
                yield 1
                return
            if said.does is Does.GO_ON:
                break
            policy = self._other(policy, said.policy)
        else:
            raise AnyLogError(6, f"policy '{self.ident}' is changed more than {MOST_CHANGES} times for one message")
        readings = _readings(policy, message)
        if not readings:
            yield 1
            return
        place = _Target.find(policy, work, message, len(readings))
        for number, reading in enumerate(readings):
            self._reading(work, policy, place, message, reading, number)
            yield len(policy.schemas)

    def _reading(self, work: _Work, policy: _Policy, place: _Target, message: Any, reading: Any, number: int) -> None:
        for _ in range(MOST_CHANGES):
            dbms, table = place.of(number)
            try:
                skipped = False
                for schema in policy.schemas:
                    row = self._row(work, policy, schema, message, reading, (dbms, table))
                    if row:
                        work.add(dbms, table, place.source, policy.ident, row)
                    skipped = skipped or row is None
                if not skipped:
                    work.empty = policy.ident
                return
            except _Changed as change:
                policy = self._other(policy, str(change))
                place = _Target.find(policy, work, message, None)
        raise AnyLogError(6, f"policy '{self.ident}' is changed more than {MOST_CHANGES} times for one reading")

    def _row(
        self,
        work: _Work,
        policy: _Policy,
        schema: tuple[Entry, ...],
        message: Any,
        reading: Any,
        place: tuple[str, str],
    ) -> dict[str, Any] | None:
        """The row of a reading; None if a script skips it, or there is none because columns were skipped."""
        row: dict[str, Any] = {}
        left = False
        for entry in schema:
            if type(entry) is tuple:
                for rule in entry:
                    if (rule.dbms is not None and rule.dbms != place[0]) or (
                        rule.table is not None and rule.table != place[1]
                    ):
                        left = True
                        continue
                    if rule.script is not None:
                        said = self._say(policy, rule.script, reading, rule.column)
                        if said.does is Does.SKIP_ATTRIBUTE:
                            left = True
                            continue
                        if said.does is Does.SKIP_EVENT:
                            return None
                        if said.does is Does.CHANGE_POLICY:
                            raise _Changed(said.policy)
                    value = rule.value(policy.ident, reading, message, work.now)
                    if value is not MISSING:
                        row[rule.column] = value
                    break
            elif isinstance(entry, Star | Check):
                if entry.script is not None:
                    said = self._say(policy, entry.script, reading, "*")
                    if said.does is Does.SKIP_EVENT:
                        return None
                    if said.does is Does.CHANGE_POLICY:
                        raise _Changed(said.policy)
                    if said.does is Does.SKIP_ATTRIBUTE:
                        left = True
                        continue
                if isinstance(entry, Star):
                    entry.add_to(row, policy.ident, message if entry.root else reading, policy.columns)
                else:
                    left = True
        return row if row or not left else None

    def _say(self, policy: _Policy, script: Script, reading: Any, column: str = "") -> Said:
        try:
            return script.say(self.scope, reading)
        except AnyLogError as why:
            place = f"policy '{policy.ident}'" + (f", column '{column}'" if column else "")
            raise AnyLogError(why.number, f"{place}: {why}") from None

    def _other(self, policy: _Policy, name: str) -> _Policy:
        return self.policies[policy.imports[name]]


@frozen
class _Target:
    """Where the readings of a message go."""

    dbms: str | Each
    table: str | Each
    source: str

    @classmethod
    def find(cls, policy: _Policy, work: _Work, message: Any, size: int | None) -> _Target:
        """`size` is how many readings there are; None: one of several, whose names cannot come from a list."""

        def name(given: str | None, place: Place) -> str | Each:
            found = given if given is not None else place.one(message) if size is None else place.of(message)
            if isinstance(found, Each) and len(found) != size:
                raise fault(f"the {place.what}", place.text, f"{len(found)} names for {size} readings")
            return found

        try:
            source = policy.source(message) if policy.source else "0"
            return cls(name(work.dbms, policy.dbms), name(work.table, policy.table), source)
        except AnyLogError as why:
            raise AnyLogError(why.number, f"policy '{policy.ident}', {why}") from None

    def of(self, number: int) -> tuple[str, str]:
        """Database and table of a reading."""
        dbms, table = self.dbms, self.table
        return (dbms[number] if isinstance(dbms, Each) else dbms, table[number] if isinstance(table, Each) else table)


def _rules(policy: _Policy) -> list[Rule]:
    return [rule for schema in policy.schemas for entry in schema if isinstance(entry, tuple) for rule in entry]


def _readings(policy: _Policy, message: Any) -> list[Any]:
    if policy.readings is None:
        if not isinstance(message, dict):
            raise AnyLogError(6, f"policy '{policy.ident}': an object is needed, not {short(message)}")
        return [message]
    found = policy.readings(message)
    if found is MISSING:
        raise fault(f"policy '{policy.ident}', the readings", policy.readings_text, "not in the message")
    if found is None:
        return []
    return found if isinstance(found, list) else [found]


# Reading.


def _read(body: Any) -> _Policy:
    if not isinstance(body, dict):
        raise AnyLogError(87, "a 'mapping' policy is an object")
    ident = body.get("id")
    if not isinstance(ident, str) or not ident:
        raise AnyLogError(170, "a mapping policy needs an 'id'")
    what = f"policy '{ident[:80]}'"
    try:
        return _read_body(ident, body)
    except AnyLogError as why:
        raise AnyLogError(why.number, f"{what}: {why}") from None


def _read_body(ident: str, body: Mapping[str, Any]) -> _Policy:
    for key in ("dbms", "table"):
        if not isinstance(body.get(key), str) or not body[key].strip():
            raise AnyLogError(87, f"'{key}' is missing")
    schema = body.get("schema")
    if not isinstance(schema, dict) or not schema:
        raise AnyLogError(87, "'schema' is missing: an object with the columns")
    imports = body.get("import") or {}
    if not isinstance(imports, dict) or not all(isinstance(each, str) for each in imports.values()):
        raise AnyLogError(87, "'import' is an object with a policy's id for each name")
    readings = body.get("readings") or ""
    if not isinstance(readings, str):
        raise AnyLogError(87, f"'readings' is the name of an attribute, not {short(readings)}")
    script = read_script(body, "the policy", Does.SKIP_EVENT)
    schemas = tuple(read_schema(schema, params) for params in _params(body.get("params")))
    scripts = [script] + [
        one.script for entries in schemas for each in entries for one in (each if isinstance(each, tuple) else (each,))
    ]
    for name in {name for each in scripts if each is not None for name in each.changes_to} - imports.keys():
        raise AnyLogError(87, f"a script changes to the policy '{name[:80]}', which 'import' does not name")
    columns = frozenset(
        rule.column for entries in schemas for each in entries if isinstance(each, tuple) for rule in each
    )
    find = None
    if readings.strip():
        find = Bring.read(readings).find if "[" in readings else named(readings.strip())
    return _Policy(
        ident,
        Place.read("database", body["dbms"]),
        Place.read("table", body["table"]),
        _source(body.get("source")),
        find,
        readings,
        script,
        schemas,
        columns,
        imports,
    )


def _params(given: Any) -> list[list[Any]]:
    if given is None:
        return [[]]
    if not isinstance(given, list) or not given or not all(isinstance(each, list) for each in given):
        raise AnyLogError(87, "'params' is a list of lists")
    if len(given) > MOST_PARAMS:
        raise AnyLogError(87, f"{len(given):,} lists of 'params', at most {MOST_PARAMS:,}")
    return given


def _source(given: Any) -> Callable[[Any], str] | None:
    if given is None:
        return None
    body = {"bring" if is_bring(given) else "default": given} if isinstance(given, str) else given
    if not isinstance(body, dict) or not all(isinstance(body.get(key, ""), str) for key in ("bring", "default")):
        raise AnyLogError(87, "'source' is an object with 'bring' and 'default'")
    bring = Bring.read(body["bring"]) if body.get("bring") else None
    default = names.normalise(body["default"], "source") if body.get("default", "").strip() else "0"

    def source(message: Any) -> str:
        if bring is None:
            return default
        try:
            found = bring.find(message)
            text = "" if found is MISSING or isinstance(found, dict | list) else text_of(found)
            return names.normalise(text, "source") if text.strip() else default
        except (Unfit, AnyLogError) as why:
            raise fault("the source", bring.text, str(why)) from None

    return source
