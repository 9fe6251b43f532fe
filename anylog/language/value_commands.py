"""Words that give values: expressions, JSON that grows, programs, commands of a table (language.md 9, 10)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from shlex import quote
from typing import TYPE_CHECKING, Any

from anylog.errors import AnyLogError
from anylog.interfaces import unix
from anylog.language.command import Command, Text
from anylog.language.context import Context, Result
from anylog.language.dictionary import Scope, copied, read_json, resolve_json, shown, together
from anylog.language.expressions import evaluated
from anylog.language.set_policy import changed, read_changes
from anylog.language.statements import scope_of
from anylog.language.tokens import Kind, tokens_of

if TYPE_CHECKING:
    from anylog.node import Node

SYSTEM_SECONDS = 5.0
SYSTEM_LONGEST = 3600.0
SWITCH = "allow_remote_exec"  # the key that opens `system` to REST of this machine (security.md 18)
_KEY_IN_LINE = r"(?P<key>![A-Za-z_][A-Za-z0-9_]*(?:[.\-/]!?[A-Za-z0-9_]+)*)"
_IN_LINE = re.compile(rf"""'[^']*'|"|\\.|{_KEY_IN_LINE}|[^'"\\!]+|[!\\]""", re.DOTALL)
_IN_QUOTES = re.compile(rf""""|\\.|{_KEY_IN_LINE}|[^"\\!]+|[!\\]""", re.DOTALL)
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_$]{0,62}")


class Python(Command):
    """Evaluate an expression in a small part of Python: no loops, no imports, no files, bounded in size.

    `!key` and `!key.str` are texts, `.int`, `.float` and `.bool` numbers and truth values; a key that is not defined
    is an error. There are texts, numbers, lists and dictionaries with their operators, comparisons, `and`, `or`, `not`,
    `a if c else b`, parts (`x[0]`, `x[1:3]`), the methods of texts (split, strip, replace, lower, join, ...), the
    functions int, float, str, bool, len, min, max, abs, round and sorted, and of datetime utcnow, now, strptime,
    fromisoformat, fromtimestamp, timedelta and strftime, in UTC.
    """

    words = "python"
    operands = "[expression]"
    raw = literal = True
    examples = (
        "total = python !a.int + !b.int",
        "name = python !company.replace(' ', '-').lower()",
        "day = python datetime.datetime.utcnow().strftime('%Y-%m-%d')",
    )
    index = ("script",)
    guarded = here = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 34 for what is wrong, unknown or too large."""
        value = evaluated(operands[0] if operands else "", scope_of(node, context), unix(node.clock))
        if isinstance(value, tuple):
            value = list(value)
        if value is None:
            return None
        if isinstance(value, str):
            return Result(text=value)
        if isinstance(value, bool | int | float | list | dict):
            return Result(data=value)
        return Result(text=value.isoformat(" ") if isinstance(value, datetime) else str(value))


class SetPolicy(Command):
    """Set attributes of JSON that is kept in a key; the key is made if it is not there.

    Each piece has a path and a value: `=` sets, `+` appends to a list; `{}` and `[]` make levels, of which only the
    last may be missing. `!key` is its value of now, a number with `.int` or `.float`; in single quotes it stays as it
    is written.
    """

    words = "set policy"
    usage = "set policy [key] [attribute][attribute] = [value] and [attribute][list] + [value]"
    raw = literal = True
    examples = (
        "set policy p [config] = {} and [config][name] = north and [config][port] = !anylog_server_port.int",
        "set policy p [config][script] = [] and [config][script] + 'process !local_scripts/north.al'",
    )
    index = ("json", "blockchain", "script")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 naming the piece that is wrong; the key is as it was then."""
        scope = scope_of(node, context)
        key, changes = read_changes(operands[0] if operands else "", scope)
        value = node.dictionary.get(key)
        if isinstance(value, str):
            try:
                value = read_json(resolve_json(value, scope))
            except AnyLogError as why:
                raise AnyLogError(2, f"set policy: '{key}' holds no JSON: {why}") from None
        if value is None:
            value = {}
        if not isinstance(value, dict | list):
            raise AnyLogError(2, f"set policy: '{key}' is neither a dictionary nor a list: {shown(value)[:80]}")
        node.dictionary.set(key, changed(copied(value), key, changes))
        return None


class _Starts(Command):
    """A program of the operating system is started by who sits at this machine, or by its scripts."""

    here = guarded = True
    index = ("script", "cli")

    def allow(self, node: Node, context: Context) -> None:
        """Raises AnyLogError 212 for REST and for peers, unless somebody of this machine has opened REST to it."""
        opened = shown(node.dictionary.get(SWITCH)).lower() == "true"
        if context.origin == "peer" or (context.origin == "rest" and not opened):
            hint = f"; '{SWITCH} = true' opens it to REST of this machine" if context.origin == "rest" else ""
            raise AnyLogError(212, f"'{self.words}' is not served to REST and to other nodes{hint}")


class System(_Starts):
    """Run a line of the shell; what it writes is the value. It may take 5 seconds, unless `timeout` says otherwise.

    `!key` outside single quotes is replaced by its words, of which the shell makes nothing else; `$NAME` is the shell's
    own matter. What it writes to its errors makes it fail. After its time it is ended, with all that it has begun. Not
    for REST and for other nodes.
    """

    words = "system"
    usage = "system [timeout = seconds] [command of the operating system]"
    raw = literal = True
    examples = ("x = system date", "free = system timeout = 20 df -k / | awk '{print $4}' | tail -1")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 61 for errors of the line, 26 if it takes too long, 212 for who may not."""
        self.allow(node, context)
        line, seconds = operands[0] if operands else "", SYSTEM_SECONDS
        found = re.match(r"timeout\s*=\s*(\S+)\s*(?:seconds?\s+)?", line, re.IGNORECASE)
        if found:
            text, line = shown(scope_of(node, context).resolve(found[1])), line[found.end() :]
            if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text) or not 0 < float(text) <= SYSTEM_LONGEST:
                raise AnyLogError(2, f"system: '{found[1]}' is no time: seconds, at most {SYSTEM_LONGEST:g}")
            seconds = float(text)
        if not line.strip():
            raise AnyLogError(2, f"system: a command is missing; usage: {self.usage}")
        said = await node.programs.run(in_line(line, scope_of(node, context)), node.environ, seconds)
        return Result(text=said.rstrip("\r\n"))


class Subprocess(_Starts):
    """Start a program that nobody waits for; it goes on when the node has stopped. Its number is told."""

    words = "subprocess"
    operands = "[path of a program] [arguments]"
    least, most = 1, None
    examples = ("subprocess /usr/bin/logger 'the node has started'",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 61 for a program that cannot be started, 212 for who may not."""
        self.allow(node, context)
        words = [word[1:-1] if len(word) > 1 and word[0] == word[-1] == "'" else word for word in operands]
        pid = node.programs.start(words, node.environ)
        return Result(text=str(pid), data=pid)


def in_line(line: str, scope: Scope) -> str:
    """A line of the shell with `!key` outside single quotes replaced; one that is not defined is left.

    A value is words for the shell and never more: what has a meaning there is quoted (security.md 8), unless the key
    is the whole line. `$NAME` is left to the shell, whose environment is the node's. Raises AnyLogError 2 where it
    cannot be told what the shell would make of a value.
    """
    if re.fullmatch(r"![A-Za-z_][\w.\-]*", line.strip()):
        value = scope.resolve(line.strip())
        return line if value is None else shown(value)
    runs = "`" in line or "$(" in line  # parts in which quotes mean something else
    whole, quoted, at, size = "", False, 0, 0
    while at < len(line):
        found = (_IN_QUOTES if quoted else _IN_LINE).match(line, at)
        if found is None:  # one that is not closed: the shell says so
            return whole + line[at:]
        at, piece = found.end(), found[0]
        if piece == '"':
            quoted = not quoted
        elif found["key"] and (value := scope.resolve(piece)) is not None:
            words = shown(value)
            size = together(size, words)
            if runs and not re.fullmatch(r"[\w@%+=:,./\- ]*", words):
                raise AnyLogError(
                    2, f"system: beside `...` and $(...) the value of '{piece}' may not be '{words[:60]}'"
                )
            piece = re.sub(r'([\\"$`])', r"\\\1", words) if quoted else " ".join(map(quote, words.split()))
        whole += piece
    return whole


class ProcessFromTable(Command):
    """Run commands that stand in a column of a table, one after the other, as the lines of a script.

    With `value` the text `<>` in a command is replaced by that column of its row; `condition` goes into the select,
    such as "where enabled = 1 order by id".
    """

    words = "process from table"
    also = ("process from dbms",)
    where = {
        "name": Text(required=True, also=("table",), help="the table"),
        "dbms": Text(required=True, help="its database"),
        "command": Text(required=True, help="column with the commands"),
        "value": Text(help="column with what stands for <>"),
        "condition": Text(help="of the select: where and order by"),
    }
    examples = (
        'process from table where name = setup and dbms = config and command = line and condition = "order by id"',
    )
    index = ("script", "configuration")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 175 for what is no name, else what the query or the commands raise."""
        for key in ("name", "dbms", "command", "value"):
            if options[key] and not _IDENTIFIER.fullmatch(options[key]):
                raise AnyLogError(175, f"process from table: '{options[key]}' is no name for '{key}'")
        columns = [options["command"]] + ([options["value"]] if options["value"] else [])
        condition = (options["condition"] or "").replace('"', "").strip()
        select = f"select {', '.join(columns)} from {options['name']} {condition}".strip()
        answer = await node.execute(f"sql {options['dbms']} format = json:list and stat = false {select}", context)
        rows = await rows_of(answer)
        commands = []
        for row in rows:
            values = list(row.values())
            command = shown(values[0]).strip()
            if len(values) > 1:
                command = command.replace("<>", shown(values[1]))
            if command:
                commands.append(command)
        return await node.process_lines(f"{options['dbms']}.{options['name']}", commands, context)


async def rows_of(answer: Result) -> list[dict[str, Any]]:
    """The rows of an answer as JSON. Raises AnyLogError 77 if it is too large."""
    from anylog.language.interpreter import collected

    data = read_json(await collected(answer.pages)) if answer.pages is not None else answer.data
    if isinstance(data, dict):
        data = data.get("Query", [])
    return [row for row in data or [] if isinstance(row, dict) and row]


class Event(Command):
    """Run the script of an event: the one that the key `event_[name]` names, or [name].al of the local scripts.

    Words after the name are its arguments, bound by `variables` in its first line.
    """

    words = "event"
    operands = "[name] [arguments]"
    least, most = 1, None
    examples = ("event door_open north 5",)
    index = ("script",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 112 if no script is bound to it."""
        name = operands[0]
        if not re.fullmatch(r"[A-Za-z0-9_\-]{1,100}", name):
            raise AnyLogError(2, f"event: '{name}' is no name of an event")
        path = shown(node.dictionary.get(f"event_{name}")) or f"{name}.al"
        return await node.process(path, operands[1:], context)


class RandomSubstr(Command):
    """Give one of the parts of a text, by chance."""

    words = "random substr"
    operands = "[separator] [text]"
    raw = True
    examples = ("ip = random substr , !addresses", "x = random substr , a,b,c")
    index = ("script",)
    http = ("GET", "POST")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        tokens = tokens_of(operands[0]) if operands else []
        if len(tokens) < 2:
            raise AnyLogError(2, f"random substr: a separator and a text are missing; usage: {self.usage_text()}")
        first = tokens[0]
        separator = first.text[1:-1] if first.kind is Kind.SINGLE else first.text
        text = operands[0][tokens[1].start :].strip()
        text = text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text
        parts = [part.strip() for part in (text.split(separator) if separator else [text]) if part.strip()]
        if not parts:
            raise AnyLogError(2, f"random substr: nothing stands between '{separator}'")
        return Result(text=node.chance.choice(parts))


COMMANDS: tuple[type[Command], ...] = (
    Python,
    SetPolicy,
    System,
    Subprocess,
    ProcessFromTable,
    Event,
    RandomSubstr,
)
