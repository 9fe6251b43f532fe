"""One operator alone in its cluster, which keeps the ledger of its network too: a home like etc/all-in-one.al makes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from node import NodeProcess, free_port

COMPANY = "My Company"
NAME = "keeper"


class Member(NodeProcess):
    """A node with master and operator in one process, registering and archiving every file."""

    def __init__(
        self,
        home: Path | None = None,
        *,
        commands: Sequence[str] = (),
        operator: str = "archive = true and compress_json = true",
        dbms: str = "town",
    ):
        """`operator`: the options of `run operator` behind those that every member has."""
        super().__init__(home, dbms=dbms)
        self.tcp = free_port({self.port})
        self._more, self._operator = tuple(commands), operator
        self.commands = (f"process {self._script()}",)

    def registered(self, table: str = "") -> tuple[int, int]:
        """Files with rows and sum of rows by `tsd_info`, of one table or of all."""
        where = "rows > 0" + (" and table_name = ?" if table else "")
        parameters = (table,) if table else ()
        found = self.asked("almgm", f"select count(*), coalesce(sum(rows), 0) from tsd_info where {where}", *parameters)
        return (int(str(found[0][0])), int(str(found[0][1]))) if found else (0, 0)

    def archived(self, table: str = "*") -> int:
        """Files in the archive, of one table or of all."""
        return sum(1 for _ in self.folder("archive").rglob(f"{self.dbms}.{table}.*.json*"))

    def rows_in(self, table: str) -> int:
        """Rows of a table as its file has them; 0 if there is no such table yet."""
        assert re.fullmatch(r"\w+", table)
        found = self.asked(self.dbms, f"select count(*) from {table}")
        return int(str(found[0][0])) if found else 0

    def _script(self) -> Path:
        """Written beside the home, which a test may wish to delete."""
        script = self.home.parent / f"{self.home.name}.al"
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text("\n".join([*self._steps(), *self._more]) + "\n")
        return script

    def remove(self) -> None:
        """Kill it if it runs, delete its home and its script."""
        super().remove()
        (self.home.parent / f"{self.home.name}.al").unlink(missing_ok=True)

    def _steps(self) -> list[str]:
        """The steps of etc/all-in-one.al, on the loopback interface alone."""
        here = f"127.0.0.1:{self.tcp}"
        cluster = f'blockchain get cluster where name = {NAME}s and company = "{COMPANY}"'
        own = f'blockchain get operator where name = {NAME} and company = "{COMPANY}"'
        insert = f"blockchain insert where policy = !new_policy and local = true and master = {here}"
        return [
            f"set node name {NAME}",
            "connect dbms blockchain where type = sqlite",
            "create table ledger where dbms = blockchain",
            "connect dbms almgm where type = sqlite",
            "create table tsd_info where dbms = almgm",
            f"<run tcp server where external_ip = 127.0.0.1 and external_port = {self.tcp} and",
            f"internal_ip = 127.0.0.1 and internal_port = {self.tcp} and bind = true and threads = 6>",
            "run blockchain sync where source = master and time = 30 seconds and dest = file and connection = " + here,
            "on error ignore",
            f"cluster_id = {cluster} bring.first [*][id]",
            "if not !cluster_id then new_policy = create policy cluster where"
            f' name = {NAME}s and company = "{COMPANY}"',
            f"if not !cluster_id then {insert}",
            f"cluster_id = {cluster} bring.first [*][id]",
            f"operator_id = {own} bring.last [*][id]",
            f"if not !operator_id then new_policy = create policy operator where name = {NAME} and"
            f' company = "{COMPANY}" and cluster = !cluster_id and ip = 127.0.0.1 and port = {self.tcp}',
            f"if not !operator_id then {insert}",
            f"operator_id = {own} bring.last [*][id]",
            "<run operator where create_table = true and update_tsd_info = true and",
            f"{self._operator} and master_node = {here} and policy = !operator_id and threads = 6>",
        ]
