"""A select taken apart: what is projected, from where, and under which titles (query.md 2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from attrs import define, field

from anylog.errors import AnyLogError
from anylog.query.tokens import Token, closing, flat, render, split

Schema = Callable[[str], Mapping[str, str] | None]  # table -> column -> type of the ledger

_CLAUSES = ("from", "where", "group", "having", "window", "order", "limit")
_COMPOUNDS = ("union", "intersect", "except")
_NO_ALIAS = ("end", "null", "isnull", "notnull")  # may end an expression
_GOES_ON = ("is", "not", "and", "or", "like", "glob", "in", "collate", "between", "distinct", "from", "then", "else")
_NO_NAME = (*_CLAUSES, *_COMPOUNDS, "join", "left", "right", "full", "inner", "cross", "natural", "outer")
_NOT_AFTER_TABLE = (*_NO_NAME, "on", "using", "set", "values", "as", "select", "default", "indexed", "returning")
_SAME_TYPE = ("min", "max", "distinct")  # functions whose value is of the type of their column
AGGREGATES = ("min", "max", "sum", "avg", "count", "total", "group_concat", "range")


@define
class Item:
    """One projected expression."""

    tokens: list[Token]  # without the alias
    alias: Token | None = None

    @property
    def title(self) -> str:
        """The alias, else the column, else the text of the expression as `function(argument)`."""
        if self.alias is not None:
            return self.alias.value
        column = column_of(self.tokens)
        return column.value if column else compact(self.tokens)

    @property
    def star(self) -> bool:
        """Whether it stands for many columns."""
        return self.tokens[-1].text == "*" and (len(self.tokens) == 1 or self.tokens[-2].text == ".")

    def whole(self) -> list[Token]:
        """With the alias."""
        if self.alias is None:
            return self.tokens
        return [*self.tokens, Token("name", "as", True), self.alias._replace(gap=True)]


@define
class Select:
    """The main select of a statement. A compound (union ...) keeps all after its first projection in `rest`."""

    before: list[Token]  # with ... as (...)
    distinct: bool
    items: list[Item]
    clauses: dict[str, list[Token]] = field(factory=dict)  # by first word, without `by`
    rest: list[Token] = field(factory=list)

    @classmethod
    def read(cls, tokens: Sequence[Token]) -> Select | None:
        """Take it apart; None when it does not begin like a select. Raises AnyLogError 134."""
        start = next((place for place, token in flat(tokens) if token.says("select")), None)
        if start is None:
            return None
        first = start + 1
        distinct = first < len(tokens) and tokens[first].says("distinct", "all")
        is_distinct = distinct and tokens[first].text == "distinct"
        if is_distinct and first + 1 < len(tokens) and tokens[first + 1].text == "(":
            end = closing(tokens, first + 1)
            # distinct(col) is projected as such; distinct (a + b) * 2 is an expression
            if column_of(tokens[first + 2 : end]) and (end + 1 == len(tokens) or _ends_item(tokens[end + 1])):
                distinct = is_distinct = False
        first += distinct
        top = None
        if first + 1 < len(tokens) and tokens[first].says("top") and tokens[first + 1].kind == "number":
            top, first = tokens[first + 1], first + 2
        words = [(place, token.text) for place, token in flat(tokens, first) if token.says(*_CLAUSES, *_COMPOUNDS)]
        words = [(place, word) for place, word in words if not _within(tokens, place)]
        end = words[0][0] if words else len(tokens)
        items = [_item(piece) for piece in split(tokens[first:end])]
        if any(not item.tokens for item in items):
            raise AnyLogError(134, f"nothing is projected: '{render(tokens[start:])[:200]}'")
        select = cls(list(tokens[:start]), is_distinct, items)
        if any(word in _COMPOUNDS for _, word in words):
            select.rest = list(tokens[end:])
        else:
            ends = [*(place for place, _ in words[1:]), len(tokens)]
            for (place, word), until in zip(words, ends, strict=False):
                select._add_clause(word, tokens[place + 1 : until])
        if top is not None:
            if select.rest or "limit" in select.clauses:
                raise AnyLogError(134, "top and limit, or top in a compound select")
            select.clauses["limit"] = [top._replace(gap=True)]
        return select

    def _add_clause(self, word: str, body: Sequence[Token]) -> None:
        """Refuse what would be left out without a word: a clause that is empty, repeated or out of place."""
        last = next(reversed(self.clauses), "")
        if last and _CLAUSES.index(last) >= _CLAUSES.index(word):
            raise AnyLogError(134, f"'{word}' {'twice' if word == last else f'after {last!r}'}")
        if word in ("group", "order"):
            if not (body and body[0].says("by")):
                raise AnyLogError(134, f"'{word}' without 'by'")
            said, body = f"{word} by", body[1:]
        else:
            said = word
        if not body:
            raise AnyLogError(134, f"nothing follows '{said}'")
        self.clauses[word] = list(body)

    def tokens(self) -> list[Token]:
        """The whole statement again."""
        made = [*self.before, _word("select"), *([_word("distinct")] if self.distinct else [])]
        for place, item in enumerate(self.items):
            whole = item.whole()
            made += [Token("sign", ",")] if place else []
            made += [whole[0]._replace(gap=True), *whole[1:]]
        for name in _CLAUSES:
            if body := self.clauses.get(name):
                made += [_word(name), *([_word("by")] if name in ("group", "order") else [])]
                made += [body[0]._replace(gap=True), *body[1:]]
        return made + self.rest

    @property
    def limit(self) -> int | None:
        """The most rows that can come, where that is a plain number."""
        body = self.clauses.get("limit") or []
        if (
            not body
            or body[0].kind != "number"
            or not body[0].text.isdigit()
            or (len(body) > 1 and body[1].text == ",")
        ):
            return None
        return int(body[0].text)

    @property
    def aggregated(self) -> bool:
        """Whether an aggregate function is projected."""
        return any(
            token.says(*AGGREGATES) and place + 1 < len(item.tokens) and item.tokens[place + 1].text == "("
            for item in self.items
            for place, token in enumerate(item.tokens)
        )

    def types(self, columns: Mapping[str, str]) -> list[str]:
        """Type of each projected item, where it is known to be that of a column; else an empty text."""
        return [type_of(item.tokens, columns) for item in self.items]


def type_of(tokens: Sequence[Token], columns: Mapping[str, str]) -> str:
    """Type of an expression that is a column, or min, max or distinct of one; else an empty text."""
    if len(tokens) > 3 and tokens[0].says(*_SAME_TYPE) and tokens[1].text == "(" and tokens[-1].text == ")":
        tokens = tokens[2:-1]
    column = column_of(tokens)
    return columns.get(column.value.lower(), "") if column else ""


def column_of(tokens: Sequence[Token]) -> Token | None:
    """The column named by `col`, `table.col` or `dbms.table.col`; None if the tokens are something else."""
    if len(tokens) not in (1, 3, 5) or not all(token.names() for token in tokens[::2]):
        return None
    return tokens[-1] if all(token.text == "." for token in tokens[1::2]) else None


def compact(tokens: Sequence[Token]) -> str:
    """The text of an expression without blanks inside parentheses: `max(a)`."""
    kept = []
    for place, token in enumerate(tokens):
        last = tokens[place - 1] if place else token
        inside = last.text == "(" or token.text == ")" or (token.text == "(" and last.kind == "name")
        kept.append(token._replace(gap=token.gap and not inside))
    return render(kept)


def tables_in(tokens: Sequence[Token]) -> list[str]:
    """Every name that stands where a table is named, in lower case, without repeats."""
    found: dict[str, None] = {}
    for place, token in enumerate(tokens):
        if not token.says("from", "join", "into", "update"):
            continue
        following = place + 1
        while following < len(tokens) and tokens[following].names():
            while following + 2 < len(tokens) and tokens[following + 1].text == ".":
                following += 2
            found[tokens[following].value.lower()] = None
            following += 1
            if following < len(tokens) and tokens[following].says("as"):
                following += 1
            if following < len(tokens) and tokens[following].names() and not tokens[following].says(*_NOT_AFTER_TABLE):
                following += 1
            if following >= len(tokens) or tokens[following].text != "," or not token.says("from"):
                break
            following += 1
    return list(found)


def columns_in(tokens: Sequence[Token], schema: Schema) -> dict[str, str]:
    """Column -> type over all tables that the statement names and that are known; a TIMESTAMP wins over others."""
    columns: dict[str, str] = {}
    for table in tables_in(tokens):
        for name, kind in (schema(table) or {}).items():
            if columns.get(name) != "TIMESTAMP":
                columns[name] = kind
    return columns


def _item(tokens: list[Token]) -> Item:
    if len(tokens) > 2 and tokens[-2].says("as") and tokens[-1].kind in ("name", "quoted", "text"):
        return Item(tokens[:-2], tokens[-1] if tokens[-1].names() else Token("quoted", f'"{tokens[-1].value}"', True))
    if (
        len(tokens) > 1
        and tokens[-1].names()
        and not tokens[-1].says(*_NO_ALIAS)
        and (tokens[-2].kind != "sign" or tokens[-2].text == ")")
        and not tokens[-2].says(*_GOES_ON)
    ):
        return Item(tokens[:-1], tokens[-1])
    return Item(tokens)


def _within(tokens: Sequence[Token], place: int) -> bool:
    """Whether a word that could begin a clause is a column, or part of `is distinct from`."""
    if place < 1 or tokens[place - 1].text == ".":
        return True
    return tokens[place].says("from") and tokens[place - 1].says("distinct") and tokens[place - 2].says("is", "not")


def named_twice(item: Item) -> bool:
    """Whether a second name stands before the name of an item: `a b c`."""
    return _item(item.tokens).alias is not None


def _ends_item(token: Token) -> bool:
    return token.text == "," or token.says("as", *_CLAUSES, *_COMPOUNDS) or token.names()


def _word(word: str) -> Token:
    return Token("name", word, True)
