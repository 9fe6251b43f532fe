"""High availability as its manual tells it, from the first line to the last, on real processes (seeds 000 to 002)."""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
from network import Network
from node import NodeProcess, free_port

# The cluster policies as they are printed, with an id (000), and with a list of tables (001).
CLUSTER = """<new_policy = {"cluster": {
  "company": "Lit San Leandro",
  "name": "lsl-cluster2",
  "status": "active"
}}>"""
LISTED = """<new_policy = {'cluster' : {'company' : 'Lit San Leandro',
               'name' : 'lsl-cluster3',
               'master' : '45.33.41.185:2048',
               'table' : [{'name' : 'ping_sensor',
                           'dbms' : 'litsanleandro',
                           'status' : 'active'},
                          {'name' : 'perecentagecpu_sensor',
                           'dbms' : 'litsanleandro',
                           'status' : 'active'}],
               'id' : '11612ba3c05e123e2a3fef9fcd4d53fe',
               'date' : '2021-04-02T18:31:46.802694Z',
               'status' : 'active'}}>"""
# Of an operator; the addresses are those of the test. The first has the id that the manual prints.
OPERATOR = """<new_policy = {'operator' : {'cluster' : '%s',
                'ip' : '127.0.0.1',
                'local_ip' : '127.0.0.1',
                'port' : %d,
                'id' : '%s',
                'date' : '2021-04-02T21:43:20.129597Z',
                'main' : %s,
                'member' : %d}}>"""
IDS = ("52612f21b18cf29f7d2e511e3ca56ca6", "52612f21b18cf29f7d2e511e3ca56ca7", "52612f21b18cf29f7d2e511e3ca56ca8")
INSERT = "blockchain insert where policy = !new_policy and local = true and master = !master_node"
HA = (
    "run operator where policy = %s and create_table = true and update_tsd_info = true and archive = true"
    " and distributor = true and master_node = !master_node",
    "run data distributor",
    "run data consumer where start_date = -30d ",
)
DBMS, TABLE = "litsanleandro", "ping_sensor"
MEMBERS = (145, 159, 120)
READY = {
    "Operator": "Running: distributor flag enabled",
    "Distributor": "Running",
    "Consumer": "Running",
    "almgm.tsd_info": "Defined",
}


class Member:
    """An operator that is told by hand what the manual prints."""

    def __init__(self, network: Network, folder: Path, number: int, taken: set[int]) -> None:
        self.member, self.policy = MEMBERS[number], IDS[number]
        self.main = number == 2
        self.tcp = free_port(taken)
        taken.add(self.tcp)
        rest = free_port(taken)
        taken.add(rest)
        self.address = f"127.0.0.1:{self.tcp}"
        self.name = f"lsl-cluster2-127.0.0.1-{self.tcp}"  # it is told none
        self.node = NodeProcess(folder / f"operator{number}", port=rest, dbms=DBMS)
        master = f"127.0.0.1:{network.tcp['master']}"
        self.node.commands = (
            f"master_node = {master}",
            f"run tcp server where external_ip = 127.0.0.1 and external_port = {self.tcp}"
            f" and internal_ip = 127.0.0.1 and internal_port = {self.tcp} and bind = true",
            f"run blockchain sync where source = master and time = 2 seconds and dest = file and connection = {master}",
            "connect dbms almgm where type = sqlite",
            "create table tsd_info where dbms = almgm",
        )

    def say(self, command: str) -> Any:
        """As a person gives it, over REST, in the body since it may span lines; JSON read where it is some."""
        body = json.dumps({"command": command}).encode()
        status, said = self.node.request("POST", "/", body, **{"Content-Type": "application/json"})
        assert status == 200, (command, said)
        try:
            return json.loads(said) if said else None
        except ValueError:
            return said.decode()

    def refused(self, command: str) -> str:
        """Why a command is refused."""
        body = json.dumps({"command": command}).encode()
        status, said = self.node.request("POST", "/", body, **{"Content-Type": "application/json"})
        assert status == 400, (command, said)
        return said.decode()

    def asked(self, command: str) -> Any:
        return self.say(f"{command} format = json" if " where " not in command else f"{command} and format = json")

    def high(self) -> None:
        """The three commands."""
        for command in HA:
            self.say(command % self.policy if "%s" in command else command)

    def put(self, values: Sequence[Any], table: str = TABLE) -> None:
        rows = [{"timestamp": f"2026-11-21 10:00:{n:02}", "value": value} for n, value in enumerate(values)]
        status, said = self.node.request("PUT", "/", json.dumps(rows).encode(), type="json", dbms=DBMS, table=table)
        assert status == 200, said

    def values(self, table: str = TABLE) -> list[float]:
        """What its own database holds."""
        text = f'sql {DBMS} format = json and stat = false "select value from {table} order by value"'
        status, body = self.node.get(**{"User-Agent": "AnyLog/1.23", "command": text})
        return [row["value"] for row in json.loads(body)["Query"]] if status == 200 else []

    def archived(self) -> list[str]:
        """Day and name of each file of its archive."""
        root = self.node.folder("archive")
        return sorted(str(path.relative_to(root)) for path in root.rglob("*.json*"))


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    made = Network(tmp_path / "network", operators=0, every="2")
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.fixture
def members(network: Network, tmp_path: Path) -> Iterator[list[Member]]:
    taken = {*network.tcp.values(), *(node.port for node in network.nodes)}
    made = [Member(network, tmp_path, number, taken) for number in range(len(MEMBERS))]
    try:
        for each in made:
            each.node.start()
        yield made
    finally:
        for each in made:
            lines = each.node.log.read_text().splitlines() if each.node.log.exists() else []
            print(each.name, *[line for line in lines if "#info" not in line][-15:], sep="\n")
            if each.node.process is not None and each.node.process.poll() is None:  # shown if the test fails
                print(*(each.say(command) for command in ("get consumer", "get distributor", "get file log")))
                print(*(str(path) for path in each.node.root.rglob("*.json*")), sep="\n")
            each.node.remove()


def until(holds: Callable[[], Any], doing: str, seconds: float = 90.0) -> Any:
    end, found = time.monotonic() + seconds, None
    while time.monotonic() < end:
        if found := holds():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds:g} seconds: {doing}: {found!r}")


def found_until(holds: Callable[[], Any], wanted: Any, doing: str, seconds: float = 90.0) -> None:
    """Wait until it is what is wanted; a failure shows what it is."""
    end = time.monotonic() + seconds
    while (found := holds()) != wanted and time.monotonic() < end:
        time.sleep(0.05)
    assert found == wanted, doing


def set_up(members: Sequence[Member], also: Sequence[Member] = ()) -> str:
    """The policies, and the three commands on each of `members`; gives the id of the cluster."""
    first = members[0]
    first.say(CLUSTER)
    first.say(INSERT)
    (policy,) = first.say("blockchain get cluster where name = lsl-cluster2")
    cluster = policy["cluster"]
    assert {"id", "date"} <= set(cluster) and cluster["status"] == "active"
    for each in [*members, *also]:
        each.say(OPERATOR % (cluster["id"], each.tcp, each.policy, str(each.main).lower(), each.member))
        each.say(INSERT)
        (policy,) = each.say(f"blockchain get operator where id = {each.policy}")
        told = {key: policy["operator"][key] for key in ("company", "name", "member")}
        assert told == {"company": "Lit San Leandro", "name": each.name, "member": each.member}
    for each in members:
        each.high()
    return str(cluster["id"])


def query(network: Network) -> list[float]:
    return [row["value"] for row in network.ask(f"select value from {TABLE} order by value", dbms=DBMS)]


def answer(network: Network) -> list[float] | str:
    """The same while its ledger may not have the table yet: then why it is refused."""
    try:
        return query(network)
    except RuntimeError as refused:
        return str(refused)


def knows_all(member: Member, members: Sequence[Member]) -> None:
    """What others inserted comes to a member with its next copy of the ledger."""

    def known() -> list[int]:
        return sorted(row["Member ID"] for row in member.asked(f"get data nodes where table = {TABLE}"))

    found_until(known, sorted(each.member for each in members), f"who holds the table, as {member.name} knows it")


def test_from_the_first_line_to_the_last(network: Network, members: list[Member]) -> None:
    """Two members hold identical data, every command of the manual answers as it is told there, a third joins later
    and one fails: the query goes to a survivor."""
    one, two, three = members
    cluster = set_up([one, two], [three])

    # "Testing the node configuration for HA"
    for each in (one, two):
        said = until(
            lambda each=each: (told := each.asked("test ha setup where")) and told["Member ID"] == each.member and told,
            "test ha setup",
        )
        assert said == {**READY, "Operator Name": each.name, "Member ID": each.member, "Cluster ID": cluster}
        assert list(said) == ["Operator", "Distributor", "Consumer", "Operator Name", "Member ID", "Cluster ID",
                              "almgm.tsd_info"]  # fmt: skip
        assert each.asked("test cluster setup where") == said
        lines = each.say("test ha setup").splitlines()
        assert [" ".join(line.split("|")[:2]).split() for line in lines if line.startswith("Functionality")] == [
            ["Functionality", "Details"]
        ]
    setup = three.asked("test ha setup where")
    assert [setup[title] for title in ("Operator", "Distributor", "Consumer")] == ["Disabled"] * 3

    # "if multiple operators support the same cluster they will share the same data"; who is not known yet gets nothing
    for each in (one, two):
        wanted = sorted(each.policy for each in members)
        found_until(
            lambda each=each: sorted(policy["operator"]["id"] for policy in each.say("blockchain get operator")),
            wanted,
            "members",
        )
    one.put([1.5, 2.5])
    two.put([3.5])
    for each in (one, two):
        found_until(each.values, [1.5, 2.5, 3.5], f"identical data at {each.name}")
    found_until(lambda: answer(network), [1.5, 2.5, 3.5], "the query node")

    # "View the distribution of data to clusters" and "to an operator"
    for each in (one, two):
        knows_all(each, members)
    for command in (
        "get data nodes",
        f"get data nodes where company = Lit San Leandro and dbms = {DBMS} and table = {TABLE}",
        f"get data nodes where dbms = {DBMS}",
    ):
        text = two.say(command)
        for each in members:
            (line,) = [line for line in text.splitlines() if each.name in line]
            assert DBMS in line and TABLE in line and cluster in line and each.address in line
    assert one.asked("get data nodes where table = nothing_here") == []
    nodes = {row["Node Name"]: row for row in one.asked("get data nodes where")}
    assert [nodes[each.name]["Member ID"] for each in members] == [each.member for each in members]
    info = one.asked("get cluster info where")
    assert (info["Cluster ID"], info["Member ID"]) == (cluster, one.member)
    assert {row["Port"]: row["Member"] for row in info["Participating Operators"]} == {
        str(each.tcp): each.member for each in members
    }
    assert info["Tables Supported"] == [{"Company": "Lit San Leandro", "DBMS": DBMS, "Table": TABLE}]
    assert "Participating Operators" in one.say("get cluster info")

    # "The Time Series Data (TSD) Management Tables": TSD_INFO for own sources, TSD_ID for those of member ID
    found_until(lambda: one.asked("time file tables where"), ["tsd_info", "tsd_159"], "tables of files")
    found_until(lambda: two.asked("get tsd list where"), ["tsd_info", "tsd_145"], "tables of files")
    for command in ("time file summary where table = * and start_date = -10d", "get tsd summary where table = *"):
        wanted = {f"{DBMS}.{TABLE}": {"files": 2, "rows": 3}}
        found_until(lambda command=command: one.asked(command), wanted, "files that are loaded")
    assert one.asked("time file get where table = tsd_159")["tsd_159"][0]["rows"] == 1
    assert one.asked("time file errors where table = tsd_159 and start_date = -10d") == {"tsd_159": []}

    # "The Archive of source data": compressed, in Year/Month/Day, found by the commands that are printed
    day = (
        until(lambda: len(one.archived()) == 2 and one.archived() == two.archived(), "archives")
        and (one.archived()[0].rsplit("/", 1)[0])
    )
    for each in (one, two):
        assert str(each.say("!archive_dir")).strip() == str(each.node.folder("archive"))
        names = str(each.say(f"get files !archive_dir/{day}")).split()
        assert names == [name.rsplit("/", 1)[1] for name in each.archived()]
        for name in names:
            found = re.fullmatch(rf"{DBMS}\.{TABLE}\.0\.[0-9a-f]{{32}}\.0\.(145|159)\.\d+\.(\d{{12}})\.json\.gz", name)
            assert found and f"{found[2][:2]}/{found[2][2:4]}/{found[2][4:6]}" == day
        assert day.split("/")[0] in str(each.say("get directories !archive_dir"))

    # Background processes of the manual (002): their status, and the modes of the consumer
    for each in (one, two):
        (peer,) = until(
            lambda each=each: [row for row in each.asked("get distributor where")["Peers"] if row["Files"]],
            "a peer has said that it has the file",
        )
        assert (peer["Files"], peer["Errors"], peer["Status"]) == (1, 0, "Active")
        assert each.asked("get consumer where")["Mode"] == "active"
        processes = each.asked("get processes where")
        for title in ("Operator", "Distributor", "Consumer", "Blockchain Sync"):
            assert processes[title]["Status"] == "Running", processes[title]
        assert "Cluster Member: True" in str(processes["Operator"])
        assert DBMS in each.say("get operator")

    # "Suspend mode stops the requests for data files from peers. The process resumes when mode is changed"
    two.say("set consumer mode = suspend")
    assert two.asked("get consumer where")["Mode"] == "suspend"
    one.say("exit distributor")
    assert "no cluster with the id '87bd559697640dad9bdd4c356a4f7421'" in one.refused(
        "run data distributor where cluster_id = 87bd559697640dad9bdd4c356a4f7421 and distr_dir = !distr_dir"
    )
    one.put([4.5])
    found_until(one.values, [1.5, 2.5, 3.5, 4.5], "the member itself")
    counts = {"DBMS": DBMS, "Table": TABLE, "Node_120": "0/0", "Node_145": "3/4", "Node_159": "2/3"}
    found_until(lambda: two.asked("test cluster data where"), [counts], "who has what")
    assert two.values() == [1.5, 2.5, 3.5]
    own = one.asked("test ha setup where")["Cluster ID"]
    one.say(f"run data distributor where cluster_id = {own} and distr_dir = !distr_dir and archive_dir = !archive_dir")
    two.say("set consumer mode = active")
    found_until(two.values, [1.5, 2.5, 3.5, 4.5], "what was missing")
    two.say("exit consumer")
    two.say("run data consumer where start_date = -3d")
    two.say("exit consumer")
    two.say("run data consumer where start_date = 26-01-01 00:00:00 and mode = active")

    # "Adding Operator Nodes to a Cluster": it synchronizes by itself
    three.high()
    found_until(three.values, [1.5, 2.5, 3.5, 4.5], "all data at the member that joined")
    until(lambda: three.archived() == one.archived() == two.archived(), "equal archives")
    assert three.asked("test ha setup where")["Operator"] == READY["Operator"]
    same = {"DBMS": DBMS, "Table": TABLE, **{f"Node_{each.member}": "3/4" for each in members}}
    found_until(lambda: three.asked("test cluster data where start_date = -7d"), [same], "the same everywhere")

    for command in ("test cluster databases", "test cluster partitions", "test node cluster", "test network clusters",
                    "blockchain test cluster", "blockchain query metadata", "get tsd sync status"):  # fmt: skip
        assert three.say(command)
    (whole,) = three.asked("test cluster partitions where")
    names = {f"Node_{each.member}": "+" for each in members}
    assert whole == {"DBMS": DBMS, "Table": TABLE, "Partition": "none", **names}
    assert "No partitions" in three.say("test cluster partitions")

    # A file that nobody has any more is listed with its place in the archive
    lost(members)

    # "If an Operator fails to respond ... queries will not be shipped to the non-active Operator"
    survive(network, members)

    for process in ("operator", "distributor", "consumer"):
        one.say(f"exit {process}")
    assert one.asked("test ha setup where")["Consumer"] == "Disabled"


def lost(members: Sequence[Member]) -> None:
    """Member 159 takes a file while 120 is away; then it is in no archive any more, and 120 comes back."""
    one, two, three = members
    three.node.stop()
    two.put([5.5])
    for each in (one, two):
        found_until(each.values, [1.5, 2.5, 3.5, 4.5, 5.5], f"the file of 159 at {each.name}")
    until(lambda: len(one.archived()) == len(two.archived()) == 4, "it is archived", 60)
    gone = (set(one.archived()) - set(three.archived())).pop()
    for each in (one, two):
        (each.node.folder("archive") / gone).unlink()
    three.node.start()
    three.high()
    command = "time file errors where table = tsd_159 and start_date = -10d"
    (told,) = until(lambda: three.asked(command).get("tsd_159"), "what is lost is told")
    assert told == str(three.node.folder("archive") / gone).removesuffix(".gz")
    assert told in three.say(command)
    assert three.values() == [1.5, 2.5, 3.5, 4.5]


def status_of(network: Network, member: Member) -> str:
    """How the query node sees it."""
    nodes = json.loads(network.query.command("get data nodes where format = json"))
    return str({row["Node Name"]: row["Node Status"] for row in nodes}[member.name])


def survive(network: Network, members: Sequence[Member]) -> None:
    """One member is silent, then gone: the answers are whole, and the status names who failed."""
    wanted = [1.5, 2.5, 3.5, 4.5, 5.5]
    three = members[2]
    process = three.node.process
    assert process is not None
    found_until(lambda: answer(network), wanted, "before")
    # It was away a moment ago. The main operator is asked as soon as it is heard of again.
    found_until(lambda: status_of(network, three), "active", "the query node knows that it is back", 60)
    # As long as no survivor is complete, the one that does not respond is asked before their answers are taken.
    for each in members[:2]:
        found_until(lambda each=each: each.asked("get consumer where")["State"], "complete", each.name, 90)
    process.send_signal(signal.SIGSTOP)
    try:
        assert query(network) == wanted  # the main operator is asked first, as long as it is active
        jobs = json.loads(network.query.command("query status all where format = json"))
    finally:
        process.send_signal(signal.SIGCONT)
    # After a fail-over both appear, the failed one with Error, below the line of a query that was completed.
    heads = [place for place, row in enumerate(jobs) if row["Operator"] == "All"]
    parted = [jobs[first:last] for first, last in zip(heads, [*heads[1:], len(jobs)], strict=True)]
    failed = [
        rows for rows in parted
        if any(row["Operator"] == three.address and row["Status"].startswith("Error") for row in rows)
    ]  # fmt: skip
    assert failed, [(row["Operator"], row["Status"]) for row in jobs]
    failed = failed[-1]
    assert failed[0]["Status"] == "Completed", failed
    survivors = {row["Operator"] for row in failed[1:] if row["Status"] == "Completed"}
    assert survivors and survivors <= {each.address for each in members[:2]}, failed
    found = json.loads(network.query.command("query destination all where format = json"))
    assert {three.address, *survivors} <= {row["Destination"] for row in found}
    for command in ("query status", "query destination"):
        assert any(address in network.query.command(command).decode() for address in survivors)

    three.node.kill()

    def shipped() -> list[tuple[str, str]]:
        """Whom the next query goes to, if the one that is gone is among them; its answer is whole in any case."""
        assert query(network) == wanted
        status = json.loads(network.query.command("query status where format = json"))
        told = [(row["Operator"], row["Status"]) for row in status]
        return told if three.address in dict(told) else []

    found_until(shipped, [], "queries will not be shipped to the non-active Operator", 60)
    assert status_of(network, three) == "not responding"


def test_a_cluster_that_lists_its_tables(network: Network, members: list[Member]) -> None:
    """A table that two clusters list is split between them, and queried as one (seed 001)."""
    one, two, _ = members
    set_up([one])
    two.say(LISTED)
    two.say(INSERT)
    cluster = "11612ba3c05e123e2a3fef9fcd4d53fe"
    two.say(OPERATOR % (cluster, two.tcp, two.policy, "false", two.member))
    two.say(INSERT)
    two.high()
    for command in ("blockchain test cluster", "blockchain query metadata", "get data nodes"):
        assert two.say(command)
    one.put([1.5])
    two.put([2.5])
    found_until(lambda: answer(network), [1.5, 2.5], "both parts")
    assert (one.values(), two.values()) == ([1.5], [2.5])
    knows_all(two, [one, two])
    listed = two.asked("get cluster info where")["Tables Supported"]
    assert [row["Table"] for row in listed] == ["ping_sensor", "perecentagecpu_sensor"]
    tree = str(two.say("blockchain query metadata"))
    assert f"==> {cluster}" in tree and f"==> {two.address} [159 local active]" in tree
    assert f"==> {one.address} [145 remote active]" in tree
