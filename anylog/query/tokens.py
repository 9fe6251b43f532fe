"""SQL as tokens: enough to find clauses, columns and literals without a grammar (query.md 1, 2)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from anylog.errors import AnyLogError

_TOKEN = re.compile(
    r"""(?P<gap>\s+|--[^\n]*|/\*.*?\*/)
    |(?P<text>'(?:[^']|'')*')
    |(?P<quoted>"(?:[^"]|"")*"|`[^`]*`|\[[^\]]*\])
    |(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    |(?P<name>[^\W\d][\w$]*)
    |(?P<sign><=|>=|<>|!=|==|\|\||::|->>|->|<<|>>|.)""",
    re.VERBOSE | re.DOTALL,
)
_OPEN_ENDED = {"'": "text", '"': "name", "`": "name", "[": "name"}


class Token(NamedTuple):
    """One word, literal or sign."""

    kind: str  # text, quoted, number, name (in lower case), sign
    text: str
    gap: bool = False  # white space or a comment stood before it

    @property
    def value(self) -> str:
        """A literal or quoted name without its quotes; else the text."""
        if self.kind == "text":
            return self.text[1:-1].replace("''", "'")
        if self.kind == "quoted":
            return self.text[1:-1].replace('""', '"')
        return self.text

    def says(self, *words: str) -> bool:
        """Whether it is one of these words or signs, unquoted."""
        return self.kind in ("name", "sign") and self.text in words

    def names(self) -> bool:
        """Whether it may name a column or table."""
        return self.kind in ("name", "quoted")


def tokenise(statement: str) -> list[Token]:
    """The tokens of a statement, comments left out, lower case outside quotes.

    Raises AnyLogError 16 if a quote stays open.
    """
    tokens: list[Token] = []
    gap = False
    for found in _TOKEN.finditer(statement):
        kind, text = str(found.lastgroup), found.group()
        if kind == "gap":
            gap = True
            continue
        if kind == "sign" and (text in _OPEN_ENDED or text == "\0"):
            raise failure(statement, f'unrecognized token: "{statement[found.start() :]}"')
        if text == "*" and tokens and tokens[-1].text == "/" and not gap:
            raise failure(statement, "a comment is not closed")
        tokens.append(Token(kind, text if kind in ("text", "quoted") else text.lower(), gap and bool(tokens)))
        gap = False
    return tokens


def failure(statement: str, why: str, http: int | None = None) -> AnyLogError:
    """Error 16 in the words that clients know; `http` is its status, if it is not the sender's fault."""
    return AnyLogError(16, f"Error executing SQL:\r\n{statement}\r\n{why}", http=http)


def render(tokens: Sequence[Token]) -> str:
    """The text of tokens: one blank for white space, one after each comma."""
    parts: list[str] = []
    for place, token in enumerate(tokens):
        if place and (token.gap or tokens[place - 1].text == ","):
            parts.append(" ")
        parts.append(token.text)
    return "".join(parts)


def spaced(text: str) -> list[Token]:
    """Tokens of a text of our own, set apart from what stands before."""
    tokens = tokenise(text)
    return [tokens[0]._replace(gap=True), *tokens[1:]]


def literal(text: str, gap: bool = True) -> Token:
    """A text literal."""
    return Token("text", "'" + text.replace("'", "''") + "'", gap)


def closing(tokens: Sequence[Token], opening: int) -> int:
    """Index of the `)` that closes the `(` at `opening`; the text is known to be balanced."""
    depth = 0
    for place in range(opening, len(tokens)):
        if tokens[place].text == "(":
            depth += 1
        elif tokens[place].text == ")":
            depth -= 1
            if not depth:
                return place
    return len(tokens) - 1


def flat(tokens: Sequence[Token], start: int = 0) -> Iterator[tuple[int, Token]]:
    """Index and token of those outside parentheses (an opening one is given, its inside and closing are not)."""
    depth = 0
    for place in range(start, len(tokens)):
        token = tokens[place]
        if token.text == ")":
            depth -= 1
        elif not depth:
            yield place, token
        if token.text == "(":
            depth += 1


def split(tokens: Sequence[Token], sign: str = ",") -> list[list[Token]]:
    """The pieces between signs that stand outside parentheses."""
    pieces: list[list[Token]] = []
    start = 0
    for place, token in flat(tokens):
        if token.text == sign and token.kind == "sign":
            pieces.append(list(tokens[start:place]))
            start = place + 1
    pieces.append(list(tokens[start:]))
    return pieces
