"""Bad files, and trouble around good ones: nothing is lost or doubled, and others go on (operator-ha.md 3)."""

from __future__ import annotations

import time
from collections.abc import Iterator

import files_laws
import pytest
from files_load import THRESHOLDS, check, drop, start, wait_until_at_rest
from member import Member


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Member]:
    made = Member(tmp_path_factory.mktemp("bad") / "home", commands=(THRESHOLDS,))
    start(made)
    try:
        yield made
    finally:
        made.remove()


def rows_of(name: str, count: int = 3) -> list[dict[str, object]]:
    return [{"name": f"{name}-{n}", "timestamp": "2026-11-21T10:00:00Z", "value": n / 2} for n in range(count)]


def until_there(node: Member, *names: str) -> None:
    """Until the first reading of each is in its table."""
    wanted, until = {f"{name}-0" for name in names}, time.monotonic() + 20
    while missing := wanted - set(files_laws.names(node.home)):
        assert time.monotonic() < until, f"{missing} did not arrive"
        time.sleep(0.05)


def test_names_as_long_as_a_file_system_takes_them(node: Member) -> None:
    """Registered they would be too long: their source or their instructions are cut."""
    drop(node, f"town.long.{'s' * 240}", rows_of("source"))
    drop(node, f"town.long.0.0.{'i' * 235}", rows_of("instructions"))
    drop(node, f"town.long.{'ü' * 118}", rows_of("unicode"))
    drop(node, f"town.long.{'f' * 218}.0.0.1.7.261120154927", rows_of("full"))
    until_there(node, "source", "instructions", "unicode")
    check(node)
    assert {code for name, code in files_laws.errors(node.home).items() if name.startswith("town.long.f")} == {"119"}


def test_member_0_is_in_no_cluster(node: Member) -> None:
    drop(node, "town.nobody.0.0.0.0.7.261120154927", rows_of("nobody"))
    drop(node, "town.somebody.s", rows_of("somebody"))
    until_there(node, "somebody")
    wait_until_at_rest(node)
    assert files_laws.errors(node.home)["town.nobody.0.0.0.0.7.261120154927"] == "131"
