"""One way to ask: read, substitute, find, options, allowed?, run, log (architecture.md 5, language.md 2 to 8)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from anylog.errors import AnyLogError
from anylog.interfaces import Clock
from anylog.language.assignment import Target, concatenated, is_concatenation, value_of
from anylog.language.command import Command, option_name
from anylog.language.conditions import holds
from anylog.language.context import Call, Context, Control, Pages, Result
from anylog.language.dictionary import Dictionary, Scope, held, shown
from anylog.language.logs import Logs, masked
from anylog.language.replies import Replies
from anylog.language.runs import Run, Runs
from anylog.language.script import A_SCRIPT, BREATH, DEEPEST, TURN, Frame, Script, Section, parts_of, run_script
from anylog.language.tokens import LONGEST, Kind, Line, Token, logical_lines, tokens_of
from anylog.language.where import read_where, replaced, required_text
from anylog.language.words import Words
from anylog.waiting import deferring, pause

LONG = 1 << 16  # characters of a script that is not read in the reactor's turn
LARGEST = 16 << 20  # bytes of an answer that is assigned to a key

_READ_AGAIN = re.compile(r"[\n\r<#&]")
_OF_SCRIPTS = frozenset(Control) - {Control.ELSE_IGNORED, Control.DO_IGNORED}
_LEAVING = frozenset((Control.CALL, Control.GOTO, Control.END_SCRIPT, Control.RETURN, Control.EXIT_SCRIPTS))


class Form(Command):
    """A form of the language that is no command by itself, such as `if`: it is in the registry for its help.

    A `Call` of it is asked again as text; text never comes here.
    """

    raw = literal = statement = True

    async def run(self, node: Any, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        return await node.execute(" ".join((self.words, *operands)), context)  # type: ignore[no-any-return]


class _Failing:
    """What a statement raises inside is logged."""

    __slots__ = ("_context", "_interpreter", "_text")

    def __init__(self, interpreter: Interpreter, text: str, context: Context) -> None:
        self._interpreter, self._text, self._context = interpreter, text, context

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, fault: BaseException | None, trace: object) -> None:
        if fault is not None:
            self._interpreter.fail(self._text, self._context, fault)


class _Breath:
    """Others get a turn after some statements, and after few that take long."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._done, self._since = 0, clock.seconds()

    async def __call__(self) -> None:
        self._done += 1
        if self._done % BREATH == 0 or self._clock.seconds() - self._since > TURN:
            await pause(self._clock, 0)
            self._since = self._clock.seconds()


class Interpreter:
    """Executes text and calls for one node."""

    log = Logger()

    def __init__(
        self,
        *,
        words: Words,
        dictionary: Dictionary,
        environ: MutableMapping[str, str],
        clock: Clock,
        node: Any,
        logs: Logs,
        read_file: Callable[[str, str, bool], Awaitable[tuple[str, str]]],
        aside: Callable[..., Awaitable[Any]] | None = None,
        allows: Callable[[Context], bool] = lambda context: context.local,
    ) -> None:
        """`node` is what commands are handed; the interpreter itself uses no more of it than its address.

        `read_file(name, folder, local)` gives the path and the text of a script, `folder` being that of the script that
        asks, or empty, `local` false if somebody elsewhere asks; AnyLogError 112 if there is none. `allows(context)`
        says whether who asks may change the node; `aside(work, *values)` does what takes long where nobody waits.
        """
        self._words, self._dictionary, self._environ, self._allows = words, dictionary, environ, allows
        self._clock, self._node, self._logs, self._read_file = clock, node, logs, read_file
        self._aside = aside
        self.runs = Runs(clock)

    @deferring
    async def execute(self, asked: str | Call, context: Context) -> Result:
        """Do what is asked; of several statements (`a & b`) the texts are joined. Fails with AnyLogError."""
        if isinstance(asked, Call):
            return await self._call(asked, context)
        if context.frame is None:
            context.frame = Frame()
        if len(asked) > LONGEST:
            # Reading it takes time that all others wait.
            raise AnyLogError(2, f"a command of {len(asked):,} characters, at most {LONGEST:,}")
        with self._failing(asked, context):
            lines = [line.text.strip() for line in logical_lines(asked, typed=True)]
        result, texts = Result.nothing(), []
        breathe = _Breath(self._clock) if len(lines) > 1 else None
        for line in lines:
            if breathe is not None:
                await breathe()
            result = await self._statement(line, context)
            if result.control in _OF_SCRIPTS:
                if not context.frame.script:
                    raise AnyLogError(2, f"'{line}' has a meaning in a script alone")
                if result.control in _LEAVING:
                    break  # what follows is not reached
            if len(lines) > 1 and (result.text or result.pages):
                texts.append(result.text if result.pages is None else await collected(result.pages))
        return evolve(result, text="\r\n".join(map(str, texts)), data=None, pages=None) if texts else result

    def meaning(self, word: str) -> Any:
        """What a word with `!` or `$` stands for, None if undefined; other words are themselves."""
        return Scope(self._dictionary, self._environ).resolve(word)

    async def process(self, name: str, values: Sequence[str], context: Context) -> Result:
        """Run a script file; its errors name file, line and command.

        Raises AnyLogError 112 if it cannot be read, 3 if it was stopped, 108 if too many run.
        """
        outer = context.frame if isinstance(context.frame, Frame) else Frame()
        if outer.depth + A_SCRIPT > DEEPEST:
            raise AnyLogError(3, f"process {name}: scripts call scripts more than {DEEPEST // A_SCRIPT} deep", http=400)
        path, parts = await self._parts(name, outer.folder, context)
        frame = _frame(path, outer.depth + A_SCRIPT, values)
        ended = await self._in_run(frame, parts, context, outer.run)
        return Result(control=ended) if ended and outer.script else Result.nothing()

    async def process_lines(self, title: str, commands: Sequence[str], context: Context) -> Result:
        """Run commands that were read from elsewhere as a script of that name. Raises as `process` does."""
        outer = context.frame if isinstance(context.frame, Frame) else Frame()
        if outer.depth + A_SCRIPT > DEEPEST:
            raise AnyLogError(3, f"{title}: scripts call scripts more than {DEEPEST // A_SCRIPT} deep", http=400)
        script = Script.of_lines(title, [Line(number, text) for number, text in enumerate(commands, 1)])
        frame = Frame(script=title, folder=outer.folder, depth=outer.depth + A_SCRIPT)
        ended = await self._in_run(frame, [Section({}, script)], context, outer.run)
        return Result(control=ended) if ended and outer.script else Result.nothing()

    async def run_lines(self, title: str, lines: Sequence[str], context: Context, *, pardoned: int = 0) -> Result:
        """Run lines that no file holds, as a script of that title; an error `pardoned` of a line is a warning.

        Raises AnyLogError naming title, line and command.
        """
        outer = context.frame if isinstance(context.frame, Frame) else Frame()
        if outer.depth + A_SCRIPT > DEEPEST:
            raise AnyLogError(3, f"{title}: scripts call scripts more than {DEEPEST // A_SCRIPT} deep", http=400)
        script = Script.of_lines(title, [Line(number, line) for number, line in enumerate(lines, 1)])
        frame = Frame(script=title, folder=outer.folder, depth=outer.depth + A_SCRIPT)

        async def execute(text: str, inner: Context) -> Result:
            try:
                return await self._line(text, inner)
            except AnyLogError as error:
                if error.number != pardoned:
                    raise
                self._logs.event.add("Warning", f"{title} line {frame.line}: {error}", inner.who)
                return Result.nothing()

        ended = await self._in_run(frame, [Section({}, script)], context, outer.run, execute)
        return Result(control=ended) if ended and outer.script else Result.nothing()

    async def thread(self, name: str, values: Sequence[str], context: Context) -> int:
        """Begin a script file and do not wait for it; gives its number. Raises AnyLogError 112 or 108."""
        path, parts = await self._parts(name, context.frame.folder if isinstance(context.frame, Frame) else "", context)
        frame = _frame(path, A_SCRIPT, values)
        inner = self._inner(context, frame)
        run = frame.run = self.runs.open(path, context.who or context.origin, inner.write, thread=True)

        def failed(failure: Failure) -> None:
            error = failure.value
            if isinstance(error, AnyLogError):
                self._logs.command(f"thread {name}", f"thread {run.number}", error)
                if not run.stopped:
                    inner.write(f"Thread {run.number} failed: {error}")
            elif not failure.check(CancelledError):
                self.log.failure("fault in thread {name}", failure, name=path)

        work = self.runs.follow(run, self._walk(parts, inner))
        Deferred.fromCoroutine(work).addErrback(failed)
        return run.number

    async def _in_run(
        self,
        frame: Frame,
        parts: Sequence[Section],
        context: Context,
        run: Run | None,
        execute: Callable[[str, Context], Awaitable[Result]] | None = None,
    ) -> Control | None:
        """The parts of a script, as a run of its own unless it stands in one."""
        inner = self._inner(context, frame)
        if run is not None:
            frame.run = run
            return await self._walk(parts, inner, execute)
        frame.run = self.runs.open(frame.script, context.who or context.origin, inner.write, thread=False)
        ended: Control | None = await self.runs.follow(frame.run, self._walk(parts, inner, execute))
        return ended

    def _inner(self, context: Context, frame: Frame) -> Context:
        origin = "script" if context.origin in ("start", "console") else context.origin
        return evolve(context, frame=frame, origin=origin, write=lambda text: context.write(text))

    async def _parts(self, name: str, folder: str, context: Context) -> tuple[str, Sequence[Section]]:
        """The path of a script file, and what it holds."""
        path, text = await self._read_file(name, folder, context.local)
        if self._aside is None or len(text) < LONG:
            return path, parts_of(path, text)
        return path, await self._aside(parts_of, path, text)

    async def _walk(
        self,
        parts: Sequence[Section],
        context: Context,
        execute: Callable[[str, Context], Awaitable[Result]] | None = None,
    ) -> Control | None:
        frame: Frame = context.frame
        run, outer = frame.run, None
        if run is not None:
            outer, run.frame = run.frame, frame
        try:
            for part in parts:
                for key, value in part.settings.items():
                    self._dictionary.set(key, value)
                for warning in part.script.warnings:
                    self._logs.event.add("Warning", warning, context.who)
                ended = await run_script(
                    part.script,
                    context,
                    execute=execute or self._line,
                    show=result_shower(context.write),
                    breathe=_Breath(self._clock),
                )
                if ended is not None:
                    return ended
        finally:
            if run is not None:
                run.frame = outer
        return None

    async def _line(self, text: str, context: Context) -> Result:
        """A line of a script, which is one statement already unless it came out of JSON."""
        if len(text) > LONGEST or _READ_AGAIN.search(text):
            return await self.execute(text, context)
        return await self._statement(text, context)

    # ------------------------------------------------------------------ statements

    async def _statement(self, text: str, context: Context, level: int = 0) -> Result:
        """One statement; `level` is how many blocks of `if` it stands in (language.md 8)."""
        with self._failing(text, context):
            tokens = tokens_of(text)
        if not tokens:
            return Result.nothing()
        if _branches(tokens):
            return await self._branch(text, tokens, context, level)
        return await self._logged(text, context, self._plain(text, tokens, context))

    async def _branch(self, text: str, tokens: Sequence[Token], context: Context, level: int) -> Result:
        """`if`, `else if`, `else` and `do`, the number of leading `do` being the level."""
        frame: Frame = context.frame
        with self._failing(text, context):
            self._allow(True, False, tokens[0].text.lower(), context)
            place = 0
            while place < len(tokens) and tokens[place].is_word("do"):
                if not frame.branch(level).active:
                    return Result(control=Control.DO_IGNORED)
                place, level = place + 1, level + 1
            otherwise = place < len(tokens) and tokens[place].is_word("else")
            place += otherwise
            conditional = place < len(tokens) and tokens[place].is_word("if")
            if otherwise and frame.branch(level).taken:
                if conditional:
                    frame.branch(level).active = False  # of this chain an earlier block was taken
                return Result(control=Control.ELSE_IGNORED)
            if place == len(tokens):
                raise AnyLogError(2, f"a command is missing after '{text}'")
            if not conditional:
                following = tokens[place:]
            else:
                then = next((at for at, token in enumerate(tokens) if at > place and token.is_word("then")), None)
                try:
                    outcome = holds(tokens[place + 1 : then], self._scope(context))
                except AnyLogError:
                    frame.lose(level)
                    raise
                frame.decide(level, outcome)
                if then is None:
                    return Result(text=str(outcome), data=outcome)
                following = tokens[then + 1 :]
                if following and following[0].is_word("do"):
                    following = following[1:]
                if not outcome or not following:
                    return Result.nothing()
            rest = text[following[0].start :]
            if frame.depth >= DEEPEST:
                raise AnyLogError(3, f"more than {DEEPEST} statements within each other, at '{rest[:80]}'")
        frame.depth += 1
        try:
            if _branches(following):
                return await self._branch(text, following, context, level)
            return await self._statement(rest, context, level)
        finally:
            frame.depth -= 1

    async def _plain(self, text: str, tokens: Sequence[Token], context: Context) -> Result:
        """An assignment, a command, or a value to show."""
        forced = len(tokens) > 2 and tokens[0].is_word("set") and tokens[2].is_operator("=")
        if forced:
            found = self._words.match(_texts(tokens))
            forced = found is None or found[1] < 2 or found[0].words == "set policy"  # the key `policy`
        first = 1 if forced else 0
        if len(tokens) > first + 1 and tokens[first + 1].is_operator("="):
            if not forced and tokens[0].kind is Kind.JSON:
                self._allow(True, False, f"{tokens[first].text} =", context)
                return await self._into(text, tokens, context)
            target = Target.read(tokens[first], self._scope(context))
            self._allow(True, target.own, f"{tokens[first].text} =", context)
            await self._assign(target, tokens[first + 2 :], text, context, forced)
            return Result.nothing()
        scope = self._scope(context)
        found = self._words.match(_texts(tokens))
        if found is None and (tokens[0].kind is not Kind.WORD or tokens[0].text[0] in "!$"):
            if len(tokens) == 1 and tokens[0].kind is Kind.WORD:
                self._allow(True, False, text, context)
                value = scope.resolve(tokens[0].text)
                return Result.nothing() if value is None else Result(text=shown(value))
            if is_concatenation(tokens):
                self._allow(True, False, text, context)
                return Result(text=concatenated(tokens, scope))
            if tokens[0].text[:1] == "!" and context.local:
                text, tokens = self._with_first_word(text, tokens, scope)
        result = await self._command(text, tokens, context)
        if result.unassigned is not None:
            raise result.unassigned
        return result

    async def _into(self, text: str, tokens: Sequence[Token], context: Context) -> Result:
        """`[file = f, key = k, show = true] = rest get ...`: the reply goes to a file (language.md 5)."""
        scope, into = self._scope(context), {}
        for pair in tokens[0].text[1:-1].split(","):
            key, equal, value = (part.strip() for part in pair.partition("="))
            if not equal or key.lower() not in ("file", "key", "show"):
                raise AnyLogError(175, f"'{tokens[0].text[:80]}' is neither a key nor [file = f, key = k, show = true]")
            given = scope.text(value.strip("\"'"))
            if not given:
                raise AnyLogError(2, f"Missing dictionary definition for '{value}'")
            into[key.lower()] = given
        if "file" not in into:
            raise AnyLogError(2, f"'file' is missing in '{tokens[0].text[:80]}'")
        if len(tokens) < 3 or not tokens[2].is_word("rest"):
            raise AnyLogError(
                2, f"after '{tokens[0].text[:80]} =' a 'rest get' is expected: its reply goes to the file"
            )
        rest = text[tokens[2].start :]
        return await self._command(rest, tokens_of(rest), evolve(context, into=into))

    def _with_first_word(self, text: str, tokens: Sequence[Token], scope: Scope) -> tuple[str, Sequence[Token]]:
        """A key may hold the words of a command: `!what status`."""
        value = scope.resolve(tokens[0].text)
        if value is None:
            raise AnyLogError(2, f"Missing dictionary definition for '{tokens[0].text}'")
        text = shown(value) + text[tokens[0].end :]
        return text, tokens_of(text)

    # ------------------------------------------------------------------ commands

    async def _command(self, text: str, tokens: Sequence[Token], context: Context) -> Result:
        command, eaten = self._words.find(_texts(tokens))
        if command.statement:
            raise self._words.unknown(_texts(tokens))
        self._allow(command.guarded, command.here, command.words, context)
        scope, rest = self._scope(context), tokens[eaten:]
        pairs: list[tuple[str, str]] = []
        if command.raw:
            tail = text[rest[0].start :] if rest else ""
            operands = [tail if command.literal else replaced(tail, scope)] if tail else []
        else:
            where = next((at for at, token in enumerate(rest) if token.is_word("where")), len(rest))
            operands = _operands(rest[:where], scope)
            if where < len(rest):
                if where == len(rest) - 1:
                    raise AnyLogError(2, f"{command.words}: options are missing after 'where'")
                pairs = read_where(rest[where + 1 :], command.where, scope)
        return await self._run(command, operands, command.read(operands, pairs), context)

    async def _call(self, call: Call, context: Context) -> Result:
        """A command with typed values: nothing is read, everything else is as for text."""
        command = call.command
        values: dict[str, Any] = {}
        for name, option in command.where.items():
            if option.required and option_name(name) not in call.options:
                raise AnyLogError(2, f"{command.words}: Missing '{name}'")
            values[option_name(name)] = list(option.default or ()) if option.many else option.default
        values.update(call.options)
        text = " ".join((command.words, *call.operands))
        if call.options:
            text += " where " + " and ".join(f"{key} = {shown(value)}" for key, value in call.options.items())

        async def run() -> Result:
            self._allow(command.guarded, command.here, command.words, context)
            return await self._run(command, call.operands, values, context)

        return await self._logged(text, context, run())

    async def _run(
        self, command: type[Command], operands: Sequence[str], values: dict[str, Any], context: Context
    ) -> Result:
        return await command().run(self._node, context, operands, **values) or Result.nothing()

    def _allow(self, guarded: bool, here: bool, what: str, context: Context) -> None:
        """Who asks from elsewhere may read (decisions.md 10), and change the node if it was said so (security.md 8)."""
        if (here and not context.local) or (guarded and not self._allows(context)):
            why = "changes this node or shows its secrets: it is served to this machine only"
            raise AnyLogError(212, f"'{what}' {why}")

    # ------------------------------------------------------------------ assignment

    async def _assign(self, target: Target, right: Sequence[Token], text: str, context: Context, forced: bool) -> None:
        """`target = right` (language.md 5): an error or an empty value leaves the key undefined."""
        if not right:
            raise AnyLogError(2, f"a value is missing after '{text}'; '{target.written} = \"\"' deletes")
        scope = self._scope(context)
        try:
            value = await self._evaluated(right, text, context, forced, target.typed)
        except AnyLogError as error:
            kept = error.kept.value(target.collects) if isinstance(error.kept, Replies) else None
            target.store(kept, scope.dictionary, self._environ)
            raise
        if isinstance(value, Replies):
            value = value.value(target.collects)
        elif target.collects and value is not None:
            address = getattr(self._node, "address", "")
            value = [[address, value]] if target.collects == "[]" else {address: value}
        target.store(value, scope.dictionary, self._environ)

    async def _evaluated(self, right: Sequence[Token], text: str, context: Context, forced: bool, typed: bool) -> Any:
        """The value of the right side; `text` is the whole statement, in which the tokens have their places."""
        scope, written = self._scope(context), text[right[0].start :]
        if forced:
            if is_concatenation(right):
                return concatenated(right, scope)
            if any(one.end != other.start for one, other in pairwise(right)):
                raise AnyLogError(2, f"'{written}' is more than one word: put it in double quotes")
            return value_of(right, scope, typed)
        if len(right) > 1 and right[1].is_operator("+") and is_concatenation(right):
            return concatenated(right, scope)
        if right[0].is_word("if"):
            return str(holds(right[1:], scope))
        words = right
        if len(right) > 1 and right[0].kind is Kind.WORD and right[0].text[:1] == "!" and not is_concatenation(right):
            try:
                text, words = self._with_first_word(text, right, scope)
            except AnyLogError:
                words = right  # undefined: so becomes the key
        found = self._words.match(_texts(words))
        if found is None or found[0].statement:
            return concatenated(right, scope) if is_concatenation(right) else value_of(right, scope, typed)
        try:
            return await self._value_of_command(text, words, context)
        except AnyLogError as error:
            if error.number in (1, 2) and len(right) == 1:
                self._logs.event.add("Warning", f"'{written}' is stored as text: as a command {error}")
                return written
            raise

    async def _value_of_command(self, text: str, tokens: Sequence[Token], context: Context) -> Any:
        result = await self._command(text, tokens, context)
        if result.pages is not None:
            return await collected(result.pages)
        if result.replies is not None:
            return result.replies
        if result.value is not None:
            return result.value
        if result.data is not None and (result.format == "json" or result.text is None):
            return None if result.text == "" else result.data  # an answer that is empty leaves the key undefined
        return None if result.text is None else result.text.strip("\r\n")

    # ------------------------------------------------------------------ what all share

    def _scope(self, context: Context) -> Scope:
        frame: Frame | None = context.frame
        item = frame.item if frame is not None and frame.loops else None
        return Scope(self._dictionary, self._environ, guarded=not context.local, item=item)

    def _failing(self, text: str, context: Context) -> _Failing:
        """A statement that cannot even be read is a failed one in the logs."""
        return _Failing(self, text, context)

    def fail(self, text: str, context: Context, fault: BaseException) -> None:
        """Log what a statement raised; raises AnyLogError 500 for a fault of ours."""
        if isinstance(fault, AnyLogError):
            self._logs.command(text, context.who or context.origin, fault)
        if isinstance(fault, AnyLogError | CancelledError) or not isinstance(fault, Exception):
            return
        # The log has its traceback, the asker a number to find it by.
        ident = f"{self._clock.seconds():.6f}"
        self.log.failure("{ident}: fault in '{command}'", Failure(fault), ident=ident, command=masked(text[:200]))
        internal = AnyLogError(500, f"internal error {ident}: {type(fault).__name__}")
        internal.__cause__ = fault
        self._logs.command(text, context.who or context.origin, internal)
        raise internal from fault

    async def _logged(self, text: str, context: Context, work: Coroutine[Deferred[Any], Any, Result]) -> Result:
        who = context.who or context.origin
        try:
            with self._failing(text, context):
                result = await work
        except CancelledError:
            self._logs.command(text, who, AnyLogError(26, "given up by who asked"))
            raise
        self._logs.command(text, who)
        return result


async def collected(pages: Pages) -> str:
    """An answer as one text. Raises AnyLogError 77 if it is too large to be held."""
    parts: list[bytes] = []
    size = 0
    try:
        while (page := await pages.next()) is not None:
            parts.append(page)
            size += len(page)
            if size > LARGEST:
                raise AnyLogError(77, f"an answer of more than {LARGEST >> 20} MB cannot be assigned")
    finally:
        pages.close()
    return b"".join(parts).decode("utf-8", "replace")


def result_shower(write: Callable[[str], None]) -> Callable[[Result], Coroutine[Deferred[Any], Any, None]]:
    """What writes the result of a line of a script where its output goes."""

    async def show(result: Result) -> None:
        if result.pages is not None:
            try:
                while (page := await result.pages.next()) is not None:
                    write(page.decode("utf-8", "replace"))
            finally:
                result.pages.close()
        elif result.text and not (result.format == "json" and result.data is not None):
            write(result.text)
        elif result.data is not None:
            write(shown(result.data))

    return show


def _frame(path: str, depth: int, values: Sequence[str]) -> Frame:
    """That of a script file."""
    return Frame(script=path, folder=str(Path(path).parent), depth=depth, arguments=tuple(values))


def _branches(tokens: Sequence[Token]) -> bool:
    """Whether it is `if`, `else` or `do`, and not a key of that name."""
    return tokens[0].is_word("if", "else", "do") and not (len(tokens) > 1 and tokens[1].is_operator("="))


def _texts(tokens: Sequence[Token]) -> list[str]:
    return [token.text if token.kind is Kind.WORD else "" for token in tokens[:8]]


def _operands(tokens: Sequence[Token], scope: Scope) -> list[str]:
    """References replaced; what is glued together is one operand."""
    operands: list[str] = []
    texts = held(required_text(token, scope) for token in tokens)
    for place, (token, text) in enumerate(zip(tokens, texts, strict=True)):
        if place and tokens[place - 1].end == token.start:
            operands[-1] += text
        else:
            operands.append(text)
    return operands
