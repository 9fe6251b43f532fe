"""Streams on a node that keeps none: what is cut becomes a file of the watch directory, for a publisher to send.

The name and the bytes follow from the records of the journal alone, so that a file which is made twice is one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from anylog.counts import Counts
from anylog.disk.names import FileName
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, Disk, ILane, Publish, Receipt
from anylog.mapping.body import SEAL, normal_form, sealed_hash
from anylog.processes.agreement import SYSTEM
from anylog.processes.buffers import Buffer
from anylog.processes.once import Known, Once
from anylog.processes.readback import Unreadable, understood
from anylog.processes.rounds import Records, Rounds
from anylog.processes.sent_notes import Note, Notes
from anylog.waiting import deferring

KEYS = "key"  # the kind of note


@define(kw_only=True, eq=False)
class Outgoing:
    """Makes files of buffers, in rounds, while a publisher runs."""

    _clock: Clock
    _disk: Disk
    _lane: ILane  # of the disk
    _cpu: ILane
    _folder: Path  # of the notes
    _records: Callable[[], Records]
    _finished: Callable[[Buffer], None]
    point: Callable[[str], None] = field(default=lambda name: None)
    counts: Counts = field(factory=Counts)
    made: Callable[[Sequence[tuple[str, int]]], None] = field(
        default=lambda files: None
    )  # files (name, bytes) lie there
    notes: Notes = field(init=False)
    log = Logger()

    _watch: Path | None = None
    _rounds: Rounds = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.notes = Notes(disk=self._disk, lane=self._lane, folder=self._folder)
        self._rounds = Rounds(
            clock=self._clock, counts=self.counts, round=self._round, open=lambda: self._watch is not None
        )

    @property
    def waiting(self) -> str:
        """Why no files are made at the moment."""
        return self._rounds.waiting

    @property
    def watch(self) -> Path | None:
        """The watch directory of the publisher that runs; None: what came waits."""
        return self._watch

    @watch.setter
    def watch(self, folder: Path | None) -> None:
        self._watch = folder
        self._rounds.go_on()

    @property
    def depth(self) -> int:
        """Buffers that wait, or become files."""
        return len(self._rounds)

    def takes(self, dbms: str) -> bool:
        """Whether readings of that database become files that are sent."""
        return self._watch is not None and dbms not in SYSTEM

    def reason(self) -> str:
        """Why buffers wait; empty: they do not."""
        return "no publisher runs" if self._watch is None else self.waiting

    async def recall(self, once: Once) -> None:
        """Read the keys that were heard of before the node ended; only where there are any notes."""
        try:
            if await self._lane.run(self._disk.names, self._folder):
                await self.notes.recall()
        except OSError as why:
            self.log.error("the notes of the publisher cannot be read: {why}", why=str(why))
            return
        for known in self.notes.of(KEYS).values():
            key, at, hash, rows = known
            once.remember(tuple(key), at, Receipt(hash, rows))

    def keys(self, dbms: str) -> list[Known]:
        """Those of that database of which files were made."""
        return [tuple(known[0]) for known in self.notes.of(KEYS).values() if known[0][0] == dbms]

    def add(self, buffer: Buffer) -> None:
        """All of it is synced, and nothing more comes to it."""
        self._rounds.add(buffer)

    def drained(self) -> Deferred[None]:
        """Fires when all are files, or what is left has to wait."""
        return self._rounds.drained()

    @deferring
    async def stop(self) -> None:
        """Make no more files after the round at hand."""
        await self._rounds.stop()
        await self.notes.stop()

    def begin_anew(self) -> None:
        """The journal is read again."""
        self._rounds.clear()

    async def _round(self, buffers: Sequence[Buffer]) -> dict[Buffer, str]:
        """Gives why some have to be tried again."""
        folder = self._watch
        assert folder is not None, "asked for before each round"
        steps: list[Publish] = []
        empty: list[Buffer] = []
        full: list[Buffer] = []
        keys: list[Note] = []
        left: dict[Buffer, str] = {}
        for buffer in buffers:
            try:
                name, data = await self._made(buffer)
            except (AnyLogError, OSError) as refused:  # the others need not wait for this one
                left[buffer] = f"{buffer.where.dbms}.{buffer.where.table}: {refused}"
                continue
            if not data:
                empty.append(buffer)
                continue
            full.append(buffer)
            steps.append(Publish(folder / name, data))
            keys += _keys(buffer, self._clock.seconds())
        if keys:
            await self.notes.add(keys)  # the journal forgets them with the buffer
        self.point("published")
        outcomes = await self._lane.run(self._disk.batch, steps) if steps else []
        self.point("placed")
        lying: list[tuple[str, int]] = []
        for buffer, step, outcome in zip(full, steps, outcomes, strict=True):
            if isinstance(outcome, OSError):
                left[buffer] = f"{step.path}: {outcome.strerror or outcome}"
            elif outcome == "other":
                left[buffer] = f"{step.path} is there with other content"
            else:
                lying.append((step.path.name, len(step.data)))
                self._finished(buffer)
        for buffer in empty:
            self._finished(buffer)
        self.made(lying)
        return left

    async def _made(self, buffer: Buffer) -> tuple[str, bytes]:
        """The name and the bytes of its file. Raises AnyLogError, or OSError as the disk does."""
        stored = [pending.stored for pending in buffer.records if pending.stored is not None]
        packed = await self._records().read(stored) if stored else []
        name, data, odd = await self._cpu.run(_file, buffer, packed)
        for place, why in odd:
            await self._records().put_aside(stored[place], why)
        return name, data


def _file(buffer: Buffer, packed: Sequence[bytes]) -> tuple[str, bytes, list[tuple[int, str]]]:
    """In a lane: its name and its bytes, which are none if nothing was kept of it; the places of those records that
    cannot be read, and why."""
    parts, odd = [], []
    for place, each in enumerate(packed):
        try:
            parts.append(normal_form(understood(each)[1]))
        except Unreadable as why:
            odd.append((place, str(why)))
    data = b"".join(parts)
    where = buffer.where
    # Equal buffers are not one: a sensor may say the same for ever (hard-parts.md 1.5).
    seal = hashlib.blake2b(str(buffer.id).encode(), digest_size=SEAL // 2).hexdigest()
    name = FileName(
        dbms=where.dbms,
        table=where.table,
        source=where.source,
        hash=buffer.whole or sealed_hash(where.dbms, where.table, seal, data),
        instructions=where.instructions,
    )
    return str(name.fitting()), data, odd


def _keys(buffer: Buffer, now: float) -> list[Note]:
    """Of what may come again."""
    where = buffer.where
    found: list[Any] = []
    for pending in buffer.records:
        found += [((where.dbms, where.table, key), token) for key, token in pending.tokens.items()]
        if pending.key:
            found.append(((where.dbms, where.table, pending.key), buffer.whole or "0"))
    return [(KEYS, "/".join(known), [list(known), now, token, 0]) for known, token in found]
