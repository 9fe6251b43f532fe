"""The master's store: uniqueness, commits, what members download (metadata.md 6)."""

from __future__ import annotations

import json
from typing import Any

from registry import NOW, MasterCase, child, cluster, operator, policy, table
from twisted.internet.defer import Deferred
from work import steps

from anylog.errors import AnyLogError
from anylog.interfaces import Asker
from anylog.ledger.lines import version_of
from anylog.ledger.master import Master, Outcome, handlers
from anylog.ledger.policy import Policy


class SlowStore:
    """A database whose statements are held until they are let go."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.held, self.broken = inner, list[tuple[Deferred[Any], str, Any]](), False

    def execute(self, statement: str, parameters: Any = ()) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.held.append((done, statement, parameters))
        return done

    def go(self) -> None:
        done, statement, parameters = self.held.pop(0)
        if self.broken:
            done.errback(AnyLogError(503, "disk full"))
        else:
            self.inner.execute(statement, parameters).chainDeferred(done)


class StoreTests(MasterCase):
    """Push, drop, replace."""

    def push(self, *given: Any, **options: Any) -> list[tuple[int, str]]:
        outcomes = self.successResultOf(self.master.push(given, **options))
        return [(outcome.code, outcome.text) for outcome in outcomes]

    def rows(self, what: str) -> list[tuple[Any, ...]]:
        return self.successResultOf(self.database.execute(f"select {what} from ledger order by sequence_id"))

    def test_push(self) -> None:
        """A policy is in the table with its columns, has an id and a date, is global, and survives a restart."""
        self.assertEqual(
            self.push('{"operator-site": {"name": "n", "company": "Acme"}}', host="10.0.0.7:32148"), [(0, "")]
        )
        ((kind, company, date, host, status, text),) = self.rows(
            "policy_type, company_name, date, host, status, policy"
        )
        self.assertEqual((kind, company, host, status), ("operator-site", "Acme", "10.0.0.7:32148", "active"))
        self.assertEqual(date, "2026-09-21 14:13:20.000000")
        self.assertEqual(Policy.read(text).get("ledger"), "global")
        again = self.elect()
        self.assertEqual(([each.text for each in again.policies], len(again)), ([text], 1))
        self.assertEqual((again.version, again.data), (self.master.version, text.encode() + b"\n"))

    def test_what_members_download_is_what_they_keep(self) -> None:
        """The version of master and member are one when the member has nothing of its own."""
        self.push(policy("a", 5, name="late"), policy("b", 1, name="early"))
        self.successResultOf(self.ledger.take(self.master.data))
        self.assertEqual(self.ledger.version, self.master.version)
        self.assertEqual([each.type for each in self.ledger.policies], ["b", "a"])
        again = self.open()
        self.successResultOf(again.load())
        self.assertEqual(again.version, self.elect().version)

    def test_refused(self) -> None:
        """Each policy for itself: repeats, wrong ones, and what two nodes drew at the same time."""
        one = cluster()
        first, second = operator("a", one.id, 1, member=7), operator("b", one.id, 2, member=7)
        codes = [code for code, _ in self.push(one, first, second, one, {"a": 1}, "{", policy("deleted", id="x"))]
        self.assertEqual(codes, [0, 0, 180, 70, 87, 6, 87])
        self.assertEqual(self.push(one, ignore=True), [(0, "")])
        self.assertEqual(len(self.rows("1")), 2)
        (outcome,) = self.push(operator("b", "nowhere", 2))
        self.assertEqual(outcome[0], 222)
        self.assertIn("nowhere", outcome[1])

    def test_one_message_may_build_on_itself(self) -> None:
        """A table, its child cluster and columns come in one list."""
        one = cluster()
        self.assertEqual(
            [
                code
                for code, _ in self.push(
                    one, table("t"), child(one, "t"), policy("column", 4, dbms="town", table="t", name="x", type="INT")
                )
            ],
            [0, 0, 0, 0],
        )

    def test_drop_and_replace(self) -> None:
        """What is dropped is gone from the table; a policy is replaced under its id alone."""
        self.push(policy("a", id="1", name="x"), policy("a", id="2"), policy("b", id="3"))
        self.assertEqual(self.successResultOf(self.master.drop(["1", "nowhere", "1"])), ["1"])
        self.successResultOf(self.master.replace("2", Policy("a", {"name": "new"})))
        for ident, body, number in [
            ("9", Policy("a", {}), 113),
            ("3", Policy("a", {}), 87),
            ("3", Policy("b", {"id": "4"}), 247),
        ]:
            self.assertEqual(self.refused(self.master.replace(ident, body)).number, number, ident)
        self.assertEqual([each.id for each in self.elect().policies], ["2", "3"])
        self.assertEqual(self.elect().version, self.master.version)
        self.assertEqual(self.told, 3)

    def test_by_host(self) -> None:
        """Policies by the host that sent them, whatever its port."""
        for ident, host in (("1", "10.0.0.1:5"), ("2", "10.0.0.1"), ("3", "10.0.0.11:5")):
            self.push(policy("a", id=ident), host=host)
        self.assertEqual(self.successResultOf(self.master.by_host("10.0.0.1")), ["1", "2"])

    def test_rows_that_hold_no_policy(self) -> None:
        """What somebody wrote into the table by hand stops nothing."""
        self.push(policy("a", id="1"))
        for text in ("rubbish", '{"a":{"id":"1"}}', "{}"):
            self.successResultOf(self.database.execute("insert into ledger (policy) values (?)", (text,)))
        self.assertEqual([each.id for each in self.elect().policies], ["1"])


class SlowTests(MasterCase):
    """While a commit is under way."""

    def setUp(self) -> None:
        super().setUp()
        self.store = SlowStore(self.database)
        self.slow = Master(database=self.store, clock=self.clock, changed=self.count)

    def test_those_that_come_meanwhile_share_one_commit(self) -> None:
        """Answers come after the commit, and nobody downloads what is not committed."""
        waits = [self.slow.push([policy("a", at, name=str(at))]) for at in range(50)]
        self.assertEqual((len(self.store.held), len(self.slow), self.slow.data), (1, 0, b""))
        self.store.go()
        self.assertEqual([wait.called for wait in waits], [True] + [False] * 49)
        self.assertEqual((len(self.slow), self.slow.data.count(b"\n")), (1, 1))
        self.store.go()
        self.assertTrue(all(wait.called for wait in waits))
        self.assertEqual((len(self.slow), self.told, len(self.store.held)), (50, 2, 0))

    def test_a_commit_that_fails(self) -> None:
        """Its policies are not there, may be pushed again, and a repeat was not told that they are."""
        first = self.slow.push([policy("a", id="1")])
        repeat = self.slow.push([policy("a", id="1")], ignore=True)
        self.assertNoResult(repeat)
        self.store.broken = True
        self.store.go()
        self.assertEqual((self.refused(first).number, self.told), (30, 0))
        self.assertEqual([each.code for each in self.successResultOf(repeat)], [30])
        self.store.broken = False
        again = self.slow.push([policy("a", id="1")])
        self.store.go()
        self.assertEqual(self.successResultOf(again), [Outcome("1")])

    def test_who_asked_is_gone(self) -> None:
        """A push that is given up is stored all the same, in the table and in memory."""
        pushed = self.slow.push([policy("a", id="1")])
        pushed.addErrback(lambda failure: None)
        pushed.cancel()
        self.store.go()
        self.assertEqual((len(self.slow), self.slow.version), (1, version_of(self.slow.data)))
        self.assertEqual(self.elect().version, self.slow.version)

    def test_order(self) -> None:
        """A drop that comes after a push finds what was pushed."""
        first, second = self.slow.push([policy("a", id="1")]), self.slow.push([policy("a", id="2")])
        dropped = self.slow.drop(["2"])
        for _ in range(3):
            self.store.go()
        self.assertEqual(self.successResultOf(dropped), ["2"])
        self.assertTrue(first.called and second.called)
        self.assertEqual([each.id for each in self.elect().policies], ["1"])

    def test_inserted_again(self) -> None:
        """What is pushed while the policy of its id is being dropped is new, and stays."""
        self.slow.push([policy("a", id="1")])
        self.store.go()
        dropped, again = self.slow.drop(["1"]), self.slow.push([policy("b", id="1")])
        self.assertEqual(self.slow.version, version_of(self.slow.data))
        for _ in range(2):
            self.store.go()
        self.assertEqual(self.successResultOf(dropped), ["1"])
        self.assertEqual([each.code for each in self.successResultOf(again)], [0])
        self.assertEqual([each.type for each in self.slow.policies], ["b"])
        self.assertEqual([each.type for each in self.elect().policies], ["b"])

    def test_drop_that_fails(self) -> None:
        """What could not be dropped is still there."""
        self.slow.push([policy("a", id="1")])
        self.store.go()
        dropped, self.store.broken = self.slow.drop(["1"]), True
        self.store.go()
        self.failureResultOf(dropped, AnyLogError)
        self.assertEqual(([each.id for each in self.slow.policies], len(self.slow)), (["1"], 1))


class ServingTests(MasterCase):
    """The questions of other nodes."""

    asker = Asker(host="10.0.0.7", address="10.0.0.7:32148")

    def ask(self, kind: str, head: dict[str, Any], body: bytes = b"", master: Any = ...) -> Any:
        present = self.master if master is ... else master
        return handlers(lambda: present)[kind](head, body, self.asker)

    def test_ledger(self) -> None:
        """The file in pages, or that it is what the asker has."""
        self.successResultOf(self.master.push(policy("a", at, name="x" * 100 + str(at)) for at in range(1000)))
        reply = self.successResultOf(self.ask("ledger", {"version": "other"}))
        self.assertEqual(reply.head, {"changed": True, "version": self.master.version, "policies": 1000})
        pages = []
        while (page := self.successResultOf(reply.body.next())) is not None:
            pages.append(page)
        self.assertGreater(len(pages), 1)
        self.assertEqual(b"".join(pages), self.master.data)
        reply = self.successResultOf(self.ask("ledger", {"version": self.master.version}))
        self.assertEqual((reply.head["changed"], reply.body), (False, None))

    def test_push_and_drop(self) -> None:
        """Outcomes and ids as they go over the wire."""
        body = json.dumps([{"a": {"id": "1"}}, {"a": 1}]).encode()
        reply = self.successResultOf(self.ask("push", {}, body))
        self.assertEqual([Outcome.read(each).code for each in reply.head["results"]], [0, 87])
        ((host,),) = self.successResultOf(self.database.execute("select host from ledger"))
        self.assertEqual(host, "10.0.0.7:32148")
        reply = self.successResultOf(self.ask("push", {"ignore": True}, body))
        self.assertEqual([Outcome.read(each).code for each in reply.head["results"]], [0, 87])
        self.assertEqual(self.successResultOf(self.ask("drop", {"ids": ["1", "2"]})).head, {"dropped": ["1"]})

    def test_heard_twice(self) -> None:
        """A question that is repeated word by word is answered like the first, another policy of the id is refused."""
        for text, code in [
            ('[{"a": {"id": "1", "date": "d", "x": 1}}]', 0),
            ('[{"a": {"id": "1", "date": "d", "x": 1}}]', 0),
            ('[{"a": {"id": "1", "date": "d", "x": 2}}]', 70),
            ('[{"a": {"id": "1", "x": 1}}]', 70),
        ]:
            reply = self.successResultOf(self.ask("push", {}, text.encode()))
            self.assertEqual(Outcome.read(reply.head["results"][0]).code, code, text)
        self.assertEqual(len(self.elect()), 1)

    def test_rubbish(self) -> None:
        """What is no question of these kinds is refused by number."""
        for kind, head, body, number in [
            ("push", {}, b"{", 6),
            ("push", {}, b"\xff", 6),
            ("push", {}, b"[" * 100_000, 6),
            ("push", {}, b"{}", 87),
            ("drop", {}, b"", 21),
            ("drop", {"ids": [1]}, b"", 21),
            ("drop", {"ids": "x"}, b"", 21),
        ]:
            self.assertEqual(self.refused(self.ask(kind, head, body)).number, number, (kind, body[:9]))
        for kind in ("ledger", "push", "drop"):
            self.assertEqual(self.refused(self.ask(kind, {"ids": []}, b"[]", None)).number, 30, kind)
        for packed in (None, [], ["a", "b", "c"], [1, 2, 3]):
            self.assertRaises(AnyLogError, Outcome.read, packed)

    def test_five_hundred(self) -> None:
        """500 pushes one after the other: the last is as much work as the first, and all are there after a restart."""

        def push(first: int) -> None:
            for at in range(first, first + 10):
                self.successResultOf(self.master.push([policy("a", at, name=str(at))]))

        push(0)  # what is done once
        few = steps(lambda: push(10))
        for first in range(20, 490, 10):
            push(first)
        many = steps(lambda: push(490))
        self.assertEqual((len(self.elect()), self.told), (500, 500))
        self.assertLess(many, 1.1 * few)
        self.assertEqual(self.clock.seconds(), NOW)
