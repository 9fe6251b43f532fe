"""The registry of commands: built once, then only read; the longest match wins (language.md 2.3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from anylog.errors import AnyLogError
from anylog.language.command import Command
from anylog.language.tokens import Token, tokenise, unwrapped


class Words:
    """Finds the command that words begin with."""

    def __init__(self, commands: Iterable[type[Command]]) -> None:
        """Raises ValueError for a command without words, help or example, and for two of the same words."""
        self._commands: dict[tuple[str, ...], type[Command]] = {}
        self._longest = 0
        for command in commands:
            if not command.words or not command.__doc__ or not command.examples:
                raise ValueError(f"{command.__name__}: a command has words, a docstring and an example")
            for spelling in (command.words, *command.also):
                words = tuple(spelling.split())
                if words in self._commands:
                    raise ValueError(f"'{spelling}' is {self._commands[words].__name__} and {command.__name__}")
                self._commands[words] = command
                self._longest = max(self._longest, len(words))

    def all(self) -> list[type[Command]]:
        """Every command once, by its words."""
        return sorted(dict.fromkeys(self._commands.values()), key=lambda command: command.words)

    def find(self, tokens: Sequence[Token]) -> tuple[type[Command], int] | None:
        """The command that the tokens begin with, and how many tokens its words are."""
        words = []
        for token in tokens[: self._longest]:
            if token.quoted:
                break
            words.append(token.text.lower())
        for size in range(len(words), 0, -1):
            command = self._commands.get(tuple(words[:size]))
            if command is not None and not command.statement:
                return command, size
        return None

    def command_of(self, text: str) -> type[Command] | None:
        """The command that a text begins with, for those who must know before it runs; None if there is none."""
        try:
            found = self.find(tokenise(unwrapped(text)))
        except AnyLogError:
            return None
        return found[0] if found else None

    def starting_with(self, text: str) -> list[str]:
        """Spellings that begin with what was typed so far, sorted."""
        begin = " ".join(text.lower().split())
        return sorted(" ".join(words) for words in self._commands if " ".join(words).startswith(begin))

    def begins(self, words: Sequence[str]) -> list[type[Command]]:
        """Commands whose words begin with these."""
        prefix = tuple(word.lower() for word in words)
        found = [command for spelling, command in self._commands.items() if spelling[: len(prefix)] == prefix]
        return sorted(dict.fromkeys(found), key=lambda command: command.words)

    def nearest(self, text: str) -> list[str]:
        """Up to three commands that look like it."""
        spellings = {" ".join(words): words for words in self._commands}
        asked = text.lower().split()
        found: list[str] = []
        for size in range(min(len(asked), self._longest), 0, -1):
            begin = " ".join(asked[:size])
            same_size = [spelling for spelling, words in spellings.items() if len(words) >= size]
            found += get_close_matches(begin, same_size, 3, 0.6)
            found += [spelling for spelling in sorted(spellings) if spelling.startswith(begin + " ")][:3]
            if len(found) >= 3:
                break
        return list(dict.fromkeys(found))[:3]

    def unknown(self, text: str) -> AnyLogError:
        """The refusal of a command that nobody knows, with the nearest known ones."""
        near = self.nearest(text)
        hint = f"; did you mean {', '.join(repr(word) for word in near)}?" if near else ""
        return AnyLogError(1, f"Unrecognized Command: '{text[:80]}'{hint}")
