"""The expressions of `python`: a small part of Python, walked as a tree and never handed to the interpreter.

Sources: language.md 9.4, security.md 9 (no eval). Pure; what is wrong, unknown or too large is AnyLogError 34. There
are no loops in it, so its work is bounded by its length and by the size of what each step may give.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from attrs import define

from anylog.errors import AnyLogError
from anylog.language.dictionary import Scope, shown
from anylog.language.tokens import Kind, tokens_of

LONGEST = 4096  # characters of an expression
DEEPEST = 60  # levels of its tree
LARGEST = 1 << 18  # characters and entries of a value, in all its levels
TOGETHER = 1 << 21  # of all values that come about on the way
BITS = 16_384  # of a whole number

_REFERENCE = re.compile(
    r"""(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(?P<mark>[!$])(?P<key>[A-Za-z0-9_][A-Za-z0-9_\-]*)"""
    r"(?P<cast>\.(?:int|float|str|bool|name|len)\b(?!\s*\())?",
    re.DOTALL,
)
_NAME = "reference_"  # and a number: what stands for a `!key` while the tree is walked
_STRFTIME = re.compile(r"(?:[^%]|%-?[A-Za-z%])*", re.DOTALL)

_TEXT = frozenset(
    [
        "split",
        "rsplit",
        "strip",
        "lstrip",
        "rstrip",
        "replace",
        "lower",
        "upper",
        "title",
        "capitalize",
        "swapcase",
        "casefold",
        "startswith",
        "endswith",
        "find",
        "rfind",
        "index",
        "rindex",
        "count",
        "join",
        "zfill",
        "ljust",
        "rjust",
        "center",
        "partition",
        "rpartition",
        "splitlines",
        "removeprefix",
        "removesuffix",
        "isdigit",
        "isalpha",
        "isalnum",
        "isnumeric",
        "isdecimal",
        "isspace",
        "isupper",
        "islower",
    ]
)
_METHODS: Mapping[type, frozenset[str]] = {
    str: _TEXT,
    list: frozenset(("index", "count")),
    tuple: frozenset(("index", "count")),
    dict: frozenset(("get", "keys", "values", "items")),
    datetime: frozenset(["strftime", "isoformat", "timestamp", "date", "time", "weekday", "isoweekday", "replace"]),
    date: frozenset(["strftime", "isoformat", "weekday", "isoweekday", "replace"]),
    time: frozenset(("strftime", "isoformat")),
    timedelta: frozenset(("total_seconds",)),
    float: frozenset(("is_integer",)),
}
_ATTRIBUTES: Mapping[type, frozenset[str]] = {
    datetime: frozenset(["year", "month", "day", "hour", "minute", "second", "microsecond"]),
    date: frozenset(["year", "month", "day"]),
    time: frozenset(["hour", "minute", "second", "microsecond"]),
    timedelta: frozenset(["days", "seconds", "microseconds"]),
}
_VALUES = (str, int, float, bool, type(None), list, tuple, dict, datetime, date, time, timedelta)

_UNARY: Mapping[type, Callable[[Any], Any]] = {
    ast.Not: operator.not_,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: operator.invert,
}
_BINARY: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}
_COMPARED: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}


def evaluated(text: str, scope: Scope, now: float) -> Any:
    """The value of an expression; `!key` and `$NAME` are texts, or what their suffix makes of them.

    `now` is unix seconds, for `datetime.utcnow()`. Gives text, numbers, True, False, None, lists, dicts or times.
    """
    text = text.strip()
    if len(text) > LONGEST:
        raise AnyLogError(34, f"python: an expression of {len(text):,} characters, at most {LONGEST:,}")
    if text.startswith('"'):
        tokens = tokens_of(text)
        if len(tokens) == 1 and tokens[0].kind is Kind.DOUBLE:
            text = tokens[0].text.strip()
    if not text:
        raise AnyLogError(2, "python: an expression is missing")
    source, values = _with_names(text, scope)
    try:
        tree = ast.parse(source, mode="eval")
    except SyntaxError as wrong:
        raise _wrong(text, wrong.msg) from None
    except (ValueError, MemoryError, RecursionError):
        raise _wrong(text, "nested too deep") from None
    try:
        return _Walk(text, values, now).value(tree.body)
    except AnyLogError:
        raise
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, re.error) as why:
        raise _wrong(text, f"{type(why).__name__}: {why}") from None


def _wrong(text: str, why: str) -> AnyLogError:
    return AnyLogError(34, f"python {text[:200]}: {why}")


def _with_names(text: str, scope: Scope) -> tuple[str, dict[str, Any]]:
    """References outside quotes as names, and the values of these. Raises AnyLogError 34 for an undefined one."""
    values: dict[str, Any] = {}

    def named(found: re.Match[str]) -> str:
        if found["text"]:
            return found[0]
        key, cast = found["key"], found["cast"] or ""
        value, rest = scope.plain(found["mark"] + key), ""
        while value is None and "-" in key:  # `!a-!b`, `!a-1`: a key may hold a minus
            key, _, tail = key.rpartition("-")
            rest = f"-{tail}{rest}"
            value = scope.plain(found["mark"] + key)
        word = found["mark"] + key
        if value is None:
            raise _wrong(text, f"'{found['mark']}{found['key']}' is not defined")
        if cast and not rest:
            value = scope.resolve(word + cast)
            if value is None:
                raise _wrong(text, f"'{word}{cast}' has no value: '{shown(scope.plain(word))[:80]}'")
        elif not isinstance(value, list | dict):
            value = shown(value)
        name = f"{_NAME}{len(values)}"
        values[name] = value
        return f" {name}" + (f"{rest}{cast}" if rest else " ")

    return _REFERENCE.sub(named, text).strip(), values


@define
class _Clock:
    """The words `datetime` and `datetime.datetime`: a moment is the node's, in UTC."""

    now: float

    def call(self, name: str, given: list[Any], named: Mapping[str, Any]) -> Any:
        """One of the functions of times; KeyError if there is none of that name."""
        if name in ("now", "utcnow", "today"):
            _plain_numbers(given, named, most=0)
            return datetime.fromtimestamp(self.now, UTC).replace(tzinfo=None)
        if name in ("fromtimestamp", "utcfromtimestamp"):
            return datetime.fromtimestamp(float(given[0]), UTC).replace(tzinfo=None)
        if name == "strptime":
            return datetime.strptime(*given)  # without a zone it is UTC (decisions.md 31)
        if name == "fromisoformat":
            return datetime.fromisoformat(*given)
        if name == "timedelta":
            return timedelta(*given, **named)
        if name == "date":
            return date(*given, **named)
        if name == "datetime":
            return datetime(*given, **named)
        raise KeyError(name)


def _plain_numbers(given: list[Any], named: Mapping[str, Any], most: int) -> None:
    if named or len(given) > most:
        raise TypeError("takes no values")


class _Walk:
    """One evaluation."""

    def __init__(self, text: str, values: Mapping[str, Any], now: float) -> None:
        self._text, self._values, self._clock = text, values, _Clock(now)
        self._depth = self._spent = 0
        given = [len(each) for each in values.values() if isinstance(each, str | list | dict)]
        self._largest = max([LARGEST, *given]) + 1  # what was given may be looked at, too
        self._kinds: Mapping[type, Callable[[Any], Any]] = {
            ast.Constant: self._constant,
            ast.Name: self._name,
            ast.List: lambda node: [self.value(each) for each in node.elts],
            ast.Tuple: lambda node: tuple(self.value(each) for each in node.elts),
            ast.Dict: self._dict,
            ast.UnaryOp: lambda node: _UNARY[type(node.op)](self.value(node.operand)),
            ast.BinOp: self._binary,
            ast.BoolOp: self._boolean,
            ast.Compare: self._compared,
            ast.IfExp: lambda node: self.value(node.body if self.value(node.test) else node.orelse),
            ast.Subscript: self._subscript,
            ast.Slice: lambda node: slice(*(self._slot(each) for each in (node.lower, node.upper, node.step))),
            ast.Attribute: self._attribute,
            ast.Call: self._call,
        }

    def refuse(self, why: str) -> AnyLogError:
        return _wrong(self._text, why)

    def value(self, node: ast.expr) -> Any:
        """The value of a part. Raises AnyLogError 34 for what is not of this language."""
        kind = self._kinds.get(type(node))
        if kind is None:
            raise self.refuse(f"{type(node).__name__} is not part of these expressions")
        self._depth += 1
        if self._depth > DEEPEST:
            raise self.refuse(f"more than {DEEPEST} levels")
        value = kind(node)
        self._depth -= 1
        return self._bounded(value)

    def _bounded(self, value: Any) -> Any:
        if isinstance(value, str | list | tuple | dict):
            if not any(value is each for each in self._values.values()):
                size = _size(value, self._largest)
                self._spent += size
                if size > self._largest or self._spent > TOGETHER + 16 * self._largest:
                    raise self.refuse(f"values of more than {LARGEST:,} characters or entries")
        elif isinstance(value, int) and value.bit_length() > BITS:
            raise self.refuse(f"a number of more than {BITS:,} bits")
        elif not isinstance(value, (*_VALUES, slice)):
            raise self.refuse(f"a value of type {type(value).__name__}")
        return value

    def _slot(self, node: ast.expr | None) -> Any:
        return None if node is None else self.value(node)

    def _constant(self, node: ast.Constant) -> Any:
        if not isinstance(node.value, str | int | float | type(None)):
            raise self.refuse(f"{type(node.value).__name__} is not part of these expressions")
        if isinstance(node.value, str):
            node.value.encode()  # half of a pair, as "\ud800", is no text
        return node.value

    def _name(self, node: ast.Name) -> Any:
        if node.id in self._values:
            return self._values[node.id]
        words = {"true": True, "false": False, "null": None}
        if node.id in words:
            return words[node.id]
        raise self.refuse(f"'{node.id}' is no name here; texts stand in quotes, keys after '!'")

    def _dict(self, node: ast.Dict) -> dict[Any, Any]:
        if any(key is None for key in node.keys):
            raise self.refuse("** is not part of these expressions")
        return {self.value(key): self.value(value) for key, value in zip(node.keys, node.values, strict=True) if key}

    def _binary(self, node: ast.BinOp) -> Any:
        left, right = self.value(node.left), self.value(node.right)
        if isinstance(node.op, ast.MatMult):
            raise self.refuse("@ is not part of these expressions")
        if isinstance(node.op, ast.Mod) and isinstance(left, str):
            raise self.refuse("% on a text is not part of these expressions")
        self._check_size(node.op, left, right)
        return _BINARY[type(node.op)](left, right)

    def _check_size(self, op: ast.operator, left: Any, right: Any) -> None:
        """What is too large is not even made."""
        whole = isinstance(left, int) and isinstance(right, int)
        if isinstance(op, ast.Mult):
            for one, times in ((left, right), (right, left)):
                if isinstance(one, str | list | tuple) and isinstance(times, int) and len(one) * times > LARGEST:
                    raise self.refuse(f"a value of more than {LARGEST:,} characters or entries")
        if isinstance(op, ast.Pow) and whole and abs(left) > 1 and abs(right) * left.bit_length() > BITS:
            raise self.refuse(f"a number of more than {BITS:,} bits")
        if isinstance(op, ast.LShift) and whole and right > BITS:
            raise self.refuse(f"a number of more than {BITS:,} bits")

    def _boolean(self, node: ast.BoolOp) -> Any:
        value: Any = None
        for each in node.values:
            value = self.value(each)
            if bool(value) is isinstance(node.op, ast.Or):
                break
        return value

    def _compared(self, node: ast.Compare) -> bool:
        left = self.value(node.left)
        for op, other in zip(node.ops, node.comparators, strict=True):
            right = self.value(other)
            if not _COMPARED[type(op)](left, right):
                return False
            left = right
        return True

    def _subscript(self, node: ast.Subscript) -> Any:
        return self.value(node.value)[self.value(node.slice)]

    def _attribute(self, node: ast.Attribute) -> Any:
        value = self.value(node.value)
        if node.attr not in _ATTRIBUTES.get(type(value), ()):
            raise self.refuse(f"'{node.attr}' of a value of type {type(value).__name__} is not known here")
        return getattr(value, node.attr)

    # ------------------------------------------------------------------ calls

    def _call(self, node: ast.Call) -> Any:
        if any(isinstance(each, ast.Starred) for each in node.args) or any(each.arg is None for each in node.keywords):
            raise self.refuse("* is not part of these expressions")
        function = node.func
        dotted = _dotted(function)
        if dotted[:1] == ["datetime"] or dotted in (["timedelta"], ["date"]):
            given, named = self._given_to(node)
            names = [name for name in dotted if name != "datetime"] or ["datetime"]
            try:
                return self._clock.call(".".join(names), given, named)
            except KeyError:
                raise self.refuse(f"'{'.'.join(dotted)}' is not known here") from None
        if isinstance(function, ast.Name):
            return self._function(function.id, *self._given_to(node))
        if isinstance(function, ast.Attribute):
            value = self.value(function.value)
            if function.attr not in _METHODS.get(type(value), ()):
                raise self.refuse(f"'{function.attr}' of a value of type {type(value).__name__} is not known here")
            given, named = self._given_to(node)
            self._check_method(value, function.attr, given)
            made = getattr(value, function.attr)(*given, **named)
            return list(made) if isinstance(value, dict) and function.attr != "get" else made
        raise self.refuse("only functions and methods that are known by name are called")

    def _given_to(self, node: ast.Call) -> tuple[list[Any], dict[str, Any]]:
        return [self.value(each) for each in node.args], {
            each.arg or "": self.value(each.value) for each in node.keywords
        }

    def _function(self, name: str, given: list[Any], named: dict[str, Any]) -> Any:
        if name not in _FUNCTIONS:
            raise self.refuse(f"'{name}' is no function here; these are: {', '.join(sorted(_FUNCTIONS))}")
        if "key" in named:
            raise self.refuse("'key' is not part of these expressions")
        if name == "round" and any(
            not isinstance(digits, int | None) or abs(digits or 0) > 100 for digits in (*given[1:], *named.values())
        ):
            raise self.refuse("round: at most 100 digits")
        return _FUNCTIONS[name](*given, **named)

    def _check_method(self, value: Any, name: str, given: list[Any]) -> None:
        """What would be too large is not even made."""
        size = 0
        if name in ("zfill", "ljust", "rjust", "center") and given and isinstance(given[0], int):
            size = given[0]
        elif (
            name == "replace"
            and isinstance(value, str)
            and len(given) > 1
            and all(isinstance(g, str) for g in given[:2])
        ):
            size = value.count(given[0]) * len(given[1])
        elif name == "join" and given and isinstance(given[0], list | tuple):
            texts = [each for each in given[0] if isinstance(each, str)]
            size = sum(map(len, texts)) + len(value) * len(texts)
        elif name == "strftime" and given and not _STRFTIME.fullmatch(str(given[0])):
            raise self.refuse(f"'{given[0]}' is no format of a time")
        if size > LARGEST:
            raise self.refuse(f"a value of more than {LARGEST:,} characters or entries")


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": bool,
    "len": len,
    "min": min,
    "max": max,
    "abs": abs,
    "round": round,
    "sorted": sorted,
}


def _size(value: Any, most: int) -> int:
    """Characters and entries of a value, in all its levels; counting ends above `most`."""
    size, left = 0, [value]
    while left and size <= most:
        each = left.pop()
        size += 1
        if isinstance(each, str):
            size += len(each)
        elif isinstance(each, int):
            size += each.bit_length() >> 2  # it may be told, digit by digit
        elif isinstance(each, list | tuple):
            size += len(each)
            left += each[: most + 1]
        elif isinstance(each, dict):
            size += len(each)
            left += [*each, *each.values()]
    return size


def _dotted(node: ast.expr) -> list[str]:
    """`a.b.c` as its names, empty for anything else."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else []
