"""One interpreter for every door: read, substitute, find, options, allowed?, run, note (architecture.md 5)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from anylog.errors import AnyLogError
from anylog.interfaces import Clock
from anylog.language.command import Command
from anylog.language.conditions import holds
from anylog.language.context import Call, Context, Control, Result
from anylog.language.dictionary import Dictionary, shown
from anylog.language.logs import Logs, masked
from anylog.language.script import Frame, Script, Walk, arguments
from anylog.language.tokens import Token, commands_of, tokenise, unwrapped
from anylog.language.where import pairs_of
from anylog.language.words import Words
from anylog.waiting import deferring

if TYPE_CHECKING:
    from anylog.node import Node

DEEPEST = 50  # scripts that call each other

_TARGET = re.compile(r"(?P<mark>[!$]?)(?P<key>[A-Za-z0-9_.\-]+)(?P<path>(?:\[[^\]]*\]|\{\})*)")
_STEP = re.compile(r"\[([^\]]*)\]")


class Interpreter:
    """Reads commands as text or as calls and runs them on one node."""

    log = Logger()

    def __init__(
        self,
        *,
        words: Words,
        dictionary: Dictionary,
        environ: MutableMapping[str, str],
        clock: Clock,
        node: Node,
        logs: Logs,
        read_file: Callable[[str], Awaitable[tuple[str, str]]],
    ) -> None:
        """`read_file(name)` gives the path and the text of a script; AnyLogError 112 if there is none."""
        self._words, self._dictionary, self._environ = words, dictionary, environ
        self._clock, self._node, self._logs, self._read_file = clock, node, logs, read_file

    def execute(self, asked: str | Call, context: Context) -> Deferred[Result]:
        """Run it and give its result. Fails with AnyLogError; anything else is noted with its traceback as 500."""
        done: Deferred[Result] = self._execute(asked, context)
        return done

    def meaning(self, word: str) -> Any:
        """What a word with `!` or `$` stands for, None if undefined; other words are themselves."""
        return self._dictionary.resolve(word, self._environ)

    @deferring
    async def _execute(self, asked: str | Call, context: Context) -> Result:
        if isinstance(asked, Call):
            return await self._run(asked.command, asked.command.words, asked.operands, dict(asked.options), context)
        result = Result.nothing()
        for text in commands_of(unwrapped(asked)):
            result = await self._statement(text, context)
            if result.control is not None:
                break
        return result

    async def _statement(self, text: str, context: Context) -> Result:
        """One command or statement form; its outcome is noted in the logs."""
        tokens = tokenise(text)
        if not tokens:
            return Result.nothing()
        frame = context.frame
        if frame is None:
            frame = context.frame = Frame()
        first = tokens[0]
        if first.is_word("if", "else", "do"):
            return await self._branch(text, tokens, frame, context)
        if first.is_word("set") and len(tokens) > 2 and tokens[2].is_word("=") and self._words.find(tokens[:2]) is None:
            self._may_change(context, text)
            self._assign(tokens[1], text, tokens[3:])
            return Result.nothing()
        if len(tokens) > 1 and tokens[1].is_word("=") and not first.quoted:
            return await self._assignment(text, tokens, context)
        if not first.quoted and first.text[0] in "!$" and len(first.text) > 1:
            if len(tokens) == 1:
                return self._show(first.text)
            if tokens[1].is_word("+"):
                return Result(text=self._joined(tokens))
            # A variable may hold the word of a command (language.md 2.3).
            value = self.meaning(first.text)
            if isinstance(value, str) and value and value[0] not in "!$":
                return await self._statement(value + text[first.end :], context)
        return await self._command(text, tokens, context)

    # Statement forms

    async def _branch(self, text: str, tokens: Sequence[Token], frame: Frame, context: Context) -> Result:
        """`if`, `else`, `do`, in any nesting; the level is the number of leading `do` (language.md 8)."""
        level = 0
        while level < len(tokens) and tokens[level].is_word("do"):
            level += 1
        if level and not frame.passes(level):
            return Result(control=Control.DO_IGNORED)
        rest = tokens[level:]
        if not rest:
            raise AnyLogError(2, "nothing stands after 'do'")
        if rest[0].is_word("else"):
            if not frame.was_false(level):
                # Of an else-chain whose branch was taken, the rest must not run, `do` lines included.
                if len(rest) > 1 and rest[1].is_word("if"):
                    self._skip(frame, level)
                return Result(control=Control.ELSE_IGNORED)
            rest = rest[1:]
            if not rest:
                raise AnyLogError(2, "nothing stands after 'else'")
        if not rest[0].is_word("if"):
            return await self._statement(text[rest[0].start :], context)
        place = next((at for at, token in enumerate(rest) if token.is_word("then")), -1)
        condition = rest[1:place] if place > 0 else rest[1:]
        if place < 0 and any(token.is_word("goto") for token in rest):
            raise AnyLogError(181, f"'then' is missing in '{text}'")
        value = holds(condition, self.meaning)
        frame.register(level, value)
        if place < 0:
            return Result(text=str(value), data=value)
        behind = rest[place + 1 :]
        if not behind:
            return Result.nothing()
        if not value:
            return Result(control=Control.DO_IGNORED)
        if behind[0].is_word("do"):
            behind = behind[1:]
        return await self._statement(text[behind[0].start :], context) if behind else Result.nothing()

    def _skip(self, frame: Frame, level: int) -> None:
        """A branch of this chain was taken: what follows at this level is neither true nor false."""
        if len(frame.registers) > level:
            frame.chains.add(level)
            frame.registers[level] = False

    async def _assignment(self, text: str, tokens: Sequence[Token], context: Context) -> Result:
        """`x = value` or `x = command` (language.md 5). The old value is seen while the new one is made."""
        self._may_change(context, text)
        values = tokens[2:]
        if not values:
            raise AnyLogError(2, f"nothing stands after '=' in '{text}'")
        first = values[0]
        if first.is_word("if"):
            place = next((at for at, token in enumerate(values) if token.is_word("then")), len(values))
            self._keep(tokens[0], str(holds(values[1:place], self.meaning)))
            return Result.nothing()
        found = None if first.quoted or any(token.is_word("+") for token in values) else self._words.find(values)
        if found is None:
            self._assign(tokens[0], text, values)
            return Result.nothing()
        inner = Context(
            origin=context.origin,
            who=context.who,
            local=context.local,
            deadline=context.deadline,
            write=context.write,
            frame=context.frame,
        )
        try:
            result = await self._statement(text[first.start :], inner)
            value = await self._value_of(result)
        except AnyLogError as error:
            if error.number in (1, 2) and len(values) == 1:
                self.log.warn("'{text}': taken as a value, not as a command", text=masked(text))
                self._assign(tokens[0], text, values)
                return Result.nothing()
            self._keep(tokens[0], None)
            raise
        self._keep(tokens[0], value)
        return Result.nothing()

    async def _value_of(self, result: Result) -> Any:
        """What an assignment keeps of a result: its text, or its data if it has nothing else."""
        if result.pages is not None:
            parts = []
            try:
                while (page := await result.pages.next()) is not None:
                    parts.append(page)
            finally:
                result.pages.close()
            return b"".join(parts).decode().strip("\r\n") or None
        if result.text is None:
            return None if result.data is None else orjson.dumps(result.data, default=str).decode()
        if result.format == "json" and result.data is not None:
            return orjson.dumps(result.data, default=str).decode()
        return result.text.strip("\r\n") or None

    def _assign(self, target: Token, text: str, values: Sequence[Token]) -> None:
        """Keep a value that is no command: typed for a single reference, else text."""
        if len(values) == 1:
            token = values[0]
            if token.quoted:
                self._keep(target, token.text or None)
            elif token.text in ("''", "``"):
                self._keep(target, None)
            elif token.text[:1] in "{[":
                path = target.text.partition("[")[1]
                literal: Any = token.text
                if path:
                    literal = self._dictionary.resolve_json(token.text, self._environ)
                self._keep(target, literal)  # late-bound: resolved when it is used (language.md 4.1)
            elif token.text[0] in "'`" and token.text[-1] == token.text[0] and len(token.text) > 1:
                self._keep(target, token.text[1:-1])
            else:
                self._keep(target, self.meaning(token.text))
        elif any(token.is_word("+") for token in values):
            self._keep(target, self._joined(values) or None)
        else:
            words = [token.text if token.quoted else shown(self.meaning(token.text)) for token in values]
            self._keep(target, " ".join(words) or None)

    def _joined(self, tokens: Sequence[Token]) -> str:
        """Operands with `+` between them, put together as text; never arithmetic (language.md 4.2)."""
        parts = []
        for place, token in enumerate(tokens):
            if place % 2 == 0:
                value = token.text if token.quoted else self.meaning(token.text)
                parts.append(shown(value))
            elif not token.is_word("+"):
                raise AnyLogError(302, f"String concatenation failed: '{token.text}' stands where a + should")
        if len(tokens) % 2 == 0:
            raise AnyLogError(302, "String concatenation failed: nothing stands after the last +")
        return "".join(parts)

    def _keep(self, target: Token, value: Any) -> None:
        found = _TARGET.fullmatch(target.text)
        if found is None:
            raise AnyLogError(175, f"'{target.text}' is not a key that a value can be assigned to")
        if found["mark"] == "$":
            if value is None:
                self._environ.pop(found["key"], None)
            else:
                self._environ[found["key"]] = shown(value)
            return
        steps = [shown(self.meaning(step.strip("'\""))) for step in _STEP.findall(found["path"])]
        if steps and steps != [""]:
            self._dictionary.set_inside(found["key"], steps, value)
        else:
            self._dictionary.set(found["key"], value)

    def _show(self, word: str) -> Result:
        """`!key` or `$NAME` alone: its value."""
        value = self.meaning(word)
        if value is None:
            return Result.nothing()
        structured = isinstance(value, (dict, list))
        return Result(text=shown(value), data=value if structured else None)

    # Commands

    async def _command(self, text: str, tokens: Sequence[Token], context: Context) -> Result:
        found = self._words.find(tokens)
        if found is None:
            error = self._words.unknown(text)
            self._note(text, context, error)
            raise error
        command, eaten = found
        try:
            operands, options = self._read(command, text, tokens[eaten:])
        except AnyLogError as error:
            self._note(text, context, error)
            raise
        return await self._run(command, text, operands, options, context)

    def _read(self, command: type[Command], text: str, tokens: Sequence[Token]) -> tuple[list[str], dict[str, Any]]:
        """Operands and options of a command, substituted. Raises AnyLogError 2 or 175 naming the culprit."""
        if command.raw:
            rest = text[tokens[0].start :] if tokens else ""
            if not command.literal:
                rest = self._substituted(text, tokens)
            operands = [rest] if rest else []
            return operands, command.read(operands, ())
        place = next((at for at, token in enumerate(tokens) if token.is_word("where")), len(tokens))
        operands = []
        for token in tokens[:place]:
            value = token.text if token.quoted or token.text.startswith("!!") else self.meaning(token.text)
            if value is None:
                raise AnyLogError(2, f"Missing dictionary definition for '{token.text}'")
            operands.append(shown(value))
        nested = [name for name, option in command.where.items() if option.nested]
        pairs = []
        if place < len(tokens):
            if not command.where:
                raise AnyLogError(2, f"{command.words}: takes no options; usage: {command.usage_text()}")
            if place + 1 == len(tokens):
                raise AnyLogError(2, f"{command.words}: nothing stands after 'where'; usage: {command.usage_text()}")
            pairs = pairs_of(tokens[place + 1 :], text, self._dictionary, self._environ, nested)
        return operands, command.read(operands, pairs)

    def _substituted(self, text: str, tokens: Sequence[Token]) -> str:
        """The rest of a line as it is written, with each unquoted reference replaced."""
        parts, place = [], tokens[0].start if tokens else len(text)
        for token in tokens:
            if not token.quoted and token.text[:1] in ("!", "$") and len(token.text) > 1:
                value = self.meaning(token.text)
                if value is None:
                    raise AnyLogError(2, f"Missing dictionary definition for '{token.text}'")
                parts += [text[place : token.start], shown(value)]
                place = token.end
        return "".join([*parts, text[place:]])

    async def _run(
        self, command: type[Command], text: str, operands: Sequence[str], options: dict[str, Any], context: Context
    ) -> Result:
        """Check that the asker may, run it, and note how it went."""
        try:
            if not context.local and (command.guarded or command.here):
                raise AnyLogError(212, f"'{command.words}' is served to this machine only: see 'get authentication'")
            result = await command().run(self._node, context, operands, **options)
        except AnyLogError as error:
            self._note(text, context, error)
            raise
        except (CancelledError, GeneratorExit):
            raise
        except Exception as fault:
            ident = f"{self._clock.seconds():.6f}"
            self.log.failure("{ident}: '{text}' failed", ident=ident, text=masked(text))
            internal = AnyLogError(500, f"{command.words}: internal error {ident}: {type(fault).__name__}")
            self._note(text, context, internal)
            raise internal from fault
        self._note(text, context, None)
        return result or Result.nothing()

    def _note(self, text: str, context: Context, error: AnyLogError | None) -> None:
        thread = context.origin if not context.who else f"{context.origin} {context.who}"
        if error is None:
            self._logs.event.add("Cmd", f"(ok) {masked(text)}", thread)
            return
        told = f"(Failed: {error.text}) {masked(text)}"
        self._logs.event.add("Cmd", told, thread)
        self._logs.error.add("Error", f"{told}: {masked(str(error))}", thread)

    def _may_change(self, context: Context, text: str) -> None:
        if not context.local:
            error = AnyLogError(212, "assignments are served to this machine only: see 'get authentication'")
            self._note(text, context, error)
            raise error

    # Scripts

    async def process(self, name: str, values: Sequence[str], context: Context) -> Result:
        """Run a script file; its errors name file, line and command. AnyLogError 112 if there is none."""
        frame = context.frame
        depth = frame.depth + 1 if isinstance(frame, Frame) else 1
        if depth > DEEPEST:
            raise AnyLogError(3, f"{DEEPEST} scripts call each other: {name}")
        path, text = await self._read_file(name)
        if path.endswith(".json"):
            return await self._process_json(path, text, context)
        walk = Walk(Script.read(path, text))
        inner = Context(
            origin="script",
            who=context.who,
            local=context.local,
            deadline=context.deadline,
            write=context.write,
            frame=Frame(path, depth=depth),
            trace=context.trace,
        )
        if values or (walk.script.lines and walk.script.lines[0].text.startswith("variables ")):
            line = walk.line()
            bound = arguments(line.text if line is not None and line.text.startswith("variables ") else "", values)
            for key, value in bound.items():
                self._dictionary.set(key, value)
        while (line := walk.line()) is not None:
            try:
                result = await self._execute(line.text, inner)
                if result.pages is not None or result.text is not None:
                    shown_text = await self._value_of(result)
                    if shown_text is not None:
                        context.write(shown(shown_text))
                if result.control is not None:
                    if result.control is Control.EXIT_SCRIPTS:
                        return Result(control=Control.EXIT_SCRIPTS)
                    walk.obey(result.control, result.target)
            except AnyLogError as error:
                where = f"{path}: line {line.number}"
                told = str(error) if str(error).startswith(path) else f"{where}: '{masked(line.text)}': {error}"
                try:
                    handled = walk.failed()
                except AnyLogError as lost:
                    raise AnyLogError(lost.number, f"{told}; and {lost}") from error
                if not handled:
                    raise AnyLogError(error.number, told, http=error.http) from error
        return Result.nothing()

    async def _process_json(self, path: str, text: str, context: Context) -> Result:
        """A script as JSON: sections of settings and commands (language.md 10.3)."""
        sections = self._dictionary.resolve_json(text, {}).get("config")
        if not isinstance(sections, list):
            raise AnyLogError(6, f"{path}: no list 'config'")
        for section in sections:
            for key, value in section.get("setting", {}).items():
                self._dictionary.set(key, value)
            for number, command in enumerate(section.get("commands", ()), 1):
                try:
                    await self._execute(command, context)
                except AnyLogError as error:
                    where = f"{path}: section '{section.get('name', '')}', command {number}"
                    raise AnyLogError(error.number, f"{where}: '{masked(command)}': {error}") from error
        return Result.nothing()
