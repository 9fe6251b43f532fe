"""Policies in memory, with the indexes that questions need (metadata.md 11)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from attrs import define, field

from anylog.ledger.policy import Policy

INDEXED = ("name", "parent", "cluster", "member", "company", "dbms")


@define(eq=False)
class Policies:
    """A set of policies by id, in the order of date and arrival."""

    _by_id: dict[str, Policy] = field(factory=dict)
    _by_type: dict[str, dict[str, Policy]] = field(factory=dict)
    _by_value: dict[tuple[str, str, str], dict[str, Policy]] = field(factory=dict)  # type, attribute, value
    _ordered: list[Policy] | None = None
    change: int = 0  # grows with each change

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, id: str) -> bool:
        return id in self._by_id

    def __iter__(self) -> Iterator[Policy]:
        """By date, then arrival."""
        if self._ordered is None:
            self._ordered = sorted(self._by_id.values(), key=lambda policy: policy.date)
        return iter(tuple(self._ordered))

    def get(self, id: str) -> Policy | None:
        """The policy of that id."""
        return self._by_id.get(id)

    def add(self, policy: Policy) -> None:
        """Add it, or put it in the place of the one with its id."""
        ordered = None if policy.id in self._by_id else self._ordered
        self.remove(policy.id)
        self._by_id[policy.id] = policy
        self._by_type.setdefault(policy.type, {})[policy.id] = policy
        for key in self._keys(policy):
            self._by_value.setdefault(key, {})[policy.id] = policy
        if ordered is not None and (not ordered or ordered[-1].date <= policy.date):
            ordered.append(policy)  # the usual case: the newest comes last
        else:
            ordered = None
        self._ordered = ordered
        self.change += 1

    def remove(self, id: str) -> Policy | None:
        """Take it out; None if it was not there."""
        policy = self._by_id.pop(id, None)
        if policy is None:
            return None
        self._by_type[policy.type].pop(id, None)
        for key in self._keys(policy):
            found = self._by_value.get(key)
            if found is not None:
                found.pop(id, None)
                if not found:
                    del self._by_value[key]
        self._ordered = None
        self.change += 1
        return policy

    def replace(self, policies: Iterable[Policy]) -> None:
        """These and no others; what stays the same is not touched."""
        gone = dict(self._by_id)
        for policy in policies:
            known = gone.pop(policy.id, None)
            if known is None or (known is not policy and known != policy):
                self.add(policy)
        for id in gone:
            self.remove(id)

    def types(self) -> Sequence[str]:
        """The types there are, sorted."""
        return sorted(kind for kind, found in self._by_type.items() if found)

    def of_type(self, *types: str) -> list[Policy]:
        """All of some types, by date, then arrival."""
        found = [policy for kind in types for policy in self._by_type.get(kind, {}).values()]
        return sorted(found, key=lambda policy: policy.date)

    def having(self, kind: str, attribute: str, value: Any) -> list[Policy]:
        """Those of a type with that value of an indexed attribute (`INDEXED`), whatever its case."""
        found = self._by_value.get((kind, attribute, str(value).lower()), {})
        return sorted(found.values(), key=lambda policy: policy.date)

    def _keys(self, policy: Policy) -> Iterator[tuple[str, str, str]]:
        for attribute in INDEXED:
            if attribute in policy.body:
                yield policy.type, attribute, str(policy.body[attribute]).lower()
        if "ip" in policy.body and "port" in policy.body:
            yield "", "address", f"{policy.body['ip']}:{policy.body['port']}".lower()

    def at(self, address: str) -> list[Policy]:
        """Policies of nodes whose `ip` and `port` are these."""
        return list(self._by_value.get(("", "address", address.lower()), {}).values())
