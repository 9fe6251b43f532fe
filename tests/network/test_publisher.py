"""A publisher before two clusters, in the simulation: every row is in the answer once, whoever dies in the middle."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any, Self

import pytest
from attrs import define, field
from test_world import MASTER, ask

from anylog.disk.journal import PUT_ASIDE
from anylog.disk.records import Kind, pack_rows
from anylog.errors import AnyLogError
from anylog.interfaces import Publish, Receipt
from anylog.node import Node
from anylog.testing import laws
from anylog.testing.disk import MemoryDisk
from anylog.testing.world import World

SYNC = f"run blockchain sync where source = master and time = 5 seconds and dest = file and connection = {MASTER}"
WATCH = Path("/pub/AnyLog-Network/data/watch")


def door(host: str, port: int) -> str:
    return f"run tcp server where external_ip = {host} and external_port = {port} and bind = true"


@define
class Fleet:
    """A master; operators op1, op2, ... of the clusters that are named; a publisher."""

    clusters: Sequence[str] = ("a", "a")
    seed: int = 4
    options: str = "delete_json = true"
    world: World = field(init=False)
    members: dict[str, int] = field(factory=dict)
    values: list[int] = field(factory=list)  # that were acknowledged
    crashes: list[str] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        world = self.world = World(self.seed)
        world.crashed = lambda name, at: self.crashes.append(name)
        script = [
            door("10.0.0.1", 32048), "connect dbms blockchain where type = sqlite",
            "create table ledger where dbms = blockchain", SYNC,
        ]  # fmt: skip
        world.add("master", "10.0.0.1", script=script, lasting=True)
        for name in dict.fromkeys(self.clusters):
            self.policy({"cluster": {"name": name, "company": "acme", "id": name * 32}})
        for number, cluster in enumerate(self.clusters, 1):
            body = {"name": f"op{number}", "company": "acme", "cluster": cluster * 32, "id": f"{number:032}"}
            self.policy({"operator": {**body, "ip": f"10.0.1.{number}", "port": 32148, "member": 10 + number}})
        self.policy({"publisher": {"name": "pub", "company": "acme", "ip": "10.0.2.1", "port": 32248, "id": "9" * 32}})
        for number, _ in enumerate(self.clusters, 1):
            self.operator(number)
        script = [
            door("10.0.2.1", 32248), SYNC, "set buffer threshold where time = 2 seconds and volume = 200",
            f"run publisher where {self.options}",
        ]  # fmt: skip
        world.add("pub", "10.0.2.1", script=script, lasting=True)

    def operator(self, number: int) -> None:
        host = f"10.0.1.{number}"
        run = f"run operator where policy = {number:032} and master_node = {MASTER} and update_tsd_info = true"
        script = [
            door(host, 32148), SYNC,
            "connect dbms almgm where type = sqlite", "create table tsd_info where dbms = almgm",
            "connect dbms town where type = sqlite", "run streamer", run, "run data distributor",
            "run data consumer where start_date = -30d",
        ]  # fmt: skip
        self.world.add(f"op{number}", host, script=script, lasting=True)
        self.members[f"op{number}"] = 10 + number

    def policy(self, policy: dict[str, Any]) -> None:
        insert = f"blockchain insert where policy = {json.dumps(policy)} and master = {MASTER}"
        self.world.run(self.world.nodes["master"], insert)

    def hold(self, *tables: str) -> None:
        """All clusters list these tables."""
        listed = [{"dbms": "town", "name": table} for table in tables]
        for name in dict.fromkeys(self.clusters):
            body = {"name": name, "parent": name * 32, "company": "acme", "table": listed}
            self.policy({"cluster": body})
        self.world.advance(6)

    @property
    def publisher(self) -> Node:
        return self.world.nodes["pub"]

    def put(self, values: Iterable[int], table: str = "t", *, whole: bool = False, key: str = "") -> None:
        """Readings, acknowledged by the publisher."""
        rows = [{"v": value} for value in values]
        body = json.dumps(rows).encode()
        self.world.wait(self.publisher.intake.accept("town", table, body, rows, whole=whole, key=key))
        self.values += [row["v"] for row in rows]

    def try_to_put(self, value: int, *, whole: bool) -> None:
        """A reading, which is kept in mind if the publisher said yes while it lived."""
        node, rows = self.publisher, [{"v": value}]

        def heard(result: Any) -> None:
            if isinstance(result, Receipt) and self.world.lives(node):
                self.values.append(value)

        node.intake.accept("town", "t", json.dumps(rows).encode(), rows, whole=whole).addBoth(heard)

    def lying(self) -> list[str]:
        """The files that the publisher has still."""
        names = self.world.places["pub"].disk.names(WATCH)
        return [name for name in names if ".json" in name]

    def holdings(self) -> dict[str, laws.Holding]:
        return {
            name: laws.read(self.world.places[name], member, "town")
            for name, member in self.members.items()
            if name in self.world.nodes
        }

    def at_rest(self) -> bool:
        if self.lying() or len(self.world.nodes) < 2 + len(self.clusters):
            return False
        for node in self.world.nodes.values():
            if node.intake._buffers or node.intake.filing.depth or node.intake.outgoing.depth:
                return False
        held = self.holdings()
        if any(each.files["distr_dir"] or list(laws.at_rest(each)) for each in held.values()):
            return False
        return self.equal()

    def equal(self) -> bool:
        """Whether the members of each cluster hold the same rows."""
        held = self.holdings()
        for cluster in set(self.clusters):
            of = [held[f"op{n}"] for n, each in enumerate(self.clusters, 1) if each == cluster]
            if list(laws.same_rows(of)):
                return False
        return True

    def rest(self, seconds: float = 300.0) -> None:
        """Let time pass until nothing is on its way."""
        end = self.world.clock.seconds() + seconds
        while not self.at_rest():
            assert self.world.clock.seconds() < end, (self.lying(), list(self.world.nodes))
            self.world.advance(1.0)

    def settle(self, seconds: float = 300.0) -> None:
        """Let it come to rest; then each acknowledged row is in one cluster, once, on each of its members."""
        self.rest(seconds)
        held = self.holdings()
        found: list[int] = []
        broken: list[str] = []
        for cluster in sorted(set(self.clusters)):
            of = [held[f"op{n}"] for n, each in enumerate(self.clusters, 1) if each == cluster]
            found += [row["v"] for rows in of[0].rows.values() for row in rows]
            broken += [*laws.same_rows(of), *laws.same_files(of)]
            for each in of:
                broken += [*laws.loaded_once(each), *laws.archived(each), *laws.in_one_place(each)]
        assert sorted(found) == sorted(self.values)
        assert not broken

    def rows_of(self, name: str) -> list[int]:
        return sorted(row["v"] for rows in self.holdings()[name].rows.values() for row in rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self.world.end()


def told(fleet: Fleet, topic: str) -> Any:
    return fleet.world.run(fleet.publisher, f"get publisher {topic} where format = json").data


def test_streams_and_files() -> None:
    """What comes by both modes is in the answer of the cluster once, equal buffers too; nothing is left behind."""
    fleet = Fleet()
    fleet.put([1, 2, 3])
    fleet.put([4], whole=True)
    fleet.put([7, 7])
    fleet.world.advance(4)
    fleet.put([7, 7])  # the same bytes in another buffer: other readings
    fleet.put([4], whole=True)  # the same file: one content
    fleet.values.remove(4)
    fleet.settle()
    op = fleet.world.nodes["op1"]
    assert sorted(row["v"] for row in ask(fleet.world, op, "select v from t")) == sorted(fleet.values)
    files = told(fleet, "files")
    assert sum(each["rows"] for each in files["files"]) == len(fleet.values) and files["waiting"] == []
    summary = told(fleet, "summary")
    assert (summary["status"], summary["waiting files"], summary["total errors"]) == ("Active", 0, 0)
    assert fleet.publisher.disk.names(fleet.publisher.places.folder("bkup_dir")) == []
    errors = [path for held in fleet.holdings().values() for path in held.files["err_dir"]]
    assert errors == []
    fleet.end()


def test_two_clusters_take_turns() -> None:
    """The files of a stream go to both; whole files by their content, the same one to the same cluster."""
    fleet = Fleet(("a", "b"))
    for value in range(8):
        fleet.put([value])
        fleet.world.advance(3)
    fleet.settle()
    # The first file makes the table known: from then on both could have it only if both list it.
    assert fleet.rows_of("op1") or fleet.rows_of("op2")
    fleet.hold("u")
    before = {name: fleet.rows_of(name) for name in ("op1", "op2")}
    for value in range(100, 106):
        fleet.put([value], "u")
        fleet.world.advance(3)
    fleet.settle()
    new = [len(fleet.rows_of(name)) - len(before[name]) for name in ("op1", "op2")]
    assert new == [3, 3]
    for value in range(200, 220):
        fleet.put([value], "u", whole=True)
    fleet.settle()
    kept = list(fleet.values)
    for value in range(200, 220):
        fleet.put([value], "u", whole=True)
    fleet.values = kept
    fleet.settle()
    fleet.end()


@pytest.mark.parametrize("power", [False, True])
@pytest.mark.parametrize("first", range(3))
def test_the_target_dies_in_the_middle(first: int, power: bool) -> None:
    """At any moment from the first byte on: the other member gets the file, and both end up with one copy of it."""
    moment, tried = 1 + first, 0
    while True:
        fleet = Fleet()
        fleet.put([1, 2, 3], whole=True)
        fleet.settle()
        crashed = fleet.crashes
        fleet.world.crash_after("op1", moment, power)
        for value in range(10, 14):
            fleet.put([value, value], whole=True)
        fleet.put([20, 21])
        fleet.world.advance(8)
        if crashed:
            fleet.world.advance(5)
            fleet.world.wait(fleet.world.restart("op1"))
        fleet.settle()
        fleet.end()
        tried += 1
        if not crashed:
            break
        moment += 3 * 11
    assert tried > 3


@pytest.mark.parametrize("power", [False, True])
@pytest.mark.parametrize("first", range(3))
def test_the_publisher_dies_in_the_middle(first: int, power: bool) -> None:
    """At any moment: what it said yes to is in the answer once, with two clusters to choose from."""
    moment, tried = 1 + first, 0
    while True:
        fleet = Fleet(("a", "b"))
        fleet.hold("t")
        crashed = fleet.crashes
        fleet.world.crash_after("pub", moment, power)
        for value in range(6):
            if "pub" in fleet.world.nodes:
                fleet.try_to_put(value, whole=bool(value % 2))
                fleet.world.advance(1.0)
        fleet.world.advance(8)
        if crashed:
            fleet.world.wait(fleet.world.restart("pub"))
        found = fleet.values
        fleet.rest()
        rows_found = sorted(fleet.rows_of("op1") + fleet.rows_of("op2"))
        assert set(found) <= set(rows_found) and len(set(rows_found)) == len(rows_found), moment
        fleet.values = rows_found  # one that had no answer may have been kept
        fleet.settle()
        fleet.end()
        tried += 1
        if not crashed:
            break
        moment += 3 * 9
    assert tried > 3


@pytest.mark.parametrize("seed", range(4))
def test_bad_weather(seed: int) -> None:
    """Nodes crash and links break while readings come: in the end each that was acknowledged is there once."""
    fleet = Fleet(("a", "a", "b"), seed=1000 + seed)
    fleet.hold("t")
    chance = Random(seed)
    hosts = {"op1": "10.0.1.1", "op2": "10.0.1.2", "op3": "10.0.1.3"}
    for value in range(40):
        name = chance.choice(["op1", "op2", "op3", "pub"])
        what = chance.choice(["", "", "crash", "cut", "heal", "cut"])
        if what == "crash" and name in fleet.world.nodes:
            fleet.world.crash_after(name, chance.randint(1, 60), chance.random() < 0.5)
        elif what == "cut" and name in hosts:
            fleet.world.network.cut("10.0.2.1", hosts[name])
        elif what == "heal":
            for host in hosts.values():
                fleet.world.network.heal("10.0.2.1", host)
        if "pub" in fleet.world.nodes:
            fleet.try_to_put(value, whole=chance.random() < 0.5)
        fleet.world.advance(chance.choice([0.05, 0.5, 3.0]))
        for down in sorted({*hosts, "pub"} - fleet.world.nodes.keys()):
            if chance.random() < 0.5:
                fleet.world.wait(fleet.world.restart(down))
    for place in fleet.world.places.values():
        place.moments = 0
    for host in hosts.values():
        fleet.world.network.heal("10.0.2.1", host)
    for down in sorted({*hosts, "pub"} - fleet.world.nodes.keys()):
        fleet.world.wait(fleet.world.restart(down))
    fleet.rest()
    found = sorted(fleet.rows_of("op1") + fleet.rows_of("op3"))
    assert set(fleet.values) <= set(found) and len(set(found)) == len(found)
    assert len(fleet.values) > 10 and fleet.crashes
    fleet.values = found
    fleet.settle()
    fleet.end()


def test_an_answer_that_is_lost() -> None:
    """The file is taken, the link breaks before the yes, the cluster stays away: no other cluster gets the file."""
    fleet = Fleet(("a", "b"))
    fleet.hold("t")
    taken: list[str] = []

    def cut(name: str, host: str) -> None:
        node = fleet.world.nodes[name]

        def point(what: str) -> None:
            if what == "received" and not taken:
                taken.append(name)
                fleet.world.network.cut("10.0.2.1", host)

        node.receiving.point = point

    cut("op1", "10.0.1.1")
    cut("op2", "10.0.1.2")
    fleet.put([1, 2], whole=True)
    fleet.world.advance(90)
    assert taken and len(fleet.lying()) == 1
    other = "op2" if taken == ["op1"] else "op1"
    assert fleet.rows_of(other) == [] and fleet.rows_of(taken[0]) == [1, 2]
    assert told(fleet, "files")["waiting"]
    fleet.put([3, 4])  # by turns, so one of two goes on
    fleet.put([5, 6])
    fleet.world.network.heal("10.0.2.1", "10.0.1.1")
    fleet.world.network.heal("10.0.2.1", "10.0.1.2")
    fleet.settle()
    fleet.end()


def test_a_cluster_that_is_away() -> None:
    """What was surely not taken goes to another cluster that holds the table."""
    fleet = Fleet(("a", "b"))
    fleet.hold("t")
    fleet.world.run(fleet.world.nodes["op1"], "exit operator")
    for value in range(12):
        fleet.put([value], whole=True)
    fleet.world.until(lambda: not fleet.lying() and len(fleet.rows_of("op2")) == 12, 60)
    assert fleet.publisher.publisher_counts["passed on"] > 0
    fleet.world.end()


def test_without_any_operator() -> None:
    """Readings are taken and wait; when somebody comes they go there. Below the disk floor they are refused."""
    fleet = Fleet()
    for name in ("op1", "op2"):
        fleet.world.crash(name, power=False)
    fleet.put([1, 2], whole=True)
    fleet.put([3])
    fleet.world.advance(20)
    assert len(fleet.lying()) == 2 and told(fleet, "files")["waiting"]
    disk = fleet.world.places["pub"].disk
    capacity, disk.capacity = disk.capacity, disk.capacity - disk.free(Path("/")) + (1 << 20)
    fleet.world.advance(1)
    with pytest.raises(AnyLogError) as refused:
        fleet.put([9])
    assert refused.value.number == 503
    disk.capacity = capacity
    fleet.world.advance(1)
    for name in ("op1", "op2"):
        fleet.world.wait(fleet.world.restart(name))
    fleet.settle()
    fleet.end()


def test_where_files_are_told_to_go() -> None:
    """What was set here goes before policies, those of a source before those of a table, and these before clusters."""
    fleet = Fleet(("a", "b", "c"))
    fleet.hold("t", "u")
    fleet.policy({"distribution": {"dbms": "town", "table": "*", "operator": f"{2:032}"}})
    fleet.policy({"distribution": {"dbms": "town", "table": "u", "dest": "10.0.1.3:32148", "source": "s"}})
    fleet.world.advance(6)
    fleet.world.run(fleet.publisher, "set data distribution where dbms = town and table = t and dest = 10.0.1.1:32148")
    for value in range(4):
        fleet.put([value], "t", whole=True)
        fleet.put([10 + value], "u", whole=True)
    rows = [{"v": 20}]
    accept = fleet.publisher.intake.accept
    fleet.world.wait(accept("town", "u", json.dumps(rows).encode(), rows, whole=True, source="s"))
    fleet.values.append(20)
    fleet.settle()
    found = [fleet.rows_of(f"op{number}") for number in (1, 2, 3)]
    assert found == [[0, 1, 2, 3], [10, 11, 12, 13], [20]]
    shown = fleet.world.run(fleet.publisher, "get publisher distribution where format = json").data
    assert shown == [{"dbms": "town", "table": "t", "dest": "10.0.1.1:32148"}]
    fleet.world.run(fleet.publisher, "set data distribution where dbms = town and table = t and remove = true")
    fleet.put([30], "t", whole=True)
    fleet.settle()
    assert 30 in fleet.rows_of("op2")
    fleet.end()


def test_files_of_the_watch_directory() -> None:
    """JSON, packed and SQL files are sent; what is none goes to the error directory; copies are kept as told."""
    fleet = Fleet(options="compress_json = true")
    disk: MemoryDisk = fleet.world.places["pub"].disk
    files = {
        "town.t.json": b'{"v": 1}\n{"v": 2}\n',
        "town.t.0.0.0.sql": b"insert into t (v) values (3);",
        "town.json": b'{"v": 4}',
        "town.t.9.0.0.11.5.261121000000.json": b'{"v": 5}',
    }
    disk.batch([Publish(WATCH / name, data) for name, data in files.items()])
    disk.batch([Publish(WATCH / "town.t.x.json.gz", b'{"v": 6}\n', True)])
    fleet.values = [1, 2, 3, 6]
    fleet.settle()
    failed = disk.names(fleet.publisher.places.folder("err_dir"))
    assert sorted(name.split(".err_")[1].split(".")[0] for name in failed) == ["119", "131"]
    kept = disk.names(fleet.publisher.places.folder("bkup_dir"))
    assert len(kept) == 3 and sum(name.endswith(".json.gz") for name in kept) >= 2
    fleet.end()


def test_a_node_that_is_not_known() -> None:
    """An operator takes no files of a node without a policy, and says why; nothing is lost."""
    fleet = Fleet()
    ident = "9" * 32
    delete = f"blockchain delete policy where id = {ident} and local = true and master = {MASTER}"
    fleet.world.run(fleet.world.nodes["master"], delete)
    fleet.world.advance(12)
    fleet.put([1], whole=True)
    fleet.world.advance(10)
    (waits,) = told(fleet, "files")["waiting"]
    assert "212" in waits["why"] and len(fleet.lying()) == 1
    fleet.policy({"publisher": {"name": "pub", "company": "acme", "ip": "10.0.2.1", "port": 32248, "id": "8" * 32}})
    fleet.settle()
    fleet.end()


def test_keys_outlive_the_journal() -> None:
    """A sender that repeats with its key is answered as the first time, also if the file went and the node crashed."""
    fleet = Fleet()
    fleet.put([1, 2], key="k")
    fleet.settle()
    fleet.world.crash("pub", power=True)
    fleet.world.wait(fleet.world.restart("pub"))
    fleet.put([1, 2], key="k")
    fleet.values = [1, 2]
    fleet.world.advance(5)
    fleet.settle()
    fleet.end()


def test_stopping_and_starting_again() -> None:
    """Without a publisher readings are refused; what was taken before waits, and goes when one runs again."""
    fleet = Fleet()
    fleet.put([1, 2])
    fleet.world.run(fleet.publisher, "exit publisher")
    with pytest.raises(AnyLogError) as refused:
        fleet.put([3])
    assert refused.value.number == 5
    processes = fleet.world.run(fleet.publisher, "get processes where format = json").data
    assert "Not declared" in json.dumps(processes["Publisher"] if isinstance(processes, dict) else processes)
    fleet.world.run(fleet.publisher, "run publisher where delete_json = true")
    with pytest.raises(AnyLogError) as twice:
        fleet.world.run(fleet.publisher, "run publisher where delete_json = true")
    assert twice.value.number == 136
    fleet.settle()
    fleet.end()


def test_a_record_that_nobody_understands() -> None:
    """It lies in the journal of the publisher when that starts: the others of its buffer and of other tables are sent,
    it is kept aside."""
    fleet = Fleet(("a",))
    world = fleet.world
    try:
        node = fleet.publisher
        fleet.put([1])
        fleet.put([2], "other")
        buffer = next(each for each in node.intake._buffers.values() if each.where.table == "t")
        world.wait(node.intake.journal.append(Kind.ROWS, buffer.id, pack_rows(b"", b'{"v": ')))
        fleet.put([3])
        world.crash("pub")
        world.wait(world.restart("pub"), 120)
        world.advance(30)
        assert (fleet.rows_of("op1"), fleet.publisher.intake.outgoing.depth) == ([1, 2, 3], 0)
        assert fleet.publisher.intake.counts[PUT_ASIDE] == 1
    finally:
        fleet.end()
