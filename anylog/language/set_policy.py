"""`set policy p [a] = {} and [a][b] = v and [a][l] + v`: JSON that grows, piece by piece (language.md 10.1). Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from attrs import frozen

from anylog.errors import AnyLogError
from anylog.language.assignment import concatenated, is_concatenation, part_of
from anylog.language.dictionary import DEEPEST, Scope, held, read_json, resolve_json, shown
from anylog.language.tokens import Kind, Token, joined, tokens_of
from anylog.language.where import required_text

_STEP = re.compile(r"\[([^\[\]]*)\]")
_STEPS = re.compile(r"(?:\[[^\[\]]+\])+")


@frozen
class Change:
    """One of the pieces: where, whether it is appended to a list, and what."""

    path: Sequence[str]
    append: bool
    value: Any


def read_changes(text: str, scope: Scope) -> tuple[str, list[Change]]:
    """The key and the changes, references in them replaced by their values of now. Raises AnyLogError 2."""
    tokens = tokens_of(text)
    if not tokens or tokens[0].kind is not Kind.WORD:
        raise AnyLogError(2, "set policy: the name of a key is missing")
    key, bracket, rest = tokens[0].text.removeprefix("!").partition("[")
    tokens = tokens[1:]
    if bracket:  # `p[a] = v`
        tokens.insert(0, Token(Kind.JSON, bracket + rest, 0, 0))
    parts: list[list[Token]] = [[]]
    for token in tokens:
        if token.is_word("and"):
            parts.append([])
        else:
            parts[-1].append(token)
    if not parts[0]:
        raise AnyLogError(2, f"set policy {key}: a path such as [attribute] is missing")
    if len(parts) > 1 and not parts[-1]:
        parts.pop()
    return key, [_change(key, part, scope) for part in parts]


def changed(value: Any, key: str, changes: Sequence[Change]) -> Any:
    """`value`, which is changed, with the changes made. Raises AnyLogError 2 naming the level that is in the way."""
    for change in changes:
        if len(change.path) > DEEPEST:
            raise AnyLogError(2, f"set policy {key}: at most {DEEPEST} levels, not {len(change.path)}")
        holder, path = value, key
        for step in change.path[:-1]:
            holder, path = _inside(holder, step, path), f"{path}[{step}]"
            if holder is None:
                raise AnyLogError(2, f"set policy: '{path}' is not there: set it to {{}} or [] first")
        if change.append:
            _append(holder, change, path)
        else:
            _put(holder, change, path)
    return value


def _put(holder: Any, change: Change, path: str) -> None:
    step = change.path[-1]
    if isinstance(holder, dict):
        holder[step] = change.value
    elif isinstance(holder, list) and _place(step, holder) is not None:
        holder[int(step)] = change.value
    else:
        raise _no_place(path, step, holder)


def _append(holder: Any, change: Change, path: str) -> None:
    step = change.path[-1]
    target = _inside(holder, step, path)
    if target is None and isinstance(holder, dict):
        raise AnyLogError(2, f"set policy: '{path}[{step}]' is not there: set it to [] first")
    if not isinstance(target, list):
        raise AnyLogError(2, f"set policy: '{path}[{step}]' is no list, nothing can be appended to it with '+'")
    target.append(change.value)


def _inside(holder: Any, step: str, path: str) -> Any:
    if isinstance(holder, dict):
        return holder.get(step)
    place = _place(step, holder) if isinstance(holder, list) else None
    if place is None:
        raise _no_place(path, step, holder)
    return holder[place]


def _place(step: str, holder: list[Any]) -> int | None:
    return int(step) if re.fullmatch(r"-?[0-9]{1,9}", step) and -len(holder) <= int(step) < len(holder) else None


def _no_place(path: str, step: str, holder: Any) -> AnyLogError:
    return AnyLogError(2, f"set policy: '{path}' has no place for [{step}]: it is {shown(holder)[:60] or 'empty'}")


def _change(key: str, part: Sequence[Token], scope: Scope) -> Change:
    written = joined(part)[:120]
    if not part:
        raise AnyLogError(2, f"set policy {key}: '[attribute] = value' is missing beside 'and'")
    if part[0].kind is not Kind.JSON or not _STEPS.fullmatch(part[0].text):
        raise AnyLogError(2, f"set policy {key}: '{written}' does not begin with a path such as [attribute]")
    if len(part) < 2 or not (part[1].is_operator("=") or part[1].is_operator("+")):
        raise AnyLogError(2, f"set policy {key}: '= value' is missing after '{written}'")
    if len(part) == 2:
        raise AnyLogError(2, f"set policy {key}: a value is missing after '{written}'")
    for place, token in enumerate(part[2:-1], 2):
        following = part[place + 1]
        apart = token.kind is Kind.JSON and _STEPS.fullmatch(token.text) and place > 2
        if apart and (following.is_operator("=") or following.is_operator("+")):
            raise AnyLogError(2, f"set policy {key}: 'and' is missing before '{joined(part[place:])[:60]}'")
    path = [part_of(step, scope) for step in _STEP.findall(part[0].text)]
    return Change(path, part[1].is_operator("+"), _value(key, part[2:], scope))


def _value(key: str, tokens: Sequence[Token], scope: Scope) -> Any:
    if is_concatenation(tokens):
        return concatenated(tokens, scope)
    if len(tokens) > 1:
        return joined(tokens, held(required_text(token, scope) for token in tokens))
    token = tokens[0]
    if token.kind is Kind.SINGLE:
        return token.text[1:-1]
    if token.kind is Kind.JSON:
        return _json(key, token.text, scope)
    if token.kind is not Kind.WORD:
        return token.text
    value = scope.resolve(token.text)
    if value is None:
        raise AnyLogError(2, f"Missing dictionary definition for '{token.text}'")
    if isinstance(value, str) and value is not token.text and value.lstrip()[:1] in ("{", "["):
        return _json(key, value, scope)
    return value


def _json(key: str, text: str, scope: Scope) -> Any:
    try:
        return read_json(resolve_json(text, scope))
    except AnyLogError as why:
        raise AnyLogError(2, f"set policy {key}: a value is no JSON: {why}") from None
