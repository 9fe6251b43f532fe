"""What a subscription of a message client does with a message: decode it, map it, or say why not (ingest.md 4, 7.4)."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from attrs import define, field

from anylog.errors import AnyLogError
from anylog.ledger.types import merge
from anylog.mapping.body import read_message
from anylog.mapping.names import LONGEST, normalise
from anylog.mapping.parts import ROWS, Parts, at_once
from anylog.mapping.policies import MappingPolicy
from anylog.mapping.topics import Mapped, Mapper, Topic
from anylog.mapping.values import instant

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_WORDS = {"true": True, "false": False, "null": None}


@define(eq=False)
class Counted:
    """How many messages came, and what went wrong last; times in unix seconds, 0: never."""

    messages: int = 0
    success: int = 0
    errors: int = 0
    last_message: float = 0.0
    last_error: float = 0.0
    error: str = ""

    def failed(self, now: float, why: str, messages: int = 1) -> None:
        """Messages were not taken."""
        self.errors += messages
        self.last_error, self.error = now, why


@define(eq=False)
class Subscribed:
    """A topic of a client, compiled, with its counters."""

    topic: Topic
    qos: int
    policies: Sequence[Mapper] = ()
    counted: Counted = field(factory=Counted)
    seen: Callable[[str, str, str], None] | None = None  # told of topic, database and table of dynamic messages
    merge: Callable[[Topic, str, str, Any, float], None] | None = None  # told of the values among them, and when
    prefix: str = field(init=False)  # of keys of its messages
    _each: bool = field(init=False)  # a list is as many messages as it has entries

    def __attrs_post_init__(self) -> None:
        self.prefix = f"mqtt:{blake2b(self.topic.name.encode(), digest_size=6).hexdigest()}"
        mapping = self.topic.mapping
        # A path that begins with `[]` goes through the list itself; so do policies, reading by reading.
        self._each = mapping is not None and not any(
            "" in column.bring.keys for column in mapping.columns if column.bring
        )

    @property
    def logged(self) -> bool:
        """Whether its messages go to a file as they are."""
        return self.topic.only_log or self.topic.persist

    def rows(self, name: str, payload: bytes, now: float) -> list[Mapped]:
        """What becomes of a message. Raises AnyLogError 6, 28, 40 or 501 saying why it cannot be mapped."""
        message = self.read(payload)
        mapping = self.topic.mapping
        if mapping is not None and type(message) is dict:  # nearly all
            return mapping.apply(message, now)
        return at_once(self.parts(name, message, now))

    def read(self, payload: bytes) -> Any:
        """The value that a message is. Raises AnyLogError 6 or 501 for what is none."""
        if not self.topic.dynamic:
            return read_message(payload)
        try:
            return read_message(payload)
        except AnyLogError:
            return _scalar(payload)

    def together(self, messages: Sequence[Any], now: float) -> Mapped | None:
        """The same for many that were read, one row each; None if they, or any of them, are not as simple as that."""
        mapping = self.topic.mapping
        return None if mapping is None or self.topic.dynamic else mapping.together(messages, now)

    def parts(self, name: str, message: Any, now: float) -> Parts[list[Mapped]]:
        """What becomes of a message that was read, in parts. Raises as `rows`."""
        if self.topic.dynamic:
            return [self._at(name, message, now)]
        if type(message) is not list or not self._each:
            return (yield from self.topic.parts(message, now, self.policies))
        if not message:
            raise AnyLogError(6, "the list is empty")
        found: dict[tuple[str, str, str, str], Mapped] = {}
        for first in range(0, len(message), ROWS):
            some = message[first : first + ROWS]
            mapped = self.together(some, now)
            if mapped is not None:
                _add(found, mapped)
                yield len(some)
                continue
            for one in some:
                for each in (yield from self.topic.parts(one, now, self.policies)):
                    _add(found, each)
                yield 1
        return list(found.values())

    def types(self, dbms: str, table: str, makers: Container[str] = ()) -> Mapping[str, str]:
        """Column -> ledger type, as far as it is declared: for a table that does not exist yet.

        `makers` are ids of policies, "0" for columns of the topic itself, that made rows for it; of others only what is
        for that table by its name.
        """
        mapping = self.topic.mapping
        if mapping is not None:
            fills = "0" in makers or (mapping.dbms.name, mapping.table.name) == (dbms, table)
            return mapping.types if fills else {}
        found: dict[str, str] = {}
        for policy in self.policies:
            if isinstance(policy, MappingPolicy):
                for column, kind in policy.types(dbms, table, makers).items():
                    found[column] = merge(found.get(column, kind), kind)
        return found

    def _at(self, name: str, message: Any, now: float) -> Mapped:
        assert self.topic.dbms is not None
        dbms, table = self.topic.dbms.one(message), table_of(self.topic, name, message)
        mapped = self._attributes(dbms, table, message, now)
        if self.merge is not None and not isinstance(message, dict | list):
            self.merge(self.topic, name, dbms, mapped.rows[0]["value"], now)
        if self.seen is not None:
            self.seen(name, dbms, table)
        return mapped

    def _attributes(self, dbms: str, table: str, message: Any, now: float) -> Mapped:
        if isinstance(message, list):
            if not message or not all(type(each) is dict and each for each in message):
                raise AnyLogError(6, "a list of objects is needed")
            return Mapped(dbms, table, message)
        if isinstance(message, dict):
            if not message:
                raise AnyLogError(6, "the object is empty")
            return Mapped(dbms, table, [message])
        if type(message) is str:
            message = _converted(message)
        return Mapped(dbms, table, [{"timestamp": instant(now), "value": message}])


def _add(found: dict[tuple[str, str, str, str], Mapped], mapped: Mapped) -> None:
    """Rows behind those for the same place."""
    place = mapped.dbms, mapped.table, mapped.source, mapped.policy
    known = found.get(place)
    if known is None:
        found[place] = Mapped(mapped.dbms, mapped.table, list(mapped.rows), mapped.source, mapped.policy)
    else:
        known.rows.extend(mapped.rows)


def table_of(topic: Topic, name: str, message: Any) -> str:
    """The table of a message of a dynamic topic. Raises AnyLogError 40 for a name that cannot be one."""
    if topic.name_as_table:
        return normalise(name.strip("/"), "table")
    if topic.table is not None:
        return topic.table.one(message)
    last = name.rstrip("/").rpartition("/")[2]
    return normalise(f"{topic.table_prefix}_{last}" if topic.table_prefix else last, "table")


def _scalar(payload: bytes) -> Any:
    """A text that is no JSON; AnyLogError 6 for what is no text, or was meant to be an object."""
    try:
        text = payload.decode().strip()
    except UnicodeDecodeError as why:
        raise AnyLogError(6, f"the message is not UTF-8 (byte {why.start + 1})") from None
    if not text:
        raise AnyLogError(6, "the message is empty")
    if text[0] in "{[":
        read_message(payload)  # says what is wrong with it
    return text


def _converted(text: str) -> Any:
    word = text.strip()
    if word.lower() in _WORDS:
        return _WORDS[word.lower()]
    if _NUMBER.fullmatch(word) and len(word) < 18:
        return float(word) if any(char in word for char in ".eE") else int(word)
    return text


def file_part(text: str) -> str:
    """A topic or a broker as a part of a file's name: normalised; where that is too long, shortened with its hash."""
    try:
        return normalise(text)
    except AnyLogError:
        digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
        kept = "".join(char if char.isascii() and char.isalnum() else "_" for char in text.lower())
        return f"{kept[: LONGEST - 9]}_{digest}"
