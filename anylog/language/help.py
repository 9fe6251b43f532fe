"""Help is made from what commands say of themselves (cli-console.md 6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anylog.language.command import Command
from anylog.language.words import Words


def help_text(words: Words, asked: Sequence[str]) -> str:
    """What `help` answers to these words; never an error."""
    if not asked:
        usages = [command.usage_text() for command in words.all()]
        return "\r\n".join([*usages, "", "help [command] shows one in full, help index lists keywords"])
    if asked[0].lower() == "index":
        return _index(words, asked[1] if len(asked) > 1 else "")
    found = words.begins(asked)
    name = " ".join(asked).lower()
    exact = [command for command in found if name in (command.words, *command.also)]
    if exact and (len(found) == 1 or exact[0].statement):
        return one(exact[0])
    if exact:
        others = [command.usage_text() for command in found if command is not exact[0]]
        return one(exact[0]) + "\r\n\r\nSee also:\r\n" + "\r\n".join(f"\t{usage}" for usage in others)
    if len(found) == 1:
        return one(found[0])
    if found:
        return "\r\n".join(command.usage_text() for command in found)
    near = words.nearest(name)
    return f"No help on '{name}'." + (f" Maybe: {', '.join(near)}" if near else " Use help for a list of commands.")


def help_data(words: Words, asked: Sequence[str]) -> dict[str, Any]:
    """The same as JSON values: one command in full, or a list."""
    found = words.begins(asked)
    name = " ".join(asked).lower()
    exact = [command for command in found if name in (command.words, *command.also)] or found
    if len(exact) == 1:
        return {exact[0].words: _object(exact[0])}
    return {"commands": [command.words for command in found]}


def one(command: type[Command]) -> str:
    """The page of one command."""
    parts = ["Usage:", f"\t{command.usage_text()}", "", "Explanation:"]
    parts += [f"\t{line}".rstrip() for line in command.explanation().splitlines()]
    options = [
        f"\t{name:<16} {option.help or option.shape}"
        + (" (required)" if option.required else "")
        + (f" (default: {option.default})" if option.default is not None else "")
        for name, option in command.where.items()
    ]
    if options:
        parts += ["", "Options:", *options]
    parts += ["", "Examples:", *(f"\t{example}" for example in command.examples)]
    if command.also:
        parts += ["", "Also:", *(f"\t{spelling}" for spelling in command.also)]
    parts += ["", "Index:", f"\t{list(command.index)}"]
    return "\r\n".join(parts)


def _object(command: type[Command]) -> dict[str, Any]:
    return {
        "usage": command.usage_text(),
        "explanations": command.explanation(),
        "examples": list(command.examples),
        "index": list(command.index),
    }


def _index(words: Words, begin: str) -> str:
    keys = sorted({key for command in words.all() for key in command.index})
    if not begin:
        return "\r\n".join(keys)
    lines = []
    for key in keys:
        if begin == "*" or key.startswith(begin.lower()):
            lines.append(key)
            lines += [f"     {command.words}" for command in words.all() if key in command.index]
    return "\r\n".join(lines) or f"No keyword begins with '{begin}'"
