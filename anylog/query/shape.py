"""What a select asks of the network: one table, its columns, its limit; what the network cannot do is refused by name.

query.md 2. Works on tokens whose times are literals already (`rewrite.fixed`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from attrs import define, field

from anylog.databases.tables import engine_type
from anylog.errors import AnyLogError
from anylog.query import series
from anylog.query.rewrite import bounds_of
from anylog.query.select import Item, Select, named_twice
from anylog.query.tokens import Token, closing, render, split

# Words that are part of expressions and name no column.
_WORDS = frozenset(
    (
        *("and", "or", "not", "in", "is", "null", "like", "glob", "between", "isnull", "notnull", "escape", "exists"),
        *("case", "when", "then", "else", "end", "as", "cast", "collate", "true", "false", "from"),
        *("asc", "desc", "nulls", "first", "last", "distinct", "all", "over", "filter"),
    )
)
_JOINS = ("join", "left", "right", "full", "inner", "cross", "natural", "outer", "on", "using")
# Aggregates that cannot be put together from what each node finds.
_NOT_SPLIT = ("group_concat", "string_agg", "json_group_array", "json_group_object")
AGGREGATES = ("min", "max", "sum", "avg", "count", "total", "range")
_SORTS = ("asc", "desc", "nulls", "first", "last")


class UnknownColumn(AnyLogError):
    """Error 46 for a column that the ledger may come to know."""


@define
class Shape:
    """A select taken apart for the network."""

    dbms: str
    table: str
    select: Select  # columns without the name of the table, `*` written out; no from, no limit
    titles: list[str]
    columns: Mapping[str, str]  # of the table, in order, with types of the ledger
    used: dict[str, str] = field(factory=dict)
    limit: int | None = None
    offset: int = 0
    bucket: int | None = None  # position of increments(...) among the items
    increments: series.Increments | None = None

    @property
    def table_text(self) -> str:
        """The name of the table as a statement takes it."""
        return render([name_token(self.table)]).strip()

    @property
    def types(self) -> list[str]:
        """Type of each item, as far as known."""
        found = self.select.types(self.columns)
        return [
            "TIMESTAMP" if place == self.bucket or item.tokens[0].says("date_trunc") else kind
            for place, (item, kind) in enumerate(zip(self.select.items, found, strict=True))
        ]


def table_of(tokens: Sequence[Token], dbms: str) -> tuple[str, str]:
    """Name and alias (or an empty text) of the one table of a select. Raises AnyLogError 18, 46 or 134."""
    if any(token.says("select") for token in tokens[1:]) or tokens[0].says("with"):
        raise AnyLogError(18, "a query of the network is one select: no with, union or select inside another")
    select = Select.read(tokens)
    if select is None or not select.clauses.get("from"):
        raise AnyLogError(46, "the select names no table: 'from' is missing")
    body = select.clauses["from"]
    if any(token.says(*_JOINS) for token in body):
        raise AnyLogError(18, "join: a query of the network is of one table")
    if any(token.text == "," for token in body) or any(token.text == "(" for token in body):
        raise AnyLogError(
            134,
            "Parsing SQL failed: Unrecognized SELECT statement components after 'select' keyword in SQL:"
            f" '{render(tokens)[:300]}'",
        )
    names = list(body)
    if len(names) > 2 and names[1].text == ".":
        if names[0].value.lower() != dbms:
            raise AnyLogError(134, f"the table is of dbms '{names[0].value}', the query is of '{dbms}'")
        names = names[2:]
    alias = ""
    if len(names) == 3 and names[1].says("as"):
        alias, names = names[2].value.lower(), names[:1]
    elif len(names) == 2 and names[1].names():
        alias, names = names[1].value.lower(), names[:1]
    if len(names) != 1 or not names[0].names():
        raise AnyLogError(134, f"after the table: '{render(body)[:200]}'")
    return names[0].value.lower(), alias


def read_shape(
    tokens: Sequence[Token], given: Sequence[Token], columns: Mapping[str, str], dbms: str, now: datetime
) -> Shape:
    """Take a select apart. `given` is as the user wrote it, for the titles.

    Raises AnyLogError 18, 46, 134 or 195; UnknownColumn for a name that is no column of the table.
    """
    table, alias = table_of(tokens, dbms)
    for place, token in enumerate(tokens):
        if token.says("::"):
            raise AnyLogError(195, f"Non supported casting: '::{tokens[place + 1].text}'")
        if token.says("over", "filter", "window") and token.text not in columns:
            raise AnyLogError(18, f"'{token.text}' is not supported in a query of the network")
    select = Select.read(unqualified(tokens, {table, alias} - {""}, dbms))
    written = Select.read(given)
    assert select is not None and written is not None  # table_of has read it
    for item in written.items:
        if named_twice(item):
            raise AnyLogError(134, f"'{render(item.whole()).strip()[:200]}' is not one expression and its name")
    titles = [None if item.star else item.title for item in written.items]
    _read_distinct(select)
    del select.clauses["from"]
    shape = Shape(dbms, table, select, _expanded(select, titles, columns), columns)
    shape.limit, shape.offset = _limit(select.clauses.pop("limit", []))
    if len(set(shape.titles)) < len(shape.titles):
        twice = next(title for place, title in enumerate(shape.titles) if title in shape.titles[:place])
        raise AnyLogError(46, f"Duplicate projected column names: '{twice}'")
    _read_increments(shape, now)
    _check_names(shape)
    if (
        select.clauses.get("having")
        and shape.bucket is None
        and not (select.clauses.get("group") or is_aggregate(select))
    ):
        raise AnyLogError(46, "having: nothing is grouped or aggregated, 'where' is for rows")
    return shape


def _read_distinct(select: Select) -> None:
    """`select distinct(col), ...` is what `select distinct col, ...` is. Raises AnyLogError 46 for it elsewhere."""
    for place, item in enumerate(select.items):
        if item.tokens[0].says("distinct"):
            if place or len(item.tokens) < 4 or closing(item.tokens, 1) != len(item.tokens) - 1:
                said = render(item.tokens).strip()
                raise AnyLogError(46, f'Non supported SQL: Error parsing SQL stmt near function: "{said}"')
            select.distinct, item.tokens = True, item.tokens[2:-1]


def unqualified(tokens: Sequence[Token], names: set[str], dbms: str) -> list[Token]:
    """Without `table.`, `alias.` and `dbms.table.` before columns."""
    made: list[Token] = []
    place = 0
    while place < len(tokens):
        token, start = tokens[place], place
        if token.names() and token.value.lower() == dbms and dbms not in names:
            following = tokens[place + 1 : place + 4]
            if len(following) == 3 and following[0].text == following[2].text == ".":
                place += 2
        if (
            tokens[place].names()
            and place + 2 < len(tokens)
            and tokens[place + 1].text == "."
            and tokens[place].value.lower() in names
        ):
            place += 2
        else:
            place = start
        made.append(tokens[place]._replace(gap=token.gap))
        place += 1
    return made


def _expanded(select: Select, titles: list[str | None], columns: Mapping[str, str]) -> list[str]:
    """Write `*` out, in the order of the table; gives the titles of all items."""
    items: list[Item] = []
    named: list[str] = []
    for item, title in zip(select.items, titles, strict=True):
        if title is None:
            items += [Item([name_token(name)]) for name in columns]
            named += list(columns)
        else:
            items.append(item)
            named.append(title)
    select.items = items
    return named


def name_token(name: str) -> Token:
    """A column as a token: quoted where it would not be read as a name."""
    plain = name.isidentifier() and name.isascii() and name == name.lower() and name not in _WORDS
    return Token("name", name, True) if plain else Token("quoted", '"' + name.replace('"', '""') + '"', True)


def _limit(body: Sequence[Token]) -> tuple[int | None, int]:
    """Most rows and rows to leave out first. Raises AnyLogError 134 or 237."""
    if not body:
        return None, 0
    words = [token.text for token in body]
    numbers = [int(token.text) for token in body if token.kind == "number" and token.text.isdigit()]
    if "per" in words:
        raise AnyLogError(237, f"not in this build: limit {render(body).strip()}")
    if len(words) == 1 and len(numbers) == 1:
        return numbers[0], 0
    if len(words) == 3 and len(numbers) == 2 and words[1] in ("offset", ","):
        return (numbers[0], numbers[1]) if words[1] == "offset" else (numbers[1], numbers[0])
    raise AnyLogError(134, f"limit takes whole numbers: '{render(body).strip()[:100]}'")


def _read_increments(shape: Shape, now: datetime) -> None:
    """Make `increments(column [, points])` explicit, once for all nodes (query.md 5.2, 5.3)."""
    select = shape.select
    places = [
        place
        for place, item in enumerate(select.items)
        if item.tokens[0].says("increments", "increment") and len(item.tokens) > 2 and item.tokens[1].text == "("
    ]
    if not places:
        return
    if len(places) > 1:
        raise AnyLogError(46, "increments stands once in a select")
    place = places[0]
    asked = series.read_increments(split(select.items[place].tokens[2 : closing(select.items[place].tokens, 1)]))
    if asked.unit is None:
        unit, number = series.chosen(*bounds_of(select, asked.column, now), asked.points)
        asked = series.Increments(asked.column, unit, number, asked.points)
    shape.increments, shape.bucket = asked, place
    if len(select.items) == 1 and select.items[place].alias is None:
        raise AnyLogError(134, "nothing is projected beside increments: name it (as ...) or add a column")


def kept_as(kind: str) -> str:
    """The type of a column of the result table for one of the ledger, so that comparisons mean what they meant."""
    return "INTEGER" if kind.startswith("SERIAL") else engine_type(kind)


def references(tokens: Sequence[Token], columns: Mapping[str, str]) -> Iterator[int]:
    """The places of tokens that name columns (or titles) in an expression."""
    place = 0
    while place < len(tokens):
        token = tokens[place]
        following = tokens[place + 1].text if place + 1 < len(tokens) else ""
        before = tokens[place - 1] if place else Token("sign", "")
        value = token.value.lower()
        if token.kind == "name" and following == "(" and token.text not in ("in", "and", "or", "not"):
            if token.text == "extract" and place + 3 < len(tokens) and tokens[place + 3].says("from"):
                place += 3
        elif (
            token.names()
            and not (token.kind == "name" and token.text in _WORDS and value not in columns)
            and not before.says("as", "collate")
        ):
            yield place
        place += 1


def _check_names(shape: Shape) -> None:
    """Every name is a column of the table, or (after the projection) a title."""
    select, columns = shape.select, shape.columns
    titles = {title.lower() for title in shape.titles}
    parts: list[tuple[Sequence[Token], set[str]]] = [(select.clauses.get("where", []), set())]
    parts += [(select.clauses.get(name, []), titles) for name in ("group", "having", "order")]
    for place, item in enumerate(select.items):
        if place == shape.bucket and shape.increments is not None:
            column = shape.increments.column.strip().lower().strip('"')
            parts.append(([name_token(column)], set()))
        else:
            parts.append((item.tokens, set()))
    for tokens, also in parts:
        for place, token in enumerate(tokens):
            if token.says(*_NOT_SPLIT) and place + 1 < len(tokens) and tokens[place + 1].text == "(":
                said = render(tokens[place : closing(tokens, place + 1) + 1])
                raise AnyLogError(46, f'Non supported SQL: Error parsing SQL stmt near function: "{said}"')
        for place in references(tokens, columns):
            token = tokens[place]
            name = token.value.lower()
            if name in columns:
                shape.used[name] = columns[name]
            elif name not in also:
                raise UnknownColumn(
                    46,
                    f"Non supported SQL: Column '{token.value}' is not recognized in table: {shape.dbms}.{shape.table}",
                )


def aggregate_at(tokens: Sequence[Token], place: int) -> bool:
    """Whether an aggregate is called at `place`; min and max of several values are none."""
    token = tokens[place]
    if not token.says(*AGGREGATES) or place + 1 >= len(tokens) or tokens[place + 1].text != "(":
        return False
    inside = tokens[place + 2 : closing(tokens, place + 1)]
    return not (token.says("min", "max") and len(split(inside)) > 1)


def is_aggregate(select: Select) -> bool:
    """Whether an aggregate stands in the projection, in `having` or in `order by`."""
    parts = [*(item.tokens for item in select.items), *(select.clauses.get(name, []) for name in ("having", "order"))]
    return any(aggregate_at(tokens, place) for tokens in parts for place in range(len(tokens)))


def direction(piece: Sequence[Token]) -> tuple[list[Token], list[Token]]:
    """An order expression and what follows it: asc, desc, nulls first, nulls last. Raises AnyLogError 134."""
    end = len(piece)
    while end > 1 and piece[end - 1].says(*_SORTS):
        if piece[end - 1].says("first", "last") and not piece[end - 2].says("nulls"):
            break
        end -= 1
    after = list(piece[end:])
    words = [token.text.lower() for token in after]
    if words[:1] in (["asc"], ["desc"]):
        words = words[1:]
    if words not in ([], ["nulls", "first"], ["nulls", "last"]):
        raise AnyLogError(134, f"order by: '{render(piece).strip()[:200]}'")
    return list(piece[:end]), after


def collation(tokens: Sequence[Token]) -> str:
    """`collate ...` for a column that holds what an expression with a collation gives; else an empty text."""
    for place, token in enumerate(tokens[:-1]):
        if token.says("collate") and tokens[place + 1].names():
            return f"collate {render([tokens[place + 1]])}"
    return ""


def hidden(shape: Shape, place: int) -> bool:
    """Whether an item is an increments without a name, which is not shown."""
    return place == shape.bucket and shape.select.items[place].alias is None


def item_named(expression: Sequence[Token], shape: Shape) -> int | None:
    """The item that an order expression means by its position or its title. Raises AnyLogError 134 for no position."""
    if len(expression) != 1:
        return None
    token = expression[0]
    visible = [place for place in range(len(shape.titles)) if not hidden(shape, place)]
    if token.kind == "number":
        if not token.text.isdigit() or not 1 <= int(token.text) <= len(visible):
            raise AnyLogError(134, f"order by {token.text}: the select gives {len(visible)} columns")
        return visible[int(token.text) - 1]
    if token.names():
        return next((place for place in visible if shape.titles[place].lower() == token.value.lower()), None)
    return None
