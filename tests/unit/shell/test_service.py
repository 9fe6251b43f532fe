"""The node as a service: how its process starts, speaks and ends."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from anylog import tap
from anylog.errors import AnyLogError
from anylog.tap import DEFAULT_COMMANDS, STOP_SECONDS, NodeService


class Reactor(Clock):
    """A clock that also knows the few words a service says to the reactor."""

    def __init__(self) -> None:
        super().__init__()
        self.stopped = 0
        self.triggers: list[tuple[Any, ...]] = []

    def callWhenRunning(self, call: Callable[[], object]) -> None:
        self.callLater(0, call)

    def addSystemEventTrigger(self, *trigger: Any) -> None:
        self.triggers.append(trigger)

    def stop(self) -> None:
        self.stopped += 1


class FakeNode:
    """Starts and stops when the test says so."""

    name = "north"

    def __init__(self, started: Any = None, stopped: Deferred[None] | None = None) -> None:
        self.exiting: Deferred[str] = Deferred()
        self.commands: Sequence[str] = ()
        self._started, self._stopped = started, stopped or succeed(None)
        door = SimpleNamespace(name="rest", describe=lambda: "Listening on: 127.0.0.1:1")
        self.processes = SimpleNamespace(running=lambda: [door])
        self.stops = 0

    async def start(self, commands: Sequence[str], write: Callable[[str], None]) -> None:
        self.commands = commands
        if isinstance(self._started, Exception):
            raise self._started
        if self._started is not None:
            await self._started

    def stop(self) -> Deferred[None]:
        self.stops += 1
        return self._stopped


class NodeServiceTests(SynchronousTestCase):
    """From startService to the end of the process."""

    def setUp(self) -> None:
        self.reactor, self.out, self.err = Reactor(), io.StringIO(), io.StringIO()
        self.statuses: list[int] = []
        self.patch(sys, "__stdout__", self.out)
        self.patch(sys, "__stderr__", self.err)
        self.patch(tap.atexit, "register", lambda call, status: self.statuses.append(status))
        self.patch(sys, "setswitchinterval", lambda seconds: None)

    def service(self, node: FakeNode, *commands: str) -> NodeService:
        service = NodeService(
            reactor=self.reactor,
            make=lambda: node,  # type: ignore[arg-type, return-value]
            home=Path("home"),
            commands=commands,
            plain=True,
        )
        service.startService()
        self.reactor.advance(0)
        return service

    def test_without_commands(self) -> None:
        """The node of `make run` starts and tells the first steps, what listens, and how open it is."""
        node = FakeNode()
        self.service(node)
        self.assertEqual(node.commands, DEFAULT_COMMANDS)
        for part in ("north is ready", "Listening on: 127.0.0.1:1", "curl -X PUT", "sql town", "Authentication is not"):
            self.assertIn(part, self.out.getvalue())

    def test_with_commands(self) -> None:
        """One's own commands run instead, and no table named town is spoken of."""
        node = FakeNode()
        self.service(node, "get status")
        self.assertEqual(node.commands, ("get status",))
        self.assertNotIn("town", self.out.getvalue())

    def test_refused_start(self) -> None:
        """The reason is said in one line, and the process ends with status 1 after a clean stop."""
        node = FakeNode(AnyLogError(28, "line 3 of a.al: no table t"))
        service = self.service(node, "process a.al")
        self.assertEqual(self.err.getvalue(), "anylog: cannot start: Wrong table name: line 3 of a.al: no table t\n")
        self.assertEqual((self.reactor.stopped, self.statuses), (1, [1]))
        self.successResultOf(service.stopService())
        self.assertEqual(node.stops, 1)

    def test_unexpected_failure(self) -> None:
        """What nobody expected comes with its traceback."""
        self.service(FakeNode(ZeroDivisionError("x")))
        self.assertIn("Traceback", self.err.getvalue())
        self.assertEqual((self.reactor.stopped, self.statuses), (1, [1]))

    def test_stopped_while_starting(self) -> None:
        """A signal during the start ends it without calling it a failure."""
        node = FakeNode(Deferred())
        self.successResultOf(self.service(node).stopService())
        self.assertEqual((self.err.getvalue(), self.statuses, node.stops), ("", [], 1))

    def test_exit_node(self) -> None:
        """When the node has ended by itself, the process follows."""
        node = FakeNode()
        self.service(node)
        node.exiting.callback("exit node")
        self.assertEqual((self.reactor.stopped, self.statuses), (1, []))

    def test_stop_waits_but_not_for_ever(self) -> None:
        """The reactor goes on until the node has stopped; one that hangs is left behind and the process ended."""
        service = self.service(FakeNode(stopped=Deferred()))
        stopping = service.stopService()
        self.reactor.advance(STOP_SECONDS - 1)
        self.assertNoResult(stopping)
        self.reactor.advance(1)
        self.successResultOf(stopping)
        self.assertEqual(self.reactor.triggers, [("after", "shutdown", tap.leave_with, 1)])
