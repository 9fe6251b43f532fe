"""What is looked at before readings are kept: may they come, and did they come before (decisions.md 8, 36)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredList, fail, succeed
from twisted.python.failure import Failure

from anylog.counts import Counts
from anylog.databases.tables import RESERVED
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, ILane, Receipt
from anylog.mapping.body import normal_form
from anylog.processes.attaching import Attaching
from anylog.processes.buffers import Where
from anylog.processes.forms import MANY, NONE, Form, form_of, named
from anylog.processes.once import Once
from anylog.waiting import deferring

LONGEST_KEY = 200  # characters of an Idempotency-Key; of a longer one its hash is kept
LARGE = 256 << 10  # bytes of a whole file from which its hash is worth a hop to another thread
NO_TOKENS: Mapping[str, str] = {}

_Known = tuple[str, str, str]  # database, table, key


class Keep(Protocol):
    """Makes one record of the journal; the receipt follows its sync."""

    def __call__(
        self,
        where: Where,
        body: bytes,
        rows: Sequence[Mapping[str, Any]],
        key: str,
        form: Form,
        now: float,
        tokens: Mapping[str, str] = NO_TOKENS,
    ) -> Deferred[Receipt]: ...


class Databases(Protocol):
    """What is asked of the catalog."""

    def get(self, name: str) -> Any:
        """The connected database of that name; AnyLogError 5."""


class Stream(Protocol):
    """What rows pass before they are kept: conditions, and aggregation (ingest.md 14, 15)."""

    def watches(self, dbms: str, table: str) -> bool:
        """Whether it has anything to do with rows of that table."""

    def screen(self, dbms: str, table: str, rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """The rows that conditions leave."""

    def through(
        self, dbms: str, table: str, rows: Sequence[Mapping[str, Any]]
    ) -> Deferred[Sequence[Mapping[str, Any]]]:
        """As `screen`, for many rows, between which others are served."""

    def stores(self, dbms: str, table: str) -> bool:
        """Whether rows of that table are kept themselves."""

    def passed(self, dbms: str, table: str, rows: Sequence[Mapping[str, Any]]) -> Deferred[None]:
        """Count rows that are safe; fires when they are counted."""


class Keyed(NamedTuple):
    """A message that may come again: `rows[first:end]` are what was made of it.

    The key says which place it has in its sender's numbering, which is used again and again, the token which message
    that is: only under the same key and with the same token it is a repeat. `repeat`: whether it can be one at all.
    """

    key: str
    token: str
    first: int
    end: int
    repeat: bool = True


@define(kw_only=True, eq=False)
class Accepting:
    """Refuses what cannot be kept, and keeps what may be a repeat once."""

    _clock: Clock
    _databases: Databases
    _loaders: Mapping[str, Any]  # by the databases that are attached
    _attaching: Attaching
    _once: Once
    _lane: Callable[[], ILane]
    _keep: Keep
    _columns: Callable[[Where], Mapping[str, str] | None]
    _refusal: Callable[[], AnyLogError | None]
    _away: Callable[[], AnyLogError | None]
    _counts: Counts
    # As long as an operator runs that does not take all tables: why it does not take one.
    door: Callable[[str, str], AnyLogError | None] | None = None
    stream: Stream | None = None  # as long as there is anything to be done with passing rows
    _published: Callable[[str], bool] = field(default=lambda dbms: False)  # whether its readings go to operators
    _coming: dict[_Known, tuple[str, list[Deferred[None]]]] = field(factory=dict)  # token, who waits for its sync

    def accept(
        self,
        dbms: str,
        table: str,
        body: bytes,
        rows: Sequence[Mapping[str, Any]],
        *,
        source: str = "0",
        instructions: str = "0",
        whole: bool = False,
        key: str = "",
    ) -> Deferred[Receipt]:
        """See `interfaces.IIntake`. Names are normalised by the caller."""
        refusal = self.refused(dbms, table)
        if refusal is not None:
            return fail(refusal)
        ready = self._attaching.ready(dbms)
        if ready is not None:
            # The keys of a database that was just connected are being read: a repeat must be known as one.
            return ready.addCallback(
                lambda _: self.accept(
                    dbms, table, body, rows, source=source, instructions=instructions, whole=whole, key=key
                )
            )
        if len(key) > LONGEST_KEY:
            key = sha256(key.encode()).hexdigest()
        stream = self.stream
        if stream is not None and stream.watches(dbms, table) and not (key and self._once.knows((dbms, table, key))):
            return self._streamed(
                stream, Where(dbms, table, *named(dbms, table, source, instructions)), body, rows, whole, key
            )
        return self._take(Where(dbms, table, *named(dbms, table, source, instructions)), body, rows, whole, key)

    def store(self, dbms: str, table: str, rows: Sequence[Mapping[str, Any]]) -> Deferred[Receipt]:
        """Keep rows that the node made itself of passing data: they do not pass again. Fails as `accept`."""
        refusal = self.refused(dbms, table)
        if refusal is not None:
            return fail(refusal)
        ready = self._attaching.ready(dbms)
        if ready is not None:
            return ready.addCallback(lambda _: self.store(dbms, table, rows))
        return self._take(Where(dbms, table), normal_form(rows), rows, False, "")

    def _take(
        self, where: Where, body: bytes, rows: Sequence[Mapping[str, Any]], whole: bool, key: str
    ) -> Deferred[Receipt]:
        """As streaming rows, or as a whole file."""
        dbms, table = where.dbms, where.table
        now = self._clock.seconds()
        if not whole and not key:
            return self._keep(where, body, rows, "", NONE, now)
        if not whole:
            return self._only_once(where, body, rows, key, NONE, now)
        early = len(rows) >= MANY and where.instructions == "0"  # what a policy is to map is not what goes to the table
        asked = dbms, table, rows, self._columns(where) if early else None
        if len(body) > LARGE:
            named = self._lane().run(form_of, *asked)
            return named.addCallback(lambda form: self._only_once(where, body, rows, key, form, now))
        return self._only_once(where, body, rows, key, form_of(*asked), now)

    @deferring
    async def _streamed(
        self, stream: Stream, where: Where, body: bytes, rows: Sequence[Mapping[str, Any]], whole: bool, key: str
    ) -> Receipt:
        """As `_take`, of the rows that conditions leave; what is kept is counted where the table is aggregated."""
        dbms, table = where.dbms, where.table
        left = await stream.through(dbms, table, rows)
        stores = stream.stores(dbms, table)
        if left and stores:
            away = self._away()
            if away is not None:  # since before: many rows take several turns
                raise away
            receipt = await self._take(where, body if len(left) == len(rows) else normal_form(left), left, whole, key)
        else:
            receipt = Receipt("0", 0)
        if not receipt.repeated:
            await stream.passed(dbms, table, left)
        return receipt

    def messages(
        self,
        dbms: str,
        table: str,
        rows: Sequence[Mapping[str, Any]],
        keyed: Sequence[Keyed] = (),
        *,
        source: str = "0",
        instructions: str = "0",
    ) -> Deferred[int]:
        """Keep the rows of several messages in one record, repeats left out; gives how many rows were new.

        `keyed` is in the order of the rows. Fires when all is synced, that of which they are repeats, too; what is
        remembered of them lies in the same record as their rows. Names are normalised by the caller. Fails with
        AnyLogError as `accept`.
        """
        refusal = self.refused(dbms, table)
        if refusal is not None:
            return fail(refusal)
        ready = self._attaching.ready(dbms)
        if ready is not None:
            return ready.addCallback(
                lambda _: self.messages(dbms, table, rows, keyed, source=source, instructions=instructions)
            )
        tokens, waits = NO_TOKENS, list[Deferred[None]]()
        if keyed:
            rows, tokens, waits = self._new(dbms, table, rows, keyed)
        kept: Deferred[int] = succeed(0)
        stream = self.stream
        if rows and stream is not None and stream.watches(dbms, table):
            kept = self._messages(stream, Where(dbms, table, *named(dbms, table, source, instructions)), rows, tokens)
        elif rows:
            kept = self._kept(Where(dbms, table, *named(dbms, table, source, instructions)), rows, tokens)
        if not waits:
            return kept
        return _all(kept, waits)

    def _messages(
        self, stream: Stream, where: Where, rows: Sequence[Mapping[str, Any]], tokens: Mapping[str, str]
    ) -> Deferred[int]:
        """As `_kept`, of the rows that conditions leave. At once: what of it may come again has to be known at once."""
        left = stream.screen(where.dbms, where.table, rows)
        if not left or not stream.stores(where.dbms, where.table):
            return stream.passed(where.dbms, where.table, left).addCallback(lambda _: 0)

        def counted(new: int) -> Deferred[int]:
            return stream.passed(where.dbms, where.table, left).addCallback(lambda _: new)

        return self._kept(where, left, tokens).addCallback(counted)

    def refused(self, dbms: str, table: str) -> AnyLogError | None:
        """Why nothing is taken for that table at the moment, or None."""
        refusal = self._refusal()
        if refusal is None and dbms not in self._loaders and not self._published(dbms):
            try:
                self._databases.get(dbms)
            except AnyLogError as unknown:
                refusal = unknown
        if refusal is None and table.startswith(RESERVED):
            refusal = AnyLogError(28, f"'{table}': names that begin with {', '.join(RESERVED)} are not for tables")
        if refusal is None and self.door is not None:
            refusal = self.door(dbms, table)
        if refusal is not None:
            self._counts.add("refused", 1, str(refusal))
        return refusal

    def _only_once(
        self, where: Where, body: bytes, rows: Sequence[Mapping[str, Any]], key: str, form: Form, now: float
    ) -> Deferred[Receipt]:
        """Keep what may be a repeat: of a sender's key, or of a whole content."""
        away = self._away()
        if away is not None:  # since before the hop: a journal that is being opened must not be written
            return fail(away)
        known = (where.dbms, where.table, key) if key else (where.dbms, form.hash)
        coming = self._once.begin(known, now)
        if coming is not None:
            return coming
        receipt = self._keep(where, body, rows, key, form, now)

        def kept(receipt: Receipt) -> Receipt:
            self._once.end(known, now, receipt)
            return receipt

        def unkept(failure: Any) -> Any:
            self._once.fail(known, failure.value)
            return failure

        return receipt.addCallbacks(kept, unkept)

    def _new(
        self, dbms: str, table: str, rows: Sequence[Mapping[str, Any]], keyed: Sequence[Keyed]
    ) -> tuple[Sequence[Mapping[str, Any]], dict[str, str], list[Deferred[None]]]:
        """The rows without those of repeats, the tokens of the others, and what the repeats wait for."""
        tokens: dict[str, str] = {}
        waits: list[Deferred[None]] = []
        repeats: list[Keyed] = []
        for each in keyed:
            if each.repeat:
                known = (dbms, table, each.key)
                if tokens.get(each.key) == each.token:
                    repeats.append(each)
                    continue
                coming = self._coming.get(known)
                if coming is not None and coming[0] == each.token:
                    waited: Deferred[None] = Deferred()
                    coming[1].append(waited)
                    waits.append(waited)
                    repeats.append(each)
                    continue
                receipt = self._once.known(known)
                if receipt is not None and receipt.hash == each.token:
                    repeats.append(each)
                    continue
            tokens[each.key] = each.token
        if not repeats:
            return rows, tokens, waits
        self._counts.add("repeats", len(repeats))
        left, at = list[Mapping[str, Any]](), 0
        for each in repeats:
            left += rows[at : each.first]
            at = each.end
        return [*left, *rows[at:]], tokens, waits

    def _kept(self, where: Where, rows: Sequence[Mapping[str, Any]], tokens: Mapping[str, str]) -> Deferred[int]:
        body = normal_form(rows)
        now = self._clock.seconds()
        receipt = self._keep(where, body, rows, "", Form("", body), now, tokens)
        if not tokens:
            return receipt.addCallback(lambda receipt: receipt.rows)
        waiting: list[Deferred[None]] = []
        known = [(where.dbms, where.table, key) for key in tokens]
        for each, token in zip(known, tokens.values(), strict=True):
            self._coming[each] = token, waiting

        def settle(outcome: Receipt | Failure) -> int | Failure:
            fine = isinstance(outcome, Receipt)
            for each, token in zip(known, tokens.values(), strict=True):
                if self._coming.get(each, (None, None))[1] is waiting:
                    del self._coming[each]
                if fine:
                    self._once.remember(each, now, Receipt(token, 0))
            for waited in waiting:
                if isinstance(outcome, Receipt):
                    waited.callback(None)
                else:
                    waited.errback(outcome)
            return outcome.rows if isinstance(outcome, Receipt) else outcome

        return receipt.addBoth(settle)


def _all(kept: Deferred[int], waits: Sequence[Deferred[None]]) -> Deferred[int]:
    """`kept`, once all of `waits` have fired; the first failure of any."""
    every: list[Deferred[Any]] = [kept, *waits]

    def ended(outcomes: list[tuple[bool, Any]]) -> int | Failure:
        for fine, value in outcomes:
            if not fine:
                assert isinstance(value, Failure)
                return value
        return int(outcomes[0][1])

    return DeferredList(every, consumeErrors=True).addCallback(ended)
