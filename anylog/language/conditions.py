"""Conditions of `if`, `wait ... for` and of data (language.md 7). Pure.

A condition is read whole before any of it is evaluated, so that a wrong one is an error (181) whatever its values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from attrs import frozen

from anylog.errors import AnyLogError
from anylog.language.dictionary import Scope, shown
from anylog.language.tokens import Kind, Token, joined, tokens_of

Test = Callable[[Scope, "Mapping[str, Any] | None"], bool]

_ALIASES = {"includes": "contains", "startwith": "startswith", "endwith": "endswith"}
_TEXT_OPERATORS = ("contains", "startswith", "endswith", "childfrom")
_OPERATORS = ("==", "!=", "<", "<=", ">", ">=")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


def holds(tokens: Sequence[Token], scope: Scope, row: Mapping[str, Any] | None = None) -> bool:
    """Whether the condition is true. `row` is the policy or data row that `[attribute]` refers to.

    Raises AnyLogError 181 for what is no condition and 2 for values that cannot be compared as asked.
    """
    return condition(tokens)(scope, row)


def condition(tokens: Sequence[Token], *, strict: bool = False) -> Test:
    """The condition, ready to be evaluated as often as wanted. Raises AnyLogError 181.

    `strict`: a comparison with an attribute or a key that is not there is false, `!=` too.
    """
    tokens = _operands_joined(tokens)
    tests: list[Test] = []
    words: list[str] = []
    part: list[Token] = []
    for token in tokens:
        if token.is_word("and", "or"):
            tests.append(_simple(part, tokens, strict))
            words.append(token.text.lower())
            part = []
        else:
            part.append(token)
    tests.append(_simple(part, tokens, strict))

    def evaluate(scope: Scope, row: Mapping[str, Any] | None) -> bool:
        # Equal precedence, right-nested: a false term before `and` ends it, and so does a true one before `or`.
        for test, word in zip(tests, words, strict=False):
            value = test(scope, row)
            if value is (word == "or"):
                return value
        return tests[-1](scope, row)

    return evaluate


@frozen
class _Value:
    """An operand with its value."""

    value: Any
    cast: str = ""  # "int", "float" or "bool" if the operand says so
    defined: bool = True

    @property
    def text(self) -> str:
        return shown(self.value)

    @property
    def number(self) -> float | int | None:
        """As a number, if it is or looks like one."""
        if isinstance(self.value, bool) or self.value is None:
            return None
        if isinstance(self.value, int | float):
            return self.value
        text = self.text.strip()
        return _number_in(text) if len(text) <= 300 else None


@lru_cache(1024)  # a condition meets the same words row after row
def _number_in(text: str) -> float | int | None:
    if not _NUMBER.fullmatch(text):
        return None
    return int(text) if text.lstrip("+-").isdigit() else float(text)


_Reader = Callable[[Scope, "Mapping[str, Any] | None"], _Value]


def _simple(part: Sequence[Token], whole: Sequence[Token], strict: bool) -> Test:
    """`operand`, `not operand`, `operand operator operand`, `[attribute] is|not declared`, or a group."""
    negated = False
    if part and part[0].is_word("not"):
        negated, part = True, part[1:]
    if len(part) == 1 and part[0].kind is Kind.GROUP:
        inner = condition(tokens_of(part[0].text[1:-1]), strict=strict)
        return (lambda scope, row: not inner(scope, row)) if negated else inner
    if len(part) == 1 and _is_operand(part[0]):
        operand = _reader(part[0])
        return lambda scope, row: _exists(operand(scope, row)) is not negated
    if len(part) == 3 and part[2].is_word("declared") and part[1].is_word("is", "not") and not negated:
        path, wanted = _reader(part[0]), part[1].is_word("is")
        return lambda scope, row: path(scope, row).defined is wanted
    if len(part) == 3 and not negated and _is_operand(part[0]) and _is_operand(part[2]):
        left, right = _reader(part[0]), _reader(part[2])
        operator = part[1].text.lower()
        operator = _ALIASES.get(operator, operator)
        if part[1].kind is Kind.OPERATOR and operator in _OPERATORS:
            return _both(left, right, strict, lambda one, other: _compare(one, operator, other))
        if part[1].kind is Kind.WORD and operator in _TEXT_OPERATORS:
            return _both(left, right, strict, lambda one, other: _text_test(one.text, operator, other.text))
    raise AnyLogError(181, f"cannot read '{joined(part)[:200]}' in the condition '{joined(whole)[:200]}'")


def _both(left: _Reader, right: _Reader, strict: bool, test: Callable[[_Value, _Value], bool]) -> Test:
    """A test of two operands."""
    if not strict:
        return lambda scope, row: test(left(scope, row), right(scope, row))

    def there(scope: Scope, row: Mapping[str, Any] | None) -> bool:
        one, other = left(scope, row), right(scope, row)
        return one.defined and other.defined and test(one, other)

    return there


def _is_operand(token: Token) -> bool:
    return token.kind is not Kind.OPERATOR and not token.is_word("not", *_TEXT_OPERATORS, *_ALIASES)


def _operands_joined(tokens: Sequence[Token]) -> list[Token]:
    """Signs and operators glued between two pieces make one operand again: `+5`, `2026-01-01T00:00+02:00`."""
    whole: list[Token] = []
    for token in tokens:
        before = whole[-1] if whole else None
        plus = token.is_operator("+")
        if (
            before is not None
            and before.kind is Kind.WORD
            and before.end == token.start
            and (plus or (token.kind is Kind.WORD and before.text.endswith("+")))
        ):
            whole[-1] = Token(Kind.WORD, before.text + token.text, before.start, token.end)
        else:
            whole.append(Token(Kind.WORD, "+", token.start, token.end) if plus else token)
    return whole


def _reader(token: Token) -> _Reader:
    """What gives the operand its value."""
    text = token.text
    if token.kind is Kind.JSON and text.startswith("["):
        names = [name.strip("\"'") for name in re.findall(r"\[([^\[\]]*)\]", text)]

        def attribute(scope: Scope, row: Mapping[str, Any] | None) -> _Value:
            if row is None:
                raise AnyLogError(181, f"'{text}' has a meaning for a policy or a row of data alone")
            found: Any = row
            for name in names:
                found = found.get(name) if type(found) is dict or isinstance(found, Mapping) else None
            return _Value(found, defined=found is not None)

        return attribute
    if token.kind is not Kind.WORD or ("!" not in text and "$" not in text):
        literal = _Value(text[1:-1] if token.kind is Kind.SINGLE else text)
        return lambda scope, row: literal
    return lambda scope, row: _referred(text, scope)


def _referred(text: str, scope: Scope) -> _Value:
    """The value of a word with a reference in it."""
    value = scope.resolve(text)
    cast = text.rpartition(".")[2] if text[:1] in "!$" and text.endswith((".int", ".float", ".bool")) else ""
    if not cast:
        return _Value(value, defined=value is not None)
    defined = scope.resolve(text.rpartition(".")[0]) is not None
    return _Value(value, cast, defined)


def _exists(operand: _Value) -> bool:
    """Text that is not empty, a number that is not zero, True: `0` as text is true."""
    return bool(operand.value)


def _compare(left: _Value, operator: str, right: _Value) -> bool:
    casts = {left.cast, right.cast} - {""}
    if casts & {"int", "float"}:
        if not (left.defined and right.defined):
            return False
        numbers = left.number, right.number
        if numbers[0] is None or numbers[1] is None:
            wrong = left if numbers[0] is None else right
            raise AnyLogError(2, f"'{wrong.text}' is not a number: it cannot be compared with one")
        return _ordered(numbers[0], operator, numbers[1])
    if "bool" in casts:
        for side in (left, right):
            if side.defined and side.text.lower() not in ("true", "false"):
                raise AnyLogError(2, f"'{side.text}' is neither true nor false")
        return _ordered(left.text.lower() or "false", operator, right.text.lower() or "false")
    one, other = left.number, right.number
    if one is not None and other is not None:
        return _ordered(one, operator, other)
    if operator not in ("==", "!=") and not (left.defined and right.defined):
        return False
    return _ordered(left.text.lower(), operator, right.text.lower())


def _ordered(left: Any, operator: str, right: Any) -> bool:
    if operator == "==":
        return bool(left == right)
    if operator == "!=":
        return bool(left != right)
    if operator in ("<", "<="):
        return bool(left < right or (operator == "<=" and left == right))
    return bool(left > right or (operator == ">=" and left == right))


def _text_test(left: str, operator: str, right: str) -> bool:
    if operator == "childfrom":  # an immediate child; the last character of the parent parts the levels
        rest = left[len(right) :] if right and left.startswith(right) else ""
        return rest != "" and right[-1] not in rest
    left, right = left.lower(), right.lower()
    if operator == "contains":
        return right in left
    return left.startswith(right) if operator == "startswith" else left.endswith(right)
