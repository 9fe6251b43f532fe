"""Rows of whole nodes are compared and mended, in a network in memory (operator-ha.md 14, I-1, I-2, I-5)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from attrs import define
from test_clusters import cluster, told
from test_world import put
from twisted.internet.defer import Deferred, succeed

from anylog.databases.tsd import Asked, Done, Wanted
from anylog.errors import AnyLogError
from anylog.interfaces import Asker, Load, Mark, Reply
from anylog.node import Node
from anylog.processes.audit import AuditService
from anylog.processes.buffers import Buffer
from anylog.processes.overview import Text
from anylog.testing.world import World

ROWS = [
    {"timestamp": "2027-01-15 08:00:00", "v": 1, "f": 0.5},
    {"timestamp": "2027-01-15 08:00:01", "v": 2, "ok": True},
]
DEEP = "test cluster data where deep = true and format = json"


def filed(world: World, node: Node, rows: list[dict[str, Any]]) -> None:
    """Readings that are a file in the archive."""
    put(world, node, "t", rows)
    world.advance(2.0)
    world.run(node, "flush buffers")
    world.advance(5.0)


def sql(world: World, node: Node, statement: str, *values: Any) -> list[Any]:
    """Beside the node, by hand."""
    return world.wait(node.databases.get("town").execute(statement, values))


def member(node: Node) -> int:
    place = node.membership.place()
    assert place is not None
    return place.member


def archived(node: Node) -> Path:
    """The one file of a node's archive."""
    disk: Any = node.disk
    (path,) = [Path(name) for name in disk._files if "/archive/" in str(name)]
    return path


def same_file(world: World, one: Node, two: Node) -> None:
    """The first node has a file; the second gets it as if it had been sent: entry, rows and mark, and archive."""
    entry = world.wait(one.membership.tsd().entries("tsd_info", Asked()))[0]  # type: ignore[union-attr]
    columns = {"timestamp": "TIMESTAMP", "v": "INT", "f": "FLOAT", "ok": "BOOLEAN"}
    m = member(one)
    tsd: Any = two.membership.tsd()
    wanted = Wanted(
        dbms="town", table="t", source=entry.source, hash=entry.hash, instructions=entry.instructions, id=entry.id,
        time=entry.time[:19], into=f"tsd_{m}",
    )  # fmt: skip
    world.wait(tsd.register([wanted]))
    mark = Mark(f"file-{m}.{entry.id}", "t", 1, 2, 0, entry.hash, m, entry.id, "0", "0", entry.time[:19] + ".000000")
    values = '[["2027-01-15 08:00:01.000000",2,null,true],["2027-01-15 08:00:00.000000",1,0.5,null]]'
    load = Load(
        table="t", columns=list(columns), values=values, rows=2, marks=[mark], parked=[], keys=[], tsd_name=str(m),
        tsd_id=entry.id, inserted="2027-01-15 09:00:00.000000", create=columns,
    )  # fmt: skip
    assert world.wait(two.databases.get("town").load([load])) == [None]
    world.wait(tsd.finish([Done(into=f"tsd_{m}", id=entry.id, rows=2)]))
    path = archived(one)
    two.disk.publish(Path(str(path).replace("/op1/", "/op2/")), one.disk.read(path))


def test_deep() -> None:
    """Equal rows have equal digests, whatever their order; a value that was changed by hand is named with its file."""
    world = World(14)
    _, one, two = cluster(world)
    filed(world, one, ROWS)
    same_file(world, one, two)
    found = told(world, two, DEEP)
    (day,) = found["Days"]
    assert day["Verdict"] == "+" and found["Files"] == [] and found["Silent"] == []
    cells = {day[f"Node_{member(one)}"], day[f"Node_{member(two)}"]}
    assert len(cells) == 1 and cells.pop().startswith("1/2 ")
    sql(world, two, "update t set v = 3 where v = 2")
    found = told(world, one, DEEP)
    (wrong,) = found["Files"]
    assert found["Days"][0]["Verdict"] == "1 rows"
    assert "rows differ" in wrong["Wrong"][0] and wrong["File"].startswith("town.t.")
    text = world.run(one, "test cluster data where deep = true and dbms = town and table = t").text
    assert wrong["File"] in text and "1 rows" in text
    for asked, why in (
        ("dbms = town and table = o", r"knows a table 'town\.o'"),
        ("table = o", "knows a table 'o'"),
        ("dbms = nosuch and table = t", "knows a database 'nosuch'"),
        ("dbms = almgm", "'almgm' is a database of the node's own"),
        ("start_date = 2026-03-01 and end_date = 2026-01-01", "start_date = 2026-03-01 is not before"),
    ):
        with pytest.raises(AnyLogError, match=why):
            world.run(one, f"{DEEP} and {asked}")
    none = f"{DEEP} and dbms = town and table = t and end_date = 2020-01-01"
    assert told(world, one, none)["Days"] == []
    report = told(world, one, "repair table t where dbms = town and format = json")
    assert report["Elsewhere"] == {"op2": 1} and not report["Loaded again"] and not report["Left"]
    sql(world, two, "delete from t")
    found = told(world, one, DEEP)
    assert found["Days"][0]["Verdict"] == "+" and found["Files"][0]["Noted"] == [f"dropped at node_{member(two)}"]
    world.stop(["op2"])
    assert "op2 tells nothing of town.t" in world.run(one, "test cluster data where deep = true").text


def test_repair() -> None:
    """Changed, added and removed rows are those of the file again; a second repair has nothing to do."""
    world = World(15)
    _, one, _ = cluster(world)
    filed(world, one, ROWS)
    before = sql(world, one, "select timestamp, v, f, ok, tsd_name, tsd_id from t order by v")
    for statement in (
        "update t set f = 0.25 where v = 1",
        "update t set v = null where v = 2",
        "delete from t where v = 1",
        "insert into t (tsd_name, tsd_id, v) select tsd_name, tsd_id, 9 from t limit 1",
        "update t set v = 'what' where v = 1",
    ):
        sql(world, one, statement)
        report = told(world, one, "repair table t where dbms = town and format = json")
        assert len(report["Loaded again"]) == 1 and not report["Left"], (statement, report)
        assert sql(world, one, "select timestamp, v, f, ok, tsd_name, tsd_id from t order by v") == before
    report = told(world, one, "repair table t where dbms = town and format = json")
    assert (report["Looked at"], report["Loaded again"], report["Healed"], report["Left"]) == (1, [], [], [])
    assert "nothing was to be done" in world.run(one, "repair table t where dbms = town").text
    sql(world, one, "delete from t")
    assert told(world, one, "repair table t where dbms = town and format = json")["Dropped"] == 1
    assert sql(world, one, "select count(*) from t") == [(0,)]
    world.run(one, "repair table t where dbms = town and dropped = true")
    assert sql(world, one, "select timestamp, v, f, ok, tsd_name, tsd_id from t order by v") == before


def test_parked_and_grown() -> None:
    """Rows that were parked are no difference, nor is a column of times that came after a file."""
    world = World(20)
    _, one, _ = cluster(world)
    filed(world, one, ROWS)
    rows = [{"v": 5}, {"v": "many"}, {"v": 6}]
    world.wait(one.intake.accept("town", "t", json.dumps(rows).encode(), rows, whole=True))
    filed(world, one, [{"v": 7, "later": "2027-01-15 08:00:00"}])
    clean = told(world, one, "repair table t where dbms = town and format = json")
    assert (clean["Looked at"], clean["Loaded again"], clean["Left"]) == (3, [], [])
    assert sql(world, one, "select count(*) from t where later is null") == [(4,)]
    sql(world, one, "update t set v = 60 where v = 6")
    assert len(told(world, one, "repair table t where dbms = town and format = json")["Loaded again"]) == 1
    assert sql(world, one, "select v from t order by v") == [(1,), (2,), (5,), (6,), (7,)]
    parked = sql(world, one, "select row from anylog_parked")
    assert parked == [('{"v":"many"}',)]
    clean = told(world, one, "repair table t where dbms = town and format = json")
    assert (clean["Looked at"], clean["Loaded again"], clean["Left"]) == (3, [], [])


def test_refusals() -> None:
    """Only for tables that exist, and only where an operator runs."""
    world = World(16)
    first, one, _ = cluster(world)
    with pytest.raises(AnyLogError, match="there is no table"):
        world.run(one, "repair table t where dbms = town")
    with pytest.raises(AnyLogError, match="nosuch"):
        world.run(one, "repair table t where dbms = nosuch")
    with pytest.raises(AnyLogError, match="'almgm' is a database of the node's own"):
        world.run(one, "repair table tsd_info where dbms = almgm")
    with pytest.raises(AnyLogError, match="start_date = -1d is not before end_date = -2d"):
        world.run(one, "repair table t where dbms = town and start_date = -1d and end_date = -2d")
    with pytest.raises(AnyLogError, match="no operator runs"):
        world.run(first, "repair table t where dbms = town")


@define
class Giver:
    """Another member that gives files as the kind `fetch` does."""

    name: str
    data: bytes
    asked: int = 0

    def __call__(self, head: Any, body: bytes, asker: Asker) -> Deferred[Reply]:
        self.asked += 1
        (id,) = head["ids"]
        return succeed(
            Reply(head={"files": [[id, self.name, len(self.data)]], "missing": [], "later": []}, body=Text(self.data))
        )


def test_an_archive_file_comes_from_another_member() -> None:
    """A damaged file goes to the error directory and is replaced; a giver of something else is not believed."""
    world = World(17)
    _, one, two = cluster(world)
    filed(world, one, ROWS)
    same_file(world, one, two)
    disk: Any = one.disk
    path = archived(one)
    right = disk.read(path)
    disk.damage(path, 30, bytes([right[30] ^ 1]))
    found = told(world, two, DEEP)
    assert found["Files"][0]["Wrong"] == [f"archive rotten at node_{member(one)}"]
    liar = Giver(path.name, disk.read(path))
    two.peers.serve("fetch", liar)
    report = told(world, one, "repair table t where dbms = town and format = json")
    assert "gave another content" in report["Left"][0]["Reason"] and liar.asked == 1
    assert archived(one) == path
    two.peers.serve("fetch", Giver(path.name, right))
    report = told(world, one, "repair table t where dbms = town and format = json")
    assert len(report["Healed"]) == 1 and not report["Left"] and not report["Loaded again"]
    assert disk.names(one.intake.filing.options.err_dir)[0].endswith(".json.gz")  # type: ignore[union-attr]
    assert ".err_6." in disk.names(one.intake.filing.options.err_dir)[0]  # type: ignore[union-attr]
    assert told(world, two, DEEP)["Files"] == []


def test_what_is_missing_is_fetched() -> None:
    """A file that another member has and this one has not goes through the watch directory."""
    world = World(18)
    _, one, two = cluster(world)
    filed(world, one, ROWS)
    sql(world, two, "create table t (v int)")
    path = archived(one)
    one.peers.serve("fetch", Giver(path.name, one.disk.read(path)))
    report = told(world, two, "repair table t where dbms = town and format = json")
    assert [name + ".gz" for name in report["Fetched"]] == [path.name]
    assert not report["Left"]


def test_what_came_while_the_others_were_asked() -> None:
    """A file that is brought while a repair asks who has what is not missing: neither loaded again nor fetched."""
    world = World(23)
    _, one, two = cluster(world)
    filed(world, one, ROWS)
    sql(world, two, "create table t (v int)")
    told_by_one = AuditService(audit=one.copying.audit)

    def audit(head: Any, body: bytes, asker: Asker) -> Deferred[Reply]:
        sql(world, two, "drop table t")
        same_file(world, one, two)
        return told_by_one(head, body, asker)

    one.peers.serve("audit", audit)
    path = archived(one)
    giver = Giver(path.name, one.disk.read(path))
    one.peers.serve("fetch", giver)
    report = told(world, two, "repair table t where dbms = town and format = json")
    assert (report["Loaded again"], report["Fetched"], report["Left"]) == ([], [], []) and giver.asked == 0
    assert sql(world, two, "select count(*) from t") == [(2,)]


def test_limits() -> None:
    """An answer that would be too large says how to ask for less; a node without tables of files tells nothing."""
    world = World(19)
    first, one, _ = cluster(world)
    filed(world, one, ROWS)
    asker = Asker(host="", address="")
    small = AuditService(audit=one.copying.audit, most=10)
    with pytest.raises(AnyLogError, match="start_date") as refused:
        world.wait(small({"dbms": "town", "table": "t"}, b"", asker))
    assert refused.value.number == 77
    reply = world.wait(small({"dbms": "town", "table": "t", "end": "2020-01-01 00:00:00.000000"}, b"", asker))
    assert reply.head == {"files": 0}
    with pytest.raises(AnyLogError, match="no operator"):
        world.wait(AuditService(audit=first.copying.audit)({"dbms": "town", "table": "t"}, b"", asker))


@pytest.mark.skipif(not hasattr(Buffer, "owner"), reason="files of other members are loaded under the own name here")
def test_files_of_another_member() -> None:
    """They are mended under the name of their member; the same content under two names is one."""
    world = World(21)
    _, one, two = cluster(world)
    filed(world, one, ROWS)
    same_file(world, one, two)
    before = sql(world, two, "select timestamp, v, f, ok, tsd_name, tsd_id from t order by v")
    for statement in ("update t set v = 3 where v = 2", "delete from t where v = 1"):
        sql(world, two, statement)
        assert "node_" in told(world, one, DEEP)["Files"][0]["Wrong"][0]
        report = told(world, two, "repair table t where dbms = town and format = json")
        assert len(report["Loaded again"]) == 1 and not report["Left"] and not report["Elsewhere"], report
        assert sql(world, two, "select timestamp, v, f, ok, tsd_name, tsd_id from t order by v") == before
    assert told(world, one, DEEP)["Days"][0]["Verdict"] == "+"


@pytest.mark.skipif(not hasattr(Buffer, "owner"), reason="files of other members are loaded under the own name here")
def test_a_missing_file_is_loaded() -> None:
    """What was fetched is loaded by the ordinary pipeline, and is the same then."""
    world = World(22)
    _, one, two = cluster(world)
    filed(world, one, ROWS)
    sql(world, two, "create table o (v int)")
    path = archived(one)
    one.peers.serve("fetch", Giver(path.name, one.disk.read(path)))
    with pytest.raises(AnyLogError, match="there is no table"):
        world.run(two, "repair table t where dbms = town")
    world.wait(two.ensure_table("town", "t"))
    report = told(world, two, "repair table t where dbms = town and format = json")
    assert len(report["Fetched"]) == 1 and not report["Left"]
    world.advance(10.0)
    found = told(world, one, DEEP)
    assert (found["Days"][0]["Verdict"], found["Files"]) == ("+", [])
