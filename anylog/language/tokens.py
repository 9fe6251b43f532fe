"""From text to logical lines, commands and tokens (language.md 2). Pure."""

from __future__ import annotations

import re

from attrs import frozen

from anylog.errors import AnyLogError

LONGEST = 1 << 20  # characters of one command (security.md 9)

_OPERATOR = re.compile(r"==|!=|<=|>=|->|[<>=+]")
_CLOSING = {"(": ")", "{": "}", "[": "]"}
_QUOTES = "\"'`"


@frozen
class Token:
    """One word of a command. `quoted`: it stood in double quotes, which are removed, and is taken as it is."""

    text: str
    start: int  # offset in the command, of the quote if there is one
    end: int
    quoted: bool = False

    def is_word(self, *words: str) -> bool:
        """Whether it is one of these words, unquoted, in any letter case."""
        return not self.quoted and self.text.lower() in words


@frozen
class Line:
    """One logical line of a script: the number of its first physical line, from 1, and its text."""

    number: int
    text: str


def logical_lines(text: str) -> list[Line]:
    """Physical lines joined where a block `< >` or an open bracket asks for it; comments and blank lines left out.

    Raises AnyLogError 2 naming the line where a block without its `>` begins.
    """
    found: list[Line] = []
    physical = [line.rstrip("\r") for line in text.lstrip("\ufeff").split("\n")]
    place = 0
    while place < len(physical):
        first = place
        line = without_comment(physical[place]).rstrip()
        place += 1
        if not line.strip():
            continue
        if line.lstrip().startswith("<"):
            parts = [line.strip()]
            while not parts[-1].endswith(">"):
                if place >= len(physical):
                    raise AnyLogError(2, f"line {first + 1}: missing closing > of the block that begins here")
                parts.append(without_comment(physical[place]).strip())
                place += 1
                if not parts[-1]:
                    parts.pop()
            line = " ".join(parts)[1:-1].strip()
        elif not line.startswith(":"):
            while _open_brackets(line) > 0 and place < len(physical):
                line += " " + without_comment(physical[place]).strip()
                place += 1
        found.append(Line(first + 1, line))
    return found


def without_comment(line: str) -> str:
    """The line up to a `#` that begins a token outside quotes."""
    quote, before = "", " "
    for place, char in enumerate(line):
        if quote:
            quote = "" if char == quote else quote
        elif char == '"' or (char in _QUOTES and before in " \t=(,"):
            quote = char
        elif char == "#" and before in " \t":
            return line[:place]
        before = char
    return line


def commands_of(line: str) -> list[str]:
    """The commands of a line that are joined by `&` outside quotes and brackets."""
    if "&" not in line:
        return [line]
    found, depth, quote, start = [], 0, "", 0
    for place, char in enumerate(line):
        if quote:
            quote = "" if char == quote else quote
        elif char in _QUOTES:
            quote = char
        elif char in "({[":
            depth += 1
        elif char in ")}]":
            depth -= 1
        elif char == "&" and depth <= 0:
            found.append(line[start:place])
            start = place + 1
    found.append(line[start:])
    return [command.strip() for command in found if command.strip()]


def unwrapped(text: str) -> str:
    """A command without the `< >` of a block, its lines joined by blanks."""
    stripped = text.strip()
    if stripped.startswith("<") and stripped.endswith(">") and len(stripped) > 1:
        lines = [without_comment(line.rstrip("\r")).strip() for line in stripped[1:-1].split("\n")]
        return " ".join(line for line in lines if line)
    return stripped


def tokenise(text: str) -> list[Token]:
    """The tokens of one command (language.md 2.2). Raises AnyLogError 2 for a missing quote or bracket."""
    if len(text) > LONGEST:
        raise AnyLogError(2, f"a command of {len(text):,} characters, at most {LONGEST:,}")
    tokens: list[Token] = []
    place, size = 0, len(text)
    while place < size:
        char = text[place]
        if char in " \t\r\n":
            place += 1
        elif char == '"':
            end = text.find('"', place + 1)
            if end < 0:
                raise AnyLogError(2, f"missing double quotation: {text[place : place + 40]}")
            tokens.append(Token(text[place + 1 : end], place, end + 1, quoted=True))
            place = end + 1
        elif text.startswith('\\"', place):
            end = text.find('\\"', place + 2)
            if end < 0:
                raise AnyLogError(2, f"missing double quotation: {text[place : place + 40]}")
            tokens.append(Token('"' + text[place + 2 : end] + '"', place, end + 2, quoted=True))
            place = end + 2
        elif char in "'`":
            end = text.find(char, place + 1)
            end = size if end < 0 else end + 1
            # An apostrophe inside a word (it's) is no quotation: one that never ends is a word.
            end = end if text[end - 1] == char and end > place + 1 else _word_end(text, place)
            tokens.append(Token(text[place:end], place, end))
            place = end
        elif char in "({[":
            end = _bracket_end(text, place)
            while char == "[" and end < size and (text[end] == "[" or text.startswith(":[", end)):
                end = _bracket_end(text, end + (text[end] == ":"))
            tokens.append(Token(text[place:end], place, end))
            place = end
        elif found := _OPERATOR.match(text, place):
            tokens.append(Token(found[0], place, found.end()))
            place = found.end()
        else:
            end = _word_end(text, place)
            tokens.append(Token(text[place:end], place, end))
            place = end
    return tokens


def _word_end(text: str, place: int) -> int:
    """Where the word that begins at `place` ends; brackets glued to it belong to it."""
    start = place
    while place < len(text):
        char = text[place]
        if char in " \t\r\n":
            break
        if char in "([{":
            place = _bracket_end(text, place)
            continue
        # `!key` keeps its mark; `a!=b` is three tokens; `->` and `=` end a word, `-` and `/` do not.
        found = _OPERATOR.match(text, place)
        if found and place > start:
            break
        if char == '"' and place > start:
            break
        place += 1
    return place


def _bracket_end(text: str, place: int) -> int:
    """Behind the bracket that closes the one at `place`. Raises AnyLogError 2 if none does."""
    stack, quote = [], ""
    for at in range(place, len(text)):
        char = text[at]
        if quote:
            quote = "" if char == quote else quote
        elif char == '"' or (char in "'`" and text[at - 1] in " \t=(,[{:"):
            quote = char
        elif char in _CLOSING:
            stack.append(_CLOSING[char])
        elif stack and char == stack[-1]:
            stack.pop()
            if not stack:
                return at + 1
    raise AnyLogError(2, f"missing {stack[-1] if stack else _CLOSING[text[place]]} in: {text[place : place + 40]}")


def _open_brackets(line: str) -> int:
    """How many `{` and `[` of a script line wait for their end."""
    depth, quote = 0, ""
    for place, char in enumerate(line):
        if quote:
            quote = "" if char == quote else quote
        elif char == '"' or (char in "'`" and line[place - 1 : place] in (" ", "=", "(", ",", "[", "{", ":")):
            quote = char
        elif char in "{[":
            depth += 1
        elif char in "}]":
            depth -= 1
    return depth
