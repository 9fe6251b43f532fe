"""A file in the body of a REST call, as curl and browsers send it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from anylog.errors import AnyLogError
from anylog.network.asking import read_request
from anylog.network.multipart import FileReader
from anylog.network.upload import asks_to_keep

KIND = "multipart/form-data; boundary=------------------------d74496d66958873e"
BORDER = b"--------------------------d74496d66958873e"


def part(content: bytes, names: bytes) -> bytes:
    return BORDER + b"\r\nContent-Disposition: form-data; " + names + b"\r\n\r\n" + content + b"\r\n"


def file_of(kind: str, *pieces: bytes) -> tuple[str, bytes]:
    """Name and content of the file in a body that comes in these pieces."""
    reader = FileReader(kind)
    content = b"".join([reader.receive(piece) for piece in pieces])
    reader.end()
    return reader.name, content


class Multipart(SynchronousTestCase):
    def test_files(self) -> None:
        """The file of a form: its content byte for byte; or the body itself; however it is cut."""
        tricky = b"\r\n--\r\n------\r\n\r\n\x00\xff" + BORDER[:-1] + b"\r\n"
        file = part(tricky, b'name="file"; filename="a b.json"')
        other, field = part(b"no", b'name="x"; filename=y.bin'), part(b"v", b'name="k"')
        for name, body, kind, expected in [
            ("curl -F", file + BORDER + b"--\r\n", KIND, ("a b.json", tricky)),
            ("fields around it", field + file + field + BORDER + b"--\r\n", KIND, ("a b.json", tricky)),
            ("under another name", field + other + BORDER + b"--", KIND, ("y.bin", b"no")),
            ("empty", part(b"", b'name="file"; filename="e"') + BORDER + b"--", KIND, ("e", b"")),
            ("a preamble", b"hello\r\n" + file + BORDER + b"--", KIND, ("a b.json", tricky)),
            ("quoted boundary", b"--x y\r\nA: b\r\nContent-Disposition: form-data; name=file\r\n\r\nz\r\n--x y--",
             'multipart/form-data; boundary="x y"', ("", b"z")),
            ("quotes in a name", part(b"1", rb'name="file"; filename="a\"b"') + BORDER + b"--", KIND, ('a"b', b"1")),
            ("not ASCII", part(b"1", 'name=file; filename="é.a"'.encode()) + BORDER + b"--", KIND, ("é.a", b"1")),
            ("RFC 5987", part(b"1", b"name=file; filename*=UTF-8''caf%C3%A9.json") + BORDER + b"--", KIND,
             ("caf\u00e9.json", b"1")),
            ("curl --data-binary", tricky, "application/x-www-form-urlencoded", ("", tricky)),
            ("no type", tricky, "", ("", tricky)),
        ]:  # fmt: skip
            self.assertEqual(file_of(kind, body), expected, name)
            self.assertEqual(file_of(kind, *(body[at : at + 1] for at in range(len(body)))), expected, name)
            for cut in range(len(body)):
                self.assertEqual(file_of(kind, body[:cut], body[cut:]), expected, f"{name}, cut at {cut}")

    def test_nothing_is_kept(self) -> None:
        """Of a large file it holds less than a boundary; what comes behind the form is dropped."""
        reader = FileReader(KIND)
        reader.receive(BORDER + b"\r\nContent-Disposition: form-data; name=file\r\n\r\n")
        given = sum(len(reader.receive(b"\r\n--" * 20_000)) for _ in range(10))
        self.assertGreater(given, 800_000 - len(BORDER) - 4)
        reader.receive(b"\r\n" + BORDER + b"--\r\n")
        self.assertEqual(reader.receive(b"x" * 100_000), b"")
        self.assertLess(len(reader._held), 100)

    def test_refused(self) -> None:
        """What is broken is said to be so."""
        file = part(b"abc", b'name="file"; filename="a"')
        for name, body, kind, number in [
            ("no boundary named", file, "multipart/form-data", 110),
            ("another boundary", file, "multipart/form-data; boundary=other", 110),
            ("cut in the content", file[:-4], KIND, 110),
            ("cut in the head", BORDER + b"\r\nContent-Disp", KIND, 110),
            ("no end", file, KIND, 110),
            ("a head without end", BORDER + b"\r\nX: " + b"y" * 20_000 + b"\r\n\r\n\r\n" + BORDER + b"--", KIND, 110),
            ("no file in it", part(b"v", b'name="k"') + BORDER + b"--", KIND, 301),
            ("nothing", b"", KIND, 110),
            ("two files", file + file + BORDER + b"--", KIND, 110),
            ("many parts", part(b"v", b'name="k"') * 101 + BORDER + b"--", KIND, 110),
        ]:
            with self.assertRaises(AnyLogError, msg=name) as refused:
                file_of(kind, body)
            self.assertEqual(refused.exception.number, number, name)

    def test_who_takes_a_body(self) -> None:
        """The body of `file to` is a file, however large and however the command came; of others it is commands."""
        large = b"print x\n" * 100_000
        for method, query, headers in [
            ("POST", b"", {"command": "file to !prep_dir/x"}),
            ("POST", b"command=file%20to%20!prep_dir/x", {}),
            ("GET", b"", {"command": "File To where dest = /x"}),
        ]:
            self.assertEqual(read_request(method, query, headers, large).before, (), (method, query, headers))
            header = headers.get("command")
            self.assertTrue(asks_to_keep(header.encode() if header else None, b"/?" + query), (query, headers))
        for header, uri in [
            (None, b"/"),
            (None, b"/?a=b&nonsense"),
            (b"file top x", b"/"),
            (b"get status", b"/?command=file to x"),
            (b"\xff", b"/"),
        ]:
            self.assertFalse(asks_to_keep(header, uri), (header, uri))
        self.assertEqual(read_request("POST", b"", {"command": "file copy a b"}, b"x = 5").before, ("x = 5",))
        with self.assertRaises(AnyLogError) as refused:
            read_request("POST", b"", {"command": "file copy a b"}, large)
        self.assertEqual(refused.exception.number, 501)
