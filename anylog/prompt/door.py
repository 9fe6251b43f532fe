"""A question to a node over its REST server, and the answer as it comes (rest.md 2, 3).

Knows the standard library alone: `anylog exec` must start at once.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead

from anylog import __version__

CONNECT_SECONDS = 6.0

_WRONG_METHOD = 156  # what a node says to a command that is not asked for by GET (rest.md 2.1)
_LONGEST_HEADER = 8000  # bytes; a longer command travels in the body
_PIECE = 1 << 16


class Unreachable(Exception):
    """No connection to the node could be made."""


class Refused(Exception):
    """The node answered with an error, or its answer broke off."""

    def __init__(self, text: str, *, number: int = 0, general: str = "", detail: str = "") -> None:
        """`text` says it all on one line; `general` and `detail` are what the node said, `number` its number."""
        super().__init__(text)
        self.number, self.general, self.detail = number, general or text, detail


class Door(HTTPConnection):
    """A connection that is not waited for as long as an answer may be."""

    def __init__(self, host: str, port: int, seconds: float | None) -> None:
        """`seconds` to wait for the next piece of an answer; None: for ever."""
        super().__init__(host, port, timeout=min(CONNECT_SECONDS, seconds or CONNECT_SECONDS))
        self.seconds = seconds
        self.posted = False  # the last question could not be asked by GET
        self._line: socket.socket | None = None

    def connect(self) -> None:
        """Raises OSError."""
        super().connect()
        self._line = self.sock
        self._line.settimeout(self.seconds)

    def cut(self) -> None:
        """End the answer that is under way, from whatever thread; the node gives up what it was doing for it."""
        if self._line is not None:
            try:
                self._line.shutdown(socket.SHUT_RDWR)
            except OSError:  # it has ended already
                pass


def ask(connection: HTTPConnection, command: str) -> HTTPResponse:
    """The answer to a command, its body not yet read. Raises Unreachable and Refused.

    Which commands need POST is known to the node alone, so GET is tried first and its refusal tells.
    """
    agent = {"User-Agent": f"AnyLog/{__version__}"}
    header = command.encode("utf-8", "replace")
    if len(header) > _LONGEST_HEADER or "\n" in command or "\r" in command:
        body = json.dumps({"command": command}).encode()
        response = send(connection, "POST", {**agent, "Content-Type": "application/json"}, body)
    else:
        response = send(connection, "GET", {**agent, "command": header})
        if response.status >= 400:
            told = refusal(response)
            if told.number != _WRONG_METHOD:
                raise told
            response = send(connection, "POST", {**agent, "command": header})
    if response.status >= 400:
        raise refusal(response)
    return response


def send(
    connection: HTTPConnection, method: str, headers: Mapping[str, str | bytes], body: bytes | None = None
) -> HTTPResponse:
    """One request; connects first if the server closed the connection after the last one."""
    if connection.sock is None:
        try:
            connection.connect()
        except OSError as error:
            raise Unreachable(f"cannot connect to {connection.host}:{connection.port}: {error}") from error
    if isinstance(connection, Door):
        connection.posted = method == "POST"
    connection.putrequest(method, "/")
    for name, value in headers.items():
        connection.putheader(name, value)
    if body is not None or method == "POST":
        connection.putheader("Content-Length", str(len(body or b"")))
    connection.endheaders(body)
    return connection.getresponse()


def refusal(response: HTTPResponse) -> Refused:
    """An error reply (rest.md 3.2), read; number 0 where the body holds none."""
    body = response.read()
    text = body.decode(errors="replace").strip()
    try:
        told = json.loads(body)
        number = int(told["err_code"])
        general = str(told.get("err_text") or response.reason)
        details: list[str] = []
        for key in ("local_msg", "operator_msg"):
            detail = str(told.get(key) or "")
            if detail and detail != general and detail not in details:
                details.append(detail)
        parts = [*([] if details and details[0].startswith(general) else [general]), *details]
        return Refused(
            f"{': '.join(parts)} (error {number})", number=number, general=general, detail="\n".join(details)
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return Refused(text or f"{response.status} {response.reason}")


def pieces(response: HTTPResponse) -> Iterator[bytes]:
    """The body as it comes. Raises Refused if it breaks off."""
    try:
        while piece := response.read1(_PIECE):
            yield piece
    except IncompleteRead:
        raise Refused("the answer broke off: what was printed is not complete") from None
    except TimeoutError:
        raise
    except (OSError, HTTPException) as broken:
        raise Refused(f"the answer broke off, what was printed is not complete: {broken}") from broken
    if response.length:
        raise Refused("the answer broke off: what was printed is not complete")


def copy(response: HTTPResponse, write: Callable[[bytes], object]) -> None:
    """Write the body as it comes, with a line end after it. Raises Refused if it breaks off."""
    last = b""
    for piece in pieces(response):
        write(piece)
        last = piece
    if last and not last.endswith(b"\n"):
        write(b"\n")
