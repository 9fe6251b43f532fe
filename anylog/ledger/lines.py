"""The ledger as text: one policy a line, as a node's file and its master's answer have it (metadata.md 1.3). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import md5

from attrs import frozen

from anylog.errors import AnyLogError
from anylog.ledger.policy import TOMBSTONE, Policy


@frozen
class Lines:
    """What a text of policies holds."""

    policies: Sequence[Policy]
    tombstones: Sequence[Policy]
    faults: Sequence[tuple[int, str]]  # number of a line, from 1, and why it was left out


def read_lines(data: bytes) -> Lines:
    """All policies and tombstones of a text; a line that is none, or a policy whose id came before, is a fault.

    Of a policy and the tombstone of its id the one that comes later counts: both are written at the end of a file when
    they happen. Never raises.
    """
    policies: dict[str, Policy] = {}
    tombstones: dict[str, Policy] = {}
    faults: list[tuple[int, str]] = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            policy = Policy.read(line)
            if not policy.id:
                raise AnyLogError(170, f"{policy.summary} has no id")
            if policy.type == TOMBSTONE:
                policies.pop(policy.id, None)
                tombstones[policy.id] = policy
                continue
            if policy.id in policies:
                raise AnyLogError(70, f"{policy.summary}: the id {policy.id} came before")
            tombstones.pop(policy.id, None)
            policies[policy.id] = policy
        except AnyLogError as error:
            faults.append((number, str(error)))
    return Lines(list(policies.values()), list(tombstones.values()), faults)


def rendered(policies: Iterable[Policy], tombstones: Iterable[Policy] = ()) -> bytes:
    """The text of policies, in their order, and then of the tombstones."""
    texts = [policy.text for policy in policies]
    texts += [each.text for each in tombstones]
    return "\n".join((*texts, "")).encode() if texts else b""


def version_of(data: bytes) -> str:
    """The metadata version: what tells one ledger from another (metadata.md 1.3)."""
    return md5(data, usedforsecurity=False).hexdigest()
