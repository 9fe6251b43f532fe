"""Words about rules for events of text (ingest.md 12)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, ClassVar

from anylog.databases.tables import RESERVED
from anylog.errors import AnyLogError
from anylog.language.command import Command, Flag, Format, OneOf, Option, Text, Whole
from anylog.language.context import Context, Result
from anylog.language.statements import scope_of
from anylog.language.tables import bar_table, framed
from anylog.language.tokens import Kind, tokens_of
from anylog.language.where import read_where
from anylog.mapping.names import normalise
from anylog.processes.msg_rules import MsgRules, Rule
from anylog.wire.topics import name_fault

if TYPE_CHECKING:
    from anylog.node import Node

_WORDS = "set msg rule"
_USAGE = (
    "set msg rule [name] if [ip = address] [and port = number] [and header = text]"
    " then dbms = [text] and table = [text] [and syslog = true/false] [and format = bsd/ietf] [and extend = ip]"
    " [and topic = text] [and structure = included]"
)


class _If(Command):
    """What is asked of an event."""

    words = _WORDS
    where: ClassVar[Mapping[str, Option]] = {
        "ip": Text(),
        "port": Whole(least=1, most=65535),
        "header": Text(),
    }
    usage = _USAGE


class _Then(Command):
    """What becomes of it."""

    words = _WORDS
    where: ClassVar[Mapping[str, Option]] = {
        "dbms": Text(),
        "table": Text(),
        "syslog": Flag(default=False),
        "format": OneOf(words=("bsd", "ietf")),
        "extend": OneOf(words=("ip",)),
        "topic": Text(),
        "structure": OneOf(words=("included",)),
    }
    usage = _USAGE


class SetMsgRule(Command):
    """Say what becomes of events of text that come to the message broker's port or to the syslog server.

    An event is a line, or what octet counting frames; it falls under a rule by the address of its sender (ip), the
    port of this node that it came to, and its first characters (header), which are then taken away. Of several rules
    the one that asks for most is taken. With syslog = true an event becomes priority, timestamp, hostname, tag and
    message, with format = ietf all parts of RFC 5424; both forms are understood either way. With structure = included
    the first event of a sender names the columns, which are as wide as their titles. Without either an event that is a
    JSON object is a row, and any other text is a row of timestamp and message.

    extend = ip adds the column source_ip. With a topic the row goes to those who subscribed to it by `run msg client
    where broker = local`, instead of dbms and table.
    """

    words = _WORDS
    operands = "[name] if [condition] then [destination]"
    usage = _USAGE
    least = 1
    most = None
    raw = literal = True
    examples = (
        "set msg rule roof if ip = 10.0.0.78 and port = 1468 then dbms = plant and table = syslog and syslog = true",
        'set msg rule kern if header = "al.sl.kern" then dbms = plant and table = kern and syslog = true'
        " and format = ietf and extend = ip",
        "set msg rule lines if ip = 10.0.0.9 then topic = plant/lines and structure = included",
    )
    index = ("streaming", "data ingestion", "configuration")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2, 28, 40 or 175 naming what is wrong."""
        tokens = tokens_of(operands[0])
        then = next((place for place, token in enumerate(tokens) if token.is_word("then")), 0)
        if len(tokens) < 2 or tokens[0].kind is Kind.GROUP or not tokens[1].is_word("if") or not then:
            raise AnyLogError(2, f"{self.words}: usage: {_USAGE}")
        name, scope = tokens[0].text.strip("\"'"), scope_of(node, context)
        if not name.strip() or len(name) > 100 or not name.isprintable():
            raise AnyLogError(2, f"{self.words}: a name has up to 100 printable characters")
        asked = _If.read((), read_where(tokens[2:then], _If.where, scope))
        given = _Then.read((), read_where(tokens[then + 1 :], _Then.where, scope))
        node.msg_rules.add(rule_of(name, asked, given))
        return None


def rule_of(name: str, asked: Mapping[str, Any], given: Mapping[str, Any]) -> Rule:
    """Raises AnyLogError 2, 28 or 40."""
    what = f"{_WORDS} {name}"
    header = _bare(asked["header"] or "")
    if not (asked["ip"] or asked["port"] or header):
        raise AnyLogError(2, f"{what}: at least one of ip, port and header is needed")
    ip = ""
    if asked["ip"]:
        try:
            ip = str(ip_address(asked["ip"]))
        except ValueError:
            raise AnyLogError(40, f"{what}: '{asked['ip'][:80]}' is not an address") from None
    topic = given["topic"] or ""
    if topic:
        fault = name_fault(topic)
        if fault:
            raise AnyLogError(40, f"{what}: '{topic[:80]}' is not a topic: {fault}")
    elif not given["dbms"] or not given["table"]:
        raise AnyLogError(2, f"{what}: 'dbms' and 'table' are needed, or a 'topic'")
    if given["format"] and not given["syslog"]:
        raise AnyLogError(2, f"{what}: 'format' needs syslog = true")
    if given["structure"] and given["syslog"]:
        raise AnyLogError(2, f"{what}: 'structure' and 'syslog' exclude one another")
    table = normalise(given["table"], "table") if given["table"] else ""
    if table.startswith(RESERVED):
        raise AnyLogError(28, f"'{table}': names that begin with {', '.join(RESERVED)} are not for tables")
    return Rule(
        name=name,
        ip=ip,
        port=asked["port"] or 0,
        header=header,
        dbms=normalise(given["dbms"], "database") if given["dbms"] else "",
        table=table,
        syslog=given["syslog"],
        ietf=given["format"] == "ietf",
        extend=given["extend"] is not None,
        topic=topic,
        structure=given["structure"] is not None,
    )


def _bare(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


class ResetMsgRule(Command):
    """Take a rule away; events that fell under it fall under the next one, or are dropped and counted."""

    words = "reset msg rule"
    operands = "[name]"
    least = most = 1
    examples = ("reset msg rule roof",)
    index = ("streaming", "data ingestion", "configuration")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 40 for a name that no rule has."""
        node.msg_rules.remove(operands[0].strip("\"'"))
        return None


class GetMsgRules(Command):
    """Show the rules for events of text in the order in which they are tried, and what came; below what was dropped."""

    words = "get msg rules"
    also = ("get msg rule",)
    where = {"format": Format}
    examples = ("get msg rules", "get msg rules where format = json")
    index = ("monitor", "streaming", "data ingestion")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Times are UTC."""
        titles = (
            *("Name", "IP", "Port", "Header", "DBMS", "Table", "Syslog", "Topic", "Events", "Errors"),
            *("Last event time", "Last Error"),
        )
        rules: MsgRules = node.msg_rules
        rows = [
            (
                *(rule.name, rule.ip, rule.port or "", rule.header, rule.dbms, rule.table),
                *(("ietf" if rule.ietf else "bsd") if rule.syslog else "", rule.topic),
                *(rule.counted.messages, rule.counted.errors, _moment(rule.counted.last_message)),
                re.sub(r"\s+", " ", rule.counted.error)[:200],
            )
            for rule in rules
        ]
        data = [dict(zip(titles, row, strict=True)) for row in rows]
        text = framed(bar_table(titles, rows)) if rows else "\r\nNo message rules\r\n"
        counts = list(rules.counts)
        if counts:
            text += "\r\n" + bar_table(("Counter", "Number"), counts) + "\r\n"
        return Result(text=text, data=data, format=options["format"] or "table")


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S") if seconds else ""


COMMANDS: tuple[type[Command], ...] = (SetMsgRule, ResetMsgRule, GetMsgRules)
