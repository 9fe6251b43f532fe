"""Members of one cluster in one process: what one of them lacks it pulls from the others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from anylog.databases.tsd import Asked, Entry
from anylog.node import Node
from anylog.testing.world import World

MASTER = "10.0.0.1:32048"
SYNC = (
    f"run blockchain sync where source = master and time = 2 seconds and dest = file and connection = {MASTER}"
)
CONSUMER = "run data consumer where start_date = -30d"


def door(host: str, port: int) -> str:
    return f"run tcp server where external_ip = {host} and external_port = {port} and bind = true and threads = 6"


class Copies:
    """A master, and operators of one cluster."""

    def __init__(self) -> None:
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
        for number in (1, 2, 3)[:2]:
            self.policy(master, insert, number)

    def policy(self, master: Node, insert: str, number: int) -> None:
        made = f"p = create policy operator where name = op{number} and company = acme and cluster = !cid"
        self.world.run(master, f"{made} and ip = 10.0.1.{number} and port = 32148", insert)
        found = self.world.run(master, f"blockchain get operator where name = op{number} bring.last [*][id]")
        self.policies[number] = (found.text or "").strip()

    def add(self, number: int, *commands: str, ahead: float = 0.0, consumer: str = CONSUMER) -> Node:
        """An operator with empty databases."""
        node = self.world.add(f"op{number}", f"10.0.1.{number}", ahead)
        self.world.run(
            node,
            door(f"10.0.1.{number}", 32148),
            SYNC,
            "connect dbms almgm where type = sqlite and memory = true",
            "create table tsd_info where dbms = almgm",
            "connect dbms town where type = sqlite and memory = true",
            *([consumer] if consumer else []),
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
    assert not second.copying.complete
    copies.until_equal(first, second)
    copies.world.until(lambda: second.copying.complete, 10)
    own = copies.member(first)
    theirs = copies.entries(first)
    mine = copies.entries(second, f"tsd_{own}")
    assert [(e.id, e.hash, e.rows, e.time[:19]) for e in mine] == [
        (e.id, e.hash, e.rows, e.time[:19]) for e in theirs
    ]
    copies.world.advance(130)
    last = theirs[-1].id
    for node in (first, second):
        assert node.copying.complete
        assert node.copying.consensus()[own] == last, node.name
    shown = copies.world.run(second, "get consumer where format = json").data
    assert (shown["State"], shown["Files Missing"], shown["Files Pulled"]) == ("complete", 0, 250)
