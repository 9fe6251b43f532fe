"""What the intake promises: acknowledged is found, once, whatever fails and whenever it ends."""

import json
from itertools import count
from pathlib import Path
from random import Random
from types import SimpleNamespace

import orjson
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from anylog.disk.records import Kind
from anylog.errors import AnyLogError
from anylog.interfaces import AnyLogFault, Mark
from anylog.processes import loading
from anylog.processes.intake import FLOOR, Intake
from anylog.processes.loading import AUTOMATIC
from anylog.processes.relief import Relief
from anylog.testing.disk import MemoryDisk
from anylog.testing.lanes import ClockLane, InlineLane, InlineLanes

FOLDER = Path("/journal")


class Engine:
    """A database that keeps what it commits, in memory, and fails when told to."""

    name = "town"
    kind = "memory"

    def __init__(self):
        self.schemas, self.rows, self.stored_marks, self.stored_keys, self.parked = {}, {}, {}, {}, []
        self.hashes, self.refuses, self.poison = set(), "", None
        self.lane = InlineLane()

    def schema(self, table):
        found = self.schemas.get(table)
        return None if found is None else {**dict.fromkeys(AUTOMATIC, "BIGINT"), **found}

    def load(self, loads):
        return self.lane.run(self._load, loads)

    def _load(self, loads):
        if self.refuses:
            raise AnyLogError(16, self.refuses)
        return [self._one(load) for load in loads]

    def _one(self, load):
        (mark,) = load.marks
        if mark.sequence <= self.stored_marks.get(mark.buffer, 0):
            return None
        if mark.hash and mark.hash in self.hashes:
            return AnyLogFault("duplicate", mark.hash)
        values = json.loads(load.values)
        if self.poison is not None and any(self.poison in row for row in values):
            return AnyLogFault("engine", "constraint failed")
        if load.create is not None:
            self.schemas[load.table] = dict(load.create)
        self.schemas[load.table] = {**self.schemas.get(load.table, {}), **(load.alter or {})}
        self.rows.setdefault(load.table, []).extend(dict(zip(load.columns, row, strict=True)) for row in values)
        self.stored_marks[mark.buffer] = mark.sequence
        self.hashes |= {mark.hash} if mark.hash else set()
        self.parked += [(each.table, each.reason, json.loads(each.row)) for each in load.parked]
        self.stored_keys.update({key: (at, hash) for key, at, hash in load.keys})
        return None

    def marks(self, buffers):
        found = {each: self.stored_marks[each] for each in buffers if each in self.stored_marks}
        return succeed({each: Mark(each, "", sequence, 0, 0) for each, sequence in found.items()})

    def keys(self, since):
        return succeed([(key, at, hash) for key, (at, hash) in self.stored_keys.items() if at >= since])


class Catalog:
    def __init__(self, *engines):
        self.engines, self.told = {engine.name: engine for engine in engines}, []

    def get(self, name):
        if name not in self.engines:
            raise AnyLogError(5, f"Logical DBMS '{name}' not opened on Operator Node")
        return self.engines[name]

    def watch(self, told):
        self.told.append(told)

    def connect(self, engine):
        self.engines[engine.name] = engine
        for told in self.told:
            told(engine.name, True)

    def disconnect(self, name):
        for told in self.told:
            told(name, False)
        del self.engines[name]


def agree(dbms, table, columns):
    return succeed(columns)


class IntakeCase(SynchronousTestCase):
    def setUp(self):
        self.clock, self.disk, self.engine = Clock(), MemoryDisk(), Engine()
        self.clock.advance(1_800_000_000)
        numbers = count(1)
        self.token = lambda size: next(numbers).to_bytes(size, "big")

    def begin(self, connect=True, lanes=None, **options):
        self.catalog = Catalog()
        options = {"segment_size": 4096, "most": 1 << 20, **options}
        self.intake = Intake(
            clock=self.clock, disk=self.disk, lanes=lanes or InlineLanes(), folder=FOLDER, databases=self.catalog,
            agree=agree, token=self.token, **options,
        )  # fmt: skip
        self.run_(self.intake.start())
        if connect:
            self.catalog.connect(self.engine)
        self.clock.advance(0)

    def run_(self, coroutine):
        return self.successResultOf(Deferred.fromCoroutine(coroutine))

    def put(self, *rows, table="t", **options):
        body = orjson.dumps(list(rows))
        return self.intake.accept("town", table, body, list(rows), **options)

    def values(self, table="t", column="v"):
        return [row.get(column) for row in self.engine.rows.get(table, [])]

    def restart(self, **options):
        """As after kill -9: nothing in memory survives, the disk and the database do."""
        self.clock = Clock()
        self.clock.advance(1_800_000_100)
        self.begin(**options)


class AcceptTests(IntakeCase):
    def test_accepted_is_loaded(self):
        """Rows are in their table right after the yes, in order, with a table made for them."""
        self.begin()
        receipt = self.successResultOf(self.put({"v": 1}, {"v": 2}))
        self.assertEqual((receipt.hash, receipt.rows), ("0", 2))
        self.clock.advance(0)
        self.assertEqual(self.values(), [1, 2])
        self.assertEqual(self.engine.schemas["t"], {"v": "INT"})

    def test_unknown_database(self):
        """A database that is not connected is named in the refusal, and nothing is kept."""
        self.begin(connect=False)
        error = self.failureResultOf(self.put({"v": 1}), AnyLogError).value
        self.assertEqual(error.number, 5)
        self.assertIn("town", str(error))
        self.assertEqual(self.disk.names(FOLDER), [])

    def test_new_columns_and_wider_types(self):
        """A new attribute adds a column, a wider number widens it, in the same load."""
        self.begin()
        for row in ({"v": 1}, {"v": 5_000_000_000, "w": "x"}, {"v": 1.5}):
            self.successResultOf(self.put(row))
            self.clock.advance(0)
        self.assertEqual(self.values(), [1, 5_000_000_000, 1.5])
        self.assertEqual(set(self.engine.schemas["t"]), {"v", "w"})
        self.assertEqual(self.engine.schemas["t"]["v"], "DECIMAL")

    def test_misfits_are_parked_and_the_rest_is_kept(self):
        """A row that fits no column is kept aside with its reason; those around it are loaded."""
        self.begin()
        self.successResultOf(self.put({"v": 1}))
        self.clock.advance(0)
        self.successResultOf(self.put({"v": 2}, {"v": "no number"}, {"v": 3}))
        self.clock.advance(0)
        self.assertEqual(self.values(), [1, 2, 3])
        ((table, reason, row),) = self.engine.parked
        self.assertEqual((table, row), ("t", {"v": "no number"}))
        self.assertIn("no number", reason)

    def test_a_row_the_engine_refuses(self):
        """One record the engine refuses is parked alone; what came with it and after it is loaded."""
        self.begin()
        self.successResultOf(self.put({"v": 0}))
        self.clock.advance(0)
        self.engine.poison = 13
        for number in (12, 13, 14):
            self.put({"v": number})
        self.clock.advance(0)
        self.assertEqual(self.values(), [0, 12, 14])
        self.assertEqual([row for _, _, row in self.engine.parked], [{"v": 13}])

    def test_rows_that_our_own_code_stumbles_over(self):
        """A fault of ours over one record parks it with the fault; what is around it is loaded."""
        self.begin()
        real = loading.convert

        def stumbles(rows, columns, at):
            if any(row.get("v") == 13 for row in rows):
                raise ZeroDivisionError("stumbled")
            return real(rows, columns, at)

        self.patch(loading, "convert", stumbles)
        for number in (12, 13, 14):
            self.put({"v": number})
        self.clock.advance(0)
        self.assertEqual(self.values(), [12, 14])
        self.assertEqual([row for _, _, row in self.engine.parked], [{"v": 13}])
        self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))

    def test_a_database_that_refuses_for_a_while(self):
        """Readings are accepted and wait, by name and reason; they follow when the database takes them."""
        self.begin()
        self.engine.refuses = "database is locked"
        for number in range(3):
            self.successResultOf(self.put({"v": number}))
        self.clock.advance(0)
        self.assertEqual(self.intake.waiting(), {"town": "database is locked"})
        self.assertEqual(self.intake.tank.held, 0)
        self.engine.refuses = ""
        self.clock.pump([0.1] * 5)
        self.assertEqual((self.values(), self.intake.waiting()), ([0, 1, 2], {}))

    def test_write_immediate_false(self):
        """Rows come to the table when their buffer is due, and are as safe before."""
        self.begin()
        self.intake.thresholds.set("town", "t", time=5.0, write_immediate=False)
        self.successResultOf(self.put({"v": 1}))
        self.clock.advance(4)
        self.intake.cut_due()
        self.clock.advance(0)
        self.assertEqual(self.values(), [])
        self.clock.advance(1)
        self.intake.cut_due()
        self.clock.advance(0)
        self.assertEqual(self.values(), [1])

    def test_buffers_end_by_volume_and_time_and_let_segments_go(self):
        """A buffer that was cut and loaded leaves nothing behind in the journal once the segment is full."""
        self.begin()
        self.intake.thresholds.set(volume=1000, time=60.0)
        for number in range(100):
            self.put({"v": number, "text": "x" * 100})
            self.clock.advance(0)
        self.assertGreater(self.intake.counts["cuts"], 5)
        self.assertLessEqual(len(self.disk.names(FOLDER)), 2)
        self.clock.advance(60)
        self.intake.cut_due()
        self.clock.advance(0)
        self.assertEqual(self.intake.open_buffers(), [])
        self.assertEqual(len(self.values()), 100)

    def test_whole_files_are_kept_once(self):
        """The same content is one copy, whether it repeats at once, later, or after a restart."""
        self.begin()
        first = self.successResultOf(self.put({"v": 1}, whole=True))
        self.clock.advance(0)
        again = self.successResultOf(self.put({"v": 1}, whole=True))
        self.assertEqual((len(first.hash), again.hash, again.repeated), (32, first.hash, True))
        self.restart()
        self.assertEqual(self.successResultOf(self.put({"v": 1}, whole=True)).hash, first.hash)
        self.clock.advance(0)
        self.successResultOf(self.put({"v": 1}))  # streaming: a reading may well repeat
        self.clock.advance(0)
        self.assertEqual(self.values(), [1, 1])

    def test_keys_make_repeats_one(self):
        """A repeat with the same key is answered like the first: in flight, loaded, and after a restart."""
        self.begin()
        for step in range(3):
            for _ in range(2):
                self.assertEqual(self.successResultOf(self.put({"v": 7}, key="k1")).hash, "0", f"step {step}")
            self.clock.advance(0)
            if step == 1:
                self.restart()
        self.successResultOf(self.put({"v": 8}, key="k2"))
        self.successResultOf(self.put({"v": 7}, key="k1", table="other"))
        self.clock.advance(0)
        self.assertEqual(self.values(), [7, 8])
        self.assertEqual(self.values("other"), [7])

    def test_a_long_key(self):
        """It counts to its last character, but not all of it is kept for a day."""
        self.begin()
        for end in ("a", "b", "a"):
            self.successResultOf(self.put({"v": end}, key="k" * 60_000 + end))
        self.clock.advance(0)
        self.assertEqual(self.values(), ["a", "b"])
        self.assertLess(max(len(key) for _, _, key in self.intake.once._known), 100)

    def test_a_key_survives_without_its_database(self):
        """A key whose rows still wait in the journal is known after a restart."""
        self.begin()
        self.engine.refuses = "away"
        self.successResultOf(self.put({"v": 7}, key="k1"))
        self.restart()
        self.engine.refuses = ""
        self.successResultOf(self.put({"v": 7}, key="k1"))
        self.clock.pump([0.1] * 20)
        self.assertEqual(self.values(), [7])


class Gone(MemoryDisk):
    """A disk on which the folder is not to be found."""

    def free(self, folder):
        raise FileNotFoundError(2, "No such file or directory", str(folder))


class RefusalTests(IntakeCase):
    def test_disk_nearly_full(self):
        """Below the floor of free disk the door refuses with 507, and opens again when there is room."""
        self.begin()
        self.disk.capacity = FLOOR - 1
        self.assertEqual(self.failureResultOf(self.put({"v": 1}), AnyLogError).value.http, 507)
        self.disk.capacity = 1 << 40
        self.clock.advance(1)
        self.successResultOf(self.put({"v": 1}))

    def test_the_folder_is_gone(self):
        """Somebody removed the journal's folder: each sender hears of it."""
        self.disk = Gone()
        self.begin()
        error = self.failureResultOf(self.put({"v": 1}), AnyLogError).value
        self.assertEqual((error.number, error.http), (504, 503))
        self.assertIn(str(FOLDER), str(error))

    def test_names_that_no_table_may_have(self):
        """No question could reach them."""
        self.begin()
        for table in ("anylog_marks", "anylog_x", "sqlite_x", "pragma_x"):
            error = self.failureResultOf(self.put({"v": 1}, table=table), AnyLogError).value
            self.assertEqual((error.number, table in str(error)), (28, True))
        self.successResultOf(self.put({"v": 1}, table="anylog"))

    def test_disk_full_in_the_middle(self):
        """A segment that cannot be made refuses those who wait; the next one, with room, is fine and survives."""
        self.begin()
        self.disk.fails.add("grow")
        refused = [self.put({"v": n}) for n in range(3)]
        self.assertEqual([self.failureResultOf(each, AnyLogError).value.http for each in refused], [507] * 3)
        self.disk.fails.clear()
        self.successResultOf(self.put({"v": 9}))
        self.restart()
        self.assertEqual(self.values(), [9])

    def refuse_opens(self, times):
        """As when a full disk has room for readings again, but had none for what describes their buffer."""
        append, left = self.intake.journal.append, [times]

        def refusing(kind, buffer, body=b""):
            if kind is Kind.OPEN and left[0]:
                left[0] -= 1
                return fail(AnyLogError(503))
            return append(kind, buffer, body)

        kept = ("new_buffer", "broken", "size", "release")
        others = {name: getattr(self.intake.journal, name) for name in kept}
        self.intake.journal = SimpleNamespace(append=refusing, **others)

    def test_readings_whose_buffer_was_not_described(self):
        """The description is written again before the yes; if that fails too, nothing was promised."""
        for refusals, answers in [(1, [True]), (2, [False, True])]:
            self.setUp()
            self.begin()
            self.refuse_opens(refusals)
            for answer in answers:
                told = self.put({"v": 1}, key="k")
                if answer:
                    self.successResultOf(told)
                else:
                    self.assertEqual(self.failureResultOf(told, AnyLogError).value.http, 507)
            self.restart()
            self.assertEqual(self.values(), [1], refusals)

    def test_a_buffer_that_was_described_late_ends(self):
        """It takes nothing more, so it is cut at once: its rows are loaded and it pins no segment."""
        self.begin()
        self.intake.thresholds.set("town", "t", time=60.0, write_immediate=False)
        self.refuse_opens(1)
        self.successResultOf(self.put({"v": 1}))
        self.clock.advance(0)
        self.assertEqual((self.values(), self.intake._buffers), ([1], {}))

    def test_a_journal_that_failed_starts_anew(self):
        """After a failed sync nothing is promised; the node begins again from the disk, by itself."""
        self.begin()
        self.successResultOf(self.put({"v": 1}))
        self.disk.fails.add("sync")
        self.assertEqual(self.failureResultOf(self.put({"v": 2}), AnyLogError).value.http, 503)
        self.disk.fails.clear()
        self.assertEqual(self.failureResultOf(self.put({"v": 3}), AnyLogError).value.http, 503)
        self.clock.pump([0.5] * 10)
        self.successResultOf(self.put({"v": 4}))
        self.clock.pump([0.5] * 10)
        self.assertEqual([v for v in self.values() if v != 2], [1, 4])  # 2 may appear: it was not promised

    def test_a_journal_that_failed_with_no_reading(self):
        """A record that says that something is done may be the one that fails: the door has the journal begun anew."""
        self.begin()
        self.successResultOf(self.put({"v": 1}))
        self.disk.fails.add("sync")
        self.clock.pump([0.5] * 10)
        self.intake._cut(self.intake.open_buffers()[0])
        self.clock.pump([0.5] * 10)
        self.assertTrue(self.intake.journal.broken)
        self.disk.fails.clear()
        self.assertEqual(self.failureResultOf(self.put({"v": 2}), AnyLogError).value.number, 504)
        self.clock.pump([0.5] * 10)
        self.successResultOf(self.put({"v": 3}))
        self.clock.pump([0.5] * 10)
        self.assertEqual(self.values(), [1, 3])

    def test_a_full_journal(self):
        """At the limit the door says so; when the database takes rows again, so does the door."""
        self.begin(most=20_000)
        self.engine.refuses = "away"
        answers = [self.put({"v": "x" * 2000}) for _ in range(20)]
        refused = [each for each in answers if self.failed(each)]
        self.assertTrue(0 < len(refused) < 20)
        self.engine.refuses = ""
        self.clock.pump([0.5] * 20)
        for buffer in self.intake.open_buffers():
            self.intake._cut(buffer)
        self.clock.pump([0.5] * 20)
        self.successResultOf(self.put({"v": "last"}))

    def failed(self, answer):
        result = []
        answer.addErrback(lambda failure: result.append(failure.value.number))
        return result == [502]

    def test_shutting_down(self):
        """After the stop nothing is taken, everything taken is loaded, and the journal is empty."""
        self.begin()
        self.successResultOf(self.put({"v": 1}))
        stopped = Deferred.fromCoroutine(self.intake.stop())
        self.clock.pump([0.1] * 5)
        self.successResultOf(stopped)
        self.assertEqual(self.failureResultOf(self.put({"v": 2}), AnyLogError).value.number, 506)
        self.assertEqual((self.values(), self.disk.names(FOLDER)), ([1], []))


class RecoveryTests(IntakeCase):
    def test_replay_follows_the_mark(self):
        """What the mark covers is not loaded again, what it does not is."""
        self.begin()
        self.successResultOf(self.put({"v": 1}))
        self.clock.advance(0)
        self.engine.refuses = "away"
        self.successResultOf(self.put({"v": 2}))
        self.clock.advance(0)
        self.engine.refuses = ""
        self.restart()
        self.assertEqual(self.values(), [1, 2])
        self.restart()
        self.assertEqual(self.values(), [1, 2])

    def test_a_database_that_comes_later(self):
        """Readings wait in the journal until their database is connected, over several starts."""
        self.begin()
        self.engine.refuses = "away"
        self.successResultOf(self.put({"v": 1}))
        for _ in range(3):
            self.restart(connect=False)
        self.assertEqual(self.intake.waiting(), {"town": "not connected"})
        self.engine.refuses = ""
        self.catalog.connect(self.engine)
        self.clock.advance(0)
        self.assertEqual(self.values(), [1])

    def test_what_waits_is_carried_on(self):
        """A table that waits does not pin the journal: its records are written again, and still load once."""
        self.begin(most=200_000)
        away = Engine()
        away.name = "away"
        self.catalog.connect(away)
        away.refuses = "gone"
        for number in range(400):
            self.put({"v": number, "text": "x" * 400})
            if number % 8 == 0:
                self.intake.accept("away", "t", b'[{"v":%d}]' % number, [{"v": number}], key=f"k{number}")
            self.clock.advance(0.01)
            if number % 20 == 0:
                self.intake.relieve()
                for buffer in self.intake.open_buffers():
                    self.intake._cut(buffer)
        self.assertLess(self.intake.journal.size, 100_000)
        self.restart(most=200_000)
        self.successResultOf(self.put({"v": 400}))
        away.refuses = ""
        self.catalog.connect(away)
        self.clock.pump([0.1] * 20)
        self.assertEqual(sorted(row["v"] for row in away.rows["t"]), list(range(0, 400, 8)))
        self.assertEqual(len(self.values()), 401)

    def test_loaded_while_it_is_carried_on(self):
        """What was loaded while it was being written again pins nothing."""
        self.begin()
        self.engine.refuses = "gone"
        self.successResultOf(self.put({"v": 1}))
        self.clock.advance(0)
        (buffer,) = self.intake.open_buffers()
        self.intake._cut(buffer)
        journal, slow = self.intake.journal, Deferred()

        class Slow:
            def __getattr__(self, name):
                return getattr(journal, name)

            def read(self, wanted):
                found = journal.read(wanted)
                return slow.addCallback(lambda _: found)

        self.intake.journal = Slow()
        carried = Relief()._carry(self.intake.journal, buffer, buffer.pending[0].stored.segment)
        self.engine.refuses = ""
        self.clock.pump([1] * 5)
        self.assertEqual((self.values(), buffer.state), ([1], "done"))
        slow.callback(None)
        self.successResultOf(carried)
        self.assertEqual(journal._places, {})

    def test_storms(self):
        """Random readings, faults, power cuts and restarts: acknowledged is found once, nothing twice."""
        for seed in range(150):
            self.storm(seed)

    def storm(self, seed):
        chance = Random(seed)
        self.setUp()
        acknowledged, sent = {}, 0
        for _ in range(4):
            lanes = InlineLanes()
            self.clock = Clock()
            self.clock.advance(1_800_000_000 + sent)
            lanes._lanes["journal"] = ClockLane(self.clock, 0.003)
            self.engine.lane = ClockLane(self.clock, 0.005)
            self.engine.refuses = ""
            self.catalog = Catalog()
            self.intake = Intake(
                clock=self.clock, disk=self.disk, lanes=lanes, folder=FOLDER, databases=self.catalog, agree=agree,
                token=self.token, segment_size=4096, most=1 << 20,
            )  # fmt: skip
            started = Deferred.fromCoroutine(self.intake.start())
            while not started.called:
                self.clock.advance(0.003)
            self.catalog.connect(self.engine)
            self.intake.thresholds.set(time=0.05, volume=chance.choice([100, 1000, 100_000]))
            for _ in range(chance.randint(5, 60)):
                step = chance.random()
                if step < 0.6:
                    sent += 1
                    key = f"k{sent}" if chance.random() < 0.3 else ""
                    row = {"v": sent} if chance.random() < 0.9 else {"v": sent, f"c{chance.randint(0, 3)}": "new"}
                    for _ in range(2 if key else 1):
                        self.put(row, key=key, table=f"t{chance.randint(0, 1)}" if not key else "t0").addCallbacks(
                            lambda _, v=sent: acknowledged.update({v: None}), lambda failure: None
                        )
                elif step < 0.65:
                    self.engine.refuses = chance.choice(["", "locked"])
                elif step < 0.7:
                    self.intake.cut_due()
                self.clock.advance(chance.choice([0, 0.001, 0.01, 0.1]))
            self.disk = self.disk.crash(chance)
        self.engine.refuses, self.engine.lane = "", InlineLane()
        self.restart()
        self.clock.pump([0.1] * 10)
        found = sorted(self.values("t0") + self.values("t1"))
        self.assertEqual(found, sorted(set(found)), f"seed {seed}: something is there twice")
        self.assertEqual(sorted(set(acknowledged) - set(found)), [], f"seed {seed}: acknowledged and lost")
        self.assertEqual(self.intake.tank.held, 0, f"seed {seed}: the tank is not empty")
        self.assertFalse([each for each in self.intake._buffers.values() if each.pending], f"seed {seed}")
