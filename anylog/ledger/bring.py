"""What is told of the policies that were found: `bring.flags items separator = s` (metadata.md 5.2). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import frozen

from anylog.errors import AnyLogError
from anylog.language.context import Result
from anylog.language.dictionary import shown
from anylog.language.tables import bar_table, framed
from anylog.language.tokens import Kind, Token, joined
from anylog.ledger.policies import Policies
from anylog.ledger.policy import Policy
from anylog.ledger.relations import Wide, beside_it, extended, with_parents, with_paths

FLAGS: tuple[str, ...] = (
    *("unique", "first", "recent", "last", "json", "null", "list", "table", "sort", "count", "ip_port", "min", "max"),
    *("children", "parents", "paths", "extend"),
)
_RELATED = ("parents", "paths", "extend")
_ALONE = frozenset(("first", "recent", "last", "count", "ip_port", "json", "children", *_RELATED))  # need no items
_FLAG = re.compile(r"[.|]([a-z_]+)(?:\(([, ]*(?:[0-9]{1,9}(?:[, ]+|(?=\))))*+)\))?", re.IGNORECASE)
_FUNCTION = re.compile(r"(.*?)\((find|rfind|prefix|suffix)\((.*)\)\)", re.DOTALL | re.IGNORECASE)
_PIECE = re.compile(r"(?:\[[^\[\]]*\])+|[^\[]+|\[")
_STEP = re.compile(r"\[([^\[\]]*)\]")
_CONTROLS = {"\\n": "\n", "\\t": "\t", "\\r": "\r"}


@frozen
class Item:
    """A literal, or the path of an attribute: names, of which the last may be worked on by a function."""

    literal: str = ""
    path: tuple[str, ...] | None = None
    function: str = ""
    argument: str = ""

    @property
    def key(self) -> str:
        """The key of its values in objects, the title in tables."""
        if not self.path or self.path == ("*",):
            return "policy"
        return next((name for name in reversed(self.path) if name), "policy")


@frozen
class Bring:
    """What to tell. `flags` are those given; `order` the columns of `sort`, empty for all."""

    flags: frozenset[str]
    items: Sequence[Item] = ()
    separator: str = ""
    order: tuple[int, ...] = ()

    @classmethod
    def read(cls, word: str, tokens: Sequence[Token]) -> Bring:
        """`word` is `bring.flag.flag`, `tokens` what follows it. Raises AnyLogError 2 naming what cannot be read."""
        flags, order = _flags(word)
        tokens, separator = _separator(tokens)
        items = tuple(item for token in tokens for item in _items(token))
        if not items and not flags & _ALONE:
            raise AnyLogError(2, "Missing info after 'bring'")
        if flags & {"min", "max"} and sum(item.path is not None for item in items) != 1:
            raise AnyLogError(2, f"'{word}' is of one attribute")
        return cls(flags, items, separator, order)

    def tell(self, found: Sequence[Policy], policies: Policies, address_of: Callable[[Policy], str]) -> Result:
        """The result for the policies found, which are in the order of the ledger.

        An empty one has the text `""` and the value `[]`: a variable it is assigned to becomes undefined.
        """
        if "children" in self.flags:
            found = [child for each in found for child in policies.find(parent=each.id)]
        if "first" in self.flags:
            found = found[:1]
        elif self.flags & {"recent", "last"}:
            found = found[-1:]
        for flag, relate in (("extend", extended), ("parents", with_parents), ("paths", with_paths)):
            if flag in self.flags:
                found = [relate(each, policies) for each in found]
        if "ip_port" in self.flags:
            nodes = (node for each in found for node in (each, *beside_it(each)))
            addresses = dict.fromkeys(address for node in nodes if (address := address_of(node)))
            return _told((self.separator or ",").join(addresses))
        if not self.items:
            if "count" in self.flags:
                return self._counted(len(found))
            return Result(text=None if found else "", data=[each.value for each in found], format="json")
        if self.flags & {"min", "max"}:
            return self._extreme(found)
        if "json" in self.flags and "count" not in self.flags:
            return _listed(self._unique(self._objects(found)))
        if "table" in self.flags:
            return self._table(found)
        rows = [text for each in found if (text := self._row(each)) is not None]
        rows = self._unique(rows)
        if "count" in self.flags:
            return self._counted(len(rows))
        if "list" in self.flags:
            return _listed(rows)
        return _told(self.separator.join(rows))

    def _unique(self, rows: list[Any]) -> list[Any]:
        if "unique" not in self.flags:
            return rows
        return list({shown(row): row for row in reversed(rows)}.values())[::-1]

    def _counted(self, number: int) -> Result:
        if "json" in self.flags:
            return Result(data=[{"count": number}], format="json")
        return Result(text=str(number), data=number)

    def _row(self, policy: Policy) -> str | None:
        """The items of one policy as a text, None if it has none of the attributes."""
        parts, some = [], False
        for item in self.items:
            if item.path is None:
                parts.append(item.literal)
                some = some or all(each.path is None for each in self.items)
            elif (value := value_of(policy, item)) is not None:
                parts.append(shown(value))
                some = True
        return "".join(parts) if some else None

    def _objects(self, found: Sequence[Policy]) -> list[dict[str, Any]]:
        rows = []
        for each in found:
            row = {}
            for item in self.items:
                if item.path is not None:
                    value = value_of(each, item)
                    if value is not None or "null" in self.flags:
                        row[item.key] = "" if value is None else value
            if row:
                rows.append(row)
        return rows

    def _table(self, found: Sequence[Policy]) -> Result:
        items = [item for item in self.items if item.path is not None]
        rows = [[shown(value_of(each, item)) for item in items] for each in found]
        rows = self._unique(rows)
        if "sort" in self.flags:
            order = self.order or tuple(range(len(items)))
            if any(place >= len(items) for place in order):
                raise AnyLogError(2, f"sort{order}: there are {len(items)} columns, the first is 0")
            rows.sort(key=lambda row: [_sortable(row[place]) for place in order])
        if not rows:
            return _listed([])
        titles = [item.key[:1].upper() + item.key[1:] for item in items]
        data = [dict(zip((item.key for item in items), row, strict=True)) for row in rows]
        return Result(text=framed(bar_table(titles, rows)), data=data, format="table")

    def _extreme(self, found: Sequence[Policy]) -> Result:
        item = next(item for item in self.items if item.path is not None)
        values = [value for each in found if (value := value_of(each, item)) is not None]
        if not values:
            return _told("")
        best = (min if "min" in self.flags else max)(values, key=lambda value: _sortable(shown(value)))
        return _listed([{item.key: best}]) if "json" in self.flags else _told(shown(best))


def value_of(policy: Policy, item: Item) -> Any:
    """What stands at the path of an item; None if nothing does."""
    path = item.path or ()
    if not path or path in (("*",), ("",)):
        return policy.type
    if isinstance(policy, Wide) and path[0] != policy.type and path[0] in policy.others:
        value = _walk(policy.others[path[0]], path[1:])
        return _worked(shown(value), item.function, item.argument) if item.function and value is not None else value
    if path[0] in ("*", "", policy.type) and len(path) > 1:
        path = path[1:]
    elif len(path) == 1 and path[0] == policy.type and path[0] not in policy.body:
        return dict(policy.body)
    value = _walk(policy.get(path[0]), path[1:])
    if value is None or not item.function:
        return value
    return _worked(shown(value), item.function, item.argument)


def _walk(value: Any, path: Sequence[str]) -> Any:
    """Down a path; in a list it means each entry, and `[]` says so aloud: the value is a list then."""
    if not path:
        return value
    if isinstance(value, Mapping):
        return _walk(value.get(path[0]), path[1:])
    if not isinstance(value, list):
        return None
    if re.fullmatch("[0-9]{1,9}", path[0]):
        return _walk(value[int(path[0])], path[1:]) if int(path[0]) < len(value) else None
    rest = path[1:] if path[0] == "" else path
    found = [inner for each in value if (inner := _walk(each, rest)) is not None]
    return found[0] if len(found) == 1 and path[0] else found or None


def _worked(text: str, function: str, argument: str) -> str:
    if function == "prefix" or function == "suffix":
        size = int(argument) if re.fullmatch("[0-9]{1,9}", argument) else 0
        return text[:size] if function == "prefix" else text[len(text) - size if size < len(text) else 0 :]
    if function == "find":
        return text.partition(argument)[0]
    return text.rpartition(argument)[2]


def _flags(word: str) -> tuple[frozenset[str], tuple[int, ...]]:
    begin, rest = word[: len("bring")], word[len("bring") :]
    flags: set[str] = set()
    order: tuple[int, ...] = ()
    at = 0
    while begin.lower() == "bring" and at < len(rest):
        found = _FLAG.match(rest, at)
        if found is None or found[1].lower() not in FLAGS or (found[2] is not None and found[1].lower() != "sort"):
            break
        flags.add(found[1].lower())
        if found[2]:
            order = tuple(int(place) for place in found[2].replace(",", " ").split())
        at = found.end()
    if at < len(rest) or begin.lower() != "bring":
        raise AnyLogError(2, f"'{word[:80]}': the flags of bring are {', '.join(FLAGS)}")
    return frozenset(flags), order


def _separator(tokens: Sequence[Token]) -> tuple[Sequence[Token], str]:
    """What stands before `separator = text`, and the text."""
    for place, token in enumerate(tokens):
        if token.is_word("separator") and place + 1 < len(tokens) and tokens[place + 1].is_operator("="):
            value = tokens[place + 2 :]
            if not value:
                raise AnyLogError(2, "a text is missing after 'separator ='")
            return tokens[:place], _literal(joined(value, [_plain(each) for each in value]))
    return tokens, ""


def _plain(token: Token) -> str:
    return token.text[1:-1] if token.kind is Kind.SINGLE else token.text


def _literal(text: str) -> str:
    for written, control in _CONTROLS.items():
        text = text.replace(written, control)
    return text


def _items(token: Token) -> list[Item]:
    """The items of one token: paths, and what stands between them."""
    if token.kind is not Kind.JSON or token.text.startswith("{"):
        return [Item(_literal(_plain(token)))]
    return [
        _path(piece) if piece.startswith("[") and piece.endswith("]") else Item(_literal(piece))
        for piece in _PIECE.findall(token.text)
    ]


def _path(piece: str) -> Item:
    names = [name.strip() for name in _STEP.findall(piece)]
    function = _FUNCTION.fullmatch(names[-1]) if names else None
    if function:
        names[-1] = function[1].strip()
    path = tuple(name.strip("\"'") for name in names)
    if function is None:
        return Item(path=path)
    return Item(path=path, function=function[2].lower(), argument=function[3].strip("\"'"))


def _sortable(text: str) -> tuple[int, float, str]:
    try:
        return (0, float(text), "")
    except ValueError:
        return (1, 0.0, text.casefold())


def _told(text: str) -> Result:
    return Result(text=text) if text else Result(text="", data=[], format="json")


def _listed(rows: list[Any]) -> Result:
    return Result(text=None if rows else "", data=rows, format="json")
