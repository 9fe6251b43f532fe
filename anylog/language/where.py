"""Options: `k = v and k = v` after `where` (language.md 6). Pure; raises AnyLogError 2 naming the culprit."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from attrs import frozen

from anylog.errors import AnyLogError
from anylog.language.command import Option
from anylog.language.dictionary import Scope, held, shown, together
from anylog.language.tokens import Kind, Token, joined, tokens_of

_QUOTED_IF = set(" \t\r\n=<>+\"'()&#")
_MARKS = re.compile(r"""["']|(?<=[\s:\[{,])[!$][^\s{}\[\],"']+""")  # in JSON: where a text begins, and references
_TEXTS = {
    '"': re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL),
    "'": re.compile(r"'[^'\\]*+(?:\\.[^'\\]*+)*+'", re.DOTALL),
}


@frozen
class Pair:
    """One `key = value` as written."""

    key: str
    value: tuple[Token, ...]


def split_pairs(tokens: Sequence[Token]) -> list[Pair]:
    """The pairs of an options text. A trailing `and` is accepted; `key !ref` may be written without `=`."""
    pairs: list[Pair] = []
    part: list[Token] = []
    for token in tokens:
        if not token.is_word("and"):
            part.append(token)
            continue
        if not part:
            raise AnyLogError(2, "a 'key = value' is missing before 'and'")
        pairs.append(_pair(part))
        part = []
    if part:
        pairs.append(_pair(part))
    return pairs


def read_where(tokens: Sequence[Token], options: Mapping[str, Option], scope: Scope) -> list[tuple[str, str]]:
    """Keys and value texts in order, references replaced, for `Command.read`.

    `k = (v1, v2)` for an option that may repeat is the same as `k = v1 and k = v2`; elsewhere, and where it holds
    pairs of its own, it is kept as text. Raises AnyLogError 2 for an undefined reference: the command is not run.
    """
    spelled = {spelling: option for name, option in options.items() for spelling in (name, *option.also)}
    texts: list[tuple[str, str]] = []
    for pair in split_pairs(tokens):
        option = spelled.get(pair.key.lower())
        one = pair.value[0] if len(pair.value) == 1 else None
        if one is not None and one.kind is Kind.GROUP and option is not None and option.many:
            items = list_items(one)
            if items is not None:
                texts += [(pair.key, joined(item) if option.late else value_text(item, scope)) for item in items]
                continue
        late = option is not None and option.late
        texts.append((pair.key, joined(pair.value) if late else value_text(pair.value, scope)))
    return texts


def list_items(group: Token) -> list[tuple[Token, ...]] | None:
    """The values of `( v, v )`, or None if the group holds pairs (`( k = v and ... )`)."""
    inner = tokens_of(_parted(group.text[1:-1]))
    if any(token.is_operator("=") for token in inner):
        return None
    items: list[list[Token]] = [[]]
    for token in inner:
        if token.kind is Kind.WORD and token.text == ",":
            items.append([])
        else:
            items[-1].append(token)
    return [tuple(item) for item in items if item]


def value_text(value: Sequence[Token], scope: Scope) -> str:
    """The tokens of a value as one text, references replaced. Raises AnyLogError 2 for an undefined one."""
    return joined(value, held(required_text(token, scope) for token in value))


def required_text(token: Token, scope: Scope) -> str:
    """One token as text; raises AnyLogError 2 if a reference in it is undefined."""
    if token.kind is Kind.GROUP:
        return replaced(token.text, scope)
    if token.kind is Kind.ESCAPED:
        return f'"{_word(token.text[1:-1], scope)}"'
    return _word(token.text, scope) if token.kind is Kind.WORD else token.text


def replaced(text: str, scope: Scope, *, documents: bool = False) -> str:
    """A text that is read again later (options in parentheses, SQL), with its references replaced.

    What stands in quotes is left alone. A value that would be more than one token is put in double quotes. References
    inside JSON are left to who reads it, unless `documents`: it is read on another node.
    """
    whole, at, size = "", 0, 0
    for token in _all_tokens(text):
        if token.kind is Kind.WORD and ("!" in token.text or "$" in token.text):
            value = _word(token.text.rstrip(",;"), scope) + token.text[len(token.text.rstrip(",;")) :]
            if value != token.text and _QUOTED_IF & set(value) and '"' not in value:
                value = f'"{value}"'
            size = together(size, value)
            whole += text[at : token.start] + value
            at = token.end
        elif documents and token.kind is Kind.JSON:
            value = _in_json(token.text, scope)
            size = together(size, value)
            whole += text[at : token.start] + value
            at = token.end
    return whole + text[at:]


def _in_json(text: str, scope: Scope) -> str:
    """JSON with its references replaced; what stands in quotes is as it is, and a quote that is not closed is a sign.

    Where one is not closed all that come after it are escaped, so none of its kind is: it is looked for once.
    """
    parts: list[str] = []
    at, size, closed = 0, 0, {'"', "'"}
    while mark := _MARKS.search(text, at):
        sign, end = mark[0], mark.end()
        parts.append(text[at : mark.start()])
        if sign in closed:
            found = _TEXTS[sign].match(text, mark.start())
            if found is None:
                closed.discard(sign)
            else:
                sign, end = found[0], found.end()
        parts.append(_reference(sign, scope) if sign[0] in "!$" else sign)
        size, at = together(size, parts[-1]), end
    return "".join(parts) + text[at:]


def _reference(text: str, scope: Scope) -> str:
    """A reference inside JSON as the JSON of its value; `!!key` is the receiver's."""
    key = text.rstrip(":")
    colon = text[len(key) :]
    if key.startswith("!!"):
        return text[1:]
    value = scope.resolve(key)
    if value is None:
        raise AnyLogError(6, f"'{key}' is not defined")
    is_json = isinstance(value, str) and value.lstrip()[:1] in ("{", "[")
    return f"{value if is_json else json.dumps(value)}{colon}"


def _all_tokens(text: str) -> list[Token]:
    """Tokens of a text, those inside parentheses too, in order of their place."""
    found: list[Token] = []
    for token in tokens_of(text) if not text.startswith("(") else _inside(text, 0):
        if token.kind is Kind.GROUP:
            found += _inside(token.text, token.start)
        else:
            found.append(token)
    return found


def _inside(group: str, start: int) -> list[Token]:
    if not group.endswith(")"):
        return []
    return [
        Token(token.kind, token.text, token.start + start + 1, token.end + start + 1)
        for token in _all_tokens(group[1:-1])
    ]


def _word(word: str, scope: Scope) -> str:
    value = scope.resolve(word)
    if value is None:
        raise AnyLogError(2, f"Missing dictionary definition for '{word}'")
    return shown(value)


def _pair(part: Sequence[Token]) -> Pair:
    equal = next((place for place, token in enumerate(part) if token.is_operator("=")), -1)
    if equal < 0:
        if len(part) == 2 and part[1].kind is Kind.WORD and part[1].text[0] == "!":
            return Pair(part[0].text, (part[1],))
        raise AnyLogError(2, f"'{joined(part)}' is not a 'key = value'; quote a value that holds 'and'")
    if equal == 0:
        raise AnyLogError(2, f"a key is missing before '{joined(part)}'")
    key, value = joined(part[:equal]), tuple(part[equal + 1 :])
    if not value:
        raise AnyLogError(2, f"Missing value for key '{key}'")
    return Pair(key, value)


def _parted(text: str) -> str:
    """Commas outside quotes and brackets as words of their own."""
    whole, depth, quote = "", 0, ""
    for char in text:
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        elif char == "," and depth == 0:
            whole += " , "
            continue
        whole += char
    return whole
