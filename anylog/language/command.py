"""Commands describe themselves: words, options, help, and what they do (style.md 3)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from inspect import cleandoc
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import frozen

from anylog.errors import AnyLogError
from anylog.language.context import Context, Result

if TYPE_CHECKING:
    from anylog.node import Node

_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
_BYTES = {"": 1, "b": 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30, "tb": 1 << 40}


@frozen(kw_only=True)
class Option:
    """One `key = value` of a command: how its text is read. Raises AnyLogError 2 or 175 naming the culprit."""

    required: bool = False
    default: Any = None
    many: bool = False  # the key may repeat; the value is a list in order
    also: tuple[str, ...] = ()  # other spellings of the key
    late: bool = False  # '!key' in the value is left as written: the command resolves it
    help: str = ""
    nested: bool = False  # the value is `( options )`, given as written

    @property
    def shape(self) -> str:
        """What stands right of the `=` in the usage."""
        return "text"

    def read(self, text: str) -> Any:
        """The value of `text`; raises ValueError if it is none."""
        return text


class Text(Option):
    """Any text."""


class Flag(Option):
    """`true` or `false`, any letter case."""

    @property
    def shape(self) -> str:
        return "true/false"

    def read(self, text: str) -> bool:
        known = {"true": True, "false": False}.get(text.lower())
        if known is None:
            raise ValueError("true or false")
        return known


@frozen(kw_only=True)
class Whole(Option):
    """A whole number between two limits."""

    least: int | None = None
    most: int | None = None

    @property
    def shape(self) -> str:
        return "number"

    def read(self, text: str) -> int:
        wanted = "a whole number"
        if self.least is not None:
            wanted += f" from {self.least}"
        if self.most is not None:
            wanted += f" up to {self.most}"
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
            raise ValueError(wanted)
        value = int(text)
        if (self.least is not None and value < self.least) or (self.most is not None and value > self.most):
            raise ValueError(wanted)
        return value


class Seconds(Option):
    """A time span: `20`, `30 seconds`, `2 minutes`, `1 hour`, `3 days`, `1 week`; given in seconds."""

    @property
    def shape(self) -> str:
        return "number and unit of time"

    def read(self, text: str) -> float:
        found = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)\s*([a-z]*)", text.strip().lower())
        unit = found and (found[2].rstrip("s") or "second")
        if not found or unit not in _SECONDS:
            raise ValueError("a number and second(s), minute(s), hour(s), day(s) or week(s)")
        return float(found[1]) * _SECONDS[unit]


class Bytes(Option):
    """A size: `10240`, `10KB`, `2 MB`, `1GB`; units of 1024; given in bytes."""

    @property
    def shape(self) -> str:
        return "size"

    def read(self, text: str) -> int:
        found = re.fullmatch(r"([0-9]{1,18})\s*([a-z]*)", text.strip().lower().replace(",", ""))
        if not found or found[2] not in _BYTES:
            raise ValueError("a number of bytes, KB, MB, GB or TB")
        return int(found[1]) * _BYTES[found[2]]


@frozen(kw_only=True)
class OneOf(Option):
    """One of some words, any letter case; given in lower case."""

    words: tuple[str, ...] = ()

    @property
    def shape(self) -> str:
        return "/".join(self.words)

    def read(self, text: str) -> str:
        if text.lower() not in self.words:
            raise ValueError("one of " + ", ".join(self.words))
        return text.lower()


Format = OneOf(words=("table", "json"), help="layout of the reply")  # most `get` commands have it


def option_name(key: str) -> str:
    """The key of an option as the name of a value: `-`, `.` and blanks as `_`."""
    return re.sub(r"[- .]", "_", key)


class Command:
    """One command of the language.

    The docstring is its help: the first line says what it does. `usage` is made from the declarations unless given.
    """

    words: ClassVar[str] = ""
    also: ClassVar[tuple[str, ...]] = ()  # older or longer spellings of the words
    operands: ClassVar[str] = ""  # what may stand after the words, before `where`: "[name]"; empty: nothing
    least: ClassVar[int] = 0  # operands needed
    most: ClassVar[int | None] = 0  # operands allowed; None: any number
    raw: ClassVar[bool] = False  # the rest of the line is one operand, as written (after substitution of `!key`)
    literal: ClassVar[bool] = False  # with raw: not even substituted; the command does it itself
    statement: ClassVar[bool] = False  # a form of the language itself: here for its help alone
    where: ClassVar[Mapping[str, Option]] = {}
    usage: ClassVar[str] = ""
    examples: ClassVar[tuple[str, ...]] = ()
    index: ClassVar[tuple[str, ...]] = ()  # keywords of `help index`
    http: ClassVar[tuple[str, ...]] = ("POST",)  # methods by which REST may ask it (rest.md 2.1)
    guarded: ClassVar[bool] = False  # changes the node: refused from elsewhere while authentication is unset
    here: ClassVar[bool] = False  # only from this machine (security.md 8, local-only)
    # What is known and not in this build: option, or "" for operands -> values, and the topic that brings them.
    not_yet: ClassVar[Mapping[str, tuple[tuple[str, ...], str]]] = {}
    short: ClassVar[int] = 1000  # operands from which on they stand for the options, none of which is required then
    later: ClassVar[str] = ""  # of a command that is known and not in this build: the topic that brings it

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Do it. None means done and nothing to say."""
        raise NotImplementedError  # pragma: no cover

    @classmethod
    def read(cls, operands: Sequence[str], pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """Options by declaration, keyed by name with `-` and blanks as `_`, defaults filled in.

        Raises AnyLogError 2 for a wrong structure and 175 for a wrong value, naming the culprit.
        """
        if len(operands) < cls.least:
            raise AnyLogError(2, f"{cls.words}: {cls.operands or 'a value'} is missing; usage: {cls.usage_text()}")
        if not cls.raw and cls.most is not None and len(operands) > cls.most:
            raise AnyLogError(2, f"{cls.words}: unexpected '{operands[cls.most]}'; usage: {cls.usage_text()}")
        names = {spelling: name for name, option in cls.where.items() for spelling in (name, *option.also)}
        values: dict[str, Any] = {}
        for key, text in pairs:
            name = names.get(key.lower(), "")
            if not name:
                near = get_close_matches(key.lower()[:100], names, 3)
                hint = f"; did you mean {' or '.join(repr(word) for word in near)}?" if near else ""
                raise AnyLogError(2, f"{cls.words}: Unknown key in command: {key}{hint}")
            if text == "":
                raise AnyLogError(2, f"{cls.words}: Missing value for key '{key}'")
            option = cls.where[name]
            try:
                value = option.read(text)
            except ValueError as wanted:
                raise AnyLogError(175, f"{cls.words}: '{text}' is not a value for '{key}': {wanted}") from None
            if option.many:
                values.setdefault(name, []).append(value)
            elif name in values:
                raise AnyLogError(2, f"{cls.words}: Multiple values to key '{key}'")
            else:
                values[name] = value
        for name, option in cls.where.items():
            if name not in values:
                if option.required and len(operands) < cls.short:
                    raise AnyLogError(2, f"{cls.words}: Missing '{name}'; usage: {cls.usage_text()}")
                values[name] = list(option.default or ()) if option.many else option.default
        return {option_name(name): value for name, value in values.items()}

    @classmethod
    def usage_text(cls) -> str:
        """One line that shows how the command is written."""
        if cls.usage:
            return cls.usage
        parts = [cls.words]
        if cls.operands:
            parts.append(cls.operands)
        pairs = [
            (f"{name} = [{option.shape}]" if option.required else f"[{name} = {option.shape}]")
            for name, option in cls.where.items()
        ]
        if pairs:
            parts.append("where " + " and ".join(pairs))
        return " ".join(parts)

    @classmethod
    def explanation(cls) -> str:
        """The docstring, unindented."""
        return cleandoc(cls.__doc__ or "")
