"""What each node is asked, and how the answers are put together (query.md 7.2). Pure.

Three ways: *through* (rows are passed on as they come), *merge* (each node sorts, pages are merged by their keys) and
*unify* (partial results go into a result table, over which the unifying select runs).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from attrs import frozen

from anylog.databases.tables import quoted
from anylog.query.partial import Unifying
from anylog.query.rewrite import Ready
from anylog.query.select import column_of
from anylog.query.shape import Shape, collation, direction, is_aggregate, item_named, kept_as, read_shape
from anylog.query.tokens import Token, render, split

THROUGH, MERGE, UNIFY = "through", "merge", "unify"
RESULT = "query_result"  # name of the private result table


@frozen(kw_only=True)
class Plan:
    """One select, ready to be asked."""

    way: str
    dbms: str
    table: str
    statement: str  # for every node, in the language: each node translates it for its engine
    needed: Mapping[str, str]  # columns that a node must have, with their types
    titles: Sequence[str]
    types: Sequence[str]
    limit: int | None = None
    offset: int = 0
    keys: Sequence[bool] = ()  # of merge: each sort key, True if descending; the nodes send them last in each row
    created: Sequence[tuple[str, str]] = ()  # of unify: columns of the result table and their types
    final: Ready | None = None  # of unify: the select over the result table
    plain: bool = False  # of unify: nothing in `final` can take long on few rows
    increments: str = ""


def plan_of(
    tokens: Sequence[Token],
    given: Sequence[Token],
    columns: Mapping[str, str],
    dbms: str,
    now: datetime,
    *,
    store: bool = False,
    result: str = RESULT,
) -> Plan:
    """The plan of a select whose times are literals. `given` is as the user wrote it, for the titles.

    With `store` rows go into the result table whatever the select. Raises AnyLogError 18, 46, 134, 195 or 237.
    """
    shape = read_shape(tokens, given, columns, dbms, now)
    select = shape.select
    if shape.bucket is not None or select.distinct or select.clauses.get("group") or is_aggregate(select):
        return _unified(shape, result)
    order = _order(shape)
    if store or any(token.says("collate", "nulls") for piece, _ in order for token in piece):
        return _stored(shape, order, result)
    if order:
        return _merged(shape, order)
    return Plan(
        way=THROUGH,
        statement=_asked(shape, [render(item.tokens).strip() for item in select.items]),
        limit=shape.limit,
        offset=shape.offset,
        **_told(shape),
    )


def _told(shape: Shape) -> dict[str, Any]:
    types = shape.types
    return {
        "dbms": shape.dbms,
        "table": shape.table,
        "needed": shape.used,
        "titles": shape.titles,
        "types": types,
    }


def _asked(shape: Shape, items: Sequence[str], order: str = "") -> str:
    """The statement for the nodes; each gives as many rows as the answer may need."""
    where = shape.select.clauses.get("where")
    parts = [f"select {', '.join(items) or '1'} from {shape.table_text}"]
    parts += [f"where {render(where).strip()}"] if where else []
    parts += [f"order by {order}"] if order else []
    parts += [f"limit {shape.limit + shape.offset}"] if shape.limit is not None else []
    return " ".join(parts)


def _order(shape: Shape) -> list[tuple[list[Token], bool]]:
    """The expressions of `order by`, names and positions of items resolved, and whether each is descending."""
    found: list[tuple[list[Token], bool]] = []
    body = shape.select.clauses.get("order")
    for piece in split(body) if body else []:
        expression, after = direction(piece)
        place = item_named(expression, shape)
        if place is not None:
            expression = shape.select.items[place].tokens
        found.append(([*expression, *[word for word in after if not word.says("asc", "desc")]], _falls(after)))
    return found


def _falls(after: Sequence[Token]) -> bool:
    return any(token.says("desc") for token in after)


def _merged(shape: Shape, order: Sequence[tuple[list[Token], bool]]) -> Plan:
    items = [render(item.tokens).strip() for item in shape.select.items]
    first = len(items) + 1
    items += [f"{render(piece).strip()} as order_{number}" for number, (piece, _) in enumerate(order, 1)]
    ordered = ", ".join(f"{first + number}{' desc' if falls else ''}" for number, (_, falls) in enumerate(order))
    return Plan(
        way=MERGE,
        statement=_asked(shape, items, ordered),
        limit=shape.limit,
        offset=shape.offset,
        keys=[falls for _, falls in order],
        **_told(shape),
    )


def _stored(shape: Shape, order: Sequence[tuple[list[Token], bool]], result: str) -> Plan:
    """Rows as they are, kept in the result table and taken from there."""
    items = [render(item.tokens).strip() for item in shape.select.items]
    types = shape.types
    names: dict[str, str] = {}
    for place, item in enumerate(shape.select.items):
        column = column_of(item.tokens)
        name = column.value.lower() if column else f"item_{place + 1}"
        while name in names:
            name += "_"
        names[name] = kept_as(shape.columns[column.value.lower()]) if column else ""
    shown = list(names)
    ordered, asked = [], []
    for number, (piece, falls) in enumerate(order, 1):
        bare = [token for token in piece if not token.says("nulls", "first", "last")]
        rest = render(piece[len(bare) :]).strip()
        name = f"order_{number}"
        while name in names:
            name += "_"
        names[name] = collation(bare)
        items.append(f"{render(bare).strip()} as {quoted(name)}")
        how = f"{' desc' if falls else ''} {rest}".rstrip()
        ordered.append(f"{quoted(name)}{how}")
        asked.append(f"{len(items)}{how}")
    listed = ", ".join(map(quoted, shown))
    statement = f"select {listed} from {quoted(result)}"
    if ordered:
        statement += f" order by {', '.join(ordered)}"
    if shape.limit is not None or shape.offset:
        statement += f" limit {-1 if shape.limit is None else shape.limit} offset {shape.offset}"
    return Plan(
        way=UNIFY,
        statement=_asked(shape, items, ", ".join(asked)),
        created=list(names.items()),
        final=Ready(statement, shape.titles, types, {}, shape.limit, bool(ordered)),
        plain=True,
        **_told(shape),
    )


def _unified(shape: Shape, result: str) -> Plan:
    work = Unifying(shape, result)
    statement, final, titles, types = work.built()
    limit = 1 if work.single else shape.limit
    return Plan(
        way=UNIFY,
        dbms=shape.dbms,
        table=shape.table,
        statement=statement,
        needed=shape.used,
        titles=titles,
        types=types,
        created=work.created,
        final=Ready(final, titles, types, {}, limit, not work.single),
        plain=work.plain,
        increments=f"{shape.increments.unit} {shape.increments.number}" if shape.increments else "",
    )
