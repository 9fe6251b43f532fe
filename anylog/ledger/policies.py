"""A set of policies, found by what they are asked for most: id, type, name, parent, cluster, table, address."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from operator import itemgetter
from typing import Any

from anylog.errors import AnyLogError
from anylog.ledger.ordered import Ordered, Placed
from anylog.ledger.policy import ALIASES, Policy
from anylog.names import normalise

FEW = 200  # policies that are looked through rather than indexed
MOST_INDEXES = 64  # attributes that were asked for and are indexed since
INDEXED = ("name", "parent", "cluster", "dbms", "table", "ip", "object_id")
ANYTHING = "*"  # a stored value that matches whatever is asked for


class Policies:
    """Policies in the order of their dates, then of their arrival. `changes` grows with each change."""

    def __init__(self, policies: Iterable[Policy] = ()) -> None:
        self.changes = 0
        self._arrivals = count()
        self._by_id: dict[str, Placed] = {}
        self._by_type: dict[str, dict[str, Placed]] = {}
        self._by_value: dict[tuple[str, str], dict[str, Placed]] = {}
        self._by_table: dict[tuple[str, str, str], dict[str, Placed]] = {}
        self._by_address: dict[tuple[str, int], dict[str, Placed]] = {}
        self._ordered = Ordered()
        self._local: dict[str, Placed] = {}
        self._indexed = dict.fromkeys(INDEXED)
        for policy in policies:
            self.add(policy)

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Policy]:
        return iter(self._ordered)

    def version_without(self, policies: Iterable[Policy]) -> str:
        """The version that they would have without these."""
        return self._ordered.version_without([self._by_id[each.id] for each in policies])

    def last(self, count: int) -> list[Policy]:
        """The last ones."""
        return self._ordered.last(count)

    def version(self, further: Iterable[Policy] = ()) -> str:
        """The metadata version of their text, with the lines of `further` at the end."""
        return self._ordered.version(further)

    def __contains__(self, ident: object) -> bool:
        return ident in self._by_id

    def add(self, policy: Policy) -> None:
        """Take one more. Raises AnyLogError 170 without an id, 70 if there is one of that id."""
        self._add(policy, None)

    def _add(self, policy: Policy, arrival: int | None) -> None:
        if not policy.id:
            raise AnyLogError(170, f"{policy.summary} has no id")
        if policy.id in self._by_id:
            raise AnyLogError(70, f"{policy.summary}: a policy with the id {policy.id} exists")
        placed = (policy.date, next(self._arrivals) if arrival is None else arrival, policy)
        self._by_id[policy.id] = placed
        for index, key in self._keys(policy):
            index.setdefault(key, {})[policy.id] = placed
        if policy.local:
            self._local[policy.id] = placed
        self._ordered.add(placed)
        self.changes += 1

    def remove(self, ident: str) -> Policy | None:
        """Take one away; gives it, None if there was none."""
        placed = self._by_id.pop(ident, None)
        if placed is None:
            return None
        policy = placed[2]
        self._local.pop(ident, None)
        for index, key in self._keys(policy):
            index[key].pop(ident, None)
            if not index[key]:
                del index[key]
        self._ordered.remove(placed)
        self.changes += 1
        return policy

    def replace(self, policy: Policy) -> None:
        """Put it where the one of its id was, or add it."""
        placed = self._by_id.get(policy.id)
        self.remove(policy.id)
        self._add(policy, placed[1] if placed else None)

    def get(self, ident: str) -> Policy | None:
        """The policy of that id."""
        placed = self._by_id.get(ident)
        return placed[2] if placed else None

    def sorted(self, policies: Iterable[Policy]) -> list[Policy]:
        """These, all of which are here, in the order they have here."""
        return [placed[2] for placed in sorted((self._by_id[each.id] for each in policies), key=_ORDER)]

    def local(self) -> list[Policy]:
        """Those that the global ledger has not confirmed yet, in order."""
        return [placed[2] for placed in sorted(self._local.values(), key=_ORDER)]

    def types(self) -> dict[str, int]:
        """Every type, in alphabetical order, and how many policies it has."""
        return {kind: len(self._by_type[kind]) for kind in sorted(self._by_type)}

    def of_type(self, *types: str) -> list[Policy]:
        """All policies of these types, in order."""
        found = [self._by_type.get(kind, {}).values() for kind in dict.fromkeys(types)]
        return [placed[2] for placed in sorted((placed for each in found for placed in each), key=_ORDER)]

    def find(self, *types: str, **attributes: Any) -> list[Policy]:
        """Policies of these types (none: of all) whose attributes are these texts, any letter case; in order."""
        return [
            policy
            for policy in self.candidates(types, attributes)
            if all(folded(policy.get(name)) == folded(value) for name, value in attributes.items())
        ]

    def candidates(self, types: Iterable[str] | None, attributes: Mapping[str, Any]) -> list[Policy]:
        """Policies among which all are that have these attributes, as few as the indexes tell; in order.

        An attribute that is a list, or `*`, is among them if it holds or matches the value.
        """
        kinds = set(types or ())
        if "id" in attributes:
            placed = self._by_id.get(str(attributes["id"]))
            policies = [placed[2]] if placed else []
            # An id in another letter case is one all the same, and found the slow way.
            if policies or not any(letter.isalpha() for letter in str(attributes["id"])):
                return [policy for policy in policies if not kinds or policy.type in kinds]
        smallest: list[dict[str, Placed]] | None = None
        for name in attributes:
            if self._has_index(name):
                found = [self._by_value[key] for key in _asked(name, attributes[name]) if key in self._by_value]
                if smallest is None or sum(map(len, found)) < sum(map(len, smallest)):
                    smallest = found
        if smallest is None:
            return self.of_type(*kinds) if kinds else list(self)
        unique = {placed[1]: placed for each in smallest for placed in each.values()}.values()
        return [placed[2] for placed in sorted(unique, key=_ORDER) if not kinds or placed[2].type in kinds]

    def _has_index(self, name: str) -> bool:
        """Whether an attribute is indexed; one that is asked for is from now on, if there are many policies."""
        if name in self._indexed:
            return True
        if len(self) <= FEW or len(self._indexed) >= MOST_INDEXES:
            return False
        self._indexed[name] = None
        for placed in self._by_id.values():
            for key in _values(name, placed[2]):
                self._by_value.setdefault(key, {})[placed[2].id] = placed
        return True

    def of_table(self, kind: str, dbms: str, table: str) -> list[Policy]:
        """Policies of a type about this table, whatever the spelling of its name; in order.

        The table is the attribute `name` of a `table` policy, the attribute `table` of all others.
        """
        found = self._by_table.get((kind, spelled(dbms), spelled(table)), {})
        return [placed[2] for placed in sorted(found.values(), key=_ORDER)]

    def at(self, ip: str, port: int) -> list[Policy]:
        """Policies of nodes with this ip and port."""
        found = self._by_address.get((ip.casefold(), port), {})
        return [placed[2] for placed in sorted(found.values(), key=_ORDER)]

    def _keys(self, policy: Policy) -> list[tuple[dict[Any, dict[str, Placed]], Any]]:
        """Where it is found besides its id."""
        keys: list[tuple[dict[Any, dict[str, Placed]], Any]] = [(self._by_type, policy.type)]
        for name in self._indexed:
            if name in policy.body or name in ALIASES:
                keys += [(self._by_value, key) for key in _values(name, policy)]
        dbms, table = policy.body.get("dbms"), policy.body.get("name" if policy.type == "table" else "table")
        if isinstance(dbms, str) and isinstance(table, str):
            keys.append((self._by_table, (policy.type, spelled(dbms), spelled(table))))
        ip, port = policy.get("ip"), policy.whole("port")
        if isinstance(ip, str) and port is not None:
            keys.append((self._by_address, (ip.casefold(), port)))
        return keys


_ORDER = itemgetter(0, 1)


def spelled(name: str) -> str:
    """The name of a database or table in our spelling; one that cannot be is left as it is."""
    try:
        return normalise(name)
    except AnyLogError:
        return name


def folded(value: Any) -> str:
    """A value as text to compare, in one letter case."""
    return (value if isinstance(value, str) else str(value)).casefold()


def _values(name: str, policy: Policy) -> list[tuple[str, str]]:
    """Under what the values of an attribute are found."""
    value = policy.get(name)
    if value is None:
        return []
    return [
        (name, each) for each in ({_stored(one) for one in value} if isinstance(value, list) else (_stored(value),))
    ]


def _stored(value: Any) -> str:
    """Under what a stored value is found: numbers by what they are worth, what is neither text nor number by all."""
    if isinstance(value, str | bool):
        return folded(value)
    if isinstance(value, int | float) and abs(value) < 1e300:
        return f"#{float(value)}"
    return ANYTHING


def _asked(name: str, value: Any) -> set[tuple[str, str]]:
    keys = {(name, folded(value)), (name, ANYTHING)}
    try:
        keys.add((name, f"#{float(value)}"))
    except (TypeError, ValueError, OverflowError):
        pass
    return keys
