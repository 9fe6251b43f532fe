"""Readings by PUT: the hot path, so one plain resource that does little and answers when the rows are safe (rest.md 4).

Order of checks: ingest.md 2. The reply of success follows the sync (decisions 1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from anylog.errors import AnyLogError
from anylog.interfaces import IIntake, ILane, Receipt
from anylog.network import replies
from anylog.network.channel import Request

LARGE = 256 << 10  # bytes of a body from which reading it is worth a hop to another thread
NAMES_KEPT = 10_000  # normalised names remembered; devices send the same few over and over


class Ingest(Resource):
    """Takes PUT at any path."""

    isLeaf = True
    log = Logger()

    def __init__(
        self,
        *,
        intake: IIntake,
        read_body: Callable[[bytes], list[dict[str, Any]]],
        normalise: Callable[[str], str],
        node_name: Callable[[], str],
        counted: Callable[[Request, str | None], None],
        failed: Callable[[Failure, str], AnyLogError],
        lane: ILane | None = None,
    ) -> None:
        """`counted(request, error)` counts a call; `failed(failure, doing)` logs what nobody expected.

        Large bodies are read in `lane`, if there is one, so that others are served meanwhile.
        """
        super().__init__()
        self._intake, self._read_body, self._normalise = intake, read_body, normalise
        self._node_name, self._counted, self._failed = node_name, counted, failed
        self._lane = lane
        self._names: dict[bytes, str] = {}

    def render_PUT(self, request: Request) -> int:
        """For those who reach it through a resource tree."""
        self.take(request)
        return NOT_DONE_YET

    def take(self, request: Request) -> None:
        """Check the headers, read the rows, hand them over, and answer when they are kept."""
        try:
            headers = request.requestHeaders
            kind = headers.getRawHeaders(b"type")
            if kind is not None and kind[0].lower() not in (b"json", b""):
                raise AnyLogError(234, f"type '{kind[0].decode('utf-8', 'replace')}' is not supported, only json")
            dbms = self._name(headers.getRawHeaders(b"dbms"))
            if not dbms:
                raise AnyLogError(83, "Missing 'dbms' name in REST PUT command")
            table = self._name(headers.getRawHeaders(b"table"))
            if not table:
                raise AnyLogError(28, "Missing 'table' name in REST PUT command")
            body = request.body
            if self._lane is not None and len(body) > LARGE:
                accepted = self._lane.run(self._rows, body).addCallback(
                    lambda rows: self._accept(request, dbms, table, body, rows)
                )
            else:
                accepted = self._accept(request, dbms, table, body, self._rows(body))
        except AnyLogError as error:
            self._refuse(request, error)
        except Exception:  # whatever it is, the sender must not be left without an answer
            self._refuse(request, self._failed(Failure(), "PUT"))
        else:
            accepted.addCallbacks(self._kept, self._lost, callbackArgs=(request,), errbackArgs=(request,)).addErrback(
                lambda failure: self.log.failure("a reply to PUT failed", failure)
            )

    def _accept(
        self, request: Request, dbms: str, table: str, body: bytes, rows: list[dict[str, Any]]
    ) -> Deferred[Receipt]:
        headers = request.requestHeaders
        mode = headers.getRawHeaders(b"mode")
        source = headers.getRawHeaders(b"source")
        instructions = headers.getRawHeaders(b"instructions")
        key = headers.getRawHeaders(b"Idempotency-Key")
        return self._intake.accept(
            dbms,
            table,
            body,
            rows,
            source=_text(source, "0"),
            instructions=_text(instructions, "0"),
            whole=mode is None or mode[0].lower() != b"streaming",
            key=_text(key, ""),
        )

    def _rows(self, body: bytes) -> list[dict[str, Any]]:
        if not body.strip():
            raise AnyLogError(6, "Failed to process JSON data: Message Body is empty")
        try:
            return self._read_body(body)
        except AnyLogError as error:
            if error.number != 6 or error.detail.startswith("Failed to process JSON data"):
                raise
            told = f"Failed to process JSON data: {error.detail}" if error.detail else "Failed to process JSON data"
            raise AnyLogError(6, told) from None

    def _name(self, raw: Sequence[bytes] | None) -> str:
        """A database's or table's name in normal form; AnyLogError 28 if it is no UTF-8."""
        if raw is None:
            return ""
        name = self._names.get(raw[0])
        if name is None:
            try:
                text = raw[0].decode("utf-8").strip()
                name = self._normalise(text) if text else ""
            except UnicodeDecodeError:
                raise AnyLogError(28, f"{raw[0]!r} is not a name") from None
            if len(self._names) >= NAMES_KEPT:
                self._names.clear()
            self._names[raw[0]] = name
        return name

    def _kept(self, receipt: Receipt, request: Request) -> None:
        self._counted(request, None)
        request.reply(200, b"OK", replies.put_success(receipt.hash))

    def _lost(self, failure: Failure, request: Request) -> None:
        if failure.check(AnyLogError):
            self._refuse(request, failure.value)  # type: ignore[arg-type]
        elif failure.check(CancelledError):
            self._refuse(request, AnyLogError(506))
        else:
            self._refuse(request, self._failed(failure, "PUT"))

    def _refuse(self, request: Request, error: AnyLogError) -> None:
        self._counted(request, error.text)
        told = replies.dump(replies.put_error_object(self._node_name(), error))
        request.reply(error.http, replies.error_reason(error), told)


def _text(raw: Sequence[bytes] | None, default: str) -> str:
    return raw[0].decode("utf-8", "replace").strip() or default if raw is not None else default
