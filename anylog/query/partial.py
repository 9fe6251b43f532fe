"""Aggregates in two steps: what each node counts and sums, and the select that unifies it (query.md 7.2). Pure."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field

from anylog.databases.tables import quoted
from anylog.errors import AnyLogError
from anylog.query.rewrite import translated
from anylog.query.select import column_of, compact
from anylog.query.shape import (
    Shape,
    aggregate_at,
    collation,
    direction,
    hidden,
    is_aggregate,
    item_named,
    kept_as,
    references,
)
from anylog.query.tokens import Token, closing, render, split, tokenise

# Functions that cannot take long, so that the unifying select may run where it would hold others up.
_QUICK = ("round", "abs", "coalesce", "ifnull", "nullif", "cast", "min", "max", "date_trunc", "extract")
_REAL = ("FLOAT", "DECIMAL")


@define
class Unifying:
    """Takes a select apart into partial columns and puts it together again."""

    shape: Shape
    result: str
    created: list[tuple[str, str]] = field(factory=list)  # columns of the result table and their types
    plain: bool = True
    _asked: list[str] = field(factory=list)  # projection of the nodes
    _group: list[str] = field(factory=list)
    _keys: dict[tuple[str, ...], str] = field(factory=dict)  # tokens and column of each group key
    _first: dict[str, list[tuple[str, ...]]] = field(factory=dict)  # keys by their first token
    _names: set[str] = field(factory=set)
    _partials: dict[str, str] = field(factory=dict)  # expression of the nodes -> column
    _spread: bool = False  # the nodes group by more than the user does

    @property
    def single(self) -> bool:
        """Whether there is one row whatever the nodes find."""
        return not self._keys

    def built(self) -> tuple[str, str, list[str], list[str]]:
        """The statement for the nodes, the unifying select, its titles and its types."""
        shape, select = self.shape, self.shape.select
        distinct = self._read_keys()
        shown = [place for place in range(len(select.items)) if not hidden(shape, place)]
        finals = [self._final(select.items[place].tokens) for place in shown]
        having = self._final(select.clauses["having"]) if select.clauses.get("having") else ""
        order = [] if self.single else self._order(shown)
        types = shape.types
        statement = f"select {'distinct ' if distinct else ''}{', '.join(finals)} from {quoted(self.result)}"
        if self._keys:
            statement += f" group by {', '.join(map(quoted, self._keys.values()))}"
        if having:
            statement += f" having {having}"
        if order:
            statement += f" order by {', '.join(text for text, _ in order)}"
        if shape.limit is not None or shape.offset:
            statement += f" limit {-1 if shape.limit is None else shape.limit} offset {shape.offset}"
        asked = self._statement(order, pushed=not (having or distinct or self._spread))
        return asked, statement, [shape.titles[place] for place in shown], [types[place] for place in shown]

    # Keys

    def _read_keys(self) -> bool:
        """Find the group keys; gives whether the unifying select must be distinct."""
        shape, select = self.shape, self.shape.select
        if shape.increments is not None and shape.bucket is not None:
            asked = shape.increments
            text = f"increments({asked.unit}, {asked.number}, {asked.column.strip()})"
            self._key(select.items[shape.bucket].tokens, text, "increments_1", "TEXT", group=False)
        body = select.clauses.get("group")
        for piece in split(body) if body else []:
            place = self._grouped_item(piece)
            self._plain_key(piece if place is None else select.items[place].tokens)
        if not select.distinct:
            return False
        if body or is_aggregate(select):
            return True
        for item in select.items:
            self._plain_key(item.tokens)
        return False

    def _grouped_item(self, piece: Sequence[Token]) -> int | None:
        """The item that a group key names: a column of that name comes first."""
        if len(piece) == 1 and piece[0].names() and piece[0].value.lower() in self.shape.columns:
            return None
        return item_named(piece, self.shape)

    def _plain_key(self, tokens: Sequence[Token]) -> None:
        if not tokens or any(aggregate_at(tokens, place) for place in range(len(tokens))):
            raise AnyLogError(46, f"group by {render(tokens).strip() or 'nothing'} is not possible")
        if _words(tokens) in self._keys:
            return
        column = column_of(tokens)
        kind = kept_as(self.shape.columns[column.value.lower()]) if column else ""
        wished = column.value.lower() if column else f"key_{len(self._keys) + 1}"
        self._key(tokens, render(tokens).strip(), wished, kind)

    def _key(self, tokens: Sequence[Token], text: str, wished: str, kind: str, group: bool = True) -> None:
        name = self._column(text, wished, kind)
        if group:
            self._group.append(text)
        words = _words(tokens)
        self._keys[words] = name
        self._first.setdefault(words[0], []).append(words)

    def _column(self, text: str, wished: str, kind: str = "") -> str:
        """The column of the result table that holds `text`, made when first wanted."""
        known = self._partials.get(text)
        if known is not None:
            return known
        while wished.lower() in self._names:  # to the engine, letter case makes no other column
            wished += "_"
        self._names.add(wished.lower())
        if "collate" in text:  # texts that are equal on the nodes are equal here
            kind = f"{kind} {collation(tokenise(text))}".strip()
        self._partials[text] = wished
        self._asked.append(text if text == wished else f"{text} as {quoted(wished)}")
        self.created.append((wished, kind))
        return wished

    # Expressions

    def _final(self, tokens: Sequence[Token]) -> str:
        """An expression over the result table. Raises AnyLogError 46 for a column that is not grouped."""
        made: list[str] = []
        named = set(references(tokens, self.shape.columns))
        place = 0
        while place < len(tokens):
            key = self._key_at(tokens, place)
            gap = " " if tokens[place].gap or (place and tokens[place - 1].text == ",") else ""
            if key is not None:
                size, name = key
                made.append(gap + quoted(name))
                place += size
                continue
            if aggregate_at(tokens, place):
                end = closing(tokens, place + 1)
                made.append(gap + self._aggregate(tokens[place].text, list(tokens[place + 2 : end])))
                place = end + 1
                continue
            token = tokens[place]
            if token.kind == "name" and place + 1 < len(tokens) and tokens[place + 1].text == "(":
                end = closing(tokens, place + 1)
                self.plain = self.plain and (token.text in _QUICK or token.text in ("in", "and", "or", "not"))
                if token.text in ("extract", "date_trunc"):
                    made.append(gap + self._time(tokens[place : end + 1]))
                    place = end + 1
                    continue
            elif place in named:
                made.append(gap + self._titled(token))
                place += 1
                continue
            made.append(gap + token.text)
            place += 1
        return "".join(made).strip()

    def _titled(self, token: Token) -> str:
        """A title used in an expression stands for its item."""
        name = token.value.lower()
        place = None if name in self.shape.columns else item_named([token], self.shape)
        if place is None:
            raise AnyLogError(
                46, f"Non supported SQL: column '{token.value}' is neither in group by nor inside an aggregate"
            )
        return f"({self._final(self.shape.select.items[place].tokens)})"

    def _time(self, tokens: Sequence[Token]) -> str:
        """`extract` and `date_trunc` over what the nodes gave."""
        mark = Token("quoted", '"anylog_value"')
        text = render(translated([*tokens[:4], mark, tokens[-1]])).strip()
        return text.replace(mark.text, f"({self._final(tokens[4:-1])})")

    def _key_at(self, tokens: Sequence[Token], place: int) -> tuple[int, str] | None:
        """Length and column of the longest group key that stands at `place` as a whole operand."""
        best: tuple[int, str] | None = None
        first = tokens[place].value.lower() if tokens[place].names() else tokens[place].text
        for words in self._first.get(first, ()):
            size, name = len(words), self._keys[words]
            if _words(tokens[place : place + size]) != words or (best and best[0] >= size):
                continue
            following = tokens[place + size].text if place + size < len(tokens) else ""
            if size == 1:
                whole = following not in ("(", ".")
            elif tokens[place].kind == "name" and words[1] == "(":
                whole = closing(tokens, place + 1) == place + size - 1
            else:  # an operator outside might bind more closely than those inside
                before = tokens[place - 1].text if place else ""
                whole = before in ("", "(", ",") and following in ("", ")", ",")
            if whole:
                best = size, name
        return best

    def _aggregate(self, name: str, inside: list[Token]) -> str:
        """The unifying form of one aggregate call; its partial columns are added to what the nodes are asked."""
        distinct = bool(inside) and inside[0].says("distinct")
        argument = inside[1:] if distinct else inside
        text = render(argument).strip()
        number = len(self.created) + 1
        if not argument or len(split(argument)) != 1 or any(aggregate_at(argument, at) for at in range(len(argument))):
            raise AnyLogError(
                46,
                f'Non supported SQL: Error parsing SQL stmt near function: "{name}({compact(inside)})"',
            )
        if distinct and name not in ("min", "max", "range"):
            return self._distinct(name, text, number)
        if name == "count":
            wished = "count_all" if text == "*" else f"count_func_{number}"
            return f"coalesce(sum({quoted(self._column(f'count({text})', wished))}), 0)"
        if name in ("min", "max", "sum", "total"):
            column = quoted(self._column(f"{name}({text})", f"{name}_{number}"))
            return f"{name}({column})"
        plain = column_of(argument)
        of = plain.value.lower() if plain else f"{number}"
        if name == "range":
            low = quoted(self._column(f"min({text})", f"RANGE__{of}_MIN"))
            high = quoted(self._column(f"max({text})", f"RANGE__{of}_MAX"))
            return f"abs(max({high}) - min({low}))"
        real = plain is not None and self.shape.columns.get(of) in _REAL
        # Whole numbers are summed as reals: their average exists where their sum is too large for the engine.
        added = quoted(self._column(f"sum({text})" if real else f"sum(({text}) * 1.0)", f"SUM__{of}"))
        counted = quoted(self._column(f"count({text})", f"COUNT__{of}"))
        return f"(sum({added}) / nullif(sum({counted}), 0))"

    def _distinct(self, name: str, text: str, number: int) -> str:
        """Each node gives the different values, not how many: they are counted once all are here."""
        if text not in self._partials:
            self._group.append(text)
            self._spread = True
        column = quoted(self._column(text, f"distinct_{number}"))
        return f"{name}(distinct {column})"

    # Order and limit

    def _order(self, shown: Sequence[int]) -> list[tuple[str, str | None]]:
        """Each piece of the order: its text, and the column of the result table if it is a plain group key."""
        found: list[tuple[str, str | None]] = []
        body = self.shape.select.clauses.get("order")
        for piece in split(body) if body else []:
            expression, after = direction(piece)
            place = item_named(expression, self.shape)
            tokens = expression if place is None else self.shape.select.items[place].tokens
            key = self._key_at(tokens, 0)
            words = render(after).strip()
            how = f" {words}" if words else ""
            column = key[1] if key and key[0] == len(tokens) else None
            if column is not None:
                found.append((quoted(column) + how, column))
            elif place is not None:
                found.append((f"{list(shown).index(place) + 1}{how}", None))
            else:
                found.append((self._final(tokens) + how, None))
        if self.shape.bucket is not None and "increments_1" not in [column for _, column in found]:
            found.append((quoted("increments_1"), "increments_1"))
        return found

    def _statement(self, order: Sequence[tuple[str, str | None]], pushed: bool) -> str:
        """What every node is asked; order and limit only where no partial group can be cut off."""
        shape, select = self.shape, self.shape.select
        parts = [f"select {', '.join(self._asked) or '1'} from {shape.table_text}"]
        if select.clauses.get("where"):
            parts.append(f"where {render(select.clauses['where']).strip()}")
        if self._group:
            parts.append(f"group by {', '.join(self._group)}")
        keys = set(self._keys.values())
        ordered = [column for _, column in order]
        covered = None not in ordered and keys <= set(ordered)
        free = not order and select.distinct and not is_aggregate(select)  # any so many different rows will do
        if pushed and keys and shape.limit is not None and (covered or free):
            names = [name for name, _ in self.created]
            pieces = [text.replace(quoted(column), str(names.index(column) + 1), 1) for text, column in order if column]
            if pieces:
                parts.append(f"order by {', '.join(pieces)}")
            parts.append(f"limit {shape.limit + shape.offset}")
        return " ".join(parts)


def _words(tokens: Sequence[Token]) -> tuple[str, ...]:
    """Tokens as they are compared: without gaps, letter case and quotes of names."""
    return tuple(token.value.lower() if token.names() else token.text for token in tokens)
