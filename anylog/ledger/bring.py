"""`bring`: parts of policies, as text, table, list or JSON (metadata.md 5.2). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import frozen

from anylog.errors import AnyLogError
from anylog.language.context import Result
from anylog.language.dictionary import shown
from anylog.language.tables import bar_table, framed
from anylog.ledger.policy import Policy

FLAGS = (
    *("unique", "first", "recent", "last", "json", "null", "list", "table", "sort", "count", "ip_port", "min", "max"),
    "children",
)
_LATER = ("parents", "paths", "extend")
_SEPARATOR = re.compile(r"""\bseparator\s*=\s*(?P<value>"[^"]*"|'[^']*'|\S+)\s*$""")
_ITEM = re.compile(r"""(?P<path>(?:\[[^\[\]]*\])+)|"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<word>[^\s\["']+)""")
_CONTROLS = {"\\n": "\n", "\\t": "\t", "\\r": "\r"}
_FUNCTION = re.compile(r"(?P<name>[^()]*)\((?P<function>r?find|prefix|suffix)\((?P<argument>.*)\)\)")


@frozen
class Path:
    """A place in a policy: `[operator][ip]`, `[*][ip]`, `[ip]`, or `[]` and `[*]` for its type."""

    parts: tuple[str, ...]

    @property
    def title(self) -> str:
        """Key of its value: the last part."""
        return _plain(self.parts[-1]) if self.parts else "policy"

    def value(self, policy: Policy) -> Any:
        """What is there; None if there is nothing."""
        parts = self.parts
        if not parts:
            return policy.type
        if len(parts) > 1 and parts[0] in ("*", policy.type):
            parts = parts[1:]
        elif len(parts) > 1 and parts[0] not in policy.body:
            return None  # of another type of policy
        return _inside(policy.body, parts)


Item = Path | str


@frozen
class Bring:
    """One `bring`, read."""

    flags: Mapping[str, str]  # name -> what stands in its parentheses
    items: Sequence[Item]
    separator: str = ""

    @property
    def paths(self) -> list[Path]:
        """The items that are places."""
        return [item for item in self.items if isinstance(item, Path)]


def read_bring(text: str) -> Bring:
    """`bring[.flag...] item ... [separator = s]`. Raises AnyLogError 2, or 237 for a flag of later."""
    head, _, rest = text.strip().partition(" ")
    flags: dict[str, str] = {}
    for word in re.findall(r"\.([^.(]+(?:\([^()]*\))?)", head):
        name, _, argument = word.partition("(")
        name = name.lower()
        if name in _LATER:
            raise AnyLogError(237, f"not in this build: bring.{name}")
        if name not in FLAGS:
            raise AnyLogError(2, f"bring: no flag '{name}': {', '.join(FLAGS)}")
        flags[name] = argument.rstrip(")")
    separator = ""
    found = _SEPARATOR.search(rest)
    if found is not None:
        separator, rest = found["value"].strip("\"'"), rest[: found.start()]
        separator = _CONTROLS.get(separator, separator)
    items: list[Item] = []
    for item in _ITEM.finditer(rest):
        if item["path"] is not None:
            parts = tuple(part.strip().strip("'\"") for part in re.findall(r"\[([^\[\]]*)\]", item["path"]))
            items.append(Path(() if parts in (("",), ("*",)) else parts))
        else:
            literal = next(each for each in (item["double"], item["single"], item["word"]) if each is not None)
            for written, meant in _CONTROLS.items():
                literal = literal.replace(written, meant)
            items.append(literal)
    sufficient = {"first", "recent", "last", "count", "ip_port", "children"}
    if not items and not sufficient & set(flags):
        raise AnyLogError(2, "Missing info after 'bring'")
    return Bring(flags, items, separator)


def brought(
    policies: Sequence[Policy],
    bring: Bring,
    *,
    address: Callable[[Policy], str],
    children: Callable[[Policy], Sequence[Policy]],
) -> Result:
    """What is brought of these policies. Raises AnyLogError 2 or 60."""
    flags = bring.flags
    if "children" in flags:
        policies = [child for policy in policies for child in children(policy)]
    if "first" in flags:
        policies = policies[:1]
    elif "recent" in flags or "last" in flags:
        dated = sorted(policies, key=lambda policy: policy.date)
        policies = dated[-1:]
    if "ip_port" in flags:
        return Result(text=",".join(dict.fromkeys(filter(None, map(address, policies)))))
    if "count" in flags:
        return _counted(policies, bring)
    if not bring.items:
        return Result(data=[policy.value for policy in policies], format="json")
    if "min" in flags or "max" in flags:
        return _extreme(policies, bring)
    if "table" in flags:
        return _table(policies, bring)
    if "json" in flags:
        return _json(policies, bring)
    rows = [row for row in (_row(policy, bring.items) for policy in policies) if row]
    if "unique" in flags:
        rows = list(dict.fromkeys(rows))
    if "list" in flags:
        return Result(data=rows, format="json")
    return Result(text=bring.separator.join(rows))


def _row(policy: Policy, items: Sequence[Item]) -> str:
    """The items of one policy, empty if none of its places has a value."""
    values = [item if isinstance(item, str) else item.value(policy) for item in items]
    places = [value for item, value in zip(items, values, strict=True) if isinstance(item, Path)]
    if places and all(value is None for value in places):
        return ""
    return "".join(shown(value) for value in values if value is not None)


def _json(policies: Sequence[Policy], bring: Bring) -> Result:
    objects: list[dict[str, Any]] = []
    for policy in policies:
        values = {path.title: path.value(policy) for path in bring.paths}
        if "null" in bring.flags:
            values = {title: "" if value is None else value for title, value in values.items()}
        else:
            values = {title: value for title, value in values.items() if value is not None}
        if values and not ("unique" in bring.flags and values in objects):
            objects.append(values)
    return Result(data=objects, format="json")


def _table(policies: Sequence[Policy], bring: Bring) -> Result:
    titles = [path.title.replace("_", " ").capitalize() if path.parts else "Policy" for path in bring.paths]
    rows = []
    for policy in policies:
        values = [path.value(policy) for path in bring.paths]
        row = tuple("" if value is None else shown(value) for value in values)
        if any(row) and not ("unique" in bring.flags and row in rows):
            rows.append(row)
    if "sort" in bring.flags:
        asked = [part for part in bring.flags["sort"].split(",") if part.strip()]
        if not all(part.strip().isdecimal() and int(part) < len(titles) for part in asked):
            raise AnyLogError(2, f"bring: sort({bring.flags['sort']}) names no columns of {len(titles)}")
        columns = [int(part) for part in asked] or list(range(len(titles)))
        rows.sort(
            key=lambda row: tuple(row[place].rjust(20) if row[place].isdecimal() else row[place] for place in columns)
        )
    data = [dict(zip((path.title for path in bring.paths), row, strict=True)) for row in rows]
    return Result(text=framed(bar_table(titles, rows)), data=data, format="table")


def _counted(policies: Sequence[Policy], bring: Bring) -> Result:
    count = len(policies)
    if bring.items:
        rows = [row for row in (_row(policy, bring.items) for policy in policies) if row]
        count = len(set(rows)) if "unique" in bring.flags else len(rows)
    if "json" in bring.flags:
        return Result(data=[{"count": count}], format="json")
    return Result(text=str(count), data=count)


def _extreme(policies: Sequence[Policy], bring: Bring) -> Result:
    if len(bring.paths) != 1:
        raise AnyLogError(60, "bring: min and max are of a single item")
    values = [value for value in (bring.paths[0].value(policy) for policy in policies) if value is not None]
    if not values:
        return Result(text="")
    choose = min if "min" in bring.flags else max
    try:
        return Result(text=shown(choose(values, key=lambda value: float(value))))
    except (TypeError, ValueError):
        return Result(text=choose(shown(value) for value in values))


def _plain(part: str) -> str:
    found = _FUNCTION.fullmatch(part)
    return found["name"] if found else part


def _inside(value: Any, parts: Sequence[str]) -> Any:
    for place, part in enumerate(parts):
        if isinstance(value, list):
            if part == "":
                return [found for found in (_inside(each, parts[place + 1 :]) for each in value) if found is not None]
            if part.isdecimal():
                value = value[int(part)] if int(part) < len(value) else None
                continue
            found = [each for each in (_inside(entry, parts[place:]) for entry in value) if each is not None]
            return found or None
        function = _FUNCTION.fullmatch(part)
        value = value.get(function["name"] if function else part) if isinstance(value, Mapping) else None
        if function and value is not None:
            value = _cut(shown(value), function["function"], function["argument"].strip("'\""))
    return value


def _cut(text: str, function: str, argument: str) -> str:
    """`find(s)`: before the first s; `rfind(s)`: after the last; `prefix(n)`, `suffix(n)`: n characters."""
    if function == "find":
        return text.partition(argument)[0]
    if function == "rfind":
        return text.rpartition(argument)[2]
    if not argument.isdecimal():
        raise AnyLogError(60, f"bring: '{argument}' is not a number of characters")
    return text[: int(argument)] if function == "prefix" else text[-int(argument) :] if int(argument) else ""
