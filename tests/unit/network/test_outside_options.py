"""What a client of a broker elsewhere is made of its options, how it says how it stands, and what it remembers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from anylog.disk.places import Places
from anylog.errors import AnyLogError
from anylog.interfaces import Outside
from anylog.network import outside_memory
from anylog.network.outside import CONNECTED, CONNECTING, WAITING
from anylog.network.outside_access import Debug, Tls
from anylog.network.outside_client import OutsideClient, OutsideClients
from anylog.network.outside_memory import Exchanges
from anylog.testing.disk import MemoryDisk
from anylog.testing.lanes import InlineLane

REACH = {"version": "3.1.1", "tls_ca": "", "tls_cert": "", "tls_key": "", "tls_insecure": False}


class Silent:
    """A network in which nobody answers."""

    def connect(self, endpoint: str, factory: Any) -> Deferred[Any]:
        return Deferred()


def make(**more: Any) -> OutsideClient:
    clock = Clock()
    clock.advance(1_795_000_000)
    makes = OutsideClients(
        clock=clock, net=Silent(), disk=MemoryDisk(), chance=Random(1), token=os.urandom,  # type: ignore[arg-type]
        lane=lambda name, threads: InlineLane(), places=Places.under(Path("/home")), debug=Debug(),
        home_id=lambda: "0123456789abcdef",
    )  # fmt: skip
    told: dict[str, Any] = {
        "number": 1, "broker": "far.example", "port": None, "user": "unused", "password": "unused", "client_id": "",
        "log": False, "reach": REACH, "clean": False, "keep_alive": 60, "topics": [("a/#", 1), ("b", 0)],
        "deliver": lambda batch: succeed(None),
    }  # fmt: skip
    return makes(Outside(**{**told, **more}))


def test_options() -> None:
    """The place, TLS and version as they are said; a session lasts with QoS 1 and 2, unless it is to be clean."""
    found = make(broker="mqtts://far.example", reach={**REACH, "version": "5", "tls_ca": "ca"}, keep_alive=7)
    access = found.broker.access
    assert (found.host, found.port, access.tls, access.version) == ("far.example", 8883, Tls(ca="ca"), 5)
    assert (access.keep_alive, access.persistent, access.user) == (7, True, "")
    assert found.figures()["Protocol"] == "TLS, MQTT 5"
    assert make(broker="ws://h/x").figures()["Protocol"] == "WebSocket /x, MQTT 3.1.1"
    for more in ({"clean": True}, {"topics": [("a", 0)]}):
        assert make(**more).figures()["Session"] == "ends with the connection"
    for wrong in ({"broker": "no place"}, {"reach": {**REACH, "version": "2"}}, {"reach": {**REACH, "tls_key": "k"}}):
        with pytest.raises(AnyLogError):
            make(**wrong)


def test_names() -> None:
    """The same for the same topics in any order and QoS, another for others; one that is given is taken."""
    name = make().client_id
    assert name.startswith("anylog-01234567-") and len(name) == 23
    assert make(topics=[("b", 2), ("a/#", 2)]).client_id == name
    others = [{"topics": [("b", 1)]}, {"broker": "near.example"}, {"user": "me"}, {"port": 1884}]
    assert len({make(**more).client_id for more in others} | {name}) == 5
    assert make(client_id="mine").client_id == "mine"


def test_how_it_stands() -> None:
    """Connected, with what is refused; else what it does, and why it is not connected."""
    client = make()
    broker = client.broker
    assert client.describe() == "not started" and client.figures()["Connected since"] == ""
    client.start()
    assert client.describe() == CONNECTING
    broker.state, broker.last_error, broker.last_error_at = WAITING, "nobody there", 1_795_000_000
    assert client.describe() == "waiting to connect again: nobody there"
    assert client.figures()["Last connection error time"] == "2026-11-18 11:06:40"
    broker.state, broker.connected_at = CONNECTED, 1_795_000_000
    assert client.describe() == CONNECTED and client.figures()["Connected since"] == "2026-11-18 11:06:40"
    broker.refused["b"] = "Not authorized"
    assert client.describe() == "connected, refused: b (Not authorized)"


class Failing(InlineLane):
    """A lane whose work fails while `faults` are left."""

    faults = 0

    def run(self, work: Callable[..., Any], *args: Any) -> Deferred[Any]:
        if self.faults:
            self.faults -= 1
            return fail(OSError(28, "no space left"))
        return super().run(work, *args)


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written fails by name, and lasts with the next that can; a file that grew is made anew."""
    disk, lane = MemoryDisk(), Failing("x")
    path = Path("/home/outside/x.session")

    def remembered() -> Exchanges:
        found = Exchanges(disk=disk, lane=InlineLane(), path=path, token=os.urandom)
        found.open()
        return found

    memory = Exchanges(disk=disk, lane=lane, path=path, token=os.urandom)
    lane.faults = 1
    wrong: list[Any] = []
    memory.open().addErrback(wrong.append)
    memory.open()
    memory.open()  # it was opened: nothing is read again
    lane.faults = 1
    memory.release([7]).addErrback(wrong.append)
    assert ["x.session" in each.getErrorMessage() and "no space" in each.getErrorMessage() for each in wrong] == [
        True,
        True,
    ]
    memory.release([8])
    again = remembered()
    assert [again.exchange(each) for each in (7, 8, 9)] == [memory.exchange(each) for each in (7, 8, 9)]
    assert len({again.exchange(each).rpartition(".")[2] for each in (7, 8)}) == 1
    monkeypatch.setattr(outside_memory, "LONGEST", 1000)
    sizes = set()
    for _ in range(300):
        memory.release([1, 2, 3])
        sizes.add(len(disk.read(path)))
    assert max(sizes) < 1100 and remembered().exchange(2) == memory.exchange(2) != again.exchange(2)
    memory.close()
    memory.release([1]).addErrback(wrong.append)
    assert "closed" in wrong[-1].getErrorMessage()
