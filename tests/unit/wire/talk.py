"""Two conversations joined by hand, byte by byte if a test wants it so."""

from __future__ import annotations

from random import Random
from typing import Any

from attrs import define, field

from anylog.wire.flow import CONNECTION
from anylog.wire.frames import frame
from anylog.wire.messages import Event
from anylog.wire.peer_session import MOST, PeerSession


def opened(window: int = CONNECTION, most: int = MOST) -> Talk:
    """Two ends that know each other."""
    talk = Talk(PeerSession({"name": "a"}, window=window, most=most), PeerSession({"name": "b"}, window=window))
    talk.settle()
    talk.clear()
    return talk


@define(eq=False)
class Talk:
    """`a` and `b`, and the bytes on their way."""

    a: PeerSession
    b: PeerSession
    heard_a: list[Event] = field(factory=list)
    heard_b: list[Event] = field(factory=list)
    to_a: bytearray = field(factory=bytearray)
    to_b: bytearray = field(factory=bytearray)

    def push(self) -> None:
        """All that may go is on its way."""
        for session, line in ((self.a, self.to_b), (self.b, self.to_a)):
            line += session.control()
            while data := session.next_data():
                line += data

    def deliver(self, chance: Random | None = None) -> bool:
        """Some of it arrives, or all; False if nothing was on its way."""
        moved = False
        for session, line, heard in ((self.a, self.to_a, self.heard_a), (self.b, self.to_b, self.heard_b)):
            size = len(line) if chance is None or not line else chance.randint(1, len(line))
            if size:
                data = bytes(line[:size])
                del line[:size]
                heard += session.receive(data)
                moved = True
        return moved

    def settle(self) -> None:
        """Until nothing is on its way."""
        self.push()
        while self.deliver():
            self.push()

    def clear(self) -> None:
        """Forget what was heard."""
        self.heard_a.clear()
        self.heard_b.clear()

    def said_to_b(self, *messages: dict[str, Any]) -> list[Event]:
        """What `b` hears of messages that `a` did not say itself."""
        return self.b.receive(b"".join(frame(message) for message in messages))
