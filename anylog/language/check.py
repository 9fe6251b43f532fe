"""What is wrong with a script, found by reading it: nothing is run (language.md 2 to 9). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any, Literal

from attrs import define, field, frozen

from anylog.errors import AnyLogError
from anylog.language.assignment import Target, is_concatenation
from anylog.language.command import Command
from anylog.language.conditions import condition
from anylog.language.dictionary import Dictionary, Scope
from anylog.language.script import DEEPEST
from anylog.language.tokens import Kind, Line, Token, logical_lines, tokens_of, without_comment
from anylog.language.where import Pair, list_items, split_pairs
from anylog.language.words import Words

_REFERENCE = re.compile(r"(?<![!\w])!([A-Za-z_][A-Za-z0-9_\-]*)")
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'|`[^`]*`")
_LABEL = re.compile(r"[^\s:;]+")
_SCOPE = Scope(Dictionary(), {})
HINTS = 200  # words in one script for which the nearest one that there is is looked for
# Keys that commands assign, beside those of assignments.
_MADE = {"set node name": ("node_name",), "set internal ip": ("ip",)}


@frozen(order=True)
class Finding:
    """One thing that is wrong, and where. Lines and columns begin with 1."""

    path: str
    line: int
    column: int
    severity: Literal["error", "warning"]
    kind: str  # such as "unknown-command": the same from version to version
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {'' if self.severity == 'error' else 'warning: '}{self.text}"


@frozen
class Place:
    """Where a word stands in a file."""

    line: int
    column: int


@define
class Report:
    """What was found in one script, and what is to be known of it to look at others."""

    path: str
    findings: list[Finding] = field(factory=list)
    made: set[str] = field(factory=set)  # keys that are assigned in it
    used: dict[str, Place] = field(factory=dict)  # keys whose value it needs -> where first
    asked: set[str] = field(factory=set)  # keys of which it asks whether they are there
    calls: list[tuple[str, Place]] = field(factory=list)  # scripts that it runs, as written
    missing: dict[str, list[tuple[str, Place]]] = field(factory=dict)  # what would bring a command -> its words, where

    def add(self, place: Place, kind: str, text: str, severity: Literal["error", "warning"] = "error") -> None:
        """Note what is wrong."""
        self.findings.append(Finding(self.path, place.line, place.column, severity, kind, " ".join(text.split())))


def check_script(path: str, text: str, words: Words, brings: Callable[[type[Command]], str]) -> Report:
    """Look at every line. `brings` says what would bring a command that is not in this build, nothing for others."""
    report = Report(path)
    try:
        lines = logical_lines(text)
    except AnyLogError as error:
        number = re.match(r"line (\d+): ", error.detail)
        report.add(Place(int(number[1]) if number else 1, 1), "structure", re.sub(r"^line \d+: ", "", error.detail))
        return report
    return _Check(report, text, words, brings).run(lines)


class _Where:
    """Finds the words of one logical line in the file: they may stand on several lines, with comments between."""

    def __init__(self, physical: Sequence[str], number: int) -> None:
        self.number = number
        self._physical, self._line, self._column = physical, number - 1, 0
        self._first = Place(number, len(physical[number - 1]) - len(physical[number - 1].lstrip()) + 1)

    def find(self, raw: str) -> Place:
        """The next place of a word; the begin of the line if it cannot be told."""
        sought = raw.split(maxsplit=1)[0] if raw.split() else raw
        line, column = self._line, self._column
        for _ in range(200):
            if line >= len(self._physical):
                break
            found = self._physical[line].find(sought, column)
            if found >= 0:
                self._line, self._column = line, found + len(sought)
                return Place(line + 1, found + 1)
            line, column = line + 1, 0
        return self._first


class _Check:
    """At work on one script."""

    def __init__(self, report: Report, text: str, words: Words, brings: Callable[[type[Command]], str]) -> None:
        self._report, self._words, self._brings = report, words, brings
        # What stands in a comment is not what is looked for.
        self._physical = [without_comment(each) for each in text.removeprefix("\ufeff").replace("\r", "").split("\n")]
        self._labels: dict[str, int] = {}
        self._targets: list[tuple[str, Place]] = []
        self._ifs = False  # an `if` was there
        self._loops: list[Place] = []
        self._hints = HINTS
        self._depth = 0  # statements within each other

    def _hint(self) -> bool:
        """Whether there is time for one more suggestion."""
        self._hints -= 1
        return self._hints >= 0

    def run(self, lines: Sequence[Line]) -> Report:
        """All lines; then what can be told only at the end."""
        where = _Where(self._physical, 1)
        for line in lines:
            if line.text.lstrip().startswith(":"):
                self._label(line)
                continue
            if where.number != line.number:  # else it is the second of `a & b`
                where = _Where(self._physical, line.number)
            try:
                tokens = tokens_of(line.text)
            except AnyLogError as error:
                self._report.add(where.find(line.text), "structure", error.detail)
                continue
            places = [where.find(line.text[token.start : token.end]) for token in tokens]
            self._statement(line.text, tokens, places)
        for label, place in self._targets:
            if label not in self._labels:
                near = get_close_matches(label, self._labels, 1) if self._hint() else []
                hint = f"; did you mean ':{near[0]}:'?" if near else ""
                self._report.add(place, "label", f"the label ':{label}:' is never defined{hint}")
        for place in self._loops:
            self._report.add(place, "loop", "'for loop start' without 'for loop end'")
        self._report.findings.sort()
        return self._report

    def _label(self, line: Line) -> None:
        found = _LABEL.search(line.text.strip()[1:])
        place = Place(line.number, 1)
        if found is None:
            self._report.add(place, "label", "a label has no name")
            return
        name = found[0]
        if not re.fullmatch(r":\S*[^\s:;]:", line.text):
            self._report.add(place, "label", f"'{line.text.strip()}' is read as the label ':{name}:'", "warning")
        if name in self._labels:
            self._report.add(place, "label", f"the label ':{name}:' is also in line {self._labels[name]}")
        self._labels.setdefault(name, line.number)

    # ------------------------------------------------------------------ statements

    def _statement(self, text: str, tokens: Sequence[Token], places: Sequence[Place]) -> None:
        """One statement; what follows `then`, `do` and `else` is one, too."""
        if self._depth >= DEEPEST:
            self._report.add(places[0], "structure", f"more than {DEEPEST} statements within each other")
            return
        self._depth += 1
        try:
            self._one(text, tokens, places)
        finally:
            self._depth -= 1

    def _one(self, text: str, tokens: Sequence[Token], places: Sequence[Place]) -> None:
        at = 0
        while at < len(tokens) and tokens[at].is_word("do", "else") and not _assigns(tokens, at):
            if not self._ifs:
                self._report.add(places[at], "if", f"there is no 'if' before this '{tokens[at].text}'")
                self._ifs = True
            at += 1
        if at == len(tokens):
            if tokens:
                self._report.add(places[-1], "if", f"a command is missing after '{tokens[-1].text}'")
            return
        if tokens[at].is_word("if") and not _assigns(tokens, at):
            self._conditional(text, tokens[at:], places[at:])
            return
        self._plain(text, tokens[at:], places[at:])

    def _conditional(self, text: str, tokens: Sequence[Token], places: Sequence[Place]) -> None:
        self._ifs = True
        then = next((at for at, token in enumerate(tokens) if token.is_word("then")), len(tokens))
        self._condition(tokens[1:then], places[:then], then == len(tokens))
        rest = then + 1
        if rest < len(tokens) and tokens[rest].is_word("do"):
            rest += 1
        if rest < len(tokens):
            self._statement(text, tokens[rest:], places[rest:])

    def _condition(self, tokens: Sequence[Token], places: Sequence[Place], whole: bool) -> None:
        """Keys in it are asked for: one that is not there is no fault."""
        for token in tokens:
            self._report.asked.update(_REFERENCE.findall(token.text))
        try:
            condition(tokens)
        except AnyLogError as error:
            missing = "; 'then' is missing" if whole else ""
            self._report.add(places[0], "condition", f"{error.detail}{missing}")

    def _plain(self, text: str, tokens: Sequence[Token], places: Sequence[Place]) -> None:
        """An assignment, a command, or a value that is shown."""
        forced = len(tokens) > 2 and tokens[0].is_word("set") and tokens[2].is_operator("=")
        if forced:
            found = self._words.match(_texts(tokens))
            forced = found is None or found[1] < 2
        first = 1 if forced else 0
        if len(tokens) > first + 1 and tokens[first + 1].is_operator("="):
            self._assignment(text, tokens[first:], places[first:], forced)
            return
        if tokens[0].kind is not Kind.WORD or (tokens[0].text[0] in "!$" and self._words.match(_texts(tokens)) is None):
            self._uses(tokens, places)
            return
        self._command(text, tokens, places)

    def _assignment(self, text: str, tokens: Sequence[Token], places: Sequence[Place], forced: bool) -> None:
        try:
            target = Target.read(tokens[0], _SCOPE)
        except AnyLogError as error:
            if "!" not in tokens[0].text:
                self._report.add(places[0], "assignment", error.detail)
        else:
            if not target.environment:
                self._report.made.add(target.key)
        right = tokens[2:]
        if not right:
            self._report.add(places[0], "assignment", f"a value is missing after '{tokens[0].text} ='")
            return
        if right[0].is_word("if") and not forced:
            self._condition(right[1:], places[2:], False)
            return
        found = None if forced or is_concatenation(right) else self._words.match(_texts(right))
        if found is None or found[0].statement:
            self._uses(right, places[2:], json=False)
            return
        before = len(self._report.findings)
        self._command(text, right, places[2:])
        if len(right) == 1 and len(self._report.findings) > before:  # a word that is a command's, too: it is stored
            del self._report.findings[before:]

    def _uses(self, tokens: Sequence[Token], places: Sequence[Place], *, json: bool = True) -> None:
        """Keys whose values are needed here. JSON that is assigned is resolved when it is used."""
        for token, place in zip(tokens, places, strict=True):
            if token.kind in (Kind.DOUBLE, Kind.SINGLE) or (token.kind is Kind.JSON and not json):
                continue
            for key in _REFERENCE.findall(_QUOTED.sub(" ", token.text)):
                self._report.used.setdefault(key, place)

    # ------------------------------------------------------------------ commands

    def _command(self, text: str, tokens: Sequence[Token], places: Sequence[Place]) -> None:
        found = self._words.match(_texts(tokens))
        if found is None or found[0].statement:
            if tokens[0].text[0] in "!$":
                self._uses(tokens, places)  # a key may hold the words of a command
            else:
                self._unknown(tokens, places)
            return
        command, eaten = found
        rest, where = tokens[eaten:], places[eaten:]
        if brings := self._brings(command):
            self._report.missing.setdefault(brings, []).append((command.words, places[0]))
            told = f"'{command.words}' is known, and not in this build: it comes with {brings}"
            self._report.add(places[0], "not-in-build", told, "warning")
            return
        self._report.made.update(_MADE.get(command.words, ()))
        if self._special(text, command, rest, where, places[0]):
            return
        if command.raw:
            self._uses(rest, where)
            return
        self._uses(rest, where)
        self._options(command, rest, where, places[0])

    def _unknown(self, tokens: Sequence[Token], places: Sequence[Place]) -> None:
        error = self._words.unknown(_texts(tokens), near=self._hint())
        self._report.add(places[0], "unknown-command", error.detail)

    def _special(
        self, text: str, command: type[Command], rest: Sequence[Token], places: Sequence[Place], begin: Place
    ) -> bool:
        """Commands that hold another command, a label or a script. True if there is nothing more to look at."""
        words = command.words
        if words in ("goto", "call", "on error goto", "on error call"):
            if rest:
                self._targets.append((rest[0].text.strip(":"), places[0]))
            return False
        if words in ("process", "thread"):
            if rest:
                self._report.calls.append((rest[0].text.strip("'\""), places[0]))
            return False
        if words == "variables":
            self._report.made.update(re.findall(r"[\w.\-]+", " ".join(token.text for token in rest)))
            return True
        if words == "set policy" and rest:
            self._report.made.add(re.split(r"[\[\s]", rest[0].text)[0])
            return False
        if words in ("for loop start", "for loop end"):
            if words == "for loop start":
                self._loops.append(begin)
            elif self._loops:
                self._loops.pop()
            else:
                self._report.add(begin, "loop", "there is no 'for loop start' before this 'for loop end'")
            return False
        if words in ("schedule", "set streaming condition"):
            return self._inner(text, rest, places, "task" if words == "schedule" else "then")
        if words == "run client":
            self._uses(rest[:1], places[:1])
            if len(rest) > 1 and rest[1].kind is Kind.WORD:
                self._remote(rest[1:], places[1:])
            return True
        return False

    def _remote(self, tokens: Sequence[Token], places: Sequence[Place]) -> None:
        """A command for other nodes: its words have to be known here, its keys may be those of the receiver."""
        self._uses([token for token in tokens if "!!" not in token.text],
                   [place for token, place in zip(tokens, places, strict=True) if "!!" not in token.text])  # fmt: skip
        if tokens[0].text[0] in "!$" or _assigns(tokens, 0):
            return
        if self._words.match(_texts(tokens)) is None:
            self._unknown(tokens, places)

    def _inner(self, text: str, rest: Sequence[Token], places: Sequence[Place], word: str) -> bool:
        """What is run later stands behind a word; its keys are those of then."""
        at = next((at for at, token in enumerate(rest) if token.is_word(word)), None)
        if at is None:
            self._report.add(places[0] if places else Place(1, 1), "structure", f"'{word}' is missing")
            return True
        if at + 1 == len(rest):
            self._report.add(places[at], "structure", f"a command is missing after '{word}'")
            return True
        if word == "task":
            used = dict(self._report.used)
            self._statement(text, rest[at + 1 :], places[at + 1 :])
            self._report.used = used
            self._uses(rest[:at], places[:at])
        return True

    def _not_yet(self, command: type[Command], option: str, text: str | None, place: Place) -> None:
        """A value that this build knows by its name alone."""
        values, brings = command.not_yet.get(option, ((), ""))
        if text is not None and text.lower() in values:
            value = f"{option} = {text}" if option else text
            what = f"{command.words}: {value}"
            self._report.missing.setdefault(brings, []).append((what, place))
            told = f"'{what}' is known, and not in this build: it comes with {brings}"
            self._report.add(place, "not-in-build", told, "warning")

    def _options(self, command: type[Command], rest: Sequence[Token], places: Sequence[Place], begin: Place) -> None:
        """Operands and options, as far as they can be told without values of keys."""
        at = next((at for at, token in enumerate(rest) if token.is_word("where")), len(rest))
        operands = _operands(rest[:at])
        if operands < command.least:
            told = f"{command.words}: {command.operands or 'a value'} is missing; usage: {command.usage_text()}"
            self._report.add(begin, "structure", told)
        elif command.most is not None and operands > command.most:
            told = f"{command.words}: unexpected '{rest[command.most].text}'; usage: {command.usage_text()}"
            self._report.add(places[command.most], "structure", told)
        for token, place in zip(rest[:at], places, strict=False):
            self._not_yet(command, "", token.text, place)
        if at == len(rest):
            pairs: list[tuple[str, Sequence[Token], Place]] = []
        elif at == len(rest) - 1:
            self._report.add(places[at], "structure", f"{command.words}: options are missing after 'where'")
            return
        else:
            try:
                pairs = list(_placed(split_pairs(rest[at + 1 :]), rest, places))
            except AnyLogError as error:
                self._report.add(places[at + 1], "structure", f"{command.words}: {error.detail}")
                return
        self._pairs(command, pairs, begin, operands >= command.short)

    def _pairs(
        self,
        command: type[Command],
        pairs: Sequence[tuple[str, Sequence[Token], Place]],
        begin: Place,
        in_short: bool = False,
    ) -> None:
        names = {spelling: name for name, option in command.where.items() for spelling in (name, *option.also)}
        seen: set[str] = set()
        for key, value, place in pairs:
            name = names.get(key.lower(), "")
            if not name:
                if "!" in key or "$" in key:
                    continue
                near = get_close_matches(key.lower()[:100], names, 3)
                hint = f"; did you mean {' or '.join(repr(word) for word in near)}?" if near else ""
                self._report.add(place, "unknown-option", f"{command.words}: Unknown key in command: {key}{hint}")
                continue
            option = command.where[name]
            if name in seen and not option.many:
                self._report.add(place, "structure", f"{command.words}: Multiple values to key '{key}'")
            seen.add(name)
            for text in _values(value, option.many):
                self._not_yet(command, name, text, place)
                if text is None or option.nested or option.late:
                    continue
                try:
                    if text == "":
                        raise ValueError("a value")
                    option.read(text)
                except ValueError as wanted:
                    told = f"{command.words}: '{text}' is not a value for '{key}': {wanted}"
                    self._report.add(place, "type", told)
                except AnyLogError as error:
                    self._report.add(place, "type", f"{command.words}: {error.detail}")
        for name, option in command.where.items():
            if option.required and name not in seen and not in_short:
                told = f"{command.words}: Missing '{name}'; usage: {command.usage_text()}"
                self._report.add(begin, "missing-option", told)


def _placed(
    pairs: Sequence[Pair], tokens: Sequence[Token], places: Sequence[Place]
) -> Iterator[tuple[str, Sequence[Token], Place]]:
    """Key, value, and where the key stands: before the `=` of its value."""
    starts = {token.start: at for at, token in enumerate(tokens)}
    for pair in pairs:
        at = starts.get(pair.value[0].start, 0) if pair.value else 0
        first = max(0, at - len(pair.key.split()) - (at > 0 and tokens[at - 1].is_operator("=")))
        yield pair.key, pair.value, places[first]


def _assigns(tokens: Sequence[Token], at: int) -> bool:
    return len(tokens) > at + 1 and tokens[at + 1].is_operator("=")


def _texts(tokens: Sequence[Token]) -> list[str]:
    return [token.text if token.kind is Kind.WORD else "" for token in tokens[:8]]


def _operands(tokens: Sequence[Token]) -> int:
    """What is glued together is one."""
    return sum(not place or tokens[place - 1].end != token.start for place, token in enumerate(tokens))


def _values(value: Sequence[Token], many: bool) -> Iterator[str | None]:
    """The texts of a value; None for what hangs on keys."""
    if len(value) == 1 and value[0].kind is Kind.GROUP and many:
        items: Any = list_items(value[0])
        for item in items or ():
            yield from _values(item, False)
        if items is None:
            yield None
        return
    if any(token.kind is not Kind.DOUBLE and re.search(r"[!$]\w", token.text) for token in value):
        yield None
        return
    text = ""
    for place, token in enumerate(value):
        text += (" " if place and value[place - 1].end != token.start else "") + token.text
    yield text
