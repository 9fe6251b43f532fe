"""The steps to deploy an operator, as the operators' manual prints them, on four real processes (seed 003)."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
from network import Network
from node import NodeProcess, free_port

# Step -> what is typed. Values of one's own are filled in: ports, the database, the answers in brackets.
STEPS = [
    (1, "<run tcp server where\n    external_ip=!external_ip and external_port={tcp} and\n"
        "    internal_ip=!ip and internal_port={tcp} and\n    bind=false and threads=3>"),
    (2, '<new_policy = create policy cluster where\n    name=my-cluster and\n    company="My Company">'),
    (2, "blockchain insert where policy=!new_policy and local=true and master=!ledger_conn"),
    (3, 'cluster_id = blockchain get cluster where name=my-cluster and company="My Company" bring.first [*][id]'),
    (3, '<new_policy = create policy operator where\n    name=my-operator1 and\n    company="My Company" and\n'
        "    cluster=!cluster_id and\n    ip=!external_ip and\n    local_ip=!ip and\n    port=!anylog_server_port>"),
    (3, "blockchain insert where policy=!new_policy and local=true and master=!ledger_conn"),
    (4, "connect dbms almgm where type=sqlite"),
    (4, "create table tsd_info where dbms=almgm"),
    (5, "connect dbms mydb where type=sqlite"),
    (6, "<run blobs archiver where\n    dbms=!mydb and\n    folder=true and\n    compress=true and\n"
        "    reuse_blobs=true\n>"),
    (7, "run data distributor"),
    (7, 'run data consumer where start_date="-30"'),
    (8, "operator_id = blockchain get operator where cluster=!cluster_id and name=my-operator1 and"
        ' company="My Company" bring.last [*][id]'),
    (8, "<run operator where\n    create_table=true and update_tsd_info=true and\n    compress_json=true and"
        " compress_sql=true and\n    archive_json=true and archive_sql=true and\n    master_node=!ledger_conn and"
        " policy=!operator_id and\n    threads=6>"),
]  # fmt: skip
LATER = ("<run blobs archiver",)  # steps of processes that this build names and does not have yet


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    made = Network(tmp_path / "network", operators=1, every="2")
    try:
        made.start()
        yield made
    finally:
        made.remove()


def post(node: NodeProcess, command: str) -> tuple[int, Any]:
    """A command as a person gives it, over REST: in the body, since it may span lines."""
    body = json.dumps({"command": command}).encode()
    status, said = node.request("POST", "/", body, **{"Content-Type": "application/json"})
    try:
        return status, json.loads(said) if said else None
    except ValueError:
        return status, said.decode()


def test_deploy_an_operator(network: Network, tmp_path: Path) -> None:
    """Every step is taken; those of later processes answer by name; then a reading here is found at the query node."""
    tcp = free_port()
    rest = free_port([tcp])
    node = NodeProcess(tmp_path / "mine", port=rest, dbms="")
    try:
        node.start()
        master = f"127.0.0.1:{network.tcp['master']}"
        for line in (
            f"ledger_conn = {master}",
            "ip = 127.0.0.1",
            "external_ip = 127.0.0.1",
            f"anylog_server_port = {tcp}",
            "mydb = mydb",
            f"run blockchain sync where source = master and time = 2 seconds and dest = file and connection = {master}",
        ):
            status, said = post(node, line)
            assert status == 200, (line, said)
        for step, written in STEPS:
            status, said = post(node, written.replace("{tcp}", str(tcp)))
            if written.startswith(LATER):
                assert (status, said["err_code"]) == (400, 237), (step, said)
                assert written.strip("<").split("where")[0].strip() in said["local_msg"], (step, said)
            else:
                assert status == 200, (step, written, said)
        assert b"Cluster Member: True" in node.command("get processes")
        policy = json.loads(node.command("blockchain get operator where name = my-operator1"))[0]["operator"]
        assert 0 < policy["member"] < 256 and policy["port"] == tcp
        body = b'[{"timestamp": "2026-11-21 10:00:00", "value": 7.5}]'
        status, said = node.request("PUT", "/", body, type="json", dbms="mydb", table="first", mode="streaming")
        assert status == 200, said
        wanted = [{"timestamp": "2026-11-21 10:00:00.000000", "value": 7.5}]
        assert network.ask_until("select timestamp, value from first", wanted, dbms="mydb") == wanted
        assert b"my-operator1" in network.query.command("get data nodes")
        status, said = post(node, "exit operator")
        processes = json.loads(node.command("get processes where format = json"))
        assert (status, processes["Operator"]["Status"]) == (200, "Not declared")
    finally:
        node.remove()
