"""Help made from the commands themselves (cli-console.md 6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anylog.language.command import Command
from anylog.language.context import Context, Result
from anylog.language.tokens import joined, tokens_of
from anylog.language.words import Words

if TYPE_CHECKING:
    from anylog.node import Node

DOCUMENTATION = "Documentation: 'help [command]' explains one command, 'help index' lists keywords, docs/ has the rest"


class Help(Command):
    """Explain the commands.

    Without more: the usage of all commands. With the beginning of commands: their usage lines. With a command: usage,
    explanation, examples and keywords. `help index` lists the keywords, `help index s` those that begin with s and
    their commands, `help index *` all of them with their commands. `help status` lists, by topic, the commands that are
    known and not in this build.
    """

    words = "help"
    operands = "[command] | index [keyword] | status"
    usage = "help [command] | help index [keyword] | help status [where format = table/json]"
    raw = literal = True
    examples = (
        "help",
        "help get",
        "help connect dbms",
        "help index s",
        "help status",
        "help get status where format = json",
    )
    index = ("help", "cli")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """What is unknown is answered with suggestions, without an error."""
        tokens = tokens_of(operands[0]) if operands else []
        words = [token.text.lower() for token in tokens]
        format = "text"
        if words[-4:-1] == ["where", "format", "="]:
            format = "json" if words[-1] in ("json", "mcp") else "text"
            tokens, words = tokens[:-4], words[:-4]
        if words[:1] == ["index"]:
            keywords = keywords_of(node.words)
            if len(words) > 1:
                begin = "" if words[1] == "*" else " ".join(words[1:])
                keywords = {key: names for key, names in keywords.items() if key.lower().startswith(begin)}
            return Result(text=index_text(keywords, with_commands=len(words) > 1), data=keywords, format=format)
        if words == ["status"]:
            missing = later_of(node.words)
            return Result(text=status_text(missing, len(node.words.all())), data=missing, format=format)
        text, data = explain(node.words, joined(tokens))
        return Result(text=text, data=data, format=format)


def explain(words: Words, asked: str) -> tuple[str, dict[str, Any]]:
    """The help for what was asked, as text and as JSON values."""
    if not asked:
        return _listing(words.all(), top=True), {"commands": [_described(command) for command in words.all()]}
    group = words.group(asked)
    exact = [
        command
        for command in group
        if " ".join(asked.lower().split()) in (spelling.lower() for spelling in (command.words, *command.also))
    ]
    if not group:  # a whole line was given: the command it begins with
        found = words.match(asked.split())
        exact = [found[0]] if found else []
    if exact and len(group) <= 1:
        return command_text(exact[0]), {"command": _described(exact[0])}
    if exact:
        others = [command for command in group if command is not exact[0]]
        text = command_text(exact[0]) + "\r\n" + _listing(others)
        return text, {"command": _described(exact[0]), "commands": [_described(command) for command in others]}
    if group:
        return _listing(group), {"commands": [_described(command) for command in group]}
    near = words.nearest(asked, least=0)
    return "Maybe: " + ", ".join(near), {"commands": [], "maybe": near}


def command_text(command: type[Command]) -> str:
    """The page of one command."""
    spelled = [command.usage_text(), *(f"also: {also}" for also in command.also)]
    parts = [("Usage", spelled), ("Explanation", command.explanation().splitlines())]
    told = [f"{name}: {option.help}" for name, option in command.where.items() if option.help]
    if told:
        parts.append(("Options", told))
    parts.append(("Examples", list(command.examples)))
    if command.index:
        parts.append(("Index", [str(sorted(command.index))]))
    return (
        "\r\n\r\n".join(f"{title}:\r\n" + "\r\n".join(f"\t{line}".rstrip() for line in lines) for title, lines in parts)
        + "\r\n"
    )


def keywords_of(words: Words) -> dict[str, list[str]]:
    """Keyword -> words of its commands, both sorted."""
    found: dict[str, list[str]] = {}
    for command in words.all():
        for keyword in command.index:
            found.setdefault(keyword, []).append(command.words)
    return dict(sorted(found.items()))


def later_of(words: Words) -> dict[str, list[str]]:
    """Topic -> words of the commands that it brings and that are not in this build, both sorted."""
    found: dict[str, list[str]] = {}
    for command in words.all():
        if command.later:
            found.setdefault(command.later, []).extend((command.words, *command.also))
    return {topic: sorted(found[topic]) for topic in sorted(found)}


def status_text(missing: dict[str, list[str]], known: int) -> str:
    """How many commands are known, and which of them are not in this build."""
    count = sum(map(len, missing.values()))
    lines = [f"{known} commands are known. These {count} are not in this build, they answer with error 237:"]
    for topic, names in missing.items():
        lines += ["", topic, *(f"     {name}" for name in names)]
    return "\r\n".join(lines)


def index_text(keywords: dict[str, list[str]], with_commands: bool) -> str:
    """One keyword a line, with its commands below it."""
    lines = []
    for keyword, names in keywords.items():
        lines.append(keyword)
        if with_commands:
            lines += [f"     {name}" for name in names]
    return "\r\n".join(lines)


def _listing(commands: Sequence[type[Command]], top: bool = False) -> str:
    lines = sorted(command.usage_text() for command in commands)
    return "\r\n".join([*lines, "", DOCUMENTATION] if top else lines)


def _described(command: type[Command]) -> dict[str, Any]:
    return {
        "usage": command.usage_text(),
        "explanations": command.explanation(),
        "examples": list(command.examples),
        "documentation": list(command.index),
    }
