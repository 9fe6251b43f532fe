"""Policies on their way to the masters: insert, delete, and what is sent later (metadata.md 4.1, 4.3, 7.3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from anylog.errors import AnyLogError
from anylog.interfaces import Clock, IPeers, Reply, unix
from anylog.ledger.checks import check, completed, doubts
from anylog.ledger.ledger import Ledger
from anylog.ledger.master import Master, Outcome
from anylog.ledger.merge import Merged
from anylog.ledger.policy import Policy, dumped, prepared
from anylog.pages import all_pages

LIMIT = 10.0  # seconds for an answer of a master
LATE = 10.0  # seconds for which a master may take what it did not answer
CHUNK = 256 << 10  # bytes of policies in one question
DRAWS = 5  # member numbers that are tried
UNREACHED = (8, 15, 26, 208)  # no answer came: nothing is known of what became of the question
_UNKNOWN = (113, 118, 222)  # another policy is missing
_NOT_NOW = (*UNREACHED, 30, 503, 506)  # the master may take it later

log = Logger()


class Place(Protocol):
    """What is needed of a node."""

    clock: Clock
    chance: Random

    @property
    def ledger(self) -> Ledger: ...

    @property
    def master(self) -> Master | None: ...

    @property
    def peers(self) -> IPeers: ...

    @property
    def address(self) -> str: ...

    def refresh(self, fresh: bool = False) -> Deferred[None]: ...

    def follows(self, master: str) -> bool: ...


async def push_to(place: Place, address: str, policies: Sequence[Policy], *, ignore: bool = False) -> list[Outcome]:
    """Ask a master to store policies; one outcome each, in order. AnyLogError with the `node` if it does not answer."""
    idents = [policy.id for policy in policies]
    underway, until = place.ledger.underway, None
    underway.begin(idents)
    try:
        return [
            outcome for chunk in _chunks(policies) for outcome in await _pushed_chunk(place, address, chunk, ignore)
        ]
    except BaseException:  # also if nobody waits any more: the master may take them all the same
        until = place.clock.seconds() + LATE
        raise
    finally:
        underway.end(idents, until)


async def _pushed_chunk(place: Place, address: str, chunk: Sequence[Policy], ignore: bool) -> list[Outcome]:
    if place.master is not None and address == place.address:
        return await place.master.push(chunk, address, ignore, again=True)
    body = ("[" + ",".join(policy.text for policy in chunk) + "]").encode()
    reply = await place.peers.ask(address, "push", {"ignore": ignore}, body, until=place.clock.seconds() + LIMIT)
    results = _list_of(reply, "results")
    if len(results) != len(chunk):
        raise AnyLogError(21, f"{len(results)} answers to {len(chunk)} policies", node=address)
    return [Outcome.read(each) for each in results]


async def drop_at(place: Place, address: str, idents: Sequence[str]) -> list[str]:
    """Ask a master to remove policies; gives the ids of those it had."""
    if place.master is not None and address == place.address:
        return await place.master.drop(idents)
    until = place.clock.seconds() + LIMIT
    reply = await place.peers.ask(address, "drop", {"ids": list(idents)}, until=until)
    return [str(ident) for ident in _list_of(reply, "dropped")]


@frozen
class Changes:
    """What a master told of its ledger: all of it or, with a `base`, what changed since that version."""

    data: bytes  # lines of policies
    version: str
    base: str = ""
    dropped: Sequence[str] = ()  # ids


async def fetch(place: Place, address: str, version: str = "", *, seed: bool = False) -> bytes | None:
    """The text of a node's ledger, None if its version is `version`; with `seed` any member's, not a master's alone."""
    changes = await fetch_changes(place, address, version, seed=seed)
    return None if changes is None else changes.data


async def fetch_changes(
    place: Place, address: str, version: str = "", base: str = "", *, seed: bool = False
) -> Changes | None:
    """What a node's ledger is, or what changed since `base`; None if its version is `version`."""
    head: dict[str, Any] = {"version": version}
    if seed:
        head["seed"] = True
    if base:
        head["base"] = base
    reply = await place.peers.ask(address, "ledger", head, until=place.clock.seconds() + 6 * LIMIT)
    if not reply.head.get("changed"):
        return None
    if reply.body is None:
        raise AnyLogError(21, "a ledger without a text came", node=address)
    data = await all_pages(reply.body, None)
    if not base or reply.head.get("base") != base:
        return Changes(data, str(reply.head.get("version")))
    dropped = [str(ident) for ident in _list_of(reply, "dropped")]
    return Changes(data, str(reply.head.get("version")), base, dropped)


def complete(place: Place, policy: Policy) -> Policy:
    """The policy with id, date and what the network adds, checked. AnyLogError as `checks.check`."""
    known = place.ledger.policies
    policy = prepared(policy, unix(place.clock))
    done = completed(policy, known, place.chance)
    check(done, known)
    return done


async def insert(place: Place, policy: Policy, *, local: bool = True, masters: Sequence[str] = ()) -> str:
    """Add a policy to the network; gives a warning, empty if all went well.

    A master that cannot be reached is a warning if the policy is in the local ledger: it is sent again later. One that
    refuses undoes the local step, and its error is raised; a member number that was drawn here is drawn again first.
    """
    policy = prepared(policy, unix(place.clock))
    if local and policy.id in place.ledger.policies:
        raise AnyLogError(70, f"{policy.summary}: the id {policy.id} is in the ledger")
    try:
        done = complete(place, policy)
    except AnyLogError as error:
        if error.number not in _UNKNOWN:
            raise
        await _refreshed(place, fresh=True)  # what it names may have been added elsewhere a moment ago
        done = complete(place, policy)
    drawn = done.get("member") is not None and policy.get("member") is None
    if drawn:
        place.ledger.drawn.add(done.id)
    # In memory at once; on disk while the masters are asked. If they are the source of this node's ledger, what they
    # took can be fetched from there, and there it is safe: no need to wait for a second disk.
    own = done.having(ledger="local")
    later = local and bool(masters) and all(map(place.follows, masters)) and place.ledger.may_wait
    saved: Deferred[None] | None = None
    if later:
        place.ledger.hold(own)
    elif local:
        saved = place.ledger.add(own)
        if saved.called:
            await saved  # another one of this id may have come meanwhile
    warnings = [doubt] if (doubt := doubts(done, place.ledger.policies)) else []
    took, refusal = 0, None
    try:
        for address in masters:
            try:
                done = await _pushed(place, address, done, drawn, local)
                took += 1
            except AnyLogError as error:
                if local and error.number in _NOT_NOW:
                    warnings.append(f"Warning: {done.summary} waits for the master {address}: {error}")
                    continue
                refusal = error
                break
    finally:  # also if nobody waits any more
        if later:
            present = place.ledger.raw.get(done.id)
            if took < len(masters) and refusal is None and present is not None and present.local:
                saved = place.ledger.keep(present)
            else:
                place.ledger.keep_later()
    try:
        if saved is not None:
            await saved
    except AnyLogError as fault:
        if refusal is None and not took:
            raise
        warnings.append(f"Warning: {done.summary} is in the global ledger, and could not be kept here: {fault}")
    if refusal is not None:
        if local:
            await _undo(place, done.id)
        raise refusal
    return "\n".join(warnings)


async def _pushed(place: Place, address: str, policy: Policy, drawn: bool, local: bool) -> Policy:
    """The policy as the master took it."""
    tried: list[int] = []
    while True:
        (outcome,) = await push_to(place, address, [policy.having(ledger="global")])
        if not outcome.code:
            if local:
                place.ledger.taken[policy.id] = address
            return policy
        member = policy.whole("member")
        if outcome.code == 180 and drawn and member is not None and len(tried) < DRAWS and "member:" in outcome.text:
            tried.append(member)
            policy = completed(policy.having(member=None), place.ledger.policies, place.chance, tried)
            if local:
                await place.ledger.change(policy.having(ledger="local"))
            continue
        raise AnyLogError(outcome.code, outcome.text, node=address)


async def _undo(place: Place, ident: str) -> None:
    """Take back what the master refused; what it knew better comes with the next synchronisation, asked for now."""
    present = place.ledger.raw.get(ident)
    if present is not None and present.local:
        await place.ledger.remove(ident)
    await _refreshed(place)


async def _refreshed(place: Place, fresh: bool = False) -> None:
    try:
        await place.refresh(fresh)
    except AnyLogError as error:
        log.info("no synchronisation: {why}", why=str(error))


async def delete(place: Place, ident: str, *, local: bool, masters: Sequence[str]) -> str:
    """Remove a policy; gives a warning, empty if all went well. AnyLogError 113 if nobody has it.

    A master that cannot be reached is told later, if the policy was removed here.
    """
    had = False
    if local:
        present = place.ledger.raw.get(ident)
        await place.ledger.remove(ident, buried=bool(masters) or (present is not None and not present.local))
        had = True
    warnings = []
    for address in masters:
        try:
            had = bool(await drop_at(place, address, [ident])) or had
        except AnyLogError as error:
            if not local or error.number not in _NOT_NOW:
                raise
            warnings.append(f"Warning: the master {address} is told later: {error}")
    if not had:
        raise AnyLogError(113, f"no policy with the id '{ident}' is known there")
    return "\n".join(warnings)


async def settle(place: Place, address: str, told: Merged) -> None:
    """After a merge: send the master again what it does not know, and delete there what was deleted here.

    What it refuses stays local, with the reason in `Ledger.refusals`. AnyLogError if it cannot be reached.
    """
    if told.delete:
        await drop_at(place, address, told.delete)
    # What was deleted or taken since is not to be sent any more.
    waiting = [policy for policy in told.resend if (ours := place.ledger.raw.get(policy.id)) is not None and ours.local]
    if not waiting:
        return
    policies = [policy.having(ledger="global") for policy in waiting]
    for policy, outcome in zip(policies, await push_to(place, address, policies, ignore=True), strict=True):
        if not outcome.code:
            place.ledger.refusals.pop(policy.id, None)
            place.ledger.taken[policy.id] = address
            continue
        try:
            if policy.id not in place.ledger.drawn or outcome.code != 180:
                raise AnyLogError(outcome.code, outcome.text)
            await _pushed(place, address, policy, True, True)
        except AnyLogError as error:
            place.ledger.refusals[policy.id] = str(error)


def _chunks(policies: Iterable[Policy]) -> Iterator[list[Policy]]:
    chunk: list[Policy] = []
    size = 0
    for policy in policies:
        if chunk and size + len(policy.text) > CHUNK:
            yield chunk
            chunk, size = [], 0
        chunk.append(policy)
        size += len(policy.text)
    if chunk:
        yield chunk


def _list_of(reply: Reply, name: str) -> list[Any]:
    found = reply.head.get(name)
    if not isinstance(found, list | tuple):
        raise AnyLogError(21, f"an answer without '{name}': {dumped(dict(reply.head))[:80]}")
    return list(found)
