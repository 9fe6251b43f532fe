"""Words about what the operator did, in numbers (operator-ha.md 4, monitoring.md 4.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from anylog.disk.journal import PUT_ASIDE
from anylog.errors import AnyLogError
from anylog.language.command import Command, Format, OneOf, Text
from anylog.language.context import Context, Result
from anylog.language.tables import bar_table, framed
from anylog.processes import publisher_commands
from anylog.processes.earlier import UNTOLD
from anylog.processes.operator import Operator
from anylog.processes.record import Failures, FileCount
from anylog.processes.synchronizer import hms

if TYPE_CHECKING:
    from anylog.node import Node

TOPICS = ("config", "summary", "json", "sql", "inserts", "error")
_EACH = ("json", "sql", "inserts", "error")  # what is shown without a topic
_KINDS = (("json", "JSON Errors"), ("sql", "SQL Errors"))
_Shown = tuple[str, Any]  # the table, and the same as JSON values


def _topic(text: str, command: str) -> str:
    """`stat` and `errors` are older names. Raises AnyLogError 2 for an unknown topic."""
    topic = {"stat": "summary", "errors": "error"}.get(text.lower(), text.lower())
    if topic not in TOPICS:
        raise AnyLogError(2, f"{command}: '{text}' is not a topic: one of {', '.join(TOPICS)}")
    return topic


def _told(node: Node, topics: Sequence[str], alone: bool, format: str | None) -> Result:
    made = [(topic, *_MADE[topic](node)) for topic in topics]
    text = "\r\n".join(f"\r\nStats: OPERATOR {topic.upper()}{framed(table)}" for topic, table, _ in made)
    earlier = node.intake.operating.earlier
    if earlier.waiting:
        text += f"\r\n{earlier.depth} buffers of before the start wait to become files: {earlier.waiting}"
    if untold := node.intake.counts[UNTOLD]:
        text += f"\r\n{untold} became files without answers of other members, last {node.intake.counts.last(UNTOLD)}"
    if aside := node.intake.counts[PUT_ASIDE]:
        text += f"\r\n{aside} records of the journal could not be read and were put aside, last"
        text += f" {node.intake.counts.last(PUT_ASIDE)}"
    return Result(text=text, data=made[0][2] if alone else [each[2] for each in made], format=format or "table")


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
        if operands:
            return _told(node, [_topic(operands[0], self.words)], True, options["format"])
        return _told(node, _EACH, False, options["format"])


class GetInserts(Command):
    """Show how many rows the operator has added to tables, as `get operator inserts` does."""

    words = "get inserts"
    where = {"format": Format}
    examples = ("get inserts", "get inserts where format = json")
    index = ("monitor", "data")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Nothing yet is an empty table."""
        return _told(node, ["inserts"], True, options["format"])


class GetStats(Command):
    """Show numbers of a service by topic, as `get operator` does; the topic is `summary` if none is given."""

    words = "get stats"
    where = {
        "service": OneOf(required=True, words=("operator", "publisher"), help="whose numbers"),
        "topic": Text(
            many=True, help="config, summary, json, sql, inserts or error; of a publisher config, summary or files"
        ),
        "format": Format,
    }
    examples = (
        "get stats where service = operator and topic = summary and format = json",
        "get stats where service = operator and topic = inserts and topic = error",
    )
    index = ("monitor", "data")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 for an unknown topic."""
        asked = options["topic"] or ["summary"]
        if options["service"] == "publisher":
            wanted = [publisher_commands.topic_of(topic, self.words) for topic in asked]
            return publisher_commands.told(node, wanted, len(wanted) == 1, options["format"])
        topics = [_topic(topic, self.words) for topic in asked]
        return _told(node, topics, len(topics) == 1, options["format"])


class ResetStats(Command):
    """Count the numbers of a service from 0 again: of one topic, of some, or of all."""

    words = "reset stats"
    where = {
        "service": OneOf(required=True, words=("operator", "publisher"), help="whose numbers"),
        "topic": Text(many=True, help="summary, json, sql, inserts or error (of a publisher: files); all if not given"),
    }
    examples = (
        "reset stats where service = operator and topic = summary",
        "reset stats where service = operator",
    )
    index = ("monitor", "data")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 for an unknown topic."""
        if options["service"] == "publisher":
            asked = options["topic"] or publisher_commands.TOPICS
            publisher_commands.reset(node, [publisher_commands.topic_of(topic, self.words) for topic in asked])
            return None
        topics = [_topic(topic, self.words) for topic in options["topic"] or TOPICS]
        seen = node.operator_seen
        for topic in topics:
            if topic == "summary":
                seen.forget(topic, {"": _totals(node)})
                seen.at, seen.rows, seen.errors = node.clock.seconds(), 0, 0
            elif topic == "error":
                seen.forget(topic, {kind: {"count": failures.count} for kind, failures in _failures(node).items()})
            elif topic in _COUNTED:
                seen.forget(topic, dict(_COUNTED[topic](node)))
        return None


# ------------------------------------------------------------------ the numbers, by (dbms, table)

_Numbers = Iterator[tuple[tuple[str, str], dict[str, float]]]


def _json_files(node: Node) -> _Numbers:
    """Files that were loaded, by PUT and of the watch directory; calls of streaming data."""
    seen = node.operator_seen
    counts = {(dbms, table): count for (dbms, table, kind), count in seen.files.items() if kind == "json"}
    for key in sorted({*node.intake.traffic, *counts}):
        traffic, count = node.intake.traffic.get(key), counts.get(key, FileCount())
        files = count.files + (traffic.file_calls if traffic else 0)
        calls = traffic.calls if traffic else 0
        if files or calls:
            yield key, {"files": files, "calls": calls, "last": max(count.last, traffic.last if traffic else 0.0)}


def _sql_files(node: Node) -> _Numbers:
    for (dbms, table, kind), count in sorted(node.operator_seen.files.items()):
        if kind == "sql":
            yield (dbms, table), {"files": count.files, "calls": 0, "last": count.last}


def _inserted(node: Node) -> _Numbers:
    for key, traffic in sorted(node.intake.traffic.items()):
        if traffic.first_insert:
            yield (
                key,
                {
                    "batch": traffic.batch_rows,
                    "immediate": traffic.immediate,
                    "seconds": traffic.seconds,
                    "first": traffic.first_insert,
                    "last": traffic.last_insert,
                },
            )


_COUNTED: Mapping[str, Callable[[Any], _Numbers]] = {"json": _json_files, "sql": _sql_files, "inserts": _inserted}


def _counted(node: Node, topic: str, counts: Sequence[str]) -> _Numbers:
    """Numbers since the topic was reset; `counts` are those that grow, a table that has none of them is left out."""
    for key, numbers in _COUNTED[topic](node):
        since = numbers | node.operator_seen.since(topic, key, {name: numbers[name] for name in counts})
        if any(since[name] for name in counts):
            yield key, since


def _by_table(values: Sequence[tuple[tuple[str, str], Sequence[Any]]]) -> tuple[list[tuple[Any, ...]], dict[str, Any]]:
    """Rows of a table, where a database is named once; and the same nested."""
    rows: list[tuple[Any, ...]] = []
    nested: dict[str, dict[str, Sequence[Any]]] = {}
    for (dbms, table), cells in values:
        rows.append(("" if dbms in nested else dbms, table, *cells))
        nested.setdefault(dbms, {})[table] = cells
    return rows, nested


# ------------------------------------------------------------------ topics


def _config(node: Node) -> _Shown:
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
    options = {**operator.options.given, "distributor": operator.distributor}
    table = bar_table(tuple(row), [tuple(row.values())])
    table += "\r\n\r\n" + bar_table(("Option", "Value"), sorted(options.items()))
    return table, {**row, "options": options}


def _totals(node: Node) -> dict[str, float]:
    """Rows that came, and what went wrong: files that failed, rows that fit no column."""
    traffic = node.intake.traffic.values()
    return {
        "rows": sum(each.rows + each.batch_rows for each in traffic),
        "errors": node.operator_seen.failed + sum(each.parked for each in traffic),
    }


def _summary(node: Node) -> _Shown:
    operator = node.processes.find("operator")
    seen, now, traffic = node.operator_seen, node.clock.seconds(), list(node.intake.traffic.values())
    moments = [at for each in traffic for at in (each.first, each.last, each.first_insert, each.last_insert) if at]
    first, last = min(moments, default=0.0), max(moments, default=0.0)
    totals = seen.since("summary", "", _totals(node))
    rows, errors = int(totals["rows"]), int(totals["errors"])
    row = {
        "Node name": f"{node.name or 'AnyLog'}@{node.address}",
        "Status": "Active" if isinstance(operator, Operator) else "Not Active",
        "Operational time": hms(now - operator.started) if isinstance(operator, Operator) else hms(0),
        "Processing time": hms(last - first),
        "Elapsed time": hms(now - seen.at) if seen.at else hms(0),
        "New rows": rows - seen.rows,
        "Total rows": rows,
        "New errors": errors - seen.errors,
        "Total errors": errors,
        "Avg. rows/sec": round(rows / (last - first), 2) if last > first else 0,
    }
    seen.at, seen.rows, seen.errors = now, rows, errors
    return bar_table(tuple(row), [tuple(row.values())]), {key.lower(): value for key, value in row.items()}


def _files(node: Node, topic: str) -> _Shown:
    now = node.clock.seconds()
    values = [
        (key, (int(each["files"]), int(each["calls"]), int(each["last"]), hms(now - each["last"])))
        for key, each in _counted(node, topic, ("files", "calls"))
    ]
    rows, nested = _by_table(values)
    return bar_table(("DBMS", "Table", "Files", "Immediate", "Timestamp", "Elapsed_time"), rows), nested


def _inserts(node: Node) -> _Shown:
    now = node.clock.seconds()
    values = [
        (
            key,
            (
                int(each["first"]), int(each["last"]), hms(now - each["first"]), hms(now - each["last"]),
                int(each["batch"]), int(each["immediate"]), round(each["seconds"], 3),
            ),
        )
        for key, each in _counted(node, "inserts", ("batch", "immediate", "seconds"))
    ]  # fmt: skip
    rows, nested = _by_table(values)
    titles = ("DBMS", "Table", "First insert", "Last insert", "Batch inserts", "Immediate inserts")
    return bar_table(titles, [(dbms, table, *cells[2:6]) for dbms, table, *cells in rows]), nested


def _failures(node: Node) -> dict[str, Failures]:
    """By kind of file. Rows that fit no column count as errors of JSON, and are told if no file failed later."""
    found = {kind: node.operator_seen.failures.get(kind, Failures()) for kind, _ in _KINDS}
    parked = {key: traffic for key, traffic in node.intake.traffic.items() if traffic.parked}
    if parked:
        worst, files = max(parked, key=lambda key: parked[key].last_insert), found["json"]
        count = files.count + sum(each.parked for each in parked.values())
        at = parked[worst].last_insert or parked[worst].last
        told = "rows that fit no column are parked: get parked rows"
        if at > files.at:
            found["json"] = Failures(count, at, *worst, 0, told)
        else:
            found["json"] = Failures(count, files.at, files.dbms, files.table, files.code, files.text)
    return found


def _errors(node: Node) -> _Shown:
    titles = (
        "Type", "Counter", "Timestamp", "Elapsed time", "Dbms name", "Table name", "Last error", "Last error text",
    )  # fmt: skip
    rows: list[tuple[Any, ...]] = []
    now, found = node.clock.seconds(), _failures(node)
    for kind, title in _KINDS:
        each = found[kind]
        count = int(node.operator_seen.since("error", kind, {"count": each.count})["count"])
        if not count:
            rows.append((title, 0, 0, hms(0), "", "", 0, ""))
            continue
        rows.append((title, count, int(each.at), hms(now - each.at), each.dbms, each.table, each.code, each.text))
    data = [dict(zip((title.lower() for title in titles), row, strict=True)) for row in rows]
    return bar_table(titles, rows), data


_MADE: Mapping[str, Callable[[Any], _Shown]] = {
    "config": _config,
    "summary": _summary,
    "json": lambda node: _files(node, "json"),
    "sql": lambda node: _files(node, "sql"),
    "inserts": _inserts,
    "error": _errors,
}

COMMANDS: tuple[type[Command], ...] = (GetOperator, GetInserts, GetStats, ResetStats)
