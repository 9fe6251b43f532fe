"""Files of environment variables, as containers and services are given them: `NAME=value`, one a line. Pure."""

from __future__ import annotations

import re

from anylog.errors import AnyLogError

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)", re.DOTALL)
_QUOTED = re.compile(r"""("(?:[^"\\]|\\.)*"|'[^']*')\s*(?:#.*)?""")


def read_variables(text: str, name: str) -> dict[str, str]:
    """Name -> value; `name` is that of the file. Raises AnyLogError 2 naming the line that is none.

    Lines that are empty or begin with `#` say nothing. A value is taken as it is: nothing in it is replaced. Without
    quotes it ends with its line, or before ` #`; in double quotes `\\"` and `\\\\` stand for the character.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        pair = _LINE.fullmatch(line)
        if pair is None:
            raise AnyLogError(2, f"{name} line {number}: this is not NAME=value")
        try:
            found[pair[1]] = _value(pair[2])
        except ValueError as odd:
            raise AnyLogError(2, f"{name} line {number}: {pair[1]}: {odd}") from None
    return found


def _value(text: str) -> str:
    if "\0" in text:
        raise ValueError("a character that no variable can hold")
    if text[:1] not in ("'", '"'):
        return re.split(r"(?:^|\s+)#", text, maxsplit=1)[0]
    quoted = _QUOTED.fullmatch(text)
    if quoted is None:
        raise ValueError(f"the value is not one text in {text[0]} quotes")
    inner = quoted[1][1:-1]
    return re.sub(r'\\(["\\])', r"\1", inner) if text[0] == '"' else inner
