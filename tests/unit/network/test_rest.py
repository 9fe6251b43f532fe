"""The REST server, byte for byte, against what known clients do (rest.md; compat/observed.md 4 and 5)."""

from __future__ import annotations

from urllib.parse import quote

from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from wire import FakePages, Wire, parse, request

from anylog.access import Access
from anylog.errors import AnyLogError
from anylog.interfaces import Receipt
from anylog.language.context import Result

AGENT = "AnyLog/1.23"
ROW = b'[{"device":"dev-0001","timestamp":"2026-11-20T10:00:00.000000Z","value":1.5}]'
RUNNING = b"edge@10.0.0.5:32148 running"


class Commands(SynchronousTestCase):
    def test_get(self) -> None:
        """Each way of asking `get status` is answered; a ping of a stranger gets an empty 200."""
        for name, target, headers, expected in [
            ("header", "/", {"User_Agent": AGENT, "command": "get status"}, RUNNING),
            ("no agent", "/", {"command": "get status"}, RUNNING),
            ("a browser's agent", "/", {"User_Agent": "Mozilla/5.0", "command": "get status"}, RUNNING),
            ("an agent of ours beside it", "/", {"User_Agent": "Mozilla/5.0", "AnyLog_Agent": AGENT}, RUNNING),
            ("no command, AnyLog", "/", {"User_Agent": AGENT}, RUNNING),
            ("no command, curl", "/", {"User_Agent": "curl/8.5.0"}, RUNNING),
            ("empty command", "/", {"User_Agent": AGENT, "command": ""}, RUNNING),
            ("no command, a stranger", "/", {"User_Agent": "Mozilla/5.0"}, b""),
            ("nothing at all", "/", {}, b""),
            ("Grafana's test button", "/", {"User_Agent": "Grafana/10.1"}, b"OK"),
            ("URL", "/?User-Agent=AnyLog/1.23?command=get%20status", {}, RUNNING),
            ("URL with blanks", "/?command=get status&AnyLog-Agent=AnyLog/1.23", {}, RUNNING),
            ("URL without agent", "/?command=get%20status", {}, RUNNING),
            ("any path", "/whatever//else?command=get%20status", {}, RUNNING),
        ]:
            answer = Wire().ask("GET", target, **headers)
            self.assertEqual((answer.status, answer.body, answer.whole), (200, expected, True), name)

    def test_common_headers(self) -> None:
        """Every reply may be read by a page of elsewhere, and is kept alive."""
        headers = Wire().ask(command="get status").headers
        self.assertEqual(headers["access-control-allow-origin"], "*")
        self.assertEqual(headers["vary"], "Origin")
        self.assertEqual(headers["access-control-expose-headers"], "*")
        self.assertTrue(headers["server"].startswith("AnyLog/"))
        self.assertNotIn("connection", headers)

    def test_errors(self) -> None:
        """Status, number and reason phrase of each refusal; the object always has err_text."""
        for name, method, headers, status, number, reason in [
            ("POST only by GET", "GET", {"command": "run streamer"}, 400, 156, "Wrong HTTP method used"),
            ("GET only by POST", "POST", {"command": "get status"}, 400, 156, "Wrong HTTP method used"),
            ("assignment by GET", "GET", {"command": "x = 5"}, 400, 156, "Wrong HTTP method used"),
            ("sql drop by GET", "GET", {"command": 'sql b "drop table t"'}, 400, 156, "Wrong HTTP method used"),
            ("sql select", "GET", {"command": 'sql b drop = true "select x from drop"'}, 400, 1, "Unrecognized"),
            ("unknown by GET", "GET", {"command": "no such command"}, 400, 1, "Unrecognized Command: 'no such"),
            ("unknown by POST", "POST", {"command": "run nothing"}, 400, 1, "Unrecognized Command: 'run nothing'"),
            ("no command by POST", "POST", {"User_Agent": AGENT}, 400, 110, "Error in REST headers: Missing 'command'"),
            ("unknown agent", "POST", {"User_Agent": "x/1"}, 400, 163, "Unknown user agent: HTTP server received POST"),
            ("timeout", "GET", {"command": "get status", "timeout": "soon"}, 400, 182, "Error timeout value"),
            ("subset", "GET", {"command": "get status", "subset": "maybe"}, 400, 110, "Error in REST headers: subset"),
            ("no mapping", "POST", {"command": "data"}, 400, 167, "Missing data ingest mapping: first say 'run msg"),
            ("peers", "GET", {"command": "get status", "destination": "network"}, 400, 155, "Failed to"),
        ]:
            answer = Wire().ask(method, **headers)
            told = answer.json()
            self.assertEqual((answer.status, told["err_code"]), (status, number), name)
            self.assertTrue(answer.reason.startswith(reason), (name, answer.reason))
            self.assertEqual((told["method"], told["node"]), (method.lower(), "10.0.0.5:32149"), name)
            self.assertTrue(told["err_text"], name)
            self.assertEqual(answer.headers["content-type"], "application/json", name)

    def test_unknown_post_agent(self) -> None:
        """Known clients find the two keys they look for."""
        told = Wire().ask("POST", User_Agent="x/1").json()
        self.assertEqual(told["Error"], "HTTP server received POST message from unknown 'User-Agent': 'x/1'")
        self.assertEqual(told["Source"], "127.0.0.1")

    def test_url_without_equals(self) -> None:
        """A part of a URL that is not name=value is named."""
        answer = Wire().ask("GET", "/?command")
        self.assertEqual((answer.status, answer.json()["err_text"]), (400, "Wrong header structure"))

    def test_reason_is_one_line(self) -> None:
        """No line end and no foreign letter comes into the status line, and no more than 200 characters."""
        wire = Wire()
        wire.replies["get bad"] = AnyLogError(40, "first\r\nX-Evil: 1 \u2603 " + "x" * 500)
        answer = wire.ask(command="get bad")
        self.assertEqual(len(answer.reason), 200)
        self.assertNotIn("x-evil", answer.headers)
        self.assertTrue(answer.reason.startswith("Error in command parameters: first X-Evil: 1 ? xxx"))

    def test_unexpected(self) -> None:
        """What nobody expected is a 500 with an id under which the log has the rest."""
        wire = Wire()
        wire.replies["get oops"] = ZeroDivisionError("secret detail")
        answer = wire.ask(command="get oops")
        self.assertEqual((answer.status, answer.json()["err_code"]), (500, 500))
        self.assertNotIn(b"secret", answer.body)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_statuses(self) -> None:
        """The status is the error's own; full says when to come back."""
        for number, status in [(5, 400), (212, 403), (26, 504), (502, 503), (503, 507), (145, 401)]:
            wire = Wire()
            wire.replies["get it"] = AnyLogError(number)
            answer = wire.ask(command="get it")
            self.assertEqual((answer.status, "retry-after" in answer.headers), (status, status == 503))

    def test_results(self) -> None:
        """Text or JSON, as the result says; the media type follows."""
        for result, body, media in [
            (Result(text="a table"), b"a table", "text/plain; charset=utf-8"),
            (Result(text="a table", data=[1], format="json"), b"[1]", "application/json"),
            (Result(text="a table", data=[1]), b"a table", "text/plain; charset=utf-8"),
            (Result(data={"a": None}), b'{"a":null}', "application/json"),
            (Result(text='{"Status": "ok"}'), b'{"Status": "ok"}', "application/json"),
            (Result.nothing(), b"", "text/plain; charset=utf-8"),
        ]:
            wire = Wire()
            wire.replies["get it"] = result
            answer = wire.ask(command="get it")
            self.assertEqual((answer.status, answer.body, answer.headers["content-type"]), (200, body, media))

    def test_print(self) -> None:
        """What a command prints is in its reply."""
        wire = Wire()
        wire.replies["get loud"] = lambda context: context.write("hello") or Result(text="end")
        self.assertEqual(wire.ask(command="get loud").body, b"hello\r\nend")

    def test_bodies(self) -> None:
        """JSON in the body, lines before the header command, and the body as the command."""
        ok = Result(text="ok")
        for name, method, body, headers, expected in [
            ("JSON", "POST", b'{"command": "get status"}', {"User_Agent": AGENT}, ["get status"]),
            ("JSON by GET", "GET", b'{"command": "get status"}', {}, ["get status"]),
            ("any command in JSON", "POST", b'{"command": "run streamer"}', {}, ["run streamer"]),
            ("sql", "POST", b'{"dbms":"b","sql":"select 1 from t"}', {}, ['sql b "select 1 from t"']),
            (
                "sql with options",
                "POST",
                b'{"dbms":"b","sql":"format = table select 1"}',
                {},
                ["sql b format = table select 1"],
            ),
            (
                "dashboard",
                "POST",
                b'{"dbms":"b","table":"t","timeColumn":"ts","timeUnit":"minute","intervalLength":5,'
                b'"projections":["avg(v)"],"startTime":"2026-01-01","endTime":"NOW()","whereCond":"v > 1"}',
                {},
                [
                    'sql b format = json and stat = false "select increments(minute, 5, ts), avg(v) from t '
                    "where ts >= '2026-01-01' and ts <= NOW() and (v > 1)\""
                ],
            ),
            (
                "lines first",
                "POST",
                "x = “5”\r\n<set y\n = 6>\n\n".encode(),
                {"command": "run streamer"},
                ['x = "5"', "set y = 6", "run streamer"],
            ),
            ("the body is it", "POST", b"set script a b", {"command": "body"}, ["set script a b"]),
            ("kept under a key", "GET", b"", {"command": "get status", "assignment": "s"}, ["s = get status"]),
            ("RFC 2047", "GET", b"", {"command": "=?utf-8?q?get_status?="}, ["get status"]),
        ]:
            wire = Wire()
            wire.replies.update(dict.fromkeys(expected, ok))
            answer = wire.ask(method, "/", body, **headers)
            self.assertEqual(([text for text, _ in wire.asked], answer.status), (expected, 200), (name, answer.body))

    def test_bad_line_before(self) -> None:
        """The first line that fails ends it all, and is named."""
        wire = Wire()
        wire.replies["x = 1"] = Result.nothing()
        answer = wire.ask("POST", "/", b"x = 1\nnonsense\ny = 2", command="run streamer")
        self.assertEqual([text for text, _ in wire.asked], ["x = 1", "nonsense"])
        self.assertEqual(answer.status, 400)
        self.assertTrue(answer.json()["local_msg"].startswith("Error with command #2 in the message body: 'nonsense'"))

    def test_bad_json(self) -> None:
        """A body that should hold a command and does not is refused."""
        for body in (b"{", b"[1]", b"17", b"{}", b'{"dbms":"a b","sql":"x"}', b'{"dbms":"a"}'):
            answer = Wire().ask("POST", "/", body, User_Agent=AGENT)
            self.assertEqual(answer.status, 400, body)
            self.assertTrue(answer.json()["err_text"], body)

    def test_long_bodies_of_commands(self) -> None:
        """A body with commands that is too long to be read in a moment is 413; a body that is data may be longer."""
        long = b"# nothing\n" * 30_000
        for headers in ({"command": "body"}, {"command": "get status"}, {}):
            wire = Wire()
            answer = wire.ask("POST", "/", long, User_Agent=AGENT, **headers)
            self.assertEqual((answer.status, answer.json()["err_code"], wire.asked), (413, 501, []), headers)
        wire = Wire()
        wire.ask("POST", "/", long, User_Agent=AGENT, command="file store x")
        self.assertEqual([text for text, _ in wire.asked], ["file store x"])

    def test_methods(self) -> None:
        """OPTIONS for pages of elsewhere; the rest is not supported."""
        answer = Wire().ask("OPTIONS", "/any", Access_Control_Request_Headers="command,dbms")
        self.assertEqual((answer.status, answer.body), (204, b""))
        self.assertEqual(answer.headers["access-control-allow-headers"], "command,dbms")
        self.assertEqual(answer.headers["access-control-max-age"], "86400")
        for method in ("DELETE", "HEAD", "PATCH", "VIEW"):
            answer = Wire().ask(method)
            self.assertEqual((answer.status, answer.reason, answer.body), (501, f"{method} NOT SUPPORTED", b""))

    def test_methods_of_each(self) -> None:
        """Of several commands in one text each needs its method: a link must not smuggle one in behind another."""
        for text in (
            "get status & run streamer",
            "& run streamer",
            "get status\nrun streamer",
            "<get status & run streamer>",
            "get status & x = 5",
        ):
            wire = Wire()
            answer = wire.ask("GET", f"/?command={quote(text)}")
            self.assertEqual((answer.status, answer.json()["err_code"], wire.asked), (400, 156, []), text)

    def test_fixed_paths(self) -> None:
        """For load balancers; and a namespace that is nobody's."""
        wire = Wire()
        told = {"status": "healthy", "service": "anylog-rest-server", "timestamp": 1_790_000_000}
        self.assertEqual(wire.ask("GET", "/health").json(), told)
        self.assertEqual(wire.ask("GET", "/health/?x=y").json(), told)
        self.assertEqual(wire.ask("GET", "/api/status").json(), {"status": "ok"})
        answer = wire.ask("GET", "/api/else/x")
        self.assertEqual((answer.status, answer.json()), (404, {"error": "unknown command"}))
        self.assertEqual(wire.ask("POST", "/health", command="run streamer").json()["err_code"], 1)

    def test_who_is_local(self) -> None:
        """Loopback, unless a proxy or a page of elsewhere stands behind it (decisions 10, security.md 9)."""
        for peer, headers, local in [
            ("127.0.0.1", {}, True),
            ("127.0.3.4", {}, True),
            ("10.0.0.7", {}, False),
            ("127.0.0.1", {"X_Forwarded_For": "10.0.0.7"}, False),
            ("127.0.0.1", {"Forwarded": "for=10.0.0.7"}, False),
            ("127.0.0.1", {"Origin": "http://evil.example"}, False),
            ("127.0.0.1", {"Origin": "http://evil.example:32149"}, False),
            ("127.0.0.1", {"Origin": "null"}, False),
            ("127.0.0.1", {"Origin": "http://localhost:32149"}, True),
            ("127.0.0.1", {"Sec_Fetch_Site": "cross-site"}, False),
            ("127.0.0.1", {"Sec_Fetch_Site": "none"}, True),
        ]:
            wire = Wire()
            wire.ask(peer=peer, command="get status", **headers)
            context = wire.asked[0][1]
            self.assertEqual((context.local, context.origin, context.who), (local, "rest", f"{peer}:5555"), headers)
            # A proxy is trusted once users are; what somebody's browser was made to send never is.
            page = "evil" in str(headers) or headers.get("Origin") == "null" or "cross-site" in headers.values()
            self.assertEqual(context.page, page, headers)
            self.assertEqual(Access(users_off=True).allows(context), not page, headers)
            self.assertEqual(Access(nodes_off=True).allows(context), local, headers)

    def test_timeout(self) -> None:
        """A command that takes too long is 504; a query is given up, what changes something goes on."""
        for method, command, cancelled in [("GET", "get status", 1), ("POST", "run streamer", 0)]:
            gone: list[object] = []
            wire = Wire(timeout=7)
            running: Deferred[Result] = Deferred(gone.append)
            wire.replies[command] = running
            client = wire.connect()
            self.assertEqual(client.send(request(method, command=command)), b"")
            self.assertEqual(wire.asked[0][1].deadline, wire.clock.seconds() + 7)
            wire.clock.advance(7.1)
            answer = parse(client.seen())
            self.assertEqual((answer.status, answer.json()["err_code"], len(gone)), (504, 26, cancelled))
            if not cancelled:
                running.callback(Result(text="done"))
            self.assertEqual((client.seen(), wire.server.busy), (b"", 0))

    def test_client_leaves(self) -> None:
        """A query is given up when nobody waits for it any more."""
        gone: list[object] = []
        wire = Wire()
        wire.replies["get status"] = Deferred(gone.append)
        client = wire.connect()
        client.send(request(command="get status"))
        client.leave()
        self.assertEqual((len(gone), wire.server.busy), (1, 0))

    def test_a_slot_is_not_kept_from_elsewhere(self) -> None:
        """A POST of this machine goes on to its end; who asks from elsewhere may only read, and is given up."""
        for peer, busy in [("127.0.0.1", 1), ("10.0.0.7", 0)]:
            wire = Wire(timeout=7)
            wire.replies["wait 1 week"] = Deferred()
            client = wire.connect(peer)
            client.send(request("POST", command="wait 1 week"))
            self.assertEqual(wire.server.busy, 1)
            wire.clock.advance(7.1)
            self.assertEqual((parse(client.seen()).status, wire.server.busy), (504, busy), peer)

    def test_strangers_leave_a_slot(self) -> None:
        """However many strangers wait, this machine is answered; and the server's timeout is the most they get."""
        wire = Wire(threads=3)
        strangers = []
        for number in range(6):
            wire.replies[f"wait {number} weeks"] = Deferred()
            stranger = wire.connect("203.0.113.9")
            stranger.send(request("POST", command=f"wait {number} weeks", timeout="0"))
            strangers.append(stranger)
        self.assertEqual((wire.server.busy, wire.server.waiting), (2, 4))
        self.assertEqual(wire.ask(command="get status").status, 200)
        wire.clock.pump([5.0] * 5)
        self.assertEqual([parse(stranger.seen()).status for stranger in strangers], [504] * 6)
        self.assertEqual((wire.server.busy, wire.server.waiting), (0, 0))

    def test_surrogates(self) -> None:
        """A charset that makes half a character is answered, and counted, like any other nonsense."""
        wire = Wire()
        answer = wire.ask(User_Agent="=?utf-7?q?+2AA-?=", command="=?unicode_escape?q?=5Cud800?=")
        self.assertEqual((answer.status, answer.json()["err_code"]), (400, 1))
        self.assertEqual([calls.caller for calls in wire.server.calls], ["?"])

    def test_threads(self) -> None:
        """Only so many execute at once; the next begins when one ends."""
        wire = Wire(threads=2)
        running: list[Deferred[Result]] = [Deferred() for _ in range(3)]
        clients = []
        for number, waited in enumerate(running):
            wire.replies[f"get {number}"] = waited
            clients.append(wire.connect())
            clients[-1].send(request(command=f"get {number}"))
        self.assertEqual((len(wire.asked), wire.server.busy, wire.server.waiting), (2, 2, 1))
        running[0].callback(Result(text="first"))
        self.assertEqual((len(wire.asked), parse(clients[0].seen()).body), (3, b"first"))

    def test_pipelined(self) -> None:
        """Two requests in one segment are answered in order on one connection."""
        sent = request(command="get status")
        self.assertEqual(Wire().connect().send(sent + sent).count(RUNNING), 2)

    def test_trace(self) -> None:
        """A line for each request, from level 2 its headers, but never what opens doors."""
        events: list[dict[str, object]] = []
        globalLogPublisher.addObserver(events.append)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        for level, count in [(0, 0), (1, 1), (2, 2)]:
            events.clear()
            Wire(trace=level).ask(User_Agent=AGENT, command="get status", Authorization="Basic c2VjcmV0")
            self.assertEqual(len(events), count)
        self.assertNotIn("c2VjcmV0", str([event.get("headers") for event in events]))

    def test_calls_are_counted(self) -> None:
        """By agent and method, with the last error."""
        wire = Wire()
        wire.ask(User_Agent=AGENT, command="get status")
        wire.ask(User_Agent=AGENT, command="run streamer")
        wire.ask("PUT", "/", ROW, User_Agent=AGENT, dbms="a", table="b")
        rows = [(c.caller, c.method, c.processed, c.errors, c.last_error) for c in wire.server.calls]
        self.assertEqual(rows, [("anylog", "GET", 2, 1, "Wrong HTTP method used"), ("anylog", "PUT", 1, 0, "")])

    def test_counts_are_bounded(self) -> None:
        """Agents and methods that a stranger makes up share rows; a long agent is not remembered."""
        wire = Wire()
        for number in range(300):
            agent = f"agent{number}" + "x" * 1000
            wire.ask(f"MADE{number}", "/", b"x", User_Agent=agent, Content_Length=str(1 << 40))
        self.assertEqual(len(list(wire.server.calls)), 101)
        self.assertEqual(len(wire.server._agents), 0)


class Pages(SynchronousTestCase):
    def ask(self, wire: Wire, pages: FakePages) -> bytes:
        wire.replies["sql b x"] = Result(pages=pages)
        self.client = wire.connect()
        return self.client.send(request(command="sql b x"))

    def test_streamed(self) -> None:
        """In chunks, and closed at the end."""
        pages = FakePages(b'{"Query":[', b'{"a":1}', b"]}")
        answer = parse(self.ask(Wire(), pages))
        self.assertEqual((answer.status, answer.body, answer.whole), (200, b'{"Query":[{"a":1}]}', True))
        self.assertEqual(answer.headers["content-type"], "application/json")
        self.assertEqual(pages.closed, 1)

    def test_error_first(self) -> None:
        """Before the first page an error still has its status."""
        pages = FakePages(AnyLogError(16, "no such column"))
        answer = parse(self.ask(Wire(), pages))
        self.assertEqual((answer.status, answer.json()["err_code"], pages.closed), (400, 16, 1))

    def test_error_later(self) -> None:
        """After it, the error object is the last chunk, and there is no final one."""
        pages = FakePages(b'{"Query":[', AnyLogError(26, "too slow"))
        answer = parse(self.ask(Wire(), pages))
        self.assertEqual((answer.status, answer.whole), (200, False))
        self.assertTrue(answer.body.startswith(b'{"Query":[{"method":"get","node":'), answer.body)
        self.assertIn(b'"err_text":"Time Out"', answer.body)
        self.assertEqual((pages.closed, self.client.line.disconnecting), (1, True))

    def test_back_pressure(self) -> None:
        """No page is asked for while the client takes none."""
        pages = FakePages(*[b"page"] * 5)
        wire = Wire()
        wire.replies["sql b x"] = Result(pages=pages)
        client = wire.connect()
        client.channel.pauseProducing()
        client.channel.resumeProducing()
        held = pages.held = Deferred()
        client.send(request(command="sql b x"))
        client.channel.pauseProducing()
        held.callback(b"first")
        self.assertEqual(pages.asked, 1)
        client.channel.resumeProducing()
        self.assertEqual(pages.asked, 7)
        self.assertEqual(parse(client.seen()).body, b"first" + b"page" * 5)

    def test_slow_reader(self) -> None:
        """Who takes nothing for too long is cut off, and the query let go."""
        pages = FakePages(*[b"page"] * 5)
        held = pages.held = Deferred()
        wire = Wire(timeout=20)
        self.ask(wire, pages)
        self.client.channel.pauseProducing()
        held.callback(b"first")
        wire.clock.pump([1] * 22)
        self.client.seen()
        self.assertEqual((pages.closed, self.client.line.over), (1, True))

    def test_client_leaves(self) -> None:
        """A page that is being made is given up."""
        pages = FakePages()
        pages.held = Deferred()
        self.ask(Wire(), pages)
        self.client.leave()
        self.assertEqual(pages.closed, 1)

    def test_slow_page(self) -> None:
        """Each page has the timeout to be made."""
        pages = FakePages(b"first")
        wire = Wire(timeout=5)
        first: Deferred[bytes | None] = Deferred()
        pages.held = first
        wire.replies["sql b x"] = Result(pages=pages)
        client = wire.connect()
        client.send(request(command="sql b x"))
        pages.held = Deferred()
        first.callback(b"[1,")
        wire.clock.advance(6)
        answer = parse(client.seen())
        self.assertEqual((answer.whole, pages.closed), (False, 1))
        self.assertIn(b'"err_code":26', answer.body)

    def test_by_url_has_a_length(self) -> None:
        """A reply to a URL is gathered, unless it is large."""
        for size, framing in [(10, "content-length"), (1 << 20, "transfer-encoding")]:
            wire = Wire()
            wire.replies["sql b x"] = Result(pages=FakePages(b"x" * size, b"y"))
            answer = wire.ask("GET", "/?command=sql b x")
            self.assertIn(framing, answer.headers)
            self.assertEqual(answer.body, b"x" * size + b"y")

    def test_gathering_ends(self) -> None:
        """Pages that are gathered for a URL are let go when one fails, takes too long, or the client leaves."""
        for ending, status in [("fails", 400), ("late", 504), ("leaves", 0)]:
            pages = FakePages(b"[1,", AnyLogError(16, "no such column"))
            first: Deferred[bytes | None] = Deferred()
            pages.held = first
            wire = Wire(timeout=5)
            wire.replies["sql b x"] = Result(pages=pages)
            client = wire.connect()
            client.send(request(target="/?command=sql b x"))
            if ending != "fails":
                pages.held = Deferred()
            else:
                pages.pages.pop(0)
            first.callback(b"[1,")
            if ending == "late":
                wire.clock.advance(6)
            if ending == "leaves":
                client.leave()
            else:
                self.assertEqual(parse(client.seen()).status, status, ending)
            self.assertEqual(pages.closed, 1, ending)

    def test_empty(self) -> None:
        """No page at all is an empty 200."""
        answer = parse(self.ask(Wire(), FakePages()))
        self.assertEqual((answer.status, answer.body), (200, b""))


class Readings(SynchronousTestCase):
    SUCCESS = b'{"AnyLog.status":"Success", "AnyLog.hash": "%s" }'

    def test_put(self) -> None:
        """Names in normal form, the mode, and a reply byte for byte as clients know it."""
        for name, headers, options, digest in [
            ("file", {"mode": "file"}, {"whole": True}, b"5d41402abc4b2a76b9719d911017c592"),
            ("no mode", {}, {"whole": True}, b"5d41402abc4b2a76b9719d911017c592"),
            ("wrong mode", {"mode": "sideways"}, {"whole": True}, b"5d41402abc4b2a76b9719d911017c592"),
            ("streaming", {"mode": "Streaming"}, {"whole": False}, b"0"),
            ("agent", {"User_Agent": AGENT, "type": "json"}, {}, b"5d41402abc4b2a76b9719d911017c592"),
            ("all", {"source": "7", "instructions": "p", "Idempotency_Key": "k"}, {"source": "7", "key": "k"}, None),
        ]:
            wire = Wire()
            answer = wire.ask("PUT", "/", ROW, dbms="Bench", table="OBS", **headers)
            self.assertEqual((answer.status, answer.headers["content-type"]), (200, "application/json"), name)
            if digest:
                self.assertEqual(answer.body, self.SUCCESS % digest, name)
            dbms, table, rows, given = wire.intake.taken[0]
            self.assertEqual((dbms, table, len(rows)), ("bench", "obs", 1), name)
            self.assertLessEqual(options.items(), given.items(), name)

    def test_errors(self) -> None:
        """Each fault of the sender is a 400 with both keys, and nothing is handed over."""
        named = {"dbms": "b", "table": "t"}
        for name, body, headers, number, text in [
            ("no dbms", ROW, {"table": "t"}, 83, "Missing 'dbms' name in REST PUT command"),
            ("no table", ROW, {"dbms": "b"}, 28, "Missing 'table' name in REST PUT command"),
            ("blank table", ROW, {"dbms": "b", "table": " "}, 28, "Missing 'table' name in REST PUT command"),
            ("empty", b"", named, 6, "Failed to process JSON data: Message Body is empty"),
            ("not JSON", b"hello", named, 6, "Failed to process JSON data"),
            ("type", ROW, {**named, "type": "xml"}, 234, "type 'xml' is not supported, only json"),
        ]:
            wire = Wire()
            answer = wire.ask("PUT", "/", body, **headers)
            told = answer.json()
            self.assertEqual((answer.status, told["err_code"]), (400, number), name)
            self.assertEqual(told["AnyLog.error on REST server"], text, name)
            self.assertEqual((wire.intake.taken, told["method"]), ([], "put"), name)

    def test_refused_by_intake(self) -> None:
        """What the intake says is passed on."""
        for number, status in [(5, 400), (502, 503), (503, 507), (504, 503)]:
            wire = Wire()
            wire.intake.answer = AnyLogError(number)
            self.assertEqual(wire.ask("PUT", "/", ROW, dbms="b", table="t").status, status)

    def test_answer_follows_the_sync(self) -> None:
        """Nothing is said before the intake has said that it is safe."""
        wire = Wire()
        safe = wire.intake.answer = Deferred()
        client = wire.connect()
        self.assertEqual(client.send(request("PUT", "/", ROW, dbms="b", table="t")), b"")
        safe.callback(Receipt("0", 1))
        self.assertEqual(parse(client.seen()).status, 200)

    def test_client_leaves_first(self) -> None:
        """The reply to somebody who has gone is dropped in silence."""
        wire = Wire()
        safe = wire.intake.answer = Deferred()
        client = wire.connect()
        client.send(request("PUT", "/", ROW, dbms="b", table="t"))
        client.leave()
        safe.callback(Receipt("0", 1))
        self.assertEqual((client.seen(), wire.server.site.tank.held), (b"", 0))

    def test_unexpected(self) -> None:
        """A fault of ours is a 500."""
        wire = Wire()
        wire.intake.answer = ZeroDivisionError()
        self.assertEqual(wire.ask("PUT", "/", ROW, dbms="b", table="t").status, 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_full(self) -> None:
        """Refused from the headers alone: the body need not come."""
        wire = Wire()
        wire.intake.why_not = "the journal is full"
        client = wire.connect()
        head = request("PUT", "/", ROW, dbms="b", table="t", Expect="100-continue")[: -len(ROW)]
        answer = parse(client.send(head))
        self.assertEqual((answer.status, "retry-after" in answer.headers), (503, True))
        self.assertEqual(answer.json()["AnyLog.error on REST server"], "the journal is full")
        self.assertEqual(answer.headers["connection"], "close")

    def test_expected_continue(self) -> None:
        """Who asks first is told to go on."""
        client = Wire().connect()
        head = request("PUT", "/", ROW, dbms="b", table="t", Expect="100-continue")[: -len(ROW)]
        self.assertEqual(client.send(head), b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual(parse(client.send(ROW)).status, 200)

    def test_any_cut_is_the_same(self) -> None:
        """Where TCP cuts a request never changes what is taken."""
        sent = request("PUT", "/", ROW, dbms="b", table="t")
        for cut in range(1, len(sent)):
            wire = Wire()
            client = wire.connect()
            self.assertEqual(parse(client.send(sent[:cut]) + client.send(sent[cut:])).status, 200, cut)
            self.assertEqual(len(wire.intake.taken), 1)
