"""Other members that answer what is asked of them, and the names of files that go to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field
from filing_case import DATE, MEMBER
from twisted.internet.defer import Deferred, fail, succeed

from anylog.errors import AnyLogError
from anylog.interfaces import Reply

DISTR, ARCHIVE, ERRORS, WATCH = Path("/distr"), Path("/archive"), Path("/error"), Path("/watch")
DAY = ARCHIVE / DATE[:2] / DATE[2:4] / DATE[4:6]
OTHER = 8  # member id


def named(id: int, member: int = MEMBER, hash: str = "", end: str = "json", date: str = DATE) -> str:
    return f"town.t.0.{hash or f'{id:032x}'}.0.{member}.{id}.{date}.{end}"


@define(eq=False)
class Asks:
    """Answers what is asked of other members, at once or when the test says so."""

    waits: set[str] = field(factory=set)  # addresses that do not answer
    fails: dict[str, list[AnyLogError]] = field(factory=dict)  # the next answers of an address
    told: dict[str, str] = field(factory=dict)  # name -> what is answered, else "taken"
    asked: list[tuple[str, list[str], float | None]] = field(factory=list)
    bodies: list[bytes] = field(factory=list)
    open: list[tuple[str, list[str], Deferred[Reply]]] = field(factory=list)
    odd: Any = None  # an answer of another kind

    def __call__(
        self, address: str, kind: str, head: Mapping[str, Any], body: bytes = b"", *, until: float | None = None
    ) -> Deferred[Reply]:
        assert kind == "deliver"
        names = [name for name, _ in head["files"]]
        self.asked.append((address, names, until))
        self.bodies.append(body)
        if self.fails.get(address):
            return fail(self.fails[address].pop(0))
        if self.odd is not None:
            return succeed(Reply(head=self.odd))
        if address in self.waits:
            self.open.append((address, names, waited := Deferred()))
            return waited
        return succeed(self.reply(names))

    def reply(self, names: Sequence[str]) -> Reply:
        return Reply(head={"told": [self.told.get(name, "taken") for name in names]})

    def answer(self, address: str) -> None:
        place = next(place for place, each in enumerate(self.open) if each[0] == address)
        _, names, waited = self.open.pop(place)
        waited.callback(self.reply(names))

    def to(self, address: str) -> list[str]:
        return [name for each, names, _ in self.asked if each == address for name in names]


@define
class Peer:
    member: int
    address: str
