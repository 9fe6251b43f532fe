"""What may be typed next, from what the node says of its commands (`help where format = json`). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen

SESSION_WORDS = ("exit cli", "history", "set function key")

_NOT_A_WORD = re.compile(r"[\[(!$|={]|^where$")
_LEADING = re.compile(  # what may stand before a command
    r"""\s*(?:\.\s*
      | [^\s=<>!'"(]+(?:\[\]|\{\})?\s*=(?!=)\s*
      | run\s+client\s+(?:\([^()]*(?:\([^()]*\)[^()]*)*\)|\S+)\s+
      | help\s+
      | if\s.*?\sthen\s+ | do\s+ | else\s+(?!if\b)
    )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_WHERE = re.compile(r"\swhere\s", re.IGNORECASE)
_AND = re.compile(r"\sand\s", re.IGNORECASE)
_KEY = re.compile(r"!{1,2}([\w.\-]*)$")
_PAIR = re.compile(r"\s*([\w .\-]+?)\s*=\s*(\S*)$")


@frozen
class Offer:
    """One way to go on: `text` replaces the last `back` characters; `meta` says what it is."""

    text: str
    back: int
    meta: str = ""


@frozen
class Known:
    """One command: its words in lower case, its options with the values they may have, and what it is for."""

    words: str
    options: Mapping[str, Sequence[str]] = {}
    meta: str = ""


@define
class Grammar:
    """All commands of a node."""

    commands: list[Known] = field(factory=list)

    @classmethod
    def read(cls, told: Any) -> Grammar:
        """From the JSON of `help where format = json`; what has another shape is passed over."""
        listed = told.get("commands") if isinstance(told, dict) else None
        commands = [Known(words) for words in SESSION_WORDS]
        for entry in listed if isinstance(listed, list) else []:
            if isinstance(entry, dict) and isinstance(entry.get("usage"), str):
                commands += _read(entry["usage"], entry.get("examples"), entry.get("explanations"))
        return cls(sorted(commands, key=lambda command: command.words))

    def begins(self, text: str) -> bool:
        """Whether a text begins with the words of a command; also where no commands are known."""
        words = " ".join(text.lower().split())
        return len(self.commands) <= len(SESSION_WORDS) or any(
            words == command.words or words.startswith(f"{command.words} ") for command in self.commands
        )

    def offers(self, text: str, keys: Callable[[], Iterable[str]] = tuple) -> list[Offer]:
        """What may follow `text`, which ends at the cursor. `keys` gives the names of the node's dictionary."""
        if found := _KEY.search(text):
            begun = found[1].lower()
            return [
                Offer(key, len(begun), "key") for key in sorted(keys()) if key.lower().startswith(begun) and key.strip()
            ]
        rest = text.lstrip("< \n")
        while found := _LEADING.match(rest):
            rest = rest[found.end() :]
        rest = re.sub(r"\s", " ", rest)
        if where := _WHERE.search(rest):
            return self._option(rest[: where.start()], rest[where.end() :])
        return self._word(rest.lstrip())

    def _word(self, typed: str) -> list[Offer]:
        done, _, begun = " ".join(typed.lower().split(" ")).rpartition(" ")
        before = f"{' '.join(done.split())} " if done.strip() else ""
        found: dict[str, str] = {}
        for command in self.commands:
            if command.words.startswith(before + begun):
                word, more, _ = command.words[len(before) :].partition(" ")
                found.setdefault(word, "" if more else command.meta)
        offers = [Offer(word, len(begun), meta) for word, meta in sorted(found.items())]
        whole = self._find(done)
        if whole is not None and whole.options and "where".startswith(begun):
            offers.append(Offer("where", len(begun), "options"))
        return offers

    def _option(self, words: str, typed: str) -> list[Offer]:
        command = self._find(words)
        if command is None:
            return []
        *given, last = _AND.split(typed)
        if pair := _PAIR.match(last):
            values = command.options.get(pair[1].lower(), ())
            return [Offer(value, len(pair[2]), "") for value in values if value.startswith(pair[2].lower())]
        used = {part.partition("=")[0].strip().lower() for part in given}
        begun = last.lstrip().lower()
        return [
            Offer(f"{key} = ", len(begun), "/".join(values))
            for key, values in command.options.items()
            if key.startswith(begun) and key not in used
        ]

    def _find(self, typed: str) -> Known | None:
        words = " ".join(typed.lower().split())
        fitting = [
            command for command in self.commands if words == command.words or words.startswith(f"{command.words} ")
        ]
        return max(fitting, key=lambda command: len(command.words), default=None)


def _read(usage: str, examples: Any, explanation: Any) -> list[Known]:
    """The commands of one usage line: one, or several where it has alternatives that its examples confirm."""
    told = [str(example).lower() for example in examples] if isinstance(examples, list) else []
    meta = str(explanation or "").split("\n")[0].partition(". ")[0].strip().rstrip(".:")
    head, _, tail = usage.partition(" where ")
    options = {
        key.strip("[] ").lower(): tuple(shape.strip("[] ").split("/")) if "/" in shape else ()
        for key, equals, shape in (part.partition(" = ") for part in tail.split(" and "))
        if equals
    }
    found: list[Known] = []
    for place, alternative in enumerate(head.split(" | ")):
        words = _literal(alternative)
        if place and (not words or not any(example.startswith(f"{words} ") for example in told)):
            continue
        if " | " in head and not place:
            words = _shared(words, told)
        if words and words not in {command.words for command in found}:
            found.append(Known(words, options, meta))
    return found


def _literal(usage: str) -> str:
    """The words of a usage up to the first that stands for something else."""
    words = []
    for word in usage.split():
        if _NOT_A_WORD.search(word):
            break
        words.append(word.lower())
    return " ".join(words)


def _shared(words: str, examples: Sequence[str]) -> str:
    """As many of the words as all examples that begin with the first one share."""
    parts = words.split()
    fitting = [example.split() for example in examples if parts and example.split()[:1] == parts[:1]]
    while len(parts) > 1 and any(example[: len(parts)] != parts for example in fitting):
        parts.pop()
    return " ".join(parts)
