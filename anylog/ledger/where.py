"""Which policies are meant: `k = v and k = v`, or conditions over `[attribute]` (metadata.md 5.1)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import frozen

from anylog.errors import AnyLogError
from anylog.language.conditions import condition
from anylog.language.dictionary import Scope, shown
from anylog.language.tokens import Kind, Token, joined
from anylog.ledger.policies import INDEXED, Policies
from anylog.ledger.policy import Policy

Predicate = Callable[[Policy], bool]
# Whether an operator's cluster holds a table, for `where dbms = d and table = t` over operators.
Holds = Callable[[Policy, str, str], bool]

_PATH = re.compile(r"(?P<name>[^\[\]]*)(?P<parts>(?:\[[^\[\]]*\])*)")


@frozen
class Pair:
    """One `key = value` or `key with value`."""

    path: tuple[str, ...]
    values: tuple[str, ...]
    among: bool = False  # `with`: any of the values


@frozen
class Where:
    """A condition on policies, and the pairs in it that an index may answer."""

    test: Predicate
    pairs: Sequence[Pair] = ()


EVERY = Where(lambda policy: True)


def read_where(tokens: Sequence[Token], scope: Scope, holds: Holds | None = None) -> Where:
    """References are replaced already. Raises AnyLogError 2 or 181 for what is neither pairs nor a condition."""
    pairs = _pairs(tokens)
    if pairs is not None:
        return Where(lambda policy: _matches(policy, pairs, holds), pairs)
    test = condition(tokens)
    return Where(lambda policy: test(scope, {**policy.body, policy.type: policy.body}))


def find(policies: Policies, types: Sequence[str], where: Where) -> list[Policy]:
    """The policies of these types (none: of every type) that are meant, by date, then arrival."""
    for pair in where.pairs:
        if len(pair.path) == 1 and not pair.among:
            name, value = pair.path[0], pair.values[0]
            if name == "id":
                one = policies.get(value)
                return [one] if one is not None and (not types or one.type in types) and where.test(one) else []
            if name in INDEXED and types and value != "*" and not (name == "dbms" and "operator" in types):
                found = [policy for kind in types for policy in policies.having(kind, name, value)]
                found += [policy for kind in types for policy in policies.having(kind, name, "*")]
                return sorted(filter(where.test, found), key=lambda policy: policy.date)
    known = policies.of_type(*types) if types else list(policies)
    return [policy for policy in known if where.test(policy)]


def _pairs(tokens: Sequence[Token]) -> list[Pair] | None:
    """None if the tokens are not pairs."""
    found: list[Pair] = []
    part: list[Token] = []
    for token in [*tokens, None]:
        if token is not None and not token.is_word("and"):
            part.append(token)
            continue
        pair = _pair(part)
        if pair is None:
            return None
        found.append(pair)
        part = []
    return found


def _pair(part: Sequence[Token]) -> Pair | None:
    at = next((place for place, token in enumerate(part) if token.is_operator("=") or token.is_word("with")), 0)
    if not at or at == len(part) - 1:
        return None
    path = _path(joined(part[:at]))
    value = part[at + 1 :]
    if path is None or any(token.kind is Kind.OPERATOR and token.text not in ("+", "->") for token in value):
        return None
    if part[at].is_word("with"):
        text = "".join(token.text for token in value)
        words = text.strip("[]()").split(",")
        return Pair(path, tuple(word.strip().strip("'\"") for word in words), True)
    one = value[0] if len(value) == 1 else None
    text = one.text[1:-1] if one is not None and one.kind is Kind.SINGLE else joined(value)
    return Pair(path, (text,))


def _path(text: str) -> tuple[str, ...] | None:
    found = _PATH.fullmatch(text.strip())
    if found is None:
        return None
    parts = [part.strip("'\" ") for part in re.findall(r"\[([^\[\]]*)\]", found["parts"])]
    name = found["name"].strip()
    path = ([name] if name else []) + parts
    return tuple(path) if path and all(path) else None


def _matches(policy: Policy, pairs: Sequence[Pair], holds: Holds | None) -> bool:
    """All pairs; those into one list must be met by one entry of it."""
    lists: dict[str, list[Pair]] = {}
    missing: dict[str, str] = {}
    for pair in pairs:
        path = pair.path[1:] if len(pair.path) > 1 and pair.path[0] in (policy.type, "*") else pair.path
        value = policy.body.get(path[0])
        if len(path) > 1 and isinstance(value, list):
            lists.setdefault(path[0], []).append(Pair(path[1:], pair.values, pair.among))
            continue
        if value is None and len(path) == 1 and policy.type == "operator" and path[0] in ("dbms", "table"):
            missing[path[0]] = pair.values[0]
            continue
        if not _meets(_inside(policy.body, path), pair):
            return False
    for name, inner in lists.items():
        entries = [entry for entry in policy.body[name] if isinstance(entry, Mapping)]
        if not any(all(_meets(_inside(entry, pair.path), pair) for pair in inner) for entry in entries):
            return False
    return not missing or (holds is not None and holds(policy, missing.get("dbms", "*"), missing.get("table", "*")))


def _inside(value: Any, path: Sequence[str]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _meets(value: Any, pair: Pair) -> bool:
    if value is None:
        return False
    if isinstance(value, list):
        return any(_equal(each, wanted) for each in value for wanted in pair.values)
    return any(_equal(value, wanted) for wanted in pair.values)


def _equal(value: Any, wanted: str) -> bool:
    if value == "*":
        return True
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(wanted) == value
        except ValueError:
            return False
    return shown(value).lower() == wanted.lower()


def types_of(text: str) -> tuple[str, ...]:
    """`name`, `(a, b)` or `*` (empty: every type). Raises AnyLogError 2."""
    inner = text.strip()
    if inner.startswith("(") and inner.endswith(")"):
        inner = inner[1:-1]
    names = tuple(name.strip() for name in inner.split(",") if name.strip())
    if not names:
        raise AnyLogError(2, "the type of the policies is missing; '*' means every type")
    return () if "*" in names else names
