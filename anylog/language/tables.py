"""Bar tables: how every status table is laid out (monitoring.md 1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from anylog.language.dictionary import shown

_NUMBER = re.compile(r"[+-]?[0-9][0-9.,]*")


def bar_table(
    titles: Sequence[str], rows: Iterable[Sequence[Any]], *, heading: str = "", indent: int = 0, width: int = 100
) -> str:
    """Titles, a line of dashes, rows; each column of the dashes and of the rows ends with a bar, CR LF between lines.

    A title may have two lines. Numbers, and texts that look like one, stand at the right. A cell longer than `width`
    characters goes on in the lines below it. A bar inside a cell is shown as a broken one, so that columns can be
    told apart by whoever reads the text with a program.
    """
    heads = [title.split("\n") for title in titles]
    cells = [[_pieces(shown(cell), width) for cell in row] for row in rows]
    widths = [
        max([len(line) for line in head] + [len(piece) for row in cells for piece in row[place]])
        for place, head in enumerate(heads)
    ]
    lines = [heading] if heading else []
    for number in range(max(map(len, heads), default=0)):
        lines.append(
            "".join(
                (head[number] if number < len(head) else "").ljust(wide + 1)
                for head, wide in zip(heads, widths, strict=True)
            )
        )
    lines.append("".join("-" * wide + "|" for wide in widths))
    for row in cells:
        for number in range(max(map(len, row), default=0)):
            lines.append("".join(_cell(row[place], number, wide) + "|" for place, wide in enumerate(widths)))
    return "\r\n".join(" " * indent + line for line in lines)


def framed(table: str) -> str:
    """A table with an empty line before it and a line end behind it, as status commands reply."""
    return f"\r\n{table}\r\n"


def _cell(pieces: Sequence[str], number: int, wide: int) -> str:
    text = pieces[number] if number < len(pieces) else ""
    return text.rjust(wide) if len(pieces) == 1 and _NUMBER.fullmatch(text) else text.ljust(wide)


def _pieces(text: str, width: int) -> list[str]:
    """The lines of one cell."""
    lines = text.replace("|", "¦").expandtabs(4).splitlines() or [""]
    return [line[at : at + width] for line in lines for at in range(0, max(len(line), 1), width)]
