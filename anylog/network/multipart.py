"""The file in the body of a REST call: `curl -F file=@x`, or the bytes themselves (RFC 7578). Pure."""

from __future__ import annotations

import re

from anylog.errors import AnyLogError

LONGEST_HEAD = 16 << 10  # bytes of the headers of a part
MOST_PARTS = 100

_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s;,"]{1,70}))', re.IGNORECASE)


def file_of(body: bytes, content_type: str) -> tuple[str, memoryview]:
    """The name a file was sent with (empty if there is none) and its content, which is not copied.

    Of several parts it is the one named `file`, else the first that has a file name. Raises AnyLogError 301 if there is
    none, and 110 for a body that is not what its Content-Type says.
    """
    if not content_type.lower().lstrip().startswith("multipart/"):
        return "", memoryview(body)
    found = _BOUNDARY.search(content_type)
    if not found:
        raise AnyLogError(110, "the Content-Type names no boundary")
    border = b"--" + (found[1] or found[2]).encode("latin-1", "replace")
    first: tuple[str, memoryview] | None = None
    at = 0 if body.startswith(border) else body.find(b"\r\n" + border) + 2
    if not body.startswith(border, at):
        raise AnyLogError(110, "the body does not hold the boundary that its Content-Type names")
    for _ in range(MOST_PARTS):
        at += len(border)
        if body.startswith(b"--", at):
            break
        begin = body.find(b"\r\n", at)  # blanks may stand behind the boundary
        head_end = body.find(b"\r\n\r\n", begin, begin + LONGEST_HEAD)
        end = body.find(b"\r\n" + border, head_end + 2)
        if begin < 0 or head_end < 0 or end < 0:
            raise AnyLogError(110, "a part of the body does not end")
        name, filename = _names(body[begin + 2 : head_end])
        content = memoryview(body)[min(head_end + 4, end) : end]
        if name == "file":
            return filename, content
        if filename and first is None:
            first = filename, content
        at = end + 2
    if first is None:
        raise AnyLogError(301, "no part of the body is a file: curl sends one with -F file=@name")
    return first


def _names(head: bytes) -> tuple[str, str]:
    """The name of a part and its file name."""
    text = head.decode("utf-8", "replace")
    line = next((line for line in text.split("\r\n") if line.lower().startswith("content-disposition:")), "")
    return _parameter(line, "name"), _parameter(line, "filename")


def _parameter(line: str, name: str) -> str:
    found = re.search(rf';\s*{name}\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))', line, re.IGNORECASE)
    if not found:
        return ""
    return re.sub(r"\\(.)", r"\1", found[1]) if found[1] is not None else found[2]
