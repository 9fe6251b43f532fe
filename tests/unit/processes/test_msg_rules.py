"""Rules for events of text: which one is taken, one record for what comes together, and what is dropped is counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from anylog.errors import AnyLogError
from anylog.language.logs import Logs
from anylog.processes.msg_rules import MsgRules, Rule, Told
from anylog.tank import Tank


class Desk:
    """Rules, and somebody who keeps rows as a test says."""

    def __init__(self, **more: Any) -> None:
        self.clock = Clock()
        self.clock.advance(1_790_000_000)
        self.kept: list[tuple[str, str, list[dict[str, Any]]]] = []
        self.told: list[Told] = []
        self.declared: dict[tuple[str, str], Mapping[str, str]] = {}
        self.answers: list[Deferred[int]] = []  # of those that are asked next
        self.logs = Logs(self.clock)
        self.rules = MsgRules(
            clock=self.clock,
            keep=self.keep,
            declare=lambda dbms, table, columns: self.declared.__setitem__((dbms, table), columns),
            local=self.local,
            logs=self.logs,
            **more,
        )

    def keep(self, dbms: str, table: str, rows: Sequence[Mapping[str, Any]], keyed: Any = (), **more: Any) -> Any:
        self.kept.append((dbms, table, [dict(row) for row in rows]))
        return self.answers.pop(0) if self.answers else succeed(len(rows))

    def local(self, messages: Sequence[Told]) -> Deferred[None]:
        self.told += messages
        return succeed(None)

    def rule(self, name: str, **more: Any) -> Rule:
        made = Rule(name=name, **{"dbms": "d", "table": name, **more})
        self.rules.add(made)
        return made

    def errors(self) -> list[str]:
        return [row["Text"] for row in self.logs.error.rows()]


def test_the_most_specific_rule() -> None:
    """The more it asks for the earlier it is tried; ip before port before header, longer headers first."""
    desk = Desk()
    asks = {
        "all": {"ip": "1.1.1.1", "port": 5, "header": "h "},
        "ip_port": {"ip": "1.1.1.1", "port": 5},
        "ip_header": {"ip": "1.1.1.1", "header": "h "},
        "port_header": {"port": 5, "header": "h "},
        "ip": {"ip": "1.1.1.1"},
        "port": {"port": 5},
        "long": {"header": "h more"},
        "short": {"header": "h "},
    }
    for name in sorted(asks):
        desk.rule(name, **asks[name])
    assert [rule.name for rule in desk.rules] == list(asks)
    for name in asks:
        desk.rules.open("1.1.1.1", 5).take([b"h more"])
        desk.clock.advance(1)
        assert desk.kept[-1][1] == name
        desk.rules.remove(name)
    assert not desk.rules.wants("1.1.1.1", 5)


def test_events_of_a_moment_share_a_record() -> None:
    """From several senders; each rule knows how many were its."""
    desk = Desk()
    rule = desk.rule("t", port=5, extend=True)
    one, other = desk.rules.open("1.1.1.1", 5), desk.rules.open("2.2.2.2", 5)
    one.take([b"a", b'{"v": 1}'])
    other.take([b"b"])
    assert desk.kept == []
    desk.clock.advance(1)
    ((dbms, table, rows),) = desk.kept
    assert (dbms, table) == ("d", "t")
    assert [row.get("message", row.get("v")) for row in rows] == ["a", 1, "b"]
    assert [row["source_ip"] for row in rows] == ["1.1.1.1", "1.1.1.1", "2.2.2.2"]
    assert (rule.counted.messages, rule.counted.success) == (3, 3)
    assert desk.declared[("d", "t")] == {"timestamp": "TIMESTAMP", "message": "VARCHAR", "source_ip": "VARCHAR"}


def test_full() -> None:
    """Who can be held is held and loses nothing; of datagrams those are dropped that find no room, and counted."""
    desk = Desk(tank=Tank(1000, 2000))
    desk.rule("t", port=5)
    waiting: Deferred[int] = Deferred()
    desk.answers = [waiting]
    held: list[bool] = []
    line, datagrams = desk.rules.open("1.1.1.1", 5, held.append), desk.rules.open("1.1.1.2", 5)
    line.take([b"x" * 900, b"x" * 900])
    assert held == [True]
    desk.clock.advance(1)
    datagrams.take([b"lost", b"too"])
    late = []
    desk.rules.open("1.1.1.3", 5, late.append)
    assert late == [True]
    assert desk.rules.counts["dropped: no room"] == 2
    waiting.callback(2)
    assert held == [True, False] and desk.rules.tank.held == 0
    datagrams.take([b"now"])
    desk.clock.advance(1)
    assert [row["message"] for row in desk.kept[-1][2]] == ["now"]


def test_no_room_is_waited_for() -> None:
    """What finds the journal full is tried again; what fails for another reason is dropped, counted and told."""
    desk = Desk()
    rule = desk.rule("t", port=5)
    desk.answers = [fail(AnyLogError(502)), fail(AnyLogError(503)), succeed(1), fail(AnyLogError(5, "no database d"))]
    source = desk.rules.open("1.1.1.1", 5)
    source.take([b"a"])
    desk.clock.pump([0.1] * 100)
    assert (len(desk.kept), rule.counted.success) == (3, 1)
    source.take([b"b"])
    desk.clock.pump([0.1] * 10)
    assert desk.rules.counts["dropped: could not be kept"] == 1
    assert rule.counted.errors == 1 and "no database d" in desk.errors()[0]
    noted = [(row["Type"], row["Text"], row["Thread"]) for row in desk.logs.msg.rows()]
    assert noted == [("Message", "(OK) d.t", "msg rule t"), ("Error", desk.errors()[0], "msg rule t")]
    assert desk.rules.tank.held == 0


@pytest.mark.parametrize("ending", ["settle", "stop"])
def test_the_end(ending: str) -> None:
    """Settled is what was kept; nothing is taken after a stop, which does not wait for room."""
    desk = Desk()
    desk.rule("t", port=5)
    waiting: Deferred[int] = Deferred()
    desk.answers = [waiting]
    source = desk.rules.open("1.1.1.1", 5)
    source.take([b"a"])
    over: list[object] = []
    getattr(desk.rules, ending)().addCallback(over.append)
    assert len(desk.kept) == 1 and not over
    if ending == "stop":
        waiting.errback(AnyLogError(502))
        source.take([b"b"])
        assert desk.rules.counts["dropped: stopping"] == 1
        assert desk.rules.counts["dropped: could not be kept"] == 1
    else:
        waiting.callback(1)
    assert over == [None]


def test_what_is_not_understood() -> None:
    """It is counted with its rule and in the error log; what no rule fits is counted."""
    desk = Desk()
    rule = desk.rule("t", header="j ")
    desk.rule("w", header="w ", structure=True)
    source = desk.rules.open("1.1.1.1", 5)
    source.take([b"j {broken", b"j {}", b"nobody", b"w a a", b"\xff", b'j {"v": 1}'])
    desk.clock.advance(1)
    assert desk.rules.counts["dropped: not understood"] == 3
    assert desk.rules.counts["dropped: no rule fits"] == 2
    assert (rule.counted.messages, rule.counted.errors, len(desk.errors())) == (3, 2, 3)
    assert [rows for _, _, rows in desk.kept] == [[{"v": 1}]]


def test_a_topic() -> None:
    """Rows go to subscribers as JSON."""
    desk = Desk()
    desk.rule("t", port=5, topic="a/b", syslog=True)
    desk.rules.open("1.1.1.1", 5).take([b"<13>Nov 20 10:00:00 h t: x"])
    desk.clock.advance(1)
    assert desk.kept == [] and desk.told[0].topic == "a/b" and b'"tag":"t"' in desk.told[0].payload


def test_columns_of_all_rules_for_a_table() -> None:
    """A table is made with the columns of all rules that are for it, whosever events come first."""
    desk = Desk()
    desk.rule("plain", port=5, table="t", syslog=True)
    desk.rule("named", ip="1.1.1.1", table="t", syslog=True, extend=True)
    desk.rule("other", ip="2.2.2.2", table="u", syslog=True, ietf=True)
    sender = desk.rules.open("9.9.9.9", 5, None)
    sender.take([b"<13>a"])
    desk.clock.advance(1)
    assert desk.declared == {
        ("d", "t"): {
            "priority": "INT", "timestamp": "TIMESTAMP", "hostname": "VARCHAR", "tag": "VARCHAR", "message": "VARCHAR",
            "source_ip": "VARCHAR",
        }
    }  # fmt: skip
    desk.rule("ietf", ip="3.3.3.3", table="t", syslog=True, ietf=True)
    sender.take([b"<13>a"])
    desk.clock.advance(1)
    assert desk.declared["d", "t"]["structured_data"] == "VARCHAR"


def test_a_fault_of_ours_is_counted() -> None:
    """Events that are lost by a mistake in this program are counted as dropped, too."""
    desk = Desk()
    rule = desk.rule("t", port=5)
    desk.answers.append(fail(RuntimeError("a mistake")))
    desk.rules.open("9.9.9.9", 5, None).take([b"one", b"two"])
    desk.clock.advance(1)
    assert dict(desk.rules.counts)["dropped: could not be kept"] == 2 and rule.counted.errors == 2
    assert "2 events were dropped" in desk.errors()[0]
