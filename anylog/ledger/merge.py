"""What becomes of the local copy when the ledger was fetched (metadata.md 7.3). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import frozen

from anylog.ledger.policy import GLOBAL, LOCAL, TOMBSTONE, Policy


@frozen
class Merged:
    """The new copy, and what the ledger has to be told again."""

    policies: Sequence[Policy]
    send: Sequence[Policy]  # inserted here, not known there
    drop: Sequence[str]  # ids deleted here, still known there
    tombstones: Sequence[Policy]


def merged(downloaded: Iterable[Policy], ours: Iterable[Policy], tombstones: Iterable[Policy]) -> Merged:
    """All that was downloaded is global; what is only here waits to be sent; what was deleted here stays so."""
    kept = {policy.id: policy for policy in downloaded if policy.type != TOMBSTONE}
    left = [stone for stone in tombstones if str(stone.get("id")) in kept]
    drop = [str(stone.get("id")) for stone in left]
    for id in drop:
        del kept[id]
    send = [policy for policy in ours if policy.ledger == LOCAL and policy.id not in kept and policy.id not in drop]
    confirmed = [policy if policy.ledger == GLOBAL else policy.with_(ledger=GLOBAL) for policy in kept.values()]
    return Merged([*confirmed, *send], send, drop, left)
