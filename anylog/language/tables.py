"""Bar tables: how status is shown, and how known clients parse it (monitoring.md 1)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from anylog.language.dictionary import shown

_NUMBER = re.compile(r"-?[0-9][0-9.,]*")


def bar_table(
    titles: Sequence[str], rows: Sequence[Sequence[object]], *, heading: str = "", indent: int = 0, width: int = 100
) -> str:
    """A table with a bar after each cell, lines ended by CR LF.

    Titles may have two lines. Numbers stand right, text left; a cell longer than `width` goes on in the next lines of
    its column; a bar inside a cell is written as a broken bar, so that every row has the bars of the title line.
    """
    cells = [[shown(cell).replace("|", "¦").replace("\r", "") for cell in row] for row in rows]
    lines_of = [[_folded(cell, width) for cell in row] for row in cells]
    heads = [title.split("\n") for title in titles]
    widths = [
        max([len(line) for line in head] + [len(line) for row in lines_of for line in row[place]])
        for place, head in enumerate(heads)
    ]
    margin = " " * indent
    out = [heading] if heading else []
    for number in range(max(len(head) for head in heads)):
        words = [head[number] if number < len(head) else "" for head in heads]
        out.append(margin + "".join(word.ljust(size + 1) for word, size in zip(words, widths, strict=True)))
    out.append(margin + "".join("-" * size + "|" for size in widths))
    for row in lines_of:
        for number in range(max(len(lines) for lines in row)):
            parts = []
            for lines, size in zip(row, widths, strict=True):
                text = lines[number] if number < len(lines) else ""
                number_cell = len(lines) == 1 and _NUMBER.fullmatch(text)
                parts.append((text.rjust(size) if number_cell else text.ljust(size)) + "|")
            out.append(margin + "".join(parts))
    return "\r\n".join(out)


def _folded(cell: str, width: int) -> list[str]:
    lines = []
    for line in cell.split("\n"):
        lines += [line[start : start + width] for start in range(0, len(line), width)] or [""]
    return lines
