"""Watching queries of the network, and their limits: query status, query explain, set query mode (query.md 7.3, 8)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from anylog.errors import AnyLogError
from anylog.jobs import Job
from anylog.language.command import Bytes, Command, Flag, Format, OneOf, Option, Seconds, Whole
from anylog.language.context import Context, Result
from anylog.language.tables import bar_table, framed
from anylog.query.state import Place

if TYPE_CHECKING:
    from anylog.node import Node

NONE = "Job instances do not contain queries info"
_PAIR = re.compile(r"\s*([a-z_]+)\s*=\s*(.+?)\s*(?:(?:,|\sand\s)|$)", re.IGNORECASE | re.DOTALL)


def _place(node: Node) -> Place:
    return cast(Place, node)


def elapsed(seconds: float) -> str:
    """`HH:MM:SS`."""
    whole = int(max(seconds, 0))
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"


def jobs_of(node: Node, operands: Sequence[str], words: str) -> list[Job]:
    """The jobs that `[n|all]` means: the last query if nothing is said. Raises AnyLogError 2."""
    queries = [job for job in _place(node).jobs if job.sql]
    if not operands:
        return queries[-1:]
    if operands[0].lower() == "all":
        return queries
    if not operands[0].isdigit():
        raise AnyLogError(2, f"{words}: '{operands[0]}' is not a number of a job; usage: {words} [n | all]")
    return [job for job in queries if job.slot == int(operands[0])]


def told(rows: Iterable[Mapping[str, Any]], titles: Sequence[str], format: str | None) -> Result:
    """A table of jobs, or that there is none."""
    data = list(rows)
    if not data:
        return Result(text=NONE, data=[], format=format or "text")
    text = framed(bar_table(titles, [[row[title] for title in titles] for row in data]))
    return Result(text=text, data=data, format=format or "text")


class _OfJobs(Command):
    """What these commands share."""

    operands = "[n | all]"
    most = 1
    where: ClassVar[Mapping[str, Option]] = {"format": Format}
    index = ("query", "monitoring", "profiling")
    http = ("GET",)


class QueryStatus(_OfJobs):
    """Show how far the last query of the network is, a query by the number of its job, or all that are remembered.

    The first line of a query is of all operators together, the lines below it are of one operator each.
    """

    words = "query status"
    examples = ("query status", "query status 12", "query status all where format = json")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        now = node.clock.seconds()
        titles = ("Job", "ID", "Output", "Run Time", "Operator", "Par", "Status", "Blocks", "Rows", "Command")
        rows: list[dict[str, Any]] = []
        for job in jobs_of(node, operands, self.words):
            blocks, count = sum(part.blocks for part in job.parts), sum(part.rows for part in job.parts)
            took = elapsed((now if job.ended is None else job.ended) - job.started)
            first = (f"{job.slot:04}", job.number, f"['{job.output}']", took, "All", "---", job.status, blocks, count)
            rows.append(dict(zip(titles, (*first, job.command), strict=True)))
            for part in job.parts:
                took = elapsed((now if part.ended is None else part.ended) - part.started)
                line = ("", "", "", took, part.address, part.number, part.status, part.blocks, part.rows, "")
                rows.append(dict(zip(titles, line, strict=True)))
        return told(rows, titles, options["format"])


class QueryDestination(_OfJobs):
    """Show which nodes take part in the last query, in a query by the number of its job, or in all."""

    words = "query destination"
    examples = ("query destination", "query destination all")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        titles = ("Job", "Destination", "DBMS", "Table", "Command")
        rows: list[dict[str, Any]] = []
        for job in jobs_of(node, operands, self.words):
            for place, part in enumerate(job.parts):
                told_once = (f"{job.slot:04}", part.address, job.dbms, job.table, job.command)
                values = told_once if not place else ("", part.address, "", "", "")
                rows.append(dict(zip(titles, values, strict=True)))
        return told(rows, titles, options["format"])


class QueryExplain(_OfJobs):
    """Show what the nodes are asked and how their answers are put together, for the last query, one job or all."""

    words = "query explain"
    examples = ("query explain", "query explain 3")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        found = jobs_of(node, operands, self.words)
        data = [{"Job ID": f"{job.slot:04}", **job.explain} for job in found]
        if not data:
            return Result(text=NONE, data=[], format=options["format"] or "text")
        text = "".join(framed(bar_table(("Key", "Value"), list(each.items()))) for each in data)
        return Result(text=text, data=data, format=options["format"] or "text")


class SetQueryMode(Command):
    """Set limits of queries of the network: the time and the volume for each operator, and who may be missing.

    send_mode = any asks those that are connected only; reply_mode = any answers with what arrived in time. Such an
    answer says which nodes are missing. Without max_volume 10 MB of partial results are taken of each operator, and
    any volume of rows that are only passed on.
    """

    words = "set query mode"
    operands = "using [timeout = 30 seconds] and [max_volume = 2MB] and [send_mode = all | any] and [reply_mode = ...]"
    least = 1
    raw = True
    where: ClassVar[Mapping[str, Option]] = {
        "timeout": Seconds(help="for each operator, 0: no limit"),
        "max_volume": Bytes(help="for each operator"),
        "send_mode": OneOf(words=("all", "any"), help="any: without those that are not connected"),
        "reply_mode": OneOf(words=("all", "any"), help="any: without those that did not answer in time"),
        "show_id": Flag(help="the job before each answer"),
    }
    usage = (
        "set query mode using timeout = [number and unit of time] and max_volume = [size]"
        " and send_mode = [all | any] and reply_mode = [all | any] and show_id = [true/false]"
    )
    examples = (
        "set query mode using timeout = 30 seconds and max_volume = 2MB and send_mode = all and reply_mode = any",
        "set query mode using send_mode = any",
    )
    index = ("query", "configuration")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        word, _, text = operands[0].strip().partition(" ")
        if word.lower() not in ("using", "where") or not text.strip():
            raise AnyLogError(2, f"set query mode: '{operands[0]}'; usage: {self.usage}")
        pairs: list[tuple[str, str]] = []
        place = 0
        while place < len(text) and (found := _PAIR.match(text, place)):
            pairs.append((found[1], found[2].strip("\"'")))
            place = found.end()
        if text[place:].strip():
            raise AnyLogError(2, f"set query mode: '{text[place:].strip()}' is not 'key = value'")
        given = self.read(operands, pairs)
        mode = _place(node).network_queries.mode
        if given["timeout"] is not None:
            mode.timeout = given["timeout"]
        if given["max_volume"] is not None:
            mode.max_volume, mode.given = given["max_volume"], given["max_volume"] > 0
        mode.send, mode.reply = given["send_mode"] or mode.send, given["reply_mode"] or mode.reply
        if given["show_id"] is not None:
            mode.show_id = given["show_id"]
        return None


class GetQueryMode(Command):
    """Show the limits of queries of the network."""

    words = "get query mode"
    where: ClassVar[Mapping[str, Option]] = {"format": Format}
    examples = ("get query mode",)
    index = ("query", "configuration")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        mode = _place(node).network_queries.mode
        timeout = int(mode.timeout) if mode.timeout == int(mode.timeout) else mode.timeout
        data = {
            "timeout": timeout,
            "max_volume": mode.max_volume,
            "send_mode": mode.send,
            "reply_mode": mode.reply,
            "show_id": mode.show_id,
        }
        lines = [f"{key.ljust(10)} : [{value!r}]" for key, value in data.items()]
        return Result(text=framed("\r\n".join(lines)), data=data, format=options["format"] or "text")


class GetQueryPool(Command):
    """Show the threads of result tables, which of them are busy, and how many queries there were."""

    words = "get query pool"
    where: ClassVar[Mapping[str, Option]] = {"format": Format}
    examples = ("get query pool",)
    index = ("query", "monitoring")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        queries = _place(node).network_queries
        busy = min(queries.lane.depth, queries.threads)
        flags = [1] * busy + [0] * (queries.threads - busy)
        total = sum(1 for job in _place(node).jobs if job.sql)
        last = _place(node).jobs.last
        total = max(total, last.number if last is not None else 0)
        text = f"{f'Query Pool with {queries.threads} threads:':<60}{flags} ({total})"
        data = {"Pool": "Query", "Threads": queries.threads, "Busy": busy, "Queries": total}
        return Result(text=text, data=data, format=options["format"] or "text")


class SetQueryPool(Command):
    """Set how many threads work on the result tables of queries of the network (3 if nothing is said)."""

    words = "set query pool"
    also = ("set threads pool",)
    operands = "[number]"
    least = 1
    most = 1
    examples = ("set query pool 6", "set threads pool 6")
    index = ("query", "configuration")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        try:
            threads = Whole(least=1, most=64).read(operands[0])
        except ValueError as wanted:
            raise AnyLogError(175, f"set query pool: '{operands[0]}' is not {wanted}") from None
        await _place(node).network_queries.resize(threads)
        return None


COMMANDS: tuple[type[Command], ...] = (
    QueryStatus,
    QueryDestination,
    QueryExplain,
    SetQueryMode,
    GetQueryMode,
    GetQueryPool,
    SetQueryPool,
)
