"""Where a publisher may send a file: what was set here, else distribution policies, else who holds the table.

The places come as groups: the members of a cluster are one, since each has what any of them was given; a node of which
no cluster is known is one of its own. A file goes to one group only (operator-ha.md 5).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen

from anylog.ledger.cluster import Clusters, Operator, Share
from anylog.ledger.policies import ANYTHING, folded, spelled
from anylog.ledger.policy import Policy

ALL = "*"


@frozen
class Group:
    """Nodes of which one gets a file."""

    key: str  # the id of a cluster, or ip:port
    name: str
    addresses: Sequence[str]


@define(kw_only=True, eq=False)
class Placing:
    """Asks the ledger of now, and what `set data distribution` said."""

    _clusters: Clusters
    _policies: Callable[[], Iterable[Policy]]  # those of type `distribution`
    _own: Callable[[], Policy | None]  # the policy of this publisher
    company: str = ""
    # (dbms, table or *) -> ip:port
    fixed: Mapping[tuple[str, str], Sequence[str]] = field(factory=dict)

    def groups(self, dbms: str, table: str, source: str) -> list[Group]:
        """Where a file may go; none: nobody takes it now."""
        dests = self.fixed.get((dbms, table)) or self.fixed.get((dbms, ALL))
        if dests:
            return self._grouped(dests, dests)
        policy = self._policy(dbms, table, source)
        if policy is not None:
            wanted = [self._clusters.operator(ident) for ident in _texts(policy.body.get("operator"))]
            addresses = [each.address for each in wanted if each is not None and each.address]
            addresses += _texts(policy.body.get("dest"))
            return self._grouped(addresses, addresses)
        shares = [share for share in self._clusters.shares(dbms, table) if _takes(share)]
        if not shares:
            shares = self._strangers(dbms)
        return self._of(shares)

    def known(self, key: str) -> Group | None:
        """The group that was called so once, as it is now; None if there is no such cluster any more."""
        share = self._clusters.share(key)
        if share is not None and share.operators:
            return _group(share)
        return Group(key, key, (key,)) if ":" in key else None

    def _strangers(self, dbms: str) -> list[Share]:
        """Who may take a table that the ledger does not know: who has others of its database, else the company."""
        shares = [share for share in self._clusters.all_shares() if _takes(share)]
        of_dbms = [
            share
            for share in shares
            if any(spelled(each.dbms) == spelled(dbms) for each in self._clusters.hosted(share.cluster_id))
        ]
        if of_dbms and not self.company:
            return of_dbms
        alone = [
            Share(cluster_id="", name=each.name, company=each.company, operators=(each,))
            for each in self._clusters.operators()
            if not each.cluster
        ]
        every = [*shares, *alone]
        company = self.company or dbms
        of_company = [share for share in every if spelled(_company(share)) == spelled(company)]
        if of_company or self.company:
            return of_company
        # The database is called otherwise than any company: if there is only one, it is the one that is meant.
        return every if len({folded(_company(share)) for share in every}) == 1 else []

    def _policy(self, dbms: str, table: str, source: str) -> Policy | None:
        """The most specific distribution policy: of the source, else of this publisher, else of the table."""
        best: tuple[tuple[bool, bool, bool, bool], Policy] | None = None
        own = self._own()
        names = {"publisher"} if own is None else {"publisher", own.id, folded(own.name), folded(own.text_of("type"))}
        for policy in self._policies():
            body = policy.body
            of_dbms, of_table = _matches(body.get("dbms"), dbms), _matches(body.get("table"), table)
            if of_dbms is None or of_table is None:
                continue
            publishers, sources = _texts(body.get("publisher")), _texts(body.get("source"))
            if publishers and not any(each in names or folded(each) in names for each in publishers):
                continue
            if sources and source not in sources:
                continue
            rank = bool(sources), bool(publishers), of_table, of_dbms
            if best is None or rank > best[0]:
                best = rank, policy
        return None if best is None else best[1]

    def _grouped(self, wanted: Iterable[str], only: Sequence[str]) -> list[Group]:
        """These addresses, those of one cluster together: it takes nothing twice."""
        by_address = {each.address: each for each in self._clusters.operators() if each.address}
        found: dict[str, Group] = {}
        for address in dict.fromkeys(wanted):
            operator = by_address.get(address)
            share = self._clusters.share(operator.cluster) if operator is not None and operator.cluster else None
            if share is None:
                found[address] = Group(address, address, (address,))
            elif share.cluster_id not in found:
                addresses = [each.address for each in share.operators if each.address in only]
                found[share.cluster_id] = Group(share.cluster_id, share.name, tuple(addresses))
        return list(found.values())

    def _of(self, shares: Sequence[Share]) -> list[Group]:
        return [group for share in shares if (group := _group(share)).addresses]


def by_hash(groups: Sequence[Group], hash: str) -> list[Group]:
    """The groups in the order in which that content is offered to them: for equal contents the same, everywhere."""

    def weight(group: Group) -> bytes:
        return hashlib.blake2b(f"{hash}.{group.key}".encode(), digest_size=8).digest()

    return sorted(groups, key=weight)


def _group(share: Share) -> Group:
    addresses = tuple(each.address for each in share.operators if each.address)
    key = share.cluster_id or (addresses[0] if addresses else "")
    return Group(key, share.name or key, addresses)


def _takes(share: Share) -> bool:
    return folded(share.status or "active") == "active" and any(each.address for each in share.operators)


def _company(share: Share) -> str:
    first: Operator = share.operators[0]
    return share.company or first.company


def _matches(stored: Any, name: str) -> bool | None:
    """True: it is named; False: all are meant; None: another is."""
    values = _texts(stored) or [ANYTHING]
    if any(spelled(each) == spelled(name) for each in values):
        return True
    return False if ANYTHING in values or ALL in values else None


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list | tuple) else [value]
    return [str(each).strip() for each in values if isinstance(each, str) and each.strip()]
