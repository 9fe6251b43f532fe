"""The node dictionary, and what `!key` and `$NAME` stand for (language.md 3 and 4)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from attrs import define, field

from anylog.errors import AnyLogError

SECRET = re.compile(r"pass|passwd|password|secret|private|token|access_key|activation_key|authorization", re.I)

_CASTS = ("int", "float", "str", "bool", "name", "len", "replies", "diff")
_REFERENCE = re.compile(r"(?P<mark>[!$])(?P<key>[A-Za-z0-9_\-]+)(?P<rest>(?:\.[A-Za-z_]\w*|\[[^\[\]]*\])*)")
_STEP = re.compile(r"\.(?P<word>[A-Za-z_]\w*)|\[(?P<index>[^\[\]]*)\]")
_PIECE = re.compile(r"(?P<before>^|[/\\.:])(?P<reference>[!$][A-Za-z0-9_\-]+)")
_IN_JSON = re.compile(r"(?<=[\s:\[{,])!(?P<key>[A-Za-z0-9_\-]+)(?P<cast>\.(?:int|float|str|bool|name))?")
_KEY = re.compile(r"[A-Za-z0-9_.\- ]+")


def shown(value: Any) -> str:
    """A value as text: booleans as true and false, lists and objects as JSON."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return orjson.dumps(value, default=str).decode()
    return str(value)


@define
class Dictionary:
    """Values by key, kept in memory. A key that is not there is undefined, which is not the same as empty."""

    _values: dict[str, Any] = field(factory=dict)

    def get(self, key: str) -> Any:
        """The value, or None."""
        return self._values.get(key)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(sorted(self._values.items()))

    def set(self, key: str, value: Any) -> None:
        """Keep a value; None deletes the key. Raises AnyLogError 175 for a key with odd characters."""
        if value is None:
            self._values.pop(key, None)
            return
        if not _KEY.fullmatch(key):
            raise AnyLogError(175, f"'{key}' is not a key: letters, digits, _ . - and blanks are")
        self._values[key] = value

    def set_inside(self, key: str, path: list[str], value: Any) -> None:
        """`key[a][b] = value`: the last level is made, those before it must be there (language.md 5)."""
        holder = self._values.get(key)
        if isinstance(holder, str):
            try:
                holder = orjson.loads(holder)
            except orjson.JSONDecodeError:
                holder = None
        if not isinstance(holder, dict):
            holder = {}
        level = holder
        for step in path[:-1]:
            inner = level.get(step)
            if not isinstance(inner, dict):
                raise AnyLogError(175, f"'{key}' has no object at [{step}]")
            level = inner
        if value is None:
            level.pop(path[-1], None)
        else:
            level[path[-1]] = value
        self._values[key] = holder

    def resolve(self, word: str, environ: Mapping[str, str]) -> Any:
        """What a word with `!` or `$` stands for; None if that is undefined. Other words are themselves."""
        if word.startswith("!!"):
            return word[1:]
        if word[:1] in "!$" and len(word) > 1:
            if word[0] == "!" and word[1:] in self._values:
                return self._values[word[1:]]
            found = _REFERENCE.fullmatch(word)
            if found:
                return self._reference(found, environ)
        if "!" not in word and "$" not in word:
            return word
        return self._pieces(word, environ)

    def _reference(self, found: re.Match[str], environ: Mapping[str, str]) -> Any:
        value: Any
        steps = list(_STEP.finditer(found["rest"]))
        if found["mark"] == "$":
            value = environ.get(found["key"])
            if value is not None and value.startswith("!"):
                value = self.resolve(value, environ)
        else:
            value = self._values.get(found["key"])
        cast = steps.pop()["word"] if steps and steps[-1]["word"] in _CASTS else ""
        if any(step["word"] for step in steps) and not isinstance(value, (dict, list)) and not _looks_json(value):
            # `!host.domain`: no attribute of an object, so a name put together
            return self._pieces(found[0], environ)
        attribute = ""
        for step in steps:
            if step["word"]:
                attribute = step["word"]
            else:
                value = _item(value, step["index"])
                if attribute and isinstance(value, dict):
                    value = value.get(attribute)
                attribute = ""
        if attribute:
            value = value.get(attribute) if isinstance(value, dict) else None
        return _cast(value, cast) if cast else value

    def _pieces(self, word: str, environ: Mapping[str, str]) -> Any:
        """`!dir/sub/!file.al`, `!host.$DOMAIN`: references between separators are replaced, the rest stays."""
        missing = False

        def replaced(found: re.Match[str]) -> str:
            nonlocal missing
            value = self.resolve(found["reference"], environ)
            if value is None:
                missing = True
            return found["before"] + shown(value)

        text = _PIECE.sub(replaced, word)
        return None if missing else text

    def resolve_json(self, text: str, environ: Mapping[str, str]) -> Any:
        """The value of a JSON text whose references stand outside quotes (language.md 4.1). AnyLogError 6."""
        parts = re.split(r"(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')", text)

        def inserted(found: re.Match[str]) -> str:
            value = self.resolve(f"!{found['key']}{found['cast'] or ''}", environ)
            if value is None:
                return found[0]
            if isinstance(value, str) and value[:1] in "{[" and _looks_json(value):
                return value
            return orjson.dumps(value, default=str).decode()

        for place, part in enumerate(parts):
            if place % 2 == 0:
                parts[place] = _IN_JSON.sub(inserted, part)
            elif part.startswith("'"):
                parts[place] = orjson.dumps(part[1:-1].replace("\\'", "'")).decode()
        for place in range(0, len(parts), 2):
            plain = re.sub(
                r"\bTrue\b", "true", re.sub(r"\bFalse\b", "false", re.sub(r"\bNone\b", "null", parts[place]))
            )
            parts[place] = re.sub(r",(\s*[}\]])", r"\1", plain)
        try:
            return orjson.loads("".join(parts))
        except orjson.JSONDecodeError as wrong:
            raise AnyLogError(6, f"{wrong}: {text[:80]}") from None


def _looks_json(value: Any) -> bool:
    if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "["):
        return False
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError:
        return False
    return True


def _item(value: Any, index: str) -> Any:
    """`[n]` of a list, `[a:b]` of a text, `[key]` of an object."""
    if _looks_json(value):
        value = orjson.loads(value)
    if ":" in index:
        first, _, last = index.partition(":")
        try:
            part = slice(int(first) if first.strip() else None, int(last) if last.strip() else None)
        except ValueError:
            return None
        return value[part] if isinstance(value, (str, list)) else None
    if isinstance(value, dict):
        return value.get(index.strip("'\""))
    if isinstance(value, list) and re.fullmatch(r"-?\d{1,9}", index):
        return value[int(index)] if -len(value) <= int(index) < len(value) else None
    return None


def _cast(value: Any, cast: str) -> Any:
    if cast == "bool":
        return bool(value) and shown(value).strip().lower() not in ("", "false")
    if cast in ("len", "replies", "diff"):
        if _looks_json(value):
            value = orjson.loads(value)
        return len(value) if isinstance(value, (list, dict, str)) else 0 if value is None else len(shown(value))
    if value is None:
        return None
    if cast == "name":
        return shown(value).lower().replace(" ", "_")
    if cast == "str":
        return shown(value)
    try:
        number = float(shown(value))
        return number if cast == "float" else int(shown(value)) if shown(value).lstrip("+-").isdigit() else int(number)
    except (ValueError, OverflowError):
        return None
