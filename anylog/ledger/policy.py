"""One policy: a JSON object with one root key, its type (metadata.md 1)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from hashlib import md5
from typing import Any

import orjson
from attrs import field, frozen

from anylog.errors import AnyLogError

LARGEST = 64 << 10  # bytes of one policy as text
DEEPEST = 50  # levels of values
TOMBSTONE = "deleted"  # the type of a line that says which policy this node wants gone (metadata.md 4.3)

NUMBERS = ("port", "local_port", "rest_port", "broker_port", "member")  # kept as whole numbers, however they came
_NUMBERED = frozenset((*NUMBERS, *(name.replace("_", " ") for name in NUMBERS)))
ALIASES = {"rest_port": "rest port", "local_ip": "local ip", "local_port": "local port", "broker_port": "broker port"}
_TYPE = re.compile(r"[A-Za-z0-9_\-]{1,100}")
_WHOLE = re.compile(r"[0-9]{1,9}")
_MANY_DIGITS = re.compile(rb"[0-9]{19}")  # may be beyond 64 bits, of which a fast parser makes a float

_NOT_HASHED = ("id", "date", "ledger", "signature", "public_key")
_HASHED: Mapping[str, tuple[str, ...]] = {  # types of which two nodes that declare the same thing get the same id
    "table": ("company", "name", "dbms"),
    "column": ("dbms", "table", "name", "type"),
    "cluster": ("company", "name", "parent", "table"),
}
DECLARED = frozenset(_HASHED)


@frozen(eq=False, slots=False)
class Policy:
    """A policy; nothing of it changes. `body` is what stands under the root key."""

    type: str
    body: Mapping[str, Any] = field(repr=False)
    id: str = field(init=False)  # empty: it has none yet
    date: str = field(init=False, repr=False)

    @id.default
    def _id(self) -> str:
        return _text(self.body.get("id"))

    @date.default
    def _date(self) -> str:
        return _text(self.body.get("date"))

    @classmethod
    def read(cls, given: object) -> Policy:
        """A policy out of a text or of JSON values. Raises AnyLogError 87 naming what is wrong, 6 for no JSON."""
        value = _parsed(given) if isinstance(given, str | bytes) else given
        if not isinstance(value, Mapping) or len(value) != 1:
            what = f"{len(value)} root keys" if isinstance(value, Mapping) else f"no object: {str(value)[:80]!r}"
            raise AnyLogError(87, f"a policy has exactly one root key, its type; this is one with {what}")
        ((kind, body),) = value.items()
        if not isinstance(kind, str) or not _TYPE.fullmatch(kind):
            raise AnyLogError(87, f"{str(kind)[:80]!r} is no policy type: letters, digits, '_' and '-'")
        if not isinstance(body, Mapping):
            raise AnyLogError(87, f"policy '{kind}': its value is no object: {str(body)[:80]!r}")
        _check_depth(kind, body)
        policy = cls(kind, body)
        for name in ("id", "date"):
            if name in body and not isinstance(body[name], str | int):
                raise AnyLogError(87, f"policy '{kind}': {name}:{str(body[name])[:80]} is no text")
        try:
            size = len(policy.text.encode())
        except UnicodeEncodeError:
            raise AnyLogError(87, f"policy '{kind}': text that is no Unicode") from None
        if size > LARGEST:
            raise AnyLogError(87, f"policy '{kind}': {size:,} bytes, at most {LARGEST:,}")
        return policy

    @property
    def value(self) -> dict[str, Any]:
        """As JSON values."""
        return {self.type: dict(self.body)}

    @cached_property
    def text(self) -> str:
        """The one line that the ledger's file and its master hold."""
        return dumped(self.value)

    def get(self, name: str) -> Any:
        """An attribute, also in its older spelling (`rest port`); None if there is none."""
        value = self.body.get(name)
        return self.body.get(ALIASES[name]) if value is None and name in ALIASES else value

    def text_of(self, name: str) -> str:
        """An attribute as text, empty if there is none."""
        return _text(self.get(name))

    def whole(self, name: str) -> int | None:
        """An attribute as a whole number, None if it is none."""
        return _whole(self.get(name))

    @property
    def name(self) -> str:
        """The attribute `name`, empty if there is none."""
        return _text(self.body.get("name"))

    @property
    def local(self) -> bool:
        """Whether the global ledger has not confirmed it yet."""
        return self.body.get("ledger") == "local"

    def having(self, **attributes: Any) -> Policy:
        """A copy with these attributes, None removing one."""
        body = dict(self.body)
        for name, value in attributes.items():
            if value is None:
                body.pop(name, None)
            else:
                body[name] = value
        return Policy(self.type, body)

    @property
    def summary(self) -> str:
        """How errors name it: type and name, or id."""
        return f"{self.type} '{self.name or self.id or 'without a name'}'"


def new_id(policy: Policy) -> str:
    """The id a policy gets if it has none: the same for the same declaration (metadata.md 1.2)."""
    hashed = _HASHED.get(policy.type)
    if hashed is None:
        payload = {name: value for name, value in policy.body.items() if name not in _NOT_HASHED}
    else:
        payload = {name: policy.body[name] for name in hashed if name in policy.body}
    text = json.dumps({policy.type: payload}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return md5(f"{policy.type}:{text}".encode(), usedforsecurity=False).hexdigest()


def prepared(policy: Policy, now: float) -> Policy:
    """The policy with an id and a date (unix seconds `now`) if it had none, and ports as whole numbers."""
    numbers = {name: _number(policy.body[name]) for name in _NUMBERED.intersection(policy.body)}
    if policy.id and policy.date and not numbers:
        return policy
    body = {**policy.body, **numbers}
    if not policy.id:
        body["id"] = new_id(Policy(policy.type, body))
    if not policy.date:
        body["date"] = utc_date(now)
    return Policy(policy.type, body)


def utc_date(now: float) -> str:
    """Unix seconds as the date of a policy."""
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def dumped(value: Any) -> str:
    """JSON in one line, the same for the same values on every node."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # a number beyond 64 bits
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def tombstone(ident: str, now: float) -> Policy:
    """The line that remembers that this node deleted a policy."""
    return Policy(TOMBSTONE, {"id": ident, "ledger": "local", "date": utc_date(now)})


def _parsed(text: str | bytes) -> Any:
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(data) > 4 * LARGEST:
        raise AnyLogError(87, f"a policy of {len(data):,} bytes, at most {LARGEST:,}")
    try:
        if _MANY_DIGITS.search(data):
            return json.loads(data, parse_constant=_no_constant)
        return orjson.loads(data)
    except (ValueError, RecursionError) as why:
        shown = "".join(char if char.isprintable() else "?" for char in data[:80].decode(errors="replace"))
        raise AnyLogError(6, f"policy: {why}: {shown}") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _check_depth(kind: str, body: Any) -> None:
    level, rows = 0, [body]
    while rows:
        level += 1
        if level > DEEPEST:
            raise AnyLogError(87, f"policy '{kind}': values of more than {DEEPEST} levels")
        inner = (one for row in rows for one in (row.values() if isinstance(row, Mapping) else row))
        rows = [one for one in inner if isinstance(one, dict | list)]


def _number(value: Any) -> Any:
    number = _whole(value)
    return value if number is None else number


def _whole(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        return int(value)
    return value if isinstance(value, int) else None


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else dumped(value)
