"""The commands of the doors, on a node that is no more than they need (rest.md 1 and 9)."""

from __future__ import annotations

from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from wire import FakeIntake

from anylog.disk.places import Places
from anylog.errors import AnyLogError
from anylog.language.command import Command
from anylog.language.context import Context, Result
from anylog.language.logs import Logs
from anylog.network import commands
from anylog.process import Processes
from anylog.testing.disk import MemoryDisk
from anylog.testing.lanes import InlineLanes


class FakePort:
    """A listening port."""

    def stopListening(self) -> None:
        """At once."""


class FakeNet:
    """Remembers where it was asked to listen."""

    def __init__(self) -> None:
        self.endpoints: list[str] = []
        self.taken = False

    def listen(self, endpoint: str, factory: object) -> Deferred[Any]:
        """A port, or none if it is taken."""
        self.endpoints.append(endpoint)
        return fail(CannotListenError("127.0.0.1", 32149, OSError("in use"))) if self.taken else succeed(FakePort())


class CommandCase(SynchronousTestCase):
    def setUp(self) -> None:
        clock = Clock()
        clock.advance(1_790_000_000)
        self.net = FakeNet()
        self.node: Any = SimpleNamespace(
            lanes=InlineLanes(),
            execute=lambda text, context: succeed(Result(text="fine")),
            intake=FakeIntake(),
            msg_clients=None,
            words=SimpleNamespace(command_of=lambda text: None, starting_with=lambda text: []),
            net=self.net,
            logs=Logs(clock),
            clock=clock,
            name="edge",
            address="127.0.0.1:32149",
            processes=Processes(clock),  # type: ignore[arg-type]
            disk=MemoryDisk(),
            places=Places.under(Path("/home")),
            chance=Random(1),
        )

    def do(self, command: type[Command], *operands: str, **pairs: str) -> Any:
        """Run it as it would be asked."""
        options = command.read(operands, pairs.items())
        asked = command().run(self.node, Context(), operands, **options)
        return self.successResultOf(Deferred.fromCoroutine(asked))

    def refused(self, command: type[Command], *operands: str, **pairs: str) -> AnyLogError:
        """Run what is refused."""
        try:
            options = command.read(operands, pairs.items())
            failure = self.failureResultOf(
                Deferred.fromCoroutine(command().run(self.node, Context(), operands, **options)), AnyLogError
            )
        except AnyLogError as error:
            return error
        error = failure.value
        assert isinstance(error, AnyLogError)
        return error


class Rest(CommandCase):
    def test_endpoints(self) -> None:
        """Both forms; the external address is listened on only if there is no internal one."""
        for operands, pairs, endpoint in [
            (("10.0.0.78", "7849"), {"timeout": "0", "threads": "6"}, "tcp:7849:interface=10.0.0.78"),
            ((), {"internal_ip": "10.0.0.78", "internal_port": "7849"}, "tcp:7849:interface=10.0.0.78"),
            ((), {"internal_ip": "h", "internal_port": "1", "bind": "false"}, "tcp:1"),
            (
                (),
                {"internal_ip": "h", "internal_port": "1", "external_ip": "e", "external_port": "2"},
                "tcp:1:interface=h",
            ),
            ((), {"external_ip": "e", "external_port": "2"}, "tcp:2:interface=e"),
            (("::1", "7849"), {}, "tcp:7849:interface=\\:\\:1"),
        ]:
            self.setUp()
            self.do(commands.RunRestServer, *operands, **pairs)
            self.assertEqual(self.net.endpoints, [endpoint])

    def test_refusals(self) -> None:
        """Each by its number."""
        for operands, pairs, number in [
            ((), {}, 2),
            (("10.0.0.78",), {}, 2),
            (("10.0.0.78", "abc"), {}, 221),
            (("10.0.0.78", "70000"), {}, 221),
            (("h", "1"), {"ssl": "true"}, 237),
            (("h", "1"), {"threads": "0"}, 175),
        ]:
            self.assertEqual(self.refused(commands.RunRestServer, *operands, **pairs).number, number, (operands, pairs))

    def test_running_and_taken(self) -> None:
        """A second one is refused, and a port that is taken is named."""
        self.net.taken = True
        error = self.refused(commands.RunRestServer, "127.0.0.1", "32149")
        self.assertEqual(error.number, 3)
        self.assertTrue(str(error).startswith("Failed to open a REST server on 127.0.0.1:32149"), str(error))
        self.net.taken = False
        self.do(commands.RunRestServer, "127.0.0.1", "32149")
        self.assertEqual(self.refused(commands.RunRestServer, "127.0.0.1", "32149").number, 136)
        self.assertEqual(
            self.node.processes.find("rest").describe(),
            "Listening on: 127.0.0.1:32149, Threads Pool: 5, Timeout: 20, SSL: False",
        )

    def test_not_running(self) -> None:
        """Said, and how to help it."""
        for command, operands in [(commands.GetRestCalls, ()), (commands.SetRestTimeout, ("1",))]:
            self.assertIn("run rest server", str(self.refused(command, *operands)))

    def test_calls(self) -> None:
        """A table of bars; a repeated caller is left blank."""
        self.do(commands.RunRestServer, "127.0.0.1", "32149")
        calls = self.node.processes.find("rest").calls
        calls.add("anylog", "PUT", "127.0.0.1:1", 1_790_000_000.0)
        calls.add("curl", "GET", "127.0.0.1:2", 1_790_000_000.0)
        calls.add("anylog", "GET", "127.0.0.1:3", 1_790_000_001.0, "a|b")
        result = self.do(commands.GetRestCalls)
        self.assertEqual(
            result.text.split("\r\n"),
            [
                "",
                "Statistics for REST calls using http://127.0.0.1:32149",
                "Caller Call Processed Errors Last Error First Call          Last Call           Last Caller",
                "------|----|---------|------|----------|-------------------|-------------------|-----------|",
                "anylog|PUT |        1|     0|          |2026-09-21 14:13:20|2026-09-21 14:13:20|127.0.0.1:1|",
                "      |GET |        1|     1|a¦b       |2026-09-21 14:13:21|2026-09-21 14:13:21|127.0.0.1:3|",
                "curl  |GET |        1|     0|          |2026-09-21 14:13:20|2026-09-21 14:13:20|127.0.0.1:2|",
                "",
            ],
        )
        self.assertEqual(result.data[1]["Last Error"], "a|b")

    def test_many_callers(self) -> None:
        """Names come from strangers, so they are bounded."""
        self.do(commands.RunRestServer, "127.0.0.1", "32149")
        calls = self.node.processes.find("rest").calls
        for number in range(500):
            calls.add(f"agent{number}", "GET", "", 0.0)
        self.assertEqual(len(list(calls)), 101)
        self.assertEqual({row.caller: row.processed for row in calls}["others"], 400)

    def test_info_and_pool(self) -> None:
        """Attributes by their documented names; the pool as it is known."""
        self.do(commands.RunRestServer, "127.0.0.1", "32149", timeout="2 minutes", threads="3")
        info = self.do(commands.GetRestServerInfo, format="json")
        self.assertEqual((info.format, info.data["timeout"], info.data["workers_count"]), ("json", 120.0, 3))
        self.assertEqual(self.do(commands.GetRestPool).text, "REST Pool with 3 threads:".ljust(60) + "[0, 0, 0] (0)")
        self.assertIn("connections", self.do(commands.GetRestPool, details="true").text)

    def test_timeout(self) -> None:
        """Changed for requests from now on."""
        self.do(commands.RunRestServer, "127.0.0.1", "32149")
        self.do(commands.SetRestTimeout, "2 minutes")
        server = self.node.processes.find("rest")
        self.assertEqual((server.options.timeout, server.site.limits.reader_seconds), (120, 120))
        self.assertEqual(self.refused(commands.SetRestTimeout, "soon").number, 182)

    def test_exit(self) -> None:
        """As any process; it can be started again."""
        self.do(commands.RunRestServer, "127.0.0.1", "32149")
        self.assertTrue(self.successResultOf(Deferred.fromCoroutine(self.node.processes.exit("rest"))))
        self.do(commands.RunRestServer, "127.0.0.1", "32149")


class Telnet(CommandCase):
    def test_start(self) -> None:
        """This machine only, unless the other is said."""
        self.do(commands.RunTelnetServer, internal_port="7852")
        self.assertEqual(self.net.endpoints, ["tcp:7852:interface=127.0.0.1"])
        self.assertEqual(self.node.processes.find("telnet").describe(), "Listening on: 127.0.0.1:7852, Sessions: 0")
        self.assertEqual(self.refused(commands.RunTelnetServer, internal_port="7852").number, 136)

    def test_remote(self) -> None:
        """Refused, then allowed."""
        error = self.refused(commands.RunTelnetServer, internal_ip="0.0.0.0", internal_port="7852")
        self.assertEqual(error.number, 212)
        self.do(commands.RunTelnetServer, internal_ip="0.0.0.0", internal_port="7852", allow_remote="true")


class Help(SynchronousTestCase):
    def test_every_command_explains_itself(self) -> None:
        """A sentence, a usage, an example that begins with its words, keywords."""
        for command in commands.COMMANDS:
            self.assertTrue(command.explanation().splitlines()[0].endswith("."), command)
            self.assertTrue(command.usage_text().startswith(command.words), command)
            self.assertTrue(all(example.startswith(command.words) for example in command.examples), command)
            self.assertTrue(command.examples and command.index, command)
