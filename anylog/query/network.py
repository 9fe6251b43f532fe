"""`sql` for the network: one question, many nodes, one answer (query.md 7)."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from datetime import UTC
from typing import Any

import orjson
from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred, DeferredList, FirstError

from anylog.errors import AnyLogError
from anylog.interfaces import unix
from anylog.jobs import COMPLETED, EMPTY, STOPPED, Job
from anylog.language.context import Context, Result
from anylog.query import series
from anylog.query.answer import Answer
from anylog.query.commands import DESTINATIONS, SHOWN, Sql
from anylog.query.formats import Laid, Missing, Rows, layout_of
from anylog.query.leader import Asked, Target, unreachable
from anylog.query.merge import Merged, Passed
from anylog.query.plan import MERGE, RESULT, THROUGH, Plan, plan_of
from anylog.query.rewrite import fixed
from anylog.query.rows import KEYED, LISTS, OBJECTS
from anylog.query.scratch import Scratch, create_statement
from anylog.query.shape import UnknownColumn, name_token, table_of, unqualified
from anylog.query.sql import read_line, read_statement
from anylog.query.state import Place
from anylog.query.times import Zone, moment_of, moved, shown, utc, zone_of
from anylog.query.tokens import Token, closing, render, spaced
from anylog.query.unify import Unified
from anylog.waiting import deadline

MOST_PERIODS = 20
GRACE = 5.0  # seconds to put together what came, when the time is over and the rest may be missing


async def network_sql(
    node: Any,
    context: Context,
    line: str,
    targets: Sequence[str] | None,
    *,
    subset: bool = False,
    timeout: float | None = None,
) -> Result:
    """Run a select on the nodes that hold its table, or on `targets` (ip:port); `line` is what follows the word sql.

    With `subset` nodes that do not answer are left out and listed. `timeout` is in seconds. The pages of the result
    fail with AnyLogError if a node breaks after its first rows were given. Raises AnyLogError 2, 5, 16, 18, 26, 29,
    45, 46, 73, 76, 77, 134, 155, 161, 173, 175, 195, 203, 208, 237.
    """
    query = Query(place=node, context=context, named=targets, subset=subset or context.subset, timeout=timeout)
    try:
        return await query.run(line)
    except AnyLogError as error:
        query.fail(error)
        raise
    except CancelledError:
        if query.stopped:
            raise AnyLogError(23, "the query was stopped") from None
        query.stop()
        raise
    except BaseException:
        query.stop()
        raise


@define(eq=False, kw_only=True)
class Query:
    """One query of the network, until its pages take over."""

    place: Place
    context: Context
    named: Sequence[str] | None
    subset: bool
    timeout: float | None
    _started: float = 0.0
    _options: dict[str, Any] = field(factory=dict)
    _until: float | None = None
    _late: int = 26
    _zone: Zone = UTC
    _dbms: str = ""
    _table: str = ""
    _names: set[str] = field(factory=set)  # by which columns may be qualified
    _job: Job | None = None
    _asked: list[Asked] = field(factory=list)
    _missing: list[Missing] = field(factory=list)
    _unified: Unified | None = None
    _rows: Rows | None = None
    _waiting: Deferred[Any] | None = None  # for the parts
    stopped: bool = False  # by somebody else than the caller

    async def run(self, line: str) -> Result:
        """The pages of the answer, once it is known that all can answer."""
        place = self.place
        self._started = place.clock.seconds()
        read = read_line(line)
        options = self._options = Sql.read((read.statement,), read.options)
        layout_of(options["format"].lower())
        options["timezone"] = options["timezone"] or place.queries.zone
        self._zone = zone_of(options["timezone"])
        check(options)
        self._limits()
        verb, tokens = read_statement(read.statement)
        if verb != "select":
            raise AnyLogError(155, f"sql: '{verb}' is not for the network, only select is")
        self._dbms = read.dbms
        self._table, alias = table_of(tokens, read.dbms)
        self._names = {self._table, alias} - {""}
        columns, targets = await self._find()
        job = self._job = place.jobs.open(read.statement, self._output(), sql=True, dbms=self._dbms, table=self._table)
        job.stop = self._stop_waiting
        if self.context.origin == "console":
            self.context.write(f"[{job.slot}]")
        try:
            plan = await self._plan(read.statement, tokens, columns, targets)
        except UnknownColumn:
            await place.refresh()
            columns, targets = await self._find()
            plan = await self._plan(read.statement, tokens, columns, targets)
        job.explain = explained(plan, read.statement, self._dbms)
        try:
            self._rows = await self._answer(plan, targets)
        except BaseException as error:
            place.queries.ended(self._elapsed(), self._dbms, read.statement, error)
            raise
        place.queries.ended(self._elapsed(), self._dbms, read.statement)
        if options["dest"].lower() == "none" or not options["output"]:
            self._rows.close()
            job.end(COMPLETED, place.clock.seconds())
            return Result.nothing()
        return Result(
            pages=Laid(
                answer=self._rows,
                format=options["format"].lower(),
                stat=options["stat"],
                lines=self.context.origin in ("console", "start", "script"),
                title=options["title"],
                elapsed=self._elapsed,
                ended=self._ended,
                failed=self.fail,
                nodes=len(self._asked) - len(self._missing),
                missing=self._missing,
            )
        )

    def fail(self, error: AnyLogError) -> None:
        """It ends with an error."""
        self._end(f"Error: {error}")

    def stop(self) -> None:
        """Nobody waits for it any more."""
        self._end(STOPPED)

    def _stop_waiting(self) -> None:
        self.stopped = True
        self.stop()
        if self._waiting is not None:
            self._waiting.cancel()

    def _ended(self, whole: bool) -> None:
        rows = self._rows.count if self._rows is not None else 0
        self._end((COMPLETED if rows else EMPTY) if whole else STOPPED)

    def _end(self, status: str) -> None:
        if self._job is not None:
            self._job.end(status, self.place.clock.seconds())
        for asked in self._asked:
            asked.stop()
        if self._rows is not None:
            self._rows.close()
        elif self._unified is not None:
            self._unified.close()

    # What is asked, and whom

    def _elapsed(self) -> float:
        return self.place.clock.seconds() - self._started

    def _output(self) -> str:
        return "rest" if self.context.origin == "rest" else "stdout"

    def _limits(self) -> None:
        """The end of the time that the query may take."""
        mode, started = self.place.network_queries.mode, self._started
        seconds = [each for each in (self.timeout, mode.timeout) if each]
        ends = [started + each for each in seconds]
        if self.context.deadline is not None:
            ends.append(self.context.deadline)
        self._until = min(ends, default=None)
        most = self._options["max_time"]
        if most and (self._until is None or started + most < self._until):
            self._until, self._late = started + most, 76

    def _left(self) -> float | None:
        if self._until is None:
            return None
        left = self._until - self.place.clock.seconds()
        if left <= 0:
            raise AnyLogError(self._late, "no time is left for the query")
        return left

    async def _find(self) -> tuple[Mapping[str, str], list[Target]]:
        """The columns of the table and who holds it, after a look at the ledger's newest state if need be."""
        clusters, queries = self.place.clusters, self.place.network_queries
        for last in (False, True):
            columns = clusters.columns(self._dbms, self._table)
            if self.named is not None:
                targets = [Target(address, [address], False) for address in dict.fromkeys(self.named)]
            else:
                shares = clusters.shares(self._dbms, self._table)
                targets = [queries.target(share, self._options["nodes"]) for share in shares]
            if targets and columns is None:
                columns = await self._described(targets, last)
            if targets and columns:
                return columns, targets
            if not last:
                await self.place.refresh()
        if self.named is not None and not targets:
            raise AnyLogError(155, "sql: no node is named")
        if columns is None:
            raise AnyLogError(45, f"Table '{self._table}' in DBMS '{self._dbms}' is not known to the network")
        raise AnyLogError(73, f"no operator has Table '{self._table}' in DBMS '{self._dbms}'")

    async def _described(self, targets: Sequence[Target], last: bool) -> Mapping[str, str] | None:
        """The columns of a table that has no policy, as this node or one of the targets knows them."""
        database = self.place.databases.known(self._dbms)
        columns = database.schema(self._table) if database is not None else None
        if columns or not last:
            return columns or None
        for target in targets:
            asked = self._ask(0, target, {"dbms": self._dbms, "table": self._table, "describe": True})
            reply = await asked.describe()
            if reply:
                return reply
        return None

    def _ask(self, number: int, target: Target, head: Mapping[str, Any], volume: int = 0) -> Asked:
        place = self.place
        return Asked(
            number=number,
            target=target,
            head=head,
            tails=None if self._options["committed"] else place.network_queries.tails,
            peers=place.peers,
            clock=place.clock,
            suspects=place.network_queries.suspects,
            own=place.address,
            hops=self.context.hops,
            job=self._job,
            volume=volume,
        )

    # The plan

    async def _plan(
        self, statement: str, tokens: list[Token], columns: Mapping[str, str], targets: Sequence[Target]
    ) -> Plan:
        queries = self.place.network_queries
        store = self._options["format"].lower() == "table" or not self._options["pass_through"] or self._zone is None
        key = (self._dbms, statement, str(self._zone), store)
        known = queries.plan(key, columns)
        if known is not None:
            return known
        now = utc(unix(self.place.clock))

        def schema(table: str) -> Mapping[str, str] | None:
            return columns if table == self._table else None

        ready = unqualified(fixed(tokens, schema, now, self._zone), self._names, self._dbms)
        if any(token.says("period") for token in ready):
            return plan_of(await self._windows(ready, columns, targets), tokens, columns, self._dbms, now, store=store)
        plan = plan_of(ready, tokens, columns, self._dbms, now, store=store)
        then = utc(0)
        if unqualified(fixed(tokens, schema, then, self._zone), self._names, self._dbms) == ready and (
            not plan.increments or plan_of(ready, tokens, columns, self._dbms, then, store=store) == plan
        ):
            queries.keep(key, columns, plan)
        return plan

    async def _windows(self, tokens: list[Token], columns: Mapping[str, str], targets: Sequence[Target]) -> list[Token]:
        """`period(...)`: the newest time over all nodes first, then the window before it as a condition."""
        periods = 0
        place = 0
        while place + 1 < len(tokens):
            if not (tokens[place].says("period") and tokens[place + 1].text == "("):
                place += 1
                continue
            periods += 1
            if periods > MOST_PERIODS or any(token.says("increments", "increment") for token in tokens):
                raise AnyLogError(46, f"{series.WRONG_PERIOD}: not with increments, and at most {MOST_PERIODS} times")
            end = closing(tokens, place + 1)
            asked = series.read_period(tokens[place + 2 : end], self._zone)
            column, also = render(asked.column).strip(), render(asked.also).strip()
            upto = f"{column} <= '{asked.until}'{f' and ({also})' if also else ''}"
            newest = await self._newest(column, upto, columns, targets)
            condition = "(1 = 0)"
            moment = moment_of(newest) if newest else None
            if moment is not None:
                since = shown(moved(moment, -asked.number, asked.unit))
                condition = f"({upto} and {column} > '{since}')"
            made = spaced(condition)
            tokens = [*tokens[:place], made[0]._replace(gap=True), *made[1:], *tokens[end + 1 :]]
            place += len(made)
        return tokens

    async def _newest(
        self, column: str, condition: str, columns: Mapping[str, str], targets: Sequence[Target]
    ) -> str | None:
        """The latest time of a column under a condition, over all nodes."""
        table = render([name_token(self._table)]).strip()
        statement = f"select max({column}) as newest from {table} where {condition}"
        _, tokens = read_statement(statement)
        plan = plan_of(tokens, tokens, columns, self._dbms, utc(unix(self.place.clock)))
        leading = Query(
            place=self.place, context=self.context, named=self.named, subset=self.subset, timeout=self.timeout
        )
        leading._options, leading._dbms, leading._table = {**self._options, "format": "json"}, self._dbms, self._table
        leading._until, leading._late, leading._started = self._until, self._late, self._started
        try:
            rows = await leading._answer(plan, targets)
            text = await rows.next()
        finally:
            leading.stop()
        found = orjson_row(text)
        return found if isinstance(found, str) else None

    # The answer

    async def _answer(self, plan: Plan, targets: Sequence[Target]) -> Rows:
        options, mode = self._options, self.place.network_queries.mode
        left = self._left()
        form = OBJECTS if plan.way == THROUGH else KEYED if plan.way == MERGE else LISTS
        head: dict[str, Any] = {
            "dbms": plan.dbms,
            "table": plan.table,
            "statement": plan.statement,
            "form": form,
            "columns": dict(plan.needed),
        }
        if options["committed"]:
            head["committed"] = True
        if left is not None:
            head |= {"seconds": left, "late": self._late}
        if form != LISTS:
            head |= {"titles": list(plan.titles), "types": list(plan.types), "zone": options["timezone"]}
            head |= {"lines": options["format"].lower() == "json:output", "keys": len(plan.keys)}
        held = plan.final is not None and plan.final.sifted
        volume = mode.max_volume if mode.given or held else 0
        self._asked = [self._ask(number, target, head, volume) for number, target in enumerate(targets)]
        if form == LISTS:
            return await self._unify(plan)
        await self._all([asked.open() for asked in self._asked])
        taking = [asked for asked in self._asked if not asked.given_up]
        lines = options["format"].lower() == "json:output"
        common: dict[str, Any] = {
            "asked": taking,
            "separator": b"\n" if lines else b",\n",
            "limit": plan.limit,
            "offset": plan.offset,
        }
        return Passed(**common) if form == OBJECTS else Merged(**common, falling=plan.keys)

    async def _unify(self, plan: Plan) -> Rows:
        place, options = self.place, self._options
        assert plan.final is not None

        def make(inline: bool) -> Scratch:
            queries = place.network_queries
            return Scratch(
                name=plan.dbms,
                table=RESULT,
                columns=plan.created,
                pool=queries.scratches,
                lane=queries.lane,
                inline=inline,
            )

        unified = self._unified = Unified(make=make, plain=plan.plain)
        await self._all([unified.collect(asked) for asked in self._asked])
        for asked in self._asked:
            if asked.given_up:
                await unified.forget(asked.number)
        table = await unified.table()
        most = sum(asked.taken for asked in self._asked)
        limit = plan.final.limit
        answer = Answer(
            database=table,
            ready=evolve(plan.final, limit=most if limit is None else min(limit, max(most, 1))),
            layout=layout_of(options["format"].lower()),
            clock=place.clock,
            name=f"anylog_answer_{place.queries.number()}",
            zone=self._zone,
            zoned=self._zone is not UTC,
            until=self._until,
            late=self._late,
        )
        await answer.open()
        answer.until = None  # from here on the reader sets the pace
        return answer

    async def _all(self, works: Sequence[Awaitable[None]]) -> None:
        """Wait for every part; without `subset` the first that fails ends the rest."""
        left = self._left()
        started = []
        for asked, work in zip(self._asked, works, strict=True):
            waited: Deferred[None] = Deferred.fromCoroutine(work)  # type: ignore[arg-type]
            started.append(deadline(self.place.clock, left, waited, f"cluster '{asked.target.name}'"))
        mode = self.place.network_queries.mode
        partial = self.subset or mode.send == "any" or mode.reply == "any"
        self._waiting = DeferredList(started, fireOnOneErrback=not partial, consumeErrors=True)
        try:
            outcome = await self._waiting
        except FirstError as first:
            for each in started:
                each.cancel()
            why = first.subFailure.value
            if not isinstance(why, AnyLogError):
                first.subFailure.raiseException()
            raise self._late_error(self._asked[first.index], why) from None
        finally:
            self._waiting = None
        if not partial:
            return
        for asked, (fine, failure) in zip(self._asked, outcome, strict=True):
            if not fine:
                self._leave_out(asked, failure.value)
        if self._missing and self._until is not None:
            self._until = max(self._until, self.place.clock.seconds() + GRACE)
        if len(self._missing) == len(self._asked):
            raise AnyLogError(self._missing[0].number, self._missing[0].text, node=self._missing[0].address)

    def _late_error(self, asked: Asked, error: AnyLogError) -> AnyLogError:
        if error.number == 26 and not error.node:
            return AnyLogError(self._late, f"{error}, asked at {asked.address}", node=asked.address)
        return error

    def _leave_out(self, asked: Asked, error: Exception) -> None:
        """A part that may be missing. Raises the error if it may not."""
        if not isinstance(error, AnyLogError):
            raise error
        error = self._late_error(asked, error)
        mode = self.place.network_queries.mode
        sent = mode.send == "any" and (unreachable(error) or error.number in (203, 220))
        replied = mode.reply == "any" and error.number in (26, 76)
        if not (self.subset or sent or replied):
            raise error
        self._missing.append(asked.missing(error))


def check(options: Mapping[str, Any]) -> None:
    """Options of which this build knows the name only. Raises AnyLogError 175 or 237."""
    dest = options["dest"].lower()
    if dest not in DESTINATIONS and not dest.startswith("kafka@"):
        raise AnyLogError(175, f"sql: '{dest}' is not a value for 'dest': {', '.join(DESTINATIONS)}, kafka@ip:port")
    wrong = [name for name in ("file", "include", "extend", "source", "option", "test") if options[name]]
    if dest not in (*SHOWN, "none"):
        wrong.append(f"dest = {dest}")
    if wrong:
        raise AnyLogError(237, f"not in this build for a query of the network: {', '.join(wrong)}")


def explained(plan: Plan, statement: str, dbms: str) -> dict[str, str]:
    """What `query explain` tells (query.md 8)."""
    created = create_statement(RESULT, plan.created) if plan.final is not None else ""
    return {
        "Remote DBMS": dbms,
        "Remote Table": plan.table,
        "Source Command": statement,
        "Remote Query": plan.statement,
        "Local Create": created,
        "Local Query": plan.final.statement if plan.final is not None else "",
        "Increment Info": plan.increments,
    }


def orjson_row(text: str | bytes | None) -> Any:
    """The only value of the only row of an answer."""
    row = orjson.loads(text) if text else {}
    return next(iter(row.values()), None)
