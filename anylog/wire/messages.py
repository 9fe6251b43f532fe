"""The messages of the peer protocol: which fields each has, and what they may hold (network.md 8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from anylog.wire.frames import Malformed, Message

VERSION = 1
HEAD = 64 << 10  # bytes of a packed head
PIECE = 64 << 10  # bytes of one data frame
INLINE = 32 << 10  # bytes of a question's body that travel in the question itself
HOPS = 8  # nodes that a question may come through
LONGEST = 16 << 10  # characters of the text of an error
_NAME = 300  # characters of names and addresses
_NUMBERS = 1 << 62

Check = Callable[[Any], bool]


def _text(longest: int) -> Check:
    return lambda value: type(value) is str and len(value) <= longest


def _whole(least: int, most: int = _NUMBERS) -> Check:
    return lambda value: type(value) is int and least <= value <= most


def _bytes(longest: int) -> Check:
    return lambda value: type(value) is bytes and len(value) <= longest


def _map(value: Any) -> bool:
    return type(value) is dict and all(type(key) is str for key in value)


def _flag(value: Any) -> bool:
    return type(value) is bool


def _seconds(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < 1e9


def _words(value: Any) -> bool:
    return type(value) is list and len(value) <= 64 and all(type(word) is str and len(word) <= 64 for word in value)


_NUMBER = _whole(1)

# Message -> (fields that must be there, fields that may). `id` is a question of the sender, `re` one of the receiver.
FIELDS: Mapping[str, tuple[Mapping[str, Check], Mapping[str, Check]]] = {
    "hello": (
        {"v": _whole(0)},
        {
            "name": _text(_NAME),
            "type": _text(_NAME),
            "address": _text(_NAME),
            "version": _text(_NAME),
            "features": _words,
            "window": _whole(1),
        },
    ),
    "ask": (
        {"id": _NUMBER, "kind": _text(64), "head": _map},
        {"body": _bytes(INLINE), "more": _flag, "late": _seconds, "hops": _whole(0, 1000)},
    ),
    "reply": ({"re": _NUMBER, "head": _map}, {"more": _flag}),
    "data": ({"d": _bytes(PIECE), "f": _whole(0, 3)}, {"id": _NUMBER, "re": _NUMBER}),
    "credit": ({"n": _whole(1, 1 << 40)}, {"id": _NUMBER, "re": _NUMBER}),
    "cancel": ({"id": _NUMBER}, {}),
    "error": ({"code": _whole(0, 1 << 31), "msg": _text(LONGEST)}, {"re": _NUMBER}),
    "tell": ({"kind": _text(64), "head": _map}, {}),
    "ping": ({"n": _whole(0)}, {}),
    "pong": ({"n": _whole(0)}, {}),
}
# Flags of a data frame.
PAGE_ENDS, LAST = 1, 2


def check(message: Message) -> str:
    """The kind of a message whose fields are right. Raises `Malformed` naming the message and the field."""
    kind = message.get("t")
    fields = FIELDS.get(kind) if type(kind) is str else None
    if fields is None:
        raise Malformed(f"unknown message {str(kind)[:64]!r}")
    for name, right in fields[0].items():
        if name not in message or not right(message[name]):
            raise Malformed(f"{kind}: '{name}' is missing or wrong")
    for name, right in fields[1].items():
        if name in message and not right(message[name]):
            raise Malformed(f"{kind}: '{name}' is wrong")
    return str(kind)


@frozen
class Opened:
    """The peer said who it is."""

    hello: Mapping[str, Any]


@frozen
class Asked:
    """A question of the peer, with the whole of its body."""

    number: int
    kind: str
    head: Mapping[str, Any]
    body: bytes
    late: float | None  # seconds left to answer it
    hops: int


@frozen
class Dropped:
    """A question of the peer is not to be answered any more."""

    number: int


@frozen
class Told:
    """Something the peer says to all."""

    kind: str
    head: Mapping[str, Any]


@frozen
class Replied:
    """The head of an answer; with `more` pages follow."""

    number: int
    head: Mapping[str, Any]
    more: bool


@frozen
class Paged:
    """The page that was waited for, or the end of the pages, can be taken."""

    number: int


@frozen
class Failed:
    """A question of ours came to nothing."""

    number: int
    code: int
    text: str


@frozen
class Ponged:
    """The answer to a ping."""

    number: int


@frozen
class Ended:
    """The conversation is over; what is still to be sent says why to the peer."""

    why: str
    code: int = 21
    ours: bool = True  # we end it, not the peer


Event = Opened | Asked | Dropped | Told | Replied | Paged | Failed | Ponged | Ended
