"""The scripts of etc/deploy in whole nodes: each type starts, twice is as once, and what is wrong is named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployed import MASTER, SCRIPTS, Deployed
from twisted.internet.defer import gatherResults

from anylog.checker import Checker
from anylog.errors import AnyLogError
from anylog.language.words import Words
from anylog.node import ALL_COMMANDS
from anylog.testing.world import World

DOCS = Path(__file__).parents[2] / "docs" / "deploy.rst"
ALWAYS = {"tcp", "rest", "synchronizer", "scheduler"}
KEEPS = {"almgm", "my_company"}


@pytest.fixture
def deployed() -> Iterator[Deployed]:
    made = Deployed(World(1))
    yield made
    made.world.stop()


def declared(deployed: Deployed, name: str) -> set[tuple[str, str]]:
    """Type and name of the policies that a node sees, without those of configurations."""
    policies = deployed.world.nodes[name].ledger.policies
    return {(policy.type, policy.name) for policy in policies if policy.type != "config"}


@pytest.mark.parametrize(
    ("kind", "ports", "processes", "databases", "policies"),
    [
        ("generic", (32548, 32549), set(), set(), {"generic"}),
        ("master", (32048, 32049), set(), {"blockchain"}, {"master"}),
        ("query", (32348, 32349), set(), {"system_query"}, {"query"}),
        ("publisher", (32248, 32249), {"streamer", "publisher"}, {"almgm"}, {"publisher"}),
        ("OPERATOR", (32148, 32149), {"streamer", "operator"}, KEEPS, {"cluster", "operator"}),
        ("master-operator", (32148, 32149), {"streamer", "operator"}, {"blockchain", *KEEPS},
         {"master", "cluster", "operator"}),
        ("master-publisher", (32248, 32249), {"streamer", "publisher"}, {"blockchain", "almgm"},
         {"master", "publisher"}),
    ],
)  # fmt: skip
def test_types(
    deployed: Deployed, kind: str, ports: tuple[int, int], processes: set[str], databases: set[str], policies: set[str]
) -> None:
    """Each starts, with its ports, databases and policies; again in the same node, and after a restart, as well."""
    master = kind.startswith("master")
    if not master:
        deployed.add("m", "10.0.0.1", NODE_TYPE="master")
    node = deployed.add("n", "10.0.0.2", NODE_TYPE=kind, LEDGER_CONN="" if master else MASTER)
    for turn in ("first", "again", "restarted"):
        if turn == "again":
            deployed.again(node)
        if turn == "restarted":
            deployed.restart("n")
            node = deployed.world.nodes["n"]
        assert deployed.running("n") == ALWAYS | processes, turn
        assert set(node.databases.names()) == databases, turn
        own = {policy.type: policy for policy in node.ledger.policies if policy.name == "n"}
        assert {*own, *(kind for kind, _ in declared(deployed, "n") if kind == "cluster")} == policies, turn
        for policy in own.values():
            assert (policy.get("port"), policy.get("rest_port"), policy.get("ip")) == (*ports, "10.0.0.2"), turn
        told = str(deployed.world.run(node, "get scheduler 1").text)
        assert told.count("delete old archive") == ("operator" in processes), turn


def test_network(deployed: Deployed) -> None:
    """Five nodes: stopped and started again they have the same ledger and the same processes, twice in a row."""
    deployed.add("m", "10.0.0.1", NODE_TYPE="master")
    for number, name in ((2, "o1"), (3, "o2")):
        deployed.add(name, f"10.0.0.{number}", NODE_TYPE="operator", CLUSTER_NAME="hall", ENABLE_HA="True")
    deployed.add("p", "10.0.0.4", NODE_TYPE="publisher")
    deployed.add("q", "10.0.0.5", NODE_TYPE="query")
    world, names = deployed.world, ("m", "o1", "o2", "p", "q")

    def settled() -> bool:
        return len({world.nodes[name].ledger.version for name in names}) == 1 and not any(
            world.nodes[name].ledger.waiting() for name in names
        )

    world.until(settled, 200)
    version, policies = world.nodes["m"].ledger.version, deployed.policies("m")
    running = {name: deployed.running(name) for name in names}
    assert running["o1"] == running["o2"] == ALWAYS | {"streamer", "operator", "distributor", "consumer"}
    assert sorted(kind for kind, _ in declared(deployed, "q")) == [
        "cluster", "master", "operator", "operator", "publisher", "query",
    ]  # fmt: skip
    mains = {policy.name: policy.get("main") for policy in world.nodes["m"].ledger.policies.find("operator")}
    assert mains == {"o1": True, "o2": False}
    for _ in range(2):
        deployed.restart(*names)
        world.until(settled, 200)
        assert world.nodes["m"].ledger.version == version
        assert deployed.policies("m") == policies
        assert {name: deployed.running(name) for name in names} == running


def test_one_cluster_at_once(deployed: Deployed) -> None:
    """Operators that start together make one cluster."""
    deployed.add("m", "10.0.0.1", NODE_TYPE="master")
    world, names = deployed.world, [f"o{number}" for number in range(3)]
    for number, name in enumerate(names):
        node = deployed.bare(name, f"10.0.1.{number}")
        node.environ.update(NODE_TYPE="operator", CLUSTER_NAME="hall", NODE_NAME=name, LEDGER_CONN=MASTER)
    world.wait(gatherResults([world.begin(world.nodes[name], "process /deploy/main.al") for name in names]), 200)
    assert all("operator" in deployed.running(name) for name in names)
    world.until(lambda: len(world.nodes["m"].ledger.policies.find("operator")) == 3)
    policies = world.nodes["m"].ledger.policies
    (cluster,) = policies.find("cluster")
    assert {policy.name: policy.get("cluster") for policy in policies.find("operator")} == dict.fromkeys(
        names, cluster.id
    )


def test_the_master_comes_last(deployed: Deployed) -> None:
    """All of it waits, and nothing is lost: as when containers are started at once."""
    world = deployed.world
    for number, name in ((2, "o1"), (3, "o2")):
        deployed.add(name, f"10.0.0.{number}", NODE_TYPE="operator", CLUSTER_NAME="hall", IS_MAIN=str(number == 2))
    deployed.add("q", "10.0.0.5", NODE_TYPE="query")
    deployed.add("m", "10.0.0.1", NODE_TYPE="master")
    nodes = list(world.nodes.values())
    world.until(
        lambda: len({each.ledger.version for each in nodes}) == 1 and not any(n.ledger.waiting() for n in nodes), 200
    )
    assert sorted(kind for kind, _ in declared(deployed, "o1")) == [
        "cluster",
        "master",
        "operator",
        "operator",
        "query",
    ]
    assert world.run(nodes[0], "blockchain test cluster").text == "ok"


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"NODE_TYPE": ""}, "NODE_TYPE is missing"),
        ({"NODE_TYPE": "bakery"}, "NODE_TYPE is bakery and should be generic, master"),
        ({"DB_TYPE": "oracle"}, "DB_TYPE is oracle and should be sqlite or psql"),
        ({"SYSTEM_QUERY_DB": "mongo"}, "SYSTEM_QUERY_DB is mongo and should be"),
        ({"ENABLE_HA": "yes"}, "ENABLE_HA is yes and should be true or false"),
        ({"ENABLE_DNS": "true"}, "ENABLE_DNS is true: DNS, DNS_DOMAIN or EXTERNAL_DNS is missing"),
        ({"ANYLOG_SERVER_PORT": "many"}, "port:many is no number"),
        ({"REST_TIMEOUT": "long"}, "rest_timeout:long is not a number"),
        ({"BLOCKCHAIN_SYNC": "often"}, "often"),
        ({"LEDGER_CONN": "nowhere"}, "'nowhere' is not ip:port"),
        ({"THRESHOLD_VOLUME": "much"}, "much"),
        ({"OPERATOR_THREADS": "99"}, "99"),
        ({"ENABLE_HA": "true", "ARCHIVE": "false"}, "archive"),
    ],
)
def test_refused(deployed: Deployed, variables: dict[str, str], told: str) -> None:
    """What is wrong ends the start, and is named."""
    deployed.add("m", "10.0.0.1", NODE_TYPE="master")
    node = deployed.bare("n", "10.0.0.2")
    assert told in deployed.refused(node, **{"NODE_TYPE": "operator", **variables})


def test_moved(deployed: Deployed) -> None:
    """A name that is at another address is refused with both, whatever the type; so is another cluster."""
    deployed.add("m", "10.0.0.1", NODE_TYPE="master")
    for number, kind in enumerate(("generic", "operator", "publisher", "query"), 2):
        deployed.add(kind, f"10.0.0.{number}", NODE_TYPE=kind)
        other = deployed.bare(f"other-{kind}", f"10.0.1.{number}")
        why = deployed.refused(other, NODE_TYPE=kind, NODE_NAME=kind)
        port = deployed.world.nodes[kind].ledger.policies.find(kind)[0].get("port")
        assert f"is at 10.0.0.{number}:{port} and this node at 10.0.1.{number}:{port}" in why
    node = deployed.world.nodes["operator"]
    assert "CLUSTER_NAME is elsewhere" in deployed.refused(node, NODE_TYPE="operator", CLUSTER_NAME="elsewhere")
    deployed.add("free", "10.0.2.1", NODE_TYPE="query", NODE_NAME="query", COMPANY_NAME="Another One")


def test_hidden(deployed: Deployed) -> None:
    """It publishes nothing, not even its configuration, at no time; of an operator that is refused."""
    deployed.add("m", "10.0.0.1", NODE_TYPE="master")
    world = deployed.world
    world.run(world.nodes["m"], "run blockchain sync")
    world.until(lambda: not world.nodes["m"].ledger.waiting())
    before = deployed.policies("m")
    node = deployed.add("n", "10.0.0.2", NODE_TYPE="query", IS_HIDDEN="True")
    assert deployed.running("n") == ALWAYS
    deployed.restart("n")
    world.advance(100)
    assert deployed.policies("m") == before == deployed.policies("n")
    assert deployed.running("n") == ALWAYS
    node = deployed.add("o", "10.0.0.3", NODE_TYPE="operator", IS_HIDDEN="true")
    assert "IS_HIDDEN: an operator cannot be hidden, its policy is published" in deployed.told["o"]
    assert ("operator", "o") in declared(deployed, "o")
    assert node.dictionary.get("is_hidden") == "false"


def test_left_out(deployed: Deployed) -> None:
    """What is not in this build is named once, by its variable, and the node goes on."""
    asked = (
        "BLOBS_STORAGE", "NODE_MONITORING", "SYSLOG_MONITORING", "DOCKER_MONITORING",
        "STORE_MONITORING", "ENABLE_OPCUA", "ENABLE_AUTH", "ENABLE_MCP", "ENABLE_VIDEO_STREAMING",
    )  # fmt: skip
    more = {
        "DB_TYPE": "psql", "SYSTEM_QUERY_DB": "PSQL", "BLOCKCHAIN_SOURCE": "optimism", "NOSQL_TYPE": "mongo",
        "BUCKET_GROUP": "main", "BLOB_STORAGE_TYPE": "mongo",
    }  # fmt: skip
    quiet = deployed.add("m", "10.0.0.1", NODE_TYPE="master", LICENSE_KEY="abc", **dict.fromkeys(asked, "False"))
    assert not deployed.left_out("m")
    assert quiet.dictionary.get("license_key") == "abc"
    node = deployed.add("o", "10.0.0.2", NODE_TYPE="operator", **dict.fromkeys(asked, "TRUE"), **more)
    told = [line.partition(":")[0] for line in deployed.left_out("o")]
    assert sorted(told) == sorted([*asked, *more, "ENABLE_PARTITIONS"])
    assert "operator" in deployed.running("o")
    assert node.dictionary.get("db_type") == "sqlite"
    assert "environment" not in node.dictionary
    deployed.add("p", "10.0.0.3", NODE_TYPE="operator", ENABLE_PARTITIONS="false")
    assert not deployed.left_out("p")


def test_policy_of_a_node(deployed: Deployed) -> None:
    """What is told of the place, the member and the address is in the policy; nothing else."""
    deployed.add("m", "10.0.0.1", NODE_TYPE="master")
    place = {
        "LOCATION": "37.4, -122.1",
        "COUNTRY": "US",
        "STATE": "CA",
        "CITY": "Menlo Park",
        "BRANCH": "b",
        "DEPT": "d",
    }
    deployed.add("o", "10.0.0.2", NODE_TYPE="operator", MEMBER="145", IS_MAIN="FALSE", OVERLAY_IP="10.9.0.2",
                 ANYLOG_BROKER_PORT="32150", **place)  # fmt: skip
    policies = deployed.world.nodes["o"].ledger.policies
    (policy,) = policies.find("operator")
    body = {
        key: value for key, value in policy.body.items() if key not in ("id", "date", "ledger", "hostname", "cluster")
    }
    assert body == {
        "name": "o", "company": "My Company", "ip": "10.9.0.2", "local_ip": "10.0.0.2", "port": 32148,
        "rest_port": 32149, "broker_port": 32150, "member": 145, "main": False, "loc": "37.4, -122.1", "country": "US",
        "state": "CA", "city": "Menlo Park", "branch": "b", "dept": "d",
    }  # fmt: skip
    assert "broker" in deployed.running("o")
    assert "operator-my_company-configs-broker" in {policy.name for policy in policies.find("config")}
    deployed.add("q", "10.0.0.3", NODE_TYPE="query", ENABLE_DNS="true", DNS="q.inside", EXTERNAL_DNS="q.example.com",
                 NODE_NAME="", CONFIG_NAME="mine")  # fmt: skip
    (query,) = deployed.world.nodes["q"].ledger.policies.find("query")
    assert (query.get("ip"), query.get("local_ip")) == ("q.example.com", "q.inside")
    assert "mine" in {policy.name for policy in deployed.world.nodes["q"].ledger.policies.find("config")}


def test_sources(deployed: Deployed) -> None:
    """Messages of the node's own broker become rows, and are aggregated; again in the same node makes no second one."""
    deployed.add("m", "10.0.0.1", NODE_TYPE="master")
    node = deployed.add(
        "o", "10.0.0.2", NODE_TYPE="operator", ANYLOG_BROKER_PORT="32150", ENABLE_MQTT="true", MSG_TOPIC="plant/#",
        MSG_DBMS="my_company", MSG_TABLE="bring [machine]", ENABLE_AGGREGATIONS="true", AGGREGATIONS_TIME="5 minutes",
    )  # fmt: skip
    deployed.again(node)
    world = deployed.world
    clients = world.run(node, "get msg clients where format = json").data
    assert len(clients) == 1, clients
    configs = world.run(node, "get aggregation configs").text or ""
    assert configs.count("my_company") == 1, configs
    message = '{"machine": "pump", "timestamp": "2026-11-21 09:00:00", "value": 7.5}'
    world.run(node, f"mqtt publish where broker = local and topic = plant/a and message = {message}")
    world.advance(5)
    world.run(node, 'rows = sql my_company format = json and stat = false "select value from pump"')
    assert "7.5" in str(node.dictionary.get("rows"))


def test_home_elsewhere(deployed: Deployed) -> None:
    """ANYLOG_PATH moves the work directories, and the copy of the ledger is found there again."""
    deployed.add("m", "10.0.0.1", NODE_TYPE="master")
    node = deployed.add("q", "10.0.0.2", NODE_TYPE="query", ANYLOG_PATH="/far", LOCAL_SCRIPTS="/mine",
                        DEPLOY_LOCAL_SCRIPT="false")  # fmt: skip
    assert node.dictionary.get("dbms_dir") == "/far/AnyLog-Network/data/dbms"
    assert node.dictionary.get("local_scripts") == "/mine"
    deployed.world.advance(100)
    before = deployed.policies("q")
    deployed.world.stop(["m"])
    deployed.restart("q")
    assert deployed.policies("q") == before
    node = deployed.world.nodes["q"]
    node.disk.make(Path("/mine"))
    node.disk.publish(Path("/mine/local_script.al"), b"print hello from !node_type")
    node.environ.update(DEPLOY_LOCAL_SCRIPT="true")
    deployed.again(node)
    assert "hello from query" in deployed.told["q"]


def test_consoles(deployed: Deployed) -> None:
    """DISABLE_CLI closes them, once all is done; nothing else does."""
    open_ones = deployed.add("m", "10.0.0.1", NODE_TYPE="master", DISABLE_CLI="False")
    closed = deployed.add("g", "10.0.0.2", NODE_TYPE="generic", DISABLE_CLI="True")
    assert (open_ones.consoles, closed.consoles) == (True, False)


def test_start_date(deployed: Deployed) -> None:
    """A bare number is so many days; what is a date already stays. Each line is told if that is asked for."""
    node = deployed.add("m", "10.0.0.1", NODE_TYPE="master")
    for given, date in (("", "-30d"), ("7", "-7d"), ("-7", "-7"), ("-2h", "-2h"), ("2026-01-01", "2026-01-01")):
        node.environ["START_DATE"] = given
        deployed.again(node)
        assert node.dictionary.get("start_date") == date
    assert not any("[params_roles.al] [" in line for line in deployed.told["m"])
    node.environ.update(TRACE_LEVEL="1", ENABLE_TRACEBACK="true")
    deployed.again(node)
    assert any("[params_roles.al] [" in line for line in deployed.told["m"])


def test_commands_of_policies(deployed: Deployed, tmp_path: Path) -> None:
    """What the config policies tell a node to do is without fault, too."""
    deployed.add("m", "10.0.0.1", NODE_TYPE="master-operator", LEDGER_CONN="")
    deployed.add("p", "10.0.0.2", NODE_TYPE="publisher", LEDGER_CONN="10.0.0.1:32148")
    configs = [policy for name in ("m", "p") for policy in deployed.world.nodes[name].ledger.policies.find("config")]
    assert len(configs) >= 2
    for policy in configs:
        (tmp_path / f"{policy.name}.al").write_text("\n".join(policy.get("script")))
    checker = Checker(Words(ALL_COMMANDS), lambda command: command.later)
    findings = [each for each in checker.check([str(tmp_path), str(SCRIPTS)]) if each.kind != "script"]
    assert [str(each) for each in findings if "[...]" not in str(each)] == []


def test_scripts_are_found() -> None:
    """`anylog check` has nothing to say of them but that the owner's script is not there."""
    checker = Checker(Words(ALL_COMMANDS), lambda command: command.later)
    findings = checker.check([str(SCRIPTS)])
    assert [(Path(each.path).name, each.kind) for each in findings] == [("main.al", "script")]
    assert len(checker.reports) == len(list(SCRIPTS.glob("*.al")))


def test_the_manual_lists_every_variable() -> None:
    """What the scripts read stands in the tables of docs/deploy.rst, and nothing else does; with its key."""
    text = "\n".join(path.read_text() for path in SCRIPTS.glob("*.al"))
    read = {*re.findall(r"\$([A-Z][A-Z_]+)", text), *re.findall(r'"([A-Z]+_[A-Z_]+)"', text)}
    cells = [line.split("|")[1] for line in DOCS.read_text().splitlines() if line.startswith("| ")]
    told = {name for cell in cells for name in re.findall(r"``([A-Z][A-Z_]+)``", cell)}
    assert (read - told, told - read) == (set(), set())
    keys = set(re.findall(r"\(([a-z_]+)\)", " ".join(cells)))
    assert {key for name, key in re.findall(r"\$([A-Z_]+) then set (\w+) = \$\1", text) if key != name.lower()} <= keys
    for name in read - {"NIC_TYPE", "TRACE_LEVEL", "ENABLE_TRACEBACK", "EDGELAKE_PATH", "DNS_DOMAIN"}:
        own = re.search(rf"(?m)\b{name.lower()} = ", text)
        assert own or re.search(rf"\${name}\b[^\n]*then set ({'|'.join(keys)}) =", text), name


def test_error(deployed: Deployed) -> None:
    """A node that cannot be deployed says where in which script it stopped."""
    node = deployed.bare("n", "10.0.0.2")
    with pytest.raises(AnyLogError) as failed:
        deployed.deploy(node, NODE_TYPE="master", DB_TYPE="oracle")
    assert "main.al line" in str(failed.value) and "params_databases.al line" in str(failed.value)
