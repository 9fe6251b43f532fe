"""Scripts: lines with labels, and where a script stands while it runs (language.md 8 and 9)."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field

from anylog.errors import AnyLogError
from anylog.language.context import Control
from anylog.language.tokens import Line, logical_lines

BACKWARD = 100_000  # jumps back without a wait, after which a script is taken for an endless one


@define
class Frame:
    """The registers of `if`, one for each depth of `do`, and where the script stands."""

    file: str = ""
    registers: list[bool] = field(factory=list)
    chains: set[int] = field(factory=set)  # levels whose else-chain has had its branch
    depth: int = 0  # of scripts that called each other

    def passes(self, level: int) -> bool:
        """Whether the registers above `level` are all true."""
        return all(self.registers[:level]) and len(self.registers) >= level

    def register(self, level: int, value: bool) -> None:
        """The `if` at this level came out like that."""
        del self.registers[level:]
        self.chains = {each for each in self.chains if each < level}
        self.registers += [False] * (level - len(self.registers))
        self.registers.append(value)

    def was_false(self, level: int) -> bool:
        """Whether the last `if` at this level came out false."""
        there = self.passes(level) and len(self.registers) > level and level not in self.chains
        return there and not self.registers[level]


@define
class Script:
    """The lines of one script and its labels. Raises AnyLogError 2 for a label that stands twice."""

    name: str
    lines: list[Line]
    labels: dict[str, int]  # label -> index of the line behind it

    @classmethod
    def read(cls, name: str, text: str) -> Script:
        """From the text of a file."""
        lines: list[Line] = []
        labels: dict[str, int] = {}
        try:
            found = logical_lines(text)
        except AnyLogError as wrong:
            raise AnyLogError(wrong.number, f"{name}: {wrong}") from None
        for line in found:
            if not line.text.startswith(":"):
                lines.append(Line(line.number, line.text.strip()))
                continue
            label = line.text[1:].split()[0].rstrip(":;") if line.text[1:].split() else ""
            if not label or label in labels:
                what = f"the label '{label}' stands twice" if label else "a label without a name"
                raise AnyLogError(2, f"{name}: line {line.number}: {what}")
            labels[label] = len(lines)
        return cls(name, lines, labels)


@define
class Walk:
    """Where a run through a script stands: the next line, the calls to come back from, and what errors do."""

    script: Script
    place: int = 0
    calls: list[int] = field(factory=list)
    handler: tuple[Control, str] | None = None
    inside: str = ""  # the label whose lines handle an error right now: an error in there ends the script
    backward: int = 0
    ended: bool = False

    def line(self) -> Line | None:
        """The next line, or None at the end."""
        if self.ended or self.place >= len(self.script.lines):
            return None
        line = self.script.lines[self.place]
        self.place += 1
        return line

    def jump(self, label: str) -> None:
        """To the line behind a label; AnyLogError 2 for one that is not there."""
        if label not in self.script.labels:
            raise AnyLogError(2, f"no label ':{label}:' in {self.script.name}")
        target = self.script.labels[label]
        if target < self.place:
            self.backward += 1
            if self.backward > BACKWARD:
                raise AnyLogError(3, f"{BACKWARD:,} jumps back without a 'wait': taken for an endless loop")
        self.place = target

    def obey(self, control: Control, target: str) -> None:
        """Do what a statement asks of the script."""
        if control is Control.GOTO:
            self.jump(target)
        elif control is Control.CALL:
            back = self.place
            self.jump(target)
            self.calls.append(back)
        elif control is Control.RETURN:
            if self.calls:
                self.place = self.calls.pop()
            else:
                self.ended = True
            self.inside = ""
        elif control in (Control.END_SCRIPT, Control.EXIT_SCRIPTS):
            self.ended = True
        elif control in (
            Control.ON_ERROR_IGNORE,
            Control.ON_ERROR_GOTO,
            Control.ON_ERROR_CALL,
            Control.ON_ERROR_END,
        ):
            self.handler = (control, target)

    def failed(self) -> bool:
        """A line failed: True if the handler takes care of it, False if the script ends with the error."""
        if self.handler is None:
            return False
        control, target = self.handler
        if control is Control.ON_ERROR_IGNORE:
            return True
        if control is Control.ON_ERROR_END:
            self.ended = True
            return True
        if self.inside == target:
            return False
        self.obey(Control.GOTO if control is Control.ON_ERROR_GOTO else Control.CALL, target)
        self.inside = target
        return True


def arguments(line: str, values: Sequence[str]) -> dict[str, str]:
    """Bind `variables (a, b)` to the words after the script's name; AnyLogError 55 if they do not match."""
    names = [name.strip() for name in line.partition("(")[2].rpartition(")")[0].split(",") if name.strip()]
    if len(names) != len(values):
        raise AnyLogError(55, f"the script takes {len(names)} arguments ({', '.join(names)}), {len(values)} were given")
    return dict(zip(names, values, strict=True))
