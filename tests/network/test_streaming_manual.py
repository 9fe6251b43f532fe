"""The examples of docs/streaming.rst do what the page says, section by section, on a whole node."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from anylog.testing.world import World

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "streaming.rst").read_text(encoding="utf-8")
SECTION = re.compile(r"^([A-Z][^\n]+)\n-+\n", re.MULTILINE)
BLOCK = re.compile(r"^(Commands|Rows|Time|Ask|Answer|Stored in \S+)::\n((?:\n|    [^\n]+\n)*)", re.MULTILINE)
SECTIONS = list(zip(*[iter(SECTION.split(PAGE)[1:])] * 2, strict=True))


def objects(text: str) -> list[dict[str, Any]]:
    """The JSON objects of a block, one after the other."""
    decoder, found, text = json.JSONDecoder(), [], text.strip()
    while text:
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:].strip()
    return found


def test_there_are_examples() -> None:
    """Every literal block of the page is one that is run."""
    assert len(SECTIONS) == 5
    assert sum(len(BLOCK.findall(text)) for _, text in SECTIONS) == len(re.findall(r"::\n\n", PAGE)) > 30


def matches(found: Any, wanted: Any) -> bool:
    """Whether it holds what the page shows, which may leave out attributes."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(key in found and matches(found[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(matches, found, wanted))
    return bool(found == wanted)


@pytest.mark.parametrize(("title", "text"), SECTIONS)
def test_section(title: str, text: str) -> None:
    """Commands, rows and time as they stand; answers and tables as shown."""
    world = World(1613)
    node = world.add("town", "10.0.0.1")
    world.run(node, "connect dbms town where type = sqlite and memory = true")
    answer: Any = None
    try:
        for kind, body in BLOCK.findall(text):
            lines = [line.strip() for line in body.splitlines() if line.strip()]
            if kind == "Commands":
                world.run(node, *lines)
            elif kind == "Rows":
                for row in objects(body):
                    world.wait(node.intake.accept("town", "weather", orjson.dumps([row]), [row]))
                world.advance(0.5)
            elif kind == "Time":
                world.advance(float(lines[0].split()[0]))
            elif kind == "Ask":
                result = world.run(node, *lines)
                answer = result.data if result.format == "json" else (result.text or "").strip()
            elif kind == "Answer":
                wanted = json.loads(body) if body.strip()[:1] in "[{" else body.strip()
                assert matches(answer, wanted), (title, answer)
            else:
                dbms, table = kind.removeprefix("Stored in ").split(".")
                wanted = objects(body)
                rows = stored(world, node, dbms, table)
                assert matches(rows, wanted), (title, kind, rows)
    finally:
        world.stop()


def stored(world: World, node: Any, dbms: str, table: str) -> list[Any]:
    """All rows of a table; none if there is no such table."""
    if node.databases.get(dbms).schema(table) is None:
        return []
    command = f'sql {dbms} format = json:list and stat = false "select * from {table} order by row_id"'
    pages, text = world.run(node, command).pages, b""
    assert pages is not None
    while (page := world.wait(pages.next())) is not None:
        text += page
    pages.close()
    return list(json.loads(text))
