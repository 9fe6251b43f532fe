"""The file in the body of a REST call: `curl -F file=@x`, or the bytes themselves (RFC 7578).

Pure: bytes in, bytes out.
"""

from __future__ import annotations

import re
from enum import Enum
from urllib.parse import unquote

from anylog.errors import AnyLogError

LONGEST_HEAD = 16 << 10  # bytes of the headers of a part
MOST_PARTS = 100

_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s;,"]{1,70}))', re.IGNORECASE)


class Place(Enum):
    """Where in a form the reader is."""

    CONTENT = "in a part, or before the first one"
    BORDER = "behind a boundary"
    HEAD = "in the headers of a part"
    OVER = "behind the last boundary"


class FileReader:
    """Takes a body as it comes and gives the content of the file in it: the part named `file`, or with a file name.

    Two of those are refused: the first may be on the disk when the second comes. A body that is no form is the file
    itself.
    """

    def __init__(self, content_type: str) -> None:
        """Raises AnyLogError 110 for a form without boundary."""
        self.name = ""  # that the sender's file has
        self._border = b""
        self._held = bytearray(b"\r\n")  # so that the first boundary looks like the others
        self._place, self._found, self._wanted, self._parts = Place.CONTENT, False, False, 0
        if content_type.lower().lstrip().startswith("multipart/"):
            boundary = _BOUNDARY.search(content_type)
            if not boundary:
                raise AnyLogError(110, "the Content-Type names no boundary")
            self._border = b"\r\n--" + (boundary[1] or boundary[2]).encode("latin-1", "replace")

    def receive(self, data: bytes) -> bytes:
        """What of the file came with it. Raises AnyLogError 110 for what is no form, or has two files."""
        if not self._border:
            return data
        self._held += data
        content = []
        while self._place is not Place.OVER and (piece := self._next()) is not None:
            content.append(piece)
        if self._place is Place.OVER:
            self._held.clear()
        return b"".join(content)

    def end(self) -> None:
        """No more comes. Raises AnyLogError 110 for a form that is cut off, 301 for one without a file."""
        if self._border and self._place is not Place.OVER:
            raise AnyLogError(110, "the form in the body does not end, or its boundary is not the one that is named")
        if self._border and not self._found:
            raise AnyLogError(301, "no part of the body is a file: curl sends one with -F file=@name")

    def _next(self) -> bytes | None:
        """A piece of the file, perhaps empty; None if more must come first."""
        held = self._held
        if self._place is Place.CONTENT:
            end = held.find(self._border)
            size = end if end >= 0 else max(0, len(held) - len(self._border) + 1)
            piece = bytes(held[:size]) if self._wanted else b""
            if end >= 0:
                del held[: end + len(self._border)]
                self._place = Place.BORDER
                return piece
            del held[:size]
            return piece or None
        if self._place is Place.BORDER:
            if held.startswith(b"--"):
                self._place = Place.OVER
                return b""
            line = held.find(b"\r\n", 0, LONGEST_HEAD)
            if line >= 0:
                del held[:line]
                self._place = Place.HEAD
                return b""
        else:
            end = held.find(b"\r\n\r\n", 0, LONGEST_HEAD)
            if end >= 0:
                self._begin(bytes(held[:end]))
                del held[: end + 4]
                self._place = Place.CONTENT
                return b""
        if len(held) >= LONGEST_HEAD:
            raise AnyLogError(110, f"the headers of a part may have {LONGEST_HEAD} bytes")
        return None

    def _begin(self, head: bytes) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise AnyLogError(110, f"a form may have {MOST_PARTS} parts")
        text = head.decode("utf-8", "replace")
        line = next((line for line in text.split("\r\n") if line.lower().startswith("content-disposition:")), "")
        name = _extended(line) or _parameter(line, "filename")
        self._wanted = bool(name) or _parameter(line, "name") == "file"
        if self._wanted:
            if self._found:
                raise AnyLogError(110, "a call may bring one file, and a second one is in the form")
            self._found, self.name = True, name


def _extended(line: str) -> str:
    """`filename*=UTF-8''caf%C3%A9`, as some libraries send what is not ASCII (RFC 5987)."""
    found = re.search(r";\s*filename\*\s*=\s*utf-8'[^']*'([^;\s]+)", line, re.IGNORECASE)
    return unquote(found[1]) if found else ""


def _parameter(line: str, name: str) -> str:
    found = re.search(rf';\s*{name}\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))', line, re.IGNORECASE)
    if not found:
        return ""
    return re.sub(r"\\(.)", r"\1", found[1]) if found[1] is not None else found[2]
