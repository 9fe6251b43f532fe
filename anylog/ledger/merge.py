"""What becomes of a node's ledger when it hears the global one (metadata.md 7.3, 4.6). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import frozen

from anylog.ledger.policies import Policies
from anylog.ledger.policy import Policy

OVERRIDES = "anmp"  # the type of policies that change attributes of other ones
_FIXED = ("id", "date", "ledger")


@frozen
class Merged:
    """What the copy becomes, and what the global ledger has still to be told."""

    policies: Sequence[Policy]
    tombstones: Sequence[Policy]
    resend: Sequence[Policy]  # ours, that it does not have; oldest first
    delete: Sequence[str]  # ids that it still has and we deleted


def merged(downloaded: Iterable[Policy], ours: Iterable[Policy], tombstones: Iterable[Policy]) -> Merged:
    """The downloaded policies, and of `ours` the local ones that are not among them; what was deleted here stays so."""
    whole = {policy.id: _global(policy) for policy in downloaded}
    gone = [stone for stone in tombstones if stone.id in whole]
    resend = [policy for policy in ours if policy.local and policy.id not in whole]
    for stone in gone:
        del whole[stone.id]
    resend.sort(key=lambda policy: policy.date)
    return Merged([*whole.values(), *resend], gone, resend, [stone.id for stone in gone])


def overridden(policies: Policies) -> Policies:
    """The policies as `anmp` policies change them; the very same object if there are none.

    Of several changes of one attribute the newest counts. Id, date and ledger stay.
    """
    changes: dict[str, dict[str, Any]] = {}
    for policy in policies.of_type(OVERRIDES):  # oldest first
        for ident, attributes in policy.body.items():
            if isinstance(attributes, Mapping) and ident in policies:
                changes.setdefault(ident, {}).update(
                    (name, value) for name, value in attributes.items() if name not in _FIXED
                )
    if not changes:
        return policies
    return Policies(
        Policy(policy.type, {**policy.body, **changes[policy.id]}) if policy.id in changes else policy
        for policy in policies
    )


def _global(policy: Policy) -> Policy:
    return policy if policy.body.get("ledger") == "global" else policy.having(ledger="global")
