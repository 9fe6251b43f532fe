"""Words of the ledger beyond those of the first steps: platforms, waits, circles, a full disk (metadata.md 4, 8)."""

from __future__ import annotations

from registry import SlowLane, child, cluster, operator, table
from village import VillageCase

from anylog.errors import AnyLogError
from anylog.ledger.policy import Policy
from anylog.testing.disk import MemoryDisk
from anylog.testing.lanes import InlineLane


class MoreTests(VillageCase):
    """A master and a member."""

    def test_platforms(self) -> None:
        """All words of platforms are known, and say that they are not in this build; the master is listed."""
        self.ask('p = {"a": {"id": "1"}}')
        for asked in (
            "blockchain connect to optimism where provider = https://x and chain_id = 5",
            "blockchain create account optimism",
            "blockchain set account info where platform = optimism and private_key = k",
            "blockchain deploy contract where platform = optimism and public_key = k",
            "blockchain commit to optimism !p",
            "blockchain commit !p",
            "blockchain update to optimism 1 !p",
            "blockchain checkout from optimism stdout",
            "blockchain checkout",
            "blockchain state where platform = optimism",
            "set relay where platform = optimism and status = on",
            "get relay",
            "blockchain insert where policy = !p and blockchain = optimism",
            "blockchain delete policy where id = 1 and blockchain = optimism",
            "blockchain drop policy from optimism where id = 1",
            "blockchain drop policy where id = 1 from optimism",
        ):
            error = self.refused(asked)
            self.assertEqual((error.number, "not in this build" in str(error)), (237, True), (asked, str(error)))
        self.assertEqual(self.ask("get platforms").text, "No connections to blockchain platforms")
        (row,) = self.ask("get platforms where format = json", self.hill).data
        self.assertEqual((row["Name"], row["Active"], row["URL"]), ("master", True, self.hill.address))
        text = self.ask("get platforms", self.hill).text or ""
        self.assertTrue(text.startswith("No connections to blockchain platforms\r\n") and "master" in text)

    def test_wait_in_vain(self) -> None:
        """Not assigned to a key it is an error that names what is missing."""
        waited = self.roof.execute("blockchain wait where id = nowhere", self.context)
        self.clock.advance(60)
        error: AnyLogError = self.failureResultOf(waited, AnyLogError).value
        self.assertEqual((error.number, "nowhere" in str(error)), (151, True))

    def test_root_policies(self) -> None:
        """Under both names."""
        self.ask('blockchain add {"uns": {"id": "1", "name": "a", "namespace": "a"}}')
        self.ask('blockchain add {"uns": {"id": "2", "name": "b", "namespace": "a/b", "parent": "1"}}')
        for asked in ("get root policies", "blockchain get root policies", "get root policies include uns"):
            self.assertEqual([row["uns"]["id"] for row in self.ask(asked).data], ["1"])
        self.assertEqual(self.ask("get root policies exclude uns").data, [])
        joined = "blockchain get uns where id = 2 join (blockchain get uns where id = [uns][parent])"
        self.assertEqual(self.ask(f"{joined} bring [uns][name] [uns_2][name]").text, "ba")
        self.ask("mine = 2")
        self.assertEqual(self.ask(f"{joined.replace('= 2', '= !mine')} bring.count").text, "1")

    def test_circles(self) -> None:
        """Parents do not lead back to the policy: neither by a replacement, nor without it being told."""
        self.ask('blockchain push {"uns": {"id": "1", "name": "a", "namespace": "a"}}', self.hill)
        self.ask('blockchain push {"uns": {"id": "2", "name": "b", "namespace": "a/b", "parent": "1"}}', self.hill)
        other = '{"uns": {"name": "a", "namespace": "a", "parent": "2"}}'
        error = self.refused(f"blockchain replace policy 1 with {other}", self.hill)
        self.assertEqual((error.number, "circle" in str(error)), (118, True))
        for ident, parent in (("x", "y"), ("y", "x"), ("z", "z")):
            self.successResultOf(self.roof.ledger.add(Policy("cluster", {"id": ident, "parent": parent, "name": "n"})))
        self.assertIn("circle", self.ask("blockchain test cluster").text or "")

    def test_two_at_one_address(self) -> None:
        """A second query node at the address of the first is taken, with a warning."""
        first = '{"query": {"name": "q1", "ip": "10.0.0.9", "port": 32348}}'
        self.assertIsNone(self.ask(f"blockchain insert where policy = {first} and local = true").text)
        told = self.ask(f"blockchain insert where policy = {first.replace('q1', 'q2')} and local = true").text or ""
        self.assertIn("ip:10.0.0.9, port:32348", told)
        self.assertEqual(len(self.roof.ledger.policies), 2)

    def test_the_disk_is_full(self) -> None:
        """What the master took is a warning then; alone, or while the master is away, it is an error and not kept."""
        disk = self.roof.ledger._disk = MemoryDisk(fails={"grow"})
        insert = 'blockchain insert where policy = {"a": {"id": "%s"}} and local = true'
        self.assertEqual(self.refused(insert % 1).number, 503)
        self.road.down.add(self.hill.address)
        self.assertEqual(self.refused(insert % 1 + " and master = !ledger_conn").number, 503)
        self.road.down.clear()
        slow = self.roof.ledger._lane = SlowLane()
        waited = self.roof.execute(insert % 1 + " and master = !ledger_conn", self.context)
        self.assertNoResult(waited)
        slow.go()
        self.assertIn("in the global ledger", self.successResultOf(waited).text)
        self.roof.ledger._lane = InlineLane("again")
        self.assertEqual(len(self.roof.ledger.policies), 0)
        disk.fails.clear()
        self.sync(self.roof)
        self.assertEqual([each.id for each in self.roof.ledger.policies], ["1"])

    def test_refused_by_the_master(self) -> None:
        """It is taken back here, memory and file; of two of one id that come at once the second is refused."""
        self.ask('blockchain push {"a": {"id": "1", "v": 1}}', self.hill)
        error = self.refused(
            'blockchain insert where policy = {"a": {"id": "1", "v": 2}} and local = true and master = !ledger_conn'
        )
        self.assertEqual(error.number, 70)
        self.assertEqual([each.get("v") for each in self.roof.ledger.policies], [1])
        self.assertEqual(self.roof.ledger.waiting(), [])

    def test_a_table_listed_twice(self) -> None:
        """By two policies of one cluster, in whatever spelling, is a defect; two clusters may share a table."""
        one, two = cluster("one"), cluster("two")
        told = f"cluster 'one' ({one.id}): the table town.air is listed twice"
        for policy, expected in (
            (one, f"cluster 'one' ({one.id}): no operator"),
            (operator("a", one.id, 1, member=1), "ok"),
            (child(one, "air", "sun"), "ok"),
            (two, f"cluster 'two' ({two.id}): no operator"),
            (operator("b", two.id, 2, member=1), "ok"),
            (child(two, "air"), "ok"),
            (child(one, "Air", "wind"), told),
        ):
            self.successResultOf(self.roof.ledger.add(policy))
            self.assertEqual(self.ask("blockchain test cluster").text, expected)

    def test_data_nodes_by_member(self) -> None:
        """Member numbers are sorted as numbers: 9 stands before 30 and 200; who has none yet stands last."""
        one = cluster("one")
        members = [operator(f"o{at}", one.id, at, member=at) for at in (200, 9, 30)]
        for policy in (one, table("air"), child(one, "air"), operator("new", one.id, 7), *members):
            self.successResultOf(self.roof.ledger.add(policy))
        rows = self.ask("get data nodes where sort = (6) and format = json").data
        self.assertEqual([row["Member ID"] for row in rows], [9, 30, 200, ""])
