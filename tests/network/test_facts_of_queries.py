"""Times, steps of `increments`, selects that were answered, tables of the ledger, of whole nodes (query.md 5, 8, 9)."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from pair import A, B, pair, refused
from twisted.internet.defer import Deferred, fail, succeed

from anylog.errors import AnyLogError
from anylog.interfaces import Asker
from anylog.language.interpreter import collected
from anylog.node import Node
from anylog.testing.world import World


@pytest.fixture
def world() -> Iterator[World]:
    yield from pair(9)


@pytest.fixture
def a(world: World) -> Node:
    return world.nodes["a"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("utc '2024-07-01 12:00:00.5'", "2024-07-01T12:00:00.500000Z"),
        ("utc date('2024-07-19', 'start of year')", "2024-01-01T00:00:00.000000Z"),
        ("Europe/Paris '2024-07-01 12:00:00'", "2024-07-01 14:00:00.000000"),
        ("pt timestamp('2024-02-01 08:00:00', '-3 days')", "2024-01-29 00:00:00.000000"),
        ("et '2024-07-01T12:00:00Z'", "2024-07-01 08:00:00.000000"),
        ("utc", 2),
        ("mars now()", 173),
        ("utc tomorrow", 46),
        ("utc now() - 6 parsecs", 46),
        ("utc now() now()", 46),
        ("utc 'yesterday'", 46),
        ("et '0001-01-01 00:00:00'", 46),
        ("utc 'open", 16),
    ],
)
def test_times(world: World, a: Node, asked: str, told: str | int) -> None:
    """In the zone that is named; what is no time or no zone is refused by its number."""
    if isinstance(told, str):
        assert world.run(a, f"get datetime {asked}").text == told
    else:
        assert refused(world, a, f"get datetime {asked}").number == told


def test_now(world: World, a: Node) -> None:
    """Of the node's clock, and moved; a bare span is one from now."""
    world.clock.advance(1_800_000_100.25 - world.clock.seconds())
    assert world.run(a, "get datetime utc now()").text == "2027-01-15T08:01:40.250000Z"
    assert world.run(a, "get datetime utc now() - 6 hours").text == "2027-01-15T02:01:40.250000Z"
    assert world.run(a, "get datetime utc -2d").text == "2027-01-13T08:01:40.250000Z"
    world.run(a, "when = get datetime et now()")
    assert world.run(a, "!when").text == "2027-01-15 03:01:40.250000"


def test_increments(world: World, a: Node) -> None:
    """As a query would take them; the span has to be said."""
    asked = "get increments params where dbms = town and table = weather and column = timestamp and where = "
    day = "\"timestamp >= '2024-01-01 00:00:00' and timestamp < '2024-01-02 00:00:00'\""
    assert world.run(a, f"{asked}{day}").data == {
        "dbms": "town",
        "table": "weather",
        "column": "timestamp",
        "interval": 1,
        "time_unit": "minute",
        "data_points": 1000,
    }
    told = world.run(a, f'{asked}"timestamp > now() - 1 day" and data_points = 12 and format = json')
    assert (told.data["interval"], told.data["time_unit"], told.format) == (2, "hour", "json")
    assert "Time Unit" in (world.run(a, f"{asked}{day}").text or "")
    assert refused(world, a, f'{asked}"celsius > 7"').number == 46
    assert refused(world, a, f"{asked}{day} and data_points = 0").number == 175
    with pytest.raises(AnyLogError) as error:
        world.run(a, f"run client ({B}) {asked}{day}")
    assert error.value.number == 262


def test_executions(world: World, a: Node) -> None:
    """The node that answers a select tells who asked, for which job, and how many rows it gave; or why it did not."""
    b = world.nodes["b"]
    assert world.run(b, "get operator execution").text == "No select of another node was answered"
    world.run(b, "connect dbms town where type = sqlite and memory = true")
    for each in (
        '{"cluster": {"id": "c1", "name": "c", "company": "x", "table": [{"dbms": "town", "name": "weather"}]}}',
        '{"operator": {"id": "o1", "name": "b", "company": "x", "cluster": "c1", "ip": "10.0.0.2", "port": 32148}}',
        '{"table": {"name": "weather", "dbms": "town", "create": "create table weather (celsius DECIMAL);"}}',
    ):
        for node in (a, b):
            world.run(node, f"blockchain insert where policy = {each} and local = true")
    world.run(b, 'stream [{"celsius": 7.5}, {"celsius": 8}] where dbms = town and table = weather')
    world.advance(2)
    pages = world.run(a, 'run client () sql town format = json "select celsius from weather"').pages
    assert pages is not None
    world.wait(Deferred.fromCoroutine(collected(pages)))
    (row,) = world.run(b, "get operator execution where format = json").data
    slot = next(job.slot for job in a.jobs if job.sql)
    assert (row["Node"], row["Job"], row["DBMS"], row["Table"]) == (A, slot, "town", "weather")
    assert (row["Rows"], row["Blocks"], row["Completed"], row["Error"]) == (2, 1, True, "")
    assert "celsius" in row["Command"]
    for where, count in ((f"node = {A}", 1), ("node = 10.0.0.1", 1), (f"job = {slot}", 1), ("node = 10.0.0.9", 0)):
        assert len(world.run(b, f"get query execution where {where} and format = json").data) == count, where


def test_broken_off(world: World, a: Node) -> None:
    """A select whose reader left, or that failed while it was fetched, is told so; the oldest ones are forgotten."""

    class Pages:
        def __init__(self, *pages: bytes | Exception) -> None:
            self.pages, self.closed = list(pages), False

        def next(self) -> Deferred[bytes]:
            world.clock.advance(0.5)
            page = self.pages.pop(0)
            return fail(page) if isinstance(page, Exception) else succeed(page)

        def close(self) -> None:
            self.closed = True

    asker = Asker(host="10.0.0.9", address="")
    left, broke = (a.queries.executions.begin(asker, {}, "d", "t", "select 1") for _ in range(2))
    pages = Pages(b"1", b"2")
    left.opened(7, None)
    reading = left.watched(pages)
    assert world.wait(reading.next()) == b"1"
    reading.close()
    row = left.row()
    assert pages.closed and (row["Blocks"], row["Rows"], row["Fetch-Time"]) == (1, 7, 0.5)
    assert (row["Completed"], row["Error"], row["Node"]) == (True, "given up by who asked", "10.0.0.9")
    reading = broke.watched(Pages(AnyLogError(16, "disk I/O error")))
    with pytest.raises(AnyLogError):
        world.wait(reading.next())
    reading.close()
    assert "disk I/O error" in world.run(a, "get operator execution").data[-1]["Error"]
    for _ in range(100):
        a.queries.executions.begin(asker, {"job": "x"}, "d", "t", "select 1")
    assert [each.number for each in a.queries.executions] == list(range(3, 103))


def test_tables_of_the_ledger(world: World, a: Node) -> None:
    """Those that the ledger knows, here or not; and what the operator inserted, nothing yet."""
    table = '{"table": {"name": "weather", "dbms": "town", "create": "create table weather (celsius DECIMAL);"}}'
    world.run(a, f"blockchain insert where policy = {table} and local = true")
    told = world.run(a, "get global tables where dbms = *")
    assert told.data == {"town": {"weather": {"blockchain": True}}} and "town" in (told.text or "")
    assert world.run(a, "get global tables where dbms = village and format = json").data == {}
    assert world.run(a, "get inserts where format = json").data == {}
    assert "Batch inserts" in (world.run(a, "get inserts").text or "")


def test_zone_of_a_node(world: World, a: Node) -> None:
    """`set timezone` is for times without a zone, and for those that are shown; a query goes before it."""
    for each in (
        "connect dbms town where type = sqlite and memory = true",
        'sql town "create table weather (at timestamp)"',
        "sql town \"insert into weather values ('2024-07-01T12:00:00Z')\"",
    ):
        world.run(a, each)

    def at(options: str = "", where: str = "") -> list[str]:
        pages = world.run(
            a, f'sql town format = json:list and stat = false {options} "select at from weather{where}"'
        ).pages
        assert pages is not None
        return [row["at"] for row in json.loads(world.wait(Deferred.fromCoroutine(collected(pages))))]

    assert (world.run(a, "get timezone").text, at()) == ("utc", ["2024-07-01 12:00:00.000000"])
    world.run(a, "set timezone Europe/Paris")
    assert (world.run(a, "get timezone").text, at()) == ("Europe/Paris", ["2024-07-01 14:00:00.000000"])
    assert at(where=" where at = '2024-07-01 14:00:00'") and not at(where=" where at = '2024-07-01 12:00:00'")
    assert at("and timezone = utc") == ["2024-07-01 12:00:00.000000"]
    assert refused(world, a, "set timezone mars").number == 173
    assert world.run(a, "get timezone").text == "Europe/Paris"
