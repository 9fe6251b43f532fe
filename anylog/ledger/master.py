"""The master's own store: the database table `ledger` behind a set of policies in memory (metadata.md 6)."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from anylog.errors import AnyLogError
from anylog.interfaces import Asker, Clock, PeerHandler, Reply, unix
from anylog.ledger.checks import check
from anylog.ledger.lines import rendered, version_of
from anylog.ledger.policies import Policies
from anylog.ledger.policy import TOMBSTONE, Policy, prepared
from anylog.waiting import deferring

INSERT = (
    "insert into ledger (policy_type, policy_id, company_name, date, host, status, policy)"
    " select value->>0, value->>1, value->>2, value->>3, value->>4, 'active', value->>5 from json_each(?)"
)
DROP = "delete from ledger where policy_id in (select value from json_each(?))"
REPLACE = "update ledger set policy_type = ?, company_name = ?, date = ?, policy = ? where policy_id = ?"
PAGE = 64 << 10  # bytes
CHANGES = 20_000  # that are remembered, so that who has an older version is told what changed since
VERSIONS = 1000  # that are remembered


class Store(Protocol):
    """A database: `databases.sqlite.SQLite`."""

    def execute(self, statement: str, parameters: Sequence[Any] = ...) -> Deferred[list[tuple[Any, ...]]]: ...


@frozen
class Outcome:
    """What came of one policy that was pushed. Code 0: it is stored."""

    id: str
    code: int = 0
    text: str = ""

    @property
    def packed(self) -> list[Any]:
        """As it goes over the wire."""
        return [self.id, self.code, self.text]

    @classmethod
    def read(cls, packed: object) -> Outcome:
        """What a master answered; AnyLogError 21 for anything else."""
        if isinstance(packed, list | tuple) and len(packed) == 3:
            ident, code, text = packed
            if isinstance(ident, str) and isinstance(code, int) and isinstance(text, str):
                return cls(ident, code, text)
        raise AnyLogError(21, f"the answer to a push is none: {str(packed)[:80]!r}")


@frozen
class _Work:
    """One statement that waits for its turn; inserts beside each other become one."""

    statement: str
    rows: Sequence[Sequence[Any]] | None  # of an insert
    parameters: Sequence[Any]
    ended: Callable[[bool], None]  # told whether it is committed, even if nobody waits for it any more
    done: Deferred[None] = field(factory=lambda: Deferred(lambda _: None))


@define(kw_only=True, eq=False)
class Master:
    """Answers for the whole network. What it accepted is answered when it is committed, and served from then on."""

    _database: Store
    _clock: Clock
    changed: Callable[[], None] = field(default=lambda: None)
    policies: Policies = field(factory=Policies)
    log = Logger()

    _pending: dict[str, Policy] = field(factory=dict)  # accepted, not committed yet
    _committed: Policies = field(factory=Policies)  # what is served
    _commits: int = 0
    _file: tuple[int, bytes] | None = None
    _changes: deque[tuple[int, str]] = field(factory=lambda: deque(maxlen=CHANGES))  # number of a commit, id
    _versions: dict[str, int] = field(factory=dict)  # that were told, and after which commit; the oldest first
    _queue: list[_Work] = field(factory=list)
    _working: bool = False
    _listeners: list[Deferred[None]] = field(factory=list)  # wait for the end of the next statement

    @deferring
    async def load(self) -> None:
        """Read the table. Rows that hold no policy are logged and left out."""
        self.policies, self._committed = Policies(), Policies()
        for number, text in await self._database.execute("select sequence_id, policy from ledger order by sequence_id"):
            try:
                policy = _global(Policy.read(text))
                self.policies.add(policy)
                self._committed.add(policy)
            except AnyLogError as error:
                self.log.warn("ledger row {number} is left out: {why}", number=number, why=str(error))
        self._commits += 1
        self._changes.clear()
        self._versions.clear()

    # ---------------------------------------------------------------- serving

    @property
    def version(self) -> str:
        """The metadata version of what is committed."""
        version = self._committed.version()
        self._versions.pop(version, None)
        self._versions[version] = self._commits
        if len(self._versions) > VERSIONS:
            del self._versions[next(iter(self._versions))]
        return version

    @property
    def data(self) -> bytes:
        """What members download: all committed policies, one a line."""
        if self._file is None or self._file[0] != self._commits:
            self._file = (self._commits, rendered(self._committed))
        return self._file[1]

    def since(self, version: str) -> tuple[bytes, list[str]] | None:
        """What changed since a version that was told: lines of what is new or other, ids of what is gone.

        None if it is not known any more, or if the whole text is not much more.
        """
        known = self._versions.get(version)
        if known is None or (len(self._changes) == CHANGES and self._changes[0][0] > known):
            return None
        idents: set[str] = set()
        for commit, ident in reversed(self._changes):
            if commit <= known:
                break
            idents.add(ident)
        if 2 * len(idents) > len(self._committed):
            return None
        present = [policy for ident in idents if (policy := self._committed.get(ident)) is not None]
        lines = rendered(self._committed.sorted(present))
        return lines, sorted(ident for ident in idents if ident not in self._committed)

    def __len__(self) -> int:
        return len(self._committed)

    def _note(self, idents: Iterable[str]) -> None:
        """These have changed with the commit that comes."""
        self._changes.extend((self._commits + 1, ident) for ident in idents)

    # ---------------------------------------------------------------- changes

    @deferring
    async def push(
        self, given: Iterable[object], host: str = "", ignore: bool = False, *, again: bool = False
    ) -> list[Outcome]:
        """Store policies (objects, texts or `Policy`), each for itself; with `ignore` one that is there is no error.

        With `again` neither is the very same text, date and all: a question that was repeated because no answer was
        heard, or overtaken by a synchronisation, is answered like the first (decisions.md 8). Checked against this very
        table, as who sent them knew an older state. Fails with AnyLogError if the database does: none is stored then.
        """
        outcomes: list[Outcome] = []
        taken: list[Policy] = []
        for each in given:
            outcomes.append(self._accept(each, ignore, again, taken))
        repeats = {outcome.id for outcome in outcomes if outcome.id in self._pending} - {each.id for each in taken}
        if taken:

            def ended(committed: bool) -> None:
                for policy in taken:
                    if self._pending.get(policy.id) is policy:
                        del self._pending[policy.id]
                    if committed:
                        self._committed.add(policy)
                    elif self.policies.get(policy.id) is policy:
                        self.policies.remove(policy.id)
                if committed:
                    self._note(policy.id for policy in taken)

            await self._do(INSERT, [_row(policy, host) for policy in taken], (), ended)
        while repeats & self._pending.keys():  # "it is there" is said of what is committed alone
            done: Deferred[None] = Deferred(lambda _: None)
            self._listeners.append(done)
            await done
        return [
            Outcome(each.id, 30, "the ledger could not be written")
            if each.id in repeats and each.id not in self.policies
            else each
            for each in outcomes
        ]

    def _accept(self, given: object, ignore: bool, again: bool, taken: list[Policy]) -> Outcome:
        ident = ""
        try:
            policy = given if isinstance(given, Policy) else Policy.read(given)
            if policy.type == TOMBSTONE:
                raise AnyLogError(87, f"'{TOMBSTONE}' is no type of a policy")
            policy = _global(prepared(policy, unix(self._clock)))
            ident = policy.id
            present = self.policies.get(ident)
            if present is not None:
                if ignore or (again and present.text == policy.text):
                    return Outcome(ident)
                raise AnyLogError(70, f"{policy.summary}: the id {ident} is in the ledger")
            check(policy, self.policies)
        except AnyLogError as error:
            return Outcome(ident, error.number, str(error))
        self.policies.add(policy)
        self._pending[ident] = policy
        taken.append(policy)
        return Outcome(ident)

    @deferring
    async def drop(self, idents: Iterable[str]) -> list[str]:
        """Remove policies; gives the ids of those that were there.

        They are gone at once for what is pushed or dropped from now on, and for who asks when that is committed.
        """
        known = [policy for ident in dict.fromkeys(idents) if (policy := self.policies.remove(ident)) is not None]
        names = [policy.id for policy in known]
        if known:

            def ended(committed: bool) -> None:
                for policy in known:
                    if committed:
                        self._committed.remove(policy.id)
                    elif policy.id not in self.policies:
                        self.policies.add(policy)
                if committed:
                    self._note(names)

            await self._do(DROP, None, [json.dumps(names)], ended)
        return names

    @deferring
    async def replace(self, ident: str, policy: Policy) -> None:
        """Put another policy of the same type where that one is; it keeps the id. AnyLogError 113, 87 or 247."""
        old = self.policies.get(ident)
        if old is None:
            raise AnyLogError(113, f"no policy with the id '{ident}' is in the ledger")
        if policy.id not in ("", ident):
            raise AnyLogError(247, f"the policy has the id {policy.id}, not {ident}")
        if policy.type != old.type:
            raise AnyLogError(87, f"the policy {ident} is of type '{old.type}', not '{policy.type}'")
        new = _global(prepared(policy.having(id=ident), unix(self._clock)))
        check(new, self.policies)
        _, _, company, date, _, text = _row(new, "")

        def ended(committed: bool) -> None:
            if committed:
                if self.policies.get(ident) is self._committed.get(ident):  # else it was dropped since: that comes next
                    self.policies.replace(new)
                self._committed.replace(new)
                self._note([new.id])

        await self._do(REPLACE, None, [new.type, company, date, text, ident], ended)

    @deferring
    async def by_host(self, host: str) -> list[str]:
        """Ids of the policies that came from that ip, whatever the port."""
        rows = await self._database.execute(
            "select policy_id from ledger where host = ? or substr(host, 1, ?) = ?", (host, len(host) + 1, f"{host}:")
        )
        return [ident for (ident,) in rows]

    def _do(
        self,
        statement: str,
        rows: Sequence[Sequence[Any]] | None,
        parameters: Sequence[Any],
        ended: Callable[[bool], None],
    ) -> Deferred[None]:
        work = _Work(statement, rows, parameters, ended)
        self._queue.append(work)
        if not self._working:
            self._working = True
            self._do_all().addErrback(lambda failure: self.log.failure("writing the ledger", failure))
        return work.done

    @deferring
    async def _do_all(self) -> None:
        """In order, one statement after the other; inserts that came while one was under way go as one."""
        try:
            while self._queue:
                size = 1
                while (
                    self._queue[0].rows is not None and size < len(self._queue) and self._queue[size].rows is not None
                ):
                    size += 1
                batch, self._queue = self._queue[:size], self._queue[size:]
                parameters = batch[0].parameters
                if batch[0].rows is not None:
                    parameters = [json.dumps([row for work in batch for row in work.rows or ()])]
                fault: AnyLogError | None = None
                try:
                    await self._database.execute(batch[0].statement, parameters)
                except AnyLogError as error:
                    fault = AnyLogError(30, f"the ledger could not be written: {error}", http=error.http)
                for work in batch:
                    work.ended(fault is None)
                if fault is None:
                    self._commits += 1
                    self.changed()
                listeners, self._listeners = self._listeners, []
                for listener in listeners:
                    if not listener.called:
                        listener.callback(None)
                for work in batch:
                    if not work.done.called:
                        work.done.callback(None) if fault is None else work.done.errback(fault)
        finally:
            self._working = False


class Pages:
    """Bytes in pages, see `interfaces.IBody`."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def next(self) -> Deferred[bytes | None]:
        """The next page."""
        page = self._data[self._at : self._at + PAGE]
        self._at += PAGE
        told: Deferred[bytes | None] = Deferred()
        told.callback(page or None)
        return told

    def close(self) -> None:
        """Let go."""
        self._data = b""


def handlers(master: Callable[[], Master | None], copy: Callable[[], bytes] | None = None) -> Mapping[str, PeerHandler]:
    """What a node answers to the kinds `ledger`, `push` and `drop`: AnyLogError 30 unless it is a master.

    `copy` gives the policies that any member tells who begins with its ledger (`ledger` with `seed` in the head).
    """

    def present() -> Master:
        found = master()
        if found is None:
            raise AnyLogError(30, "this node is no master: table 'ledger' of database 'blockchain' is not connected")
        return found

    @deferring
    async def ledger(head: Mapping[str, Any], body: bytes, asker: Asker) -> Reply:
        if head.get("seed") and copy is not None and master() is None:
            data = copy()
            told = {"changed": True, "version": version_of(data), "policies": data.count(b"\n")}
            return Reply(head=told, body=Pages(data))
        found = present()
        told = {"changed": True, "version": found.version, "policies": len(found)}
        if head.get("version") == told["version"]:
            return Reply(head={**told, "changed": False})
        base = head.get("base")
        changes = found.since(base) if isinstance(base, str) and base else None
        if changes is not None:
            return Reply(head={**told, "base": base, "dropped": changes[1]}, body=Pages(changes[0]))
        return Reply(head=told, body=Pages(found.data))

    @deferring
    async def push(head: Mapping[str, Any], body: bytes, asker: Asker) -> Reply:
        found = present()
        try:
            given = json.loads(body)
        except (ValueError, RecursionError) as why:
            raise AnyLogError(6, f"the policies that were pushed: {why}") from None
        if not isinstance(given, list):
            raise AnyLogError(87, "what is pushed is a list of policies")
        outcomes = await found.push(given, asker.address or asker.host, bool(head.get("ignore")), again=True)
        return Reply(head={"results": [outcome.packed for outcome in outcomes]})

    @deferring
    async def drop(head: Mapping[str, Any], body: bytes, asker: Asker) -> Reply:
        idents = head.get("ids")
        if not isinstance(idents, list | tuple) or not all(isinstance(ident, str) for ident in idents):
            raise AnyLogError(21, "the ids of policies to drop are a list of texts")
        return Reply(head={"dropped": await present().drop(idents)})

    return {"ledger": ledger, "push": push, "drop": drop}


def _global(policy: Policy) -> Policy:
    return policy if policy.body.get("ledger") == "global" else policy.having(ledger="global")


def _row(policy: Policy, host: str) -> list[str]:
    date = policy.date
    # Times are kept in the form in which the engine compares them with others.
    plain = date[:10] + " " + date[11:].removesuffix("Z") if date[10:11] == "T" else date
    return [policy.type, policy.id, policy.text_of("company"), plain, host, policy.text]
