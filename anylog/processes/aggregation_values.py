"""Values of an interval as they are asked for: a function, and casts behind it (ingest.md 15, query.md 4). Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from attrs import frozen

from anylog.errors import AnyLogError
from anylog.mapping.windows import FUNCTIONS, Interval

_FLOAT = re.compile(r"float\(\s*(%?)\s*([0-9]{1,2})\s*\)")


@frozen
class Shown:
    """One function with its casts."""

    title: str
    casts: tuple[str, ...] = ()

    def of(self, interval: Interval) -> Any:
        """Its value. Raises AnyLogError 194 where a cast cannot be applied."""
        value: Any = interval.value(self.title)
        for cast in self.casts:
            value = _cast(value, cast)
        return value


def read_functions(texts: Sequence[str]) -> list[Shown]:
    """`min`, `avg::float(2)`, `max::int::str` ... Raises AnyLogError 40 for a function, 195 for a cast unknown."""
    found = []
    for text in texts:
        name, *casts = [part.strip().lower() for part in text.split("::")]
        if name not in FUNCTIONS:
            raise AnyLogError(40, f"'{name[:80]}' is none of the functions {', '.join(FUNCTIONS)}")
        for cast in casts:
            if cast not in ("int", "float", "str") and not _FLOAT.fullmatch(cast):
                raise AnyLogError(195, f"'{cast[:80]}': int, float, float(n), float(%n) and str are known here")
        found.append(Shown(name, tuple(casts)))
    return found


def _cast(value: Any, cast: str) -> Any:
    if cast == "str":
        return str(value)
    try:
        number = float(str(value).replace(",", "")) if isinstance(value, str) else value
        if cast == "int":
            return int(number)
        if cast == "float":
            return float(number)
        found = _FLOAT.fullmatch(cast)
        assert found is not None
        digits = int(found[2])
        return f"{number:,.{digits}f}" if found[1] else round(float(number), digits)
    except ValueError:
        raise AnyLogError(194, f"'{value}' as {cast}") from None
