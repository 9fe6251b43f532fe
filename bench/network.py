"""A network of real nodes on this machine: a master, operators in clusters of their own, a query node."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from node import NodeProcess, free_port

DBMS = "town"
COPIES = ("run data distributor", "run data consumer where start_date = -30d")


class Network:
    """Master, operators and query node, each in a process of its own, with homes below one folder."""

    def __init__(
        self, folder: Path, operators: int = 2, *, clusters: Sequence[int] | None = None, every: str = "30",
        copies: bool = False, more: Sequence[str] = (), distributes: bool = False, main: int = -1,
        taken: Iterable[int] = (),
    ):  # fmt: skip
        """`clusters` gives the number of each operator's cluster; by default each has its own.

        With `copies` operators run a distributor and a consumer; `more` are commands of every operator; with
        `distributes` their files wait for a distributor that is not started. `main` is the number of the main operator,
        `taken` are ports that it leaves to others.
        """
        self._distributes = " and distributor = true" if distributes else ""
        self.folder, self.every, self.main = folder, every, main
        self._copies = [*COPIES, *more] if copies else [*more]
        folder.mkdir(parents=True, exist_ok=True)
        self._ports = set(taken)
        self.master = self._node("master", "")
        self.operators = [self._node(f"operator{number}", DBMS) for number in range(operators)]
        self.query = self._node("query", "")
        self.clusters = list(clusters or range(operators))
        self.tcp = {name: self._port() for name in ("master", "query", *(f"operator{n}" for n in range(operators)))}
        self.master.commands = self._scripted("master", self._master())
        self.query.commands = self._scripted("query", self._query())
        for number, node in enumerate(self.operators):
            node.commands = self._scripted(f"operator{number}", self._operator(number))

    @property
    def nodes(self) -> list[NodeProcess]:
        """All, the master first."""
        return [self.master, *self.operators, self.query]

    def start(self) -> None:
        """All of them, the master first."""
        for node in self.nodes:
            node.start()

    def stop(self) -> None:
        """SIGTERM to all."""
        for node in reversed(self.nodes):
            if node.process is not None and node.process.poll() is None:
                node.stop()

    def remove(self) -> None:
        """Kill what runs and delete the homes."""
        for node in self.nodes:
            node.remove()

    def ask(self, statement: str, *, options: str = "format = json and stat = false", dbms: str = DBMS) -> Any:
        """The rows of a question to the whole network, through the query node. Raises RuntimeError if it is refused."""
        text = f'sql {dbms} {options} "{statement}"'
        status, body = self.query.get(**{"User-Agent": "AnyLog/1.23", "command": text, "destination": "network"})
        if status != 200:
            raise RuntimeError(f"{statement}: {status} {body!r}")
        return json.loads(body)["Query"]

    def ask_until(self, statement: str, wanted: Any, seconds: float = 60.0, *, dbms: str = DBMS) -> Any:
        """Ask until the answer is `wanted` or the time is over; gives the last answer."""
        end, found = time.monotonic() + seconds, None
        while time.monotonic() < end:
            try:
                found = self.ask(statement, dbms=dbms)
            except RuntimeError as refused:
                found = str(refused)
            if found == wanted:
                return found
            time.sleep(0.02)
        return found

    def host(self, name: str) -> str:
        """The address of a node's machine."""
        return "127.0.0.1"

    def _node(self, name: str, dbms: str) -> NodeProcess:
        return NodeProcess(self.folder / name, port=self._port(), dbms=dbms)

    def _port(self) -> int:
        port = free_port(self._ports)
        self._ports.add(port)
        return port

    def _scripted(self, name: str, lines: Sequence[str]) -> tuple[str, ...]:
        script = self.folder / f"{name}.al"
        script.write_text("\n".join(lines) + "\n")
        return (f"process {script}",)

    def _tcp(self, name: str) -> list[str]:
        host, port = self.host(name), self.tcp[name]
        return [
            f"set node name {name}",
            f"<run tcp server where external_ip = {host} and external_port = {port} and",
            f"internal_ip = {host} and internal_port = {port} and bind = true and threads = 6>",
        ]

    def _master(self) -> list[str]:
        return [
            *self._tcp("master"),
            "connect dbms blockchain where type = sqlite",
            "create table ledger where dbms = blockchain",
            f"run blockchain sync where source = master and time = {self.every} seconds and dest = file"
            f" and connection = {self.host('master')}:{self.tcp['master']}",
        ]

    def _sync(self) -> str:
        return (
            f"run blockchain sync where source = master and time = {self.every} seconds and dest = file"
            f" and connection = {self.host('master')}:{self.tcp['master']}"
        )

    def _query(self) -> list[str]:
        return [*self._tcp("query"), self._sync()]

    def _operator(self, number: int) -> list[str]:
        """The steps of the seed (003), with `if` so that a start after the first finds its policies again."""
        name, master = f"operator{number}", f"{self.host('master')}:{self.tcp['master']}"
        cluster = f"cluster{self.clusters[number]}"
        found = f'blockchain get cluster where name = {cluster} and company = "My Company"'
        own = f'blockchain get operator where name = {name} and company = "My Company"'
        new = "if not !cluster_id then new_policy = create policy cluster where"
        insert = f"blockchain insert where policy = !new_policy and local = true and master = {master}"
        return [
            *self._tcp(name),
            self._sync(),
            "on error ignore",
            f"cluster_id = {found} bring.first [*][id]",
            f'{new} name = {cluster} and company = "My Company"',
            f"if not !cluster_id then {insert}",
            f"cluster_id = {found} bring.first [*][id]",
            f"operator_id = {own} bring.last [*][id]",
            f"if not !operator_id then new_policy = create policy operator where name = {name} and"
            f' company = "My Company" and cluster = !cluster_id and ip = {self.host(name)} and port = {self.tcp[name]}'
            + (" and main = true" if number == self.main else ""),
            f"if not !operator_id then {insert}",
            f"operator_id = {own} bring.last [*][id]",
            "connect dbms almgm where type = sqlite",
            "create table tsd_info where dbms = almgm",
            *self._copies,
            "<run operator where create_table = true and update_tsd_info = true and compress_json = true and",
            f"archive_json = true and master_node = {master} and policy = !operator_id and threads = 6"
            f"{self._distributes}>",
        ]
