"""`rest get` and its like, against a real server of this machine (language.md 10.2)."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

import anylog.network.rest_client
from anylog.disk.confined import FileAccess
from anylog.disk.durable import RealDisk
from anylog.disk.places import Places
from anylog.errors import AnyLogError
from anylog.language.context import Context, Result
from anylog.language.dictionary import Dictionary
from anylog.language.interpreter import Interpreter
from anylog.language.logs import Logs
from anylog.language.words import Words
from anylog.net import Net
from anylog.network.rest_client import RestClient
from anylog.network.rest_client_commands import COMMANDS
from anylog.testing.lanes import InlineLanes

REACTOR: Any = reactor


class Answers(Resource):
    """A server with a path for each kind of answer."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.gone = 0

    def render(self, request: Request) -> Any:
        headers = {
            name.decode().lower(): values[0].decode() for name, values in request.requestHeaders.getAllRawHeaders()
        }
        self.asked.append((f"{request.method.decode()} {request.uri.decode()}", headers, request.content.read()))
        path = request.path.decode()
        if path == "/json":
            return b'{"a": [{"v": 1}, {"v": 2}], "b": "x"}'
        if path == "/list":
            return b'[{"v": 1}]'
        if path == "/bad":
            request.setResponseCode(503)
            return b"not now"
        if path == "/moved":
            request.redirect(b"/json")
            return b""
        if path == "/silent":
            request.notifyFinish().addBoth(lambda _: setattr(self, "gone", self.gone + 1))
            return NOT_DONE_YET
        if path == "/half":
            request.write(b"x" * 1000)
            request.notifyFinish().addBoth(lambda _: setattr(self, "gone", self.gone + 1))
            return NOT_DONE_YET
        if path == "/large":
            return b"x" * 300_000
        if path == "/cut":
            request.setHeader(b"content-length", b"1000")
            request.write(b"x")
            request.transport.loseConnection()
            return NOT_DONE_YET
        return b"hello"


class Asking(TestCase):
    timeout = 30

    def setUp(self) -> None:
        self.answers = Answers()
        self.port = REACTOR.listenTCP(0, Site(self.answers), interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)
        self.url = f"http://127.0.0.1:{self.port.getHost().port}"
        self.home = Path(self.mktemp()).resolve()
        self.dictionary = Dictionary()
        places = Places.under(self.home)
        disk = RealDisk()
        places.make_all(disk)
        node = SimpleNamespace(
            rest_client=RestClient(net=Net(REACTOR), clock=REACTOR),
            dictionary=self.dictionary,
            environ={},
            disk=disk,
            lanes=InlineLanes(),
            file_access=FileAccess(places, self.dictionary),
        )
        self.told: list[str] = []
        self.interpreter = Interpreter(
            words=Words(COMMANDS),
            dictionary=self.dictionary,
            environ={},
            clock=REACTOR,
            node=node,
            logs=Logs(REACTOR),
            read_file=self.nothing,
        )

    async def nothing(self, name: str, folder: str, local: bool) -> tuple[str, str]:
        raise AnyLogError(112, name)

    def ask(self, text: str, **who: Any) -> Deferred[Result]:
        return self.interpreter.execute(text, Context(origin="console", write=self.told.append, **who))

    async def refused(self, text: str, **who: Any) -> AnyLogError:
        try:
            await self.ask(text, **who)
        except AnyLogError as error:
            return error
        raise AssertionError(f"{text} is not refused")

    async def test_values(self) -> None:
        """Text, JSON with its types, redirects, and what is assigned."""
        for path, text, data in [
            ("/", "hello", None),
            ("/json", None, {"a": [{"v": 1}, {"v": 2}], "b": "x"}),
            ("/list", None, [{"v": 1}]),
            ("/moved", None, {"a": [{"v": 1}, {"v": 2}], "b": "x"}),
        ]:
            result = await self.ask(f"rest get where url = {self.url}{path}")
            self.assertEqual((result.text, result.data), (text, data), path)
        await self.ask(f"x = rest get where url = {self.url}/json")
        self.assertEqual((await self.ask("!x[a][1][v]")).text, "2")

    async def test_what_is_sent(self) -> None:
        """Method, headers, body with its references, address with a query."""
        self.dictionary.set("v", "7")
        self.dictionary.set("reading", '{"value" : !v.int}')
        where = f"where url = {self.url}/p?a=1&b=2"
        for text, line, headers, body in [
            (f"rest get {where} and command = get status", "GET /p?a=1&b=2", {"command": "get status"}, b""),
            (f"rest post {where} and command = 'n = 1'", "POST /p?a=1&b=2", {"command": "n = 1"}, b""),
            (
                f"rest put {where} and body = !reading and dbms = town",
                "PUT /p?a=1&b=2",
                {"dbms": "town"},
                b'{"value": 7}',
            ),
            (f"rest post {where} and body = 'a b' and type = json", "POST /p?a=1&b=2", {"type": "json"}, b"'a b'"),
            (f'rest post {where} and data = {{"v" : !v}}', "POST /p?a=1&b=2", {}, b'{"v": "7"}'),
            (f"rest view {where}", "VIEW /p?a=1&b=2", {"user-agent": "AnyLog/1.23"}, b""),
            (f"rest delete {where} and User-Agent = me", "DELETE /p?a=1&b=2", {"user-agent": "me"}, b""),
            (
                f'rest get {where} and headers = {{"X-A" : !v}} and x-b = c',
                "GET /p?a=1&b=2",
                {"x-a": "7", "x-b": "c"},
                b"",
            ),
        ]:
            await self.ask(text)
            asked, sent, content = self.answers.asked[-1]
            self.assertEqual((asked, content), (line, body), text)
            self.assertEqual({key: sent.get(key) for key in headers}, headers, text)

    async def test_details(self) -> None:
        """Status and headers, too."""
        data = (await self.ask(f"rest get where url = {self.url} and details = true")).data
        self.assertEqual((data["status"], data["body"]), (200, "hello"))
        self.assertIn("content-type", data["headers"])

    async def test_no_good_answer(self) -> None:
        """Each is error 51 with what was wrong; the variable stays undefined."""
        self.patch(anylog.network.rest_client, "LARGEST", 100_000)
        for path, told in [("/bad", "answered 503"), ("/large", "more than"), ("/cut", "broke off")]:
            self.dictionary.set("x", "old")
            error = await self.refused(f"x = rest get where url = {self.url}{path}")
            self.assertEqual(error.number, 51, path)
            self.assertIn(told, str(error))
            self.assertIn(f"{self.url}{path}", str(error))
            self.assertIsNone(self.dictionary.get("x"))
        # The last is no TLS server; it waits for the end of a line, which what begins a TLS session may have by chance.
        for url, numbers in [("http://127.0.0.1:1", (51,)), (f"https{self.url[4:]}", (26, 51))]:
            error = await self.refused(f"rest get where url = {url} and timeout = 0.5")
            self.assertIn(error.number, numbers, url)
            self.assertIn(url, str(error))

    async def test_late(self) -> None:
        """After the time the connection is given up, before the reply and within it."""
        for number, path in enumerate(("/silent", "/half"), 1):
            error = await self.refused(f"rest get where url = {self.url}{path} and timeout = 0.3")
            self.assertEqual(error.number, 26, path)
            for _ in range(100):
                if self.answers.gone == number:
                    break
                waited: Deferred[None] = Deferred()
                REACTOR.callLater(0.01, waited.callback, None)
                await waited
            self.assertEqual(self.answers.gone, number, path)

    async def test_wrong_words(self) -> None:
        """Each refusal names the culprit; nothing is sent."""
        for text, number in [
            ("rest get", 2),
            ("rest get where", 2),
            ("rest get where command = x", 2),
            ("rest get where url = ftp://x", 40),
            ("rest get where url = http://", 40),
            ('rest get where url = "http://a b/"', 40),
            ("rest get where url = http://x:99999", 40),
            (f"rest get where url = {self.url} and url = {self.url}", 2),
            (f"rest get where url = {self.url} and timeout = soon", 175),
            (f"rest get where url = {self.url} and timeout = 0", 175),
            (f"rest get where url = {self.url} and timeout = 9999", 175),
            (f"rest get where url = {self.url} and a b = c", 2),
            (f"rest get where url = {self.url} and headers = [1]", 175),
            (f'rest get where url = {self.url} and headers = {{"a" : "x\\ny"}}', 175),
            (f"rest get where url = {self.url} and body = !nope", 2),
            (f"rest get where url = {self.url} and x = !nope", 2),
        ]:
            self.assertEqual((await self.refused(text)).number, number, text)
        self.assertEqual((await self.refused(f"rest get where url = {self.url}", local=False)).number, 212)
        self.assertEqual(self.answers.asked, [])

    async def test_into_a_file(self) -> None:
        """The rows of a key, of the list itself, or all of it; only where files of the node may be."""
        folder = self.home / "out"
        folder.mkdir()
        self.dictionary.set("dir", str(folder))
        get = f"rest get where url = {self.url}"
        for into, path, content in [
            ("file = !dir/a.json, key = a", "/json", '{"v":1}\n{"v":2}\n'),
            ("file = !dir/b.json, key = b", "/json", '"x"\n'),
            ("file = !dir/c.json, show = true", "/list", '{"v":1}\n'),
            ("file = !dir/d.txt", "/", "hello"),
        ]:
            await self.ask(f"[{into}] = {get}{path}")
            name = into.split("/")[1].split(",")[0]
            self.assertEqual((folder / name).read_text(), content, into)
        self.assertEqual([json.loads(line) for line in self.told], [{"v": 1}])
        self.assertEqual((await self.refused(f"[file = !dir/e, key = none] = {get}/json")).number, 51)
        self.assertEqual((await self.refused(f"[file = /etc/e] = {get}/json")).number, 212)
        self.assertEqual((await self.refused(f"[file = !dir/no/e] = {get}/json")).number, 12)
