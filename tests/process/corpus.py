"""The corpus: command lines with what a node answers, in files that read as a manual (see corpus/README.rst)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

FOLDER = Path(__file__).parent / "corpus"
INDENT = "    "
ANY = "..."  # whatever stands there
_ASKED = re.compile(
    r"(?P<node>[a-z][a-z0-9]*)?(?:@(?P<destination>\([^>]+\)|[^>() ]+))? ?(?P<method>GET|POST|)"
    r"(?P<more>>>?) (?P<text>.+)"
)


@frozen(kw_only=True)
class Line:
    """One command and what is to come of it."""

    room: str
    number: int  # in its file, from 1
    node: str
    text: str
    destination: str = ""
    method: str = ""  # empty: the first one by which the command may be asked
    patient: bool = False  # asked again until the answer is the expected one
    expected: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.room}:{self.number} {self.text[:70]}"


@frozen(kw_only=True)
class Lying:
    """A file that lies below the work directories of a node before the lines that follow."""

    room: str
    number: int
    node: str
    path: str
    text: str


def rooms() -> list[Path]:
    """All files of the corpus."""
    return sorted(FOLDER.glob("*.txt"))


def read(path: Path) -> list[Line | Lying]:
    """What a file says, in order. Raises ValueError naming file and line of what is no part of a corpus."""
    found: list[Line | Lying] = []
    node, lines = "", path.read_text(encoding="utf-8").splitlines()
    for at, line in enumerate(lines, 1):
        if not line.strip() or line.startswith(("#", "==", INDENT, ". ")):
            continue
        below = lines[at:]
        if line.startswith("on: "):
            node = line.removeprefix("on: ").strip()
        elif line.startswith("file "):
            text = "\n".join(each.removeprefix(INDENT) for each in _indented(below))
            found.append(Lying(room=path.stem, number=at, node=node, path=line.split()[1], text=text + "\n"))
        elif asked := _ASKED.fullmatch(line):
            more = [each[2:] for each in _while(below, ". ")]
            found.append(
                Line(
                    room=path.stem,
                    number=at,
                    node=asked["node"] or node,
                    text="\n".join([asked["text"], *more]),
                    destination=(asked["destination"] or "").removeprefix("(").removesuffix(")"),
                    method=asked["method"],
                    patient=asked["more"] == ">>",
                    expected=tuple(each.removeprefix(INDENT) for each in _indented(below[len(more) :])),
                )
            )
        else:
            raise ValueError(f"{path.name} line {at}: '{line}' is neither a command nor an answer")
    return found


def _while(lines: Sequence[str], begin: str) -> list[str]:
    """The first lines, as long as they begin so."""
    end = next((at for at, line in enumerate(lines) if not line.startswith(begin)), len(lines))
    return list(lines[:end])


def _indented(lines: Sequence[str]) -> list[str]:
    return _while(lines, INDENT)


def problem(expected: Sequence[str], status: int, body: str) -> str:
    """Why an answer is not the expected one; empty if it is."""
    wanted = " / ".join(expected) or "nothing"
    if expected and (refusal := re.fullmatch(r"! (\d+)(?: (.+))?", expected[0])):
        return "" if status != 200 and _refused(body, int(refusal[1]), refusal[2] or "") else f"not error {wanted}"
    if status != 200:
        return f"refused, where {wanted} was expected"
    if expected and expected[0][:1] in ("{", "["):
        try:
            told = json.loads(body)
        except ValueError:
            return "no JSON"
        return _unlike(json.loads("".join(expected)), told, "the answer")
    patterns = [line.removeprefix("~ ") for line in expected if line.startswith("~ ")]
    if patterns:
        missing = [pattern for pattern in patterns if not re.search(pattern, body.replace("\r\n", "\n"), re.MULTILINE)]
        return f"nothing like {missing[0]}" if missing else ""
    told_lines = [line.rstrip() for line in body.replace("\r\n", "\n").strip("\n").split("\n")]
    wanted_lines = [line.rstrip() for line in expected] or [""]
    same = len(told_lines) == len(wanted_lines) and all(map(_like, wanted_lines, told_lines))
    return "" if same else f"not the text {wanted}"


def _refused(body: str, number: int, text: str) -> bool:
    """Whether an error object says so."""
    error = json.loads(body)
    told = f"{error['err_text']}: {error.get('local_msg', '')}"
    return bool(error["err_code"] == number and (_like(f"...{text}...", told)))


def _like(wanted: str, told: str) -> bool:
    """Whether a line is that text, with anything where it says `...`."""
    return bool(re.fullmatch(".*?".join(map(re.escape, wanted.split(ANY))), told, re.DOTALL))


def _unlike(wanted: Any, told: Any, where: str) -> str:
    """Why JSON is not as wanted: all keys that are named, each with its value; `...` is anything."""
    if isinstance(wanted, dict) and isinstance(told, dict):
        for key, value in wanted.items():
            if key not in told:
                return f"no '{key}' in {where}"
            if why := _unlike(value, told[key], f"{where}, {key}"):
                return why
        return ""
    if isinstance(wanted, list) and isinstance(told, list):
        rest = wanted[-1:] == [ANY]
        if len(told) < len(wanted) - rest or (len(told) > len(wanted) and not rest):
            return f"{len(told)} items in {where}"
        pairs = zip(wanted[: len(wanted) - rest], told, strict=False)
        return next((why for at, (a, b) in enumerate(pairs) if (why := _unlike(a, b, f"{where}, item {at}"))), "")
    if isinstance(wanted, str) and ANY in wanted:
        return "" if _like(wanted, str(told)) else f"{told!r} in {where}"
    return "" if wanted == told and type(wanted) is type(told) else f"{told!r} in {where}"
