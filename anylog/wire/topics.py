"""Topics: the grammar of names and filters, who subscribed to what, and what is retained (OASIS MQTT 5.0, 4.7 and 4.8).

Names and filters are compared as they are: case counts, and nothing is normalised ([MQTT-4.7.3-4]).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Generic, TypeVar

from attrs import define, field

LEVELS = 128  # of a filter or a retained name; each costs memory for as long as it is there
_SHARE = "$share/"

Who = TypeVar("Who", bound=Hashable)
Value = TypeVar("Value")


def name_fault(topic: str) -> str:
    """What keeps a text from being a topic name ([MQTT-4.7.3-1], [MQTT-4.7.0-1]); empty if it is one."""
    if not topic:
        return "a topic name is empty"
    if "+" in topic or "#" in topic:
        return f"the topic name {topic[:80]!r} has a wildcard"
    return ""


def filter_fault(filter: str) -> str:
    """What keeps a text from being a topic filter ([MQTT-4.7.3-1], [MQTT-4.7.1-1], [MQTT-4.7.1-2]); empty if it is one.

    The grammar of shared subscriptions is looked at by `share`.
    """
    if not filter:
        return "a topic filter is empty"
    if "#" in filter:
        place = filter.index("#")
        if place != len(filter) - 1 or not (place == 0 or filter[place - 1] == "/"):
            return f"'#' is not the whole last level of the topic filter {filter[:80]!r}"
    if "+" in filter and any("+" in level and level != "+" for level in filter.split("/")):
        return f"'+' is not a whole level of the topic filter {filter[:80]!r}"
    return ""


def share(filter: str) -> tuple[str, str]:
    """Name and filter of a shared subscription `$share/name/filter`; the name is empty for any other filter.

    Raises ValueError for what begins like one and is none ([MQTT-4.8.2-1], [MQTT-4.8.2-2]).
    """
    if not filter.startswith(_SHARE):
        return "", filter
    name, slash, rest = filter[len(_SHARE) :].partition("/")
    if not name:
        raise ValueError(f"the shared subscription {filter[:80]!r} has no share name")
    if "+" in name or "#" in name:
        raise ValueError(f"the share name in {filter[:80]!r} has a wildcard")
    if not slash or not rest:
        raise ValueError(f"the shared subscription {filter[:80]!r} has no topic filter")
    return name, rest


def matches(filter: str, topic: str) -> bool:
    """Whether a filter that is not shared matches a topic name."""
    wanted, levels = filter.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in ("+", "#"):
        return False  # [MQTT-4.7.2-1]
    for place, level in enumerate(wanted):
        if level == "#":
            return True
        if place >= len(levels) or level not in ("+", levels[place]):
            return False
    return len(wanted) == len(levels)


def precision(filter: str) -> tuple[int, ...]:
    """How specific a filter is: of two that match the same topic, the more specific one has the greater precision.

    Exact is most, then the longest literal beginning; where that is the same, `+` before `#` (ingest.md 7.3).
    """
    ranks = [_RANKS.get(level, 2) for level in filter.split("/")]
    return (*ranks, 3) if ranks[-1] else tuple(ranks)


_RANKS = {"#": 0, "+": 1}


def most_specific(filters: Iterable[str], topic: str) -> str | None:
    """The one that is to be used of the filters that match a topic name; None if none does."""
    return max((filter for filter in filters if matches(filter, topic)), key=precision, default=None)


@define(eq=False)
class _Level(Generic[Who, Value]):
    """One level of the filters: who subscribed up to here, and to all below."""

    children: dict[str, _Level[Who, Value]] = field(factory=dict)
    plus: _Level[Who, Value] | None = None
    # By share name, which is empty for subscriptions that are not shared. Created where needed: most levels have none.
    here: dict[str, dict[Who, Value]] | None = None
    below: dict[str, dict[Who, Value]] | None = None  # those with `#`

    def empty(self) -> bool:
        return not (self.children or self.plus or self.here or self.below)


class Filters(Generic[Who, Value]):
    """Who subscribed to what. Found by topic, at a cost that does not grow with the number of subscriptions."""

    def __init__(self) -> None:
        self._root: _Level[Who, Value] = _Level()
        self._count = 0

    def __len__(self) -> int:
        """How many subscriptions there are: each filter of each subscriber."""
        return self._count

    def add(self, filter: str, who: Who, value: Value) -> bool:
        """Subscribe; whether that is new, else only the value is replaced ([MQTT-3.8.4-3]).

        A filter `$share/name/...` joins the group of that name and filter, whichever the version of MQTT. Raises
        ValueError for what is no filter and for one of more than `LEVELS` levels.
        """
        name, levels = _levels(filter)
        level = self._root
        rest = levels[-1] == "#"
        for text in levels[:-1] if rest else levels:
            if text == "+":
                if level.plus is None:
                    level.plus = _Level()
                level = level.plus
            else:
                child = level.children.get(text)
                if child is None:
                    child = level.children[text] = _Level()
                level = child
        if rest:
            groups = level.below = {} if level.below is None else level.below
        else:
            groups = level.here = {} if level.here is None else level.here
        group = groups.setdefault(name, {})
        new = who not in group
        group[who] = value
        self._count += new
        return new

    def remove(self, filter: str, who: Who) -> bool:
        """End a subscription; whether there was one. A text that is no filter was never subscribed to."""
        try:
            name, levels = _levels(filter)
        except ValueError:
            return False
        rest = levels[-1] == "#"
        path: list[tuple[_Level[Who, Value], str]] = []
        level = self._root
        for text in levels[:-1] if rest else levels:
            child = level.plus if text == "+" else level.children.get(text)
            if child is None:
                return False
            path.append((level, text))
            level = child
        groups = level.below if rest else level.here
        if not groups or who not in groups.get(name, ()):
            return False
        del groups[name][who]
        self._count -= 1
        if not groups[name]:
            del groups[name]
        if not groups:
            if rest:
                level.below = None
            else:
                level.here = None
        for parent, text in reversed(path):  # nothing stays behind of filters that nobody has
            if not level.empty():
                break
            if text == "+":
                parent.plus = None
            else:
                del parent.children[text]
            level = parent
        return True

    def get(self, filter: str, who: Who) -> Value | None:
        """The value of a subscription; None if there is none."""
        return self.group(filter).get(who)

    def group(self, filter: str) -> Mapping[Who, Value]:
        """All who subscribed to this very filter."""
        try:
            name, levels = _levels(filter)
        except ValueError:
            return {}
        level = self._root
        rest = levels[-1] == "#"
        for text in levels[:-1] if rest else levels:
            child = level.plus if text == "+" else level.children.get(text)
            if child is None:
                return {}
            level = child
        groups = level.below if rest else level.here
        return (groups or {}).get(name, {})

    def match(self, topic: str) -> list[tuple[Who, Value]]:
        """Subscribers of a topic name with their values: each as often as it has filters that match.

        Shared subscriptions are not among them.
        """
        return [pair for groups in self._matching(topic) if "" in groups for pair in groups[""].items()]

    def match_shared(self, topic: str) -> list[tuple[str, Mapping[Who, Value]]]:
        """Share name and members of each group of a topic name; one member of each is to be sent a message.

        A name comes as often as it has filters that match: these are groups of their own (5.0, 4.8.2).
        """
        return [pair for groups in self._matching(topic) for pair in groups.items() if pair[0]]

    def _matching(self, topic: str) -> list[dict[str, dict[Who, Value]]]:
        found: list[dict[str, dict[Who, Value]]] = []
        level: list[_Level[Who, Value]] = [self._root]
        hidden = topic.startswith("$")  # from wildcards at the first level ([MQTT-4.7.2-1])
        for text in topic.split("/", LEVELS):  # no filter has as many: what is below is one level
            following: list[_Level[Who, Value]] = []
            for each in level:
                if each.below is not None and not hidden:
                    found.append(each.below)
                child = each.children.get(text)
                if child is not None:
                    following.append(child)
                if each.plus is not None and not hidden:
                    following.append(each.plus)
            if not following:
                return found
            level, hidden = following, False
        for each in level:
            if each.here is not None:
                found.append(each.here)
            if each.below is not None:
                found.append(each.below)  # `a/#` matches `a`
        return found


def _levels(filter: str) -> tuple[str, list[str]]:
    name, rest = share(filter)
    wrong = filter_fault(rest)
    if wrong:
        raise ValueError(wrong)
    levels = rest.split("/")
    if len(levels) > LEVELS:
        raise ValueError(f"a topic filter of {len(levels):,} levels, at most {LEVELS}")
    return name, levels


@define(eq=False)
class _Name(Generic[Value]):
    """One level of the retained names."""

    children: dict[str, _Name[Value]] = field(factory=dict)
    held: tuple[str, Value] | None = None  # name and value


class Retained(Generic[Value]):
    """One value a topic name, found by filter."""

    def __init__(self) -> None:
        self._root: _Name[Value] = _Name()
        self._count = 0

    def __len__(self) -> int:
        """How many names have a value."""
        return self._count

    def set(self, topic: str, value: Value) -> None:
        """Retain a value; what was there is replaced.

        Raises ValueError for what is no topic name and for one of more than `LEVELS` levels.
        """
        wrong = name_fault(topic)
        if wrong:
            raise ValueError(wrong)
        levels = topic.split("/")
        if len(levels) > LEVELS:
            raise ValueError(f"a topic name of {len(levels):,} levels, at most {LEVELS}")
        at = self._root
        for text in levels:
            child = at.children.get(text)
            if child is None:
                child = at.children[text] = _Name()
            at = child
        self._count += at.held is None
        at.held = topic, value

    def get(self, topic: str) -> Value | None:
        """The value of a name; None if it has none."""
        path = self._path(topic)
        return path[-1].held[1] if path and path[-1].held else None

    def remove(self, topic: str) -> bool:
        """Retain nothing for a name; whether there was a value."""
        path = self._path(topic)
        if not path or path[-1].held is None:
            return False
        path[-1].held = None
        self._count -= 1
        for text in reversed(topic.split("/")):
            last = path.pop()
            if last.children or last.held is not None:
                break
            del path[-1].children[text]
        return True

    def match(self, filter: str) -> list[tuple[str, Value]]:
        """Names and values that a filter matches, which is not shared. Raises ValueError for what is no filter."""
        wrong = filter_fault(filter)
        if wrong:
            raise ValueError(wrong)
        found = [self._root]
        hidden = True  # names that begin with `$`, from wildcards at the first level ([MQTT-4.7.2-1])
        for text in filter.split("/"):
            if text == "#":
                return _all(found, hidden)
            if text == "+":
                found = [
                    child
                    for each in found
                    for key, child in each.children.items()
                    if not (hidden and key.startswith("$"))
                ]
            else:
                found = [each.children[text] for each in found if text in each.children]
            if not found:
                break
            hidden = False
        return [each.held for each in found if each.held is not None]

    def everything(self) -> list[tuple[str, Value]]:
        """All names and values, also of names that begin with `$`."""
        return _all([self._root], hidden=False)

    def _path(self, topic: str) -> list[_Name[Value]]:
        """All levels down to a name, the root first; empty if it is not there."""
        path = [self._root]
        for text in topic.split("/", LEVELS):
            child = path[-1].children.get(text)
            if child is None:
                return []
            path.append(child)
        return path


def _all(names: list[_Name[Value]], hidden: bool) -> list[tuple[str, Value]]:
    """What these hold and all that is below them: level by level, in the order in which it came."""
    found: list[tuple[str, Value]] = []
    while names:
        found += [each.held for each in names if each.held is not None]
        names = [
            child for each in names for key, child in each.children.items() if not (hidden and key.startswith("$"))
        ]
        hidden = False
    return found
