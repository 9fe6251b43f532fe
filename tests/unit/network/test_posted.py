"""Which POST is data and which is a command, and when data is refused before it is looked at."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from anylog.errors import AnyLogError
from anylog.network.posted import Data, Posted


class Posts:
    """Two products may send data; says what it was given."""

    def __init__(self) -> None:
        self.given: list[Any] = []

    def products(self) -> list[str]:
        return ["anylog", "panels"]

    def posted(self, product: str, topic: str, body: bytes, key: str) -> Deferred[int]:
        self.given.append((product, topic, body, key))
        return succeed(1)


class Intake:
    """Refuses with what it was told."""

    why: AnyLogError | None = None

    def refusal(self) -> AnyLogError | None:
        return self.why


ASKED: dict[str, tuple[dict[str, str], bytes, Data | None]] = {
    "data": ({"command": "data", "user-agent": "AnyLog/1.23", "topic": " t "}, b"", Data("anylog", "t", "")),
    "upper case": ({"command": "Data", "user-agent": "ANYLOG/1"}, b"", Data("anylog", "", "")),
    "a product of its own": ({"user-agent": "Panels/3", "topic": "t"}, b"", Data("panels", "t", "")),
    "named by the other header": (
        {"user-agent": "requests/2", "anylog-agent": "Panels/3", "idempotency-key": "k"},
        b"",
        Data("panels", "", "k"),
    ),
    "by URL": ({"user-agent": "Mozilla/5"}, b"command=data&topic=a/b&anylog-agent=panels", Data("panels", "a/b", "")),
    "a command": ({"command": "get status", "user-agent": "Panels/3"}, b"", None),
    "a console": ({"user-agent": "AnyLog/1.23"}, b"", None),
    "curl": ({"user-agent": "curl/8"}, b"", None),
    "somebody": ({"user-agent": "Mozilla/5"}, b"", None),
    "nobody": ({}, b"", None),
}


@pytest.mark.parametrize("name", ASKED)
def test_data_or_command(name: str) -> None:
    """The command says it, or the user agent."""
    headers, query, wanted = ASKED[name]
    assert Posted(intake=Intake(), posts=Posts()).addressed(headers, query) == wanted  # type: ignore[arg-type]


def test_refused_as_readings_are() -> None:
    """While nothing is taken the answer is 503, which says when to come again; an empty body is 400."""
    intake, posts = Intake(), Posts()
    door = Posted(intake=intake, posts=posts)  # type: ignore[arg-type]
    intake.why = AnyLogError(502, "full")
    for why, body, http in [(intake.why, b"{}", 503), (None, b" \n", 400)]:
        intake.why = why
        failures: list[Failure] = []
        door.take(Data("anylog", "t", ""), body).addErrback(failures.append)
        (failure,) = failures
        assert isinstance(failure.value, AnyLogError) and failure.value.http == http
    assert posts.given == []
    door.take(Data("anylog", "t", "k"), b"{}")
    assert posts.given == [("anylog", "t", b"{}", "k")]
