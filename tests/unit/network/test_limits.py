"""What a stranger cannot do to the REST server (rest.md 12, security.md 9)."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from wire import Wire, parse, request

from anylog.language.context import Result
from anylog.network.channel import Limits, tidy_request_line

SMALL = Limits(body=100, headers=1000, connections=3, held=250)


class Sizes(SynchronousTestCase):
    def test_length_over_the_limit(self) -> None:
        """Refused from Content-Length, before the body."""
        client = Wire(SMALL).connect()
        answer = parse(client.send(b"PUT / HTTP/1.1\r\ndbms: b\r\ntable: t\r\nContent-Length: 101\r\n\r\n"))
        self.assertEqual((answer.status, answer.json()["err_code"]), (413, 501))
        self.assertIn("AnyLog.error on REST server", answer.json())

    def test_chunks_over_the_limit(self) -> None:
        """Refused as soon as too much has come."""
        wire = Wire(SMALL)
        client = wire.connect()
        client.send(b"PUT / HTTP/1.1\r\ndbms: b\r\ntable: t\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.assertEqual(client.send(b"32\r\n" + b"x" * 50 + b"\r\n"), b"")
        self.assertEqual(parse(client.send(b"33\r\n" + b"x" * 51 + b"\r\n0\r\n\r\n")).status, 413)
        self.assertEqual((wire.intake.taken, wire.server.site.tank.held), ([], 0))

    def test_headers(self) -> None:
        """Too many bytes of headers, in one line or in many, and a request line without end."""
        for sent, status in [
            (b"GET / HTTP/1.1\r\nA: " + b"x" * 1100, 431),
            (b"GET / HTTP/1.1\r\n" + b"A: xxxxxxxxxxxxxxxxxxxxxx\r\n" * 50, 431),
            (b"GET /" + b"x" * 1100, 414),
        ]:
            self.assertEqual(parse(Wire(SMALL).connect().send(sent)).status, status)

    def test_malformed(self) -> None:
        """A header that is none, two lengths, a bad chunk: 400 and out."""
        for sent in (
            b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
            b"PUT / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            b"PUT / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
            b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ):
            client = Wire().connect()
            answer = parse(client.send(sent))
            self.assertEqual((answer.status, answer.json()["err_code"]), (400, 110), sent)
            self.assertTrue(client.line.over, sent)

    def test_not_http(self) -> None:
        """Dropped without a word."""
        for sent in (b"\x16\x03\x01\x02\x00\x01\x00", b"hello\r\n", b"\x00" * 2000, b"PUT\r\n\r\n"):
            wire = Wire(SMALL)
            client = wire.connect()
            self.assertEqual((client.send(sent), client.line.over), (b"", True), sent)
            self.assertEqual(wire.server.site.counts["not HTTP"], 1)

    def test_all_bodies_together(self) -> None:
        """The memory of all bodies has a limit, and is given back."""
        wire = Wire(SMALL)
        clients = [wire.connect() for _ in range(3)]
        head = b"PUT / HTTP/1.1\r\ndbms: b\r\ntable: t\r\nContent-Length: 100\r\n\r\n"
        for client in clients:
            client.send(head + b"x" * 90)
        self.assertEqual(wire.server.site.tank.held, 270)
        self.assertEqual(parse(clients[0].send(b"x")).status, 503)
        for client in clients:
            if not client.line.over:
                client.leave()
        self.assertEqual((wire.server.site.tank.held, wire.server.site.tank.full), (0, False))

    def test_request_line(self) -> None:
        """What people type is encoded; what is right stays as it is."""
        for line, expected in [
            (b"GET / HTTP/1.1", b"GET / HTTP/1.1"),
            (b'GET /?a=b "c" HTTP/1.1', b"GET /?a=b%20%22c%22 HTTP/1.1".replace(b"%22", b'"')),
            ("GET /?a=é HTTP/1.1".encode(), b"GET /?a=%C3%A9 HTTP/1.1"),
            (b"nonsense", b"nonsense"),
        ]:
            self.assertEqual(tidy_request_line(line), expected)


class Pace(SynchronousTestCase):
    def test_slow_headers(self) -> None:
        """Headers that trickle in get 408 after their time, however lively the trickle."""
        wire = Wire()
        client = wire.connect()
        client.send(b"GET / HTTP/1.1\r\n")
        seen = b""
        for _ in range(32):
            wire.clock.advance(1)
            seen += client.send(b"A: b\r\n") if not client.line.over else b""
        answer = parse(seen)
        self.assertEqual((answer.status, answer.json()["err_code"], client.line.over), (408, 505, True))

    def test_slow_body(self) -> None:
        """A body below the least rate gets 408; one above it may take longer."""
        for each, refused in [(10, True), (20_000, False)]:
            wire = Wire()
            client = wire.connect()
            client.send(b"PUT / HTTP/1.1\r\ndbms: b\r\ntable: t\r\nContent-Length: 60000000\r\n\r\n")
            seen = b""
            for _ in range(62):
                seen += client.send(b"x" * each)
                wire.clock.advance(1)
            seen += client.seen()
            self.assertEqual((b" 408 " in seen, wire.intake.taken), (refused, []))

    def test_idle(self) -> None:
        """A connection between two requests is closed after a while, without a word."""
        wire = Wire()
        client = wire.connect()
        client.send(request(command="get status"))
        wire.clock.pump([1] * 59)
        self.assertFalse(client.line.disconnecting)
        wire.clock.pump([1] * 3)
        self.assertEqual((client.seen(), client.line.over), (b"", True))

    def test_a_running_request_is_left_alone(self) -> None:
        """With `timeout = 0` a command may take for ever."""
        wire = Wire(timeout=0)
        waited: Deferred[Result] = Deferred()
        wire.replies["get status"] = waited
        client = wire.connect()
        client.send(request(command="get status"))
        wire.clock.pump([100] * 50)
        waited.callback(Result(text="at last"))
        self.assertEqual(parse(client.seen()).body, b"at last")

    def test_reply_not_taken(self) -> None:
        """Who does not read a whole reply either is cut off."""
        wire = Wire()
        client = wire.connect()
        client.send(request(command="get status"))
        client.channel.pauseProducing()
        wire.clock.pump([1] * 22)
        client.seen()
        self.assertEqual((client.line.over, wire.server.site.counts["slow readers"]), (True, 1))


class Number(SynchronousTestCase):
    def test_half_open(self) -> None:
        """Two hundred that never finish do not stop the next."""
        wire = Wire()
        for _ in range(200):
            wire.connect().send(b"PUT / HTTP/1.1\r\nContent-Length: 10\r\n\r\n1")
        self.assertEqual(wire.ask(command="get status").status, 200)

    def test_too_many(self) -> None:
        """Beyond the cap an idle one makes room; if there is none, 503."""
        wire = Wire(SMALL)
        clients = [wire.connect() for _ in range(3)]
        for client in clients[1:]:
            client.send(b"GET / HT")
        next_one = wire.connect()
        self.assertTrue(clients[0].line.disconnecting)
        clients[0].seen()
        next_one.send(b"GET / HT")
        line = StringTransport()
        wire.server.site.buildProtocol(None).makeConnection(line)
        answer = parse(line.value())
        self.assertEqual((answer.status, answer.headers["retry-after"], line.disconnecting), (503, "2", True))

    def test_stop(self) -> None:
        """Running requests finish, idle connections end, and no timer is left."""
        wire = Wire()
        waited: Deferred[Result] = Deferred()
        wire.replies["get status"] = waited
        idle, busy = wire.connect(), wire.connect()
        busy.send(request(command="get status"))
        stopped = wire.server.stop()
        idle.seen()
        self.assertTrue(idle.line.over)
        self.assertNoResult(stopped)
        waited.callback(Result(text="done"))
        self.assertEqual(parse(busy.seen()).body, b"done")
        self.successResultOf(stopped)
        self.assertEqual([call for call in wire.clock.getDelayedCalls() if call.active()], [])
