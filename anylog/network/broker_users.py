"""Who may connect to the message broker, and publish and subscribe to what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from hmac import compare_digest

from attrs import define, field, frozen

from anylog.wire.topics import matches, share


@frozen(kw_only=True)
class User:
    """A user and what it may do. Patterns are topic filters, in which %u is the user and %c the client id.

    Without any pattern of what is allowed all is, but for what is denied.
    """

    name: str = ""  # empty: all who give no name
    proof: bytes = b""
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    def may(self, client_id: str, action: str, topic: str) -> bool:
        """Whether it may publish to a topic, or subscribe to a filter."""
        fits: Callable[[str, str], bool] = matches if action == "publish" else overlap
        for pattern in self.deny:
            known = self._filled(pattern, client_id)
            if known is None or fits(known, topic):
                return False
        if not self.publish and not self.subscribe:
            return True
        fits = matches if action == "publish" else covers
        for pattern in self.publish if action == "publish" else self.subscribe:
            known = self._filled(pattern, client_id)
            if known is not None and fits(known, topic):
                return True
        return False

    def _filled(self, pattern: str, client_id: str) -> str | None:
        """A pattern for one client; None if its name would make it mean something else."""
        for sign, value in (("%u", self.name), ("%c", client_id)):
            if sign in pattern:
                if not value or set(value) & set("+#/"):
                    return None
                pattern = pattern.replace(sign, value)
        return pattern


@frozen
class Guard:
    """Topics to which only one user may publish."""

    owner: str  # the node's own client that asked for it
    filter: str
    user: str
    proof: bytes


@define(eq=False)
class Users:
    """All rules of a broker."""

    known: dict[str, User] = field(factory=dict)
    anonymous: bool = True  # whether somebody without a name may connect
    certified: Sequence[str] = ()  # common names of client certificates that may; empty: all that are signed
    changed: Callable[[], None] | None = None
    _guards: list[Guard] = field(factory=list)

    @property
    def rules(self) -> bool:
        """Whether anything is forbidden to anybody."""
        return bool(self.known or self._guards or self.certified or not self.anonymous)

    @staticmethod
    def proof(password: bytes | None) -> bytes:
        """What is remembered of a password."""
        return b"" if password is None else sha256(password).digest()

    def guard(self, owner: str, filter: str, user: str, password: str) -> None:
        """Only `user` may publish to topics of `filter`."""
        self._guards.append(Guard(owner, filter, user, self.proof(password.encode())))
        self._tell()

    def unguard(self, owner: str) -> None:
        """What `owner` asked for is over."""
        self._guards = [each for each in self._guards if each.owner != owner]
        self._tell()

    def admits(self, user: str | None, certified: str, proof: bytes) -> bool:
        """Whether a client may connect that says who it is, with the name in its certificate, and a password."""
        if self.certified and certified not in self.certified:
            return False
        if user is None:
            return self.anonymous or bool(certified)
        entry = self.known.get(user)
        if entry is not None and user:
            return compare_digest(entry.proof, proof)
        if any(each.user == user and compare_digest(each.proof, proof) for each in self._guards):
            return True
        return self.anonymous and not any(self.known)  # nobody has a password here: any name will do

    def may(self, user: str, client_id: str, proof: bytes, action: str, topic: str) -> bool:
        """Whether one that has connected may publish to a topic, or subscribe to a filter."""
        if action == "publish" and self._guards:
            guards = [each for each in self._guards if matches(each.filter, topic)]
            if guards and not any(each.user == user and compare_digest(each.proof, proof) for each in guards):
                return False
        entry = self.known.get(user) or self.known.get("")
        if entry is None:
            return True
        if action == "subscribe" and topic.startswith("$share/"):
            try:
                topic = share(topic)[1]
            except ValueError:  # of a client of 3.1.1, where it is a filter like any other until it is subscribed to
                return False
        return entry.may(client_id, action, topic)

    def _tell(self) -> None:
        if self.changed is not None:
            self.changed()


def covers(pattern: str, filter: str) -> bool:
    """Whether a pattern matches every topic that a filter matches."""
    wanted, given = pattern.split("/"), filter.split("/")
    if wanted == ["+", "#"]:  # a topic has at least one level
        wanted = ["#"]
    for place, level in enumerate(wanted):
        hidden = place == 0 and given[0].startswith("$")
        if level == "#":
            return not hidden
        if place >= len(given) or given[place] == "#":
            return False
        if level == "+":
            if hidden:
                return False
        elif level != given[place]:
            return False
    return len(wanted) == len(given)


def overlap(one: str, other: str) -> bool:
    """Whether there can be a topic that both filters match."""
    mine, yours = one.split("/"), other.split("/")
    for place in range(max(len(mine), len(yours))):
        a = mine[place] if place < len(mine) else ""
        b = yours[place] if place < len(yours) else ""
        if "#" in (a, b):
            return place > 0 or not (a.startswith("$") or b.startswith("$"))
        if place >= len(mine) or place >= len(yours):
            return False
        if "+" in (a, b):
            if place == 0 and (a.startswith("$") or b.startswith("$")):
                return False
        elif a != b:
            return False
    return True
