"""Files on their way between two nodes: the one that is read, and the draft of the one that comes (network.md 10).

A draft lies in `tmp_dir` and outlives the transfer: who brings the same file to the same place goes on where it ended.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Generator
from pathlib import Path
from threading import Lock
from typing import Any

from attrs import define, evolve, field, frozen

from anylog.disk.confined import Confines, Use, naming
from anylog.disk.forms import SLICE
from anylog.disk.transfers import Draft, Job, Source, Work, elsewhere, is_place, last_of, matching, room, written
from anylog.disk.transfers import target_of as place_of
from anylog.errors import AnyLogError
from anylog.interfaces import Disk

MOST = 10_000  # files of one pattern
PART = 256 << 10  # bytes that are sent at once: what a connection that breaks may cost
UNSYNCED = 64 << 20  # bytes that a power cut may take: little is left to sync at the end
KEEP = 86_400.0  # seconds that a draft waits for who goes on with it
DRAFTS = 64  # that wait at once; the oldest go first
_NAME = re.compile(r"\.[0-9a-f]{32}\.part")


# ---------------------------------------------------------------------- going


@frozen
class Departure:
    """A file that is to be sent, as it was when it was looked at."""

    path: str  # as it was named
    size: int
    stamp: str  # another one when it has changed

    @property
    def name(self) -> str:
        """Its name without the directories."""
        return last_of(self.path)


def departures(confines: Confines, text: str) -> Work[list[Departure]]:
    """The file of that name, or all that match a pattern. AnyLogError 12, 40, 63, 77, 119, 152 or 212."""
    confines = confines.real()
    if "*" not in text:
        return [_looked_at(confines, text)]
        yield  # pragma: no cover - a generator in any case
    folder, _, pattern = text.rpartition("/")
    names = yield from matching(confines, folder or ("/" if text[0] == "/" else "."), pattern)
    if len(names) > MOST:
        raise AnyLogError(77, f"{len(names):,} files are like '{text}', at most {MOST:,} are sent at once")
    found = []
    for number, name in enumerate(names):
        found.append(_looked_at(confines, f"{folder}/{name}" if "/" in text else name))
        if number % 100 == 99:
            yield
    if not found:
        raise AnyLogError(152, f"no file is like '{text}'")
    return found


def _looked_at(confines: Confines, text: str) -> Departure:
    source = Source.open(confines.existing(text, Use.READ), confines, text)
    try:
        return Departure(text, source.size, _stamp(os.fstat(source.descriptor)))
    finally:
        source.close()


def content(confines: Confines, file: Departure, at: int) -> Generator[bytes, None, None]:
    """What comes after the first `at` bytes, slice by slice, some of them empty; then the sha256 of the whole.

    Raises AnyLogError 35 if the file is another one than was looked at.
    """
    confines = confines.real()
    source = Source.open(confines.existing(file.path, Use.READ), confines, file.path)
    try:
        _unchanged(source, file)
        digest, begin = hashlib.sha256(), 0
        for data in source.chunks():
            digest.update(data)
            rest = data[max(0, at - begin) :]
            yield from [rest[part : part + PART] for part in range(0, len(rest), PART)] or [b""]
            begin += len(data)
        _unchanged(source, file)
        yield digest.digest()
    finally:
        source.close()


def _stamp(found: os.stat_result) -> str:
    return f"{found.st_size}.{found.st_mtime_ns}.{found.st_ino}"


def _unchanged(source: Source, file: Departure) -> None:
    try:
        stamps = {_stamp(os.fstat(source.descriptor)), _stamp(os.lstat(source.path))}
    except FileNotFoundError:
        stamps = set()
    if stamps != {file.stamp}:
        raise AnyLogError(35, f"{file.path} has changed since its transfer began; it is sent when it rests")


# ---------------------------------------------------------------------- coming


@frozen(kw_only=True)
class Wanted:
    """A file that is to come, and where it goes: plain values for a lane."""

    disk: Disk
    confines: Confines
    folder: Path  # of drafts
    who: str  # sends it
    file: Departure
    target: str
    several: bool = False  # the target must be a directory


def placed(wanted: Wanted) -> tuple[Path, str]:
    """Where a file is to be at last, and the name of its draft; blocking. AnyLogError 12, 14, 40, 119 or 212."""
    confines, file = wanted.confines.real(), wanted.file
    if not file.name or file.name in (".", "..") or "*" in file.name or not file.name.isprintable():
        raise AnyLogError(119, f"{file.name[:100]!r} is not the name of a file")
    if not wanted.target.strip():
        raise AnyLogError(119, f"where {file.name} is to go is missing")
    target = place_of(confines, wanted.target, file.name)
    with naming(wanted.target, 14):
        if wanted.several and not wanted.target.endswith("/") and not confines.name(wanted.target).is_dir():
            raise AnyLogError(40, f"'{wanted.target}' is no directory, and there may be several files")
        is_place(target)
    key = "\n".join((wanted.who, file.path, file.stamp, str(target)))
    return target, f".{hashlib.sha256(key.encode('utf-8', 'replace')).hexdigest()[:32]}.part"


@define(eq=False, kw_only=True)
class Arrival:
    """A file that comes. All of it is blocking; no two threads write one draft, whatever is given up meanwhile."""

    wanted: Wanted
    target: Path
    draft: str
    token: str
    at: int = 0  # bytes that are there
    used: float = 0.0  # seconds of the node's clock when it was asked for last
    _before: Arrival | None = None  # has the same draft, and must not write it any more
    _digest: Any = field(factory=hashlib.sha256)
    _synced: int = 0
    _over: bool = False
    _held: Lock = field(factory=Lock)

    @property
    def path(self) -> Path:
        """Where the draft lies."""
        return self.wanted.folder / self.draft

    def open(self, now: float, busy: Collection[str]) -> Work[None]:
        """Take up the draft that is there, or begin one. AnyLogError 14, 35, 40 or 503."""
        if self._before is not None:
            self._before.end()
        disk, size = self.wanted.disk, self.wanted.file.size
        with self._held, naming(self.target, 14):
            self._check()
            disk.make(self.wanted.folder)
            sweep(disk, self.wanted.folder, now, busy)
            there = self.path.is_file() and not self.path.is_symlink()
            have = self.path.stat().st_size if there else 0
            room(disk, self.target, size - min(have, size))
            if not 0 < have <= size:
                disk.create(self.path, 0).close()
                return
            file = disk.open(self.path)
        try:
            while self.at < have:
                with self._held, naming(self.target, 14):
                    self._check()
                    data = file.read(self.at, min(SLICE, have - self.at))
                    if not data:
                        break
                    self._digest.update(data)
                    self.at += len(data)
                yield
        finally:
            file.close()

    def write(self, at: int, data: bytes) -> int:
        """Some more; gives how much is there. AnyLogError 14, 35 or 503."""
        with self._held:
            self._check()
            if at != self.at or at + len(data) > self.wanted.file.size:
                raise AnyLogError(35, f"{self.target.name}: bytes from {at:,} on after {self.at:,}")
            with naming(self.target, 14):
                room(self.wanted.disk, self.path, len(data))
                file = self.wanted.disk.open(self.path)
                try:
                    file.write(at, data)
                    if at + len(data) - self._synced > UNSYNCED:
                        file.sync()
                        self._synced = at + len(data)
                finally:
                    file.close()
            self._digest.update(data)
            self.at += len(data)
            return self.at

    def finish(self, digest: bytes) -> Work[str]:
        """Make it appear: "done"; "there" if an equal file was; "wrong" if it is not what was sent, and is gone.

        AnyLogError 12, 14, 35, 40, 86 or 503.
        """
        with self._held:
            self._check()
            self._over = True
        disk, confines = self.wanted.disk, self.wanted.confines.real()
        if self.at != self.wanted.file.size or self._digest.digest() != digest:
            self._forget()
            return "wrong"
        replace = not confines.is_watched(self.target)
        try:
            draft = Draft.adopt(disk, self.target, self.path)
            try:
                new = yield from draft.finish(replace=replace)
            finally:
                draft.close()
        except AnyLogError as error:
            if error.number == 86:
                self._forget()
            if not elsewhere(error):
                raise
            job = Job(disk=disk, confines=confines, source=self.draft)
            own = evolve(confines, within=(self.path.parent.resolve(),), without=(), stranger=False)
            source = Source.open(self.path.resolve(), own, self.draft)
            new = yield from written(job, confines, source, self.target, self.token)
        self._forget()
        return "done" if new else "there"

    def abandon(self) -> None:
        """Nobody can go on with it: its source is another one now. AnyLogError 14."""
        with self._held:
            self._check()
            self._over = True
            self._forget()

    def end(self) -> None:
        """Nothing more is written from here."""
        with self._held:
            self._over, before, self._before = True, self._before, None
        if before is not None:
            before.end()

    def _check(self) -> None:
        if self._over:
            raise AnyLogError(35, f"{self.target.name}: another transfer of the same file has taken over")

    def _forget(self) -> None:
        with naming(self.path, 14):
            self.wanted.disk.forget(self.path)


def sweep(disk: Disk, folder: Path, now: float, busy: Collection[str]) -> int:
    """Remove drafts that nobody has gone on with, but for those at work; gives how many are left. Raises OSError."""
    found = []
    for name in disk.names(folder):
        if _NAME.fullmatch(name) and name not in busy:
            try:
                found.append((disk.stat(folder / name)[1] / 1e9, name))
            except FileNotFoundError:
                continue
    found.sort(reverse=True)
    gone = [name for place, (at, name) in enumerate(found) if place >= DRAFTS or now - at > KEEP]
    for name in gone:
        disk.forget(folder / name)
    return len(found) - len(gone)
