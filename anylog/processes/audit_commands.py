"""Words that compare the rows of the members of a cluster, and mend those of this node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from anylog.databases.dates import stored_interval
from anylog.errors import AnyLogError
from anylog.interfaces import unix
from anylog.language.command import Command, Flag, Format, Text
from anylog.language.context import Context, Result
from anylog.language.tables import bar_table, framed
from anylog.ledger.cluster import Operator
from anylog.processes.agreement import SYSTEM
from anylog.processes.audit import Question, Told, ask_audit
from anylog.processes.compared import Comparison, Finding, compare_in, described
from anylog.processes.repairing import Report
from anylog.waiting import gather

if TYPE_CHECKING:
    from anylog.node import Node

PATIENCE = 600.0  # seconds that a member has to look at all rows and files of a table
SHOWN = 20  # files that are listed
ELSEWHERE = "run 'repair table' there, if that is so still in a minute: what is new may be on its way"


async def deep(
    node: Node, operators: Sequence[Operator], tables: Sequence[tuple[str, str]], start: str, end: str, archive: bool,
    format: str,
) -> Result:  # fmt: skip
    """Rows, digests and archive files of tables at all members, side by side."""
    names = [f"Node_{operator.member}" for operator in operators]
    rows: list[list[Any]] = []
    found: list[tuple[str, str, Finding]] = []
    silent: dict[str, None] = {}
    opened, cpu = 0, node.lanes.open("cpu")
    for dbms, table in tables:
        question = Question(dbms=dbms, table=table, start=start, end=end, archive=archive)
        told: dict[int, list[Told]] = {}
        for operator, each in zip(operators, await _told(node, operators, question), strict=True):
            if isinstance(each, AnyLogError):
                silent[f"{operator.name or operator.address} tells nothing of {dbms}.{table}: {each}"] = None
            else:
                told[operator.member or 0] = each
        done = await compare_in(cpu, dbms, table, told)
        rows += _days(dbms, table, done, operators, told)
        found += [(dbms, table, finding) for finding in done.findings]
        opened += done.open
    data: list[dict[str, Any]] = [
        dict(zip(("DBMS", "Table", "Day", *names, "Verdict"), row, strict=True)) for row in rows
    ]
    if format == "json":
        files = [{"DBMS": dbms, "Table": table, **described(each)} for dbms, table, each in found]
        return Result(data={"Days": data, "Files": files, "Silent": list(silent)}, format="json")
    titles = ["DBMS", "Table", "Day", *(f"{n}\n{o.address}" for n, o in zip(names, operators, strict=True)), "Verdict"]
    lines = [bar_table(titles, rows, heading="Files/rows and digest of the rows on all nodes in the cluster")]
    wrong = [each for _, _, each in found if each.wrong]
    lines += [f"{each.name}: {'; '.join((*each.wrong, *each.noted))}" for each in wrong[:SHOWN]]
    if len(wrong) > SHOWN:
        lines.append(f"and {len(wrong) - SHOWN} more files; 'format = json' lists all")
    dropped = sum(bool(each.noted) for _, _, each in found)
    lines += [f"{dropped} files have dropped rows: that is no difference"] if dropped else []
    lines += [f"{opened} buffers are no files yet"] if opened else []
    return Result(text=framed("\r\n".join([*lines, *silent])), data=data, format="table")


def _days(
    dbms: str, table: str, done: Comparison, operators: Sequence[Operator], told: Mapping[int, Sequence[Told]]
) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for name, day in done.days.items():
        cells = []
        for operator in operators:
            member = operator.member or 0
            files, digest = day.cells.get(member, (0, None))
            rest = f"{digest.rows} {digest.value:016x}" if digest is not None else "0"
            cells.append(f"{files}/{rest}" if member in told else "")
        rows.append([dbms, table, name, *cells, day.verdict()])
    return rows


async def _told(node: Node, operators: Sequence[Operator], question: Question) -> Sequence[list[Told] | AnyLogError]:
    until, cpu = node.clock.seconds() + PATIENCE, node.lanes.open("cpu")

    async def one(operator: Operator) -> list[Told] | AnyLogError:
        try:
            return await ask_audit(node.peers.ask, cpu, operator.address, question, until)
        except AnyLogError as why:
            return why

    return await gather([Deferred.fromCoroutine(one(operator)) for operator in operators])


class RepairTable(Command):
    """Mend the copy of one table on this node: its rows from the archive, and the archive from the other members.

    Compared are the rows with the files they came from, and the files with those of the other members. An archive file
    that is damaged goes to the error directory, and comes anew from a member that has it. Rows that differ from their
    file are taken out and loaded again. What is missing here is loaded from the own archive, or fetched. Files whose
    rows were dropped stay so unless `dropped = true`. Where this node is right and another is wrong, that one is named:
    the command mends no other node than this. An interval, of the registration of files, limits the work.
    """

    words = "repair table"
    operands = "[name]"
    least, most = 1, 1
    where = {
        "dbms": Text(required=True, help="database of the table"),
        "start_date": Text(help="files registered then or later, such as -7d"),
        "end_date": Text(help="files registered before that"),
        "dropped": Flag(default=False, help="bring back rows that were dropped on purpose, too"),
        "format": Format,
    }
    examples = (
        "repair table sensors where dbms = plant",
        "repair table sensors where dbms = plant and start_date = -7d and dropped = true",
    )
    index = ("high availability", "cluster", "data")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 5, 28, 40, 136, 171, 175 or 203."""
        now, dbms, table = unix(node.clock), options["dbms"].strip().lower(), operands[0].strip().lower()
        start, end = stored_interval(options["start_date"] or None, options["end_date"] or None, now)
        if dbms in SYSTEM:
            raise AnyLogError(171, f"{self.words}: '{dbms}' is a database of the node's own")
        name, repairs = f"{dbms}.{table}", node.copying.repairs
        if node.processes.find("operator") is None:
            raise AnyLogError(203, "repair table: no operator runs on this node")
        if name in repairs:
            raise AnyLogError(136, f"repair table: {name} is being repaired")
        repairs.add(name)
        try:
            question = Question(dbms=dbms, table=table, start=start, end=end)
            report = await node.copying.repair().table(question, dropped=options["dropped"])
        finally:
            repairs.discard(name)
        data = reported(report)
        if options["format"] == "json":
            return Result(data=data, format="json")
        return Result(text=framed("\r\n".join(spoken(name, report))), data=data, format="table")


def reported(report: Report) -> dict[str, Any]:
    """As it is given in JSON."""
    return {
        "Looked at": report.looked,
        "Healed": report.healed,
        "Loaded again": report.loaded,
        "Fetched": report.fetched,
        "Left": [{"File": name, "Reason": why} for name, why in report.left],
        "Dropped": report.dropped,
        "Elsewhere": report.elsewhere,
        "Silent": report.silent,
    }


def spoken(table: str, report: Report) -> list[str]:
    """In lines."""
    lines = [f"{table}: {report.looked} files looked at"]
    for title, names in (
        ("healed in the archive", report.healed),
        ("loaded again", report.loaded),
        ("fetched, and in the watch directory", report.fetched),
    ):
        lines += [f"{len(names)} {title}:", *(f"  {name}" for name in names)] if names else []
    if report.left:
        lines += [f"{len(report.left)} left:", *(f"  {name}: {why}" for name, why in report.left)]
    if len(lines) == 1:
        lines.append("nothing was to be done here")
    if report.dropped:
        lines.append(f"{report.dropped} stay without their rows, which were dropped: 'dropped = true' brings them back")
    for node, files in sorted(report.elsewhere.items()):
        lines.append(f"{files} are right here, and not at {node}: {ELSEWHERE}")
    lines += [f"no answer of {each}" for each in report.silent]
    return lines


COMMANDS: tuple[type[Command], ...] = (RepairTable,)
