"""The console script: its words, how an answer is copied, and how a refusal is told."""

from __future__ import annotations

from http.client import HTTPResponse
from io import BytesIO

from twisted.trial.unittest import SynchronousTestCase

from anylog import __version__
from anylog.cli import WrongUsage, dispatch, exec_words, main
from anylog.prompt.door import Refused, ask, copy, refusal


class Wire:
    """Stands in for a connected socket and for the connection: plays replies, keeps what was sent."""

    def __init__(self, *replies: bytes) -> None:
        self.replies = list(replies)
        self.sent: list[tuple[str, dict[str, object], bytes]] = []
        self.sock, self.host, self.port = self, "node", 1

    def putrequest(self, method: str, path: str) -> None:
        self.sent.append((method, {}, b""))

    def putheader(self, name: str, value: object) -> None:
        self.sent[-1][1][name] = value

    def endheaders(self, body: bytes | None) -> None:
        method, headers, _ = self.sent[-1]
        self.sent[-1] = (method, headers, body or b"")

    def makefile(self, mode: str) -> BytesIO:
        return BytesIO(self.replies.pop(0))

    def getresponse(self) -> HTTPResponse:
        response = HTTPResponse(self)  # type: ignore[arg-type]
        response.begin()
        return response


def reply(status: str, body: bytes) -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


WRONG_METHOD = reply("400 Bad Request", b'{"err_code": 156, "err_text": "Wrong HTTP method used"}')


class WordsTests(SynchronousTestCase):
    """What may stand after `anylog`."""

    def test_exec_words(self) -> None:
        """Address, command and timeout, each in its spellings."""
        for words, expected in [
            (["1.2.3.4:80", "get status"], ("1.2.3.4", 80, "get status", None)),
            (["node:80", "get", "status"], ("node", 80, "get status", None)),
            (["[::1]:80", "help"], ("::1", 80, "help", None)),
            (["--timeout", "2.5", "node:80", "help"], ("node", 80, "help", 2.5)),
            (["-t=0", "node:80", "help"], ("node", 80, "help", None)),
        ]:
            self.assertEqual(exec_words(words), expected, words)

    def test_wrong_usage(self) -> None:
        """Each wrong word is named."""
        for words, culprit in [
            (["exec"], "HOST:PORT"),
            (["exec", "node:80"], "a command"),
            (["exec", "node", "help"], "'node'"),
            (["exec", "node:http", "help"], "'node:http'"),
            (["exec", "--fast", "node:80", "help"], "'--fast'"),
            (["exec", "--timeout", "soon", "node:80", "help"], "'soon'"),
            (["dance"], "'dance'"),
            ([], "run, exec, cli, check or help"),
        ]:
            wrong = self.assertRaises(WrongUsage, dispatch, words)
            self.assertIn(culprit, str(wrong), words)

    def test_exit_status(self) -> None:
        """Wrong usage ends with 2, help and version with 0."""
        for words, status in [(["dance"], 2), (["help"], 0), (["--version"], 0)]:
            self.assertEqual(self.assertRaises(SystemExit, main, words).code, status, words)

    def test_version_is_a_text(self) -> None:
        """The version has its three numbers."""
        self.assertRegex(__version__, r"^\d+\.\d+\.\d+")


class AskTests(SynchronousTestCase):
    """GET first; the refusal of a node tells that a command wants POST; what is no header travels in the body."""

    def test_get(self) -> None:
        """A command that GET may ask is asked once, as a header in UTF-8."""
        wire = Wire(reply("200 OK", b"fine"))
        response = ask(wire, "get status é")  # type: ignore[arg-type]
        self.assertEqual(response.read(), b"fine")
        self.assertEqual(
            [(method, headers["command"]) for method, headers, _ in wire.sent], [("GET", "get status é".encode())]
        )

    def test_post_after_refusal(self) -> None:
        """Error 156 is not shown: the command is asked again by POST."""
        wire = Wire(WRONG_METHOD, reply("200 OK", b""))
        ask(wire, "set node name x")  # type: ignore[arg-type]
        self.assertEqual([method for method, _, _ in wire.sent], ["GET", "POST"])

    def test_long_and_many_lines(self) -> None:
        """A command that no header can hold is posted as JSON."""
        for command in ("x = <{\n}>", "print " + "x" * 9000):
            wire = Wire(reply("200 OK", b""))
            ask(wire, command)  # type: ignore[arg-type]
            self.assertEqual(wire.sent[0][0], "POST")
            self.assertTrue(wire.sent[0][2].startswith(b'{"command": '))

    def test_refused(self) -> None:
        """Any other error is told with its general text, its detail and its number."""
        body = b'{"err_code": 28, "err_text": "Wrong table name", "local_msg": "no table t1"}'
        wire = Wire(reply("400 Bad Request", body))
        refused = self.assertRaises(Refused, ask, wire, "sql town select 1")
        self.assertEqual(str(refused), "Wrong table name: no table t1 (error 28)")

    def test_refusal_without_json(self) -> None:
        """A reply of something else than a node is told as it came."""
        for body, expected in [(b"<html>", "<html>"), (b"", "502 Bad Gateway"), (b"[1]", "[1]"), (b"{}", "{}")]:
            response = Wire(reply("502 Bad Gateway", body)).getresponse()
            told = refusal(response)
            self.assertEqual((told.number, str(told)), (0, expected), body)


class CopyTests(SynchronousTestCase):
    """The answer is written as it comes; one that breaks off is an error."""

    def test_whole(self) -> None:
        """A line end is added where the answer has none, and an empty answer stays empty."""
        for raw, expected in [
            (reply("200 OK", b"one"), b"one\n"),
            (reply("200 OK", b"one\n"), b"one\n"),
            (reply("200 OK", b""), b""),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n", b"onetwo\n"),
        ]:
            out = BytesIO()
            copy(Wire(raw).getresponse(), out.write)
            self.assertEqual(out.getvalue(), expected, raw)

    def test_broken_off(self) -> None:
        """A missing end is noticed, with a length and with chunks."""
        for raw in (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\none",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n",
        ):
            out = BytesIO()
            self.assertRaises(Refused, copy, Wire(raw).getresponse(), out.write)
            self.assertEqual(out.getvalue(), b"one", raw)
