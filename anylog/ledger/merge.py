"""What becomes of a node's ledger when it hears the global one (metadata.md 7.3, 4.6). Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from attrs import frozen

from anylog.ledger.policies import Policies
from anylog.ledger.policy import DECLARED, Policy

OVERRIDES = "anmp"  # the type of policies that change attributes of other ones
_FIXED = ("id", "date", "ledger")


@frozen
class Merged:
    """What the copy becomes, and what the global ledger has still to be told."""

    policies: Sequence[Policy]
    tombstones: Sequence[Policy]
    resend: Sequence[Policy]  # ours, that it does not have; oldest first
    delete: Sequence[str]  # ids that it still has and we deleted
    displaced: Sequence[Policy] = ()  # ours, of which it has another one under the same id


def merged(
    downloaded: Iterable[Policy],
    ours: Iterable[Policy],
    tombstones: Iterable[Policy],
    taken: Collection[str] = (),
    settles: Collection[str] | None = None,
) -> Merged:
    """The downloaded policies, and of `ours` the local ones that are not among them; what was deleted here stays so.

    `taken` are ids that the master had taken before it was asked: one that is missing was deleted there since, and is
    not brought back. `settles` are the ids of tombstones that are settled if they are not among the downloaded (None:
    all): one that was put up after the question may stand for what came to the master after its answer.
    """
    whole = {policy.id: confirmed(policy) for policy in downloaded}
    stones = list(tombstones)
    gone = [stone for stone in stones if stone.id in whole]
    kept = [stone for stone in stones if stone.id in whole or (settles is not None and stone.id not in settles)]
    local = [policy for policy in ours if policy.local]
    resend = [policy for policy in local if policy.id not in whole and policy.id not in taken]
    displaced = [policy for policy in local if policy.id in whole and differ(policy, whole[policy.id])]
    for stone in gone:
        del whole[stone.id]
    resend.sort(key=lambda policy: policy.date)
    return Merged([*whole.values(), *resend], kept, resend, [stone.id for stone in gone], displaced)


def differ(ours: Policy, theirs: Policy) -> bool:
    """Whether they say something else; of what is declared by its id, who was first is no difference."""
    if ours.type == theirs.type and ours.type in DECLARED:
        return False
    one, other = ({**each.body, "date": "", "ledger": ""} for each in (ours, theirs))
    return ours.type != theirs.type or one != other


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


def confirmed(policy: Policy) -> Policy:
    """The policy as the global ledger has it."""
    return policy if policy.body.get("ledger") == "global" else policy.having(ledger="global")
