"""What is typed becomes commands, and commands find the node they are meant for (cli-console.md 2, 7). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from attrs import define, frozen

from anylog.errors import AnyLogError
from anylog.language.tokens import logical_lines

LEAVE = ("exit", "quit", "logout", "exit cli", "exit session")

_RUN_CLIENT = re.compile(r"run\s+client\s+(.*)", re.IGNORECASE | re.DOTALL)
_ASSIGNED = re.compile(r"(\s*[^\s=<>!'\"(]+(?:\[\]|\{\})?\s*=(?!=)\s*)(.+)", re.DOTALL)
_STAYS = re.compile(r"(run\s+client|help|wait|blockchain\s+insert)\b", re.IGNORECASE)
_ONE_TOKEN = re.compile(r"\"[^\"]*\"|'[^']*'|\S+")
_FUNCTION_KEY = re.compile(r"set\s+function\s+key\s+f([1-9]|1[0-2])\s+(.+)", re.IGNORECASE)


@define
class Reader:
    """Lines in, commands out; `<` opens a block that a line ending with `>` closes."""

    _block: list[str] | None = None

    @property
    def open(self) -> bool:
        """Whether a block waits for its end."""
        return self._block is not None

    def feed(self, line: str) -> list[str]:
        """The commands that this line completes. A block becomes one line, its line ends blanks."""
        line = line.strip()
        if self._block is not None:
            self._block.append(line[:-1].strip() if line.endswith(">") else line)
            if not line.endswith(">"):
                return []
            line, self._block = " ".join(part for part in self._block if part), None
            return [line] if line else []
        if line.startswith("<") and not line.endswith(">"):
            self._block = [line[1:].strip()]
            return []
        try:
            return [command.text.strip() for command in logical_lines(line, typed=True)]
        except AnyLogError:  # brackets without an end: the node says what is wrong
            return [line]

    def forget(self) -> None:
        """Drop a block that was begun."""
        self._block = None


def commands_of(text: str) -> list[str]:
    """All commands of a text; a block that is not closed is left out."""
    reader = Reader()
    return [command for line in text.splitlines() for command in reader.feed(line)]


def unfinished(text: str) -> bool:
    """Whether a text ends within a block."""
    reader = Reader()
    for line in text.splitlines():
        reader.feed(line)
    return reader.open


@frozen
class Leave:
    """End the session."""


@frozen
class ShowHistory:
    """List what was typed before."""


@frozen
class Assign:
    """Commands go to this destination from now on; empty: to the node itself."""

    destination: str


@frozen
class SetKey:
    """A function key gets a text."""

    key: str
    text: str


@frozen
class Ask:
    """Ask the node; `confirm` is what has to be said yes to first."""

    command: str
    confirm: str = ""


Action = Leave | ShowHistory | Assign | SetKey | Ask


def action_of(line: str, destination: str = "", known: Callable[[str], bool] = lambda text: True) -> Action:
    """What a command of this session means while `destination` is assigned.

    `known` tells whether a text begins with the words of a command: the right side of an assignment goes to the
    peers only if it does.
    """
    words = " ".join(line.lower().split())
    if words in LEAVE:
        return Leave()
    if words == "history":
        return ShowHistory()
    if found := _FUNCTION_KEY.fullmatch(line):
        return SetKey(f"f{found[1]}", found[2])
    if (target := assigned_to(line)) is not None:
        return Assign(target)
    if line.startswith("."):
        return _ask(line[1:].strip(), "the node")
    if not destination or _STAYS.match(line) or _ONE_TOKEN.fullmatch(line):
        return _ask(line, "the node")
    if found := _ASSIGNED.fullmatch(line):
        if _ONE_TOKEN.fullmatch(found[2]) or _STAYS.match(found[2]) or not known(found[2]):
            return _ask(line, "the node")
        return _ask(f"{found[1]}run client {destination} {found[2]}", destination)
    asked = _ask(line, destination)
    return Ask(f"run client {destination} {asked.command}", asked.confirm)


def assigned_to(line: str) -> str | None:
    """The destination of a `run client` with nothing after it, empty for `.`; None if the line is something else."""
    found = _RUN_CLIENT.fullmatch(line.strip())
    if not found:
        return None
    rest = found[1].strip()
    if rest == ".":
        return ""
    if rest.startswith("("):
        return rest if _closing(rest) == len(rest) - 1 else None
    parts = rest.split()
    if len(parts) == 1:
        return rest
    if len(parts) == 2 and (parts[1].isdecimal() or (parts[0].startswith("!") and parts[1].startswith("!"))):
        return f"{parts[0]}:{parts[1]}"
    return None


def shown(destination: str) -> str:
    """An assigned destination as the prompt shows it: without the parentheses round it."""
    if destination.startswith("(") and _closing(destination) == len(destination) - 1:
        return destination[1:-1].strip() or destination
    return destination


def prompt(name: str, destination: str = "") -> str:
    """What is shown before a line (cli-console.md 1)."""
    own = f"AL {name} > " if name else "AL > "
    return f"{own}{shown(destination)} >> " if destination else own


def _ask(line: str, who: str) -> Ask:
    words = " ".join(line.lower().split())
    if words == "exit node":
        return Ask(line, confirm=who)
    return Ask("exit node" if words == "exit node force" else line)


def _closing(text: str) -> int:
    """Where the parenthesis that opens the text is closed, quotes respected; -1: nowhere."""
    depth, quote = 0, ""
    for at, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
            if depth == 0:
                return at
    return -1
