"""The node dictionary and what `!name`, `!!name` and `$NAME` stand for (language.md 3 and 4). Pure."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from math import isfinite
from typing import Any

from attrs import define, field, frozen

from anylog.errors import AnyLogError

_KEY = re.compile(r"[A-Za-z0-9_.\- ]+")
_NAME = re.compile(r"[A-Za-z0-9_\-]+")
_CAST = re.compile(r"(.+)\.(int|float|str|bool|name|len|replies|diff)", re.DOTALL)
_CASTS = re.compile(r"(?:\.(?:int|float|str|bool|name|len|replies|diff)){100}$")
_WHOLE = re.compile(r"[+-]?[0-9]{1,300}")
_NUMBER = re.compile(r"[+-]?([0-9]{1,300}(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_INDEX = re.compile(r"([^\[\]]+?)((?:\[[^\[\]]*\])+)")
_SECRET = re.compile(
    r"passw|passphrase|(?<![a-z])pass(?![a-z])|pwd|secret|private_key|access_key|token|licen[cs]e_key", re.IGNORECASE
)
DEEPEST = 50  # levels of a value
LARGEST = 16 << 20  # characters of a value, in all its levels
MOST = 1 << 19  # entries of a value, in all its levels; a list or an object is as much work as
A_LEVEL = 8  # of them
WITHIN = 2 << 20  # characters that references in JSON may stand for
MOST_WITHIN = 20  # values that are JSON, each within the one before
PIECES = 10_000  # references in one word
HIDDEN = "****"


def shown(value: Any) -> str:
    """A value as text: booleans in lower case, lists and objects as JSON, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return json.dumps(value, default=str)  # of rows: whole numbers that are wider than JSON's readers take
    return str(value)


def _own(value: Any) -> Any:
    """A copy of what has entries: two keys share none, and nothing is inside itself.

    Raises AnyLogError 2 for more levels than can be shown, for what is too large, and for what is no text.
    """
    if isinstance(value, str):
        held((_sound(value),))
    if not isinstance(value, dict | list):
        return value
    level, entries, rows = 0, 0, [value]
    texts: list[str] = []
    while rows:
        level += 1
        if level > DEEPEST:
            raise AnyLogError(2, f"a value of more than {DEEPEST} levels")
        entries += sum(map(len, rows)) + A_LEVEL * len(rows)
        if entries > MOST:
            raise AnyLogError(2, f"a value of more than {MOST:,} entries")
        inner = [one for row in rows for one in (row.values() if isinstance(row, dict) else row)]
        texts += [one for row in rows if isinstance(row, dict) for one in row if isinstance(one, str)]
        texts += [one for one in inner if isinstance(one, str)]
        rows = [one for one in inner if isinstance(one, dict | list)]
    held(map(_sound, texts))
    return copied(value)


def copied(value: Any) -> Any:
    """A copy of JSON values in all their levels."""
    if type(value) is dict:
        return {key: copied(one) if isinstance(one, dict | list) else one for key, one in value.items()}
    if type(value) is list:
        return [copied(one) if isinstance(one, dict | list) else one for one in value]
    return deepcopy(value)


def held(texts: Iterable[str]) -> list[str]:
    """The texts, which become one. Raises AnyLogError 2 if that is longer than a value may be."""
    parts, size = [], 0
    for text in texts:
        size = together(size, text)
        parts.append(text)
    return parts


def together(size: int, text: str) -> int:
    """So many characters and this text. Raises AnyLogError 2 if that is longer than a value may be."""
    if size + len(text) > LARGEST:
        raise AnyLogError(2, f"a text of more than {LARGEST:,} characters")
    return size + len(text)


def _sound(text: str) -> str:
    """The text. Raises AnyLogError 2 for one that cannot be written anywhere."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as why:
            raise AnyLogError(2, f"text that is no Unicode: {text[max(0, why.start - 20) : why.end]!a}") from None
    return text


def is_secret(key: str) -> bool:
    """Whether the value of that key is not shown in listings (monitoring.md 2)."""
    return _SECRET.search(key) is not None


@define
class Dictionary:
    """String keys to values: text, int, float, bool, list or dict. An empty text is no value: the key is undefined."""

    _values: dict[str, Any] = field(factory=dict)

    def set(self, key: str, value: Any) -> None:
        """Assign; None, `""` and `''` delete. Raises AnyLogError 175 for a name that no key may have."""
        if not _KEY.fullmatch(key):
            raise AnyLogError(175, f"'{key}' is not a name for a key: letters, digits, '_', '-', '.' and blanks")
        if value is None or value in ("", "''"):
            self._values.pop(key, None)
        else:
            self._values[key] = _own(value)

    def get(self, key: str) -> Any:
        """The value, or None if there is none."""
        return self._values.get(key)

    def delete(self, key: str) -> None:
        """Make it undefined."""
        self._values.pop(key, None)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def items(self, substring: str = "") -> list[tuple[str, Any]]:
        """Keys (those that hold `substring`, any letter case) and values, in order of the key."""
        return sorted((key, value) for key, value in self._values.items() if substring.lower() in key.lower())

    def assign(self, key: str, parts: Sequence[str], value: Any) -> None:
        """`key[part][part] = value`: only the last level may be missing. An empty text removes the entry.

        Raises AnyLogError 2 naming the level that is missing or is no container.
        """
        if len(parts) > DEEPEST:
            raise AnyLogError(2, f"'{key}': at most {DEEPEST} levels, not {len(parts)}")
        value = _own(value)
        holder = self._values.get(key)
        if holder is None:
            self.set(key, {})
            holder = self._values[key]
        elif isinstance(holder, str):
            holder = read_json(holder) if holder.lstrip()[:1] in ("{", "[") else holder
            self._values[key] = holder
        path = key
        for place, part in enumerate(parts):
            last = place == len(parts) - 1
            if isinstance(holder, dict):
                if last:
                    if value is None or value in ("", "''"):
                        holder.pop(part, None)
                    else:
                        holder[part] = value
                    return
                step: Any = holder.get(part)
            elif isinstance(holder, list) and re.fullmatch(r"-?[0-9]{1,9}", part) and int(part) < len(holder):
                if last:
                    holder[int(part)] = value
                    return
                step = holder[int(part)]
            else:
                raise AnyLogError(2, f"'{path}' has no place for [{part}]: it is neither a dictionary nor a list of it")
            path += f"[{part}]"
            if step is None:
                raise AnyLogError(2, f"'{path}' is not assigned: use '{path} = {{}}' first")
            holder = step


@frozen
class Scope:
    """Where references are looked up: the dictionary and the environment.

    For who asks from elsewhere (`guarded`) the environment and secrets are undefined: `get env var` and `get
    dictionary` are guarded commands, and a reference must not be a way round them (security.md 8).
    """

    dictionary: Dictionary
    environ: Mapping[str, str]
    guarded: bool = False
    item: int | None = None  # inside a `for loop` the number of its item: what `[+]` stands for

    def value(self, key: str) -> Any:
        """The dictionary value, or None."""
        return None if self.guarded and is_secret(key) else self.dictionary.get(key)

    def variable(self, name: str) -> Any:
        """The environment variable, or None; a value that begins with `!` is resolved once more."""
        text = None if self.guarded else self.environ.get(name)
        if text and re.fullmatch(r"![A-Za-z0-9_.\-]+", text):
            return self.value(text[1:])
        return text or None

    def resolve(self, word: str) -> Any:
        """The typed value of a word: itself if it holds no reference, None if a reference in it is undefined."""
        if "!" not in word and "$" not in word:
            return word
        if word.startswith("!!"):
            return word[1:]  # for the receiver
        if len(word) > 1 and word[0] in "!$":
            value, cast = self.plain(word), _CAST.fullmatch(word)
            if value is not None:
                return value
            if cast and (_NAME.match(cast[1], 1) or "[" in cast[1]):
                if word.count(".") > 100 and _CASTS.search(word):
                    raise AnyLogError(2, f"'{word[:80]}' has more than 100 casts")
                return _casted(self.resolve(cast[1]), cast[2])
            indexed = _INDEX.fullmatch(word)
            if indexed and word[0] == "!":
                return self._indexed(indexed[1][1:], re.findall(r"\[([^\[\]]*)\]", indexed[2]))
        return self._concatenated(word)

    def plain(self, word: str) -> Any:
        """The value of `!key` or `$KEY` with nothing after the key, or None."""
        return self.value(word[1:]) if word[0] == "!" else self.variable(word[1:])

    def text(self, word: str) -> str | None:
        """`resolve` as text; None stays None."""
        value = self.resolve(word)
        return None if value is None else shown(value)

    def _indexed(self, name: str, parts: Sequence[str]) -> Any:
        """`!key[a:b]`, `!key[n]`, `!key[name]` and `!key.attr[n]`."""
        value, attribute = self.value(name), ""
        if value is None and "." in name:
            name, attribute = name.rsplit(".", 1)
            value = self.value(name)
        if isinstance(value, str) and value.lstrip()[:1] in ("{", "[") and ":" not in parts[0]:
            try:
                value = read_json(value)
            except AnyLogError:
                return None
        for part in parts:
            part = part.strip()
            if part == "+":
                if self.item is None:
                    raise AnyLogError(2, f"'!{name}[+]' has a meaning inside a 'for loop' alone")
                part = str(self.item)
            if part[:1] in ("!", "$"):
                part = shown(self.resolve(part))
            value = item_of(value, part.strip("\"'"))
        if attribute:
            value = value.get(attribute) if isinstance(value, dict) else None
        return value

    def _concatenated(self, word: str) -> Any:
        """`!dir/sub/!file.al`, `$HOME/x`, `!ip:!port`: references are replaced, the rest is as it is."""
        pieces: list[str] = []
        at, found, literal = 0, False, ""
        while at < len(word):
            name = _NAME.match(word, at + 1) if word[at] in "!$" else None
            if name is None:
                literal += word[at]
                at += 1
                continue
            reference = word[at : name.end()]
            # A key with dots in its name wins over one that ends at the dot.
            dotted = re.compile(r"[A-Za-z0-9_.\-]+").match(word, at + 1)
            if dotted and self.plain(word[at : dotted.end()]) is not None:
                reference = word[at : dotted.end()]
            value = self.plain(reference)
            if value is None and at and word[at - 1] not in "/\\.:,@=-([{":
                literal += word[at]  # a mark inside a word, as in a password: text
                at += 1
                continue
            if value is None:
                return None
            found = True
            pieces += [literal, shown(value)]
            literal = ""
            at += len(reference)
            if len(pieces) > 2 * PIECES:
                raise AnyLogError(2, f"'{word[:80]}' has more than {PIECES:,} references")
        pieces = held((*pieces, literal))
        if not found:
            return word
        if os.sep == "/" and "://" not in word:
            pieces = [piece.replace("\\", "/") if place % 2 == 0 else piece for place, piece in enumerate(pieces)]
        return "".join(pieces)


def item_of(value: Any, part: str) -> Any:
    """What `[part]` of a value is: an entry, an item, or a piece `a:b` of a list or a text; None if there is none."""
    if re.fullmatch(r"-?[0-9]{0,18}:-?[0-9]{0,18}", part) and not re.search(r"-(?![0-9])", part):
        begin, _, end = part.partition(":")
        whole = value if isinstance(value, list) else shown(value)
        return whole[int(begin) if begin else None : int(end) if end else None] or None
    if isinstance(value, dict):
        return value.get(part)
    if isinstance(value, list) and re.fullmatch(r"-?[0-9]{1,9}", part):
        return value[int(part)] if -len(value) <= int(part) < len(value) else None
    return None


def _casted(value: Any, cast: str) -> Any:
    """The value of `.int`, `.len` and so on; None where the table of language.md 4 says empty."""
    if cast == "bool":
        return shown(value).strip().lower() not in ("", "false")
    if cast in ("len", "replies", "diff"):
        targets = getattr(value, "targets", None)  # of language/replies.py: nodes that were asked
        if targets is not None:
            return {"len": targets, "replies": len(value), "diff": targets - len(value)}[cast]
        if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
            try:
                value = read_json(value)
            except AnyLogError:
                value = str(value)
        if cast == "len":
            return 0 if value is None else len(value if isinstance(value, dict | list) else shown(value))
        answers = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
        missing = sum(answer is None for answer in answers)  # nodes that were asked and did not answer
        return missing if cast == "diff" else len(answers) - missing
    if value is None:
        return None
    if cast == "str":
        return shown(value)
    if cast == "name":
        return shown(value).lower().replace(" ", "_")
    text = shown(value).strip()
    if isinstance(value, bool) or not _NUMBER.fullmatch(text) or not isfinite(number := float(text)):
        return int(value) if isinstance(value, bool) else None
    if cast == "float":
        return number
    return int(text) if _WHOLE.fullmatch(text) else int(value) if isinstance(value, float) else None


# ---------------------------------------------------------------------- JSON

_PIECE = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<space>\s+)|(?P<mark>[{}\[\],:])|(?P<word>[^\s{}\[\],:"']+)""",
    re.DOTALL,
)
_REFERENCE = re.compile(r"[!$][^\s{}\[\],\"']+")
_WORDS = {"true": "true", "false": "false", "null": "null", "none": "null"}


def resolve_json(text: str, scope: Scope) -> str:
    """JSON text with the references in it replaced by their values, as strict JSON (language.md 4.1).

    Only references outside quotes count. Raises AnyLogError 6 for one that is undefined or holds itself, and 2 for a
    document that becomes too large.
    """
    return json.dumps(_read(text, _Known(scope)))


def read_json(text: str) -> Any:
    """The values of a JSON text that may use single quotes, Python's words and trailing commas; AnyLogError 6."""
    return _read(text, None)


@frozen
class _Known:
    """The references of one document, each resolved once: keys may name each other many times over."""

    scope: Scope
    _texts: dict[str, str | None] = field(factory=dict)  # None while it is worked at

    def json_of(self, key: str, text: str) -> str:
        """The value of a reference, which stands in `text`, as strict JSON. Raises AnyLogError 6 and 2."""
        if key not in self._texts:
            if len(self._texts) > MOST_WITHIN and list(self._texts.values()).count(None) > MOST_WITHIN:
                raise AnyLogError(6, f"'{key}' is JSON within more than {MOST_WITHIN} others: {text[:80]}")
            self._texts[key] = None
            value = self.scope.resolve(key)
            if value is None:
                raise AnyLogError(6, f"'{key}' is not defined: {text[:80]}")
            is_json = isinstance(value, str) and value.lstrip()[:1] in ("{", "[")
            self._texts[key] = json.dumps(_read(value, self) if is_json else value)
        told = self._texts[key]
        if told is None:
            raise AnyLogError(6, f"'{key}' holds itself: {text[:80]}")
        return told


def _read(text: str, known: _Known | None) -> Any:
    if known is None or not ("!" in text or "$" in text):
        try:
            return json.loads(text)
        except RecursionError:
            raise AnyLogError(6, f"nested too deep: {text[:40]}") from None
        except ValueError:
            pass
    parts: list[str] = []
    at = size = 0
    while at < len(text):
        reference = _REFERENCE.match(text, at) if known else None
        if reference and known and (not at or text[at - 1] in " \t\r\n:[{,"):
            word = reference[0]
            key = word.rstrip(":")
            told = known.json_of(key, text)
            size += len(told)
            if size > WITHIN:
                raise AnyLogError(2, f"its references stand for more than {WITHIN:,} characters: {text[:80]}")
            parts.append(told)
            at += len(key)
            continue
        piece = _PIECE.match(text, at)
        if piece is None:
            raise AnyLogError(6, f"not JSON from here on: {text[at : at + 60]}")
        at = piece.end()
        if piece["string"]:
            string = piece["string"]
            if string[0] == "'":
                string = '"' + string[1:-1].replace("\\'", "'").replace('"', '\\"') + '"'
            parts.append(string)
        elif piece["mark"]:
            if piece["mark"] in "]}" and parts and parts[-1] == ",":
                parts.pop()
            parts.append(piece["mark"])
        elif piece["word"]:
            parts.append(_WORDS.get(piece["word"].lower(), piece["word"]))
    try:
        return json.loads("".join(parts), strict=False)
    except (ValueError, RecursionError) as why:
        raise AnyLogError(6, f"{why}: {text[:80]}") from None
