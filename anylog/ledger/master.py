"""The master's own store: a table of policies, and what must be unique among them (metadata.md 6)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Protocol

import orjson
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from anylog.errors import AnyLogError
from anylog.interfaces import Clock
from anylog.ledger.checks import check
from anylog.ledger.ledger import version_of, written
from anylog.ledger.policies import Policies
from anylog.ledger.policy import GLOBAL, Policy
from anylog.waiting import deferring

TABLE = "ledger"
REMEMBERED = 200  # versions of the ledger
Outcome = tuple[str, int, str]  # id, error number (0: stored), text

_INSERT = (
    "insert into ledger (policy_type, policy_id, company_name, date, host, status, policy)"
    " select json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),"
    " json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]'),"
    " json_extract(value, '$[6]') from json_each(?) where true on conflict (policy_id) do update set"
    " policy_type = excluded.policy_type, company_name = excluded.company_name, date = excluded.date,"
    " host = excluded.host, status = excluded.status, policy = excluded.policy"
)


class Store(Protocol):
    """The database with the table `ledger`."""

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Deferred[list[tuple[Any, ...]]]:
        """One statement in one transaction."""


@define(eq=False)
class _Batch:
    rows: list[Any] = field(factory=list)
    ids: list[str] = field(factory=list)
    told: Deferred[None] = field(factory=Deferred)


@define(kw_only=True, eq=False)
class Master:
    """The global ledger, as long as this node keeps it."""

    _store: Store
    _clock: Clock
    _chance: Random
    _changed: Callable[[], None]
    policies: Policies = field(factory=Policies)
    _hosts: dict[str, str] = field(factory=dict)
    _file: tuple[int, bytes, str] | None = None  # change, text, version
    _before: OrderedDict[str, int] = field(factory=OrderedDict)  # versions that the text begins with -> their length
    _batch: _Batch | None = None
    _committing: bool = False
    log = Logger()

    @deferring
    async def load(self) -> None:
        """Read the table. Raises AnyLogError 16."""
        rows = await self._store.execute("select policy_id, host, policy from ledger order by sequence_id")
        policies = []
        for id, host, text in rows:
            try:
                policies.append(Policy.read(text).with_(ledger=GLOBAL))
                self._hosts[id] = host or ""
            except AnyLogError as wrong:
                self.log.error("policy {id} of the table ledger: {wrong}", id=id, wrong=str(wrong))
        self.policies.replace(policies)

    def file(self) -> tuple[bytes, str]:
        """The ledger as its members keep it, and its version."""
        if self._file is None or self._file[0] != self.policies.change:
            text = written(self.policies)
            if self._file is not None and text.startswith(self._file[1]):
                self._before[self._file[2]] = len(self._file[1])
                while len(self._before) > REMEMBERED:
                    self._before.popitem(last=False)
            else:
                self._before.clear()
            self._file = (self.policies.change, text, version_of(text))
        return self._file[1], self._file[2]

    def common(self, version: str) -> int:
        """How many bytes of the file one has whose copy is of that version; 0 if that is not known."""
        return self._before.get(version, 0)

    @deferring
    async def push(self, policies: Sequence[Policy], host: str, ignore: bool = False) -> list[Outcome]:
        """Store policies; each has an outcome of its own, given when all that are stored are on disk.

        What must be unique is checked against what is here and what is on its way. With `ignore` a policy that is here
        already is no error. The sender's `ledger` mark does not count.
        """
        outcomes: list[Outcome] = []
        waits: list[Deferred[None]] = []
        for given in policies:
            try:
                policy = given.prepared(self._clock.seconds()).with_(ledger=GLOBAL)
                known = self.policies.get(policy.id)
                if known is not None:
                    if ignore or known.body == policy.body:
                        outcomes.append((policy.id, 0 if ignore else 70, f"the policy {policy.id} is in the ledger"))
                    else:
                        outcomes.append((policy.id, 70, f"{policy.type}: a policy with the id {policy.id} is there"))
                    waits += [self._batch.told] if self._batch is not None else []
                    continue
                policy = check(policy, self.policies, self._chance)
                self.policies.add(policy)
                self._hosts[policy.id] = host
                waits.append(self._store_soon(policy, host))
                outcomes.append((policy.id, 0, ""))
            except AnyLogError as refused:
                outcomes.append((given.id, refused.number, str(refused)))
        for told in waits:
            await _follow(told)
        return outcomes

    @deferring
    async def drop(self, ids: Sequence[str]) -> list[str]:
        """Delete policies; gives the ids that were here."""
        found = [id for id in ids if self.policies.remove(id) is not None]
        if found:
            await self._store.execute(
                "delete from ledger where policy_id in (select value from json_each(?))",
                (orjson.dumps(found).decode(),),
            )
            self._changed()
        return found

    @deferring
    async def change(self, policy: Policy, host: str = "") -> None:
        """Put a policy in the place of the one with its id. AnyLogError 113 if there is none."""
        known = self.policies.get(policy.id)
        if known is None or known.type != policy.type:
            raise AnyLogError(113, f"no {policy.type} policy with the id {policy.id} is in the ledger")
        self.policies.add(policy.with_(ledger=GLOBAL))
        await _follow(self._store_soon(policy.with_(ledger=GLOBAL), host))

    def host_of(self, id: str) -> str:
        """Who sent it."""
        return self._hosts.get(id, "")

    @deferring
    async def clear(self) -> None:
        """The table is gone."""
        self.policies.replace(())
        self._hosts.clear()
        self._changed()

    def _store_soon(self, policy: Policy, host: str) -> Deferred[None]:
        """What comes while one statement is under way shares the next."""
        if self._batch is None:
            self._batch = _Batch()
            if not self._committing:
                self._committing = True
                self._clock.callLater(0, self._commit)
        row = (
            policy.type, policy.id, str(policy.get("company", "")), policy.date, host, str(policy.get("status", "")),
            policy.line.decode(),
        )  # fmt: skip
        self._batch.rows.append(row)
        self._batch.ids.append(policy.id)
        return self._batch.told

    @deferring
    async def _commit(self) -> None:
        try:
            while self._batch is not None:
                batch, self._batch = self._batch, None
                try:
                    await self._store.execute(_INSERT, (orjson.dumps(batch.rows).decode(),))
                except AnyLogError as failed:
                    for id in batch.ids:
                        self.policies.remove(id)
                    batch.told.errback(AnyLogError(30, f"the table ledger: {failed}", http=503))
                    batch.told.addErrback(lambda _: None)
                    continue
                batch.told.callback(None)
                self._changed()
        finally:
            self._committing = False


def _follow(told: Deferred[None]) -> Deferred[None]:
    """Wait for what many wait for."""
    waited: Deferred[None] = Deferred(lambda _: None)

    def ended(result: Any) -> Any:
        if not waited.called:
            waited.callback(result)  # a Failure makes it fail
        return result

    told.addBoth(ended)
    return waited
