"""Options: `where k = v and k = v` (language.md 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from anylog.errors import AnyLogError
from anylog.language.dictionary import Dictionary, shown
from anylog.language.tokens import Token


def pairs_of(
    tokens: Sequence[Token], text: str, dictionary: Dictionary, environ: Mapping[str, str], nested: Sequence[str] = ()
) -> list[tuple[str, str]]:
    """Key and text of each option, in order. `text` is the command the tokens are of; `nested` keys keep `( )`.

    Raises AnyLogError 2 naming the culprit: a missing `=`, key or value, or an undefined `!key`.
    """
    pairs: list[tuple[str, str]] = []
    for group in _groups(tokens):
        equal = next((place for place, token in enumerate(group) if token.is_word("=")), -1)
        written = text[group[0].start : group[-1].end]
        if equal < 0:
            raise AnyLogError(2, f"missing '=' in '{written}'")
        if equal == 0:
            raise AnyLogError(2, f"missing key in '{written}'")
        key = " ".join(token.text for token in group[:equal])
        values = group[equal + 1 :]
        if not values:
            raise AnyLogError(2, f"Missing value for key '{key}'")
        single = values[0] if len(values) == 1 else None
        if single is not None and not single.quoted and single.text.startswith("(") and key.lower() not in nested:
            for item in single.text[1:-1].split(","):
                pairs.append((key, shown(_value(item.strip(), key, dictionary, environ))))
            continue
        words = []
        for token in values:
            if token.quoted or (single is not None and token.text[:1] in "{[("):
                words.append(token.text)
            else:
                words.append(shown(_value(token.text, key, dictionary, environ)))
        pairs.append((key, " ".join(words)))
    return pairs


def _value(word: str, key: str, dictionary: Dictionary, environ: Mapping[str, str]) -> object:
    if len(word) > 1 and word[0] == word[-1] == "'":
        return word[1:-1]
    value = dictionary.resolve(word, environ)
    if value is None:
        raise AnyLogError(2, f"Missing dictionary definition for '{word}' (the value of '{key}')")
    return value


def _groups(tokens: Sequence[Token]) -> list[list[Token]]:
    """Tokens between the `and`s; one at the end is accepted."""
    groups: list[list[Token]] = [[]]
    for token in tokens:
        if token.is_word("and"):
            groups.append([])
        else:
            groups[-1].append(token)
    if not groups[-1] and len(groups) > 1:
        groups.pop()
    if any(not group for group in groups):
        raise AnyLogError(2, "missing 'key = value' after 'where' or 'and'")
    return groups
