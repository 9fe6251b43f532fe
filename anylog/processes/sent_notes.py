"""What a publisher must not forget: to which cluster it offered a file, and which keys it has heard of.

A file is offered to one cluster only: the members of that see to it that its rows are there once, whoever of them got
it, but another cluster would have them a second time. So where a file goes is noted before it is offered.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import orjson
from attrs import define, field
from twisted.internet.defer import Deferred

from anylog.errors import AnyLogError
from anylog.interfaces import Disk, DiskFile, ILane

SIZE = 256 << 10  # bytes of one file of notes
FILES = 16  # of notes, beyond which they are written together
MOST = 100_000  # notes of each kind that are kept, the newest
_NAME = re.compile(r"([0-9]{8})\.notes")

Note = tuple[str, str, Any]  # kind, key, value


@define(kw_only=True, eq=False)
class Notes:
    """Notes by kind and key in the order in which they came, the newest `MOST` of each kind. `add` lasts."""

    _disk: Disk
    _lane: ILane  # of the disk
    _folder: Path
    _kept: dict[str, OrderedDict[str, Any]] = field(factory=dict)
    _read: bool = False
    _file: DiskFile | None = None
    _at: int = 0
    _number: int = 0
    _waiting: list[tuple[Sequence[Note], Deferred[None]]] = field(factory=list)
    _busy: bool = False

    async def recall(self) -> None:
        """Read what was noted, once. Raises OSError."""
        if not self._read:
            self._number, notes = await self._lane.run(_recall, self._disk, self._folder)
            self._keep(notes)
            self._read = True

    def of(self, kind: str) -> Mapping[str, Any]:
        """Key -> value."""
        return self._kept.get(kind, {})

    def add(self, notes: Sequence[Note]) -> Deferred[None]:
        """Fires when they last; one sync serves all who ask meanwhile.

        Fails with OSError: then they may or may not, or with AnyLogError 502 or 506: then they do not.
        """
        told: Deferred[None] = Deferred()
        self._waiting.append((notes, told))
        if not self._busy:
            self._busy = True
            Deferred.fromCoroutine(self._work())
        return told

    async def _work(self) -> None:
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, []
                notes = [note for some, _ in waiting for note in some]
                try:
                    await self.recall()
                    await self._lane.run(self._write, notes)
                except Exception as why:  # of whatever kind: who waits for it must hear of it
                    if not isinstance(why, AnyLogError):  # else the lane has not even begun
                        self._drop()
                    for _, told in waiting:
                        told.errback(why)
                    continue
                self._keep(notes)
                for _, told in waiting:
                    told.callback(None)
        finally:
            self._busy = False

    def _keep(self, notes: Sequence[Note]) -> None:
        for kind, key, value in notes:
            kept = self._kept.setdefault(kind, OrderedDict())
            kept[key] = value
            kept.move_to_end(key)
            while len(kept) > MOST:
                kept.popitem(last=False)

    # In the lane, one at a time.

    def _write(self, notes: Sequence[Note]) -> None:
        data = b"".join(map(_line, notes))
        if self._file is None or self._at + len(data) > SIZE:
            self._drop()
            self._number += 1
            if self._number > FILES and self._number % FILES == 0:
                self._gather()
            path = self._folder / f"{self._number:08d}.notes"
            self._file, self._at = self._disk.create(path, max(SIZE, len(data))), 0
        self._file.write(self._at, data)
        self._file.sync()
        self._at += len(data)

    def _gather(self) -> None:
        """All that is kept in one file, and the older ones go."""
        older = [name for name in self._disk.names(self._folder) if _NAME.fullmatch(name)]
        kept = [(kind, key, value) for kind, notes in self._kept.items() for key, value in notes.items()]
        self._disk.publish(self._folder / f"{self._number:08d}.notes", b"".join(map(_line, kept)))
        for name in older:
            self._disk.forget(self._folder / name)
        self._number += 1

    def _drop(self) -> None:
        """The file at hand is not written any more: what a failed sync left in it is not to be guessed."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def stop(self) -> Deferred[None]:
        """Let the file go."""
        return self._lane.run(self._drop)


def _line(note: Note) -> bytes:
    data = orjson.dumps(note)
    return b"%08x %s\n" % (crc32(data), data)


def _recall(disk: Disk, folder: Path) -> tuple[int, list[Note]]:
    """The number of the newest file, and the notes of all in order; what was torn is left out."""
    disk.make(folder)
    found: list[Note] = []
    highest = 0
    for name in sorted(disk.names(folder)):
        match = _NAME.fullmatch(name)
        if match is None:
            continue
        highest = int(match[1])
        for line in disk.read(folder / name).rstrip(b"\0").split(b"\n"):
            sum, _, data = line.partition(b" ")
            if len(sum) == 8 and b"%08x" % crc32(data) == sum:
                kind, key, value = orjson.loads(data)
                found.append((kind, key, value))
    return highest, found
