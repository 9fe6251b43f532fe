"""Members of one cluster in one process: what one of them lacks it pulls from the others."""

from __future__ import annotations

import errno
import gzip
import json
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import pytest

from anylog.databases.tsd import Asked, Entry
from anylog.errors import AnyLogError
from anylog.interfaces import Publish, Step
from anylog.node import Node
from anylog.processes import consumer, missing
from anylog.processes.exchange import name_of
from anylog.testing.disk import MemoryDisk
from anylog.testing.world import World

MASTER = "10.0.0.1:32048"
SYNC = f"run blockchain sync where source = master and time = 2 seconds and dest = file and connection = {MASTER}"
CONSUMER = "run data consumer where start_date = -30d"


def door(host: str, port: int) -> str:
    return f"run tcp server where external_ip = {host} and external_port = {port} and bind = true and threads = 6"


# What is asserted is asked for first: a failure would show the whole node.


def counted(node: Node, name: str) -> int:
    return node.copying.exchange.counts[name]


def is_complete(node: Node) -> bool:
    return node.copying.complete


def consensus(node: Node, member: int) -> int:
    return node.copying.consensus()[member]


def validated(node: Node, own: int, member: int) -> int:
    return node.copying.standing.of(own)[member]


class Copies:
    """A master, and operators of one cluster."""

    def __init__(self, members: int = 2) -> None:
        self.world = World(5)
        master = self.world.add("master", "10.0.0.1")
        self.world.run(
            master,
            door("10.0.0.1", 32048),
            "connect dbms blockchain where type = sqlite and memory = true",
            "create table ledger where dbms = blockchain",
            SYNC,
        )
        self.policies = {}
        insert = f"blockchain insert where policy = !p and local = true and master = {MASTER}"
        self.world.run(master, "p = create policy cluster where name = c and company = acme", insert)
        self.world.run(master, "cid = blockchain get cluster where name = c bring.first [*][id]")
        for number in range(1, members + 1):
            self.policy(master, insert, number)

    def policy(self, master: Node, insert: str, number: int) -> None:
        made = f"p = create policy operator where name = op{number} and company = acme and cluster = !cid"
        self.world.run(master, f"{made} and ip = 10.0.1.{number} and port = 32148", insert)
        found = self.world.run(master, f"blockchain get operator where name = op{number} bring.last [*][id]")
        self.policies[number] = (found.text or "").strip()

    def add(self, number: int, *commands: str, ahead: float = 0.0, pulls: str = CONSUMER) -> Node:
        """An operator with empty databases."""
        node = self.world.add(f"op{number}", f"10.0.1.{number}", ahead)
        self.world.run(
            node,
            door(f"10.0.1.{number}", 32148),
            SYNC,
            "connect dbms almgm where type = sqlite and memory = true",
            "create table tsd_info where dbms = almgm",
            "connect dbms town where type = sqlite and memory = true",
            *([pulls] if pulls else []),
            f"run operator where policy = {self.policies[number]} and master_node = {MASTER} and"
            " update_tsd_info = true",
            *commands,
        )
        return node

    def put(self, node: Node, name: str, *, table: str = "t", rows: int = 3) -> None:
        """A whole file, acknowledged."""
        made = [{"name": f"{name}-{n}", "value": n} for n in range(rows)]
        body = json.dumps(made).encode()
        self.world.wait(node.intake.accept("town", table, body, made, whole=True))

    def entries(self, node: Node, into: str = "tsd_info") -> list[Entry]:
        tsd = node.membership.tsd()
        assert tsd is not None
        found: list[Entry] = self.world.wait(tsd.entries(into, Asked()))
        return found[::-1]

    def member(self, node: Node) -> int:
        place = node.membership.place()
        assert place is not None
        return place.member

    def names(self, node: Node, table: str = "t") -> list[str]:
        database = node.databases.get("town")
        if database.schema(table) is None:
            return []
        rows: list[Any] = self.world.wait(
            database.read(lambda connection: connection.execute(f"select name from {table} order by 1").fetchall())
        )
        return [row[0] for row in rows]

    def until_equal(self, one: Node, other: Node, seconds: float = 30.0) -> float:
        return self.world.until(lambda: self.names(one) == self.names(other) and self.names(one) != [], seconds)


@pytest.fixture
def copies() -> Iterator[Copies]:
    made = Copies()
    yield made
    made.world.stop()


def test_a_member_that_joins(copies: Copies) -> None:
    """It has what the other took before, with the same ids, within seconds; then it is complete, and safe ids agree."""
    first = copies.add(1)
    for number in range(250):
        copies.put(first, f"a{number}")
    copies.world.advance(3)
    second = copies.add(2)
    assert not is_complete(second)
    copies.until_equal(first, second)
    copies.world.until(lambda: second.copying.complete, 10)
    # The others hear of it at once: not a minute later.
    assert copies.world.until(lambda: consensus(first, copies.member(first)) == copies.entries(first)[-1].id, 20) < 5
    own = copies.member(first)
    theirs = copies.entries(first)
    mine = copies.entries(second, f"tsd_{own}")
    assert [(e.id, e.hash, e.rows, e.time[:19]) for e in mine] == [(e.id, e.hash, e.rows, e.time[:19]) for e in theirs]
    copies.world.advance(130)
    last = theirs[-1].id
    for node in (first, second):
        assert is_complete(node)
        assert consensus(node, own) == last, node.name
    shown = copies.world.run(second, "get consumer where format = json").data
    assert (shown["State"], shown["Files Missing"], shown["Files Pulled"]) == ("complete", 0, 250)


def test_an_emptied_member(copies: Copies) -> None:
    """It gets its own files back with the ids they had, those of the other too, and no id of before is given again."""
    first, second = copies.add(1), copies.add(2)
    for number in range(30):
        copies.put(first, f"a{number}")
        copies.put(second, f"b{number}")
    copies.world.until(lambda: len(copies.names(first)) == len(copies.names(second)) == 180, 90)
    before = copies.entries(second)
    copies.world.stop(["op2"])
    copies.world.advance(2)
    second = copies.add(2)
    assert not is_complete(second)
    copies.put(second, "new")
    copies.world.until(lambda: second.copying.complete, 30)
    copies.until_equal(first, second, 90)
    after = {entry.id: (entry.hash, entry.rows, entry.time[:19]) for entry in copies.entries(second)}
    known = {entry.id: (entry.hash, entry.rows, entry.time[:19]) for entry in before}
    assert {id: after.get(id) for id in known} == known
    assert len(after) == len(known) + 1
    assert min(set(after) - set(known)) > max(known)


def test_a_member_that_was_not_heard_of(copies: Copies) -> None:
    """It is not shown as active before it told how far it is."""
    first = copies.add(1)
    shown = copies.world.run(first, "get cluster info where format = json").data
    other = shown["Participating Operators"][1 - [each["Member"] for each in shown["Participating Operators"]].index(
        copies.member(first))]  # fmt: skip
    assert other["Status"] != "active"
    second = copies.add(2)
    copies.world.until(lambda: second.copying.complete and first.copying.standing.complete != {}, 70)
    copies.world.advance(2)
    shown = copies.world.run(first, "get cluster info where format = json").data
    assert [each["Status"] for each in shown["Participating Operators"]] == ["active", "active"]


def test_dates_of_the_consumer(copies: Copies) -> None:
    """One that is to begin in the future is refused; where no operator runs nothing is said to be complete."""
    node = copies.world.add("query", "10.0.2.1")
    for date in ("9999-12-31", "2100-01-01 00:00:00"):
        with pytest.raises(AnyLogError, match=f"start_date = {date} is in the future"):
            copies.world.run(node, f"run data consumer where start_date = {date}")
    copies.world.run(node, CONSUMER)
    copies.world.advance(70)
    shown = copies.world.run(node, "get consumer where format = json").data
    assert shown["State"] == "Waits for 'run operator'"


def test_suspended(copies: Copies) -> None:
    """No file is asked for, but others are told and served; then it goes on at once."""
    first = copies.add(1)
    second = copies.add(2, pulls=f"{CONSUMER} and mode = suspend")
    copies.put(first, "a")
    copies.put(second, "b")
    copies.world.until(lambda: len(copies.names(first)) == 6, 90)
    copies.world.advance(130)
    assert counted(second, "files given") == 1
    assert counted(first, "files given") == 0
    assert len(copies.names(second)) == 3
    shown = copies.world.run(second, "get consumer where format = json").data
    assert (shown["Mode"], shown["State"], shown["Files Missing"]) == ("suspend", "syncing", 1)
    copies.world.run(second, "set consumer mode = active")
    assert copies.until_equal(first, second, 10) < 5
    copies.world.until(lambda: second.copying.complete, 10)


def test_what_was_pushed_and_not_taken(copies: Copies, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is pulled within seconds, not a minute later; while the disk is full nothing is, and then it is at once."""
    first, second = copies.add(1), copies.add(2)
    copies.put(first, "a")
    copies.until_equal(first, second, 90)
    copies.world.advance(30)
    copies.put(first, "b")
    copies.world.advance(2)
    second.copying.hasten()
    assert copies.until_equal(first, second, 20) < 10
    operator: Any = second.copying.operator()
    monkeypatch.setattr(second.copying.consumer, "_full", lambda: True)
    copies.put(first, "c")
    copies.world.advance(130)
    assert len(copies.names(second)) == 6
    monkeypatch.setattr(second.copying.consumer, "_full", lambda: bool(operator.watch.holds))
    assert copies.until_equal(first, second, 20) < 10


@pytest.mark.parametrize("fits", [0, 2])
def test_no_room_for_what_was_asked_for(copies: Copies, monkeypatch: pytest.MonkeyPatch, fits: int) -> None:
    """Files that came while the disk was full, all or some, are asked for again within seconds once there is room."""
    first, second = copies.add(1), copies.add(2)
    copies.put(first, "a")
    copies.until_equal(first, second, 90)
    batch, watched, refused = MemoryDisk.batch, second.places.folder("watch_dir"), 0

    def full(disk: MemoryDisk, steps: Sequence[Step]) -> list[Any]:
        nonlocal refused
        if not any(isinstance(step, Publish) and step.path.parent == watched for step in steps):
            return batch(disk, steps)
        refused += 1
        left = [OSError(errno.ENOSPC, "No space left on device") for _ in steps[fits:]]
        return [*batch(disk, steps[:fits]), *left]

    monkeypatch.setattr(MemoryDisk, "batch", full)
    for number in range(5):
        copies.put(first, f"b{number}")
    copies.world.until(lambda: len(copies.names(first)) == 18, 10)
    copies.world.until(lambda: refused > 0, 90)
    copies.world.advance(1.0)
    assert len(copies.names(second)) < 18
    monkeypatch.setattr(MemoryDisk, "batch", batch)
    assert copies.until_equal(first, second, 90) < 15


def test_a_database_that_is_connected_later(copies: Copies) -> None:
    """Without it the member is complete beside files that are missing, and says why; with it they come at once."""
    first = copies.add(1)
    copies.put(first, "a")
    copies.world.advance(2)
    second = copies.add(2)
    copies.until_equal(first, second)
    copies.world.run(second, "disconnect dbms town")
    copies.put(first, "b")
    copies.world.until(lambda: len(copies.names(first)) == 6, 10)
    copies.world.advance(130)
    shown = copies.world.run(second, "get consumer where format = json").data
    assert (shown["State"], shown["Files Missing"], shown["Files Pulled"]) == ("complete", 1, 1)
    assert shown["Peers"][0]["Last Error"].endswith("the database is not connected here: 'town' (1 files)")
    copies.world.run(second, "connect dbms town where type = sqlite and memory = true")
    assert copies.world.until(lambda: set(copies.names(second)) >= {"b-0", "b-1", "b-2"}, 10) < 5


def test_nobody_has_it(copies: Copies, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry says so, the member is complete without it, and once an archive has it again it is loaded."""
    for module in (missing, consumer):
        monkeypatch.setattr(module, "SELDOM", 300.0)
    first = copies.add(1)
    copies.put(first, "a")
    copies.put(first, "b")
    copies.world.advance(2)
    gone, last = copies.entries(first)
    disk: Any = first.disk
    (path,) = [each for each in disk._files if gone.hash in each and "archive" in each]
    kept = disk._files.pop(path)
    second = copies.add(2)
    copies.world.until(lambda: second.copying.complete, 30)
    own = copies.member(first)
    (entry, loaded) = copies.entries(second, f"tsd_{own}")
    assert (entry.rows, entry.status1, entry.status2) == (0, "01", f"Missing archived data with member {own}")
    assert (entry.hash, loaded.rows) == (gone.hash, 3)
    copies.world.advance(70)
    assert validated(second, copies.member(second), own) == last.id
    asked = counted(first, "files not found")
    copies.world.advance(120)
    assert counted(first, "files not found") == asked
    disk._files[path] = kept
    copies.world.until(lambda: copies.names(first) == copies.names(second), 400)
    assert [e.status1 for e in copies.entries(second, f"tsd_{own}")] == ["", ""]


def test_the_same_content_twice(copies: Copies) -> None:
    """Both took the same file: each holds it once, and nothing of it travels."""
    first = copies.add(1, pulls="")
    second = copies.add(2, pulls="")
    for node in (first, second):
        copies.put(node, "same")
    copies.world.advance(2)
    for node in (first, second):
        copies.world.run(node, CONSUMER)
    copies.world.until(lambda: first.copying.complete and second.copying.complete, 70)
    copies.world.advance(70)
    for node, other in ((first, second), (second, first)):
        assert len(copies.names(node)) == 3
        (entry,) = copies.entries(node, f"tsd_{copies.member(other)}")
        (own,) = copies.entries(node)
        assert (entry.rows, entry.status1, entry.status2) == (0, "02", f"its content is loaded as tsd_info {own.id}")
        assert counted(node, "files given") == 0


def test_three_members() -> None:
    """A new one gets each file once, from its owner if that is there, else from whoever has it."""
    copies = Copies(3)
    try:
        first, second = copies.add(1), copies.add(2, ahead=5.0)
        for number in range(20):
            copies.put(first, f"a{number}")
            copies.put(second, f"b{number}")
        copies.world.until(lambda: len(copies.names(first)) == len(copies.names(second)) == 120, 90)
        given = [counted(node, "files given") for node in (first, second)]
        third = copies.add(3)
        copies.world.until(lambda: third.copying.complete, 30)
        assert copies.names(third) == copies.names(first)
        assert [counted(node, "files given") for node in (first, second)] == [each + 20 for each in given]
        copies.world.stop(["op3", "op2"])
        third = copies.add(3)
        copies.until_equal(first, third, 30)
        assert not is_complete(third) or is_complete(first)
    finally:
        copies.world.stop()


def test_a_member_that_comes_back(copies: Copies) -> None:
    """It asks at once, and is asked at once, whoever was away."""
    first, second = copies.add(1), copies.add(2)
    copies.world.until(lambda: first.copying.complete and second.copying.complete, 70)
    copies.world.network.isolate("10.0.1.2", ["10.0.0.1", "10.0.1.1"])
    copies.world.advance(90)
    copies.put(first, "a", table="t")
    copies.world.advance(2)
    copies.world.network.heal()
    assert copies.until_equal(first, second, 40) < 25


def test_strangers_and_nonsense(copies: Copies) -> None:
    """They are refused by name."""
    first = copies.add(1)
    place = first.membership.place()
    assert place is not None
    other = next(each.member for each in first.copying.members())
    good = {"cluster": place.cluster, "member": other, "asker": other, "start": "", "end": ""}
    for kind, head, number, told in [
        ("members", {}, 21, "member"),
        ("members", {**good, "member": "7"}, 21, "member"),
        ("members", {**good, "member": 256}, 40, "256"),
        ("members", {**good, "cluster": "x"}, 40, "'x'"),
        ("members", {**good, "member": place.member}, 40, "itself"),
        ("members", {**good, "member": (other % 200) + 30}, 40, "has no member"),
        ("members", {**good, "start": 7}, 21, "start"),
        ("members", {**good, "safe": [1]}, 21, "safe"),
        ("members", {**good, "safe": {"1": "x"}}, 21, "safe"),
        ("entries", {**good, "after": 0}, 21, "most"),
        ("entries", {**good, "after": 0, "most": 10**6}, 40, "most"),
        ("entries", {**good, "after": -1, "most": 5}, 40, "after"),
        ("entries", {**good, "asker": None, "after": 0, "most": 5}, 21, "member"),
        ("fetch", good, 21, "ids"),
        ("fetch", {**good, "ids": []}, 21, "ids"),
        ("fetch", {**good, "ids": ["a"]}, 40, "'a'"),
        ("fetch", {**good, "ids": [True]}, 40, "True"),
        ("fetch", {**good, "ids": list(range(1, 1002))}, 21, "ids"),
    ]:
        try:
            copies.world.wait(first.peers.ask("10.0.1.1:32148", kind, head))
            got = (0, "")
        except AnyLogError as refused:
            got = (refused.number, str(refused))
        assert (got[0], told in got[1]) == (number, True), f"{kind} {head}: {got}"
    copies.world.run(first, "exit operator")
    with pytest.raises(AnyLogError, match="no operator"):
        copies.world.wait(first.peers.ask("10.0.1.1:32148", "members", good))


def test_a_large_file_in_slices(copies: Copies) -> None:
    """It goes alone, and those beside it follow."""
    first = copies.add(1, pulls="")
    chance = Random(1)
    for name in ("a", "large", "b"):
        wide = name == "large"
        rows = [{"name": f"{name}-{n}", "value": chance.randbytes(3000).hex() if wide else n} for n in range(1500)]
        copies.world.wait(
            first.intake.accept("town", "wide" if wide else "thin", json.dumps(rows).encode(), rows, whole=True)
        )
    copies.world.advance(3)
    sizes = [len(each.data) for name, each in first.disk._files.items() if "archive" in name]  # type: ignore[attr-defined]
    assert max(sizes) > 4 << 20
    second = copies.add(2)
    copies.world.until(lambda: second.copying.complete, 60)
    assert copies.names(second, "wide") == copies.names(first, "wide") != []
    assert copies.names(second, "thin") == copies.names(first, "thin") != []


def test_a_file_is_damaged_on_its_way(copies: Copies) -> None:
    """What was pushed is not what its name says: it is put aside, and the true one is pulled."""
    first = copies.add(1)
    second = copies.add(2, pulls=f"{CONSUMER} and mode = suspend")
    copies.put(first, "a")
    copies.world.advance(1)
    (entry,) = copies.entries(first)
    name, _ = name_of(entry, copies.member(first))
    data = gzip.compress(b'{"name":"damaged","value":1}\n')
    question = {"files": [[f"{name}.gz", len(data)]]}
    reply = copies.world.wait(first.peers.ask("10.0.1.2:32148", "deliver", question, data))
    assert reply.head == {"told": ["taken"]}
    into = f"tsd_{copies.member(first)}"
    copies.world.until(lambda: [each.status1 for each in copies.entries(second, into)] == ["03"], 10)
    assert copies.names(second) == []
    copies.world.run(second, "set consumer mode = active")
    assert copies.until_equal(first, second, 10) < 5
    (mended,) = copies.entries(second, into)
    assert (mended.id, mended.hash, mended.rows, mended.status1) == (entry.id, entry.hash, 3, "")


def test_two_contents_of_one_id(copies: Copies) -> None:
    """Both members name it in `test cluster data`, and consensus does not go beyond; until one of them gives way."""
    first, second = copies.add(1), copies.add(2)
    for name in ("a", "b"):
        copies.put(first, name)
        copies.world.advance(2)
    copies.until_equal(first, second, 90)
    own = copies.member(first)
    other = copies.entries(first)[1]
    tsd = second.membership.tsd()
    assert tsd is not None
    change = f"update tsd_{own} set file_hash = '{'0' * 32}' where file_id = {other.id}"
    copies.world.wait(tsd.database.write(lambda connection: connection.execute(change).fetchall()))
    copies.put(first, "c")
    copies.world.until(lambda: len(copies.names(second)) == 9, 90)
    copies.world.advance(130)
    # What was validated stays so: it was, when there was one content.
    assert max(consensus(first, own), consensus(second, own)) <= other.id
    for node in (first, second):
        (row,) = copies.world.run(node, "test cluster data where format = json").data
        at_first, at_second = sorted(row["Conflicts"], key=lambda text: "op2" in text)
        assert at_first.startswith(
            f"TSD id conflict at op1: tsd_info {other.id} has the hash {other.hash} there, and 0"
        )
        assert f"op2: tsd_{own} {other.id} has the hash {'0' * 32} there, and {other.hash} by town.t." in at_second
        with pytest.raises(AnyLogError, match="no member of the cluster knows a database 'elsewhere'"):
            copies.world.run(node, "test cluster data where dbms = elsewhere and format = json")
    text = copies.world.run(first, "test cluster data").text or ""
    assert (text.count("TSD id conflict"), "Table Conflicts Node_" in text) == (2, True), text
    copies.world.wait(tsd.remove([(f"tsd_{own}", other.id)]))
    copies.world.advance(130)
    (row,) = copies.world.run(first, "test cluster data where format = json").data
    assert "Conflicts" not in row
    assert consensus(second, own) == copies.entries(first)[-1].id
