"""Whole nodes in one process, on one clock, in a network that lives in memory (architecture.md 11)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from anylog.language.context import Context, Result
from anylog.node import Node
from anylog.testing.disk import MemoryDisk
from anylog.testing.lanes import InlineLanes
from anylog.testing.network import MemoryNetwork

BEGIN = 1_800_000_000.0  # unix seconds


@define(eq=False)
class Ahead:
    """A clock that is wrong by some seconds."""

    _clock: Clock
    _by: float

    def seconds(self) -> float:
        """What it shows."""
        return self._clock.seconds() + self._by

    def callLater(self, delay: float, call: Callable[..., object], *args: Any, **kwargs: Any) -> Any:
        """Seconds are as long as everywhere."""
        return self._clock.callLater(delay, call, *args, **kwargs)


@define(eq=False)
class World:
    """Nodes by name. All that happens follows from the seed."""

    seed: int
    clock: Clock = field(factory=Clock)
    chance: Random = field(init=False)
    network: MemoryNetwork = field(init=False)
    nodes: dict[str, Node] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.chance = Random(self.seed)
        self.clock.advance(BEGIN)
        self.network = MemoryNetwork(self.clock, Random(self.chance.random()))

    def add(self, name: str, host: str, ahead: float = 0.0) -> Node:
        """A node of that name at an address of its own, started, with no doors open; its clock is `ahead` seconds."""
        chance = Random(self.chance.random())
        clock: Any = Ahead(self.clock, ahead) if ahead else self.clock
        node = Node(
            home=Path("/") / name,
            name=name,
            clock=clock,
            net=self.network.net(host),
            lanes=InlineLanes(),
            disk=MemoryDisk(),
            chance=chance,
            token=chance.randbytes,
        )
        self.nodes[name] = node
        self.wait(Deferred.fromCoroutine(node.start(write=lambda text: None)))
        return node

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
        calls: Any = self.clock.getDelayedCalls()
        following = [call.getTime() for call in calls[:1]]
        self.clock.advance(max(0.0, min([*following, end]) - self.clock.seconds()))

    def stop(self, names: Sequence[str] = ()) -> None:
        """Stop nodes, all if none is named."""
        for name in names or list(self.nodes):
            self.wait(self.nodes.pop(name).stop())
