"""How an answer or an error looks on the REST port. Pure: values in, bytes out (rest.md 3)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from math import isfinite
from typing import Any

import orjson

from anylog import __version__
from anylog.errors import AnyLogError
from anylog.language.context import Result

JSON = b"application/json"
TEXT = b"text/plain; charset=utf-8"
RETRY_AFTER = b"2"  # seconds; what is full is usually emptied by the next sync or load

REASONS = {
    200: b"OK",
    204: b"No Content",
    400: b"Bad Request",
    401: b"Failed AnyLog Client Authentication",
    404: b"Not Found",
}

# Sent with every reply: a browser page may read it (rest.md 7).
COMMON: tuple[tuple[bytes, bytes], ...] = (
    (b"Server", b"AnyLog/" + __version__.encode()),
    (b"Access-Control-Allow-Origin", b"*"),
    (b"Vary", b"Origin"),
    (b"Access-Control-Expose-Headers", b"*"),
)
COMMON_BLOCK = b"".join(b"%s: %s\r\n" % pair for pair in COMMON)

ALLOWED_HEADERS = (  # of a request by a page of elsewhere
    b"Content-Type, Authorization, Accept, User-Agent, AnyLog-Agent, command, dbms, table, details, destination, "
    b"timeout, subset, into, html, pdf, topic, mode, source, instructions, type, assignment, Idempotency-Key"
)
METHODS = b"GET, POST, PUT, DELETE, HEAD, OPTIONS"


def reason_of(status: int, text: str = "") -> bytes:
    """The reason phrase: up to 200 characters of what went wrong, in one line that no client chokes on."""
    words = re.sub(r"[\x00-\x1f\x7f]+", " ", text).strip()[:200]
    return words.encode("latin-1", "replace") or REASONS.get(status, b"Error" if status >= 400 else b"OK")


def error_reason(error: AnyLogError) -> bytes:
    """General text, then the detail: the one line that the Remote CLI shows."""
    text = f"{error.text}: {error.detail}" if error.detail and error.detail != error.text else error.text
    return reason_of(error.http, text)


def error_object(method: str, node: str, error: AnyLogError, *, operator: str = "") -> dict[str, Any]:
    """The object that known clients parse; `operator` is what a remote node said (rest.md 3.2)."""
    told: dict[str, Any] = {
        "method": method.lower(),
        "node": node,
        "err_code": error.number,
        "err_text": error.text,
    }
    if operator:
        told["operaor_msg"] = told["operator_msg"] = operator  # the misspelt key is the one that clients read
    if error.detail and error.detail != error.text:
        told["local_msg"] = error.detail
    return told


def put_error_object(node: str, error: AnyLogError) -> dict[str, Any]:
    """The same for PUT, with the key that its clients look for (rest.md 4.1)."""
    told = error_object("put", node, error)
    told["AnyLog.error on REST server"] = str(error)
    return told


def dump(value: Any) -> bytes:
    """JSON as UTF-8; what JSON has no form for becomes its text."""
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # numbers beyond 64 bits, halves of a pair, many levels: one of them spoils no other answer
        return json.dumps(_finite(value), default=str).encode()


def _finite(value: Any) -> Any:
    """The same with nothing in the place of numbers that JSON has no form for."""
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def body_of(result: Result) -> tuple[bytes, bytes]:
    """Body and media type of a result that is not in pages (rest.md 3, decisions 26)."""
    if result.data is not None and (result.format == "json" or result.text is None):
        return (
            (result.data.encode(), media_of(result.data))
            if isinstance(result.data, str)
            else (
                dump(result.data),
                JSON,
            )
        )
    text = result.text or ""
    return text.encode("utf-8", "replace"), media_of(text)


def media_of(text: str) -> bytes:
    """JSON if it looks like JSON, else plain text."""
    return JSON if text.lstrip()[:1] in ("{", "[") else TEXT


def put_success(digest: str) -> bytes:
    """What a sender of readings reads when they are safe: byte for byte what clients know (ingest.md 2)."""
    return b'{"AnyLog.status":"Success", "AnyLog.hash": "%s" }' % digest.encode()


def whole(
    version: bytes,
    status: int,
    reason: bytes,
    date: bytes,
    body: bytes,
    *,
    close: bool,
    media: bytes = JSON,
    extra: bytes = b"",
) -> bytes:
    """A complete reply as it goes over the wire; `extra` are more header lines, each with its line end."""
    return b"%s %d %s\r\n%sDate: %s\r\nContent-Type: %s\r\n%s%sContent-Length: %d\r\n%s\r\n%s" % (
        version,
        status,
        reason,
        COMMON_BLOCK,
        date,
        media,
        b"Retry-After: " + RETRY_AFTER + b"\r\n" if status == 503 else b"",
        extra,
        len(body),
        b"Connection: close\r\n" if close else b"",
        body,
    )


def preflight(asked_for: bytes) -> bytes:
    """Header lines that let a page of elsewhere ask, with the headers it asked for (rest.md 7)."""
    allowed = asked_for if asked_for and asked_for.isascii() else ALLOWED_HEADERS
    return (
        b"Access-Control-Allow-Methods: %s\r\nAccess-Control-Allow-Headers: %s\r\nAccess-Control-Max-Age: 86400\r\n"
        % (METHODS, allowed)
    )
