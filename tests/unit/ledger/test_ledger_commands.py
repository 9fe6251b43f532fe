"""What the words of the ledger do, at a master and a member (metadata.md 3 to 5 and 11)."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace
from typing import Any

from registry import cluster, policy
from village import House, VillageCase

from anylog.errors import AnyLogError
from anylog.language.context import Call, Context
from anylog.ledger.commands import Insert
from anylog.ledger.policy import Policy


class OperatorSteps(VillageCase):
    """The steps by which people declare an operator, as they are printed in its guide."""

    STEPS = (
        '<new_policy = create policy cluster where \n    name=my-cluster and \n    company="My Company">',
        "blockchain insert where policy=!new_policy and local=true and master=!ledger_conn",
        'cluster_id = blockchain get cluster where name=my-cluster and company="My Company" bring.first [*][id]',
        '<new_policy = create policy operator where\n    name=my-operator1 and\n    company="My Company" and \n'
        "    cluster=!cluster_id and \n    ip=!external_ip and\n    local_ip=!ip and\n    port=!anylog_server_port>",
        "blockchain insert where policy=!new_policy and local=true and master=!ledger_conn",
        "operator_id = blockchain get operator where cluster=!cluster_id and name=my-operator1 and "
        'company="My Company" bring.last [*][id]',
    )

    def declare(self, at: House | None = None) -> None:
        for step in self.STEPS:
            self.ask(step, at)

    def test_steps(self) -> None:
        """Cluster and operator are in the ledger of the node, of the master, and after a synchronisation of all."""
        self.declare()
        operator = self.roof.ledger.policies.get(self.value("operator_id"))
        assert operator is not None
        self.assertEqual(len(self.value("cluster_id")), 32)
        self.assertEqual(operator.text_of("cluster"), self.value("cluster_id"))
        self.assertEqual((operator.get("port"), operator.get("ledger")), (32148, "local"))
        self.assertIn(operator.get("member"), range(1, 256))
        self.assertEqual(list(operator.body)[-4:], ["id", "date", "member", "ledger"])
        assert self.hill.master is not None
        self.assertEqual([each.type for each in self.hill.master.policies], ["cluster", "operator"])
        self.sync()
        self.assertEqual({each.get("ledger") for each in self.roof.ledger.policies}, {"global"})
        self.assertEqual(
            {self.roof.ledger.version, self.hill.ledger.version, self.hill.master.version}, {self.hill.master.version}
        )
        self.assertEqual(self.ask("get metadata version").text, self.hill.master.version)

    def test_with_a_bound_address(self) -> None:
        """The other form of the policy: a port written as digits is a number."""
        for step in self.STEPS[:3]:
            self.ask(step)
        self.ask(
            '<new_policy = create policy operator where\n    name=my-operator1 and\n    company="My Company" and \n'
            "    cluster=!cluster_id and \n    ip=!ip and\n    port=32148>"
        )
        self.ask(self.STEPS[4])
        (operator,) = self.ask("blockchain get operator").data
        self.assertEqual(operator["operator"]["port"], 32148)

    def test_twice(self) -> None:
        """The same declaration again is a repeat, here and when another node declares it."""
        self.declare()
        self.ask(self.STEPS[0])
        self.assertEqual(self.refused(self.STEPS[1]).number, 70)
        other = self.build("10.0.0.3:32148", self.hill.address)
        self.ask(self.STEPS[0], other)
        error = self.refused(self.STEPS[1], other)
        self.assertEqual((error.number, error.node), (70, self.hill.address))
        # The copy of that node was old: it is not any more, so that the next step finds the cluster.
        self.ask(self.STEPS[2], other)
        self.assertEqual(self.value("cluster_id", other), self.value("cluster_id"))
        self.assertEqual(other.ledger.waiting(), [])

    def test_nothing_found(self) -> None:
        """A key that is assigned an empty answer is undefined; over REST the answer is []."""
        self.ask("x = 5")
        self.ask("x = blockchain get cluster where name = nobody bring.first [*][id]")
        self.assertIsNone(self.value("x"))
        self.ask("x = blockchain get cluster")
        self.assertIsNone(self.value("x"))
        self.assertEqual(self.ask("blockchain get cluster where name = nobody").data, [])
        self.assertEqual(self.refused("x = blockchain get cluster where name = !nobody").number, 2)

    def test_one_node_is_all(self) -> None:
        """A master that is its own operator: the question never leaves the node."""
        self.hill.dictionary.set("anylog_server_port", 32048)
        self.declare(self.hill)
        self.assertEqual(self.road.asked, [])
        assert self.hill.master is not None
        self.assertEqual(len(self.hill.master), 2)
        self.sync(self.hill)
        self.assertEqual(self.hill.ledger.version, self.hill.master.version)


class InsertTests(VillageCase):
    """blockchain insert, push, add, prepare."""

    def test_refusals(self) -> None:
        """Each by its number, naming the culprit; nothing is kept."""
        for asked, number, named in [
            ('blockchain insert where policy = {"a": {"x": 1}}', 2, "Missing ledger location"),
            ("blockchain insert where local = true", 2, "policy"),
            ("blockchain insert where policy = !nothing and local = true", 2, "!nothing"),
            ('blockchain insert where policy = {"a": {}, "b": {}} and local = true', 87, "2 root keys"),
            ('blockchain insert where policy = {"a": {"x": !nothing}} and local = true', 6, "!nothing"),
            ('blockchain insert where policy = {"a": {}} and master = nowhere', 20, "nowhere"),
            ('blockchain insert where policy = {"a": {}} and blockchain = ethereum', 237, "ethereum"),
            ('blockchain insert where policy = {"a": {}} and local = false and master = 10.9.9.9:1', 208, "10.9.9.9"),
            ('blockchain insert where policy = {"cluster": {"name": "x"}} and local = true', 87, "company"),
            ("blockchain insert where policy = text and local = true", 6, "text"),
        ]:
            error = self.refused(asked)
            self.assertEqual((error.number, named in str(error)), (number, True), f"{asked}: {error}")
        self.assertEqual(len(self.roof.ledger.policies), 0)

    def test_places(self) -> None:
        """Local alone, the master alone, several masters; a policy inline, with references, out of a key as text."""
        self.ask('blockchain insert where policy = {"a": {"name": "one"}} and local = true')
        self.assertEqual(self.road.asked, [])
        self.ask('blockchain insert where policy = {"a": {"name": "two"}} and local = false and master = !ledger_conn')
        self.assertEqual([each.name for each in self.roof.ledger.policies], ["one"])
        self.ask("new = {'a': {'name': !site, 'n': !n.int}}")
        self.ask("site = three")
        self.ask("n = 3")
        self.ask("blockchain insert where policy = !new and master = !ledger_conn")
        (found,) = self.ask("blockchain get a where name = three").data
        self.assertEqual((found["a"]["n"], found["a"]["ledger"]), (3, "local"))
        assert self.hill.master is not None
        self.assertEqual([each.name for each in self.hill.master.policies], ["two", "three"])
        call = Call(command=Insert, options={"policy": {"a": {"name": "four"}}, "local": True})
        self.successResultOf(self.roof.execute(call, self.context))  # type: ignore[arg-type]
        self.assertEqual(len(self.roof.ledger.policies), 3)

    def test_the_master_is_away(self) -> None:
        """Success with a warning; it is shown as waiting, and is the master's once that is back."""
        self.road.down.add(self.hill.address)
        told = self.ask(
            'blockchain insert where policy = {"a": {"name": "n"}} and local = true and master = !ledger_conn'
        )
        self.assertIn("Warning", told.text or "")
        self.assertIn("insert", self.ask("get waiting policies").text or "")
        self.assertEqual(self.ask("get waiting policies where format = json").data[0]["Name"], "n")
        self.road.down.clear()
        self.sync(self.roof)
        self.assertEqual(len(self.roof.ledger.waiting()), 1, "sent, and confirmed with the next one")
        self.sync(self.roof)
        self.assertEqual((self.roof.ledger.waiting(), self.roof.ledger.version), ([], self.hill.master.version))  # type: ignore[union-attr]

    def test_the_master_refuses(self) -> None:
        """Its error is the command's, with its address, and the local step is undone."""
        self.ask(
            'blockchain insert where policy = {"cluster": {"name": "n", "company": "c"}} and master = !ledger_conn'
        )
        other = self.build("10.0.0.3:32148", self.hill.address)
        error = self.refused(
            'blockchain insert where policy = {"cluster": {"name": "n", "company": "d"}} and master = !ledger_conn',
            other,
        )
        self.assertEqual((error.number, error.node), (180, self.hill.address))
        self.assertEqual([each.text_of("company") for each in other.ledger.policies], ["c"])

    def crowd(self, taken: range) -> str:
        """A cluster whose numbers `taken` the master knows of, and this node does not; one more operator of it."""
        one = cluster()
        others = [
            policy("operator", at, company="c", name=f"o{at}", ip="10.1.0.1", port=at, cluster=one.id, member=at)
            for at in taken
        ]
        assert self.hill.master is not None
        self.successResultOf(self.hill.master.push([one, *others]))
        self.successResultOf(self.roof.ledger.add(one))
        body = {"company": "c", "name": "new", "ip": "10.1.0.2", "port": 1, "cluster": one.id}
        return f"blockchain insert where policy = {json.dumps({'operator': body})} and master = !ledger_conn"

    def member(self, at: Any) -> int | None:
        (found,) = at.policies.find("operator", name="new")
        return found.whole("member")

    def test_a_member_number_is_drawn_again(self) -> None:
        """Nodes that join at once may draw the same number: the last draws again, and here and there it is one."""
        self.roof.chance = SimpleNamespace(choice=min)  # type: ignore[assignment]
        self.ask(self.crowd(range(1, 4)))
        self.assertEqual((self.member(self.hill.master), self.member(self.roof.ledger)), (4, 4))
        self.assertEqual([kind for _, _, kind in self.road.asked], ["push"] * 4)

    def test_no_luck(self) -> None:
        """Numbers are not drawn for ever; after the refusal the node knows which are taken."""
        self.roof.chance = SimpleNamespace(choice=min)  # type: ignore[assignment]
        asked = self.crowd(range(1, 255))
        self.assertEqual(self.refused(asked).number, 180)
        self.ask(asked)
        self.assertEqual((self.member(self.hill.master), self.member(self.roof.ledger)), (255, 255))
        self.assertIn("no member number is left", str(self.refused(asked.replace("new", "newer"))))

    def test_drawn_while_the_master_was_away(self) -> None:
        """The number collides when the policy is sent at last: it is drawn again, and confirmed."""
        one = cluster()
        assert self.hill.master is not None
        self.successResultOf(self.hill.master.push([one]))
        self.sync(self.roof)
        self.road.down.add(self.hill.address)
        text = json.dumps({"operator": {"company": "c", "name": "new", "ip": "10.1.0.2", "port": 1, "cluster": one.id}})
        self.ask(f"blockchain insert where policy = {text} and master = !ledger_conn")
        (mine,) = self.roof.ledger.policies.of_type("operator")
        other = policy(
            "operator", company="c", name="other", ip="10.1.0.3", port=1, cluster=one.id, member=mine.get("member")
        )
        self.successResultOf(self.hill.master.push([other]))
        self.road.down.clear()
        self.sync(self.roof)
        self.sync(self.roof)
        numbers = {each.name: each.get("member") for each in self.hill.master.policies.of_type("operator")}
        self.assertEqual(len(set(numbers.values())), 2)
        self.assertEqual((self.roof.ledger.waiting(), self.roof.ledger.version), ([], self.hill.master.version))

    def test_a_synchronisation_overtakes(self) -> None:
        """The policy is sent twice, by the insert and by a synchronisation that came between: that is no repeat."""
        ask = self.roof.peers.ask

        def overtaken(address: str, kind: str, *args: Any, **options: Any) -> Any:
            if kind == "push":
                self.roof.peers.ask = ask
                self.sync(self.roof)
            return ask(address, kind, *args, **options)

        self.roof.peers.ask = overtaken
        self.ask('blockchain insert where policy = {"a": {"name": "n"}} and master = !ledger_conn')
        self.assertEqual([kind for _, _, kind in self.road.asked], ["ledger", "push", "push"])
        self.sync(self.roof)
        self.assertEqual(self.roof.ledger.version, self.hill.master.version)  # type: ignore[union-attr]

    def test_another_policy_is_not_here_yet(self) -> None:
        """What a policy names may have been added elsewhere a moment ago: one synchronisation is tried first."""
        one = cluster()
        self.successResultOf(self.hill.master.push([one]))  # type: ignore[union-attr]
        body = {"company": "c", "name": "new", "ip": "10.1.0.2", "port": 1, "cluster": one.id}
        text = json.dumps({"operator": body})
        self.ask(f"blockchain insert where policy = {text} and master = !ledger_conn")
        text = json.dumps({"operator": {**body, "name": "newer", "port": 2, "cluster": "x"}})
        self.assertEqual(self.refused(f"blockchain insert where policy = {text} and local = true").number, 222)

    def test_what_is_refused_later_says_why(self) -> None:
        """A policy that the master does not take when it is sent again stays local, with the reason."""
        self.road.down.add(self.hill.address)
        self.ask(
            'blockchain insert where policy = {"cluster": {"name": "n", "company": "c"}} and master = !ledger_conn'
        )
        assert self.hill.master is not None
        self.successResultOf(self.hill.master.push([cluster("n")]))
        self.road.down.clear()
        self.sync(self.roof)
        (row,) = self.ask("get waiting policies where format = json").data
        self.assertIn("name:n", row["Reason"])

    def test_add_push_prepare(self) -> None:
        """The lower level."""
        self.ask("p = {'a': {'name': 'n'}}")
        self.ask("blockchain prepare policy !p")
        prepared = self.value("p")["a"]
        self.assertEqual(self.ask("blockchain get id !p").text, prepared["id"])
        self.assertEqual(prepared["date"][:10], "2026-09-21")
        self.ask("blockchain add !p")
        self.assertEqual(self.refused("blockchain add !p").number, 70)
        self.assertEqual(self.refused("blockchain push !p").number, 30)
        text = json.dumps(self.value("p"))
        self.ask(f"blockchain push {text}", self.hill)
        self.assertEqual(self.refused(f"blockchain push {text}", self.hill).number, 70)
        self.ask(f"blockchain push ignore {text}", self.hill)
        self.assertEqual(self.refused(f'blockchain push [{text}, {{"b": {{}}}}]', self.hill).number, 107)
        self.ask(f'blockchain replace policy {prepared["id"]} with {{"a": {{"name": "new"}}}}', self.hill)
        self.assertEqual({each.name for each in self.hill.master.policies}, {"new", ""})  # type: ignore[union-attr]
        self.assertEqual(self.refused("blockchain replace policy x with !p", self.roof).number, 30)

    def test_create_policy(self) -> None:
        """Types of values, defaults, and that nothing is stored."""
        self.ask("n = 5")
        self.ask("tables = [{'dbms': 'd', 'name': 't'}]")
        for asked, body in [
            ("cluster where name = my-cluster and company = Bench", {"name": "my-cluster", "company": "Bench"}),
            (
                "site where a = 5 and b = !n.int and c = !n and port = 7 and d = 1.5",
                {"a": "5", "b": 5, "c": "5", "port": 7, "d": "1.5"},
            ),
            ("site where a = 'x y' and b = \"and\" and c = two words", {"a": "x y", "b": "and", "c": "two words"}),
            ("site where table = !tables", {"table": [{"dbms": "d", "name": "t"}]}),
            ("site where table = [1, 'b'] and o = {'k': !n}", {"table": [1, "b"], "o": {"k": "5"}}),
            ("site", {}),
        ]:
            (made,) = self.ask(f"create policy {asked}").data.values()
            self.assertEqual(made, body, asked)
        made = self.ask("create policy query with defaults where name = q").data["query"]
        self.assertEqual(
            made, {"name": "q", "ip": "10.0.0.2", "local_ip": "10.0.0.2", "port": 32348, "rest_port": 32349}
        )
        made = self.ask("create policy cluster with defaults where name = q and company = c").data["cluster"]
        self.assertEqual(made["status"], "active")
        for asked, number in [
            ("", 2),
            ("a b where c = d", 2),
            ("a where c = !nothing", 2),
            ("a where c = d and c = e", 2),
            ("a where", 0),
            ("cluster with defaults where name = q", 87),
            ("operator with defaults where name = q and company = c and cluster = x", 222),
            ("a.b where c = d", 87),
        ]:
            if number:
                self.assertEqual(self.refused(f"create policy {asked}").number, number, asked)
        self.assertEqual(len(self.roof.ledger.policies), 0)

    def test_from_elsewhere(self) -> None:
        """Who asks from another host may read, and change nothing; secrets are no values for policies."""
        stranger = Context(origin="rest", local=False)
        self.ask("db_password = hidden")
        self.ask("p = {'a': {}}")
        for asked in (
            "blockchain insert where policy = !p and local = true",
            "blockchain add !p",
            "blockchain push !p",
            "blockchain drop policy !p",
            "blockchain delete policy where id = x and local = true",
            "blockchain delete local file",
            "blockchain prepare policy !p",
            "blockchain update file",
            "blockchain seed from 10.0.0.1:1",
            "blockchain wait where id = x",
        ):
            error: AnyLogError = self.failureResultOf(self.roof.execute(asked, stranger), AnyLogError).value
            self.assertEqual(error.number, 212, asked)
        self.assertEqual(self.ask("blockchain get *", context=stranger).data, [])
        waited = self.roof.execute("create policy a where x = !db_password", stranger)
        self.assertEqual(self.failureResultOf(waited, AnyLogError).value.number, 2)


class DeleteTests(VillageCase):
    """blockchain delete policy, drop policy."""

    def setUp(self) -> None:
        super().setUp()
        for ident in ("1", "2", "3"):
            self.ask(
                f'blockchain insert where policy = {{"a": {{"id": "{ident}", "n": {ident}}}}} and master = !ledger_conn'
            )
        self.sync()
        assert self.hill.master is not None
        self.store = self.hill.master

    def ids(self, at: Any) -> str:
        return "".join(each.id for each in at.policies)

    def test_delete(self) -> None:
        """Here, at the master, at both; unknown ids are named."""
        self.ask("blockchain delete policy where id = 1 and local = true and master = !ledger_conn")
        self.assertEqual((self.ids(self.roof.ledger), self.ids(self.store)), ("23", "23"))
        self.ask("blockchain delete policy where policy_id = 2 and master = !ledger_conn")
        self.assertEqual((self.ids(self.roof.ledger), self.ids(self.store)), ("23", "3"))
        self.sync()
        self.assertEqual((self.ids(self.roof.ledger), self.roof.ledger.waiting()), ("3", []))
        for asked, number in [
            ("id = 9 and local = true", 113),
            ("id = 9 and master = !ledger_conn", 113),
            ("id = 3", 2),
            ("local = true", 2),
            ("id = 3 and master = 10.9.9.9:1", 208),
        ]:
            self.assertEqual(self.refused(f"blockchain delete policy where {asked}").number, number, asked)

    def test_the_master_is_away(self) -> None:
        """A warning; it stays away here, and is gone there once the master is back."""
        self.road.down.add(self.hill.address)
        told = self.ask("blockchain delete policy where id = 1 and local = true and master = !ledger_conn")
        self.assertIn("Warning", told.text or "")
        self.assertIn("delete", self.ask("get waiting policies").text or "")
        self.road.down.clear()
        self.sync(self.roof)
        self.assertEqual((self.ids(self.roof.ledger), self.ids(self.store)), ("23", "23"))
        self.sync(self.roof)
        self.assertEqual((self.roof.ledger.waiting(), self.roof.ledger.version), ([], self.store.version))

    def test_drop(self) -> None:
        """At the master: by ids, by a query, by content, by host."""
        self.ask("ids = 1", self.hill)
        self.ask("blockchain drop policy where id = !ids", self.hill)
        self.ask(
            "blockchain drop policy where id = blockchain get a where n = 2 bring [*][id] separator = ,", self.hill
        )
        self.assertEqual(self.ids(self.store), "3")
        for asked, number in [
            ("where id = 9", 113),
            ("where id = 3, 9", 107),
            ("where name = x", 2),
            ("where id = blockchain get a where n = 99 bring [*][id]", 113),
            ("!nothing", 2),
            ("", 2),
        ]:
            self.assertEqual(self.refused(f"blockchain drop policy {asked}", self.hill).number, number, asked)
        self.ask('many = [{"a": {"id": "4", "n": "x"}}, {"a": {"id": "5", "n": "y"}}]', self.hill)
        self.ask("blockchain push !many", self.hill)
        self.assertEqual(self.refused("blockchain drop policy !many", self.hill).number, 2)
        self.ask("blockchain drop policy !many where n = x", self.hill)
        self.assertEqual(self.ids(self.store), "5")
        self.assertEqual(self.refused("blockchain drop by host 10.9.9.9", self.hill).number, 113)
        self.assertEqual(self.refused("blockchain drop policy where id = 5").number, 30)


class FileTests(VillageCase):
    """Files, other nodes, waiting, tests."""

    def test_files(self) -> None:
        """Pull, update, load, delete, read, test."""
        self.ask('blockchain push {"a": {"id": "1", "name": "o\'n"}}', self.hill)
        self.ask("blockchain pull to json", self.hill)
        self.ask("blockchain update file", self.hill)
        self.assertEqual(self.hill.ledger.version, self.hill.master.version)  # type: ignore[union-attr]
        self.assertIn(
            "o''n",
            (self.ask("blockchain pull to sql", self.hill).text or "")
            + self.hill.ledger.path.with_suffix(".sql").read_text(),
        )
        self.assertIn('"id":"1"', self.ask("blockchain pull to stdout", self.hill).text or "")
        self.assertEqual(self.ask("blockchain test", self.hill).text, "Blockchain file status: OK")
        self.assertEqual(self.ask("blockchain read a", self.hill).data[0]["a"]["id"], "1")
        self.assertEqual(self.ask("blockchain test id 1", self.hill).data, True)
        self.assertEqual(self.ask("blockchain update dbms", self.hill).text, "0 policies added")
        self.ask("blockchain reload metadata", self.hill)
        self.ask("blockchain delete local file", self.hill)
        self.assertEqual(self.ask("blockchain test", self.hill).text, "Blockchain file status: data not available")
        self.assertEqual(self.refused("blockchain read a", self.hill).number, 58)
        self.assertEqual(self.refused("blockchain update file /nowhere/x", self.hill).number, 58)
        self.assertEqual(self.refused("blockchain pull to json").number, 30)
        self.assertEqual(self.refused("blockchain pull to tape", self.hill).number, 2)

    def test_odd_places(self) -> None:
        """What is no file is not replaced by one, and of a file that holds something else it is said what."""
        path = self.hill.ledger.path.with_name("pipe")
        path.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(path)
        for place in (path, path.parent):
            self.assertEqual(self.refused(f"blockchain pull to json {place}", self.hill).number, 14)
        self.assertFalse(path.is_file())
        other = path.with_name("other")
        other.write_text("root:x:0:0\n")
        told = self.ask(f"blockchain update dbms {other}", self.hill).text or ""
        self.assertIn("0 policies added; 1 lines left out, the first: line 1: ", told)
        for port in ("²", "9" * 5000, "0", "65536"):
            error = self.refused(f'blockchain insert where policy = {{"a": {{}}}} and master = 10.0.0.1:{port}')
            self.assertEqual(error.number, 20)

    def test_damage(self) -> None:
        """A damaged file is told by the test, and by the state of the metadata."""
        self.ask('blockchain add {"a": {"id": "1"}}')
        self.roof.disk.publish(self.roof.ledger.path, b'{"a":{"id":"1"}}\nrubbish\n')
        self.ask("blockchain reload metadata")
        self.assertIn("Failure\r\nline 2", self.ask("blockchain test").text or "")
        self.assertIn("line 2", self.ask("get metadata info where format = json").data["Fault"])
        self.assertIn("damaged", self.ask("get metadata version").text or "")

    def test_seed(self) -> None:
        """A node begins with the ledger of any member; what is local there stays there."""
        self.ask('blockchain insert where policy = {"a": {"id": "1"}} and master = !ledger_conn')
        self.sync()
        self.ask('blockchain add {"a": {"id": "2"}}')
        other = self.build("10.0.0.3:32148", self.hill.address)
        self.ask(f"blockchain seed from {self.roof.address}", other)
        self.assertEqual([each.id for each in other.ledger.policies], ["1"])
        self.assertEqual(other.ledger.version, self.hill.master.version)  # type: ignore[union-attr]

    def test_wait(self) -> None:
        """Found at once, found later, not found in time."""
        assert self.hill.master is not None
        self.successResultOf(self.hill.master.push([Policy("a", {"id": "1"})]))
        self.ask("ok = blockchain wait where id = 1")
        self.assertEqual(self.value("ok"), True)
        for asked in (
            "where id = 2",
            'where command = "blockchain get b"',
            "where policy = {'b': {'id': '2'}}",
            "for {'b': {'id': '2'}}",
        ):
            waited = self.roof.execute(f"blockchain wait {asked}", self.context)
            self.assertNoResult(waited)
            self.successResultOf(self.roof.ledger.add(Policy("b", {"id": "2", "ledger": "local"})))
            self.assertEqual(self.successResultOf(waited).data, True, asked)
            self.successResultOf(self.roof.ledger.remove("2"))
        waited = self.roof.execute("ok = blockchain wait where id = 9", self.context)
        self.clock.advance(60)
        self.successResultOf(waited)
        self.assertEqual(self.value("ok"), False)
        self.assertEqual(self.refused("blockchain wait").number, 2)
        self.assertEqual(self.refused('blockchain wait where command = "get status"').number, 2)


class ViewTests(VillageCase):
    """Layouts that known clients parse."""

    def setUp(self) -> None:
        super().setUp()
        steps = OperatorSteps.STEPS
        for step in steps:
            self.ask(step)
        self.parent = self.value("cluster_id")
        create = "create table t (ts timestamp, v int)"
        for name in ("weather", "air"):
            table = {"name": name, "dbms": "town", "company": "My Company", "create": create}
            child = {
                "name": "my-cluster",
                "company": "My Company",
                "parent": self.parent,
                "table": [{"dbms": "town", "name": name, "status": "active"}],
            }
            for each in ({"table": table}, {"cluster": child}):
                self.ask(f"blockchain insert where policy = {json.dumps(each)} and master = !ledger_conn")
        self.sync()
        (self.me,) = self.roof.clusters.operators()

    def test_data_nodes(self) -> None:
        """Rows with all columns; sorted by columns; of one table; a node that fails is told."""
        member, ident = self.me.member, self.parent
        text = self.ask("get data nodes").text or ""
        lines = text.split("\r\n")
        self.assertEqual((lines[0], lines[-1], len(lines)), ("", "", 6))
        self.assertEqual(
            lines[1],
            "Company    DBMS Table   Cluster ID                       Cluster Status Node Name    Member ID "
            "External IP/Port Local IP/Port  Main Node Status ",
        )
        self.assertEqual(
            lines[3],
            f"My Company|town|weather|{ident}|active        |my-operator1|{member:>9}|"
            "10.0.0.2:32148  |10.0.0.2:32148| -  |active     |",
        )
        rows = self.ask("get data nodes where sort = (1, 2) and format = json").data
        self.assertEqual([row["Table"] for row in rows], ["air", "weather"])
        self.assertEqual((rows[0]["Member ID"], rows[0]["Main"], rows[0]["Company"]), (member, " -", "My Company"))
        self.road.down.add(self.roof.address)
        rows = self.ask("get data nodes where table = Weather and dbms = town and format = json", self.hill).data
        self.assertEqual([row["Node Status"] for row in rows], ["not responding"])
        self.assertEqual(self.ask("get data nodes where company = other and format = json").data, [])
        self.assertEqual(self.refused("get data nodes where sort = (99)").number, 175)

    def test_cluster_info(self) -> None:
        """Of the operator that this node is; elsewhere a text says so."""
        data = self.ask("get cluster info where format = json").data
        self.assertEqual(
            (data["Cluster ID"], data["Member ID"], data["Cluster Name"]), (self.parent, self.me.member, "my-cluster")
        )
        self.assertEqual(
            data["Participating Operators"],
            [{"IP": "10.0.0.2", "Port": "32148", "Member": self.me.member, "Status": "active"}],
        )
        self.assertEqual([row["Table"] for row in data["Tables Supported"]], ["weather", "air"])
        self.assertIn("Participating Operators", self.ask("get cluster info").text or "")
        self.assertIn("not an operator", self.ask("get cluster info", self.hill).text or "")

    def test_tables_and_servers(self) -> None:
        """Virtual tables, network databases, servers, the tree."""
        self.assertEqual(
            self.ask("get virtual tables").text,
            "\r\nCompany    DBMS Table   \r\n----------|----|-------|\r\n"
            "My Company|town|weather|\r\nMy Company|town|air    |\r\n",
        )
        self.assertEqual(self.ask("get virtual tables where table = air and format = json").data[0]["Table"], "air")
        self.assertEqual(
            self.ask("get network databases where format = json").data, [{"Company": "My Company", "DBMS": "town"}]
        )
        self.assertEqual(self.ask("get servers where dbms = town and table = air bring.ip_port").text, "10.0.0.2:32148")
        self.assertEqual(self.ask("get servers bring.unique [*][name]").text, "my-operator1")
        self.assertEqual(len(self.ask("get servers where format = json").data), 2)
        self.assertEqual(self.refused("get servers where nosuch = 1").number, 2)
        tree = self.ask("blockchain query metadata").text or ""
        self.assertIn(f"==> 10.0.0.2:32148 [{self.me.member:03} local active]", tree)
        self.assertEqual(
            self.ask("blockchain get operator where dbms = town and table = air bring.ip_port").text, "10.0.0.2:32148"
        )

    def test_others(self) -> None:
        """Types, differences, the test of clusters."""
        self.assertEqual(
            self.ask("get policy types where format = json").data, {"cluster": 3, "operator": 1, "table": 2}
        )
        self.ask("a = blockchain get table where name = air bring.first")
        self.ask("b = blockchain get table where name = weather bring.first")
        rows = self.ask("get policies diff !a !b").data
        self.assertEqual({row["Attribute"] for row in rows}, {"name", "id", "date"})
        self.assertEqual(self.ask("get policies diff !a !a").text, "No differences")
        self.assertEqual(self.ask("blockchain test cluster").text, "ok")
        self.successResultOf(self.roof.ledger.add(cluster("lonely", parent="nowhere")))
        self.assertIn("nowhere", self.ask("blockchain test cluster").text or "")
