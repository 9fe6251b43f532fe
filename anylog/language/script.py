"""Scripts: labels, jumps, what an error does, and the frame that a running script has (language.md 8 to 10.3). Pure."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError

from anylog.errors import AnyLogError
from anylog.language.context import Context, Control, Result
from anylog.language.dictionary import read_json, shown
from anylog.language.logs import masked, without_secrets
from anylog.language.runs import Debug, Run
from anylog.language.tokens import Line, logical_lines

MOST_JUMPS = 100_000  # backward, without a `wait`: more is a loop that never ends
DEEPEST = 150  # statements within each other; a script within a script counts for five
A_SCRIPT = 5
SHOWN = 500  # characters of a line that are told
BREATH = 50  # lines, then others get a turn, or as soon as they have taken
TURN = 0.02  # seconds

_LOOP_START = re.compile(r"(?i)(?:^|\sthen\s|^do\s|^else\s)\s*+for\s+loop\s+start\b")
_LOOP_END = re.compile(r"(?i)^\s*for\s+loop\s+end\s*$")
_LABEL = re.compile(r":(\S*[^\s:;]):")


@define
class Branch:
    """The outcome of the last `if` on one level: `active` is what `do` asks, `taken` what `else` asks."""

    active: bool
    taken: bool


@define
class Loop:
    """One `for loop` that is under way: places of its first and last line, and the item it is at."""

    start: int
    end: int
    items: int
    item: int = 0


@define
class Frame:
    """What one running script, or one console, remembers between its lines."""

    script: str = ""  # its name; empty on a console
    folder: str = ""  # where the file lies: names of scripts that it runs are looked for there, too
    depth: int = 0  # statements and scripts that wait for this one to end
    arguments: Sequence[str] = ()
    line: int = 0
    branches: list[Branch] = field(factory=list)  # one a level, the outermost first
    handler: Control | None = None  # what an error does; None: it ends the script
    target: str = ""
    jumps: int = 0  # backward, since the last wait
    loops: list[Loop] = field(factory=list)  # that the line stands in, the outermost first
    run: Run | None = None  # the whole that this is a part of

    @property
    def item(self) -> int | None:
        """The number of the item of the innermost loop: what `[+]` stands for."""
        return self.loops[-1].item if self.loops else None

    def branch(self, level: int) -> Branch:
        """The outcome on a level; AnyLogError 2 if no `if` was there."""
        if level >= len(self.branches):
            raise AnyLogError(2, "there is no 'if' before this 'do' or 'else'" + (" on its level" if level else ""))
        return self.branches[level]

    def lose(self, level: int) -> None:
        """An `if` on that level could not be read: neither `do` nor `else` is run after it."""
        del self.branches[level:]
        self.branches.append(Branch(active=False, taken=True))

    def decide(self, level: int, outcome: bool) -> None:
        """An `if` on that level was evaluated; what was decided inside it is forgotten."""
        del self.branches[level:]
        self.branches.append(Branch(outcome, outcome))


@frozen
class Script:
    """The lines of one script and where its labels are."""

    name: str
    lines: Sequence[Line]
    labels: dict[str, int]  # name -> index of the line with the label
    warnings: Sequence[str] = ()

    @classmethod
    def read(cls, name: str, text: str) -> Script:
        """Raises AnyLogError 2 naming the line of an unclosed block or of a label that is there twice."""
        try:
            return cls.of_lines(name, logical_lines(text))
        except AnyLogError as error:
            raise AnyLogError(error.number, f"{name} {error}") from None

    @classmethod
    def of_lines(cls, name: str, lines: Sequence[Line]) -> Script:
        """A script of lines that were read already."""
        labels: dict[str, int] = {}
        warnings = []
        for place, line in enumerate(lines):
            text = line.text.strip()
            if not text.startswith(":"):
                continue
            label = text[1:].split()[0].rstrip(":;") if text[1:].split() else ""
            if not label:
                raise AnyLogError(2, f"line {line.number}: a label has no name")
            if not _LABEL.fullmatch(line.text):
                warnings.append(f"{name} line {line.number}: '{text}' is read as the label ':{label}:'")
            if label in labels:
                first = lines[labels[label]].number
                raise AnyLogError(2, f"line {line.number}: the label ':{label}:' is also in line {first}")
            labels[label] = place
        return cls(name, lines, labels, warnings)

    def end_of_loop(self, start: int) -> int:
        """The place of the `for loop end` of the loop that begins at a place. AnyLogError 2 if there is none."""
        depth = 0
        for place in range(start, len(self.lines)):
            depth += len(_LOOP_START.findall(self.lines[place].text))
            depth -= len(_LOOP_END.findall(self.lines[place].text))
            if depth <= 0:
                return place
        raise AnyLogError(2, "there is no 'for loop end' after this 'for loop start'")

    def label_at(self, place: int) -> str:
        """The label under which a line stands, or an empty text."""
        return max((at, label) for label, at in (("", -1), *self.labels.items()) if at <= place)[1]


@frozen
class Section:
    """One section of a JSON script: settings become dictionary entries, then its commands run."""

    settings: dict[str, Any]
    script: Script


def read_sections(name: str, text: str) -> list[Section]:
    """`{"config": [{"setting": {...}, "commands": [...]}]}` (language.md 10.3). Raises AnyLogError 6 or 2."""
    whole = read_json(text)
    config = whole.get("config") if isinstance(whole, dict) else None
    if not isinstance(config, list) or not all(isinstance(part, dict) for part in config):
        raise AnyLogError(6, f"{name} has no list of sections named 'config'")
    sections = []
    for number, part in enumerate(config, 1):
        settings, commands = part.get("setting") or {}, part.get("commands") or []
        if not isinstance(settings, dict) or not isinstance(commands, list):
            raise AnyLogError(6, f"{name} section {number}: 'setting' is an object, 'commands' a list")
        title = f"{name} section {shown(part.get('name') or number)}"
        lines = [Line(place, shown(command)) for place, command in enumerate(commands, 1)]
        sections.append(Section(settings, Script.of_lines(title, lines)))
    return sections


def parts_of(path: str, text: str) -> list[Section]:
    """What a script file holds: settings, each with the lines that follow them. Raises AnyLogError 2 or 6."""
    if path.lower().endswith(".json"):
        return read_sections(path, text)
    return [Section({}, Script.read(path, text))]


async def run_script(
    script: Script,
    context: Context,
    *,
    execute: Callable[[str, Context], Awaitable[Result]],
    show: Callable[[Result], Awaitable[None]],
    breathe: Callable[[], Awaitable[None]],
) -> Control | None:
    """Run it line by line; `context.frame` is the script's own frame.

    `show` gets the result of each line, `breathe`, asked before each, gives others a turn. Gives EXIT_SCRIPTS if the
    callers are to end too. An error that no `on error` takes is raised with its number, naming the script, the line
    and the command. Raises CancelledError if the run it belongs to was stopped.
    """
    frame: Frame = context.frame
    run = frame.run
    calls: list[tuple[int, int]] = []  # where to go on, and in how many loops that is
    place = 0
    while place < len(script.lines):
        here, line = place, script.lines[place]
        frame.line, place = line.number, place + 1
        if line.text.lstrip().startswith(":"):
            continue
        await breathe()
        if run is not None:
            run.lines += 1
            if run.stopped:
                raise CancelledError
            if run.debug is not Debug.OFF:
                await _told_before(script, line, run)
        cause: AnyLogError | None = None
        try:
            result = await execute(line.text.strip(), context)
            await show(result)
        except AnyLogError as error:
            cause = error
        if run is not None and run.debug is not Debug.OFF:
            run.write(_traced(script, line, cause.text if cause is not None else "Success"))
        if cause is not None:
            failed = _told(script, line, cause)
            if frame.handler is Control.ON_ERROR_END:
                return None
            if frame.handler is Control.ON_ERROR_IGNORE:
                continue
            if frame.handler is None or script.label_at(here) == frame.target:
                raise failed from cause
            result = Result(
                control=Control.GOTO if frame.handler is Control.ON_ERROR_GOTO else Control.CALL, target=frame.target
            )
        control = result.control
        if control is None:
            continue
        if control in (Control.GOTO, Control.CALL):
            if control is Control.CALL:
                if len(calls) >= 1000:
                    raise _told(script, line, AnyLogError(2, "1000 calls without a 'return'"))
                calls.append((place, len(frame.loops)))
            if result.target not in script.labels:
                missing = f"there is no label ':{result.target}:'"
                if cause is not None:
                    raise _told(script, line, AnyLogError(2, f"{cause}; and {missing}")) from cause
                raise _told(script, line, AnyLogError(2, missing))
            place = script.labels[result.target] + 1
            if control is Control.GOTO:  # out of loops, but not of those around the call
                around = calls[-1][1] if calls else 0
                while len(frame.loops) > around and not frame.loops[-1].start < place <= frame.loops[-1].end:
                    frame.loops.pop()
            if place <= here:
                frame.jumps += 1
                if frame.jumps > MOST_JUMPS:
                    why = f"{MOST_JUMPS:,} jumps backward without a 'wait': the script was ended"
                    raise _told(script, line, AnyLogError(3, why))
        elif control is Control.RETURN:
            if not calls:
                return None
            place, around = calls.pop()
            del frame.loops[around:]
        elif control is Control.END_SCRIPT:
            return None
        elif control is Control.EXIT_SCRIPTS:
            return control
        elif control is Control.ON_ERROR_CALL or control is Control.ON_ERROR_GOTO:
            frame.handler, frame.target = control, result.target
        elif control in (Control.ON_ERROR_IGNORE, Control.ON_ERROR_END):
            frame.handler, frame.target = control, ""
        elif control is Control.LOOP_START:
            place = _begun(script, line, frame, here, int(result.target))
        elif control is Control.LOOP_END:
            place = _turned(script, line, frame, here)
    return None


def _begun(script: Script, line: Line, frame: Frame, here: int, items: int) -> int:
    """Where to go on after `for loop start`."""
    try:
        end = script.end_of_loop(here)
    except AnyLogError as error:
        raise _told(script, line, error) from None
    frame.loops = [loop for loop in frame.loops if loop.start != here]  # it was left by a jump
    if not items:
        return end + 1
    frame.loops.append(Loop(here, end, items))
    return here + 1


def _turned(script: Script, line: Line, frame: Frame, here: int) -> int:
    """Where to go on after `for loop end`."""
    if not frame.loops or frame.loops[-1].end != here:
        raise _told(script, line, AnyLogError(2, "there is no 'for loop start' before this 'for loop end'"))
    loop = frame.loops[-1]
    loop.item += 1
    if loop.item < loop.items:
        return loop.start + 1
    frame.loops.pop()
    return here + 1


async def _told_before(script: Script, line: Line, run: Run) -> None:
    """Of a line that waits for `next`."""
    if run.debug is Debug.INTERACTIVE:
        run.write(_traced(script, line, "waits for 'next'"))
        await run.step()


def _traced(script: Script, line: Line, outcome: str) -> str:
    name = re.split(r"[/\\]", script.name)[-1]
    return f"[{name}] [{line.number:04d}] {brief(line.text)} --> {outcome}"


def brief(text: str) -> str:
    """A line as it is told of: without secrets, and no more than its beginning."""
    text = masked(text.strip()[: 10 * SHOWN])
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _told(script: Script, line: Line, error: AnyLogError) -> AnyLogError:
    where = f"{script.name} line {line.number}: {brief(line.text)}"
    why = without_secrets(str(error), line.text) or error.text
    return AnyLogError(error.number, f"{where}: {why}", http=error.http)
