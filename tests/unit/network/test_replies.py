"""What an answer looks like: values in, bytes out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from anylog.language.context import Result
from anylog.network.replies import body_of


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"a": [1, "ä", None]}, {"a": [1, "ä", None]}),
        ({"a": 10**40, 5: [{"b": float("nan")}, float("inf")]}, {"a": 10**40, "5": [{"b": None}, None]}),
        (["\ud800", float("nan")], ["\ud800", None]),
        (json.loads("[" * 400 + "]" * 400), json.loads("[" * 400 + "]" * 400)),
    ],
)
def test_values(value: Any, told: Any) -> None:
    """One value that a fast writer of JSON does not know does not spoil the answer with all others."""
    body, media = body_of(Result(data=value, format="json"))
    assert json.loads(body) == told
    assert media == b"application/json"
