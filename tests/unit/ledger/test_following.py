"""A ledger that is told what changed is the one that is told all; its file is whole, always (metadata.md 7)."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from registry import FILE, LedgerCase, MasterCase, policy

from anylog.errors import AnyLogError
from anylog.ledger.ledger import APART, Ledger
from anylog.ledger.lines import read_lines, rendered, version_of
from anylog.ledger.merge import merged
from anylog.ledger.ordered import STRIDE, Ordered
from anylog.ledger.policies import FEW, Policies
from anylog.ledger.policy import Policy
from anylog.ledger.underway import Underway
from anylog.ledger.where import Pair, Where

MASTER = "10.0.0.1:32048"


class OrderedTests(LedgerCase):
    """The version without reading everything again."""

    def test_version(self) -> None:
        """After any changes it is the MD5 of the text, in the order of the ledger."""
        chance = Random(5)
        known = Policies()
        for step in range(1500):
            if len(known) and chance.random() < 0.3:
                known.remove(chance.choice(list(known)).id)
            elif len(known) and chance.random() < 0.2:
                one = chance.choice(list(known))
                known.replace(one.having(note=step, ledger=chance.choice(["local", "global"])))
            else:
                known.add(policy("a", chance.choice([step, step, step, chance.random() * step]), n=step))
            self.assertEqual(known.local(), [each for each in known if each.local], step)
            if chance.random() < 0.2:
                stones = [Policy("deleted", {"id": str(step)})] if chance.random() < 0.5 else []
                self.assertEqual(known.version(stones), version_of(rendered(known, stones)), step)
            if chance.random() < 0.2:
                some = [each for each in known if chance.random() < 3 / (len(known) + 1)]
                rest = [each for each in known if each not in some]
                self.assertEqual(known.version_without(some), version_of(rendered(rest)), step)
        dates = [each.date for each in known]
        self.assertEqual(dates, sorted(dates))
        self.assertGreater(len(known), 3 * STRIDE)

    def test_empty(self) -> None:
        """Nothing has the version of no text."""
        self.assertEqual(Ordered().version(), version_of(b""))

    def test_an_attribute_that_is_asked_for(self) -> None:
        """With an index or without, the same is found, whatever the values are."""
        values: list[Any] = [
            "x",
            "X",
            7,
            7.0,
            "7",
            "07",
            True,
            None,
            [1, "x"],
            [[1], {"a": 1}],
            {"a": 1},
            "*",
            1e300,
            [],
        ]
        made = [
            policy("a", n, id=str(n), **({} if n % 3 == 1 else {"odd": values[n % len(values)]}))
            for n in range(FEW * 2)
        ]
        few, many = (Policies(each) for each in (made[:FEW], made))
        for value in ("x", "7", "7.0", "07", "true", '{"a":1}', "*", "nothing", "1e300", "1", ""):
            names = {"odd": value}
            slow = [each.id for each in few.candidates(["a"], {})]
            self.assertEqual(slow, [each.id for each in few.candidates(["a"], names)])
            hit = {each.id for each in many.candidates(["a"], names)}
            where = Where([Pair(("odd",), (value,))])
            self.assertEqual({each.id for each in made if where.matches(each)} - hit, set(), value)
        self.assertLess(len(many.candidates(["a"], {"odd": "nothing"})), len(many) / 3)
        many.remove("0")
        many.add(policy("a", 0, id="0", odd="nothing"))
        self.assertIn("0", [each.id for each in many.candidates(["a"], {"odd": "nothing"})])


class FollowTests(MasterCase):
    """A member and its master."""

    def sync(self, ledger: Ledger, taken: Any = ()) -> str:
        """One look, as the node does it; tells how."""
        base = ledger.base_of(MASTER)
        if self.master.version == ledger.version:
            return "same"
        since = self.master.since(base) if base else None
        if since is not None:
            version = self.master.version
            if self.successResultOf(ledger.follow(since[0], since[1], version, taken)) is not None:
                return "changes"
        self.successResultOf(ledger.take(self.master.data, taken, MASTER))
        return "all"

    def test_changes(self) -> None:
        """Whatever is pushed, replaced and dropped, a member that follows is like one that takes all."""
        chance = Random(3)
        self.successResultOf(self.master.push([policy("a", n, id=f"f{n}", n=n) for n in range(60)]))
        ways = [self.sync(self.ledger)]
        for step in range(300):
            kind = chance.random()
            ids = [each.id for each in self.master.policies]
            if kind < 0.5:
                late = chance.choice([0.0, 100.0 + step])
                self.successResultOf(self.master.push([policy("a", late, id=str(step), n=step)]))
            elif kind < 0.75 and len(ids) > 50:
                self.successResultOf(self.master.drop([chance.choice(ids)]))
            elif ids:
                ident = chance.choice(ids)
                self.successResultOf(
                    self.master.replace(ident, Policy("a", {"n": -step, "date": self.master.policies.get(ident).date}))
                )  # type: ignore[union-attr]
            if chance.random() < 0.4:
                self.clock.advance(chance.random())
                ways.append(self.sync(self.ledger))
                self.assertEqual(self.ledger.version, self.master.version, step)
                self.assertEqual(self.ledger.data, self.master.data)
        self.assertGreater(ways.count("changes"), 80)
        self.assertEqual(ways.count("all"), 1)
        self.clock.advance(APART)
        self.assertEqual(self.disk.read(FILE), self.master.data)
        other = self.open()
        self.successResultOf(other.load())
        self.assertEqual(other.version, self.master.version)

    def test_what_waits(self) -> None:
        """Local policies stay beside the changes, and are global once they are among them."""
        self.successResultOf(self.master.push([policy("a", n, id=f"f{n}") for n in range(9)]))
        self.sync(self.ledger)
        mine = policy("b", 50, id="mine", ledger="local")
        self.successResultOf(self.ledger.add(mine))
        self.successResultOf(self.master.push([policy("a", 60, id="x")]))
        self.assertEqual(self.sync(self.ledger), "changes")
        self.assertEqual([each.id for each in self.ledger.waiting()], ["mine"])
        self.successResultOf(self.master.push([mine]))
        self.assertEqual(self.sync(self.ledger), "changes")
        self.assertEqual((self.ledger.waiting(), self.ledger.version), ([], self.master.version))

    def test_another_past(self) -> None:
        """A member whose copy is not what the master thinks is told all."""
        self.successResultOf(self.master.push([policy("a", n, id=f"f{n}") for n in range(9)]))
        self.sync(self.ledger)
        self.ledger.raw.remove("f3")
        self.successResultOf(self.master.push([policy("a", 60, id="x")]))
        self.assertEqual(self.sync(self.ledger), "all")
        self.assertEqual(self.ledger.version, self.master.version)
        again = self.elect()
        self.assertIsNone(again.since(self.master.version), "a master that has just started knows no past")

    def test_deleted_elsewhere(self) -> None:
        """What the master took and others deleted before this node looked again does not come back."""
        self.successResultOf(self.master.push([policy("a", n, id=f"f{n}") for n in range(9)]))
        self.sync(self.ledger)
        for following in (True, False):
            mine = policy("b", 50, id=f"mine{following}", ledger="local")
            self.successResultOf(self.ledger.add(mine))
            self.successResultOf(self.master.push([mine]))
            self.ledger.taken[mine.id] = MASTER
            self.successResultOf(self.master.drop([mine.id]))
            self.successResultOf(self.master.push([policy("a", 60 + following, id=f"x{following}")]))
            taken = self.ledger.taken_by(MASTER)
            if following:
                self.assertEqual(self.sync(self.ledger, taken), "changes")
            else:
                told = self.successResultOf(self.ledger.take(self.master.data, taken, MASTER))
                self.assertEqual(told.resend, [])
            self.assertEqual(self.ledger.version, self.master.version)
            self.assertEqual(self.ledger.taken, {})

    def test_not_taken_yet(self) -> None:
        """What the master had not taken when it was asked is sent again, whatever came since."""
        mine = policy("b", 50, id="mine", ledger="local")
        told = merged([policy("a", 1, id="x")], [mine], [], ())
        self.assertEqual([each.id for each in told.resend], ["mine"])
        self.assertEqual(merged([policy("a", 1, id="x")], [mine], [], {"mine"}).resend, [])

    def test_deleted_after_the_question(self) -> None:
        """A tombstone stays until a master does not have the policy that was asked after it was put up."""
        self.successResultOf(self.ledger.add(policy("a", 1, id="1"), policy("a", 2, id="2")))
        older = self.ledger.settles()
        self.successResultOf(self.ledger.remove("2", buried=True))
        one = rendered([policy("a", 1, id="1", ledger="global")])
        self.successResultOf(self.ledger.take(one, settles=older))
        self.assertEqual([each.id for each in self.ledger.tombstones()], ["2"])
        self.ledger.underway.begin(["2"])  # it may still come to the master
        self.successResultOf(self.ledger.take(one, settles=self.ledger.settles()))
        self.assertEqual([each.id for each in self.ledger.tombstones()], ["2"])
        self.ledger.underway.end(["2"])
        self.successResultOf(self.ledger.take(one, settles=self.ledger.settles()))
        self.assertEqual(self.ledger.tombstones(), [])

    def test_underway(self) -> None:
        """What was sent twice and not answered once may come until the time is over."""
        underway = Underway()
        underway.begin(["1", "2"])
        underway.begin(["1"])
        underway.end(["1", "2"])
        self.assertEqual(underway.ids(0.0), {"1"})
        underway.end(["1"], 5.0)
        self.assertEqual((underway.ids(4.9), underway.ids(5.0)), ({"1"}, set()))

    def test_changes_of_what_was_deleted(self) -> None:
        """What was deleted after the question does not come back with the changes: all is asked for then."""
        self.successResultOf(self.master.push([policy("a", n, id=f"f{n}") for n in range(9)]))
        self.sync(self.ledger)
        self.successResultOf(self.master.push([policy("a", 20, id="2")]))
        lines, dropped = self.master.since(self.ledger.base_of(MASTER)) or (b"", [])
        self.successResultOf(self.ledger.add(policy("a", 20, id="2")))
        self.successResultOf(self.ledger.remove("2", buried=True))
        self.assertIsNone(self.successResultOf(self.ledger.follow(lines, dropped, self.master.version)))
        self.assertNotIn("2", self.ledger.raw)

    def test_displaced(self) -> None:
        """Of two policies under one id the global one counts; the other is logged and counted."""
        ours = Policy("a", {"id": "1", "v": "ours", "date": "2", "ledger": "local"})
        theirs = Policy("a", {"id": "1", "v": "theirs", "date": "1", "ledger": "global"})
        self.assertEqual(merged([theirs], [ours], []).displaced, [ours])
        self.assertEqual(merged([ours.having(ledger="global", date="3")], [ours], []).displaced, [])
        self.successResultOf(self.ledger.add(ours))
        self.successResultOf(self.ledger.take(rendered([theirs])))
        self.assertEqual((self.ledger.displaced, self.ledger.policies.get("1").get("v")), (1, "theirs"))  # type: ignore[union-attr]


class FileTests(LedgerCase):
    """What stands on disk."""

    def test_appended(self) -> None:
        """New policies are added to the file, which is not written anew; one with an older date is put in its place."""
        self.successResultOf(self.ledger.add(policy("a", 1, id="1")))
        before = self.disk.calls
        for n in range(2, 6):
            self.successResultOf(self.ledger.add(policy("a", n, id=str(n))))
        self.assertEqual(self.disk.calls - before, 8, "a write and a sync each")
        self.assertEqual(self.disk.read(FILE), self.ledger.data)
        self.successResultOf(self.ledger.add(policy("a", 0, id="0")))
        self.assertEqual([each.id for each in read_lines(self.disk.read(FILE)).policies], list("012345"))
        self.disk.put(FILE, b"somebody else was here\n")
        self.successResultOf(self.ledger.add(policy("a", 9, id="9")))
        self.assertEqual(self.disk.read(FILE), self.ledger.data)

    def test_power_cut(self) -> None:
        """What was acknowledged is there after a power cut, wherever in the changes it comes."""
        self.successResultOf(self.ledger.add(policy("a", 1, id="1")))
        for n in range(2, 30):
            self.successResultOf(self.ledger.add(policy("a", n, id=str(n))))
            self.disk = self.disk.crash(Random(n), True)
            self.ledger = self.open()
            self.successResultOf(self.ledger.load())
            self.assertEqual(
                ([each.id for each in self.ledger.policies], self.ledger.test()),
                ([str(i) for i in range(1, n + 1)], True),
            )

    def test_disk_fails(self) -> None:
        """A policy that cannot be kept is not there; the file is whole when the disk is well again."""
        self.successResultOf(self.ledger.add(policy("a", 1, id="1")))
        self.disk.fails.add("sync")
        self.assertEqual(self.refused(self.ledger.add(policy("a", 2, id="2"))).number, 14)
        self.disk.fails.clear()
        self.successResultOf(self.ledger.add(policy("a", 3, id="3")))
        self.assertEqual([each.id for each in read_lines(self.disk.read(FILE)).policies], ["1", "3"])
        self.assertEqual(self.disk.read(FILE), self.ledger.data)

    def test_bad_files(self) -> None:
        """Cut anywhere, or no text at all: what can be read is used, the rest is named and kept aside."""
        made = [policy("a", n, id=str(n), name="é" * 9) for n in range(5)]
        data = rendered(made)
        for cut in range(1, len(data), 7):
            self.disk.put(FILE, data[:cut])
            self.successResultOf(self.ledger.load())
            whole = data[:cut].count(b"\n") + (data[cut : cut + 1] == b"\n")
            self.assertEqual(len(self.ledger.policies), whole, cut)
            if data[cut - 1 : cut] != b"\n" and data[cut : cut + 1] != b"\n":
                self.assertIn(f"line {whole + 1}", self.ledger.damaged)
                self.assertEqual((self.ledger.version, self.ledger.test()), ("", False))
                self.assertEqual(self.disk.read(FILE.with_suffix(".damaged")), data[:cut])
            self.successResultOf(self.ledger.add(policy("a", 90, id="new")))
            again = read_lines(self.disk.read(FILE))
            self.assertEqual((len(again.policies), again.faults), (whole + 1, []), cut)
        for rubbish in (bytes(range(256)) * 20, b"\x00" * 4096, b"[" * 100_000, b'{"a":' * 3000, b"\xff\xfe{\n"):
            self.disk.put(FILE, rubbish)
            self.successResultOf(self.ledger.load())
            self.assertEqual((len(self.ledger.policies), self.ledger.test()), (0, False))
            self.assertEqual(self.refused(self.ledger.take(rubbish)).number, 6)

    def test_forged_and_huge(self) -> None:
        """An id of somebody else, one that is no text, and a policy that is too large are refused; all else is kept."""
        self.successResultOf(self.ledger.add(policy("a", 1, id="1", v="true")))
        self.assertEqual(self.refused(self.ledger.add(policy("b", 2, id="1", v="forged"))).number, 70)
        self.assertEqual(self.ledger.policies.get("1").get("v"), "true")  # type: ignore[union-attr]
        for text, number in (
            ('{"a": {"id": ["x"]}}', 87),
            ('{"a": {"id": {"x": 1}}}', 87),
            ('{"a": {"id": "x", "v": "%s"}}' % ("x" * 70_000), 87),
            ('{"a": {"v": %s}}' % ("[" * 60 + "]" * 60), 87),
            ("x" * 400_000, 87),
        ):
            with self.assertRaises(AnyLogError) as refusal:
                Policy.read(text)
            self.assertEqual(refusal.exception.number, number, text[:40])
        line = rendered([policy("a", 3, id="line\nbreak", v='\u2028"')])
        self.assertEqual((line.count(b"\n"), read_lines(line).policies[0].id), (1, "line\nbreak"))

    def test_many(self) -> None:
        """10,000 policies are taken, found, followed and written."""
        made = [policy("a", n, id=str(n), name=f"n{n}", site=n % 100, ledger="global") for n in range(10_000)]
        self.successResultOf(self.ledger.take(rendered(made), (), MASTER))
        self.assertEqual(len(self.ledger.policies.find("a", site="7", name="n107")), 1)
        self.assertEqual(len(json.loads(self.disk.read(FILE).split(b"\n")[0])), 1)
        version = version_of(rendered([*made, new := policy("a", 20_000, id="new", ledger="global")]))
        told = self.successResultOf(self.ledger.follow(rendered([new]), [], version))
        assert told is not None
        self.assertEqual((len(self.ledger.policies), self.ledger.version), (10_001, version))
