"""The streamer of the unified namespace: values that devices send attribute by attribute, as rows of what they are
attributes of (ingest.md 7.4).

`plant/line1/pump/speed` and `plant/line1/pump/level` are attributes of `plant/line1/pump`. Each value that comes is a
row of its attribute's own table, safe before it is acknowledged, whether this runs or not. The rows made here come
beside them: in every period one for each parent of which something came, with the last value of each attribute that
came. A crash costs at most those of one period, whose values are in the tables of the attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from anylog.counts import Counts
from anylog.errors import AnyLogError
from anylog.interfaces import Clock
from anylog.mapping.names import normalise
from anylog.mapping.topics import Topic
from anylog.mapping.values import instant
from anylog.process import STREAMER, Process, Rhythm
from anylog.processes.msg_topics import table_of
from anylog.waiting import deferring

NAME = "uns streamer"
MOST = 100_000  # values that wait for the end of a period
TIME = "timestamp"

Keep = Callable[[str, str, Sequence[Mapping[str, Any]]], Deferred[Any]]


@define(eq=False)
class Parent:
    """What came of one parent since its last row."""

    dbms: str
    table: str
    values: dict[str, Any] = field(factory=dict)
    at: float = 0.0  # of the last one, in unix seconds

    def row(self) -> dict[str, Any]:
        """As it is stored."""
        return {TIME: instant(self.at), **self.values}


class UnsStreamer(Process):
    """Holds values until the period is over, and then keeps rows of them."""

    name = NAME
    floor = STREAMER
    log = Logger()

    def __init__(self, *, clock: Clock, every: float, keep: Keep, most: int = MOST) -> None:
        """`every` is in seconds; `keep` stores rows of a table; `most` values are held."""
        self.every, self.counts = every, Counts()
        self._keep, self._most = keep, most
        self._rhythm = Rhythm(clock=clock, every=every, do=self._beat, name=NAME)
        self._parents: dict[tuple[str, str, str], Parent] = {}  # by topic, database and table
        self._held = 0
        self._failing: set[tuple[str, str]] = set()  # tables of which it was told

    def take(self, topic: Topic, name: str, dbms: str, value: Any, now: float) -> None:
        """A value came under the topic `name`, at `now` in unix seconds. One without a parent has its own row alone."""
        above, _, last = name.strip("/").rpartition("/")
        if not above.strip("/"):
            return
        try:
            table, column = table_of(topic, above, value), normalise(last)
        except AnyLogError as why:
            self.counts.add("values left out", last=f"{name[:200]}: {why}")
            return
        if column == TIME:
            column = f"{TIME}_value"  # when the row was made is another thing
        self._put((above, dbms, table), {column: value}, now)

    def _put(self, key: tuple[str, str, str], values: Mapping[str, Any], now: float) -> None:
        """What came before a value of the same attribute gives way to it."""
        parent = self._parents.get(key)
        new = [column for column in values if parent is None or column not in parent.values]
        if self._held + len(new) > self._most:
            self.counts.add("values left out", len(values), f"{key[0][:200]}: more than {self._most:,} in one period")
            return
        if parent is None:
            parent = self._parents[key] = Parent(key[1], key[2])
        parent.values.update(values)
        parent.at = max(parent.at, now)
        self._held += len(new)

    # ------------------------------------------------------------------ a process

    def start(self) -> None:
        """The first rows come after one period."""
        self._rhythm.start()

    @deferring
    async def stop(self) -> None:
        """What came until now is kept."""
        await self._rhythm.stop()
        await self._beat()
        if self._held:
            self.log.error("{held} values are in the tables of their attributes alone", held=self._held)

    def describe(self) -> str:
        """As `get processes` shows it."""
        text = f"Every {self.every:g} seconds, Rows: {self.counts['rows']:,}"
        for name in ("values left out", "failures"):
            if self.counts[name]:
                text += f", {name.capitalize()}: {self.counts[name]:,} ({self.counts.last(name)[:200]})"
        return text

    @deferring
    async def _beat(self) -> None:
        parents, self._parents, self._held = self._parents, {}, 0
        tables: dict[tuple[str, str], list[tuple[tuple[str, str, str], Parent]]] = {}
        for key, parent in parents.items():
            tables.setdefault((parent.dbms, parent.table), []).append((key, parent))
        for where, found in tables.items():
            try:
                await self._keep(*where, [parent.row() for _, parent in found])
            except AnyLogError as why:
                self._failed(where, found, str(why))
                continue
            self._failing.discard(where)
            self.counts.add("rows", len(found))

    def _failed(self, where: tuple[str, str], found: Sequence[tuple[tuple[str, str, str], Parent]], why: str) -> None:
        """They are tried again with the next ones; what has come meanwhile is newer."""
        self.counts.add("failures", last=f"{where[0]}.{where[1]}: {why}")
        if where not in self._failing:
            self._failing.add(where)
            self.log.error("uns streamer, {dbms}.{table}: {why}", dbms=where[0], table=where[1], why=why)
        for key, parent in found:
            newer = self._parents.get(key)
            values = parent.values if newer is None else {
                column: value for column, value in parent.values.items() if column not in newer.values
            }  # fmt: skip
            self._put(key, values, parent.at)
