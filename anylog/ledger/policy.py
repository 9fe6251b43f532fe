"""One policy: its form, its id, its date (metadata.md 1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import md5
from typing import Any

import orjson
from attrs import field, frozen

from anylog.errors import AnyLogError

LARGEST = 64 << 10  # bytes of a policy as JSON
LOCAL, GLOBAL = "local", "global"
TOMBSTONE = "deleted"  # type of the line that remembers a delete until the ledger has forgotten the policy

_TYPE = re.compile(r"[A-Za-z0-9_\-]{1,100}")
_ADDED = ("id", "date", "ledger", "signature", "public_key")
# What the id of a type is made of, so that two nodes that make the same thing give it the same id.
_NAMED = {
    "table": ("company", "name", "dbms"),
    "column": ("dbms", "table", "name", "type"),
    "cluster": ("company", "name", "parent", "table"),
}
_NUMBERS = ("port", "rest_port", "broker_port", "local_port", "member")
_OLD_NAMES = {
    "rest port": "rest_port",
    "local ip": "local_ip",
    "local port": "local_port",
    "broker port": "broker_port",
}
_SORTED = orjson.OPT_SORT_KEYS


@frozen
class Policy:
    """One policy: `{type: {attribute: value}}`."""

    type: str
    body: Mapping[str, Any] = field(hash=False)
    _line: bytes = field(default=b"", init=False, eq=False, repr=False)  # once it was asked for

    @classmethod
    def read(cls, value: Any) -> Policy:
        """From JSON values or text. Raises AnyLogError 87 naming what is wrong, 6 for text that is no JSON."""
        if isinstance(value, str | bytes):
            try:
                value = orjson.loads(value)
            except orjson.JSONDecodeError as wrong:
                raise AnyLogError(6, f"the policy is no JSON: {wrong}") from None
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if not isinstance(value, dict) or len(value) != 1:
            roots = ", ".join(map(str, value)) if isinstance(value, dict) else type(value).__name__
            raise AnyLogError(87, f"a policy is an object with exactly one root, not: {roots[:200] or 'nothing'}")
        ((kind, body),) = value.items()
        if not isinstance(kind, str) or not _TYPE.fullmatch(kind):
            raise AnyLogError(87, f"'{str(kind)[:100]}' is not a type of policy: letters, digits, _ and -")
        if not isinstance(body, dict):
            raise AnyLogError(87, f"{kind}: the policy holds {type(body).__name__}, not attributes")
        for name in ("id", "date", "ledger"):
            if name in body and (not isinstance(body[name], str) or not 0 < len(body[name]) <= 200):
                raise AnyLogError(87, f"{kind}: {name}:{str(body[name])[:100]}")
        return cls(kind, {_OLD_NAMES.get(str(name), str(name)): _value(str(name), each) for name, each in body.items()})

    @property
    def id(self) -> str:
        """Its id, empty if it has none yet."""
        return str(self.body.get("id", ""))

    @property
    def date(self) -> str:
        """When it was made, ISO in UTC; empty if that is not known."""
        return str(self.body.get("date", ""))

    @property
    def ledger(self) -> str:
        """`local` until the ledger has confirmed it, then `global`."""
        return str(self.body.get("ledger", ""))

    @property
    def value(self) -> dict[str, Any]:
        """As JSON values."""
        return {self.type: dict(self.body)}

    @property
    def line(self) -> bytes:
        """As one line of the ledger file."""
        if not self._line:
            object.__setattr__(self, "_line", orjson.dumps(self.value))
        return self._line

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute."""
        return self.body.get(name, default)

    def with_(self, **attributes: Any) -> Policy:
        """The same with other attributes."""
        return Policy(self.type, {**self.body, **attributes})

    def new_id(self) -> str:
        """The id that follows from what it says (metadata.md 1.2)."""
        body = {name: value for name, value in self.body.items() if name not in _ADDED}
        if self.type in _NAMED:
            body = {name: body[name] for name in _NAMED[self.type] if name in body}
        payload = self.type.encode() + b":" + orjson.dumps(body, option=_SORTED)
        return md5(payload, usedforsecurity=False).hexdigest()

    def prepared(self, now: float) -> Policy:
        """With an id and a date. Raises AnyLogError 87 if it is too large."""
        added = {"id": self.id or self.new_id(), "date": self.date or stamp(now)}
        made = self.with_(**added)
        size = len(made.line)
        if size > LARGEST:
            raise AnyLogError(87, f"{self.type}: a policy of {size:,} bytes, at most {LARGEST:,}")
        return made


def stamp(now: float) -> str:
    """Unix seconds as a date of policies."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _value(name: str, value: Any) -> Any:
    """Ports and the like are numbers, however they were written."""
    number = name in _NUMBERS or _OLD_NAMES.get(name) in _NUMBERS
    if number and isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
        return int(value)
    return value


def read_lines(text: bytes, known: Mapping[bytes, Policy] | None = None) -> tuple[list[Policy], list[str]]:
    """The policies of a ledger file, and what is wrong with its lines, each with its number.

    `known` are lines that were read before, with their policies.
    """
    policies, wrong = [], []
    known = known or {}
    for number, line in enumerate(text.split(b"\n"), 1):
        if line in known:
            policies.append(known[line])
            continue
        if not line.strip():
            continue
        try:
            policy = Policy.read(line)
            if not policy.id and policy.type != TOMBSTONE:
                raise AnyLogError(170, f"{policy.type}: the policy has no id")
            policies.append(policy)
        except AnyLogError as error:
            wrong.append(f"line {number}: {error}")
    return policies, wrong
