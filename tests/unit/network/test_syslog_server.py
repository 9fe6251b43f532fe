"""The syslog server without sockets: how it stops, and what it asks of its connections."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import fail
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from anylog.errors import AnyLogError
from anylog.language.logs import Logs
from anylog.network.southbound.syslog import SETTLE, Line, Syslog
from anylog.processes.msg_rules import MsgRules


class Wire(StringTransport):
    """A connection that knows whether it is asked for signs of life."""

    alive = False

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self.alive = enabled


def server(keep: Any) -> tuple[Clock, Syslog]:
    clock: Any = Clock()
    rules = MsgRules(
        clock=clock, keep=keep, declare=lambda *args: None, local=lambda messages: keep(), logs=Logs(clock)
    )
    place = {"dbms": "d", "table": "t", "ietf": False}
    return clock, Syslog(
        net=None,
        clock=clock,
        rules=rules,
        ip="",
        port=514,
        protocols=("tcp",),
        otherwise=place,  # type: ignore[arg-type]
    )


def test_it_stops_though_there_is_no_room() -> None:
    """Who ends it has an answer after a while; the events are not given up."""
    asked: list[int] = []

    def full(*args: Any, **more: Any) -> Any:
        asked.append(1)
        return fail(AnyLogError(503, "full"))

    clock, made = server(full)
    line, wire = Line(made), Wire()
    line.makeConnection(wire)
    line.dataReceived(b"<13>Nov 21 10:00:00 h t: x\n")
    clock.advance(1)
    ended: list[Any] = []
    made.stop().addBoth(ended.append)
    clock.pump([0.1] * 10)
    assert not ended and wire.disconnecting
    clock.pump([0.5] * int(SETTLE * 2))
    tried = len(asked)
    clock.pump([1.0] * 5)
    assert ended == [None] and len(asked) > tried


def test_who_is_gone_without_a_word() -> None:
    """Connections are asked for signs of life by the system: a sender may be silent for days."""
    line, wire = Line(server(lambda *args: fail(AnyLogError(503, "full")))[1]), Wire()
    line.makeConnection(wire)
    assert wire.alive
