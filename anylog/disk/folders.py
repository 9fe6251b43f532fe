"""What lies in directories: names and sizes, in slices for a lane. Links are never followed."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from attrs import define

from anylog.disk.confined import Confines, Use, naming
from anylog.disk.transfers import Work
from anylog.errors import AnyLogError

MOST = 1_000_000  # names of one listing
SLICE = 1000  # entries looked at before others use the lane
DEEPEST = 100  # levels below a directory whose size is asked

FILE, FOLDER = "file", "folder"


def listed(
    confines: Confines, text: str, kind: str, fits: Callable[[str], bool] = lambda name: True
) -> Work[list[str]]:
    """Names of files or folders in a directory, sorted. AnyLogError 12, 63, 77, 119 or 212."""
    confines = confines.real()
    folder = confines.existing(text, Use.LOOK)
    names: list[str] = []
    for number, entry in enumerate(_entries(folder, text)):
        found = entry.is_file(follow_symlinks=False) if kind == FILE else entry.is_dir(follow_symlinks=False)
        if found and fits(entry.name):
            names.append(entry.name)
            if len(names) > MOST:
                raise AnyLogError(77, f"{text} has more than {MOST:,} {kind}s")
        if number % SLICE == SLICE - 1:
            yield
    names.sort()
    return [name if name.isprintable() else printable(name) for name in names]


def printable(name: str) -> str:
    """A name with marks in place of what would break a line or is no UTF-8."""
    return "".join("\ufffd" if unicodedata.category(char) in ("Cc", "Cs") else char for char in name)


def in_pages(names: list[str]) -> Work[list[bytes]]:
    """A long listing as text, in pages of many lines."""
    pages: list[bytes] = []
    for at in range(0, len(names), SLICE):
        yield
        pages.append("".join(f"{name}\r\n" for name in names[at : at + SLICE]).encode("utf-8", "replace"))
    return pages


@define
class Size:
    """What one directory holds, with all below it."""

    name: str
    files: int = 0
    size: int = 0


def sizes(confines: Confines, text: str) -> Work[list[Size]]:
    """The directory, then each directory in it. AnyLogError 12, 63, 119 or 212."""
    confines = confines.real()
    folder = confines.existing(text, Use.LOOK)
    whole = Size(text)
    parts: list[Size] = []
    for entry in _entries(folder, text):
        if entry.is_dir(follow_symlinks=False):
            parts.append(Size(entry.name))
            if len(parts) > MOST:
                raise AnyLogError(77, f"{text} has more than {MOST:,} directories")
        else:
            _count(entry, whole)
        if (whole.files + len(parts)) % SLICE == 0:
            yield
    parts.sort(key=lambda part: part.name)
    for part in parts:
        yield from _sum(folder / part.name, part)
        whole.files += part.files
        whole.size += part.size
        part.name = printable(part.name)
    return [whole, *parts]


def _sum(folder: Path, into: Size) -> Work[None]:
    """Add all below a folder; what goes away meanwhile, or may not be read, counts nothing."""
    waiting = [(folder, 0)]
    seen = 0
    while waiting:
        place, depth = waiting.pop()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    seen += 1
                    if not entry.is_dir(follow_symlinks=False):
                        _count(entry, into)
                    elif depth < DEEPEST:
                        waiting.append((place / entry.name, depth + 1))
                    if seen % SLICE == 0:
                        yield
        except OSError:
            continue


def _count(entry: os.DirEntry[str], into: Size) -> None:
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:
        return
    if stat.S_ISREG(found.st_mode):
        into.files += 1
        into.size += found.st_size


def _entries(folder: Path, text: str) -> Iterator[os.DirEntry[str]]:
    with naming(f"Directory does not exist or is not accessible: '{text}'"), os.scandir(folder) as entries:
        yield from entries


def timestamp(confines: Confines, text: str) -> str:
    """When a file was last changed, in UTC; blocking. AnyLogError 12, 63, 119 or 212."""
    with naming(text):
        found = os.lstat(confines.real().existing(text, Use.LOOK))
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=found.st_mtime_ns // 1000)).strftime(
        "%Y-%m-%d %H:%M:%S.%f"
    )


def access(confines: Confines, text: str) -> dict[str, object]:
    """What the node may do with a file or directory; blocking. AnyLogError 12, 63, 119 or 212."""
    path = confines.real().existing(text, Use.LOOK)
    with naming(text):
        mode = os.lstat(path).st_mode
    return {
        "path": text,
        "mode": stat.filemode(mode),
        "read": os.access(path, os.R_OK),
        "write": os.access(path, os.W_OK),
        "execute": os.access(path, os.X_OK),
    }


@define
class Deleted:
    """What was deleted of an archive."""

    days: int = 0
    files: int = 0
    size: int = 0


def old_days(confines: Confines, text: str, before: date) -> Work[list[date]]:
    """The days of an archive that lie before a date, in order. AnyLogError 12, 63, 119 or 212.

    Only what is called YY/MM/DD counts as a day, and links are not followed.
    """
    root, found = confines.real().existing(text, Use.CHANGE), []
    for day in _days(root, text):
        year, month, number = day.parts[-3:]
        try:
            found.append(date(2000 + int(year), int(month), int(number)))
        except ValueError:
            continue
        yield
    return [day for day in found if day < before]


def without_days(confines: Confines, text: str, days: Collection[date]) -> Work[Deleted]:
    """Delete days of an archive. AnyLogError 12, 14, 63, 119 or 212.

    Of a day only files go. A kill leaves a part of a day, which the next call deletes.
    """
    root, told = confines.real().existing(text, Use.CHANGE), Deleted()
    for wanted in days:
        day, files = root / f"{wanted:%y/%m/%d}", told.files
        with naming(day, 14):
            yield from _without_files(day, told)
        told.days += told.files > files or not day.exists()
        yield
    return told


def _days(root: Path, text: str) -> Iterator[Path]:
    def two_digits(folder: Path) -> list[str]:
        return sorted(
            entry.name
            for entry in _entries(folder, text)
            if len(entry.name) == 2
            and entry.name.isascii()
            and entry.name.isdigit()
            and entry.is_dir(follow_symlinks=False)
        )

    for year in two_digits(root):
        for month in two_digits(root / year):
            for day in two_digits(root / year / month):
                yield root / year / month / day


def _without_files(day: Path, told: Deleted) -> Work[None]:
    with os.scandir(day) as entries:
        for number, entry in enumerate(entries):
            if entry.is_file(follow_symlinks=False) or entry.is_symlink():
                _count_deleted(entry, told)
            if number % SLICE == SLICE - 1:
                yield
    for folder in (day, day.parent, day.parent.parent):
        try:
            folder.rmdir()
        except OSError:
            return  # other days are in it, or something that is no file; or a file has come meanwhile


def _count_deleted(entry: os.DirEntry[str], told: Deleted) -> None:
    try:
        found = entry.stat(follow_symlinks=False)
        Path(entry.path).unlink()
    except FileNotFoundError:
        return  # somebody else was faster
    if stat.S_ISREG(found.st_mode):
        told.files += 1
        told.size += found.st_size
