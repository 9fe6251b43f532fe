"""Whole nodes in one process, on one clock, in a network that lives in memory (architecture.md 11)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from anylog.databases.library import STANDARD
from anylog.interfaces import Lanes
from anylog.language.context import Context, Result
from anylog.node import Node
from anylog.testing.clock import HeapClock
from anylog.testing.disk import MemoryDisk
from anylog.testing.lanes import InlineLanes
from anylog.testing.lasting import LastingFiles
from anylog.testing.network import MemoryNetwork

BEGIN = 1_800_000_000.0  # unix seconds


@define(eq=False)
class NodeClock:
    """The clock of one life of a node: it may be wrong by some seconds, and ends with that life."""

    _clock: HeapClock
    ahead: float = 0.0
    dead: bool = False
    _graves: list[Any] = field(factory=list)  # what would have been called: collected, it would run its last words

    def seconds(self) -> float:
        """What it shows."""
        return self._clock.seconds() + self.ahead

    def callLater(self, delay: float, call: Callable[..., object], *args: Any, **kwargs: Any) -> Any:
        """Seconds are as long as everywhere."""
        return self._clock.callLater(delay, self._make, call, args, kwargs)

    def _make(self, call: Callable[..., object], args: Any, kwargs: Any) -> None:
        if self.dead:
            self._graves.append((call, args, kwargs))
        else:
            call(*args, **kwargs)


@define(kw_only=True, eq=False, repr=False)
class Place:
    """What a node is made of, and what is left of it while it is down."""

    name: str
    host: str
    script: Sequence[str] = ()
    ahead: float = 0.0
    disk: MemoryDisk = field(factory=MemoryDisk)
    files: LastingFiles | None = None  # of databases that last
    clock: NodeClock | None = None  # of the life that goes on
    moments: int = 0  # until it crashes at a write, a sync, a statement or a named point; 0: it does not
    power: bool = True  # and whether that is a power cut
    lives: int = 0

    @property
    def home(self) -> Path:
        """Where it lives."""
        return Path("/") / self.name


@define(eq=False, repr=False)
class World:
    """Nodes by name. All that happens follows from the seed."""

    seed: int
    clock: HeapClock = field(factory=lambda: HeapClock(BEGIN))
    chance: Random = field(init=False)
    network: MemoryNetwork = field(init=False)
    nodes: dict[str, Node] = field(factory=dict)  # that live
    places: dict[str, Place] = field(factory=dict)
    lanes: Callable[[NodeClock], Lanes] = field(default=lambda clock: InlineLanes())
    crashed: Callable[[str, str], None] = field(default=lambda name, at: None)  # told of a crash, and before what
    _graves: list[Any] = field(factory=list)  # dead nodes, and what they hung on
    _over: list[LastingFiles] = field(factory=list)  # of lives that ended: closed when nobody is inside

    def __attrs_post_init__(self) -> None:
        self.chance = Random(self.seed)
        self.network = MemoryNetwork(self.clock, Random(self.chance.random()))

    def add(
        self, name: str, host: str, ahead: float = 0.0, *, script: Sequence[str] = (), lasting: bool = False
    ) -> Node:
        """A node of that name at an address of its own, started, with no doors open; its clock is `ahead` seconds.

        `lasting`: its databases are found again by `restart`, as far as they were synced, and `script` is run then.
        """
        files = LastingFiles() if lasting else None
        self.places[name] = Place(name=name, host=host, script=script, ahead=ahead, files=files)
        self.wait(self.restart(name))
        return self.nodes[name]

    def restart(self, name: str) -> Deferred[None]:
        """Begin the node of that name, on what is left of it; fires when its script is done."""
        place = self.places[name]
        place.lives += 1
        self.network.revive(place.host)
        chance = Random(self.chance.random())
        place.clock = NodeClock(self.clock, place.ahead)

        def point(what: str) -> None:
            # Copies that the life before left behind may still be at work: they are nobody's.
            if place.moments and self.nodes.get(name) is node:
                place.moments -= 1
                if not place.moments:
                    self.crash(name, what)

        place.disk.point = point
        if place.files is not None:
            place.files.point = point
        node = self.nodes[name] = Node(
            home=place.home,
            name=name,
            clock=place.clock,
            net=self.network.net(place.host),
            lanes=self.lanes(place.clock),
            disk=place.disk,
            chance=chance,
            token=chance.randbytes,
            engine=place.files.library if place.files is not None else STANDARD,
            point=point,
            segment_size=1 << 18,
        )
        begun = Deferred.fromCoroutine(node.start(place.script, write=lambda text: None))
        self._graves.append(begun)
        return begun

    def crash(self, name: str, at: str = "", *, power: bool | None = None, silent: bool = False) -> None:
        """The node ends at this moment, and none of its code is run any more that others could see.

        With `power` cut (as its place says if not given) what was not synced is forgotten, else the process alone is
        killed; `silent`: the others are not told. What is on the stack goes on with copies, and ends there.
        """
        place = self.places[name]
        power = place.power if power is None else power
        place.moments = 0
        self._graves += [self.nodes.pop(name), place.clock, *self.network.connections]
        self.network.kill(place.host, silent=silent and power)
        if place.clock is not None:
            place.clock.dead = True
        place.disk = place.disk.crash(self.chance, power)
        if place.files is not None:
            self._over.append(place.files)
            place.files = place.files.crash(self.chance, power)
        self.crashed(name, at)

    def crash_after(self, name: str, moments: int, power: bool = True) -> None:
        """Let it crash before the so many-th write, sync, statement or named point from now."""
        self.places[name].moments, self.places[name].power = moments, power

    def lives(self, node: Node) -> bool:
        """Whether that life still goes on."""
        return self.nodes.get(node.name) is node

    def set_ahead(self, name: str, ahead: float) -> None:
        """Somebody sets its clock."""
        place = self.places[name]
        place.ahead = ahead
        if place.clock is not None:
            place.clock.ahead = ahead

    def run(self, node: Node, *commands: str, seconds: float = 60.0) -> Result:
        """Commands one after the other, each waited for; gives the result of the last. Raises AnyLogError."""
        result = Result.nothing()
        for command in commands:
            result = self.wait(node.execute(command, Context(origin="console", who="test")), seconds)
        return result

    def begin(self, node: Node, command: str) -> Deferred[Result]:
        """A command that is not waited for."""
        return node.execute(command, Context(origin="console", who="test"))

    def wait(self, waited: Deferred[Any], seconds: float = 60.0) -> Any:
        """Let time pass until it fires, and give what came of it. Raises TimeoutError."""
        found: list[Any] = []
        waited.addBoth(found.append)
        self.until(lambda: bool(found), seconds)
        if isinstance(found[0], Failure):
            found[0].raiseException()
        return found[0]

    def until(self, holds: Callable[[], bool], seconds: float = 60.0) -> float:
        """Let time pass until it holds; gives the seconds that took. Raises TimeoutError."""
        begin = self.clock.seconds()
        while not holds():
            if self.clock.seconds() - begin > seconds:
                raise TimeoutError(f"seed {self.seed}: not within {seconds:g} simulated seconds")
            self.step(begin + seconds + 0.001)
        return self.clock.seconds() - begin

    def advance(self, seconds: float) -> None:
        """Let that much time pass, event by event."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            self.step(end)

    def step(self, end: float) -> None:
        """To the next event, or to `end` if there is none before."""
        following = self.clock.following()
        until = end if following is None else min(following, end)
        self.clock.advance(max(0.0, until - self.clock.seconds()))
        while self._over:
            self._over.pop().end()

    def stop(self, names: Sequence[str] = ()) -> None:
        """Stop nodes, all if none is named."""
        for name in names or list(self.nodes):
            self.wait(self.nodes.pop(name).stop())

    def end(self) -> None:
        """Let everything go at once, without stopping anything."""
        for place in self.places.values():
            if place.clock is not None:
                place.clock.dead = True
            if place.files is not None:
                self._over.append(place.files)
                place.files = None
        self.nodes.clear()
        while self._over:
            self._over.pop().end()
