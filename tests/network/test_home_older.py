"""A member's whole home, journal too, is put back from an older copy; the others have what was filed since."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from test_lasting import begin, calm, put, quiet, values
from twisted.internet.defer import fail
from twisted.logger import formatEvent, globalLogPublisher

from anylog.copying import Copying
from anylog.errors import AnyLogError
from anylog.node import Node
from anylog.processes.earlier import UNTOLD, _begins
from anylog.processes.others import LONGEST
from anylog.testing import laws
from anylog.testing.snapshot import Snapshot
from anylog.testing.storm import Storm


def copied(storm: Storm) -> Snapshot:
    """The home of the first operator as it is now."""
    return Snapshot.of(storm.world.places["op1"], storm.load, storm.chance, storm.holding("op1"))


def back(storm: Storm, home: Snapshot) -> None:
    """It dies, and that is put back."""
    storm.world.crash("op1", power=False)
    others = [storm.holding(name) for name in storm.names if name != "op1"]
    home.put_back(storm.world.places["op1"], storm.load, storm.chance, others, storm.members["op1"])


def sound(storm: Storm) -> list[str]:
    """What is wrong once all is quiet."""
    held = [storm.holding(name) for name in storm.names]
    told: list[str] = []
    for each in held:
        for law in laws.ALONE:
            told += law(each)
        told += laws.loaded_once(each)
    for cluster in laws.CLUSTER:
        told += cluster(held)
    return [*told, *laws.same_rows(held)]


def same(storm: Storm, wanted: list[int]) -> None:
    """All members come to have these readings, each once, and nothing stands against them."""

    def there() -> bool:
        return not list(storm.unquiet()) and all(values(storm.holding(name)) == wanted for name in storm.names)

    storm.world.until(there, 300)
    storm.world.until(lambda: not sound(storm), 300)
    for name in storm.names:
        assert not storm.world.nodes[name].copying.conflicts()


@contextmanager
def log() -> Iterator[list[str]]:
    """What is logged meanwhile."""
    told: list[str] = []

    def hear(event: Any) -> None:
        told.append(formatEvent(event))

    globalLogPublisher.addObserver(hear)
    try:
        yield told
    finally:
        globalLogPublisher.removeObserver(hear)


def earlier(node: Node) -> Any:
    return node.intake.operating.earlier


def begun(storm: Storm) -> Node:
    node = begin(storm)
    assert node is not None
    return node


@pytest.mark.parametrize("registered", [True, False])
def test_a_buffer_that_was_filed_since(registered: bool) -> None:
    """The copy has its first readings, the others its file, which has more: that comes back, and all is there once.

    It had its id when the copy was taken, or not yet.
    """
    storm = calm(7)
    put(storm, "t0", [1], True)
    quiet(storm)
    put(storm, "t0", [2, 3], False)
    node = storm.world.nodes["op1"]

    def stream() -> Any:
        return next(buffer for buffer in node.intake._buffers.values() if not buffer.whole)

    assert stream().tsd == 0 or registered
    if registered:
        storm.world.until(lambda: stream().stored == 2)
    home = copied(storm)
    put(storm, "t0", [4], False)
    same(storm, [1, 2, 3, 4])
    for _ in range(2):  # the same copy once more: nothing is different then
        back(storm, home)
        begun(storm)
        same(storm, [1, 2, 3, 4])
    home.end()
    storm.world.end()


def open_copy(storm: Storm) -> Snapshot:
    """The home with an open buffer of two rows that are in their table, and have an id."""
    put(storm, "t0", [1], True)
    quiet(storm)
    put(storm, "t0", [2, 3], False)
    storm.world.until(lambda: any(buffer.stored == 2 for buffer in storm.world.nodes["op1"].intake._buffers.values()))
    return copied(storm)


def ids(storm: Storm, name: str) -> list[int]:
    """Under which ids that member has files of the first one."""
    return [entry.id for entry in storm.holding(name).of(storm.members["op1"])]


def test_suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    """While its consumer is suspended no file is asked for, however long that takes, and nothing is there twice; from
    then on what was filed since comes back."""
    storm = calm(7)
    put(storm, "t0", [1], True)
    quiet(storm)
    put(storm, "t0", [2, 3], False)
    node = storm.world.nodes["op1"]
    stream = next(buffer for buffer in node.intake._buffers.values() if not buffer.whole)
    storm.world.until(lambda: stream.stored == 2)
    home = copied(storm)
    put(storm, "t0", [4], False)
    same(storm, [1, 2, 3, 4])
    made = Copying.new_consumer
    monkeypatch.setattr(Copying, "new_consumer", lambda self, options, mode: made(self, options, "suspend"))
    back(storm, home)
    others = [storm.world.nodes[name] for name in storm.names if name != "op1"]
    given = [other.copying.exchange.counts["files given"] for other in others]
    node = begun(storm)
    storm.world.advance(2 * LONGEST)
    assert [other.copying.exchange.counts["files given"] for other in others] == given
    assert (earlier(node).depth, values(storm.holding("op1"))) == (1, [1, 2, 3])
    assert "suspend" in earlier(node).waiting
    put(storm, "t0", [5], True)
    storm.world.until(lambda: all(5 in values(storm.holding(name)) for name in storm.names))
    storm.world.run(node, "set consumer mode = active")
    same(storm, [1, 2, 3, 4, 5])
    home.end()


def test_a_member_that_answers_in_time() -> None:
    """What was open is not filed before it has told; the operator takes other readings meanwhile, and says why."""
    storm = calm(7)
    home = open_copy(storm)
    put(storm, "t0", [4], False)
    same(storm, [1, 2, 3, 4])
    storm.world.crash("op2", power=False)
    back(storm, home)
    node = begun(storm)
    storm.world.until(lambda: bool(earlier(node).waiting), 60)
    put(storm, "t1", [5], True)
    storm.world.until(lambda: values(storm.holding("op1")) == [1, 2, 3, 5], 30)  # they can be queried meanwhile
    assert earlier(node).depth == 1
    told = str(storm.world.run(node, "get operator").text)
    assert "member 22" in told and "wait" in told, told
    storm.world.wait(storm.world.restart("op2"))
    same(storm, [1, 2, 3, 4, 5])
    assert not node.intake.counts[UNTOLD]
    assert "wait" not in str(storm.world.run(node, "get operator").text)
    home.end()
    storm.world.end()


def test_nobody_answers() -> None:
    """No other member is there: after a while what was open is filed without them, which is counted and logged."""
    storm = calm(7)
    home = open_copy(storm)
    id = next(buffer.tsd for buffer in storm.world.nodes["op1"].intake._buffers.values())
    storm.world.crash("op2", power=False)
    back(storm, home)
    with log() as told:
        node = begun(storm)
        took = storm.world.until(lambda: bool(node.intake.counts[UNTOLD]), 2 * LONGEST)
    assert took > LONGEST - 5  # it asked until then
    assert [each for each in told if f"town.t0 {id} is made a file, though" in each and "member 22" in each]
    storm.world.until(lambda: not list(storm.unquiet()) or not node.intake._buffers, 30)
    assert ids(storm, "op1")[-1] == id and values(storm.holding("op1")) == [1, 2, 3]
    assert not earlier(node).depth and not earlier(node).waiting
    put(storm, "t0", [4], False)
    storm.world.until(lambda: values(storm.holding("op1")) == [1, 2, 3, 4] and not node.intake._buffers, 60)
    storm.world.wait(storm.world.restart("op2"))
    same(storm, [1, 2, 3, 4])
    home.end()
    storm.world.end()


def test_a_member_that_never_started() -> None:
    """It is on the ledger alone: a restart with open buffers waits for it a while, and then goes on."""
    storm = calm(7)
    policy = {"name": "op9", "company": "acme", "cluster": "00c1a57e000000000000000000000001", "id": "9" * 32}
    policy |= {"ip": "10.0.1.9", "port": 32148, "member": 99}  # type: ignore[dict-item]
    command = f"blockchain insert where policy = {json.dumps({'operator': policy})} and master = 10.0.0.1:32048"
    storm.world.run(storm.world.nodes["master"], command)
    storm.world.until(lambda: len(storm.world.nodes["op1"].copying.others() or ()) == 2, 300)
    open_copy(storm).end()
    storm.world.crash("op1", power=False)
    node = begun(storm)
    storm.world.until(lambda: "member 99" in earlier(node).waiting, 30)
    assert earlier(node).depth == 1 and values(storm.holding("op1")) == [1, 2, 3]
    storm.world.until(lambda: not node.intake._buffers and not earlier(node).depth, 2 * LONGEST)
    assert node.intake.counts[UNTOLD] == 1
    assert "1 became files without answers" in str(storm.world.run(node, "get operator").text)
    put(storm, "t0", [4], False)
    storm.world.until(lambda: all(values(storm.holding(name)) == [1, 2, 3, 4] for name in storm.names), 120)
    storm.world.end()


def test_a_member_of_an_older_version() -> None:
    """It does not know the question: it counts as one that knows nothing, and is not waited for."""
    storm = calm(7)
    home = open_copy(storm)
    other = storm.world.nodes["op2"]
    assert other.peers._handlers.pop("known")
    back(storm, home)
    node = begun(storm)
    storm.world.until(lambda: not earlier(node).depth and not node.intake._buffers, LONGEST / 2)
    assert not node.intake.counts[UNTOLD]
    same(storm, [1, 2, 3])
    home.end()
    storm.world.end()


def test_a_file_that_nobody_can_give() -> None:
    """Another member knows one under the id of what was open, and cannot send it: the readings get another id."""
    storm = calm(7)
    home = open_copy(storm)
    put(storm, "t0", [4], False)
    same(storm, [1, 2, 3, 4])
    last = ids(storm, "op1")[-1]
    handlers = storm.world.nodes["op2"].peers._handlers
    fetch = handlers["fetch"]
    handlers["fetch"] = lambda head, body, asker: fail(AnyLogError(63, "the disk does not answer"))
    back(storm, home)
    node = begun(storm)
    storm.world.until(lambda: bool(node.intake.counts[UNTOLD]), 2 * LONGEST)
    storm.world.until(lambda: not earlier(node).depth and not node.intake._buffers, 60)
    assert values(storm.holding("op1")) == [1, 2, 3]
    handlers["fetch"] = fetch
    same(storm, [1, 2, 2, 3, 3, 4])  # twice, which is better than not at all
    assert ids(storm, "op1").count(last) == 1
    home.end()
    storm.world.end()


def test_rows_that_prove_nothing() -> None:
    """What begins with all rows is what became of them, unless they are all alike."""
    assert _begins(b'[{"v":1},{"v":2},{"v":3}]', b'[{"v":1},{"v":2}]')
    assert _begins(b'[{"v":1},{"v":2}]', b'[{"v":1},{"v":2}]')
    assert not _begins(b'[{"v":1},{"v":2}]', b'[{"v":1},{"v":2},{"v":3}]')
    assert not _begins(b'[{"v":3},{"v":1},{"v":2}]', b'[{"v":1},{"v":2}]')
    assert not _begins(b'[{"v":1},{"v":1},{"v":1}]', b'[{"v":1},{"v":1}]')
    assert not _begins(b'[{"v":1},{"v":2}]', b'[{"v":1}]')
    assert not _begins(b'[{"v":1},{"v":2}]', b"")


def test_nobody_knows_it() -> None:
    """The copy is of now: what was open becomes a file, with the id that it had."""
    storm = calm(7)
    put(storm, "t0", [1, 2], False)
    storm.world.until(lambda: any(buffer.stored == 2 for buffer in storm.world.nodes["op1"].intake._buffers.values()))
    id = next(buffer.tsd for buffer in storm.world.nodes["op1"].intake._buffers.values())
    back(storm, home := copied(storm))
    begun(storm)
    same(storm, [1, 2])
    assert [entry.id for entry in storm.holding("op1").of(storm.members["op1"])] == [id]
    home.end()
    storm.world.end()


def test_killed_at_every_moment() -> None:
    """While the buffer is given up for the file of the others: whatever is cut short is done again."""
    for moment in range(20, 2000, 130):
        storm = calm(7)
        home = open_copy(storm)
        put(storm, "t0", [4], False)
        same(storm, [1, 2, 3, 4])
        back(storm, home)
        storm.world.crash_after("op1", moment, power=bool(moment // 130 % 2))
        died = begin(storm) is None
        if died:
            begun(storm)
        same(storm, [1, 2, 3, 4])
        home.end()
        storm.world.end()
        if not died:
            assert moment > 100
            return
    pytest.fail("it dies however late")
