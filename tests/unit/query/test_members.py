"""Members of a cluster whose copies are not equal: each reading is in the answer once, whoever is asked."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from members import Cluster, File, counted
from place import COLUMNS
from test_network_truth import ROW, statements
from twisted.internet.defer import Deferred

from anylog.databases.marks import not_held
from anylog.errors import AnyLogError
from anylog.language.context import Context
from anylog.query.commands import Sql
from anylog.query.tails import Known, shared_out

N = "select n from readings"
PERIODS = [
    "select count(*) as c, max(n) as m from readings where period(hour, 1, '2026-01-03', timestamp)",
    "select device, sum(value) as s from readings where period(day, 1, '2026-01-02 07:00:00', timestamp)"
    " group by device order by device",
]


def row(n: int) -> list[Any]:
    return [f"d{n % 3}", f"2026-01-01 00:00:{n % 60:02}.000000", n / 4, n, n % 2]


class TailTests(Cluster):
    def found(self, statement: str = N, options: str = "", **more: Any) -> list[Any]:
        return counted(self.rows_of(statement, options, **more))

    def test_an_open_buffer(self) -> None:
        """Rows of the other member are seen at once, once, as long as its file is open and when it has come."""
        self.take(1, [row(1)])
        buffer = self.take(2, [row(2)])
        for main in (1, 2, 0):
            self.form(main)
            for _ in range(3):
                self.assertEqual(self.found(), [1, 2])
        self.grow(buffer, [row(3), row(4)])
        for main in (1, 2, 0):
            self.form(main)
            self.assertEqual(self.found(), [1, 2, 3, 4])
        self.deliver(buffer, 1)
        for main in (1, 2, 0):
            self.form(main)
            self.assertEqual(self.found(), [1, 2, 3, 4])
            self.assertEqual(self.rows_of("select count(*) as n, sum(n) as s from readings"), [{"n": 4, "s": 10}])

    def test_what_it_costs(self) -> None:
        """Nothing new: one short question beside the bulk. A buffer that was seen before: one for its rows."""
        self.found()
        self.heads()
        self.found()
        self.assertEqual(sorted(self.heads()), [("op1:1", "marks"), ("op2:1", "peek")])
        buffer = self.take(2, [row(1)])
        self.found()
        self.assertEqual(sorted(self.heads("check", "only")), [("op1:1", "check"), ("op2:1", "only")])
        self.grow(buffer, [row(2)])
        self.assertEqual(self.found(), [1, 2])
        self.assertEqual(sorted(self.heads()), [("op1:1", "marks"), ("op2:1", "only")], "at once")
        self.deliver(buffer, 1)
        self.assertEqual(self.found(), [1, 2])
        self.assertEqual(sorted(self.heads()), [("op1:1", "marks"), ("op2:1", "only")], "not wanted, as it turns out")
        self.assertEqual(self.found(), [1, 2])
        self.assertEqual(sorted(self.heads()), [("op1:1", "marks"), ("op2:1", "peek")])
        self.clusters.held["plant", "readings"][0].operators.pop()
        self.assertEqual(self.found(), [1, 2])
        self.assertEqual(self.heads(), [("op1:1", "bulk")])

    def test_one_content_twice(self) -> None:
        """A whole file that both took in, and that the chosen one holds under another entry, is not in the tail."""
        self.take(1, [row(1)], "a" * 32)
        double = self.take(2, [row(1)], "a" * 32)
        own = self.take(2, [row(2)], "b" * 32)
        for main in (1, 2, 1):
            self.form(main)
            self.assertEqual(self.found(), [1, 2])
        self.deliver(own, 1)
        self.deliver(double, 1)
        self.assertEqual(self.found(), [1, 2])
        self.heads()
        for main in (1, 2):
            self.form(main)
            self.assertEqual(self.found(), [1, 2])
        self.assertEqual(self.heads("only", "check"), [])

    def test_dropped_rows_stay_dropped(self) -> None:
        """A partition that the chosen member dropped is not brought back by another one that did not."""
        file = self.take(2, [row(1), row(2)])
        self.deliver(file, 1)
        self.successResultOf(self.databases["op1:1"].execute("delete from readings where n = 1"))
        self.take(2, [row(3)])
        self.assertEqual(self.found(), [2, 3])
        self.node.network_queries.tails = type(self.node.network_queries.tails)()
        self.assertEqual(self.found(), [2, 3])

    def test_rows_that_nobody_registered(self) -> None:
        """Rows without a name are those of the chosen member only: nobody can say whether it holds those of others."""
        self.fill("op1:1", "readings", [row(1)])
        self.fill("op2:1", "readings", [row(2)])
        self.assertEqual(self.found(), [1])

    def test_another_table_and_an_old_file(self) -> None:
        """Files of other tables, and those that come late under a low id, are told apart."""
        self.declare("others", COLUMNS, [["op1:1", "op2:1"]])
        self.ids[2] = 100
        self.take(2, [row(1)])
        self.assertEqual(self.found(), [1])
        other = File(2, 50, [row(7)])
        self.load(2, other, other.rows, "others")
        late = File(2, 40, [row(2)])
        self.load(2, late, late.rows)
        self.assertEqual(self.found(), [1, 2])

    def test_many_files(self) -> None:
        """More files than one question takes, on the first look and later."""
        files = [self.take(2, [row(n)], f"{n:032}" if n % 3 else None) for n in range(2500)]
        self.assertEqual(self.found(), list(range(2500)))
        self.assertEqual(self.found(), list(range(2500)))
        for file in files[::2]:
            self.deliver(file, 1)
        self.assertEqual(self.found(), list(range(2500)))
        self.form(2)
        self.assertEqual(self.found(), list(range(2500)))
        self.assertEqual([database.busy for database in self.databases.values()], [0] * 3)

    def test_a_database_that_was_put_back(self) -> None:
        """What was known of a member's marks does not hold for another database in its place."""
        self.deliver(self.take(2, [row(1)]), 1)
        self.take(1, [row(2)])
        self.assertEqual(self.found(), [1, 2])
        self.wipe("op1:1")
        self.assertEqual(self.found(), [1], "of the other one")
        for id in (1001, 1002, 1003):
            self.load(1, File(1, id), [row(id)])
        self.assertEqual(self.found(), [1, 1001, 1002, 1003])
        self.wipe("op2:1")
        for id in (2001, 2002, 2003):
            self.load(2, File(2, id), [row(id)])
        self.assertEqual(self.found(), [1001, 1002, 1003, 2001, 2002, 2003])

    def wipe(self, address: str) -> None:
        for table in ("anylog_marks", "readings"):
            self.successResultOf(self.databases[address].execute(f"delete from {table}"))

    def test_order_pages_and_limits(self) -> None:
        """Many pages of bulk and tails, merged in order, cut anywhere; limits and offsets of the whole."""
        numbers = list(range(9000))
        Random(1).shuffle(numbers)
        for at in range(0, 9000, 300):
            part = [row(n) for n in numbers[at : at + 300]]
            file = self.take(1 + at % 2, part, f"{at:032}" if at % 900 else None)
            if at % 600:
                self.deliver(file, 2 - at % 2)
        for main in (1, 2):
            self.form(main)
            for statement, want in [
                ("select n from readings order by n", list(range(9000))),
                ("select n from readings order by n desc limit 5000 offset 7", list(range(8992, 3992, -1))),
                ("select n from readings where n % 2 order by value", list(range(1, 9000, 2))),
                ("select n from readings group by n order by n limit 4000", list(range(4000))),
            ]:
                self.assertEqual([each["n"] for each in self.rows_of(statement)], want, statement)
            self.assertEqual(self.found(), list(range(9000)))
            self.assertEqual(len(set(self.found("select n from readings limit 4321"))), 4321)

    def test_status(self) -> None:
        """A member that gave its tail takes part in the query."""
        self.take(2, [row(1)])
        self.found()
        job = self.node.jobs.last
        self.assertEqual(
            [(part.address, part.status, part.rows) for part in job.parts],
            [("op1:1", "Empty Set", 0), ("op2:1", "Completed", 1)],
        )

    def test_shared_out(self) -> None:
        """One content is asked of one member; growing files of each."""
        known = {"a": Known(open={1: None, 2: "x"}), "b": Known(open={1: "x", 7: "y"}), "c": Known(open={3: "y"})}
        self.assertEqual(shared_out(known), {"a": [1, 2], "b": [7]})
        del known["a"]
        self.assertEqual(shared_out(known), {"b": [1, 7]})

    def test_the_looks_use_indexes(self) -> None:
        """No look at the marks reads all of them."""
        read: list[str] = []

        class Explained:
            def __init__(self, connection: Any) -> None:
                self.connection = connection

            def execute(self, statement: str, values: Any) -> Any:
                plan = self.connection.execute(f"explain query plan {statement}", values).fetchall()
                read.extend(each[-1] for each in plan)
                return self.connection.execute(statement, values)

        def work(connection: Any) -> None:
            not_held(Explained(connection), 5, [[1, 2, "x"]])

        self.successResultOf(self.databases["op1:1"].read(work))
        self.assertFalse([line for line in read if "SCAN mark" in line], read)


class TruthTests(Cluster):
    operators = 3

    def setUp(self) -> None:
        super().setUp()
        self.one: Any = SimpleNamespace(
            clock=self.clock, queries=self.node.queries, databases=SimpleNamespace(get=lambda name: self.whole)
        )

    def truth(self, line: str) -> str:
        result = self.successResultOf(Deferred.fromCoroutine(Sql().run(self.one, Context(), [line])))
        assert result is not None
        return self.pages(result)

    def anew(self) -> None:
        for database in self.databases.values():
            self.successResultOf(database.execute("delete from readings"))
            self.successResultOf(database.execute("delete from anylog_marks"))
        self.files = []
        self.peers.asked.clear()
        self.peers.bodies.clear()

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 1 << 30), st.lists(ROW, min_size=1, max_size=30),
           st.lists(st.one_of(statements(), st.sampled_from(PERIODS)), min_size=1, max_size=6))  # fmt: skip
    def test_any_select(self, seed: int, rows: list[tuple[Any, ...]], asked: list[str]) -> None:
        """Files that are open, whole, doubled, under way to one or the other: the bytes are those of one database."""
        self.anew()
        chance = Random(seed)
        left = [list(each[:5]) for each in rows]
        while left or asked:
            step = chance.random()
            if left and step < 0.5:
                size = chance.randint(1, 4)
                part, left = left[:size], left[size:]
                growing = [file for file in self.files if file.hash is None and file.at == {file.owner}]
                if growing and chance.random() < 0.4:
                    self.grow(chance.choice(growing), part)
                elif chance.random() < 0.5:
                    self.take(chance.choice(self.members), part, gap=chance.randint(1, 9))
                else:
                    hash = f"{chance.getrandbits(64):032x}"
                    for member in chance.sample(self.members, chance.choice([1, 1, 2, 3])):
                        self.take(member, part, hash)
            elif self.files and step < 0.8:
                self.deliver(chance.choice(self.files), chance.choice(self.members))
            elif asked and (not left or step > 0.9):
                statement = asked.pop()
                for main in (0, *self.members):
                    self.form(main)
                    line = f'plant format = json:list and stat = false "{statement}"'
                    self.assertEqual(self.body(line), self.truth(line), (statement, main))
        self.assertEqual([self.databases[f"op{member}:1"].busy for member in self.members], [0] * 3)

    def test_while_files_move(self) -> None:
        """Files come, grow and arrive between any two questions of one query: nothing twice, nothing missed."""
        for seed in range(60):
            chance = Random(seed)
            self.anew()
            number = [0]

            def step(chance: Random = chance, number: list[int] = number) -> None:
                number[0] += 1
                growing = [file for file in self.files if file.hash is None and file.at == {file.owner}]
                match chance.randrange(5):
                    case 0:
                        self.take(chance.choice(self.members), [row(number[0])])
                    case 1:
                        hash = f"{chance.getrandbits(64):032x}"
                        for member in chance.sample(self.members, chance.choice([1, 2, 3])):
                            self.take(member, [row(number[0])], hash)
                    case 2 if growing:
                        self.grow(chance.choice(growing), [row(number[0])])
                    case _ if self.files:
                        self.deliver(chance.choice(self.files), chance.choice(self.members))

            def all_of() -> set[int]:
                return {each[3] for file in self.files for each in file.rows}

            def meanwhile(address: str, head: Any, step: Any = step, chance: Random = chance) -> None:
                for _ in range(chance.randrange(3)):
                    step()

            for _ in range(8):
                step()
                before = all_of()
                statement = chance.choice(
                    [N, f"{N} order by n", f"{N} group by n", "select count(*) as n from readings"]
                )
                self.form(chance.choice([0, *self.members]))
                self.peers.before = meanwhile
                found = counted(self.rows_of(statement))
                self.peers.before = lambda address, head: None
                if "count" in statement:
                    self.assertTrue(len(before) <= found[0] <= len(all_of()), (seed, statement))
                    continue
                self.assertEqual(len(found), len(set(found)), (seed, statement, found))
                self.assertTrue(before <= set(found) <= all_of(), (seed, statement, before - set(found)))


class FailoverTests(Cluster):
    operators = 3
    on_disk = True

    def waited(self, line: str, most: float = 4.0, **more: Any) -> Any:
        asked, waited = self.asking(line, **more), 0.0
        while not asked.called and waited < most:
            self.clock.advance(0.05)
            waited += 0.05
        return asked

    def numbers(self, asked: Any) -> list[int]:
        return counted(orjson.loads(self.pages(self.successResultOf(asked))))

    LINE = 'plant format = json:list and stat = false "select n from readings"'

    def test_a_member_that_is_silent(self) -> None:
        """Its tail is left out once it is flagged, and comes back with it; another one's stays."""
        for member in self.members:
            self.take(member, [row(member)])
        self.peers.silent = {"op2:1"}
        self.assertEqual(self.numbers(self.waited(self.LINE)), [1, 3])
        state = self.peers.state("op2:1")
        self.assertTrue(state is not None and not state.active)
        parts = {part.address: part.status.split(":")[0] for part in self.node.jobs.last.parts}
        self.assertEqual(parts, {"op1:1": "Completed", "op2:1": "Error", "op3:1": "Completed"})
        self.assertEqual(self.found(), [1, 3])
        self.peers.silent.clear()
        self.peers.flagged.clear()
        self.assertEqual(self.found(), [1, 2, 3])
        self.peers.silent = {"op1:1"}
        self.assertEqual(self.numbers(self.waited(self.LINE)), [2, 3])

    def found(self) -> list[int]:
        return counted(self.rows_of(N))

    def test_a_member_that_refuses(self) -> None:
        """It is active, so what it has may not be missing: an error that names it. Without the database it has none."""
        self.take(2, [row(2)])
        for number, missing in [(5, True), (29, True), (506, True), (16, False), (503, False)]:
            self.peers.refusals = {"op2:1": AnyLogError(number, "so it is")}
            self.peers.flagged.clear()
            if missing:
                self.assertEqual(self.found(), [], number)
            else:
                error = self.refusal(f'plant "{N}"')
                self.assertEqual((error.number, error.node), (number, "op2:1"))
                self.assertIsNone(self.peers.state("op2:1"))

    def test_a_double_of_a_lost_member(self) -> None:
        """One content at two members: the other one gives it when the first is lost on the way."""
        for member in (2, 3):
            self.take(member, [row(5)], "e" * 32)
        self.take(3, [row(6)])

        def lost(address: str, head: Any) -> None:
            if "only" in head and address == "op2:1":
                self.peers.down.add(address)

        self.peers.before = lost
        self.assertEqual(self.found(), [5, 6])
        self.assertEqual([database.busy for database in self.databases.values()], [0] * 4)

    def test_breaks_anywhere(self) -> None:
        """The chosen one or a tail breaks at any piece: all that the others have, each once, or an error."""
        for member in self.members:
            file = self.take(member, [row(n) for n in range(member * 10_000, member * 10_000 + 6000)])
            if member == 1:
                self.deliver(file, 2)
                self.deliver(file, 3)
        have = {
            member: {each[3] for file in self.files if file.owner == member for each in file.rows}
            for member in self.members
        }
        outcomes: dict[str, list[int]] = {}
        for statement in (
            "select n, printf('%050d', n) as pad from readings",
            "select n, printf('%050d', n) as pad from readings order by n",
            "select n, count(*) as c from readings group by n order by n",
        ):
            for after in (0, 1, 3, 9):
                for broken in ("op1:1", "op2:1"):
                    self.peers.breaks, self.peers.flagged = {broken: after}, {}
                    want = set().union(*have.values())
                    less = want - have[2] if broken == "op2:1" else want
                    counts = outcomes.setdefault(statement, [0, 0])
                    try:
                        found = counted(self.rows_or_error(statement))
                    except AnyLogError as error:
                        self.assertIn(error.number, (15, 203))
                        counts[1] += 1
                    else:
                        self.assertIn(found, (sorted(want), sorted(less)), (statement, after, broken))
                        counts[0] += 1
                    self.assertEqual([database.busy for database in self.databases.values()], [0] * 4, statement)
        self.assertEqual(outcomes["select n, count(*) as c from readings group by n order by n"], [8, 0])
        self.assertTrue(all(whole for whole, _ in outcomes.values()), outcomes)

    def rows_or_error(self, statement: str) -> list[dict[str, Any]]:
        """All rows, or the error that ended them, also in the middle."""
        results: list[Any] = []
        self.asking(f'plant format = json:list and stat = false "{statement}"').addBoth(results.append)
        if not hasattr(results[0], "pages"):
            results[0].raiseException()
        parts = []
        while True:
            page: list[Any] = []
            results[0].pages.next().addBoth(page.append)
            if page[0] is None:
                break
            if not isinstance(page[0], bytes):
                results[0].pages.close()
                page[0].raiseException()
            parts.append(page[0])
        found: list[dict[str, Any]] = orjson.loads(b"".join(parts))
        return found

    def test_main_and_all(self) -> None:
        """The main one; in turn where there is none or it is away; in turn with `nodes = all`, a count a cluster."""

        def chosen(line: str = self.LINE) -> str:
            self.peers.asked.clear()
            self.body(line)
            return self.heads("marks", "bulk")[0][0]

        everybody = self.LINE.replace("stat", "nodes = all and stat")
        self.form(2)
        self.assertEqual([chosen() for _ in range(3)], ["op2:1"] * 3)
        self.assertEqual([chosen(everybody) for _ in range(4)], ["op1:1", "op2:1", "op3:1", "op1:1"])
        self.peers.doubt("op2:1", "test")
        self.assertEqual([chosen() for _ in range(4)], ["op1:1", "op3:1", "op1:1", "op3:1"])
        self.peers.flagged.clear()
        self.assertEqual(chosen(), "op2:1")
        self.form(0)
        self.assertEqual(len({chosen() for _ in range(3)}), 3)

    def test_nobody_is_left(self) -> None:
        """The error names the cluster, also if a part would do: there is none."""
        self.take(1, [row(1)])
        self.peers.down = {"op1:1", "op2:1", "op3:1"}
        error = self.refusal(f'plant "{N}"')
        self.assertEqual((error.number, str(error).split(" (")[0]), (203, "No active operator for cluster: cluster1"))
        self.assertEqual(self.refusal(f'plant "{N}"', subset=True).number, 203)

    def test_syncing(self) -> None:
        """An operator that is not complete is asked only if there is no other, and is not flagged for it."""
        for member in self.members:
            self.take(member, [row(member)])
        syncing = {"op1:1"}
        for address in self.peers.handlers:
            self.peers.handlers[address].complete = lambda address=address: address not in syncing
        self.assertEqual(self.found(), [1, 2, 3])
        chosen = [address for address, head in self.peers.asked if "marks" in head]
        self.assertEqual((chosen[0], len(chosen)), ("op1:1", 2))
        self.assertEqual(self.peers.flagged, {})
        self.assertTrue(self.node.jobs.last.parts[0].status.startswith("Error"))
        syncing |= {"op2:1", "op3:1"}
        self.assertEqual(self.found(), [1, 2, 3])
        self.assertEqual(self.peers.flagged, {})
        self.peers.down |= {"op2:1", "op3:1"}
        self.assertEqual(self.found(), [1])

    def test_committed(self) -> None:
        """Only what every member has, of every member; the same whoever is asked, and no tail is asked for."""
        first, second = self.take(2, [row(1)]), self.take(1, [row(2)])
        for to in self.members:
            self.deliver(first, to)
            self.deliver(second, to)
        for member in self.members:
            self.take(member, [row(member + 10)])
        stranger = File(9, 1, [row(99)])
        for member in self.members:
            self.load(member, stranger, stranger.rows)
        agreed = {1: second.id, 2: first.id, 3: 0}
        line = self.LINE.replace("stat", "committed = true and stat")
        for main in self.members:
            self.form(main)
            self.assertEqual(self.numbers(self.asking(line)), sorted([1, 2, 99, main + 10]), "nobody to agree with")
        self.fill("op2:1", "readings", [row(50)])
        for service in self.peers.handlers.values():
            service.consensus = lambda: agreed
        self.heads()
        for main in self.members:
            self.form(main)
            self.assertEqual(self.numbers(self.asking(line)), [1, 2, 50] if main == 2 else [1, 2])
            where = line.replace("from readings", "from readings where n < 2 or n > 10")
            self.assertEqual(self.numbers(self.asking(where)), [1, 50] if main == 2 else [1])
            total = line.replace("select n from readings", "select count(*) as n from readings where ok = 1 or ok = 0")
            self.assertEqual(self.numbers(self.asking(total)), [3] if main == 2 else [2])
        self.assertEqual(self.heads("peek", "only", "marks", "check"), [])
