"""`bring` expressions over messages (ingest.md 4.2): read once, evaluated for every message. Pure.

A path that goes through a list with `[]` gives `Each`: one value a row. What is not there is MISSING; null is a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from attrs import frozen

from anylog.errors import AnyLogError
from anylog.mapping.values import MOST_TEXT, Unfit, text_of

LONGEST = 10_000  # characters of an expression
MOST_KEYS = 64  # keys of a path: as deep as a row may be

MISSING: Final[Any] = type("Missing", (), {"__repr__": lambda self: "MISSING", "__bool__": lambda self: False})()

MODS: tuple[str, ...] = ("first", "last", "recent", "unique", "sort", "min", "max", "count", "json", "list", "null")

Find = Callable[[Any], Any]

_BEGIN = re.compile(r"\s*bring(?=[\s.\[\"']|$)", re.IGNORECASE)
_MOD = re.compile(r"\.([a-z_]+)", re.IGNORECASE)
_KEY = re.compile(r"""\[(?:\s*'([^']*)'\s*|\s*"([^"]*)"\s*|([^\[\]]*))\]""")
_PLAIN = re.compile(r"\s*\[[\w .\-]*[\w.\-][\w .\-]*\]\s*")
_FUNCTION = re.compile(r"(.*?)\s*\(\s*(find|rfind|prefix|suffix)\s*\((.*)\)\s*\)", re.DOTALL | re.IGNORECASE)
_OR = re.compile(r"\s*:\s*(?=\[)")
_BLANK = re.compile(r"\s*")
_TEXT = re.compile(r"""'([^']*)'|"([^"]*)"|([^\s\["']+)""")
_SEPARATOR = re.compile(r"separator\s*=\s*", re.IGNORECASE)
_CONTROLS = {"\\n": "\n", "\\t": "\t", "\\r": "\r"}
_EACH, _ANY = "each", "any"


class Each(list[Any]):
    """The values of a path with `[]`, one for each entry of the list, MISSING where the entry has none."""

    __slots__ = ()


@frozen
class Bring:
    """An expression, ready to be evaluated."""

    text: str  # as it was written
    find: Find  # of a message: a value, Each, or MISSING; raises Unfit for values that cannot be a text
    many: bool  # whether a path of it goes through a list
    keys: tuple[str, ...]  # the first key of each path: attributes of the message it may look at
    plain: str = ""  # the one attribute that is looked up, where that is all it does

    @classmethod
    def read(cls, text: str) -> Bring:
        """`text` with or without the word `bring` before it. Raises AnyLogError 2 naming what cannot be read."""
        return _read(text)


def is_bring(text: str) -> bool:
    """Whether a text is an expression, not a literal."""
    return _BEGIN.match(text) is not None


def named(name: str) -> Find:
    """The attribute of an object: by its exact name, else in any letter case."""
    return _named((name,), None)


# Reading.


@frozen
class _Key:
    name: str
    sort: str = ""  # _EACH, _ANY, or empty for a name


def _read(text: str) -> Bring:
    if len(text) > LONGEST:
        raise AnyLogError(2, f"a 'bring' of {len(text):,} characters, at most {LONGEST:,}")
    begin = _BEGIN.match(text)
    at = begin.end() if begin else 0
    mods: list[str] = []
    while begin and (mod := _MOD.match(text, at)):
        if mod[1].lower() not in MODS:
            raise AnyLogError(2, f"'{text[:80]}': after 'bring.' comes one of {', '.join(MODS)}, not '{mod[1]}'")
        mods.append(mod[1].lower())
        at = mod.end()
    items: list[Find | str] = []
    keys: list[str] = []
    many, separator = False, None
    while at < len(text):
        at = _end(_BLANK, text, at)
        if at == len(text):
            break
        if text[at] == "[":
            find, at, each, first = _alternatives(text, at)
            items.append(find)
            many = many or each
            keys += first
            continue
        if items and (word := _SEPARATOR.match(text, at)):
            separator = _literal(_unquoted(text[word.end() :].strip()))
            if not separator:
                raise AnyLogError(2, f"'{text[:80]}': a text is missing after 'separator ='")
            break
        found = _TEXT.match(text, at)
        if found is None:
            raise AnyLogError(2, f"'{text[:80]}': a quotation is not closed")
        items.append(_literal(next(each for each in found.groups() if each is not None)))
        at = found.end()
    if not any(callable(item) for item in items):
        raise AnyLogError(2, f"'{text[:80]}' names no attribute: a path such as [device][name] is needed")
    one = items[0] if len(items) == 1 else _together(items)
    assert callable(one)
    plain = ""
    if len(items) == 1 and not mods and separator is None and _PLAIN.fullmatch(text[begin.end() if begin else 0 :]):
        plain = keys[0]
    return Bring(text.strip(), _worked_on(one, mods, separator), many, tuple(keys), plain)


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _literal(text: str) -> str:
    for spelled, control in _CONTROLS.items():
        text = text.replace(spelled, control)
    return text


def _alternatives(text: str, at: int) -> tuple[Find, int, bool, list[str]]:
    """`path : path ...` from `at` on, where it ends, whether it goes through a list, and the first key of each."""
    finds: list[Find] = []
    firsts: list[str] = []
    many = False
    while True:
        keys, function, at = _path(text, at)
        finds.append(_finder(keys, function))
        firsts.append(keys[0].name)
        many = many or any(key.sort == _EACH for key in keys)
        other = _OR.match(text, at)
        if other is None:
            return (finds[0] if len(finds) == 1 else _first_of(finds)), at, many, firsts
        at = other.end()


def _path(text: str, at: int) -> tuple[list[_Key], tuple[str, str] | None, int]:
    keys: list[_Key] = []
    function: tuple[str, str] | None = None
    while at < len(text) and text[at] == "[":
        found = _KEY.match(text, at)
        if found is None:
            raise AnyLogError(2, f"'{text[:80]}': cannot read the key at '{text[at : at + 40]}'")
        if function is not None:
            raise AnyLogError(2, f"'{text[:80]}': {function[0]} ends a path")
        single, double, bare = found.groups()
        if bare is None:
            keys.append(_Key(single if single is not None else double))
        else:
            call = _FUNCTION.fullmatch(bare.strip())
            if call:
                function = call[2].lower(), _unquoted(call[3])
                if function[0] in ("prefix", "suffix") and not re.fullmatch(r"\s*[0-9]{1,6}\s*", function[1]):
                    raise AnyLogError(2, f"'{text[:80]}': {function[0]} takes a number of characters")
                if not function[1]:
                    raise AnyLogError(2, f"'{text[:80]}': {function[0]} takes a text to look for")
            name = _unquoted((call[1] if call else bare).strip())
            keys.append(_Key(name, _EACH if not name else _ANY if name == "*" else ""))
        at = found.end()
    if len(keys) > MOST_KEYS:
        raise AnyLogError(2, f"'{text[:80]}': a path of {len(keys)} keys, at most {MOST_KEYS}")
    return keys, function, at


# Evaluating. A step finds its entry and hands it to the step after it; a path has at most MOST_KEYS of them.


def _finder(keys: Sequence[_Key], function: tuple[str, str] | None) -> Find:
    rest = None if function is None else _function(*function)
    at = len(keys)
    while at:
        at -= 1
        if keys[at].sort == _EACH and function is None and len(keys) == at + 2 and not keys[at + 1].sort:
            rest = _each_named(keys[at + 1].name)
        elif keys[at].sort == _EACH:
            rest = _each(rest, any(key.sort == _EACH for key in keys[at + 1 :]))
        elif keys[at].sort == _ANY:
            rest = _any(rest)
        else:
            end = at + 1
            while at and not keys[at - 1].sort:
                at -= 1
            rest = _named(tuple(key.name for key in keys[at:end]), rest)
    assert rest is not None
    return rest


def _named(path: tuple[str, ...], rest: Find | None) -> Find:
    if len(path) == 1 and rest is None:
        name = path[0]

        def one(value: Any) -> Any:
            if type(value) is dict and name in value:
                return value[name]
            return _entry(value, name)

        return one

    def find(value: Any) -> Any:
        for name in path:
            if type(value) is dict and name in value:
                value = value[name]
            else:
                value = _entry(value, name)
                if value is MISSING:
                    return value
        return value if rest is None else rest(value)

    return find


def _entry(value: Any, name: str) -> Any:
    """What is not there under the exact name: in another letter case, or by its place in a list."""
    if isinstance(value, dict):
        if name in value:
            return value[name]
        lower = name.lower()
        for key, found in value.items():
            if type(key) is str and len(key) == len(name) and key.lower() == lower:
                return found
    elif isinstance(value, list) and name.isdecimal() and name.isascii() and len(name) < 10 and int(name) < len(value):
        return value[int(name)]
    return MISSING


def _each(rest: Find | None, nested: bool) -> Find:
    def find(value: Any) -> Any:
        if not isinstance(value, list):
            if not isinstance(value, dict):
                return MISSING
            value = [value]  # a single reading that is not in a list
        if rest is None:
            return Each(value)
        if not nested:
            return Each([rest(each) for each in value])
        all_of_them = Each()
        for each in value:
            found = rest(each)
            if type(found) is Each:
                all_of_them += found
        return all_of_them

    return find


def _each_named(name: str) -> Find:
    """`[][name]`, the most common path of lists, at the speed of a loop in C where all entries have the name."""
    find_all = _each(named(name), False)

    def find(value: Any) -> Any:
        if type(value) is list:
            try:
                return Each([each[name] for each in value])
            except (KeyError, TypeError):
                pass
        return find_all(value)

    return find


def _any(rest: Find | None) -> Find:
    def find(value: Any) -> Any:
        if not isinstance(value, dict):
            return MISSING
        for each in value.values():
            found = each if rest is None else rest(each)
            if found is not MISSING:
                return found
        return MISSING

    return find


def _function(name: str, argument: str) -> Find:
    size = int(argument) if name in ("prefix", "suffix") else 0

    def work(value: Any) -> Any:
        if value is None or isinstance(value, dict | list):
            return MISSING if value is not None else None
        text = text_of(value)
        if name == "prefix":
            return text[:size]
        if name == "suffix":
            return text[-size:] if size else ""
        return text.partition(argument)[0] if name == "find" else text.rpartition(argument)[2]

    return work


def _first_of(finds: Sequence[Find]) -> Find:
    """Alternatives: the first that yields a value, entry by entry where they go through a list. Null comes last."""

    def find(value: Any) -> Any:
        best = MISSING
        for each in finds:
            found = each(value)
            if type(found) is Each and type(best) is Each and len(found) == len(best):
                best = Each([_better(one, other) for one, other in zip(best, found, strict=True)])
            elif best is MISSING or best is None:
                best = found if found is not MISSING else best
            if best is not MISSING and best is not None and (type(best) is not Each or not _gaps(best)):
                break
        return best

    return find


def _better(one: Any, other: Any) -> Any:
    if one is MISSING or (one is None and other is not MISSING):
        return other
    return one


def _gaps(values: Each) -> bool:
    return any(each is MISSING or each is None for each in values)


def _together(items: Sequence[Find | str]) -> Find:
    """Paths and texts as one text; MISSING if no path has anything."""

    def find(value: Any) -> Any:
        found = [item(value) if callable(item) else item for item in items]
        sizes = {len(each) for each in found if type(each) is Each}
        if not sizes:
            return _text(items, found)
        if len(sizes) > 1:
            raise Unfit(f"lists of different lengths: {', '.join(map(str, sorted(sizes)))}")
        size = sizes.pop()
        if (
            size * sum(len(text_of(each)) for each in found if type(each) is not Each and each is not MISSING)
            > MOST_TEXT
        ):
            raise Unfit(f"a long text before each of {size:,} entries")
        columns = [each if type(each) is Each else [each] * size for each in found]
        return Each([_text(items, parts) for parts in zip(*columns, strict=True)])

    return find


def _text(items: Sequence[Find | str], found: Sequence[Any]) -> Any:
    if all(part is MISSING or part is None for item, part in zip(items, found, strict=True) if callable(item)):
        return MISSING
    return "".join([text_of(part) for part in found if part is not MISSING])


def _worked_on(find: Find, mods: Sequence[str], separator: str | None) -> Find:
    if not mods and separator is None:
        return find

    def work(value: Any) -> Any:
        found = find(value)
        for mod in mods:
            found = _MODS[mod](found)
        if separator is not None and type(found) is Each:
            return separator.join([text_of(each) for each in found if each is not MISSING])
        return found

    return work


def _of_each(work: Callable[[list[Any]], Any]) -> Find:
    """A mod that is of several values; a single one stays what it is."""

    def apply(found: Any) -> Any:
        if type(found) is not Each:
            return found
        return work([each for each in found if each is not MISSING])

    return apply


def _unique(values: list[Any]) -> Each:
    found: dict[tuple[type, str], Any] = {}
    for each in values:
        found.setdefault((type(each), text_of(each)), each)
    return Each(found.values())


def _order(value: Any) -> tuple[int, float, str]:
    if isinstance(value, bool | int | float) and value == value:
        try:
            return (0, float(value), "")
        except OverflowError:
            return (0, float("inf") if value > 0 else float("-inf"), "")
    return (1, 0.0, text_of(value))


def _extreme(choose: Callable[..., Any]) -> Callable[[list[Any]], Any]:
    def work(values: list[Any]) -> Any:
        present = [each for each in values if each is not None]
        return choose(present, key=_order) if present else MISSING

    return work


_MODS: dict[str, Find] = {
    "first": _of_each(lambda values: values[0] if values else MISSING),
    "last": _of_each(lambda values: values[-1] if values else MISSING),
    "recent": _of_each(lambda values: values[-1] if values else MISSING),
    "unique": _of_each(_unique),
    "sort": _of_each(lambda values: Each(sorted(values, key=_order))),
    "min": _of_each(_extreme(min)),
    "max": _of_each(_extreme(max)),
    "count": lambda found: (
        0 if found is MISSING else sum(e is not MISSING for e in found) if type(found) is Each else 1
    ),
    "json": _of_each(list),
    "list": _of_each(list),
    "null": lambda found: None if found is MISSING else found,
}
