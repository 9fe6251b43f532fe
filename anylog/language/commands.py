"""Words of the language: the dictionary, the logs, help, and the statements of scripts (language.md 3)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import anylog.language.debug_commands
import anylog.language.script_commands
import anylog.language.value_commands
from anylog.errors import AnyLogError, text_of
from anylog.language.assignment import part_of
from anylog.language.command import Command, Format, Text
from anylog.language.context import Context, Result
from anylog.language.dictionary import HIDDEN, is_secret, item_of, read_json, resolve_json, shown
from anylog.language.help import Help
from anylog.language.logs import TITLES
from anylog.language.statements import STATEMENTS, scope_of
from anylog.language.tables import bar_table, framed

if TYPE_CHECKING:
    from anylog.node import Node


class GetDictionary(Command):
    """Show the keys of the dictionary and their values, or those whose key holds a text. Secrets are not shown."""

    words = "get dictionary"
    operands = "[part of a key]"
    most = 1
    where = {"format": Format}
    examples = ("get dictionary", "get dictionary _dir", "get dictionary where format = json")
    index = ("cli", "configuration", "script")
    http = ("GET",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        items = node.dictionary.items(operands[0] if operands else "")
        return listed({key: HIDDEN if is_secret(key) else value for key, value in items}, options["format"])


class GetEnvironment(Command):
    """Show the environment variables of the node, or those whose name holds a text. Secrets are not shown."""

    words = "get env var"
    operands = "[part of a name]"
    most = 1
    where = {"format": Format}
    examples = ("get env var", "get env var where format = json")
    index = ("cli", "configuration")
    http = ("GET",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        part = operands[0].lower() if operands else ""
        found = {
            key: HIDDEN if is_secret(key) else value
            for key, value in sorted(node.environ.items())
            if part in key.lower()
        }
        return listed(found, options["format"])


def listed(values: dict[str, Any], format: str | None) -> Result:
    """Keys and values as a table and as JSON."""
    text = framed(bar_table(("Key", "Value"), [(key, shown(value)) for key, value in values.items()]))
    return Result(text=text, data=values, format=format or "table")


class GetKey(Command):
    """Show the value of one key of the dictionary (`!key`), or of an environment variable (`$NAME`)."""

    words = "get !key"
    usage = "get ![key] | get $[name]"
    operands = "![key]"
    raw = literal = True
    examples = ("get !local_scripts", "get $HOME", "x = get !y")
    index = ("cli", "script")
    http = ("GET",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 184 for a key that is not assigned."""
        if len(operands[0].split()) != 1:
            raise AnyLogError(2, f"'get {operands[0]}' is more than one key")
        value = scope_of(node, context).resolve(operands[0])
        if value is None:
            raise AnyLogError(184, f"Missing key in dictionary: '{operands[0]}'")
        return Result(text=shown(value), data=value)


_PATH = re.compile(r"(.*\S)\s+((?:\[[^\[\]]+\])+)", re.DOTALL)


class Json(Command):
    """Show JSON, or the part at a path, with its keys replaced by their values; with `test`, whether it is JSON."""

    words = "json"
    operands = "[json or !key] [test or path]"
    raw = literal = True
    examples = ('json {"ip" : !ip}', "json !policy test", "port = json !policy [operator][port]")
    index = ("json", "script")
    http = ("GET", "POST")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """What is not JSON gives an empty result and no error; an undefined key in it is AnyLogError 6."""
        text = operands[0].strip() if operands else ""
        if not text:
            raise AnyLogError(2, f"json: a value is missing; usage: {self.usage_text()}")
        scope, test, path = scope_of(node, context), False, None
        if found := _PATH.fullmatch(text):
            text, path = found[1], [part_of(part, scope) for part in re.findall(r"\[([^\[\]]*)\]", found[2])]
        elif text.endswith(" test"):
            text, test = text[:-5].rstrip(), True
        if text[:1] == "!":
            text = scope.text(text) or ""
        try:
            data = read_json(resolve_json(text, scope)) if text[:1] in ("{", "[") else None
        except AnyLogError:
            if not test and ("!" in text or "$" in text):
                raise  # a key that is not defined
            data = None
        if test:
            return Result(text="true" if data is not None else "false", data=data is not None)
        for part in path or ():
            data = item_of(data, part)
        return None if data is None else Result(text=shown(data), data=data)


class GetError(Command):
    """Show the text of an error number."""

    words = "get error"
    operands = "[number]"
    least = most = 1
    examples = ("get error 212",)
    index = ("debug", "log")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 40 for a number that no error has."""
        if not operands[0].isdecimal():
            raise AnyLogError(40, f"get error: '{operands[0]}' is not a number")
        return Result(text=text_of(int(operands[0][:9])))


class _GetLog(Command):
    """The entries of one log."""

    log: ClassVar[str] = ""
    operands = "[text]"
    most = None
    where = {"format": Format, "keys": Text(help="show entries with one of these texts")}
    index = ("log", "monitor", "debug")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        keys = [*operands, *(options["keys"] or "").split()]
        rows = node.logs.named(self.log).rows(keys)
        text = framed(bar_table(TITLES, [[row[title] for title in TITLES] for row in rows]))
        return Result(text=text, data=rows, format=options["format"] or "table")


class GetEventLog(_GetLog):
    """Show the last 100 commands that were run, oldest first; with texts those that hold one of them."""

    words = "get event log"
    log = "event"
    examples = ("get event log", "get event log where format = json and keys = failed")


class GetErrorLog(_GetLog):
    """Show the last 20 commands that failed, and why; with texts those that hold one of them."""

    words = "get error log"
    log = "error"
    examples = ("get error log", "get error log sql")


class GetFileLog(_GetLog):
    """Show the last 1000 data files: what came of each, oldest first; with texts those that hold one of them.

    As JSON each also has its table, the error code and text, and how many rows were loaded and parked.
    """

    words = "get file log"
    log = "file"
    examples = ("get file log", "get file log failed", "get file log where format = json")


class GetQueryLog(_GetLog):
    """Show the last 20 SQL statements that `set query log` is about: how long each took, and whether it failed."""

    words = "get query log"
    log = "query"
    examples = ("get query log",)


class GetRestLog(_GetLog):
    """Show the last 20 HTTP calls that failed; with `set rest log on` all calls."""

    words = "get rest log"
    also = ("get streaming log",)
    log = "rest"
    examples = ("get rest log",)


class GetMsgLog(_GetLog):
    """Show the last 20 notes on messages of brokers and devices: by topic, and what could not be kept."""

    words = "get msg log"
    log = "msg"
    examples = ("get msg log", "get msg log failed where format = json")


class _ResetLog(Command):
    """Forget the entries of one log."""

    log: ClassVar[str] = ""
    index = ("log", "debug")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        node.logs.named(self.log).clear()
        return None


class ResetEventLog(_ResetLog):
    """Forget the entries of the event log."""

    words = "reset event log"
    log = "event"
    examples = ("reset event log",)


class ResetErrorLog(_ResetLog):
    """Forget the entries of the error log."""

    words = "reset error log"
    log = "error"
    examples = ("reset error log",)


class ResetFileLog(_ResetLog):
    """Forget the entries of the file log."""

    words = "reset file log"
    log = "file"
    examples = ("reset file log",)


class ResetQueryLog(_ResetLog):
    """Forget the entries of the query log."""

    words = "reset query log"
    log = "query"
    examples = ("reset query log",)


class ResetRestLog(_ResetLog):
    """Forget the entries of the log of HTTP calls."""

    words = "reset rest log"
    also = ("reset streaming log",)
    log = "rest"
    examples = ("reset rest log",)


class ResetMsgLog(_ResetLog):
    """Forget the entries of the log of messages."""

    words = "reset msg log"
    log = "msg"
    examples = ("reset msg log",)


COMMANDS: tuple[type[Command], ...] = (
    Help,
    *STATEMENTS,
    *anylog.language.script_commands.COMMANDS,
    *anylog.language.value_commands.COMMANDS,
    *anylog.language.debug_commands.COMMANDS,
    GetDictionary,
    GetEnvironment,
    GetKey,
    Json,
    GetError,
    GetEventLog,
    GetErrorLog,
    GetFileLog,
    GetQueryLog,
    GetRestLog,
    GetMsgLog,
    ResetEventLog,
    ResetErrorLog,
    ResetFileLog,
    ResetQueryLog,
    ResetRestLog,
    ResetMsgLog,
)
