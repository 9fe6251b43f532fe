"""A file that comes by REST is on the disk while it comes, and gone when the call is over."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from wire import Client, Wire, parse, request

from anylog.disk.transfers import ROOM
from anylog.errors import AnyLogError
from anylog.interfaces import ILane
from anylog.language.context import Context, Result
from anylog.network.upload import PENDING, UNSYNCED, Uploads
from anylog.testing.disk import MemoryDisk
from anylog.testing.lanes import ClockLane, InlineLane

TMP = Path("/home/tmp")


def head(length: int, *more: str, command: str = "file to x") -> bytes:
    """The headers of a call whose body is a file."""
    lines = ["POST / HTTP/1.1", "User-Agent: curl/8", f"command: {command}", *more]
    if length >= 0:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode()


class UploadCase(SynchronousTestCase):
    """A server on a disk in memory; what its command found is in `found`."""

    def setUp(self) -> None:
        self.disk = MemoryDisk()
        self.lane: ILane = InlineLane()
        numbers = count(1)
        self.uploads = Uploads(
            disk=self.disk,
            lane=lambda: self.lane,
            folder=lambda: TMP,
            token=lambda: f"{next(numbers):016x}",
            largest=10_000_000,
            most=2,
        )
        self.wire = Wire(uploads=self.uploads)
        self.found: list[tuple[str, bytes]] = []
        self.wire.replies["file to x"] = self.keep

    def keep(self, context: Context) -> Result:
        """What `file to` does here: read it."""
        assert context.upload is not None
        self.found.append((context.upload.name, self.disk.read(context.upload.path)))
        return Result(text="kept")

    def drafts(self) -> list[str]:
        """What lies on the disk."""
        return self.disk.names(TMP)

    def check_over(self, client: Client, status: int, number: int, seen: bytes) -> None:
        """It was refused, the connection is over, and nothing is left."""
        answer = parse(seen)
        self.assertEqual((answer.status, answer.json()["err_code"], client.line.over), (status, number, True))
        self.assertEqual((self.drafts(), self.found), ([], []))


class Comes(UploadCase):
    def test_every_way(self) -> None:
        """As it is, as a form, in chunks, empty, by URL: stored byte for byte, and no draft is left."""
        form = b"--b\r\nContent-Disposition: form-data; name=file; filename=a.json\r\n\r\n12\r\n3\r\n--b--\r\n"
        kind = "Content-Type: multipart/form-data; boundary=b"
        chunked = head(-1, "Transfer-Encoding: chunked")
        by_url = b"POST /?command=file%20to%20x HTTP/1.1\r\nUser-Agent: curl/8\r\nContent-Length: 3\r\n\r\n123"
        for name, sent, expected in [
            ("as it is", head(3) + b"123", ("", b"123")),
            ("a form", head(len(form), kind) + form, ("a.json", b"12\r\n3")),
            ("chunks", chunked + b"2\r\n12\r\n1\r\n3\r\n0\r\n\r\n", ("", b"123")),
            ("an empty one in chunks", chunked + b"0\r\n\r\n", ("", b"")),
            ("by URL", by_url, ("", b"123")),
            ("GET", head(3).replace(b"POST", b"GET") + b"123", ("", b"123")),
        ]:
            for step in (len(sent), 1):
                self.found.clear()
                client = self.wire.connect()
                seen = b"".join([client.send(sent[at : at + step]) for at in range(0, len(sent), step)])
                answer = parse(seen)
                self.assertEqual((answer.status, answer.body, self.found), (200, b"kept", [expected]), (name, step))
                self.assertEqual(self.drafts(), [])
                # the connection stays, for this and for anything else
                self.assertEqual(parse(client.send(request(command="get status"))).status, 200)

    def test_many_on_one_connection(self) -> None:
        """One after the other, also when they are sent without waiting."""
        client = self.wire.connect()
        client.send((head(3) + b"123") * 3 + head(2) + b"45")
        self.assertEqual(self.found, [("", b"123")] * 3 + [("", b"45")])
        self.assertEqual(self.drafts(), [])

    def test_continue(self) -> None:
        """A client that asks first is told to go on; or why not, and then it need not send anything."""
        client = self.wire.connect()
        self.assertEqual(client.send(head(3, "Expect: 100-continue")), b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual(parse(client.send(b"123")).body, b"kept")
        other = self.wire.connect()
        seen = other.send(head(20_000_000, "Expect: 100-continue"))
        self.found.clear()
        self.check_over(other, 413, 501, seen)

    def test_larger_than_a_body(self) -> None:
        """The limit of other bodies is not that of files, and their memory is not counted."""
        client = self.wire.connect()
        size = 9_000_000
        client.send(head(size))
        for _ in range(9):
            client.send(bytes(1_000_000))
            self.assertEqual(self.wire.server.site.tank.held, 0)
        self.assertEqual(self.found, [("", bytes(size))])

    def test_the_command_fails(self) -> None:
        """Nothing is left then, either; also when it is no command at all."""
        self.wire.replies["file to x"] = AnyLogError(12, "no such directory")
        for command, number in [("file to x", 12), ("file to y", 1)]:
            answer = parse(self.wire.connect().send(head(3, command=command) + b"123"))
            self.assertEqual((answer.json()["err_code"], self.drafts()), (number, []))


class IsRefused(UploadCase):
    def test_too_large(self) -> None:
        """By its length before it comes, or in chunks once it is."""
        client = self.wire.connect()
        self.check_over(client, 413, 501, client.send(head(10_000_001)))
        client = self.wire.connect()
        client.send(head(-1, "Transfer-Encoding: chunked") + b"989680\r\n" + bytes(10_000_000) + b"\r\n")
        self.assertEqual(len(self.drafts()), 1)
        self.check_over(client, 413, 501, client.send(b"1\r\nx\r\n"))

    def test_low_disk(self) -> None:
        """Refused with the first bytes if its length is known, else when the room is used up; readings come first."""
        self.disk.capacity = ROOM + 1_000_000
        client = self.wire.connect()
        self.check_over(client, 507, 503, client.send(head(1_000_001) + b"x"))
        client = self.wire.connect()
        client.send(head(-1, "Transfer-Encoding: chunked") + b"f4240\r\n" + bytes(1_000_000) + b"\r\n")
        self.assertEqual(len(self.drafts()), 1)
        self.check_over(client, 507, 503, client.send(b"1\r\nx\r\n"))
        self.assertEqual(self.disk.free(TMP), ROOM + 1_000_000)

    def test_broken_disk(self) -> None:
        """What the disk says reaches the sender."""
        for fails, status, number in [("write", 500, 14), ("grow", 507, 503)]:
            self.disk.fails = {fails}
            client = self.wire.connect()
            self.check_over(client, status, number, client.send(head(5) + b"12"))

    def test_at_the_end(self) -> None:
        """A fault with the last bytes is told like any other, and the connection stays."""
        self.disk.fails = {"write"}
        client = self.wire.connect()
        answer = parse(client.send(head(3) + b"123"))
        self.assertEqual((answer.status, answer.json()["err_code"], self.drafts()), (500, 14, []))

    def test_no_form(self) -> None:
        """A form without a boundary, without a file, cut off, with two files."""
        kind = "Content-Type: multipart/form-data"
        file = b"--b\r\nContent-Disposition: form-data; name=file\r\n\r\n1\r\n"
        for body, more, number in [
            (file, kind, 110),
            (file, f"{kind}; boundary=b", 110),
            (b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--b--", f"{kind}; boundary=b", 301),
            (file + file + b"--b--", f"{kind}; boundary=b", 110),
        ]:
            answer = parse(self.wire.connect().send(head(len(body), more) + body))
            self.assertEqual((answer.status, answer.json()["err_code"]), (400, number), (body, more))
            self.assertEqual((self.drafts(), self.found), ([], []))

    def test_strangers(self) -> None:
        """Not a byte of theirs comes to the disk; nor of a page in somebody's browser."""
        for peer, more in [("10.0.0.9", ()), ("127.0.0.1", ("Origin: http://evil.example",))]:
            client = self.wire.connect(peer)
            self.check_over(client, 403, 212, client.send(head(3, *more)))

    def test_packed(self) -> None:
        """It would be stored as it came, under a name that does not say so."""
        client = self.wire.connect()
        self.check_over(client, 415, 110, client.send(head(3, "Content-Encoding: gzip")))
        answer = parse(self.wire.connect().send(head(3, "Content-Encoding: identity") + b"123"))
        self.assertEqual((answer.status, self.found), (200, [("", b"123")]))

    def test_two_commands(self) -> None:
        """The first of two headers counts here as elsewhere."""
        client = self.wire.connect()
        answer = parse(client.send(head(3, "command: file to x", command="get status") + b"123"))
        self.assertEqual((answer.json()["err_code"], self.disk.calls), (156, 0))

    def test_too_many(self) -> None:
        """A number of files comes at once; another is told to come again, and may when one has ended."""
        first, second, third = (self.wire.connect() for _ in range(3))
        first.send(head(3) + b"1")
        second.send(head(3) + b"1")
        answer = parse(third.send(head(3)))
        self.assertEqual((answer.status, answer.json()["err_code"]), (503, 502))
        first.send(b"23")
        self.assertEqual(parse(self.wire.connect().send(head(3) + b"123")).status, 200)
        second.leave()
        self.assertEqual((self.drafts(), len(self.found)), ([], 2))


class IsCut(UploadCase):
    def test_anywhere(self) -> None:
        """A client that goes away leaves nothing, wherever it does."""
        sent = head(6) + b"12345"
        for end in range(1, len(sent)):
            client = self.wire.connect()
            client.send(sent[:end])
            client.leave()
            self.assertEqual((self.drafts(), self.found), ([], []), end)

    def test_while_the_command_runs(self) -> None:
        """Then, too; what the command has not moved by then is gone."""
        self.wire.replies["file to x"] = waited = Deferred[Result]()
        client = self.wire.connect()
        client.send(head(3) + b"123")
        self.assertEqual(len(self.drafts()), 1)
        client.leave()
        self.assertEqual(self.drafts(), [])
        waited.callback(Result())

    def test_slow(self) -> None:
        """A sender below the least rate is cut off, and its part is gone before it has heard of it."""
        client = self.wire.connect()
        client.send(head(1_000_000))
        seen = b""
        for _ in range(62):
            self.assertLessEqual(len(self.drafts()), 1)
            seen += client.send(b"x" * 10) if not client.line.over else b""
            self.wire.clock.advance(1)
        self.check_over(client, 408, 505, seen + client.seen())

    def test_the_server_ends(self) -> None:
        """`exit rest` cuts off what still comes."""
        client = self.wire.connect()
        client.send(head(3) + b"1")
        stopped = self.wire.server.stop()
        client.seen()
        self.successResultOf(stopped)
        self.assertEqual(self.drafts(), [])

    def test_what_a_kill_left(self) -> None:
        """It is removed when the server starts, and nothing else is."""
        names = [".00000000000000ff.upload", ".00000000000000ff.upload.json", ".ff.upload", "00000000000000ff.upload"]
        for name in names:
            self.disk.publish(TMP / name, b"x")
        self.successResultOf(self.uploads.clear())
        self.assertEqual(self.drafts(), sorted(names[1:]))


class SlowDisk(UploadCase):
    def setUp(self) -> None:
        super().setUp()
        self.lane = ClockLane(self.wire.clock, 1.0)

    def test_the_sender_waits(self) -> None:
        """Little waits in memory: the sender is stopped, goes on when the disk has followed, and is not blamed."""
        client = self.wire.connect()
        client.send(head(4 * PENDING))
        client.send(bytes(PENDING))
        self.assertEqual(client.line.producerState, "producing")
        client.send(b"x")
        self.assertEqual(client.line.producerState, "paused")
        self.wire.clock.advance(1)
        self.assertEqual(client.line.producerState, "producing")
        client.send(bytes(PENDING - 1))
        client.send(bytes(2 * PENDING))
        self.assertEqual(self.found, [])
        self.wire.clock.pump([1] * 3)
        self.assertEqual([len(content) for _, content in self.found], [4 * PENDING])
        self.assertEqual(parse(client.seen()).body, b"kept")
        self.wire.clock.pump([1])
        self.assertEqual((self.drafts(), client.line.producerState), ([], "producing"))

    def test_synced_while_it_comes(self) -> None:
        """When the last has come little is left to sync: else the reply of a large file would be late."""
        self.disk.fails = {"sync"}
        self.uploads.largest = 2 * UNSYNCED
        client = self.wire.connect()
        client.send(head(2 * UNSYNCED))
        seen, sent = b"", 0
        while not seen and sent < 2 * UNSYNCED:
            seen = client.send(bytes(PENDING * 2))
            sent += PENDING * 2
            self.wire.clock.advance(1)
        self.check_over(client, 500, 14, seen + client.seen())
        self.assertLessEqual(sent, UNSYNCED + 4 * PENDING)

    def test_a_disk_that_hangs(self) -> None:
        """The deadline of a body is for its sender, not for one that this node has stopped."""
        self.lane = ClockLane(self.wire.clock, 100.0)
        client = self.wire.connect()
        client.send(head(4 * PENDING) + b"1")
        client.send(bytes(PENDING))
        self.wire.clock.pump([1] * 90)
        self.assertEqual((client.seen(), client.line.over), (b"", False))

    def test_cut_while_it_is_written(self) -> None:
        """The write ends, then the draft goes."""
        client = self.wire.connect()
        client.send(head(9) + b"123")
        client.leave()
        self.wire.clock.pump([1] * 3)
        self.assertEqual((self.drafts(), self.disk.calls > 0), ([], True))

    def test_fails_while_more_comes(self) -> None:
        """The sender hears of it though it never stopped."""
        client = self.wire.connect()
        client.send(head(9) + b"123")
        self.disk.fails = {"write"}
        client.send(b"456")
        self.wire.clock.advance(1)
        self.check_over(client, 500, 14, client.seen())
