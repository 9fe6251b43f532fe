"""From text to logical lines, statements and tokens (language.md 2). Pure; a wrong structure is AnyLogError 2."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum

from attrs import frozen

from anylog.errors import AnyLogError

_PAIRS = frozenset(("==", "!=", "<=", ">=", "->"))
_SINGLES = frozenset("<>=+")
_OPERATING = _SINGLES | frozenset("!-")  # what an operator begins with
_PLAIN = re.compile(r"""[^ \t\r\n"'\\=!<>\-+\[{(`]+""")  # of a word: nothing here has a meaning of its own
_SIMPLE = re.compile(r"""!?[^ \t\r\n"'\\=!<>\-+\[{(`#]+(?=[ \t\r\n]|$)""")  # a whole word of such characters
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_BLANK = " \t\r\n"
_DEEPEST = 100  # brackets in brackets
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_SIGN = re.compile(r"""["'`#()\[\]{}&]""")  # quotes, brackets, and what parts
_ONE_LINE = re.compile(r"""[^\n\r<#\[\]{}&":\ufeff]*""")  # nothing that joins, parts or ends lines
LONGEST = 1 << 20  # characters of one statement (security.md 9)
MOST = 20_000  # tokens of one statement
LOOKED = 4 << 20  # characters that are looked through for brackets that are never closed


class Kind(Enum):
    """What a token is; it decides whether references in it are replaced."""

    WORD = "word"
    DOUBLE = "text in double quotes, the quotes removed"
    SINGLE = "text in single quotes or backticks, the quotes kept"
    ESCAPED = 'text in \\"...\\", its double quotes kept'
    GROUP = "( ... ), the parentheses included"
    JSON = "{ ... } or a token that begins with [ ... ]"
    OPERATOR = "one of == != <= >= -> < > = +"


@frozen
class Token:
    """One token and where it stands in its text."""

    kind: Kind
    text: str
    start: int
    end: int

    def is_word(self, *words: str) -> bool:
        """Whether it is one of these words (lower case), in any letter case."""
        return self.kind is Kind.WORD and self.text.lower() in words

    def is_operator(self, text: str) -> bool:
        """Whether it is this operator."""
        return self.kind is Kind.OPERATOR and self.text == text


@frozen
class Line:
    """One logical line of a script and the number of the physical line where it begins."""

    number: int
    text: str


def logical_lines(text: str, *, typed: bool = False) -> list[Line]:
    """The statements of a script: blocks and JSON joined, comments dropped, `a & b` split (language.md 2.1).

    Labels (`:name:`) keep their place at the first column. In what was typed or sent (`typed`) double quotes may span
    lines; in a script a missing one is an error of its own line. Raises AnyLogError 2 naming the line where a block
    or a bracket opens that is never closed.
    """
    if _ONE_LINE.fullmatch(text):
        return [Line(1, text.rstrip())] if text.strip() else []
    lines: list[Line] = []
    physical = text.removeprefix("\ufeff").replace("\r", "").split("\n")
    place = 0
    while place < len(physical):
        number, line = place + 1, without_comment(physical[place]).rstrip()
        place += 1
        if not line.strip():
            continue
        if line.lstrip().startswith("<"):
            parts = [line.lstrip()[1:]]
            while not parts[-1].endswith(">"):
                if place == len(physical):
                    raise AnyLogError(2, f"line {number}: missing closing > of the block that begins here")
                parts.append(without_comment(physical[place]).rstrip())
                place += 1
            parts[-1] = parts[-1][:-1].rstrip()
            line = " ".join(part for part in parts if part.strip()).strip()
        elif not line.startswith(":"):
            depth, quotes, parts = _open_brackets(line), line.count('"') if typed else 0, [line]
            while depth > 0 or (quotes % 2 and place < len(physical)):
                if place == len(physical):
                    raise AnyLogError(2, f"line {number}: a bracket that opens here is never closed")
                following = without_comment(physical[place]).strip()
                place += 1
                if following:
                    parts.append(following)
                    depth += _open_brackets(following)
                    quotes += following.count('"') if typed else 0
            line = " ".join(parts)
        lines.extend(Line(number, statement) for statement in _statements(line))
    return lines


def tokens_of(text: str, most: int = LONGEST) -> list[Token]:
    """The tokens of one statement (language.md 2.2), no more than `most` of them."""
    if len(text) > LONGEST:
        raise AnyLogError(2, f"a statement of {len(text):,} characters, at most {LONGEST:,}")
    if odd := _CONTROL.search(text):
        raise AnyLogError(2, f"control character {ord(odd[0]):#04x} after '{text[: odd.start()][-40:]}'")
    tokens: list[Token] = []
    at = looked = 0
    while at < len(text) and len(tokens) < most:
        char = text[at]
        if char in _BLANK:
            at += 1
            continue
        if len(tokens) >= MOST:
            raise AnyLogError(2, f"a statement of more than {MOST:,} words: {text[:60]}")
        simple = _SIMPLE.match(text, at)
        if simple is not None:
            end = simple.end()
            tokens.append(Token(Kind.WORD, simple[0], at, end))
            at = end
            continue
        if char == "#" and (at == 0 or text[at - 1] in _BLANK):
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
            continue
        token = _token(text, at)
        if token.kind is Kind.WORD and _lone(token.text):
            looked += len(text) - at
            if looked > LOOKED:
                raise AnyLogError(2, f"too many brackets that are never closed, as in '{token.text[:60]}'")
        tokens.append(token)
        at = token.end
    return tokens


def joined(tokens: Sequence[Token], texts: Sequence[str] | None = None) -> str:
    """The tokens as one text: what stood apart is parted by one blank, what was glued together still is."""
    texts = [token.text for token in tokens] if texts is None else texts
    whole = ""
    for place, (token, text) in enumerate(zip(tokens, texts, strict=True)):
        apart = place and tokens[place - 1].end != token.start
        whole += f" {text}" if apart else text
    return whole


def _token(text: str, at: int) -> Token:
    char = text[at]
    if char == '"':
        end = text.find('"', at + 1)
        if end < 0:
            raise AnyLogError(2, f"missing double quotation: {text[at : at + 60]}")
        return Token(Kind.DOUBLE, text[at + 1 : end], at, end + 1)
    if text.startswith('\\"', at):
        end = text.find('\\"', at + 2)
        if end > 0:
            return Token(Kind.ESCAPED, f'"{text[at + 2 : end]}"', at, end + 2)
    if char in "'`":
        end = text.find(char, at + 1)
        if end > 0:
            return Token(Kind.SINGLE, text[at : end + 1], at, end + 1)
    operator = _operator(text, at)
    if operator:
        return Token(Kind.OPERATOR, operator, at, at + len(operator))
    if char == "(":
        end = _required_end(text, at)
        return Token(Kind.GROUP, text[at:end], at, end)
    if char == "{":
        end = _required_end(text, at)
        return Token(Kind.JSON, text[at:end], at, end)
    if char == "[":
        _required_end(text, at)
    end = _word_end(text, at)
    return Token(Kind.JSON if char == "[" else Kind.WORD, text[at:end], at, end)


def _operator(text: str, at: int) -> str:
    if text[at] not in _OPERATING:
        return ""
    pair = text[at : at + 2]
    if pair in _PAIRS:
        return pair
    return text[at] if text[at] in _SINGLES else ""


def _word_end(text: str, at: int) -> int:
    """Where the word that begins at `at` ends; bracket groups glued to it belong to it."""
    start, grouping = at, True
    while at < len(text):
        plain = _PLAIN.match(text, at)
        if plain is not None:
            at = plain.end()
            if at == len(text):
                break
        char = text[at]
        if char in _BLANK or char == '"' or (at > start and text.startswith('\\"', at)) or _operator(text, at):
            break
        if char in "[{" and grouping:
            end = _group_end(text, at)
            grouping = end > 0  # looking again from every further bracket would take the square of the time
            at = end or at + 1
        elif char == "'" and at > start and text[at - 1] in ",:(":
            end = text.find("'", at + 1)  # a list such as 'a b','c d' is one word
            at = end + 1 if end > 0 else at + 1
        else:
            at += 1
    return at


def _group_end(text: str, at: int) -> int:
    """Just after the bracket that closes the one at `at`, or 0 if none does."""
    expected = [_CLOSING[text[at]]]
    place = at + 1
    while found := _SIGN.search(text, place):
        char, place = found[0], found.start()
        if char == expected[-1]:
            expected.pop()
            if not expected:
                return place + 1
        elif char in _CLOSING:
            expected.append(_CLOSING[char])
            if len(expected) > _DEEPEST:
                raise AnyLogError(2, f"brackets are nested more than {_DEEPEST} deep: {text[at : at + 40]}")
        elif char in "\"'" and (char == '"' or text[place - 1] in " \t,:=([{"):
            end = text.find(char, place + 1)
            place = end if end > 0 else place
        place += 1
    return 0


def _lone(word: str) -> bool:
    """Whether a bracket in a word is not closed in it: everything behind it was looked through."""
    return word.count("[") > word.count("]") or word.count("{") > word.count("}")


def _required_end(text: str, at: int) -> int:
    end = _group_end(text, at)
    if not end:
        raise AnyLogError(2, f"missing '{_CLOSING[text[at]]}': {text[at : at + 60]}")
    return end


def _quote_end(text: str, at: int) -> int:
    """The closing quote for the one at `at`, or -1: a lone apostrophe, or one inside a word, opens nothing."""
    if text[at] != '"' and at and text[at - 1] not in " \t,:=([{<":
        return -1
    return text.find(text[at], at + 1)


def without_comment(line: str) -> str:
    """A physical line up to a `#` that begins a token."""
    if "#" not in line:
        return line
    at = 0
    while found := _SIGN.search(line, at):
        at = found.start()
        if line[at] in "\"'`":
            end = _quote_end(line, at)
            at = end if end > 0 else at
        elif line[at] == "#" and (at == 0 or line[at - 1] in " \t<"):
            return line[:at]
        at += 1
    return line


def _open_brackets(line: str) -> int:
    """How many `{` and `[` outside quotes are not closed."""
    if "{" not in line and "[" not in line and "}" not in line and "]" not in line:
        return 0
    depth = at = 0
    while found := _SIGN.search(line, at):
        at = found.start()
        if line[at] in "\"'`":
            end = _quote_end(line, at)
            at = end if end > 0 else at
        elif line[at] in "{[":
            depth += 1
        elif line[at] in "}]":
            depth -= 1
        at += 1
    return depth


def _statements(line: str) -> list[str]:
    """`a & b` as `a` and `b`: an ampersand that stands alone, outside quotes and brackets."""
    if "&" not in line:
        return [line.rstrip()] if line.strip() else []
    parts: list[str] = []
    start = at = depth = 0
    while found := _SIGN.search(line, at):
        char, at = found[0], found.start()
        if char in "\"'`":
            end = _quote_end(line, at)
            at = end if end > 0 else at
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        elif char == "&" and depth <= 0 and line[at - 1 : at].strip() == "" and line[at + 1 : at + 2].strip() == "":
            parts.append(line[start:at])
            start = at + 1
        at += 1
    parts.append(line[start:])
    return [part.rstrip() if place == 0 else part.strip() for place, part in enumerate(parts) if part.strip()]
