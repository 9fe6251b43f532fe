"""The listener for other nodes, and its commands (network.md 4)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from town_of_peers import PORT, Town, at
from twisted.internet.defer import Deferred

from anylog.errors import AnyLogError
from anylog.interfaces import Reply
from anylog.language.command import Command
from anylog.language.context import Context
from anylog.network import tcp_commands
from anylog.network.tcp import TcpOptions, TcpServer
from anylog.process import Processes


class Desk:
    """A node that is no more than these commands need, in a town of peers."""

    def __init__(self) -> None:
        self.town = Town()
        self.peers = self.town.add("10.0.0.1", listens=False)
        clock: Any = self.town.clock
        self.node: Any = SimpleNamespace(
            peers=self.peers, net=self.town.network.net("10.0.0.1"), clock=clock, processes=Processes(clock)
        )

    def do(self, command: type[Command], *operands: str, **pairs: str) -> Any:
        """Run it as it would be asked."""
        options = command.read(operands, pairs.items())
        return self.town.wait(Deferred.fromCoroutine(command().run(self.node, Context(), operands, **options)))

    def refused(self, command: type[Command], *operands: str, **pairs: str) -> AnyLogError:
        """Run what is refused."""
        with pytest.raises(AnyLogError) as refused:
            self.do(command, *operands, **pairs)
        return refused.value

    @property
    def server(self) -> TcpServer:
        found = self.node.processes.find("tcp")
        assert isinstance(found, TcpServer)
        return found


FORMS: list[tuple[tuple[str, ...], dict[str, str], tuple[str, str, str], str]] = [
    # operands, options; addresses (external, internal, bound), details
    (
        ("10.0.0.1", "7850"),
        {},
        ("10.0.0.1:7850", "10.0.0.1:7850", "0.0.0.0:7850"),
        "Listening on: 10.0.0.1:7850, Threads Pool: 6",
    ),
    (
        ("1.2.3.4", "7850", "10.0.0.1", "7851", "8"),
        {},
        ("1.2.3.4:7850", "10.0.0.1:7851", "0.0.0.0:7851"),
        "Listening on: 1.2.3.4:7850 and 10.0.0.1:7851, Threads Pool: 8",
    ),
    (
        ("1.2.3.4", "7850", "3"),
        {},
        ("1.2.3.4:7850", "1.2.3.4:7850", "0.0.0.0:7850"),
        "Listening on: 1.2.3.4:7850, Threads Pool: 3",
    ),
    (
        (),
        {"external_ip": "1.2.3.4", "external_port": "7850", "internal_ip": "10.0.0.1", "internal_port": "7851",
         "bind": "true", "threads": "1"},
        ("1.2.3.4:7850", "10.0.0.1:7851", "10.0.0.1:7851"),
        "Listening on: 1.2.3.4:7850 and 10.0.0.1:7851, Threads Pool: 1",
    ),
    (
        (),
        {"internal_ip": "10.0.0.1", "internal_port": "7851", "workers": "2"},
        ("10.0.0.1:7851", "10.0.0.1:7851", "0.0.0.0:7851"),
        "Listening on: 10.0.0.1:7851, Threads Pool: 2",
    ),
    (
        (),
        {"external_ip": "10.0.0.1", "external_port": "7850", "bind": "true"},
        ("10.0.0.1:7850",) * 3,
        "Listening on: 10.0.0.1:7850, Threads Pool: 6",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("operands", "pairs", "addresses", "details"), FORMS, ids=range(len(FORMS)))
def test_forms(operands: tuple[str, ...], pairs: dict[str, str], addresses: tuple[str, str, str], details: str) -> None:
    """Both forms; one pair is enough; without bind all interfaces are listened on."""
    desk = Desk()
    desk.do(tcp_commands.RunTcpServer, *operands, **pairs)
    assert desk.server.addresses() == addresses
    assert desk.server.describe() == details
    assert set(addresses[:2]) <= desk.peers.own
    port = int(addresses[2].rpartition(":")[2])
    other = desk.town.add("10.0.0.2")
    assert desk.town.wait(other.ask(f"10.0.0.1:{port}", "echo", {})).head["host"] == "10.0.0.1"
    bound = pairs.get("bind") == "true"
    assert (f"127.0.0.1:{port}" in desk.peers.own) is not bound


@pytest.mark.parametrize(
    ("operands", "pairs", "number", "culprit"),
    [
        ((), {}, 2, "an address and a port are missing"),
        (("10.0.0.1",), {}, 2, "an address and a port are missing"),
        ((), {"external_port": "7850"}, 2, "an address and a port are missing"),
        (("10.0.0.1", "http"), {}, 221, "http"),
        (("10.0.0.1", "70000"), {}, 221, "70000"),
        (("10.0.0.1", "-1"), {}, 221, "-1"),
        ((), {"external_ip": "10.0.0.1", "external_port": "x"}, 221, "x"),
        (("10.0.0.1", "7850", "many"), {}, 175, "many"),
        (("10.0.0.1", "7850", "0"), {}, 175, "0"),
        (("10.0.0.1", "7850"), {"external_ip": "10.0.0.2"}, 2, "external_ip"),
        (("10.0.0.1", "7850", "a", "1", "2", "3"), {}, 2, "3"),
        (("10.9.9.9", "7850"), {"bind": "true"}, 3, "10.9.9.9:7850"),
        ((), {"external_ip": "1.2.3.4", "external_port": "1", "colour": "red"}, 2, "colour"),
    ],
)
def test_refused(operands: tuple[str, ...], pairs: dict[str, str], number: int, culprit: str) -> None:
    """Each with its number, naming what is wrong; nothing is listened on."""
    desk = Desk()
    error = desk.refused(tcp_commands.RunTcpServer, *operands, **pairs)
    assert (error.number, culprit in str(error)) == (number, True), error
    assert desk.peers.own == set()
    assert desk.node.processes.find("tcp") is None


def test_one_only() -> None:
    """A second one is refused with 136; a port that is taken with 3 and what the system says."""
    desk = Desk()
    desk.do(tcp_commands.RunTcpServer, "10.0.0.1", "7850")
    assert desk.refused(tcp_commands.RunTcpServer, "10.0.0.1", "7851").number == 136
    clock: Any = desk.town.clock
    second = TcpServer(
        peers=desk.peers,
        net=desk.node.net,
        clock=clock,
        options=TcpOptions(external_ip="10.0.0.1", external_port=7850),
    )
    error = desk.town.fails(second.start())
    assert (error.number, "10.0.0.1:7850" in str(error), "in use" in str(error)) == (3, True, True)
    free = TcpServer(
        peers=desk.peers, net=desk.node.net, clock=clock, options=TcpOptions(internal_ip="10.0.0.1", bind=True)
    )
    desk.town.wait(free.start())
    assert free.addresses()[0] == f"10.0.0.1:{free.port}"
    assert free.port > 40_000


def test_exit() -> None:
    """New connections are refused at once, idle ones close, what runs has five seconds."""
    desk = Desk()
    town = desk.town
    desk.do(tcp_commands.RunTcpServer, "10.0.0.1", str(PORT))
    idle, busy, stuck = (town.add(f"10.0.0.{n}") for n in (2, 3, 4))
    running: list[Deferred[Any]] = []
    town.answers["command"] = lambda head: running.append(Deferred()) or running[-1]  # type: ignore[func-returns-value]
    town.wait(idle.ask(at("10.0.0.1"), "echo", {}))
    first = busy.ask(at("10.0.0.1"), "command", {})
    town.advance(0.1)
    second = stuck.ask(at("10.0.0.1"), "command", {})
    town.advance(0.1)
    assert len(running) == 2
    begin = town.clock.seconds()
    stopped = Deferred.fromCoroutine(desk.node.processes.exit("tcp"))
    town.advance(0.5)
    assert idle.carriers == {}
    running[0].callback(Reply(head={"done": 1}))
    assert town.wait(first).head == {"done": 1}
    assert town.fails(second).number == 15
    assert town.wait(stopped) is True
    assert 4.9 < town.clock.seconds() - begin < 5.5
    town.advance(1)
    assert (desk.peers.carriers, desk.peers.own) == ({}, set())
    assert town.fails(idle.ask(at("10.0.0.1"), "echo", {})).number == 208
    assert town.wait(desk.peers.ask(at("10.0.0.2"), "echo", {})).head["host"] == "10.0.0.2", "it still may ask"
    desk.do(tcp_commands.RunTcpServer, "10.0.0.1", str(PORT))
    town.advance(12)
    assert town.wait(idle.ask(at("10.0.0.1"), "echo", {})).head["host"] == "10.0.0.1"


def test_peers_learn_the_address() -> None:
    """A node that listens later than it connects is asked on the connection that is there."""
    desk = Desk()
    desk.peers._hello = lambda: {"name": "n", "address": next(iter(sorted(desk.peers.own)), "")}
    other = desk.town.add("10.0.0.2")
    desk.town.wait(desk.peers.ask(at("10.0.0.2"), "echo", {}))
    assert other.states() == []
    desk.do(tcp_commands.RunTcpServer, "10.0.0.1", str(PORT))
    desk.town.advance(0.1)
    assert [state.address for state in other.states()] == [at("10.0.0.1")]
    assert desk.town.wait(other.ask(at("10.0.0.1"), "echo", {})).head["host"] == "10.0.0.1"
    assert len(desk.town.network.connections) == 1


def test_pool() -> None:
    """How many run of how many, and how many came; with details also what went wrong."""
    desk = Desk()
    assert desk.refused(tcp_commands.GetTcpPool).number == 135
    desk.do(tcp_commands.RunTcpServer, "10.0.0.1", str(PORT))
    text = "TCP Pool with 6 threads:                                    [0, 0, 0, 0, 0, 0] (0)"
    assert desk.do(tcp_commands.GetTcpPool).text == text
    other = desk.town.add("10.0.0.2")
    desk.town.answers["command"] = lambda head: Deferred()
    for _ in range(8):
        other.ask(at("10.0.0.1"), "command", {}).addErrback(lambda failure: None)
    desk.town.advance(0.1)
    shown = desk.do(tcp_commands.GetTcpPool, details="true", reset="true").text
    assert "[1, 1, 1, 1, 1, 1] (8)" in shown
    assert "commands that wait for a thread|     2|" in shown
    assert "connections taken" in shown
    assert desk.do(tcp_commands.GetTcpPool).text.endswith("(0)")


def test_compression() -> None:
    """On at first; off and on again; of the connections that are open, too; never to this machine."""
    desk = Desk()
    assert desk.do(tcp_commands.GetCompression).text == "Node Compression: On"
    other = desk.town.add("10.0.0.2")
    desk.town.wait(desk.peers.ask(at("10.0.0.2"), "echo", {}))
    ends = desk.town.network.connections[0].ends

    def written() -> int:
        before = sum(end.written for end in ends)
        desk.town.wait(desk.peers.ask(at("10.0.0.2"), "echo", {}, b"x" * 100_000))
        return sum(end.written for end in ends) - before

    assert written() < 5_000
    desk.do(tcp_commands.SetCompression, "OFF")
    assert desk.do(tcp_commands.GetCompression).text == "Node Compression: Off"
    assert written() > 100_000
    desk.do(tcp_commands.SetCompression, "on")
    assert written() < 5_000
    assert desk.refused(tcp_commands.SetCompression, "maybe").number == 175
    assert other.squeeze


def test_members() -> None:
    """Address, status, time; the node itself while it listens."""
    desk = Desk()
    desk.do(tcp_commands.RunTcpServer, "10.0.0.1", str(PORT))
    desk.town.add("10.0.0.2")
    desk.town.wait(desk.peers.ask(at("10.0.0.2"), "echo", {}))
    desk.town.fails(desk.peers.ask(at("10.0.0.3"), "echo", {}))
    shown = desk.do(tcp_commands.GetMembersStatus)
    assert [(row["Address"], row["Status"]) for row in shown.data] == [
        (at("10.0.0.1"), "active"), (at("10.0.0.2"), "active"), (at("10.0.0.3"), "not responding"),
    ]  # fmt: skip
    lines = shown.text.split("\r\n")
    assert lines[1] == "      Address        Status         Recorded time               "
    assert lines[2] == "      --------------|--------------|---------------------------|"
    assert lines[3].startswith("      10.0.0.1:32148|active        |2027-01-15T08:00:00.")
    assert lines[3].endswith("Z|")
    assert desk.do(tcp_commands.GetMembersStatus, format="json").format == "json"
