"""Statements of scripts and of the language itself: if, goto, on error, process, wait, print (language.md 5 to 10)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anylog.errors import AnyLogError
from anylog.language.assignment import is_concatenation, operand_text
from anylog.language.command import Command, Text
from anylog.language.conditions import condition
from anylog.language.context import Context, Control, Result
from anylog.language.dictionary import Scope, held, read_json, resolve_json, shown
from anylog.language.interpreter import Form
from anylog.language.script import Frame
from anylog.language.tokens import joined, tokens_of
from anylog.waiting import deadline, pause

if TYPE_CHECKING:
    from anylog.node import Node


def scope_of(node: Node, context: Context) -> Scope:
    """Where references are looked up for who asks."""
    item = context.frame.item if isinstance(context.frame, Frame) else None
    return Scope(node.dictionary, node.environ, guarded=not context.local, item=item)


class If(Form):
    """Run a command if a condition is true; the result also decides the following `do` and `else` lines.

    Comparisons are ==, !=, <, <=, >, >=, contains, startswith, endswith and childfrom; `!key` alone is true if it is
    assigned, `not` negates the next operand, and parentheses group. Two numbers are compared as numbers, everything
    else as text without regard to letter case. Evaluation goes from left to right: `A and B or C` is `A and (B or C)`.
    Without `then` the result is shown, or assigned as in `x = if ...`.

    `do` runs a command if the last `if` was true, `else` if it was false; `else if` makes a chain of which one block
    at most is taken. Each leading `do` is one level: `do if` and `do else` stand inside a block.
    """

    words = "if"
    also = ("else", "do", "else if")
    usage = "if [condition] then [command] | do [command] | else if [condition] then [command] | else [command]"
    examples = (
        "if !port.int > 5 and not !is_vm.bool then print high",
        "if !name == 'roof' then process !local_scripts/roof.al",
        "if !x",
    )
    index = ("script", "cli")
    guarded = True


class SetKey(Form):
    """Assign a value to a key of the dictionary; never run it as a command, as `key = value` may do.

    `key = ""` deletes. `key[a][b] = value` assigns inside a dictionary, `$NAME = value` an environment variable, and
    `key = a + b` joins texts.
    """

    words = "set"
    usage = "set [key] = [value] | [key] = [value] | [key] = [command]"
    examples = ('set greeting = "get well"', "port = !anylog_rest_port", "answer = get status", 'x = !name + "-" + !ip')
    index = ("cli", "script", "configuration")
    guarded = True


class _Said(Command):
    """Text that is written."""

    operands = "[text]"
    raw = literal = True
    index = ("cli", "script")
    http = ("GET", "POST")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        text = printed(operands[0] if operands else "", scope_of(node, context))
        self.say(node, context, f"[From Node {context.who}] {text}" if context.origin == "peer" else text)
        return None

    def say(self, node: Node, context: Context, text: str) -> None:
        """Where it goes."""
        context.write(text)


class Print(_Said):
    """Write text where it is seen by who asks: keys are replaced, words are joined by one blank."""

    words = "print"
    examples = ("print hello !node_name", 'print "n = " + !n')


class Echo(_Said):
    """Say something to the people of the node it runs on: in its echo queue if that is on, else on the console."""

    words = "echo"
    examples = ("echo the script has ended",)

    def say(self, node: Node, context: Context, text: str) -> None:
        """Into the queue, if there is one."""
        if node.echoes.on:
            node.echoes.add(text)
        else:
            context.write(text)


class ForLoopStart(Command):
    """Run the lines up to `for loop end` once for each item of a list, or not at all if it is empty.

    In these lines `[+]` is the number of the item: `!names[+]` is the item, `!nodes.ip[+]` an attribute of it. Loops
    may stand within each other; `[+]` is of the innermost one.
    """

    words = "for loop start"
    where = {"list": Text(required=True, late=True, help="a key that holds a list, or a list as JSON")}
    examples = ("for loop start where list = !nodes",)
    index = ("script",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 for a key that is not defined, 6 for what is no list."""
        word, scope = options["list"], scope_of(node, context)
        value = scope.resolve(word) if word[:1] in ("!", "$") else word
        if value is None:
            raise AnyLogError(2, f"Missing dictionary definition for '{word}'")
        if isinstance(value, str):
            value = read_json(resolve_json(value, scope))
        if not isinstance(value, list):
            raise AnyLogError(6, f"for loop: '{word}' is no list: {shown(value)[:80]}")
        return Result(control=Control.LOOP_START, target=str(len(value)))


class ForLoopEnd(Command):
    """The end of the lines that `for loop start` repeats."""

    words = "for loop end"
    examples = ("for loop end",)
    index = ("script",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        return Result(control=Control.LOOP_END)


def printed(text: str, scope: Scope) -> str:
    """The text of `print`: references replaced (undefined: nothing), one layer of quotes removed, `+` joins."""
    tokens = tokens_of(text)
    texts = held(operand_text(token, scope) for token in tokens)
    if not is_concatenation(tokens):
        return joined(tokens, texts)
    whole, glue = "", True
    for place, (token, piece) in enumerate(zip(tokens, texts, strict=True)):
        if token.is_operator("+"):
            glue = True
            continue
        apart = not glue and tokens[place - 1].end != token.start
        whole, glue = whole + (" " if apart else "") + piece, False
    return whole


class Incr(Command):
    """Add a whole number to a value, 1 if none is given; assign the result to keep it."""

    words = "incr"
    operands = "[value] [number]"
    least, most = 1, 2
    examples = ("incr 5", "counter = incr !counter 3")
    index = ("script",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 40 for what is no whole number."""
        for operand in operands:
            if not re.fullmatch(r"[+-]?[0-9]{1,30}", operand):
                raise AnyLogError(40, f"incr: '{operand}' is not a whole number")
        total = int(operands[0]) + (int(operands[1]) if len(operands) > 1 else 1)
        return Result(text=str(total), data=total)


class Wait(Command):
    """Wait some seconds, or at most so long until a condition is true; looked at once a second.

    With a condition the result is True or False. The node goes on with everything else.
    """

    words = "wait"
    operands = "[seconds] [for condition]"
    raw = literal = True
    examples = ("wait 5", "wait 30 for !ready == true", "came = wait 10 for !x")
    index = ("script", "cli")
    http = ("GET", "POST")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 for a wrong time, 181 for a wrong condition."""
        scope = scope_of(node, context)
        tokens = tokens_of(operands[0]) if operands else []
        text = shown(scope.resolve(tokens[0].text)) if tokens else ""
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", text):
            culprit = tokens[0].text[:80] if tokens else ""
            raise AnyLogError(2, f"wait: '{culprit}' is not a number of seconds; usage: {self.usage_text()}")
        if isinstance(context.frame, Frame):
            context.frame.jumps = 0
        if len(tokens) == 1:
            await pause(node.clock, float(text))
            return None
        if not tokens[1].is_word("for") or len(tokens) == 2:
            raise AnyLogError(2, f"wait: unexpected '{tokens[1].text}'; usage: {self.usage_text()}")
        if len(tokens) == 3 and tokens[2].is_word("sync"):
            return await self._sync(node, float(text))
        test, until = condition(tokens[2:]), node.clock.seconds() + float(text)
        while not (outcome := test(scope, None)):
            left = until - node.clock.seconds()
            if left <= 0:
                break
            await pause(node.clock, min(1.0, left))
        return Result(text=str(outcome), data=outcome)

    async def _sync(self, node: Node, seconds: float) -> Result:
        """Until the ledger was looked at anew. Raises AnyLogError 150 without a synchronizer."""
        synchronizer = node.membership.synchronizer
        if synchronizer is None:
            raise AnyLogError(150, "wait for sync: the synchronizer is not running")
        errors = synchronizer.looks.errors
        try:
            await deadline(node.clock, seconds, synchronizer.look(), "wait for sync")
            outcome = synchronizer.looks.errors == errors
        except AnyLogError:
            outcome = False
        return Result(text=str(outcome), data=outcome)


class Process(Command):
    """Run the commands of a file, here and now; the first error that no `on error` takes ends it.

    A relative path is looked for as given, then beside the script that runs it, then in the directory of local
    scripts. Words after the file are its arguments, bound by `variables` in its first line. A file that ends with .json
    holds sections of settings and commands.
    """

    words = "process"
    also = ("script",)
    operands = "[path and file name] [arguments]"
    least, most = 1, None
    examples = ("process !local_scripts/start.al", "process etc/single.al")
    index = ("script", "cli")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 112 for a file that cannot be read, else what the script raises."""
        return await node.process(operands[0].strip("'"), operands[1:], context)


class Variables(Command):
    """Bind the arguments of a script to keys: the first statement of a script that takes arguments."""

    words = "variables"
    operands = "([key], [key])"
    raw = literal = True
    examples = ("variables (dbms, table)",)
    index = ("script",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 55 if there are more or fewer arguments."""
        found = re.fullmatch(r"\((.*)\)", operands[0].strip() if operands else "")
        keys = [key.strip().removeprefix("!") for key in found[1].split(",") if key.strip()] if found else []
        if not keys:
            raise AnyLogError(2, f"variables: a list of keys is missing; usage: {self.usage_text()}")
        given = context.frame.arguments if isinstance(context.frame, Frame) else ()
        if len(keys) != len(given):
            raise AnyLogError(55, f"{len(given)} arguments were given, {len(keys)} are taken: {', '.join(keys)}")
        for key, value in zip(keys, given, strict=True):
            node.dictionary.set(key, value)
        return None


class _Jump(Command):
    """A statement that tells the script where to go on."""

    control: Control

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        return Result(control=self.control, target=operands[0].strip(":") if operands else "")


class Goto(_Jump):
    """Go on after a label of this script (`:name:` at the begin of a line)."""

    words, operands, least, most = "goto", "[label]", 1, 1
    examples = ("goto end-script",)
    index = ("script",)
    guarded = True
    control = Control.GOTO


class CallLabel(_Jump):
    """Go on after a label; `return` comes back to the line after this one."""

    words, operands, least, most = "call", "[label]", 1, 1
    examples = ("call report",)
    index = ("script",)
    guarded = True
    control = Control.CALL


class Return(_Jump):
    """Go back to the line after the last `call`; without one the script ends."""

    words = "return"
    examples = ("return",)
    index = ("script",)
    guarded = True
    control = Control.RETURN


class EndScript(_Jump):
    """End this script; the one that called it goes on."""

    words, also = "end script", ("end_script", "end-script")
    examples = ("end script",)
    index = ("script",)
    guarded = True
    control = Control.END_SCRIPT


class ExitScripts(_Jump):
    """End this script and all that called it. The node keeps running. Outside of a script: end all that run."""

    words = "exit scripts"
    examples = ("exit scripts",)
    index = ("script",)
    guarded = True
    control = Control.EXIT_SCRIPTS

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        if isinstance(context.frame, Frame) and context.frame.script:
            return await super().run(node, context, operands)
        return Result(text=f"{node.runs.stop()} stopped")


class RaiseError(Command):
    """Fail with a text of one's own: the script ends, unless `on error` says otherwise, and so do those that called it.

    At the start of a node it is the reason for which the node does not start.
    """

    words = "raise error"
    operands = "[text]"
    least, most = 1, None
    examples = ('raise error "PORT is missing"', "raise error the port !port is taken")
    index = ("script", "debug")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 3 with the text."""
        raise AnyLogError(3, " ".join(operand.strip("'") for operand in operands), http=400)


class OnErrorIgnore(_Jump):
    """From here on errors in this script are logged and the script goes on."""

    words = "on error ignore"
    examples = ("on error ignore",)
    index = ("script", "debug")
    guarded = True
    control = Control.ON_ERROR_IGNORE


class OnErrorGoto(_Jump):
    """From here on an error in this script goes to a label, except one below that label."""

    words, operands, least, most = "on error goto", "[label]", 1, 1
    examples = ("on error goto failed",)
    index = ("script", "debug")
    guarded = True
    control = Control.ON_ERROR_GOTO


class OnErrorCall(_Jump):
    """From here on an error in this script calls a label; `return` goes on after the line that failed."""

    words, operands, least, most = "on error call", "[label]", 1, 1
    examples = ("on error call report",)
    index = ("script", "debug")
    guarded = True
    control = Control.ON_ERROR_CALL


class OnErrorEnd(_Jump):
    """From here on an error ends this script quietly."""

    words, also = "on error end script", ("on error end_script", "on error end-script")
    examples = ("on error end script",)
    index = ("script", "debug")
    guarded = True
    control = Control.ON_ERROR_END


STATEMENTS: tuple[type[Command], ...] = (
    If,
    SetKey,
    Print,
    Echo,
    ForLoopStart,
    ForLoopEnd,
    Incr,
    Wait,
    Process,
    Variables,
    Goto,
    CallLabel,
    Return,
    EndScript,
    ExitScripts,
    RaiseError,
    OnErrorIgnore,
    OnErrorGoto,
    OnErrorCall,
    OnErrorEnd,
)
