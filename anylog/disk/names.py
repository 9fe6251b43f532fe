"""Names of files of readings: what each segment says, and what none may hold (ingest.md 9.1, 10). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, Literal

from attrs import evolve, frozen

from anylog.errors import AnyLogError
from anylog.names import normalise

LONGEST = 220  # bytes of a name that is made here: one that says why a file failed is longer, and 255 is the end
LONGEST_ERROR = 240
LONGEST_FULL = 250  # of one that came: with our own member for an @, and .gz behind, it still is a name
LARGEST_ID = (1 << 63) - 1
SHORT = 128  # bytes of database, table, data source and instructions that fit into each name
_JSON = ("dbms", "table", "source", "hash", "instructions", "member", "id", "date")
_SQL = ("dbms", "table", "partition", "source", "hash", "instructions", "member", "id", "date", "unique")
_TYPE = re.compile(r"(.*?)(?:\.insert)?\.(json|sql)(\.gz)?", re.DOTALL)
_HASH = re.compile(r"0|[0-9a-fA-F]{32}")
_DIGITS = re.compile(r"[0-9]{1,19}")
_DATE = re.compile(r"[0-9]{12}")


@frozen(kw_only=True)
class FileName:
    """The parts of a name. A short one has no member, id and date; `@` as member: its rows are loaded already."""

    dbms: str
    table: str
    source: str = "0"
    hash: str = "0"  # 32 hex digits
    instructions: str = "0"  # id of a mapping policy
    member: str = ""  # "", "@", or 0 to 255
    id: int = 0
    date: str = ""  # YYMMDDHHMMSS, UTC
    kind: Literal["json", "sql"] = "json"
    compressed: bool = False  # .gz behind
    partition: str = "0"  # of SQL files

    @property
    def full(self) -> bool:
        """Whether it says as which file of which member it is registered."""
        return bool(self.id)

    @classmethod
    def parse(cls, name: str) -> FileName:
        """Raises AnyLogError 119 naming the segment that is wrong."""

        def wrong(why: str) -> AnyLogError:
            return AnyLogError(119, f"file name {_shown(name)}: {why}")

        match = _TYPE.fullmatch(name)
        if match is None:
            raise wrong("it does not end in .json, .sql, .json.gz or .sql.gz")
        kind: Literal["json", "sql"] = "json" if match[2] == "json" else "sql"
        parts = match[1].split(".")
        if not _fits(kind, len(parts)):
            told = "2 to 5, or 8, stand" if kind == "json" else "2 to 6, 9 or 10 stand"
            raise wrong(f"{len(parts)} segments between dots, {told} before the type")
        for title, part in zip(_JSON if kind == "json" else _SQL, parts, strict=False):
            if not part or not part.isprintable() or part != part.strip() or "/" in part:
                raise wrong(f"the segment {title} is {_shown(part)}" if part else f"the segment {title} is empty")
        given = dict(zip(_JSON if kind == "json" else _SQL, parts, strict=False))
        given.pop("unique", None)
        try:
            given["dbms"] = normalise(given["dbms"], "database", 119)
            given["table"] = normalise(given["table"], "table", 119)
        except AnyLogError as why:
            raise wrong(why.detail) from None
        if not _HASH.fullmatch(given.get("hash", "0")):
            raise wrong(f"the hash {_shown(given['hash'])} is neither 0 nor 32 hex digits")
        given["hash"] = given.get("hash", "0").lower()
        id = 0
        if "member" in given:
            if len(name.encode(errors="replace")) > LONGEST_FULL:
                raise wrong(f"it is longer than {LONGEST_FULL} bytes")
            id = _place(given, wrong)
            given.pop("id")
        return cls(**given, id=id, kind=kind, compressed=bool(match[3]))

    def __str__(self) -> str:
        parts = [self.dbms, self.table]
        if self.kind == "sql":
            parts.append(self.partition)
        parts += [self.source, self.hash, self.instructions]
        if self.member:
            parts += [self.member, str(self.id), self.date or "0"]
        return ".".join([*parts, self.kind]) + (".gz" if self.compressed else "")

    def having(self, **changes: Any) -> FileName:
        """The same with other parts."""
        return evolve(self, **changes)

    def fitting(self) -> FileName:
        """The same, with data source and instructions cut until the name is not too long for a file.

        Instructions are cut only where it would be no name at all: they say which policy is applied to the content.
        """
        over = len(str(self).encode()) - LONGEST
        if over <= 0:
            return self
        source = _cut(self.source, over)
        over -= len(self.source.encode()) - len(source.encode()) + LONGEST_FULL - LONGEST
        return evolve(
            self, source=source, instructions=_cut(self.instructions, over) if over > 0 else self.instructions
        )


def segments(dbms: str, table: str, source: str, instructions: str) -> tuple[str, str]:
    """Data source and instructions, cut where the longest name of a file with them would be too long to be one."""
    if len(dbms) + len(table) + len(source.encode()) + len(instructions.encode()) <= SHORT:
        return source, instructions
    name = FileName(
        dbms=dbms, table=table, source=source, hash="0" * 32, instructions=instructions,
        member="255", id=LARGEST_ID, date="0" * 12, compressed=True,
    ).fitting()  # fmt: skip
    return name.source, name.instructions


def _fits(kind: str, segments: int) -> bool:
    return 2 <= segments <= 5 or segments == 8 if kind == "json" else 2 <= segments <= 6 or segments in (9, 10)


def _place(given: dict[str, str], wrong: Callable[[str], AnyLogError]) -> int:
    """Check member, id and date; gives the id."""
    member, id, date = given["member"], given["id"], given["date"]
    if member != "@":
        if not _DIGITS.fullmatch(member) or int(member) > 255:
            raise wrong(f"the member {_shown(member)} is neither @ nor 0 to 255")
        given["member"] = str(int(member))
    if not _DIGITS.fullmatch(id) or int(id) > LARGEST_ID or (not int(id) and member != "@"):
        raise wrong(f"the id {_shown(id)} is not a whole number above 0")
    if date == "0" and member == "@":
        given["date"] = ""
    else:
        try:
            if not _DATE.fullmatch(date):
                raise ValueError
            datetime.strptime(date, "%y%m%d%H%M%S")
        except ValueError:
            raise wrong(f"the date {_shown(date)} is not YYMMDDHHMMSS") from None
    return int(id)


def _cut(text: str, over: int) -> str:
    """Without `over` bytes of its end, but never nothing."""
    kept = text.encode()[: max(0, len(text.encode()) - over)].decode(errors="ignore").rstrip()
    return kept or "0"


def _shown(text: str) -> str:
    """As it can stand in a message, whatever bytes it is made of."""
    plain = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text[:120])
    return f"'{plain}{'...' if len(text) > 120 else ''}'"


_FAILED = re.compile(r"(.+)\.err_([0-9]+)\.[0-9]+(\..+)?", re.DOTALL)


def original_name(name: str) -> str:
    """The name that a file of the error directory had; as it is if that is none of `error_name`."""
    match = _FAILED.fullmatch(name)
    return name if match is None else match[1] + (match[3] or "")


def error_code(name: str) -> int:
    """The code in the name of a file of the error directory; 0 if there is none."""
    match = _FAILED.fullmatch(name)
    return 0 if match is None else int(match[2])


def error_name(name: str, code: int, unix: float, taken: Collection[str]) -> str:
    """`<name without type>.err_<code>.<unix seconds>.<type>`, of a second at which it is not `taken`."""
    match = _TYPE.fullmatch(name)
    stem, end = (name[: match.start(2) - 1], name[match.start(2) :]) if match else (name, "")
    # Bytes that are no UTF-8 stay as they are: the name must be found again by whoever wrote it.
    raw = stem.encode(errors="surrogateescape")[: LONGEST_ERROR - len(end.encode()) - 24]
    stem = raw.decode(errors="surrogateescape" if any(0xDC80 <= ord(char) <= 0xDCFF for char in stem) else "ignore")
    second = int(unix)
    while True:
        made = f"{stem}.err_{code}.{second}" + (f".{end}" if end else "")
        if made not in taken:
            return made
        second += 1


def century(date: str) -> str:
    """The first two digits of the year of 12 digits of a name: a clock that nobody set begins in 1970."""
    return "19" if date[:2] >= "70" else "20"
