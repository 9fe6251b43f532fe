"""Policies beside those they refer to: joined, merged, extended, with parents, paths (metadata.md 5.2, 5.3). Pure.

The forms of `parents`, `paths` and `extend` are those of the manual's page on navigating policies.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from attrs import field, frozen

from anylog.language.dictionary import shown
from anylog.language.tokens import Kind, Token
from anylog.ledger.policies import Policies
from anylog.ledger.policy import Policy

REFERS = "object_id"  # the attribute by which a policy places an object
MOST = 1000  # combinations of values that are asked for, if attributes of the left policy are lists
_PATH = re.compile(r"(?:\[[^\[\]]+\])+")
_STEP = re.compile(r"\[([^\[\]]+)\]")


@frozen(eq=False, slots=False)
class Wide(Policy):
    """A policy with further root keys beside its own: bodies of other policies, or what was found out about it."""

    others: Mapping[str, Any] = field(kw_only=True, factory=dict, repr=False)

    @property
    def value(self) -> dict[str, Any]:
        """As JSON values, all root keys."""
        return {self.type: dict(self.body), **self.others}


def widened(policy: Policy, **others: Any) -> Wide:
    """The policy with these root keys, too."""
    return Wide(policy.type, policy.body, others={**(policy.others if isinstance(policy, Wide) else {}), **others})


def root_of(policy: Policy, name: str) -> Any:
    """What stands under a root key, its own type and `*` among them; None if there is none of that name."""
    if name in ("*", policy.type):
        return policy.body
    return policy.others.get(name) if isinstance(policy, Wide) else None


def beside_it(policy: Policy) -> list[Policy]:
    """The policies under its further root keys."""
    others = policy.others if isinstance(policy, Wide) else {}
    return [Policy(name, body) for name, body in others.items() if isinstance(body, Mapping) and body.get("id")]


def beside(left: Policy, right: Policy) -> Wide:
    """Both, each under its root key; one that is taken gets a number: `uns_2`."""
    name, number = right.type, 1
    while root_of(left, name) is not None:
        number += 1
        name = f"{right.type}_{number}"
    more = right.others if isinstance(right, Wide) else {}
    return widened(left, **{name: dict(right.body)}, **{key: value for key, value in more.items() if key != name})


def into(left: Policy, right: Policy) -> Policy:
    """One policy of both: what the left one has counts."""
    body = {**right.body, **left.body}
    ordered = {name: body[name] for name in (*left.body, *right.body)}
    return Wide(left.type, ordered, others=left.others) if isinstance(left, Wide) else Policy(left.type, ordered)


@frozen
class Link:
    """`join (blockchain get ...)` or `merge (blockchain get ...)`: what is asked for each policy on the left."""

    merges: bool
    tokens: Sequence[Token]  # what follows `blockchain get` in the parentheses

    def rows(self, left: Policy, find: Callable[[Sequence[Token]], Sequence[Policy]]) -> Iterator[Policy]:
        """The left policy with what belongs to it; nothing if it is joined with nothing."""
        found = self._found(left, find)
        if self.merges:
            yield into(left, found[0]) if found else left
            return
        for right in found:
            yield beside(left, right)

    def _found(self, left: Policy, find: Callable[[Sequence[Token]], Sequence[Policy]]) -> list[Policy]:
        places: list[int] = []
        values: list[Sequence[Any]] = []
        for at, token in enumerate(self.tokens):
            if self._names(at, left):
                value = value_at(left, token.text)
                places.append(at)
                values.append(value if isinstance(value, list) else () if value is None else (value,))
        found: dict[str, Policy] = {}
        for count, chosen in enumerate(product(*values)):
            if count >= MOST:
                break
            tokens = list(self.tokens)
            for at, value in zip(places, chosen, strict=True):
                tokens[at] = Token(Kind.DOUBLE, shown(value), tokens[at].start, tokens[at].end)
            found.update((each.id, each) for each in find(tokens))
        return list(found.values())

    def _names(self, at: int, left: Policy) -> bool:
        """Whether that token is the path of an attribute of the left policy: a value, not what is compared with it."""
        token = self.tokens[at]
        if token.kind is not Kind.JSON or not at or not _PATH.fullmatch(token.text):
            return False
        before = self.tokens[at - 1]
        if before.kind is not Kind.OPERATOR and not before.is_word("contains", "startswith", "endswith", "includes"):
            return False
        names = _STEP.findall(token.text)
        return len(names) == 1 or root_of(left, names[0]) is not None


def value_at(policy: Policy, path: str) -> Any:
    """What stands at `[type][attribute]...` or `[attribute]`; None if nothing does."""
    names = [name.strip().strip("\"'") for name in _STEP.findall(path)]
    value: Any = policy.body
    if len(names) > 1 and (root := root_of(policy, names[0])) is not None:
        value, names = root, names[1:]
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def extended(policy: Policy, policies: Policies) -> Policy:
    """With the policy that its `object_id` names, if there is one."""
    placed = policies.get(policy.text_of(REFERS))
    return beside(policy, placed) if placed is not None else policy


def with_parents(policy: Policy, policies: Policies) -> Policy:
    """With `parents`: the ids of the policies that place it, and the one it names as its parent."""
    idents = [each.id for each in policies.find(**{REFERS: policy.id})] if policy.id else []
    parent = policy.text_of("parent")
    return widened(policy, parents=list(dict.fromkeys([*idents, *([parent] if parent else [])])))


def with_paths(policy: Policy, policies: Policies) -> Policy:
    """With `paths`: by the id of each policy that places it, all steps from the root to it, with what they place."""
    ends = policies.find(**{REFERS: policy.id}) if policy.id else []
    if policy.get("parent") is not None or not ends:
        ends = [*ends, policy]
    paths = {end.id: [extended(step, policies).value for step in chain(end, policies)] for end in ends}
    return widened(policy, paths=paths)


def chain(policy: Policy, policies: Policies) -> list[Policy]:
    """From the root down to the policy; parents that go round in a circle end it."""
    steps, seen = [policy], {policy.id}
    while (parent := policies.get(steps[-1].text_of("parent"))) is not None and parent.id not in seen:
        seen.add(parent.id)
        steps.append(parent)
    return steps[::-1]
