"""A member says that it may lack what it had loaded: before, while and after it loads that again."""

from __future__ import annotations

from typing import Any

import pytest
from test_audit import ROWS, filed
from test_clusters import cluster
from test_lasting import TOWN, begin, calm, put, quiet, values
from twisted.internet.defer import Deferred, fail

from anylog.errors import AnyLogError
from anylog.node import Node
from anylog.processes import recovery
from anylog.testing import laws
from anylog.testing.storm import Storm
from anylog.testing.world import World


def is_complete(node: Node) -> bool:
    return node.copying.complete


def own_complete(storm: Storm, node: Node) -> bool:
    """As it is kept, and said of a member that pulls."""
    tsd, place = node.membership.tsd(), node.membership.place()
    assert tsd is not None and place is not None
    standing = node.copying.standing
    storm.world.wait(standing.recall(tsd, place.member))
    return standing.own_complete


def test_a_database_that_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the start on until its files are loaded again this member has not all that it had."""
    storm = calm(2)
    put(storm, "t0", [1, 2], True)
    quiet(storm)
    assert is_complete(storm.world.nodes["op1"])
    storm.world.crash("op1", power=False)
    storm._files("op1").remove(TOWN)
    told: list[bool] = []
    again = recovery._Comparison.again

    async def loads(one: Any, *asked: Any) -> None:
        told.append(storm.world.nodes["op1"].copying.complete)
        await again(one, *asked)
        told.append(storm.world.nodes["op1"].copying.complete)

    monkeypatch.setattr(recovery._Comparison, "again", loads)
    node = begin(storm)
    assert node is not None
    assert values(quiet(storm)) == [1, 2]
    assert told == [False, False]
    assert is_complete(node)
    storm.world.end()


def test_before_the_operator_runs_again() -> None:
    """Nobody has compared anything yet."""
    storm = calm(2)
    put(storm, "t0", [1, 2], True)
    quiet(storm)
    storm.world.crash("op1", power=False)
    place = storm.world.places["op1"]
    kept, place.script = place.script, [line for line in place.script if not line.startswith("run operator")]
    node = begin(storm)
    assert node is not None and not is_complete(node)
    (operator,) = [line for line in kept if line.startswith("run operator")]
    storm.world.run(node, operator)
    storm.world.until(lambda: node.copying.complete, 30)
    storm.world.end()


def test_what_is_in_no_archive_here() -> None:
    """Others may have it: this member is not complete any more, as it pulls, and says so after a start, too."""
    storm = calm(2)
    put(storm, "t0", [1, 2], True)
    held = quiet(storm)
    node = storm.world.nodes["op1"]
    tsd, place = node.membership.tsd(), node.membership.place()
    assert tsd is not None and place is not None
    node.copying.standing.own_complete = True
    storm.world.wait(node.copying.standing.keep(tsd, place.member, {place.member}))
    (path,) = held.files["archive_dir"]
    storm.world.crash("op1", power=False)
    again = begin(storm)
    assert again is not None and own_complete(storm, again)
    storm.world.crash("op1", power=False)
    disk: Any = storm.world.places["op1"].disk
    del disk._files[str(path)]
    storm._files("op1").remove(TOWN)
    again = begin(storm)
    assert again is not None
    storm.world.advance(10)
    assert not own_complete(storm, again)
    storm.world.crash("op1", power=False)
    again = begin(storm)
    assert again is not None and not own_complete(storm, again)
    storm.world.end()


def test_a_file_that_is_taken_out_and_not_loaded() -> None:
    """A repair cannot load it: this member lacks it, says so, and loads it a while later."""
    storm = calm(2)
    put(storm, "t0", [1, 2], True)
    quiet(storm)
    node = storm.world.nodes["op1"]
    storm.world.wait(node.databases.get("town").execute("update t0 set v = 7 where v = 1", ()))
    node.copying.bring = lambda file: fail(AnyLogError(16, "the database is away"))
    report = storm.world.run(node, "repair table t0 where dbms = town and format = json").data
    assert "the database is away" in report["Left"][0]["Reason"]
    assert not is_complete(node)
    storm.world.until(lambda: node.copying.complete, 60)
    held = quiet(storm)
    assert values(held) == [1, 2]
    assert not [*laws.loaded_once(held), *laws.archived(held)]
    storm.world.end()


def test_no_select_while_a_file_is_out() -> None:
    """It waits until the file is in again, and is refused in the end."""
    world = World(23)
    _, one, two = cluster(world)
    filed(world, one, ROWS)
    question = {"dbms": "town", "table": "t", "statement": "select v from t", "form": "lists"}

    def ask() -> Deferred[Any]:
        return two.peers.ask(one.membership.address, "select", question)

    assert world.wait(ask()).head["rows"] == 2
    world.wait(Deferred.fromCoroutine(one.copying.out.begin("town", "t")))
    asked = ask()
    world.advance(5.0)
    assert not asked.called
    one.copying.out.end("town", "t")
    assert world.wait(asked).head["rows"] == 2
    world.wait(Deferred.fromCoroutine(one.copying.out.begin("town", "t")))
    with pytest.raises(AnyLogError, match="loaded again") as refused:
        world.wait(ask())
    assert refused.value.number == 508
    world.stop()
