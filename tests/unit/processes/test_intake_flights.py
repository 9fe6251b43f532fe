"""The next load is made ready behind the one on its way: whatever becomes of that one, order is kept, nothing twice."""

import json

from test_intake import Engine, IntakeCase
from twisted.internet.defer import Deferred

from anylog.errors import AnyLogError
from anylog.interfaces import AnyLogFault
from anylog.processes import loading

BODY = 40  # rows: enough to be converted early


class Slow(Engine):
    """Takes loads, and answers them when it is told to."""

    def __init__(self):
        super().__init__()
        self.waiting, self.sizes, self.poisoned = [], [], []

    def _one(self, load):
        if self.poison is not None and any(self.poison in row for row in json.loads(load.values)):
            self.poisoned.append(load.rows)
        return super()._one(load)

    def load(self, loads):
        self.sizes.append([load.rows for load in loads])
        told = Deferred()
        self.waiting.append((told, loads))
        return told

    def answer(self, refusal="", committed=False):
        """The oldest load is done; or refused, `committed` or not."""
        told, loads = self.waiting.pop(0)
        faults = None if refusal and not committed else self._load(loads)
        if refusal:
            told.errback(AnyLogError(16, refusal))
        else:
            told.callback(faults)


class FlightCase(IntakeCase):
    def setUp(self):
        super().setUp()
        self.patch(loading, "ROUND_BYTES", 1200)  # about one body
        self.engine = Slow()
        self.engine.schemas = {table: {"v": "INT"} for table in ("t", "u")}
        self.sent = 0

    def body(self, rows=BODY, table="t", **options):
        """One more body of numbers that go on."""
        made = [{"v": self.sent + n} for n in range(rows)]
        self.sent += rows
        body = json.dumps([{**row, "_": ""} for row in made]).encode() if rows < 10 else json.dumps(made).encode()
        return self.successResultOf(self.intake.accept("town", table, body, made, **options))

    def finish(self):
        """Until nothing is on its way."""
        for _ in range(60):
            while self.engine.waiting:
                self.engine.answer()
            self.clock.advance(0.5)

    def made_ready(self):
        """Watch what is made ready behind a load."""
        make, seen = loading.Loader._make_ready, []

        async def watched(loader, flight):
            ready = await make(loader, flight)
            if flight is not None:
                seen.append([share.buffer.where.table for share, _ in ready.loads])
            return ready

        self.patch(loading.Loader, "_make_ready", watched)
        return seen

    def all_is_there(self):
        """Everything once, in order, nothing parked, nothing held."""
        found = self.values("t")
        self.assertEqual(sorted(found + self.values("u")), list(range(self.sent)))
        self.assertEqual(found, sorted(found))
        self.assertEqual(self.engine.parked, [])
        self.at_rest()

    def at_rest(self):
        (loader,) = self.intake._loaders.values()
        self.assertEqual((loader._queue, loader._queued, loader._alone, loader._again), ({}, 0, {}, {}))
        self.assertEqual(self.intake.tank.held, 0)


class FlightTests(FlightCase):
    def flying(self, bodies=4, **options):
        """One load on its way, and the next made ready behind it."""
        self.begin()
        seen = self.made_ready()
        for _ in range(bodies):
            self.body(**options)
        self.clock.advance(0)
        self.assertEqual((len(self.engine.waiting), len(seen)), (1, 1))
        return seen

    def test_one_behind_the_other(self):
        """What was made ready is sent at once when the one before it is committed."""
        seen = self.flying(bodies=10)
        self.engine.answer()
        self.assertEqual(len(self.engine.waiting), 1)
        self.finish()
        self.assertGreater(len(seen), 1)
        self.all_is_there()

    def test_refused(self):
        """What was made ready behind a load that is refused is not sent before it."""
        self.flying()
        self.engine.answer(refusal="locked")
        self.assertEqual(self.engine.waiting, [])
        self.finish()
        self.all_is_there()

    def test_refused_although_committed(self):
        """Nobody knows whether it was committed: with more behind it in one load it would come again."""
        for bodies in (1, 2, 4):
            self.setUp()
            self.begin()
            for _ in range(bodies):
                self.body(rows=5)
            self.clock.advance(0)
            (sizes,) = self.engine.sizes
            for _ in range(3):
                self.body(rows=5)
            self.engine.answer(refusal="the disk is away", committed=True)
            self.clock.advance(0.2)
            self.assertEqual(self.engine.sizes[1:], [sizes])
            self.finish()
            self.all_is_there()

    def test_the_same_again_is_not_split(self):
        """Also where what goes before it has filled the round meanwhile."""
        self.begin()
        self.body(rows=5, table="u")
        for _ in range(4):
            self.body(rows=5)
        self.clock.advance(0)
        self.assertEqual(self.engine.sizes, [[5, 20]])
        (loader,) = self.intake._loaders.values()
        for _ in range(5):
            self.body(table="u")
        self.body(rows=5)
        self.engine.answer(refusal="the disk is away", committed=True)
        self.assertEqual(sorted(loader._again.values()), [1, 4])
        self.finish()
        self.all_is_there()

    def test_a_refusal_behind_one_that_is_left_out(self):
        """Shares that were committed beside a poison row do not go again when parking that row is refused."""
        self.begin()
        self.engine.poison = 0
        self.body(rows=1)
        self.body(rows=5, table="u")
        self.clock.advance(0)
        self.engine.answer()  # of the table `t` it is left out, and parked by a load of its own
        self.body(rows=5, table="u")
        self.engine.answer(refusal="locked")
        self.finish()
        self.assertEqual((self.values("t"), self.values("u")), ([], list(range(1, 11))))
        self.assertEqual([row["v"] for _, _, row in self.engine.parked], [0])
        self.at_rest()

    def test_left_out(self):
        """A body that the engine refuses is parked alone; what was made ready behind it comes after it, whole."""
        for bad in (0, 1, 2, 3):
            self.setUp()
            self.engine.poison = bad * BODY + 3
            self.flying()
            self.finish()
            wanted = [n for n in range(self.sent) if n // BODY != bad]
            self.assertEqual(self.values(), wanted)
            self.assertEqual([row["v"] for _, _, row in self.engine.parked], list(range(bad * BODY, (bad + 1) * BODY)))
            self.at_rest()

    def test_missing_table(self):
        """The table is dropped while one is on its way and one is ready: both are loaded, none is parked."""
        self.flying()
        told, _ = self.engine.waiting.pop(0)
        del self.engine.schemas["t"]
        told.callback([AnyLogFault("missing table", "no such table: t")])
        self.finish()
        self.assertEqual(self.engine.schemas["t"], {"v": "INT"})
        self.all_is_there()

    def test_duplicate(self):
        """A whole file that turns out to be loaded takes nothing else with it."""
        self.begin()
        self.body(whole=True)
        self.finish()
        self.intake.once._known.clear()
        self.sent = 0
        seen = self.made_ready()
        self.body(whole=True)
        for _ in range(4):
            self.body(whole=True)
        self.clock.advance(0)
        self.assertTrue(seen)
        self.finish()
        self.all_is_there()

    def test_the_one_made_ready_cannot_be(self):
        """A refusal while the next is made ready does not touch the one on its way."""
        self.begin()
        prepare, refusals = loading.Loader._prepare, [None, AnyLogError(16, "away")]

        async def prepared(loader, share, planned):
            refusal = refusals.pop(0) if refusals else None
            if refusal is not None:
                raise refusal
            return await prepare(loader, share, planned)

        self.patch(loading.Loader, "_prepare", prepared)
        for _ in range(4):
            self.body()
        self.clock.advance(0)
        self.assertEqual(refusals, [])
        self.finish()
        self.all_is_there()

    def test_stopped(self):
        """What is on its way or ready is waited for, what is behind it stays in the journal for the next start."""
        self.flying(bodies=10)
        (loader,) = self.intake._loaders.values()
        stopped = loader.stop()
        self.assertNoResult(stopped)
        self.engine.answer()
        self.engine.answer()
        self.successResultOf(stopped)
        self.assertEqual(self.engine.waiting, [])
        self.assertLess(len(self.values()), self.sent)
        self.restart()
        self.finish()
        self.all_is_there()

    def test_killed(self):
        """With one on its way and one ready: what was committed is not loaded again, and the rest is, in order."""
        for committed in (False, True):
            self.setUp()
            self.flying()
            _, loads = self.engine.waiting.pop(0)
            if committed:
                self.engine._load(loads)
            self.restart()
            self.finish()
            self.all_is_there()

    def test_columns_while_one_is_ready(self):
        """A new column in what is made ready behind a load; and one that comes while both wait."""
        self.begin()
        for _ in range(2):
            self.body()
        made = [{"v": self.sent + n, "w": "new"} for n in range(BODY)]
        self.successResultOf(self.put(*made))
        self.sent += BODY
        self.body()
        self.clock.advance(0)
        self.finish()
        self.assertEqual(self.engine.schemas["t"], {"v": "INT", "w": "CHAR(3)"})
        self.assertEqual(self.values(column="w").count("new"), BODY)
        self.all_is_there()
