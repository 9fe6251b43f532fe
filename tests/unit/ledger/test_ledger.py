"""The node's copy: what is in memory, what is on disk, and what becomes of both (metadata.md 1.3, 4.3, 7.3)."""

from __future__ import annotations

import errno
import json
from pathlib import Path

from registry import FILE, NOW, LedgerCase, SlowLane, cluster, operator, policy

from anylog.ledger.lines import rendered, version_of
from anylog.ledger.merge import merged, overridden
from anylog.ledger.policies import Policies
from anylog.ledger.policy import tombstone
from anylog.testing.disk import MemoryDisk


class FileTests(LedgerCase):
    """The file."""

    def test_empty(self) -> None:
        """No file is no fault, and has the version of a master that has nothing."""
        self.successResultOf(self.ledger.load())
        self.assertEqual((len(self.ledger.policies), self.ledger.damaged, self.ledger.test()), (0, "", None))
        self.assertEqual(self.ledger.version, version_of(b""))

    def test_what_was_added_is_there_after_a_restart(self) -> None:
        """One policy a line, in order of their dates; the version is the hash of the file."""
        late, early = policy("b", 9, name="late"), policy("a", 1, name="early")
        self.successResultOf(self.ledger.add(late))
        self.successResultOf(self.ledger.add(early))
        data = self.disk.read(FILE)
        self.assertEqual([next(iter(json.loads(line))) for line in data.splitlines()], ["a", "b"])
        again = self.open()
        self.successResultOf(again.load())
        self.assertEqual([each.text for each in again.policies], [early.text, late.text])
        self.assertEqual({again.version, self.ledger.version}, {version_of(data)})
        self.assertTrue(again.test())

    def test_a_corrupt_line(self) -> None:
        """It is named by its number and left out; the file is kept aside; the version equals no master's."""
        good = [policy("a", name="1"), policy("b", 1, name="2")]
        data = rendered(good).replace(b"\n", b"\n{rubbish\n", 1)
        self.disk.publish(FILE, data)
        self.successResultOf(self.ledger.load())
        self.assertEqual([each.id for each in self.ledger.policies], [each.id for each in good])
        self.assertIn("line 2", self.ledger.damaged)
        self.assertEqual((self.ledger.version, self.ledger.test()), ("", False))
        self.assertEqual(self.disk.read(FILE.with_suffix(".damaged")), data)

    def test_every_cut_of_the_file(self) -> None:
        """Wherever it is cut: the whole lines are used, and what is cut is noticed."""
        good = [policy("a", at, name=str(at)) for at in range(3)]
        data = rendered(good)
        ends = [place + 1 for place, char in enumerate(data) if char == 10]
        for cut in range(len(data)):
            self.disk.publish(FILE, data[:cut])
            ledger = self.open()
            self.successResultOf(ledger.load())
            # The last line is a policy with or without the end of it.
            whole = sum(end - 1 <= cut for end in ends)
            self.assertEqual(len(ledger.policies), whole, f"cut at {cut}")
            clean = cut in (0, *ends, *(end - 1 for end in ends))
            self.assertEqual(ledger.damaged == "", clean, f"cut at {cut}")

    def test_a_file_that_cannot_be_read(self) -> None:
        """Work goes on with nothing, and the next synchronisation fetches it anew."""

        class Broken(MemoryDisk):
            def read(self, path: Path) -> bytes:
                raise OSError(errno.EIO, "broken")

        self.disk = Broken()
        self.ledger = self.open()
        self.successResultOf(self.ledger.load())
        self.assertIn("cannot be read", self.ledger.damaged)
        self.assertEqual(self.ledger.version, "")

    def test_damage_is_over_when_the_ledger_came_anew(self) -> None:
        """The master's text replaces the damaged one."""
        self.disk.publish(FILE, b"rubbish")
        self.successResultOf(self.ledger.load())
        came = rendered([policy("a", ledger="global")])
        self.successResultOf(self.ledger.take(came))
        self.assertEqual((self.ledger.damaged, self.ledger.version), ("", version_of(came)))
        self.assertEqual(self.disk.read(FILE), came)
        self.assertEqual(self.disk.read(FILE.with_suffix(".old")), b"rubbish")

    def test_a_full_disk(self) -> None:
        """Adding fails by number, and what could not be kept is not shown."""
        self.disk.fails.add("grow")
        self.assertEqual(self.refused(self.ledger.add(policy("a"))).number, 503)
        self.assertEqual(len(self.ledger.policies), 0)
        self.disk.fails = {"write"}
        self.assertEqual(self.refused(self.ledger.add(policy("a"))).number, 14)
        self.disk.fails.clear()
        self.successResultOf(self.ledger.add(policy("a")))

    def test_those_that_come_meanwhile_share_one_writing(self) -> None:
        """A hundred policies take two writings; each is answered when it is on disk, and seen at once."""
        lane = SlowLane()
        ledger = self.open(lane)
        waits = [ledger.add(policy("a", at, name=str(at))) for at in range(100)]
        self.assertEqual((len(ledger.policies), len(lane.held)), (100, 1))
        lane.go()
        self.assertEqual([wait.called for wait in waits], [True] + [False] * 99)
        lane.go()
        self.assertTrue(all(wait.called for wait in waits))
        self.assertEqual(len(lane.held), 0)
        self.assertEqual(len(self.disk.read(FILE).splitlines()), 100)

    def test_who_gives_up_waiting_stops_nobody(self) -> None:
        """The policy stays, as the writing is under way."""
        lane = SlowLane()
        ledger = self.open(lane)
        first, second = ledger.add(policy("a", name="1")), ledger.add(policy("a", name="2"))
        for wait in (first, second):
            wait.addErrback(lambda failure: None)
        second.cancel()
        lane.go()
        lane.go()
        self.assertEqual(len(self.disk.read(FILE).splitlines()), 2)


class ChangeTests(LedgerCase):
    """Changes in memory."""

    def test_twice(self) -> None:
        """The same id is refused, and nothing is taken of a list that has one."""
        self.successResultOf(self.ledger.add(policy("a", name="1")))
        self.assertEqual(self.refused(self.ledger.add(policy("b"), policy("a", name="1"))).number, 70)
        self.assertEqual(len(self.ledger.policies), 1)

    def test_watchers(self) -> None:
        """Each change is told; a listener that fails harms nobody; one that left hears no more."""
        told: list[int] = []
        self.ledger.watch(lambda: 1 // 0)  # type: ignore[arg-type, return-value]
        leave = self.ledger.watch(lambda: told.append(len(self.ledger.policies)))
        self.successResultOf(self.ledger.add(policy("a", id="x")))
        self.successResultOf(self.ledger.remove("x"))
        leave()
        leave()
        self.successResultOf(self.ledger.add(policy("a", id="y")))
        self.assertEqual(told, [1, 0])
        self.flushLoggedErrors(ZeroDivisionError)

    def test_delete_while_the_master_is_away(self) -> None:
        """A tombstone keeps it away over restarts and synchronisations, until the master has it no more."""
        gone, kept = policy("a", id="gone", ledger="global"), policy("a", 1, id="kept", ledger="global")
        both = rendered([gone, kept])
        self.successResultOf(self.ledger.take(both))
        self.successResultOf(self.ledger.remove("gone", buried=True))
        self.assertNotIn("gone", self.ledger.policies)
        again = self.open()
        self.successResultOf(again.load())
        self.assertEqual([each.id for each in again.waiting()], ["gone"])
        told = self.successResultOf(again.take(both))
        self.assertEqual((list(told.delete), [each.id for each in again.policies]), (["gone"], ["kept"]))
        self.assertNotEqual(again.version, version_of(both))
        self.successResultOf(again.take(rendered([kept])))
        self.assertEqual((again.waiting(), again.version), ([], version_of(rendered([kept]))))
        self.assertEqual(self.refused(again.remove("gone")).number, 113)

    def test_deleted_and_inserted_again(self) -> None:
        """What was inserted again after a deletion that waits for the master is there after a crash, and is sent."""
        first = policy("a", id="x", ledger="global")
        self.successResultOf(self.ledger.take(rendered([first])))
        self.successResultOf(self.ledger.remove("x", buried=True))
        self.successResultOf(self.ledger.add(policy("a", 5, id="x", name="new", ledger="local")))
        again = self.open()  # as a node finds it that was killed
        self.successResultOf(again.load())
        self.assertEqual(([each.name for each in again.policies], again.tombstones()), (["new"], []))
        self.assertEqual((again.version, again.test()), (self.ledger.version, True))

    def test_deleted_is_a_line_at_the_end(self) -> None:
        """It costs one line however many policies there are; a moment later the file is written anew without both."""
        many = [policy("a", at, id=str(at), ledger="global") for at in range(50)]
        self.successResultOf(self.ledger.take(rendered(many)))
        before = self.disk.read(FILE)
        for at in range(5):
            self.successResultOf(self.ledger.remove(str(at), buried=True))
        data = self.disk.read(FILE)
        self.assertTrue(data.startswith(before))
        self.assertEqual(data[len(before) :].count(b"\n"), 5)
        killed = self.open()
        self.successResultOf(killed.load())
        self.assertEqual((len(killed.policies), len(killed.tombstones()), killed.test()), (45, 5, True))
        self.assertEqual(killed.version, self.ledger.version)
        self.clock.advance(10)
        self.assertEqual(self.disk.read(FILE), self.ledger.data)
        self.assertEqual(self.disk.read(FILE).count(b"\n"), 50)

    def test_a_settled_tombstone_does_not_come_back(self) -> None:
        """The file forgets it before anything else is heard of the master."""
        gone, kept = policy("a", id="gone", ledger="global"), policy("a", 1, id="kept", ledger="global")
        self.successResultOf(self.ledger.take(rendered([gone, kept])))
        self.successResultOf(self.ledger.remove("gone", buried=True))
        self.successResultOf(self.ledger.take(rendered([kept])))
        again = self.open()
        self.successResultOf(again.load())
        self.assertEqual(again.tombstones(), [])

    def test_insert_while_the_master_is_away(self) -> None:
        """It stays local and is sent again until the master has it; then it is the master's."""
        mine = policy("a", id="mine", ledger="local")
        self.successResultOf(self.ledger.add(mine))
        self.assertEqual([each.id for each in self.ledger.waiting()], ["mine"])
        other = policy("b", 1, id="other", ledger="global")
        told = self.successResultOf(self.ledger.take(rendered([other])))
        self.assertEqual([each.id for each in told.resend], ["mine"])
        self.assertEqual([each.id for each in self.ledger.policies], ["mine", "other"])
        whole = rendered([mine.having(ledger="global"), other])
        told = self.successResultOf(self.ledger.take(whole))
        self.assertEqual((list(told.resend), self.ledger.waiting(), self.ledger.version), ([], [], version_of(whole)))

    def test_what_came_is_not_whole(self) -> None:
        """An empty or a broken answer of the master changes nothing."""
        self.successResultOf(self.ledger.take(rendered([policy("a", ledger="global")])))
        before = self.disk.read(FILE)
        self.assertEqual(self.refused(self.ledger.take(b"")).number, 59)
        error = self.refused(self.ledger.take(before + b"{"))
        self.assertEqual((error.number, "line 2" in str(error)), (6, True))
        self.assertEqual((self.disk.read(FILE), len(self.ledger.policies)), (before, 1))

    def test_a_copy_that_cannot_be_written(self) -> None:
        """What came is used, and fetched again until it is on disk."""
        came = rendered([policy("a", ledger="global")])
        self.disk.fails.add("write")
        self.assertEqual(self.refused(self.ledger.take(came)).number, 14)
        self.assertEqual((len(self.ledger.policies), self.ledger.version), (1, ""))
        self.disk.fails.clear()
        self.successResultOf(self.ledger.take(came))
        self.assertEqual(self.ledger.version, version_of(came))

    def test_overrides(self) -> None:
        """`anmp` policies change what is shown, the newest wins, the file has each as it came."""
        site = policy("site", id="s", name="roof", loc="1")
        self.successResultOf(self.ledger.add(site))
        self.assertIs(self.ledger.policies, self.ledger.raw)
        self.successResultOf(self.ledger.add(policy("anmp", 5, s={"loc": "3", "id": "q"}, other={"x": 1})))
        self.successResultOf(self.ledger.add(policy("anmp", 4, s={"loc": "2", "floor": 4})))
        shown = self.ledger.policies.get("s")
        assert shown is not None
        self.assertEqual((shown.get("loc"), shown.get("floor"), shown.id), ("3", 4, "s"))
        raw = self.ledger.raw.get("s")
        assert raw is not None
        self.assertEqual(raw.text, site.text)

    def test_ten_thousand(self) -> None:
        """Adding one to 10,000 policies writes the file once, in little time."""
        self.successResultOf(
            self.ledger.replace(policy("a", at, name=str(at), ledger="global") for at in range(10_000))
        )
        calls = self.disk.calls
        self.successResultOf(self.ledger.add(policy("a", name="x")))
        self.assertEqual(self.disk.calls - calls, 2, "one write and one sync")


def test_merged() -> None:
    """The rules of metadata.md 7.3, one row each."""
    ours, theirs = policy("a", id="1", ledger="local"), policy("a", 1, id="2")
    both = policy("a", 2, id="3", ledger="local")
    old = policy("a", 3, id="4", ledger="global")
    told = merged([theirs, both.having(ledger="global")], [ours, both, old], [tombstone("2", NOW), tombstone("9", NOW)])
    assert [(each.id, each.body["ledger"]) for each in told.policies] == [("3", "global"), ("1", "local")]
    assert [each.id for each in told.resend] == ["1"], "only what is local and not there is sent again"
    assert list(told.delete) == ["2"], "what was deleted here and is there is deleted there"
    assert [each.id for each in told.tombstones] == ["2"], "what is gone everywhere is forgotten"


def test_overridden_without_overrides() -> None:
    """Nothing is copied where nothing changes."""
    known = Policies([cluster(), operator("o", "x")])
    assert overridden(known) is known
