"""How whole files are named, and what may be a part of a file's name (ingest.md 9)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from anylog.disk.archive import LARGEST
from anylog.disk.names import segments
from anylog.errors import AnyLogError
from anylog.mapping.body import MOST_OBJECTS, content_hash, normal_form, objects_in
from anylog.mapping.rows import Converted, convert_each

_SEGMENT = re.compile(r"[A-Za-z0-9_\-]{1,64}")


@frozen
class Early:
    """Rows that were converted for these columns as soon as they were read."""

    converted: Converted
    columns: Mapping[str, str]


MANY = 32  # rows from which it is worth while to convert them at once


def early_of(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str] | None) -> Early | None:
    """Convert rows while they are at hand: later each of them has to be fetched from memory again, and until then
    they take several times what their text does. None if that needs more than the columns as they are now."""
    if columns is None or len(rows) < MANY:
        return None
    done = convert_each([rows], columns, None)
    return Early(done[0], columns) if done is not None else None


def joined(parts: Sequence[Early]) -> Converted:
    """What was converted for the same columns, as one."""
    first = parts[0].converted
    if len(parts) == 1:
        return first
    values = ",".join([part.converted.values[1:-1] for part in parts])
    return Converted(first.names, f"[{values}]", sum(part.converted.count for part in parts), [], {})


@frozen
class Size:
    """Of a normal form, which may be several times what came: a file is kept, sent and read as that."""

    length: int = 0  # bytes
    objects: int = 0  # and lists, as `read_body` counts them

    @classmethod
    def of(cls, normal: bytes) -> Size:
        """Of a whole one, or of a part."""
        return cls(len(normal), objects_in(normal))

    def __add__(self, other: Size) -> Size:
        return Size(self.length + other.length, self.objects + other.objects)

    @property
    def refusal(self) -> AnyLogError | None:
        """AnyLogError 501 if other members would not read such a file; None if they do."""
        for number, most, what in ((self.length, LARGEST, "bytes"), (self.objects, MOST_OBJECTS, "objects and lists")):
            if number > most:
                told = f"its normal form has {number:,} {what}, a file may have {most:,}: send it in parts"
                return AnyLogError(501, told)
        return None


@frozen
class Form:
    """A whole file as it is named and kept."""

    hash: str
    normal: bytes
    early: Early | None = None


NONE = Form("", b"")


def form_of(dbms: str, table: str, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str] | None = None) -> Form:
    """The normal form of rows and its hash; converted too, if the columns of their table are known."""
    normal = normal_form(rows)
    return Form(content_hash(dbms, table, normal), normal, early_of(rows, columns))


def segment(text: str) -> str:
    """A data source or a policy id as it can be part of a file name: without dots, no longer than 64 characters."""
    if _SEGMENT.fullmatch(text):
        return text
    spelled = "".join(char if _SEGMENT.fullmatch(char) else "_" for char in text)
    return spelled[:64] or "0"


def named(dbms: str, table: str, source: str, instructions: str) -> tuple[str, str]:
    """A data source and a policy id as they are part of the names of all files with rows that came with them."""
    return segments(dbms, table, segment(source), segment(instructions))
