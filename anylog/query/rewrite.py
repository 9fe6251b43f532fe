"""A statement as this node's engine runs it: times resolved, functions of the language translated (query.md 1 to 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from attrs import define, evolve, field, frozen

from anylog.errors import AnyLogError
from anylog.query import series
from anylog.query.select import Item, Schema, Select, columns_in, compact, tables_in
from anylog.query.times import Zone, called, moment_of, moved, shown, stored, unit_of
from anylog.query.tokens import Token, closing, literal, render, spaced, split

MOST_PERIODS = 20  # in one select
_COMPARED = ("=", "==", "!=", "<>", "<", "<=", ">", ">=", "is")
_BEFORE_SPAN = (*_COMPARED, "between", "and", "not")
CONDITION = "?"  # takes the place of a condition that is not known yet
_TIME_WORDS = ("now", "date", "timestamp", "datetime")


@frozen
class Ready:
    """A select for the engine, and what is known of its columns."""

    statement: str
    titles: Sequence[str | None]  # None: `*`, whose columns only the engine lists
    types: Sequence[str]  # type of the ledger by projected item, or an empty text
    columns: Mapping[str, str]  # column -> type, for `*`
    limit: int | None  # the most rows that can come, if the statement says so
    sifted: bool  # ordered, grouped or distinct: the engine works through all before the first row
    spot: int = -1  # where in the statement a further condition on rows stands in for `CONDITION`

    def among(self, condition: str) -> Ready:
        """Of rows that fulfil a condition only; for a select that was made for it."""
        before, after = self.statement[: self.spot], self.statement[self.spot + len(CONDITION) :]
        return evolve(self, statement=f"{before}({condition}){after}", spot=-1)


@define
class _Rewriting:
    tokens: list[Token]
    schema: Schema
    now: datetime
    zone: Zone
    columns: dict[str, str] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.columns = columns_in(self.tokens, self.schema)

    # Time functions, once

    def resolve_times(self) -> None:
        """`now()`, `date()`, spans after them, `-4t`, `date('now', ...)` become literals (query.md 3)."""
        made: list[Token] = []
        tokens, place = self.tokens, 0
        while place < len(tokens):
            token = tokens[place]
            opened = place + 1 < len(tokens) and tokens[place + 1].text == "("
            if opened and token.says(*_TIME_WORDS) and not (made and made[-1].text == "."):
                end = closing(tokens, place + 1)
                value = self._called(token.text, tokens[place + 2 : end])
                if value is not None:
                    moment, place = self._moved(moment_of(value) or self.now, end + 1)
                    made.append(literal(shown(moment)[: len(value)], token.gap))
                    continue
            elif token.says("-", "+") and made and made[-1].says(*_BEFORE_SPAN) and self._span(place):
                moment, place = self._moved(self.now, place)
                made.append(literal(shown(moment)))
                continue
            made.append(token)
            place += 1
        self.tokens = made

    def _called(self, name: str, inside: Sequence[Token]) -> str | None:
        if not inside:
            return called(name, [], self.now, UTC) if name in ("now", "date") else None
        if name == "now":
            return None
        arguments = []
        for argument in split(inside):
            text = compact(argument)
            if len(argument) == 1 and (argument[0].kind == "text" or text == "now"):
                arguments.append(argument[0].value)
            elif text == "now()":
                arguments.append("now")
            else:
                return None
        return called(name, arguments, self.now, self.zone)

    def _span(self, place: int) -> str | None:
        """The unit of `- 3 days` or `-3d` at `place`, if it is one."""
        if place + 2 >= len(self.tokens) or not self.tokens[place].says("-", "+"):
            return None
        number, unit = self.tokens[place + 1], self.tokens[place + 2]
        if number.kind != "number" or not number.text.isdigit() or unit.kind != "name" or len(number.text) > 9:
            return None
        return unit_of(unit.text)

    def _moved(self, moment: datetime, place: int) -> tuple[datetime, int]:
        while unit := self._span(place):
            number = int(self.tokens[place + 1].text)
            moment = moved(moment, -number if self.tokens[place].text == "-" else number, unit)
            place += 3
        return moment, place

    # Functions

    def translate(self) -> None:
        """`extract`, `date_trunc`, `range` and `period`, wherever they stand. Raises AnyLogError 46."""
        place = 0
        while place + 1 < len(self.tokens):
            token = self.tokens[place]
            if token.says("::"):
                raise AnyLogError(195, f"Non supported casting: '::{self.tokens[place + 1].text}'")
            if token.kind == "name" and self.tokens[place + 1].text == "(":
                end = closing(self.tokens, place + 1)
                inside = self.tokens[place + 2 : end]
                text: str | None = ""
                if token.text == "extract" and len(inside) > 2 and inside[1].says("from"):
                    text = series.part(inside[0].value, render(inside[2:]).strip())
                elif token.text == "date_trunc":
                    arguments = split(inside)
                    fits = len(arguments) == 2 and len(arguments[0]) == 1 and bool(arguments[1])
                    text = series.truncated(arguments[0][0].value, render(arguments[1])) if fits else None
                elif token.text == "range" and len(split(inside)) == 1 and inside:
                    text = f"abs(max({render(inside)}) - min({render(inside)}))"
                elif token.text == "period":
                    text = self._period(inside, place)
                if text is None:
                    said = compact(self.tokens[place : end + 1])
                    raise AnyLogError(46, f'Non supported SQL: Error parsing SQL stmt near function: "{said}"')
                if text:
                    made = spaced(text)
                    self.tokens[place : end + 1] = [made[0]._replace(gap=token.gap), *made[1:]]
            place += 1

    def _period(self, inside: Sequence[Token], place: int) -> str:
        asked = series.read_period(inside, self.zone)
        table = self._table_before(place)
        if not table:
            raise AnyLogError(46, series.WRONG_PERIOD)
        return series.window(
            asked.unit, asked.number, asked.until, render(asked.column).strip(), table, render(asked.also).strip()
        )

    def _table_before(self, place: int) -> str:
        """The table of the select whose `where` holds the token at `place`."""
        depth = lowest = 0
        for before in range(place - 1, -1, -1):
            token = self.tokens[before]
            depth += (token.text == ")") - (token.text == "(")
            lowest = min(lowest, depth)
            if depth == lowest and token.says("from"):
                end = before + 2
                while end + 1 < place and self.tokens[end].text == ".":
                    end += 2
                return render(self.tokens[before + 1 : end]).strip()
        return ""

    # Literals beside time columns

    def normalise_literals(self) -> None:
        """Time literals beside TIMESTAMP columns take the form in which times are stored (decisions 28, 31)."""
        tokens = self.tokens
        times = {name for name, kind in self.columns.items() if kind == "TIMESTAMP"}
        for place in range(len(tokens) - 2):
            if tokens[place].names() and tokens[place].value.lower() in times and tokens[place + 1].says("as"):
                times.add(tokens[place + 2].value.lower())
        for place, token in enumerate(tokens):
            following = tokens[place + 1].text if place + 1 < len(tokens) else ""
            if token.says("date_trunc") and following == "(":
                self._beside(place, closing(tokens, place + 1))
            elif token.names() and token.value.lower() in times and following not in ("(", "."):
                left = right = place
                while left > 1 and tokens[left - 1].text == "." and tokens[left - 2].names():
                    left -= 2
                if (
                    following == ")"
                    and left > 1
                    and tokens[left - 1].text == "("
                    and tokens[left - 2].says("min", "max")
                ):
                    left, right = left - 2, right + 1
                self._beside(left, right)
        if tokens[0].says("insert"):
            self._inserted()

    def _beside(self, left: int, right: int) -> None:
        tokens = self.tokens
        if left > 1 and tokens[left - 1].says(*_COMPARED):
            self._store(left - 2)
        after = right + 1
        if after < len(tokens) and tokens[after].says("not"):
            after += 1
        if after + 1 >= len(tokens):
            return
        if tokens[after].says(*_COMPARED):
            self._store(after + 1 + tokens[after + 1].says("not"))
        elif tokens[after].says("between"):
            self._store(after + 1)
            if after + 3 < len(tokens) and tokens[after + 2].says("and"):
                self._store(after + 3)
        elif tokens[after].says("in") and tokens[after + 1].text == "(":
            for place in range(after + 2, closing(tokens, after + 1)):
                self._store(place)

    def _store(self, place: int) -> None:
        if place < len(self.tokens) and self.tokens[place].kind == "text":
            token = self.tokens[place]
            text = stored(token.value, self.zone)
            if text is not None:
                self.tokens[place] = literal(text, token.gap)

    def _inserted(self) -> None:
        """Times among the values of an insert, by the position of their column."""
        tokens = self.tokens
        table = tables_in(tokens)[:1]
        values = next((place for place, token in enumerate(tokens) if token.says("values")), None)
        if not table or values is None:
            return
        known = self.schema(table[0]) or {}
        listed = [place for place in range(values) if tokens[place].text == "("]
        names = list(known)
        if listed:
            inside = tokens[listed[0] + 1 : closing(tokens, listed[0])]
            names = [piece[0].value.lower() if piece else "" for piece in split(inside)]
        place = values + 1
        while place < len(tokens) and tokens[place].text == "(":
            column, at, end = 0, place + 1, closing(tokens, place)
            while at < end:
                if tokens[at].text == "(":
                    at = closing(tokens, at)
                elif tokens[at].text == ",":
                    column += 1
                elif column < len(names) and known.get(names[column]) == "TIMESTAMP":
                    self._store(at)
                at += 1
            place = end + 2


def fixed(tokens: Sequence[Token], schema: Schema, now: datetime, zone: Zone = UTC) -> list[Token]:
    """The same statement with its times as literals in UTC: every node that is asked reads them alike (query.md 3)."""
    work = _Rewriting(list(tokens), schema, now, zone)
    work.resolve_times()
    work.normalise_literals()
    return work.tokens


def translated(tokens: Sequence[Token]) -> list[Token]:
    """An expression with the language's own functions in the words of the engine. Raises AnyLogError 46 or 195."""
    work = _Rewriting(list(tokens), lambda table: None, datetime(1970, 1, 1), UTC)
    work.translate()
    return work.tokens


def local(tokens: Sequence[Token], schema: Schema, now: datetime, zone: Zone = UTC) -> str:
    """A statement that is no select, for this node's engine: times resolved and stored as times are."""
    return render(fixed(tokens, schema, now, zone))


def local_select(
    tokens: Sequence[Token], schema: Schema, now: datetime, zone: Zone = UTC, conditional: bool = False
) -> Ready:
    """A select for this node's engine; `conditional`: with room for `Ready.among`.

    Raises AnyLogError 18, 46, 134 or 195.
    """
    given = Select.read(tokens)  # titles are what the user wrote, not what becomes of it
    titles = [] if given is None else [None if item.star else item.title for item in given.items]
    work = _Rewriting(list(tokens), schema, now, zone)
    work.resolve_times()
    work.normalise_literals()
    timed = [bool(item.tokens[0].says("date_trunc")) for item in given.items] if given else []
    periods = sum(token.says("period") for token in work.tokens)
    if periods > MOST_PERIODS:  # each looks through the whole statement
        raise AnyLogError(46, f"period stands {periods} times in a select, at most {MOST_PERIODS} are read")
    work.translate()
    select = Select.read(work.tokens)
    if conditional and (select is None or select.rest):
        raise AnyLogError(18, "this select is not one of rows of a table")
    if select is None or given is None:
        return Ready(render(work.tokens), [None], [""], work.columns, None, True)
    types = [
        kind or ("TIMESTAMP" if time else "") for kind, time in zip(select.types(work.columns), timed, strict=True)
    ]
    _increments(select, titles, types, now, periods > 0)
    named = [title for title in titles if title is not None]
    for title in named:
        if named.count(title) > 1:
            raise AnyLogError(46, f"Duplicate projected column names: '{title}'")
    grouped = "group" in select.clauses
    room = Token("sign", CONDITION)
    if conditional:
        where = select.clauses.get("where")
        also = [Token("name", "and", True), Token("sign", "(", True), *where, Token("sign", ")")] if where else []
        select.clauses["where"] = [room, *also]
    whole = select.tokens()
    spot = -1
    if conditional:
        place = next(at for at, token in enumerate(whole) if token.says("where") and whole[at + 1].text == CONDITION)
        spot = len(render(whole[: place + 2])) - len(CONDITION)
    return Ready(
        spot=spot,
        statement=render(whole).strip(),
        titles=titles,
        types=types,
        columns=work.columns,
        limit=1 if select.aggregated and not grouped and not select.rest else select.limit,
        sifted=grouped or select.distinct or "order" in select.clauses or bool(select.rest),
    )


def _increments(select: Select, titles: list[str | None], types: list[str], now: datetime, windowed: bool) -> None:
    """Translate the one `increments(...)` of a projection: group and order by its buckets (query.md 5.2, 5.3)."""
    places = [
        place
        for place, item in enumerate(select.items)
        if item.tokens[0].says("increments", "increment") and len(item.tokens) > 2 and item.tokens[1].text == "("
    ]
    if not places:
        return
    if len(places) > 1 or select.rest or windowed:
        raise AnyLogError(46, "increments stands once in a select, without period and without union")
    place = places[0]
    item = select.items[place]
    asked = series.read_increments(split(item.tokens[2 : closing(item.tokens, 1)]))
    unit, number = asked.unit, asked.number
    if unit is None:
        unit, number = series.chosen(*bounds_of(select, asked.column, now), asked.points)
    key = series.bucket(unit, number, asked.column)
    if item.alias is None:
        del select.items[place], titles[place], types[place]
        if not select.items:
            raise AnyLogError(134, "nothing is projected beside increments: name it (as ...) or add a column")
    else:
        select.items[place] = Item(spaced(key), item.alias)
        types[place] = "TIMESTAMP"
    comma = Token("sign", ",")
    group, order = select.clauses.get("group"), select.clauses.get("order")
    select.clauses["group"] = [*spaced(key), comma, *group] if group else spaced(key)
    select.clauses["order"] = [*order, comma, *spaced(key)] if order else spaced(key)


def bounds_of(select: Select, column: str, now: datetime) -> tuple[datetime, datetime]:
    """The lowest and highest time that the `where` of a select lets through, as far as it says so in literals."""
    where, low, high = select.clauses.get("where", []), None, now
    name = column.rpartition(".")[2]
    for place, token in enumerate(where):
        if not token.names() or token.value.lower() != name:
            continue
        after = where[place + 1 : place + 5]
        before = where[max(0, place - 2) : place]
        if len(after) == 4 and after[0].says("between"):
            low, high = moment_of(after[1].value) or low, moment_of(after[3].value) or high
        elif len(after) > 1 and after[0].says(">", ">=", "<", "<="):
            moment = moment_of(after[1].value)
            low, high = (moment or low, high) if after[0].text[0] == ">" else (low, moment or high)
        elif len(before) == 2 and before[1].says(">", ">=", "<", "<="):
            moment = moment_of(before[0].value)
            low, high = (moment or low, high) if before[1].text[0] == "<" else (low, moment or high)
    if low is None:
        raise AnyLogError(46, "Missing or wrong where condition in an increment query")
    return low, high
