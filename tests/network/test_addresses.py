"""Addresses set by hand, pools, pings, and tables compared with the ledger, on whole nodes (network.md 2, 4, 9, 11)."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from functools import partialmethod
from typing import Any

import psutil
import pytest
from pair import A, B, pair, refused
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from anylog.errors import AnyLogError
from anylog.host import NAMING, usable_name
from anylog.network.reply_to import Given, Ways, answered_at, read_given
from anylog.network.schema_commands import difference
from anylog.node import Node
from anylog.testing.lanes import ClockLane
from anylog.testing.world import World


@pytest.fixture
def world() -> Iterator[World]:
    yield from pair(5)


@pytest.fixture
def a(world: World) -> Node:
    return world.nodes["a"]


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("= 10.0.0.9", Given("10.0.0.9")),
        ("=Dynamic", Given("dynamic")),
        ("and port = roof.example:7850", Given("roof.example", 7850)),
        ("and port = dynamic:7850", Given("dynamic", 7850)),
        ('and port = "[::1]:7850"', Given("[::1]", 7850)),
        ("", 2),
        ("10.0.0.9", 2),
        ("= 10.0.0.9 10.0.0.8", 2),
        ("= 10.0.0.9:7850", 20),
        ("and port = 10.0.0.9", 20),
        ("and port = 10.0.0.9:0", 20),
        ("and port = 10.0.0.9:65536", 20),
    ],
)
def test_forms(text: str, given: Given | int) -> None:
    """An address with a port or without, as its form says; everything else is refused."""
    if isinstance(given, Given):
        assert read_given(text, "set reply ip") == given
        return
    with pytest.raises(AnyLogError) as error:
        read_given(text, "set reply ip")
    assert error.value.number == given


def test_told() -> None:
    """What others are told, and how they read it."""
    assert Ways().reply_to(A) == A and Ways().own(1) == set()
    assert Ways(reply=Given("10.0.0.9")).reply_to(A) == "10.0.0.9:32148"
    assert Ways(reply=Given("dynamic", 7)).reply_to(A) == "dynamic:7"
    assert Ways(itself=Given("10.0.0.9", 7)).own(1) == {"10.0.0.9:7"}
    assert Ways(itself=Given("dynamic"), machine=["127.0.0.1", "[::1]"]).own(1) == {"127.0.0.1:1", "[::1]:1"}
    assert answered_at({"address": "dynamic:7", "name": "x"}, "10.0.0.5") == {"address": "10.0.0.5:7", "name": "x"}
    assert answered_at({"address": "dynamic:7"}, "::1") == {"address": "[::1]:7"}
    assert answered_at({"address": A}, "10.0.0.5") == {"address": A}


def test_reply_ip(world: World, a: Node) -> None:
    """Others know the node by what was set, at once; `dynamic` is where it comes from; and reset is as before."""
    b = world.nodes["b"]

    def known() -> set[str]:
        world.advance(1)
        return {str(carrier.hello["address"]) for carrier in b.peers.carriers}

    world.run(a, f"run client ({B}) get status")
    assert known() == {A} and world.run(a, "get reply ip").text == A
    world.run(a, "set reply ip = 10.9.9.9")
    assert known() == {"10.9.9.9:32148"} and world.run(a, "get reply ip").text == "10.9.9.9:32148"
    told = world.run(a, "get connections")
    assert told.data["reply"] == "10.9.9.9" and "Reply Address|" in told.text
    world.run(a, "set reply ip = dynamic")
    assert known() == {A}
    assert world.run(b, f"run client ({A}) get node name").data == {A: f"a@{A}"}
    world.run(a, "where = 10.9.9.8", "set reply ip and port = !where:7850")
    assert known() == {"10.9.9.8:7850"}
    world.run(a, "reset reply ip")
    assert known() == {A} and "Reply Address" not in world.run(a, "get connections").text
    world.run(a, "exit tcp")
    assert world.run(a, "get reply ip").text == "Not declared"


def test_self_ip(world: World, a: Node) -> None:
    """What is asked at that address stays in the node; also if it listens only later, and no more after reset."""
    assert refused(world, a, "run client (10.0.0.9:32148) get node name").number == 208
    world.run(a, "set self ip = 10.0.0.9")
    assert world.run(a, "run client (10.0.0.9:32148) get node name").data == {"10.0.0.9:32148": f"a@{A}"}
    assert world.run(a, "get connections where format = json").data["self"] == "10.0.0.9"
    world.run(a, "reset self ip", "exit tcp", "set self ip and port = 10.0.0.9:7850")
    assert "10.0.0.9:7850" not in a.peers.own
    world.run(a, "run tcp server where internal_ip = 10.0.0.1 and internal_port = 32148")
    assert {"10.0.0.9:7850", A} <= a.peers.own
    world.run(a, "set self ip = dynamic")
    assert "10.0.0.9:7850" not in a.peers.own and "127.0.0.1:32148" in a.peers.own
    world.run(a, "reset self ip")
    assert a.peers.own == {A, "127.0.0.1:32148"}


def test_interfaces(world: World, a: Node) -> None:
    """Those of this machine; one of them gives `!ip`, and one that is not there changes nothing."""
    known = psutil.net_if_addrs()
    rows = world.run(a, "get nics list").data
    assert {row["Name"] for row in rows} == set(known) and list(rows[0]) == ["Name", "IP", "Speed", "Is Up"]
    listed = world.run(a, "get ip list")
    assert {"Family": "IPv4", "Interface": "lo", "Address": "127.0.0.1"} in listed.data
    assert listed.text.split("\r\n")[1].split() == ["Family", "Interface", "Address"]
    for words in ("with lo", "with nic lo"):
        world.run(a, f"set internal ip {words}")
        assert world.run(a, "!ip").text == "127.0.0.1"
    for words, number in (("with nosuch0", 40), ("from lo", 2), ("with the lo", 2)):
        assert refused(world, a, f"set internal ip {words}").number == number
    assert world.run(a, "!ip").text == "127.0.0.1"
    world.run(a, "set internal ip with default")
    assert world.run(a, "!ip").text == "10.0.0.1"


def test_names(world: World, a: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of an address, of this node's if none is given; ports are left aside; a missing one is an error."""

    def known(ip: str) -> tuple[str, list[str], list[str]]:
        names = {"10.0.0.1": "a.example", "::1": "six.example"}
        if ip not in names:
            raise socket.herror(1, "Unknown host")
        return names[ip], [], []

    monkeypatch.setattr(socket, "gethostbyaddr", known)
    assert world.run(a, "get dns name").text == "a.example"
    assert world.run(a, f"get dns name where ip = {A}").text == "a.example"
    for ip in ("::1", "[::1]:80"):
        assert world.run(a, f'get dns name where ip = "{ip}"').text == "six.example"
    error = refused(world, a, "get dns name where ip = 10.7.7.7")
    assert error.number == 15 and "10.7.7.7" in str(error)


def test_machine_connections(world: World, a: Node) -> None:
    """A socket that is really open is among them, alone if its port is asked for."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        opened.listen()
        port = opened.getsockname()[1]
        (row,) = world.run(a, f"get machine connections where port = {port} and format = json").data
        assert (row["Local Address"], row["Status"], row["Type"]) == (f"127.0.0.1:{port}", "LISTEN", "TCP")
        assert row in world.run(a, "get machine connections").data
    assert world.run(a, f"get machine connections where port = {port}").data == []


def test_unused_ports(world: World, a: Node) -> None:
    """The port of the type, or the next of its kind that nobody listens on; never one of another type."""
    for command, port in [
        ("tcp port for query", 32348),
        ("tcp port for operator", 32158),  # the node itself listens on 32148
        ("rest port for operator", 32149),
        ("msg port for generic", 32550),
    ]:
        told = world.run(a, f"get unused {command}")
        assert (told.text, told.data) == (str(port), port)
    world.run(a, "run rest server 10.0.0.1 32149", "p = get unused rest port for operator")
    assert world.run(a, "!p").text == "32159"
    for port in range(32248, 32348, 10):
        world.wait(a.net.listen(f"tcp:{port}", Factory()))
    assert world.run(a, "get unused tcp port for publisher").data == 32358  # 32348 is that of a query node
    for words in ("of operator", "for shed"):
        assert refused(world, a, f"get unused tcp port {words}").number == 2


def test_send_pool(world: World, a: Node) -> None:
    """With a limit nodes are asked one after the other, all are asked, and it can be taken away."""
    assert world.run(a, "get send pool").text == "Send Pool without a limit"
    for number in range(3, 6):
        node = world.add(f"n{number}", f"10.0.0.{number}")
        world.run(node, f"run tcp server where internal_ip = 10.0.0.{number} and internal_port = 32148")
    others = [f"10.0.0.{number}:32148" for number in range(2, 6)]
    asking = f"run client ({', '.join(others)}) get node name"
    world.run(a, "set send pool 1")
    most = 0
    waited = world.begin(a, asking)
    while not waited.called:
        most = max(most, len(a.peers._dials))
        world.step(world.clock.seconds() + 0.001)
    assert list(world.wait(waited).data) == others and most == 1
    world.run(a, "set send pool off")
    for wrong in ("0", "1001", "many"):
        assert refused(world, a, f"set send pool {wrong}").number == 175
    assert list(world.run(a, asking).data) == others


def test_system_threads(world: World, a: Node) -> None:
    """Every pool, whether it is there or not; or one, with what it tells of itself."""
    text = world.run(a, "get system threads").text
    assert "TCP Pool with 6 threads" in text and "REST Pool is not declared" in text and "Query Pool" in text
    assert "Operator Pool" in text and "Message Pool is not declared" in text
    details = world.run(a, "get system threads where pool = tcp and with_details = true and reset = true").text
    assert "connections that came" in details and "REST" not in details
    assert refused(world, a, "get system threads where pool = swimming").number == 175


def test_ping(world: World, a: Node) -> None:
    """Nodes that did not answer are asked again; one that is back is known to be so, the other stays as it is."""
    for address in (B, "10.0.0.9:32148"):
        a.peers.doubt(address, "for the test")
    told = world.run(a, "set servers ping")
    assert told.text == f"2 nodes did not respond, 1 of them answer now: {B}"
    assert told.data == {B: True, "10.0.0.9:32148": False}
    states = {state.address: state.active for state in a.peers.states()}
    assert states[B] and not states["10.0.0.9:32148"]
    assert world.run(a, "set servers ping").text == "1 nodes did not respond, 0 of them answer now"


def policies(world: World, node: Node, *told: str) -> None:
    for each in told:
        world.run(node, f"blockchain insert where policy = {each} and local = true")


def test_slow_names(world: World, a: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits longer than 5 seconds; what nobody waits for is not looked for, and only so many may ask."""
    looked: list[str] = []

    def slow(ip: str) -> tuple[str, list[str], list[str]]:
        looked.append(ip)
        return "late.example", [], []

    monkeypatch.setattr(socket, "gethostbyaddr", slow)
    lanes: Any = a.lanes
    lanes._lanes["names"] = ClockLane(a.clock, 4.0)
    asked = [world.begin(a, f"get dns name where ip = 10.0.0.{number}") for number in range(21)]
    outcome: list[object] = []
    for each in asked:
        each.addBoth(outcome.append)
    world.advance(100)
    errors = [each.value.number for each in outcome if isinstance(each, Failure)]
    assert (sorted(errors), looked) == ([26] * 19 + [502], ["10.0.0.0"])


@pytest.fixture
def tables(world: World, a: Node) -> Node:
    """`b` is an operator and has a table, as the ledger that both know says."""
    b = world.nodes["b"]
    world.run(b, "connect dbms town where type = sqlite and memory = true")
    table = '{"table": {"name": "weather", "dbms": "town", "create": "create table weather (celsius DECIMAL);"}}'
    policies(world, b, table)
    world.run(b, 'stream {"celsius": 7.5} where dbms = town and table = weather')
    world.advance(2)
    cluster = '{"cluster": {"id": "c1", "name": "c", "company": "x", "table": [{"dbms": "town", "name": "weather"}]}}'
    operator = (
        '{"operator": {"id": "o1", "name": "b", "company": "x", "cluster": "c1", "ip": "10.0.0.2", "port": 32148,'
        ' "local_ip": "10.1.1.2", "local_port": 7}}'
    )
    policies(world, a, cluster, operator, table)
    return a


def test_tables_compared(world: World, a: Node, tables: Node) -> None:
    """The same here and there is `Passed`; a column more, a type, a table that is missing is told; so is silence."""
    b = world.nodes["b"]
    assert world.run(b, "test table weather where dbms = town").text == "Passed"
    both = ("test network table weather where dbms = town", "test network table where name = weather and dbms = town")
    for command in both:
        told = world.run(a, command)
        assert told.data == [{"Table": "weather", "Operator": "b", "IP:Port": B, "Status": "Passed"}]
    assert told.text.startswith("Network status for DBMS: 'town' Table 'weather'\r\nOperator IP:Port")
    policies(world, a, '{"column": {"dbms": "town", "table": "weather", "name": "wind", "type": "INT"}}')
    (row,) = world.run(a, "test network table * where dbms = town").data
    assert row["Status"] == "missing: wind"
    policies(world, b, '{"column": {"dbms": "town", "table": "weather", "name": "rain", "type": "INT"}}')
    policies(world, b, '{"table": {"name": "snow", "dbms": "town", "create": "create table snow (cm INT);"}}')
    rows = world.run(b, "test table * where dbms = town").data
    assert rows == [{"Table": "snow", "Status": "not on this node"}, {"Table": "weather", "Status": "missing: rain"}]
    world.run(b, "exit tcp")
    world.network.kill("10.0.0.2")
    (row,) = world.run(a, "test network table * where dbms = town").data
    assert row["Status"] == "No reply from node"


def test_difference() -> None:
    """Types in any letter case; a column of another type is told with both."""
    assert difference({"a": "INT"}, {"a": "int"}) == "Passed"
    told = difference({"a": "INT", "b": "BIGINT", "c": "UUID"}, {"b": "FLOAT", "c": "UUID", "d": "INT"})
    assert told == "missing: a; not in the ledger: d; b is FLOAT, in the ledger BIGINT"


@pytest.mark.parametrize(
    ("command", "number"),
    [
        ("test network table where dbms = town", 2),
        ("test network table weather where name = weather and dbms = town", 2),
        ("test network table nothing where dbms = town", 132),
        ("test network table * where dbms = village", 132),
        ("test table weather where dbms = town", 5),
    ],
)
def test_no_such_table(world: World, a: Node, tables: Node, command: str, number: int) -> None:
    """Named wrong, by its number."""
    assert refused(world, a, command).number == number


def test_two_addresses(world: World, a: Node, tables: Node) -> None:
    """A node is found by either of its two addresses, and asked by the one that this node takes."""
    for address in (B, "10.1.1.2:7"):
        (row,) = world.run(a, f"test network with {address}").data
        assert (row["Address"], row["Status"]) == (B, "+")


def no_name(ip: str) -> str:
    raise AnyLogError(15, f"{ip}: Unknown host")


@pytest.mark.parametrize(
    ("ip", "look", "expected"),
    [
        ("10.0.0.1", lambda ip: f"host-{ip}.example", "host-10.0.0.1.example"),
        ("10.0.0.1", lambda ip: ip, ""),
        ("10.0.0.1", lambda ip: "localhost", ""),
        ("127.0.0.1", lambda ip: "localhost.example", ""),
        ("10.0.0.1", no_name, ""),
    ],
)
def test_name_of_an_address(world: World, a: Node, ip: str, look: Any, expected: str) -> None:
    """It is taken if others can use it; there is no fault without one."""
    named = usable_name(ip, a.clock, a.lanes.open("names"), look)
    assert world.wait(Deferred.fromCoroutine(named)) == expected


def test_no_name_service(world: World, a: Node) -> None:
    """It is not waited for longer than a moment."""
    begin = world.clock.seconds()
    named = usable_name("10.0.0.1", a.clock, ClockLane(a.clock, 60.0), lambda ip: "late.example")
    assert world.wait(Deferred.fromCoroutine(named)) == ""
    assert world.clock.seconds() - begin == NAMING
    world.advance(60.0)  # it comes, and nobody minds


def test_known_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """`dns` and `external_dns` are there for the first command, unless there is no name, or nobody to ask."""
    for look, expected in [(lambda ip: "roof.example", "roof.example"), (no_name, None), (None, None)]:
        made = World(7)
        monkeypatch.setattr(Node, "__init__", partialmethod(Node.__init__, name_of=look))
        node = made.add("a", "10.0.0.1")
        monkeypatch.undo()
        assert (node.dictionary.get("dns"), node.dictionary.get("external_dns")) == (expected, expected)
        made.stop()
