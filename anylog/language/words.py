"""The registry of commands: longest match, suggestions, completion (language.md 2.3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

from anylog.errors import AnyLogError
from anylog.language.command import Command
from anylog.language.tokens import LONGEST, Kind, Token, logical_lines, tokens_of

REFERENCE = "!key"  # in the words of a command: any token that begins with ! or $, not eaten


class Words:
    """All commands of a node, built once from their classes, then only read."""

    def __init__(self, commands: Iterable[type[Command]] = ()) -> None:
        self._commands: dict[tuple[str, ...], type[Command]] = {}
        self._longest = 0
        self.register(*commands)

    def register(self, *commands: type[Command]) -> None:
        """Add commands. Raises AnyLogError 2 for words used twice, and for a command without help or example."""
        for command in commands:
            if not command.words or not (command.__doc__ or "").strip() or not command.examples:
                raise AnyLogError(2, f"the command {command.__name__} needs words, a docstring and an example")
            for spelling in (command.words, *command.also):
                key = tuple(spelling.lower().split())
                if key in self._commands:
                    raise AnyLogError(2, f"'{spelling}' is both {self._commands[key].__name__} and {command.__name__}")
                self._commands[key] = command
                self._longest = max(self._longest, len(key))

    def match(self, texts: Sequence[str]) -> tuple[type[Command], int] | None:
        """The command with the most words that the texts begin with, and how many of them are its words."""
        texts = [text.lower() for text in texts[: self._longest]]
        for size in range(len(texts), 0, -1):
            command = self._commands.get(tuple(texts[:size]))
            if command is not None:
                return command, size
            if texts[size - 1][:1] in ("!", "$"):
                command = self._commands.get((*texts[: size - 1], REFERENCE))
                if command is not None:
                    return command, size - 1
        return None

    def find(self, texts: Sequence[str]) -> tuple[type[Command], int]:
        """As `match`; raises AnyLogError 1 with the closest commands if there is none."""
        found = self.match(texts)
        if found is None:
            raise self.unknown(texts)
        return found

    def unknown(self, texts: Sequence[str], *, near: bool = True) -> AnyLogError:
        """The error for words that are no command; what may be a value is not repeated. `near`: with the nearest."""
        end = next((at for at, text in enumerate(texts) if text.lower() in ("", "where")), len(texts))
        if not end:
            return AnyLogError(1, "Unrecognized Command: it does not begin with a word")
        text = " ".join(word[:40] for word in texts[: min(end, 5)])
        found = " or ".join(f"'{words}'" for words in self.nearest(text)) if near else ""
        return AnyLogError(1, f"Unrecognized Command: '{text}'" + (f"; did you mean {found}?" if found else ""))

    def nearest(self, text: str, count: int = 3, least: float = 0.5) -> list[str]:
        """The words of the commands closest to the text, the best first; `least` of 0 takes any."""
        words = [word[:40] for word in text.lower().split()[: self._longest]]

        def likeness(key: tuple[str, ...]) -> float:
            begin = words[: len(key)]
            return SequenceMatcher(None, " ".join(key), " ".join(begin)).ratio() + 0.3 * (begin[:1] == list(key[:1]))

        scored = sorted(((-likeness(key), " ".join(key)) for key in self._commands), key=lambda pair: pair)
        return [name for score, name in scored[:count] if score <= -least]

    def command_of(self, text: str) -> type[Command] | None:
        """The command that a text asks for, or None: unknown, too long, or an assignment."""
        if len(text) > LONGEST:
            return None
        try:
            if text.lstrip().startswith("<") and not text.rstrip().endswith(">"):
                text = text.strip()[1:].replace("\n", " ")  # the end of the block is not there yet
            begins = [tokens_of(line.text, max(2, self._longest)) for line in logical_lines(text, typed=True)]
        except AnyLogError:
            return None
        found = [self._command_of(tokens) for tokens in begins]
        for command in found[1:]:  # of several (`a & b`) the one that may do least by itself decides
            if command is None or "GET" not in command.http:
                return command or Command
        return found[0] if found else None

    def _command_of(self, tokens: Sequence[Token]) -> type[Command] | None:
        if len(tokens) > 1 and tokens[1].is_operator("="):
            return None
        found = self.match([token.text if token.kind is Kind.WORD else "" for token in tokens])
        return found[0] if found else None

    def starting_with(self, text: str) -> list[str]:
        """Words of the commands that begin with what was typed, sorted."""
        typed = " ".join(text.lower().split()) + (" " if text.endswith(" ") and text.strip() else "")
        return sorted(
            " ".join(key) for key in self._commands if " ".join(key).startswith(typed) and REFERENCE not in key
        )

    def all(self) -> list[type[Command]]:
        """Every command once, in order of its words."""
        return sorted(set(self._commands.values()), key=lambda command: command.words)

    def group(self, prefix: str) -> list[type[Command]]:
        """Commands one of whose spellings begins with these words, in order of their words."""
        begin = tuple(prefix.lower().split())
        found = {command for key, command in self._commands.items() if key[: len(begin)] == begin}
        return sorted(found, key=lambda command: command.words)
