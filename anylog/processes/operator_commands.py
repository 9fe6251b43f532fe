"""Words about the operator (operator-ha.md 2 and 4)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anylog.errors import AnyLogError
from anylog.language.command import Command, Flag, Format, Text, Whole
from anylog.language.context import Context, Result
from anylog.language.tables import bar_table, framed
from anylog.processes.operator import Operator, OperatorOptions, checked
from anylog.processes.sync_commands import address
from anylog.processes.synchronizer import hms
from anylog.processes.whole import FilingOptions
from anylog.waiting import pause

if TYPE_CHECKING:
    from anylog.node import Node

PATIENCE = 5.0  # seconds that the command waits for the TCP server, whose address identifies the operator
_FOLDERS = ("watch_dir", "bkup_dir", "error_dir", "distr_dir", "archive_dir")
_TABLE = re.compile(r"[\w\-]+(\.[\w\-]+)?")


class RunOperator(Command):
    """Take the place in the network that an operator policy describes: a member of a cluster that keeps its data.

    The policy and its cluster must be in the ledger, and the TCP server must run. From then on tables and columns are
    made known to the ledger before they are made here, and queries of the network are answered. Options about files
    are checked and shown by `get operator config`; the files of the watch directory are not read by this build yet.
    """

    words = "run operator"
    where = {
        "policy": Text(required=True, help="id of the operator policy"),
        "watch_dir": Text(help="directory of files to be loaded"),
        "bkup_dir": Text(help="directory of files that were loaded"),
        "error_dir": Text(also=("err_dir",), help="directory of files that failed"),
        "distr_dir": Text(help="directory of files for the other members"),
        "archive_dir": Text(help="root of the archive"),
        "create_table": Flag(default=True, also=("craete_table",), help="make tables that are missing"),
        "update_tsd_info": Flag(default=False, help="register files in almgm.tsd_info"),
        "master_node": Text(help="ip:port of the master"),
        "blockchain": Text(help="platform of the ledger"),
        "distributor": Flag(help="give files to the distributor"),
        "archive": Flag(also=("archive_json",), help="keep JSON files in the archive"),
        "compress_json": Flag(default=True),
        "compress_sql": Flag(default=True),
        "move_json": Flag(default=False),
        "move_sql": Flag(default=False, also=("archive_sql",)),
        "delete_json": Flag(default=False),
        "delete_sql": Flag(default=False),
        "limit_tables": Text(help="(dbms.table, ...), all if not given"),
        "threads": Whole(default=1, least=1, most=10),
        "company": Text(help="of the cluster if not given"),
        "file_type": Text(many=True, help="json, sql, gz"),
        "flush_streaming": Flag(default=False),
    }
    examples = (
        "run operator where policy = d93487bec012c8847bca734bcc31a3a6 and create_table = true and threads = 6",
        "run operator where policy = d93487bec012c8847bca734bcc31a3a6 and master_node = 10.0.0.7:32048",
    )
    index = ("background processes", "configuration", "data")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2, 5, 17, 20, 87, 113, 135, 136, 175, 222 or 237."""
        if options["blockchain"]:
            raise AnyLogError(237, f"not in this build: blockchain = {options['blockchain']}")
        checked(options, [process.name for process in node.processes.running()])
        master = address(options["master_node"], "master_node") if options["master_node"] else ""
        for kind in options["file_type"]:
            if kind not in ("json", "sql", "gz"):
                raise AnyLogError(175, f"run operator: '{kind}' is not a value for 'file_type': json, sql or gz")
        tables = [name for name in re.split(r"[\s,]+", (options["limit_tables"] or "").strip("() ")) if name]
        for name in tables:
            if not _TABLE.fullmatch(name):
                raise AnyLogError(175, f"run operator: '{name}' in 'limit_tables' is not dbms.table")
        if options["update_tsd_info"] and "tsd_info" not in await node.databases.get("almgm").tables():
            told = "update_tsd_info = true needs 'create table tsd_info where dbms = almgm'"
            raise AnyLogError(29, f"run operator: {told}")
        until = node.clock.seconds() + PATIENCE
        while node.processes.find("tcp") is None:
            if node.clock.seconds() >= until:
                raise AnyLogError(135, "run operator: use 'run tcp server' first: its address identifies the operator")
            await pause(node.clock, 0.1)
        if node.membership.place_of(options["policy"]) is None:
            await node.refresh()
        place = node.membership.check_place(options["policy"])
        given = {key: value for key, value in options.items() if value not in (None, [])}
        given |= {key: node.dictionary.get(key) for key in _FOLDERS if key not in given}
        given["company"] = options["company"] or place.company
        process = Operator(
            clock=node.clock,
            options=OperatorOptions(
                policy=options["policy"],
                master=master,
                threads=options["threads"],
                create_table=options["create_table"],
                given=given,
            ),
            place=lambda: node.membership.place_of(options["policy"]),
            announce=node.membership.announce,
        )
        await node.processes.start(process)
        folders = {key: Path(str(given[key])) for key in ("archive_dir", "distr_dir", "bkup_dir")}
        await node.intake.operate(
            FilingOptions(
                **folders,
                err_dir=Path(str(given["error_dir"])),
                distributor=bool(options["distributor"]),
                archive=options["archive"] is not False,
                compress=options["compress_json"],
                move=options["move_json"],
                delete=options["delete_json"],
                tsd=options["update_tsd_info"],
            ),
            lambda: (node.membership.place_of(options["policy"]) or place).member,
        )
        return None


def _titled(topic: str, table: str) -> str:
    return f"\r\nStats: OPERATOR {topic.upper()}{framed(table)}"


class GetOperator(Command):
    """Show what the operator has loaded, its settings (`config`), or its totals (`summary`).

    Without a topic: json, sql, inserts and error, one after another.
    """

    words = "get operator"
    operands = "[config | summary | json | sql | inserts | error]"
    most = 1
    where = {"format": Format}
    examples = ("get operator", "get operator config", "get operator summary where format = json")
    index = ("monitor", "data")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 for an unknown topic."""
        topics: dict[str, Callable[[Node], tuple[str, Any]]] = {
            "config": _config,
            "summary": _summary,
            "json": _files,
            "sql": _sql,
            "inserts": _inserts,
            "error": _errors,
        }
        asked = operands[0].lower().replace("stat", "summary") if operands else ""
        if asked and asked not in topics:
            raise AnyLogError(2, f"get operator: '{operands[0]}'; usage: {self.usage_text()}")
        made = [(name, *topics[name](node)) for name in ([asked] if asked else ("json", "sql", "inserts", "error"))]
        text = "\r\n".join(_titled(name, table) for name, table, _ in made)
        data = made[0][2] if asked else [each[2] for each in made]
        return Result(text=text, data=data, format=options["format"] or "table")


def _config(node: Node) -> tuple[str, Any]:
    operator = node.processes.find("operator")
    if not isinstance(operator, Operator):
        return bar_table(("Status",), [("Not Active",)]), {"Status": "Not Active"}
    place = operator.place
    row = {
        "Status": "Active",
        "Operational time": hms(node.clock.seconds() - operator.started),
        "Timestamp": int(operator.started),
        "Member": place.member if place else "Not a member",
        "Policy": operator.options.policy,
        "Cluster": place.cluster if place else "",
    }
    table = bar_table(tuple(row), [tuple(row.values())])
    table += "\r\n\r\n" + bar_table(("Option", "Value"), sorted(operator.options.given.items()))
    return table, {**row, "options": dict(operator.options.given)}


def _summary(node: Node) -> tuple[str, Any]:
    operator = node.processes.find("operator")
    now, traffic = node.clock.seconds(), list(node.intake.traffic.values())
    first = min((each.first for each in traffic if each.first), default=0.0)
    last = max((each.last for each in traffic), default=0.0)
    total = sum(each.rows + each.file_rows for each in traffic)
    errors = sum(each.parked for each in traffic)
    seen = node.operator_seen
    row = {
        "Node name": f"{node.name or 'AnyLog'}@{node.address}",
        "Status": "Active" if isinstance(operator, Operator) else "Not Active",
        "Operational time": hms(now - operator.started) if isinstance(operator, Operator) else hms(0),
        "Processing time": hms(last - first),
        "Elapsed time": hms(now - seen.at) if seen.at else hms(0),
        "New rows": total - seen.rows,
        "Total rows": total,
        "New errors": errors - seen.errors,
        "Total errors": errors,
        "Avg. rows/sec": round(total / (last - first), 2) if last > first else 0,
    }
    seen.at, seen.rows, seen.errors = now, total, errors
    return bar_table(tuple(row), [tuple(row.values())]), {key.lower(): value for key, value in row.items()}


def _by_table(node: Node, values: Callable[[Any], Sequence[Any]]) -> dict[str, dict[str, Sequence[Any]]]:
    found: dict[str, dict[str, Sequence[Any]]] = {}
    for (dbms, table), traffic in sorted(node.intake.traffic.items()):
        found.setdefault(dbms, {})[table] = values(traffic)
    return found


def _rows(found: dict[str, dict[str, Sequence[Any]]]) -> list[tuple[Any, ...]]:
    return [
        (dbms if not place else "", table, *values)
        for dbms, tables in found.items()
        for place, (table, values) in enumerate(tables.items())
    ]


def _files(node: Node) -> tuple[str, Any]:
    now = node.clock.seconds()
    found = _by_table(node, lambda each: (each.file_calls, each.calls, int(each.last), hms(now - each.last)))
    return bar_table(("DBMS", "Table", "Files", "Immediate", "Timestamp", "Elapsed_time"), _rows(found)), found


def _sql(node: Node) -> tuple[str, Any]:
    """No SQL files are made: rows go to the database as they are."""
    return bar_table(("DBMS", "Table", "Files", "Immediate", "Timestamp", "Elapsed_time"), []), {}


def _inserts(node: Node) -> tuple[str, Any]:
    now = node.clock.seconds()
    found = _by_table(
        node,
        lambda each: (
            int(each.first), int(each.last), hms(now - each.first), hms(now - each.last),
            each.file_rows, each.rows, 0.0,
        ),
    )  # fmt: skip
    titles = ("DBMS", "Table", "First insert", "Last insert", "Batch inserts", "Immediate inserts")
    rows = [(dbms, table, *values[2:6]) for dbms, table, *values in _rows(found)]
    return bar_table(titles, rows), found


def _errors(node: Node) -> tuple[str, Any]:
    parked = {key: traffic for key, traffic in node.intake.traffic.items() if traffic.parked}
    worst = max(parked, key=lambda key: parked[key].last, default=("", ""))
    at = int(parked[worst].last) if parked else 0
    titles = (
        "Type", "Counter", "Timestamp", "Elapsed time", "Dbms name", "Table name", "Last error", "Last error text",
    )  # fmt: skip
    told = "rows that fit no column are parked: get parked rows" if parked else ""
    count = sum(each.parked for each in parked.values())
    elapsed = hms(node.clock.seconds() - at) if at else hms(0)
    rows = [
        ("JSON Errors", count, at, elapsed, *worst, 0, told),
        ("SQL Errors", 0, 0, hms(0), "", "", 0, ""),
    ]
    data = [dict(zip((title.lower() for title in titles), row, strict=True)) for row in rows]
    return bar_table(titles, rows), data


COMMANDS: tuple[type[Command], ...] = (RunOperator, GetOperator)
