"""Which policies are meant: `k = v and k = v`, or a condition over `[attribute]` (metadata.md 5.1). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from attrs import field, frozen

from anylog.errors import AnyLogError
from anylog.language.conditions import Test, condition
from anylog.language.dictionary import Dictionary, Scope, shown
from anylog.language.tokens import Kind, Token, joined
from anylog.ledger.policies import ANYTHING, Policies, folded
from anylog.ledger.policy import Policy

Hosts = Callable[[Policy, str | None, str | None], bool]  # whether an operator holds a database, a table, or both

_NAMES = re.compile(r"\[([^\[\]]*)\]")
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,300}(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_NOTHING = Scope(Dictionary(), {})  # references were replaced before: what looks like one now is text
_HOSTED = ("dbms", "table")


@frozen
class Pair:
    """One `key = value`: the path of the attribute and the values of which one must be there."""

    path: tuple[str, ...]
    values: tuple[str, ...]


@frozen
class Where:
    """What to look for; `matches` decides about one policy."""

    pairs: Sequence[Pair] = ()
    test: Test | None = None
    _nested: Mapping[str, Sequence[Pair]] = field(factory=dict)  # first name -> pairs that one entry must match

    @classmethod
    def read(cls, tokens: Sequence[Token]) -> Where:
        """Both styles. Raises AnyLogError 2 or 181 naming what cannot be read."""
        if not tokens:
            raise AnyLogError(2, "conditions are missing after 'where'")
        pairs = _pairs(tokens)
        if pairs is None:
            if not any(token.kind in (Kind.OPERATOR, Kind.JSON, Kind.GROUP) for token in tokens):
                raise AnyLogError(181, f"'{joined(tokens)[:200]}' is neither a pair nor a condition")
            test = condition(tokens)
            if not any(token.kind in (Kind.JSON, Kind.GROUP) and "[" in token.text for token in tokens):
                # It would be true of all policies, or of none.
                raise AnyLogError(181, f"'{joined(tokens)[:200]}' names no attribute: [name]")
            return cls(test=test)
        nested: dict[str, list[Pair]] = {}
        for pair in pairs:
            if len(pair.path) > 1:
                nested.setdefault(pair.path[0], []).append(Pair(pair.path[1:], pair.values))
        return cls(pairs, nested=nested)

    @property
    def known(self) -> dict[str, str]:
        """Attributes of which one text alone fits: what an index may be asked."""
        return {pair.path[0]: pair.values[0] for pair in self.pairs if len(pair.path) == 1 and len(pair.values) == 1}

    def matches(self, policy: Policy, hosts: Hosts | None = None) -> bool:
        """Whether the policy is meant. An operator without `dbms` or `table` is asked for them through `hosts`."""
        if self.test is not None:
            return self.test(_NOTHING, _Row(policy))
        if any(not self._group(policy, name, pairs) for name, pairs in self._nested.items()):
            return False
        asked: dict[str, str] = {}
        for pair in self.pairs:
            if len(pair.path) > 1:
                continue
            name = pair.path[0]
            stored = policy.get(name)
            if stored is None and name in _HOSTED and policy.type == "operator" and hosts and len(pair.values) == 1:
                asked[name] = pair.values[0]
            elif not any(_same(stored, value) for value in pair.values):
                return False
        return not asked or (hosts is not None and hosts(policy, asked.get("dbms"), asked.get("table")))

    def find(self, policies: Policies, types: Sequence[str] | None, hosts: Hosts | None = None) -> list[Policy]:
        """All policies of these types (None: of all) that are meant, in order."""
        known = self.known
        if hosts is not None and (types is None or "operator" in types):
            # An operator may be found by its cluster, of which no index of operators knows.
            known = {name: value for name, value in known.items() if name not in _HOSTED}
        return [each for each in policies.candidates(types, known) if self.matches(each, hosts)]

    def _group(self, policy: Policy, name: str, pairs: Sequence[Pair]) -> bool:
        """All pairs of one attribute hold for the object there, or for one and the same object of a list."""
        body: Any = policy.body if name not in (policy.type, "*") or name in policy.body else {name: policy.body}
        inner = body.get(name)
        entries = inner if isinstance(inner, list) else [inner]
        return any(
            all(any(_same(found, value) for found in _at(entry, pair.path) for value in pair.values) for pair in pairs)
            for entry in entries
        )


class _Row(Mapping[str, Any]):
    """A policy as conditions see it: attributes by name, the body under the type, too."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def __getitem__(self, name: str) -> Any:
        value = self._policy.get(name)
        if value is None and name in (self._policy.type, "*"):
            return self._policy.body
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._policy.body)

    def __len__(self) -> int:
        return len(self._policy.body)


def _pairs(tokens: Sequence[Token]) -> list[Pair] | None:
    """The pairs, or None if it is not all pairs."""
    pairs: list[Pair] = []
    part: list[Token] = []
    for token in (*tokens, None):
        if token is not None and not token.is_word("and"):
            part.append(token)
            continue
        pair = _pair(part)
        if pair is None:
            return None
        pairs.append(pair)
        part = []
    return pairs


def _pair(part: Sequence[Token]) -> Pair | None:
    at = next((place for place, token in enumerate(part) if token.is_operator("=") or token.is_word("with")), 0)
    if not at or at == len(part) - 1 or any(token.kind is Kind.OPERATOR for token in part[:at]):
        return None
    value = part[at + 1 :]
    for before, token in pairwise((part[at], *value)):
        # Operators inside a word belong to it (`a+b=`); one that stands apart makes it no pair.
        if token.is_word("or") or (token.kind is Kind.OPERATOR and (before is part[at] or before.end != token.start)):
            return None
    path = _path(joined(part[:at]))
    if path is None:
        return None
    text = joined(value, [_value(token) for token in value])
    if part[at].is_word("with") and text.startswith("[") and text.endswith("]"):
        return Pair(path, tuple(each.strip().strip("\"'") for each in text[1:-1].split(",") if each.strip()))
    return Pair(path, (text,))


def _path(key: str) -> tuple[str, ...] | None:
    """`name`, `[name]`, `table[dbms]`, `[table][dbms]`, `[*][name]`; None for what is no path."""
    begin, _, rest = key.partition("[")
    names = [name.strip().strip("\"'") for name in _NAMES.findall("[" + rest)] if rest else []
    if "[" + "][".join(_NAMES.findall("[" + rest)) + "]" != "[" + rest and rest:
        return None
    path = ([begin.strip()] if begin.strip() else []) + names
    if len(path) > 1 and path[0] == "*":
        path = path[1:]
    return tuple(path) if path and all(path) else None


def _value(token: Token) -> str:
    return token.text[1:-1] if token.kind is Kind.SINGLE else token.text


def _same(stored: Any, asked: str) -> bool:
    """Text in any letter case, numbers by their worth, a list by what it holds; a stored `*` is anything."""
    if stored is None:
        return False
    if isinstance(stored, list):
        return any(_same(each, asked) for each in stored)
    if isinstance(stored, str):
        return stored == ANYTHING or stored.casefold() == asked.casefold()
    if isinstance(stored, int | float) and not isinstance(stored, bool):
        text = asked.strip()
        if not _NUMBER.fullmatch(text):
            return False
        return stored == int(text) if text.lstrip("+-").isdigit() else float(stored) == float(text)
    return folded(shown(stored)) == asked.casefold()


def _at(value: Any, path: Sequence[str]) -> list[Any]:
    """What stands at the end of a path, through lists on the way."""
    for place, name in enumerate(path):
        if isinstance(value, list):
            return [found for each in value for found in _at(each, path[place:])]
        value = value.get(name) if isinstance(value, Mapping) else None
    return [value]
