"""Words of the language itself: values, output, scripts, help, logs (language.md; monitoring.md 6)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anylog.errors import AnyLogError, text_of
from anylog.language.command import Command, Format, OneOf, Text
from anylog.language.conditions import holds
from anylog.language.context import Context, Control, Result
from anylog.language.dictionary import SECRET, shown
from anylog.language.help import help_data, help_text
from anylog.language.tables import bar_table
from anylog.language.tokens import tokenise
from anylog.waiting import pause

if TYPE_CHECKING:
    from anylog.node import Node


class Help(Command):
    """Show how commands are written.

    Without words: every command. With the first words of commands: those. With one command: its page. `help index`
    lists keywords, `help index s` those that begin with s with their commands, `help index *` all.
    """

    words = "help"
    operands = "[command or first words]"
    most = None
    where = {"format": OneOf(words=("text", "table", "json", "mcp"), help="json gives the page as an object")}
    examples = ("help", "help get", "help connect dbms", "help index s")
    index = ("help", "cli")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        if options["format"] in ("json", "mcp"):
            return Result(data=help_data(node.words, operands), format="json")
        return Result(text=help_text(node.words, operands))


def _words(node: Node, rest: str) -> str:
    """Words with their references replaced, one layer of single quotes taken off, an undefined one left empty."""
    parts: list[str] = []
    for token in tokenise(rest):
        text = token.text
        if not token.quoted:
            text = shown(node.meaning(text))
            if len(text) > 1 and text[0] == text[-1] == "'":
                text = text[1:-1]
            if text in (":", "+"):
                if text == ":" and parts:
                    parts[-1] += ":"
                continue
        parts.append(text)
    return " ".join(part for part in parts if part)


class Print(Command):
    """Write words to whoever asked; `!key` and `$NAME` stand for their values."""

    words = "print"
    operands = "[words]"
    raw = literal = True
    most = None
    examples = ('print hello !node_name "and welcome"',)
    index = ("cli", "script")
    http = ("GET", "POST")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        text = _words(node, operands[0] if operands else "")
        if context.origin == "rest":
            return Result(text=text)
        context.write(text)
        return None


class Echo(Command):
    """Write words to the consoles of this node; `!key` and `$NAME` stand for their values."""

    words = "echo"
    operands = "[words]"
    raw = literal = True
    most = None
    examples = ("echo the pump is off",)
    index = ("cli", "script")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        context.write(_words(node, operands[0] if operands else ""))
        return None


class Wait(Command):
    """Wait some seconds, or until a condition holds, at most so long.

    With a condition the result is True or False; a time that runs out is no error.
    """

    words = "wait"
    operands = "[seconds] [for condition]"
    raw = literal = True
    least, most = 1, None
    examples = ("wait 5", "wait 10 for !ready == true")
    index = ("script",)
    http = ("GET", "POST")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        tokens = tokenise(operands[0])
        try:
            seconds = float(shown(node.meaning(tokens[0].text)))
        except ValueError:
            raise AnyLogError(2, f"wait: '{tokens[0].text}' is not a number of seconds") from None
        if not 0 <= seconds <= 86_400 * 365:
            raise AnyLogError(2, f"wait: '{tokens[0].text}' is not a number of seconds from 0 up to a year")
        if len(tokens) == 1:
            await pause(node.clock, seconds)
            return None
        if not tokens[1].is_word("for") or len(tokens) < 3:
            raise AnyLogError(2, f"wait: unexpected '{tokens[1].text}'; usage: {self.usage_text()}")
        condition = tokens[2:]
        until = node.clock.seconds() + seconds
        while not holds(condition, node.meaning):
            left = until - node.clock.seconds()
            if left <= 0:
                return Result(text="False", data=False)
            await pause(node.clock, min(1.0, left))
        return Result(text="True", data=True)


class Process(Command):
    """Run the commands of a script file.

    The name is tried as given, then under `!local_scripts`. Words after it are bound by the script's first statement
    `variables (a, b)`. A file that ends in `.json` holds sections of settings and commands.
    """

    words = "process"
    also = ("script",)
    operands = "[file] [arguments]"
    least, most = 1, None
    examples = ("process !local_scripts/start.al",)
    index = ("script",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        return await node.process(operands[0], operands[1:], context)


class Goto(Command):
    """Go on behind a label `:name:` of the same script."""

    words = "goto"
    operands = "[label]"
    least = most = 1
    examples = ("goto done",)
    index = ("script",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        _in_script(self, context)
        return Result(control=Control.GOTO, target=operands[0])


class CallLabel(Command):
    """Go on behind a label and come back with `return`."""

    words = "call"
    operands = "[label]"
    least = most = 1
    examples = ("call make-policy",)
    index = ("script",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        _in_script(self, context)
        return Result(control=Control.CALL, target=operands[0])


class Return(Command):
    """Go back behind the `call`; without one, end the script."""

    words = "return"
    examples = ("return",)
    index = ("script",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        _in_script(self, context)
        return Result(control=Control.RETURN)


class EndScript(Command):
    """End this script, with success."""

    words = "end script"
    also = ("end_script", "end-script")
    examples = ("end script",)
    index = ("script",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        _in_script(self, context)
        return Result(control=Control.END_SCRIPT)


class ExitScripts(Command):
    """End this script and all that called it; the node goes on."""

    words = "exit scripts"
    examples = ("exit scripts",)
    index = ("script",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        _in_script(self, context)
        return Result(control=Control.EXIT_SCRIPTS)


class OnError(Command):
    """Say what an error does from here on: nothing, jump, call, or end the script quietly.

    Without it the first error ends the script and names file, line, command and reason.
    """

    words = "on error"
    operands = "ignore | goto [label] | call [label] | end script"
    least, most = 1, 2
    examples = ("on error ignore", "on error goto failed", "on error call note", "on error end script")
    index = ("script",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        _in_script(self, context)
        kinds = {
            "ignore": (Control.ON_ERROR_IGNORE, 1),
            "goto": (Control.ON_ERROR_GOTO, 2),
            "call": (Control.ON_ERROR_CALL, 2),
            "end": (Control.ON_ERROR_END, 2),
        }
        control, size = kinds.get(operands[0].lower(), (None, 0))
        if control is None or len(operands) != size:
            raise AnyLogError(2, f"on error: usage: {self.usage_text()}")
        return Result(control=control, target=operands[-1])


def _in_script(command: Command, context: Context) -> None:
    if context.origin != "script":
        raise AnyLogError(2, f"{command.words}: stands in scripts only")


class Incr(Command):
    """Add a whole number, 1 if none is given, to a value."""

    words = "incr"
    operands = "[value] [number]"
    least, most = 1, 2
    examples = ("count = incr 5", "count = incr 5 10")
    index = ("script",)
    http = ("GET", "POST")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        for text in operands:
            if not re.fullmatch(r"[+-]?\d{1,18}", text):
                raise AnyLogError(40, f"incr: '{text}' is not a whole number")
        value = int(operands[0]) + (int(operands[1]) if len(operands) > 1 else 1)
        return Result(text=str(value), data=value)


class GetDictionary(Command):
    """Show the keys of the node dictionary, all or those that hold some letters; passwords are hidden."""

    words = "get dictionary"
    operands = "[letters of a key]"
    most = 1
    where = {"format": Format}
    examples = ("get dictionary", "get dictionary _dir", "get dictionary where format = json")
    index = ("configuration", "node info")
    http = ("GET",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        part = operands[0] if operands else ""
        return _pairs({key: value for key, value in node.dictionary if part in key}, options["format"])


class GetEnvironment(Command):
    """Show the environment of the node's process; passwords are hidden."""

    words = "get env var"
    where = {"format": Format}
    examples = ("get env var", "get env var where format = json")
    index = ("configuration", "node info")
    http = ("GET",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        return _pairs(dict(sorted(node.environ.items())), options["format"])


def _pairs(values: dict[str, Any], format: str | None) -> Result:
    hidden = {key: "****" if SECRET.search(key) else value for key, value in values.items()}
    if format == "json":
        return Result(data=hidden, format="json")
    return Result(text=bar_table(("Key", "Value"), list(hidden.items())), data=hidden, format="table")


class GetValue(Command):
    """Show the value of one key of the dictionary (`get !key`) or of the environment (`get $NAME`)."""

    words = "get"
    operands = "!key"
    raw = literal = True
    least = most = 1
    examples = ("get !ip", "get $HOME")
    index = ("configuration",)
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        word = operands[0].strip()
        if word[:1] not in ("!", "$") or len(word) < 2 or " " in word:
            near = node.words.nearest(f"get {word}")
            hint = f"; did you mean {', '.join(repr(each) for each in near)}?" if near else ""
            raise AnyLogError(2, f"'get {word}' is not known{hint}")
        value = node.meaning(word)
        if value is None:
            raise AnyLogError(184, f"Missing key in dictionary: '{word[1:]}'")
        if not context.local and SECRET.search(word):
            value = "***"
        return Result(text=shown(value), data=value if isinstance(value, (dict, list)) else None)


class GetError(Command):
    """Show the text of an error number."""

    words = "get error"
    operands = "[number]"
    least = most = 1
    examples = ("get error 16",)
    index = ("debug",)
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        if not operands[0].isdecimal():
            raise AnyLogError(40, f"get error: '{operands[0]}' is not a number")
        return Result(text=text_of(int(operands[0])))


class _GetLog(Command):
    """One class for each log, made below."""

    log = ""

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        keys = list(operands) or (options["keys"] or "").split()
        log = node.logs.named(self.log)
        if options["format"] == "json":
            return Result(data=log.objects(keys), format="json")
        return Result(text=log.table(keys), data=log.objects(keys), format="table")


class _ResetLog(Command):
    log = ""

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        node.logs.named(self.log).clear()
        return None


def _log_commands() -> list[type[Command]]:
    told = {
        "event": "every command that ran, and how it went",
        "error": "commands that failed, with the reason",
        "file": "data files that were processed",
        "query": "queries, if `set query log` is on",
        "rest": "calls over HTTP that failed, or all with `set rest log on`",
    }
    made: list[type[Command]] = []
    for name, what in told.items():
        also = ("get streaming log",) if name == "rest" else ()
        made.append(
            type(
                f"Get{name.title()}Log",
                (_GetLog,),
                {
                    "__doc__": f"Show the newest entries of the {name} log: {what}.\n\nWords choose among them.",
                    "log": name,
                    "words": f"get {name} log",
                    "also": also,
                    "operands": "[words]",
                    "most": None,
                    "where": {"format": Format, "keys": Text(help="words, entries that hold one of them are shown")},
                    "examples": (f"get {name} log", f"get {name} log where format = json"),
                    "index": ("log", "monitor"),
                    "http": ("GET",),
                },
            )
        )
        made.append(
            type(
                f"Reset{name.title()}Log",
                (_ResetLog,),
                {
                    "__doc__": f"Forget the entries of the {name} log.",
                    "log": name,
                    "words": f"reset {name} log",
                    "also": ("reset streaming log",) if name == "rest" else (),
                    "examples": (f"reset {name} log",),
                    "index": ("log",),
                    "guarded": True,
                },
            )
        )
    return made


class If(Command):
    """Run a command if a condition holds, or register it for the `do` and `else` lines that follow.

    `do` runs if the last `if` was true, `else` if it was false; `else if` makes a chain. `do if` nests: a line with
    two `do` needs both conditions. `A and B or C` is `A and (B or C)`.
    """

    words = "if"
    also = ("else", "do", "else if")
    statement = True
    usage = "if [condition] then [command]; do [command]; else if [condition] then [command]; else [command]"
    examples = ("if not !ip then print no address", "if !a == 5 and !b then c = 1")
    index = ("script",)


class Set(Command):
    """Keep a value under a key of the node dictionary.

    `x = value` keeps a value or, if the right side is a command, what the command answers. `set x = value` never runs
    anything. `x = ""` deletes. `x[key] = value` sets inside an object. `!x + text` joins.
    """

    words = "set"
    statement = True
    usage = "[key] = [value or command]; set [key] = [value]"
    examples = ("city = Boston", "set greeting = get up", 'city = ""', "place = !city + , + USA")
    index = ("script", "configuration")


COMMANDS: tuple[type[Command], ...] = (
    Help,
    Print,
    Echo,
    Wait,
    Process,
    Goto,
    CallLabel,
    Return,
    EndScript,
    ExitScripts,
    OnError,
    Incr,
    GetDictionary,
    GetEnvironment,
    GetValue,
    GetError,
    *_log_commands(),
    If,
    Set,
)
