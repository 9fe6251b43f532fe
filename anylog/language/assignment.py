"""What may stand left and right of `=` in an assignment (language.md 4.2 and 5). Pure."""

from __future__ import annotations

import re
from collections.abc import MutableMapping, Sequence
from itertools import pairwise
from typing import Any

from attrs import frozen

from anylog.errors import AnyLogError
from anylog.language.dictionary import Dictionary, Scope, held, read_json, resolve_json, shown, together
from anylog.language.tokens import Kind, Token, joined

_TARGET = re.compile(r"(!?)([^\[\]{}]+)((?:\[[^\[\]]*\])*)(\[\]|\{\})?")


@frozen
class Target:
    """The left side: a key, an entry inside a key (`x[k][k2]`), a collection (`x[]`, `x{}`) or `$NAME`."""

    key: str
    parts: tuple[str, ...] = ()
    collects: str = ""  # "[]" or "{}"
    environment: bool = False

    @classmethod
    def read(cls, token: Token, scope: Scope) -> Target:
        """Raises AnyLogError 2 or 175 for what cannot be assigned to."""
        text = token.text
        if token.kind is Kind.WORD and re.fullmatch(r"\$[A-Za-z_][A-Za-z0-9_]*", text):
            return cls(text[1:], environment=True)
        if text.endswith("[]"):  # the group would be read as a part without a name
            return cls(_plain(text[:-2]), collects="[]")
        found = _TARGET.fullmatch(text)
        if token.kind is not Kind.WORD or found is None:
            raise AnyLogError(175, f"'{text}' is not a key that can be assigned")
        parts = tuple(part_of(part, scope) for part in re.findall(r"\[([^\[\]]*)\]", found[3]))
        return cls(_plain(found[2]), parts, found[4] or "")

    @property
    def typed(self) -> bool:
        """Whether JSON on the right becomes values at once, rather than text resolved when it is used."""
        return bool(self.parts)

    @property
    def own(self) -> bool:
        """Whether it says where this node has its files, or is of its environment: nobody else assigns it."""
        return self.environment or self.key.endswith(("_dir", "_file", "_path", "scripts"))

    @property
    def written(self) -> str:
        """As it is written."""
        return ("$" if self.environment else "") + self.key + "".join(f"[{part}]" for part in self.parts)

    def store(self, value: Any, dictionary: Dictionary, environ: MutableMapping[str, str]) -> None:
        """Assign, or make undefined with None or an empty text."""
        if self.environment:
            if value is None or value in ("", "''"):
                environ.pop(self.key, None)
            else:
                environ[self.key] = shown(value)
        elif not self.parts:
            dictionary.set(self.key, value)
        elif value not in (None, "", "''") or self.key in dictionary:
            dictionary.assign(self.key, self.parts, value)


def value_of(tokens: Sequence[Token], scope: Scope, typed: bool = False) -> Any:
    """The words of the right side as one value; None if a reference in them is undefined.

    One reference keeps its type, JSON stays text unless `typed`.
    """
    if len(tokens) == 1:
        token = tokens[0]
        if token.kind is Kind.JSON and typed:
            return read_json(resolve_json(token.text, scope))
        if token.kind is Kind.ESCAPED:
            return _escaped(token, scope)
        return scope.resolve(token.text) if token.kind is Kind.WORD else token.text
    texts: list[str] = []
    size = 0
    for token in tokens:
        text = _escaped(token, scope) if token.kind is Kind.ESCAPED else token.text
        if token.kind is Kind.WORD:
            text = scope.text(token.text)
        if text is None:
            return None
        size = together(size, text)
        texts.append(text)
    return joined(tokens, texts)


def is_concatenation(tokens: Sequence[Token]) -> bool:
    """Whether a `+` among the tokens joins texts: it stands apart, or beside a reference or a quoted text.

    So `+2h` and `2026-01-01T00:00:00+02:00` stay what they are.
    """
    for place, token in enumerate(tokens):
        if not token.is_operator("+"):
            continue
        before = tokens[place - 1] if place else None
        after = tokens[place + 1] if place + 1 < len(tokens) else None
        if before is not None and before.end < token.start and (after is None or after.start > token.end):
            return True
        if any(_is_reference(side) for side in (before, after) if side is not None):
            return True
    return False


def concatenated(tokens: Sequence[Token], scope: Scope) -> str:
    """`a + b + c` as one text, undefined references as nothing. Raises AnyLogError 302."""
    operands: list[list[Token]] = [[]]
    for token in tokens:
        if token.is_operator("+"):
            operands.append([])
        else:
            operands[-1].append(token)
    for operand in operands:
        if not operand:
            raise AnyLogError(302, f"an operand is missing beside '+': {joined(tokens)}")
        for one, other in pairwise(operand):
            if one.end != other.start:
                raise AnyLogError(302, f"'+' is missing between '{one.text}' and '{other.text}'")
    return "".join(held(operand_text(token, scope) for operand in operands for token in operand))


def operand_text(token: Token, scope: Scope) -> str:
    """One operand as text: single quotes removed, undefined references empty."""
    if token.kind is Kind.WORD:
        return scope.text(token.text) or ""
    if token.kind is Kind.ESCAPED:
        return _escaped(token, scope) or '""'
    return token.text[1:-1] if token.kind is Kind.SINGLE else token.text


def _escaped(token: Token, scope: Scope) -> str | None:
    """`\\"!key\\"`: the value, in double quotes; None if it is undefined."""
    text = scope.text(token.text[1:-1])
    return None if text is None else f'"{text}"'


def _is_reference(token: Token) -> bool:
    return token.kind in (Kind.DOUBLE, Kind.SINGLE) or (token.kind is Kind.WORD and token.text[:1] in ("!", "$"))


def _plain(name: str) -> str:
    return name.removeprefix("!")


def part_of(part: str, scope: Scope) -> str:
    """The name in one pair of brackets: plain, quoted, or a reference. Raises AnyLogError 2 for an undefined one."""
    part = part.strip()
    if part[:1] in ("!", "$"):
        text = scope.text(part)
        if text is None:
            raise AnyLogError(2, f"Missing dictionary definition for '{part}'")
        return text
    return part[1:-1] if len(part) > 1 and part[0] == part[-1] and part[0] in "\"'" else part
