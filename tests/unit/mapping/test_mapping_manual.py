"""The examples of docs/mapping.rst do what the page says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from anylog.language.dictionary import Dictionary, Scope
from anylog.mapping.topics import read_topic
from anylog.processes.msg_topics import Subscribed

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "mapping.rst").read_text(encoding="utf-8")
NOW = 1_800_000_000.0
EXAMPLE = re.compile(r"^Topic::\n\n(.+?)^Message::\n\n(.+?)^Rows::\n\n((?:    [^\n]+\n)+)", re.DOTALL | re.MULTILINE)
EXAMPLES = [tuple(map(str.strip, found)) for found in EXAMPLE.findall(PAGE)]


def test_there_are_examples() -> None:
    """Each topic of the page is one of them."""
    assert len(EXAMPLES) == PAGE.count("Topic::") >= 5


@pytest.mark.parametrize(("topic", "message", "rows"), EXAMPLES)
def test_example(topic: str, message: str, rows: str) -> None:
    """The topic makes these rows of this message."""
    declared = read_topic(" ".join(topic.split()), Scope(Dictionary(), {}))
    name = declared.name.replace("+", "7").replace("#", "x")
    made = Subscribed(declared, 0).rows(name, message.encode(), NOW)
    found = [(f"{each.dbms}.{each.table}", row) for each in made for row in each.rows]
    wanted = [line.strip().split(" ", 1) for line in rows.splitlines()]
    assert found == [(where, json.loads(row)) for where, row in wanted]
