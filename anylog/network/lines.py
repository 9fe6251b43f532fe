"""Editing one line on a terminal: keys in, finished lines and terminal output out. Pure (cli-console.md 5)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from attrs import define, field, frozen

LONGEST = 64 << 10  # characters of one line
REMEMBERED = 500  # lines of history

_ESCAPE = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|O[ -~]|[^\[O])")
_SECRET = re.compile(
    r"((?:pass|passwd|password|secret|private|token|access_key|activation_key|authorization)\w*\s*=\s*)"
    r"(\"[^\"]*\"|'[^']*'|\S+)",
    re.IGNORECASE,
)


@frozen
class Line:
    """Enter was pressed."""

    text: str


@frozen
class Interrupt:
    """Ctrl-C."""


@frozen
class End:
    """Ctrl-D on an empty line."""


Event = Line | Interrupt | End


def masked(line: str) -> str:
    """A line as it may be kept and shown again (security.md 9)."""
    return _SECRET.sub(r"\1***", line)


@define
class History:
    """The last lines, the oldest first."""

    lines: list[str] = field(factory=list)

    def add(self, line: str) -> None:
        """Keep a line, its secrets masked; a repeat of the last one is not kept."""
        line = masked(line)
        if line and (not self.lines or self.lines[-1] != line):
            self.lines.append(line)
            del self.lines[:-REMEMBERED]


@define
class LineEditor:
    """One line being typed. `feed` takes what the terminal sent; `output` gives what it should show."""

    history: History
    complete: Callable[[str], Sequence[str]] | None = None
    width: int = 80
    prompt: str = ""
    _text: str = ""
    _at: int = 0
    _place: int | None = None  # in the history, while walking it
    _draft: str = ""  # what was typed before the walk
    _insert: bool = True
    _pasting: bool = False
    _rest: str = ""  # an escape sequence not yet complete
    _out: list[str] = field(factory=list)

    def output(self) -> str:
        """What is to be written to the terminal since the last call."""
        out, self._out = "".join(self._out), []
        return out

    def feed(self, typed: str) -> tuple[list[Event], str]:
        """Take keys up to the first event. Gives the event, if any, and the keys that came after it."""
        typed, self._rest = self._rest + typed, ""
        at = 0
        while at < len(typed):
            char = typed[at]
            if char == "\x1b":
                found = _ESCAPE.match(typed, at)
                if found is None:
                    if len(typed) - at < 32:
                        self._rest = typed[at:]
                        return [], ""
                    at += 1
                    continue
                at = found.end()
                self._sequence(found[0])
                continue
            at += 1
            event = self._key(char)
            if event is not None:
                return [event], typed[at:]
        return [], ""

    def begin(self, prompt: str) -> None:
        """Show a prompt and start an empty line."""
        self.prompt, self._text, self._at, self._place = prompt, "", 0, None
        self._out.append(prompt)

    def hide(self) -> None:
        """Wipe prompt and line from the screen, so that something else can be printed."""
        self._to_start()
        self._out.append("\x1b[J")

    def show(self) -> None:
        """Draw prompt and line again after `hide`."""
        self._out.append(self.prompt)
        self._draw(0)

    def _key(self, char: str) -> Event | None:
        if self._pasting and char == "\t":
            char = " "
        if char in "\r\n":
            line, self._text, self._place = self._text, "", None
            self._move(len(line), line)
            self._at = 0
            self._out.append("\r\n")
            return Line(line)
        if char == "\x03":
            self._text, self._at, self._place = "", 0, None
            self._out.append("^C\r\n")
            return Interrupt()
        if char == "\x04":
            if not self._text:
                return End()
            self._delete(self._at, self._at + 1)
        elif char in _KEYS:
            _KEYS[char](self)
        elif char >= " ":
            self._type(char)
        return None

    def _sequence(self, keys: str) -> None:
        if keys == "\x1b[200~":
            self._pasting = True
        elif keys == "\x1b[201~":
            self._pasting = False
        elif keys in _SEQUENCES:
            _SEQUENCES[keys](self)

    def _type(self, text: str) -> None:
        if len(self._text) + len(text) > LONGEST:
            self._out.append("\x07")
        elif self._at == len(self._text):
            self._text += text
            self._at += len(text)
            self._out.append(text)
            if (len(self.prompt) + self._at) % self.width == 0:
                self._out.append("\r\n")
        else:
            behind = self._text[self._at + (0 if self._insert else len(text)) :]
            self._change(self._text[: self._at] + text + behind, self._at + len(text))

    def _change(self, text: str, at: int) -> None:
        """Another text with the cursor at another place; all is drawn anew."""
        self._to_start()
        self._text, self._at = text, at
        self._out.append(self.prompt)
        self._draw(0)

    def _to_start(self) -> None:
        up = (len(self.prompt) + self._at) // self.width
        self._out.append("\r" + (f"\x1b[{up}A" if up else ""))

    def _draw(self, start: int) -> None:
        """The text from `start`, where the cursor is; then the cursor to its place."""
        self._out.append(self._text[start:])
        if (len(self.prompt) + len(self._text)) % self.width == 0 and self._text:
            self._out.append("\r\n")
        self._out.append("\x1b[J")
        at, self._at = self._at, len(self._text)
        self._move(at)

    def _move(self, at: int, text: str | None = None) -> None:
        """The cursor to another place of the text."""
        at = max(0, min(at, len(self._text if text is None else text)))
        here, there = len(self.prompt) + self._at, len(self.prompt) + at
        rows = there // self.width - here // self.width
        if rows:
            self._out.append(f"\x1b[{abs(rows)}{'B' if rows > 0 else 'A'}")
        columns = there % self.width - here % self.width
        if columns:
            self._out.append(f"\x1b[{abs(columns)}{'C' if columns > 0 else 'D'}")
        self._at = at

    def _delete(self, start: int, end: int) -> None:
        start, end = max(start, 0), min(end, len(self._text))
        if start < end:
            self._change(self._text[:start] + self._text[end:], start)

    def _delete_word(self) -> None:
        kept = self._text[: self._at].rstrip()
        self._delete(kept.rfind(" ") + 1, self._at)

    def _walk(self, step: int) -> None:
        """To the previous or the next line of the history; what was being typed is behind the last."""
        lines = self.history.lines
        place = (len(lines) if self._place is None else self._place) + step
        if 0 <= place <= len(lines):
            if self._place is None:
                self._draft = self._text
            self._place = place
            text = lines[place] if place < len(lines) else self._draft
            self._change(text, len(text))

    def _tab(self) -> None:
        if self.complete is None:
            return
        typed = self._text[: self._at]
        found = list(self.complete(typed))
        if len(found) == 1:
            self._type(found[0][len(typed) :] + " ")
        elif found:
            common = found[0]
            for other in found[1:]:
                while not other.startswith(common):
                    common = common[:-1]
            if len(common) > len(typed):
                self._type(common[len(typed) :])
            else:
                self._out.append("\r\n" + "\r\n".join(found[:40]) + "\r\n")
                self.show()

    def _redraw(self) -> None:
        self._out.append("\x1b[H\x1b[2J")
        self.show()

    def _toggle(self) -> None:
        self._insert = not self._insert


_KEYS: dict[str, Callable[[LineEditor], None]] = {
    "\x01": lambda editor: editor._move(0),
    "\x02": lambda editor: editor._move(editor._at - 1),
    "\x05": lambda editor: editor._move(LONGEST),
    "\x06": lambda editor: editor._move(editor._at + 1),
    "\x08": lambda editor: editor._delete(editor._at - 1, editor._at),
    "\x7f": lambda editor: editor._delete(editor._at - 1, editor._at),
    "\x09": lambda editor: editor._tab(),
    "\x0b": lambda editor: editor._delete(editor._at, LONGEST),
    "\x0c": lambda editor: editor._redraw(),
    "\x0e": lambda editor: editor._walk(1),
    "\x10": lambda editor: editor._walk(-1),
    "\x15": lambda editor: editor._delete(0, editor._at),
    "\x17": lambda editor: editor._delete_word(),
}

_SEQUENCES: dict[str, Callable[[LineEditor], None]] = {
    **dict.fromkeys(("\x1b[A", "\x1bOA"), lambda editor: editor._walk(-1)),
    **dict.fromkeys(("\x1b[B", "\x1bOB"), lambda editor: editor._walk(1)),
    **dict.fromkeys(("\x1b[C", "\x1bOC"), lambda editor: editor._move(editor._at + 1)),
    **dict.fromkeys(("\x1b[D", "\x1bOD"), lambda editor: editor._move(editor._at - 1)),
    **dict.fromkeys(("\x1b[H", "\x1bOH", "\x1b[1~", "\x1b[7~"), lambda editor: editor._move(0)),
    **dict.fromkeys(("\x1b[F", "\x1bOF", "\x1b[4~", "\x1b[8~"), lambda editor: editor._move(LONGEST)),
    "\x1b[2~": lambda editor: editor._toggle(),
    "\x1b[3~": lambda editor: editor._delete(editor._at, editor._at + 1),
    **dict.fromkeys(("\x1bOR", "\x1b[13~"), lambda editor: editor._type("run client ")),
}
