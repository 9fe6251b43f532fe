"""What must be known of a session with an outside broker when the node comes back from a crash (decisions.md 36).

A broker numbers its messages with packet ids and uses them again. At QoS 2 it says when one is free: which use of an id
it is, together with the session, names one message for ever. So what lasts here is the session, how often each id was
released, and which topics the broker has. A file of a few lines: it is made anew at each start and when it grew long.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from zlib import crc32

import orjson
from attrs import define, field
from twisted.internet.defer import Deferred

from anylog.errors import AnyLogError
from anylog.interfaces import Disk, DiskFile, ILane
from anylog.waiting import deferring

LONGEST = 1 << 20  # bytes of the file, from which it is made anew


@define(kw_only=True, eq=False)
class Exchanges:
    """The memory of one client. What is said to it holds at once, and lasts when the Deferred fires."""

    _disk: Disk
    _lane: ILane  # of one thread: what is written stays in order
    _path: Path
    _token: Callable[[int], bytes]
    session: str = ""
    topics: Mapping[str, int] = field(factory=dict)  # filter -> QoS, as the broker has them
    _released: dict[int, int] = field(factory=dict)  # packet id -> how often
    _file: DiskFile | None = None
    _size: int = 0
    _opening: list[Deferred[None]] | None = None
    _lines: list[bytes] = field(factory=list)
    _waiting: list[Deferred[None]] = field(factory=list)
    _writing: bool = False
    _anew: bool = False  # a write failed: what is in the file is not known
    _closed: bool = False

    def exchange(self, packet_id: int) -> str:
        """The name of what is on its way under a packet id of QoS 2."""
        return f"{self.session}.{self._released.get(packet_id, 0):x}"

    def open(self) -> Deferred[None]:
        """Read what an earlier run knew; once is enough. Fails with AnyLogError 14 naming the file."""
        done: Deferred[None] = Deferred()
        if self._file is not None:
            done.callback(None)
        elif self._opening is not None:
            self._opening.append(done)
        else:
            self._opening = [done]
            self._lane.run(self._read).addBoth(self._opened)
        return done

    def begin(self) -> Deferred[None]:
        """The broker knows nothing of us: packet ids and topics begin anew. Fails with AnyLogError 14."""
        self.session, self.topics = self._token(6).hex(), {}
        self._released.clear()
        return self._write({"session": self.session})

    def subscribed(self, topics: Sequence[tuple[str, int]]) -> Deferred[None]:
        """The broker has these topics. Fails with AnyLogError 14."""
        self.topics = dict(topics)
        return self._write({"topics": self.topics})

    def release(self, packet_ids: Sequence[int]) -> Deferred[None]:
        """These ids are free for other messages. Fails with AnyLogError 14."""
        for packet_id in packet_ids:
            self._released[packet_id] = self._released.get(packet_id, 0) + 1
        return self._write({"released": packet_ids})

    def close(self) -> Deferred[None]:
        """Nothing is written after what was said before."""
        self._closed = True
        return self._lane.run(self._shut)

    # ------------------------------------------------------------------ off the reactor

    def _read(self) -> None:
        try:
            self._take(self._disk.read(self._path))
        except FileNotFoundError:
            self._disk.make(self._path.parent)
        self.session = self.session or self._token(6).hex()
        self._replace(self._all())

    def _take(self, content: bytes) -> None:
        """Up to the first line that is not whole: a crash cut it off, and nobody has heard that it lasts."""
        for line in content.split(b"\n"):
            if line[:8] != b"%08x" % crc32(line[9:]) or len(line) < 10:
                return
            told = orjson.loads(line[9:])
            if "session" in told:
                self.session, self.topics = told["session"], {}
                self._released.clear()
            if "topics" in told:
                self.topics = told["topics"]
            for packet_id in told.get("released", ()):
                self._released[packet_id] = self._released.get(packet_id, 0) + 1
            for packet_id, often in told.get("often", ()):
                self._released[packet_id] = often

    def _replace(self, content: bytes) -> None:
        self._shut()
        self._disk.publish(self._path, content)
        self._file, self._size = self._disk.open(self._path), len(content)

    def _append(self, data: bytes) -> None:
        assert self._file is not None
        self._file.write(self._size, data)
        self._file.sync()
        self._size += len(data)

    def _shut(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    # ------------------------------------------------------------------ in the reactor

    def _all(self) -> bytes:
        return _line({"session": self.session, "topics": self.topics, "often": list(self._released.items())})

    def _opened(self, outcome: object) -> None:
        waiting, self._opening = self._opening or [], None
        _tell(waiting, outcome, self._path)

    def _write(self, told: Mapping[str, object]) -> Deferred[None]:
        """One write and one sync for all that is said meanwhile."""
        done: Deferred[None] = Deferred()
        if self._closed:
            done.errback(AnyLogError(14, f"{self._path}: closed"))
            return done
        self._lines.append(_line(told))
        self._waiting.append(done)
        if not self._writing:
            self._writing = True
            self._go()
        return done

    @deferring
    async def _go(self) -> None:
        while self._lines:
            lines, self._lines = self._lines, []
            waiting, self._waiting = self._waiting, []
            anew = self._anew or self._size > LONGEST
            try:
                await (
                    self._lane.run(self._replace, self._all())
                    if anew
                    else self._lane.run(self._append, b"".join(lines))
                )
            except Exception as why:
                self._anew = True
                _tell(waiting, why, self._path)
            else:
                self._anew = False
                _tell(waiting, None, self._path)
        self._writing = False


def _line(told: Mapping[str, object]) -> bytes:
    body = orjson.dumps(told)
    return b"%08x %b\n" % (crc32(body), body)


def _tell(waiting: Sequence[Deferred[None]], outcome: object, path: Path) -> None:
    why = getattr(outcome, "value", outcome)
    for each in waiting:
        if isinstance(why, Exception):
            each.errback(AnyLogError(14, f"{path}: {why}"))
        else:
            each.callback(None)
