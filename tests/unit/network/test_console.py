"""A console over telnet, driven through a transport in memory (cli-console.md)."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from wire import FakePages

from anylog.errors import AnyLogError
from anylog.language.context import Context, Result
from anylog.network.console import box, split
from anylog.network.telnet import TelnetConsole, TelnetOptions, TelnetServer

IAC = b"\xff"
TERMINAL = IAC + b"\xfd\x01" + IAC + b"\xfd\x03"  # DO ECHO, DO SGA
NARROW = IAC + b"\xfd\x1f" + IAC + b"\xfa\x1f\x00\x1e\x00\x18" + IAC + b"\xf0"


class Visit:
    """One console."""

    def __init__(self, server: TelnetServer, peer: str = "127.0.0.1") -> None:
        address = IPv4Address("TCP", peer, 4444)
        self.line = StringTransport(peerAddress=address)
        self.protocol: Any = server.build(address)
        self.protocol.makeConnection(self.line)
        self.over = False

    def send(self, data: bytes | str) -> str:
        """Type; gives what was shown, without the negotiation."""
        if not self.line.disconnecting:
            self.protocol.dataReceived(data.encode() if isinstance(data, str) else data)
        return self.seen()

    def seen(self) -> str:
        """What was shown since."""
        data = self.line.value()
        self.line.clear()
        while IAC in data:
            at = data.index(IAC)
            data = data[:at] + data[at + 3 :]
        return data.decode()

    def leave(self) -> None:
        """Close the window."""
        self.protocol.connectionLost(Failure(ConnectionDone()))


class ConsoleCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.name, self.messages, self.serves = "", 0, True
        self.asked: list[tuple[str, Context]] = []
        self.replies: dict[str, Any] = {}
        self.server = TelnetServer(
            execute=self._execute,
            net=None,  # type: ignore[arg-type]
            clock=self.clock,
            node_name=lambda: self.name,
            options=TelnetOptions(port=7852, sessions=3),
            complete=lambda text: [word for word in ("get status",) if word.startswith(text)],
            messages=lambda: self.messages,
            serves=lambda: self.serves,
        )

    def _execute(self, text: Any, context: Context) -> Deferred[Result]:
        self.asked.append((text, context))
        reply = self.replies.get(text, Result(text=f"[{text}]"))
        if isinstance(reply, Deferred):
            return reply
        return fail(reply) if isinstance(reply, Exception) else succeed(reply)

    def visit(self, keys: bytes = b"") -> Visit:
        """A console past its greeting."""
        visit = Visit(self.server)
        visit.seen()
        if keys:
            visit.send(keys)
        return visit

    def texts(self) -> list[str]:
        """What was executed."""
        return [text for text, _ in self.asked]


class Lines(ConsoleCase):
    def test_greeting(self) -> None:
        """Version, name, prompt; the name follows the node."""
        self.assertRegex(Visit(self.server).seen(), r"^AnyLog Version: [\d.]+\r\nAL > $")
        self.name = "Operator_3"
        visit = Visit(self.server)
        self.assertRegex(visit.seen(), r"Node: Operator_3\r\nAL Operator_3 > $")
        self.name = "other"
        self.assertEqual(visit.send("\r\n"), "AL other > ")

    def test_switched_off(self) -> None:
        """After `set cli off` a command is not run, also one that was behind it on the line; who wants may leave."""
        visit = self.visit()
        self.serves = False
        self.assertEqual(visit.send("get status & get processes\n").splitlines(), ["AnyLog CLI disabled", "AL > "])
        self.assertEqual(self.texts(), [])
        self.serves = True
        visit.send("get status\n")
        self.assertEqual(self.texts(), ["get status"])
        self.serves = False
        visit.send("quit\n")
        self.assertTrue(visit.line.disconnecting)

    def test_messages_wait(self) -> None:
        """A `+` in the prompt until they were looked at from this console; other consoles have their own."""
        visit, other = self.visit(), self.visit()
        self.messages = 2
        self.assertEqual(visit.send("\n"), "AL +> ")
        self.assertTrue(visit.send("get  Echo queue where format = json\n").endswith("AL > "))
        self.assertEqual(other.send("\n"), "AL +> ")
        self.replies["get echo queue"] = AnyLogError(1)
        self.assertTrue(other.send("get echo queue\n").endswith("AL +> "))
        self.messages = 3
        self.name = "north"
        self.assertEqual(visit.send("\n"), "AL north +> ")
        self.assertIn("Messages are in the echo queue", Visit(self.server).seen())

    def test_plain_lines(self) -> None:
        """`printf 'get status\\r\\n' | nc` works, with any line end."""
        for end in ("\r\n", "\n", "\r\0"):
            self.assertEqual(self.visit().send(f"get status{end}"), "\r\n[get status]\r\nAL > ")

    def test_outputs(self) -> None:
        """Each kind of result as a console shows it."""
        for line, reply, shown in [
            ("get x", Result(text="a\nb\n"), "\r\na\r\nb\r\nAL > "),
            ("get x", Result(text="\r\na\r\n"), "\r\na\r\nAL > "),
            ("set x", Result.nothing(), "AL > "),
            ("!x", Result(text="hello"), "'hello'\r\nAL > "),
            ("!x", Result(text='{"a": 1}'), '{"a": 1}\r\nAL > '),
            ("!none", Result.nothing(), "AL > "),
            ("get j", Result(data={"a": 1}), '\r\n{"a":1}\r\nAL > '),
            (
                "nope",
                AnyLogError(1, "Unrecognized command: nope"),
                "|==========================|\r\n|Unrecognized command: nope|\r\n|==========================|\r\n"
                "Unrecognized Command\r\nAL > ",
            ),
            ("sql", Result(pages=FakePages(b"one\n", b"two")), "one\r\ntwo\r\nAL > "),
        ]:
            self.replies = {line: reply}
            visit = self.visit()
            self.assertEqual(visit.send(line + "\n"), shown)
            visit.leave()

    def test_blocks(self) -> None:
        """`<` opens a block of several lines, without a prompt between them."""
        visit = self.visit()
        self.assertEqual(visit.send('<set policy p = {\r\n\r\n "name": "x"\r\n'), "")
        visit.send("}>\r\n")
        self.assertEqual(self.texts(), ['set policy p = { "name": "x" }'])
        self.assertEqual(visit.protocol.session.history.lines, [])

    def test_several_on_one_line(self) -> None:
        """`&` separates, outside quotes; an error ends the line."""
        for line, expected in [
            ("a & b", ["a", "b"]),
            ('print "a & b"', ['print "a & b"']),
            ("rest get where url = x?a=1&b=2", ["rest get where url = x?a=1&b=2"]),
            ('x = {"a" : "b & c"} & d', ['x = {"a" : "b & c"}', "d"]),
        ]:
            self.assertEqual(split(line), expected)
        self.replies["a"] = AnyLogError(2)
        self.visit(b"a & b\n")
        self.assertEqual(self.texts(), ["a"])

    def test_comments_and_blanks(self) -> None:
        """They ask nothing."""
        self.visit(b"# a comment\n   \n")
        self.assertEqual(self.texts(), [])

    def test_context(self) -> None:
        """The same one for a whole session, of this machine, so that `if` and `do` work over lines."""
        self.visit(b"a\nb\n")
        (_, first), (_, second) = self.asked
        self.assertIs(first, second)
        self.assertEqual((first.origin, first.who, first.local), ("console", "console@127.0.0.1:4444", True))

    def test_typing_ahead(self) -> None:
        """One foreground command; what is typed meanwhile runs after it, up to a limit."""
        waited = self.replies["wait"] = Deferred()
        visit = self.visit(b"wait\nget a\nget b\n")
        self.assertEqual(self.texts(), ["wait"])
        self.assertIn("[input truncated]", visit.send(b"x" * 70_000))

        waited.callback(Result(text="waited"))
        self.assertEqual(self.texts(), ["wait", "get a", "get b"])

    def test_many_lines_at_once(self) -> None:
        """A whole script that was pasted runs to its end."""
        self.visit(b"get a\n" * 3000)
        self.assertEqual(self.texts(), ["get a"] * 3000)

    def test_half_closed(self) -> None:
        """The answer still comes after the client has sent its last byte, and a last line may lack its end."""
        waited = self.replies["wait"] = Deferred()
        visit = self.visit(b"wait\nget a")
        visit.protocol.readConnectionLost()
        self.assertFalse(visit.line.disconnecting)
        waited.callback(Result(text="waited"))
        self.assertEqual((self.texts(), visit.line.disconnecting), (["wait", "get a"], True))

    def test_leaving(self) -> None:
        """Each word for it closes this console and nothing else."""
        for word in ("exit", "quit", "logout", "exit cli", "EXIT  Session"):
            visit = self.visit(word.encode() + b"\n")
            self.assertTrue(visit.line.disconnecting, word)
            visit.leave()
        self.assertEqual(self.texts(), [])

    def test_exit_node(self) -> None:
        """Asks first; `force` does not."""
        visit = self.visit()
        self.assertEqual(visit.send("exit node\n"), "Stop the node? (yes/no) ")
        visit.send("no\n")
        self.assertEqual(self.texts(), [])
        visit.send("exit node\nyes\nexit node force\n")
        self.assertEqual(self.texts(), ["exit node", "exit node"])

    def test_fault(self) -> None:
        """A fault of ours is logged, and the prompt comes back."""
        self.replies["x"] = ZeroDivisionError()
        self.assertTrue(self.visit().send("x\n").endswith("Internal error\r\nAL > "))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_box(self) -> None:
        """Long lines are broken."""
        lines = box(AnyLogError(40, "word " * 100 + "\nsecond")).splitlines()
        self.assertEqual({len(line) for line in lines[:-1]}, {len(lines[0])})
        self.assertLessEqual(len(lines[0]), 252)


class Terminal(ConsoleCase):
    def test_echo(self) -> None:
        """Once the client lets us echo, keys are shown and edited."""
        visit = self.visit(TERMINAL)
        self.assertEqual(visit.send("get"), "get")
        self.assertEqual(visit.send(" st\t"), " status ")
        self.assertEqual(visit.send("\r\0"), "\r\n\r\n[get status]\r\nAL > ")
        visit.send("\x1b[A\r\0")
        self.assertEqual(self.texts(), ["get status", "get status"])

    def test_refused(self) -> None:
        """A client that refuses stays line by line."""
        visit = self.visit(IAC + b"\xfe\x01" + IAC + b"\xfe\x03")
        self.assertEqual(visit.send("get"), "")

    def test_print_meanwhile(self) -> None:
        """What is printed while somebody types does not corrupt the line."""
        visit = self.visit(TERMINAL)
        visit.send("get sta")
        visit.protocol.session.context.write("hello of a peer")
        self.assertEqual(visit.seen(), "\r\x1b[Jhello of a peer\r\nAL > get sta\x1b[J")

    def test_window(self) -> None:
        """The width is the client's."""
        visit = self.visit(TERMINAL + NARROW.replace(b"\xfd\x1f", b"\xfb\x1f", 1))
        self.assertEqual(visit.protocol._editor.width, 30)

    def test_interrupt(self) -> None:
        """Ctrl-C drops the line, the block, or the query that runs."""
        gone: list[object] = []
        self.replies["get slow"] = Deferred(gone.append)
        visit = self.visit(TERMINAL)
        self.assertEqual(visit.send("abc\x03"), "abc^C\r\nAL > ")
        visit.send("<abc\r\0\x03get slow\r\0")
        self.assertEqual((self.texts(), gone), (["get slow"], []))
        self.assertIn("Interrupted", visit.send("typed ahead\x03"))
        self.assertEqual(len(gone), 1)
        visit.send("get a\r\0")
        self.assertEqual(self.texts(), ["get slow", "get a"])

    def test_interrupt_leaves_changes_alone(self) -> None:
        """What changes something goes on to its end."""
        gone: list[object] = []
        running = self.replies["set x"] = Deferred(gone.append)
        visit = self.visit(TERMINAL)
        visit.send("set x\r\0")
        self.assertIn("Interrupted", visit.send("\x03"))
        running.callback(Result.nothing())
        self.assertEqual(gone, [])

    def test_end(self) -> None:
        """Ctrl-D on an empty line closes the session."""
        visit = self.visit(TERMINAL)
        visit.send("ab\x04")
        self.assertFalse(visit.line.disconnecting)
        visit.send("\x15\x04")
        self.assertTrue(visit.line.disconnecting)

    def test_closing_the_window(self) -> None:
        """Gives up a query."""
        gone: list[object] = []
        self.replies["get slow"] = Deferred(gone.append)
        visit = self.visit(TERMINAL)
        visit.send("get slow\r\0")
        visit.leave()
        self.assertEqual((len(gone), self.server.consoles), (1, []))


class Limits(ConsoleCase):
    def test_sessions(self) -> None:
        """So many at once, then a polite no; one that leaves makes room."""
        visits = [self.visit() for _ in range(3)]
        self.assertEqual(Visit(self.server).seen(), "Too many sessions\r\n")
        visits[0].leave()
        self.assertIn("AL > ", Visit(self.server).seen())

    def test_other_machines(self) -> None:
        """Refused unless that was said; and even then only ordinary commands."""
        visit = Visit(self.server, "10.0.0.7")
        self.assertEqual((visit.seen(), visit.line.disconnecting), ("Only from this machine\r\n", True))
        self.server.options = TelnetOptions(allow_remote=True)
        Visit(self.server, "10.0.0.7").send("a\n")
        self.assertFalse(self.asked[0][1].local)

    def test_remote_address_is_refused(self) -> None:
        """Listening for others needs to be said."""
        self.server.options = TelnetOptions(ip="0.0.0.0", port=1)
        self.failureResultOf(self.server.start(), AnyLogError)

    def test_idle(self) -> None:
        """Closed after half an hour without a key."""
        visit = self.visit()
        self.clock.advance(1000)
        visit.send("a\n")
        self.clock.advance(1700)
        self.assertFalse(visit.line.disconnecting)
        self.clock.advance(200)
        self.assertTrue(visit.line.disconnecting)
        visit.leave()
        self.assertEqual([call for call in self.clock.getDelayedCalls() if call.active()], [])

    def test_stalled(self) -> None:
        """A client that does not read costs a megabyte at most, and is told what it missed."""
        visit = self.visit()
        visit.protocol.pauseProducing()
        for _ in range(30):
            visit.protocol.print_text("x" * 100_000)
        self.assertEqual(visit.seen(), "")
        visit.protocol.resumeProducing()
        shown = visit.seen()
        self.assertEqual((shown.count("x"), shown[-20:]), (1_000_000, "[output truncated]\r\n"))

    def test_pages_wait(self) -> None:
        """No page is asked for while the client does not read."""
        pages = FakePages(*[b"page"] * 3)
        self.replies["sql"] = Result(pages=pages)
        visit = self.visit()
        visit.protocol.pauseProducing()
        visit.send("sql\n")
        self.assertEqual(pages.asked, 1)
        visit.protocol.resumeProducing()
        self.assertEqual((pages.asked, pages.closed), (4, 1))

    def test_stop(self) -> None:
        """Every console is told and closed."""
        visit = self.visit()
        self.successResultOf(self.server.stop())
        self.assertIn("Closed", visit.seen())
        self.assertTrue(visit.line.disconnecting)

    def test_not_telnet(self) -> None:
        """Rubbish after the escape byte ends the session."""
        visit = self.visit(IAC + b"\x01")
        self.assertTrue(visit.line.disconnecting)
        self.assertIsInstance(visit.protocol, TelnetConsole)
