"""Files that are taken while a node starts reach the others by a push, whatever started first, and once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from test_pull import Copies
from twisted.internet import task

from anylog.errors import AnyLogError
from anylog.node import Node
from anylog.processes.registry import Registry
from anylog.processes.unpushed import MOST, RECENT

PUSHES = "run data distributor"
SOON = 3.0  # seconds, before anybody who is not pushed to would have asked


@pytest.fixture
def copies() -> Iterator[Copies]:
    made = Copies(3)
    yield made
    made.world.stop()


def pulled(node: Node) -> int:
    assert node.copying.consumer is not None
    return node.copying.consumer.counts["files"]


def pushed(node: Node) -> tuple[int, int]:
    """Files that were taken here, and those that were here already."""
    counts = node.copying.delivery.counts
    return counts["taken"], counts["repeats"]


def lying(node: Node) -> list[str]:
    """The files of its archive."""
    disk: Any = node.disk
    return sorted(str(path) for path in disk._files if "/archive/" in str(path))


def settled(copies: Copies, *numbers: int) -> list[Node]:
    """Members that have asked each other for all there is, and ask again in a minute."""
    nodes = [copies.add(number) for number in numbers]
    copies.world.advance(8)
    return nodes


def test_at_once_after_the_start(copies: Copies) -> None:
    """From the moment the distributor runs: the operator need not look whether it does."""
    others = settled(copies, 2, 3)
    first = copies.add(1, PUSHES)
    for number in range(5):
        copies.put(first, f"a{number}")
    for other in others:
        copies.until_equal(first, other, SOON)
        assert (pushed(other), pulled(other)) == ((5, 0), 0)
    assert first.disk.names(first.places.folder("distr_dir")) == []


def test_distributed_and_archived(copies: Copies, monkeypatch: pytest.MonkeyPatch) -> None:
    """Published for a distributor, and once more in the archive, as that had ended before the file was counted."""
    (other,) = settled(copies, 2)
    first = copies.add(1, PUSHES)
    with monkeypatch.context() as while_it_ends:

        async def refused(*_: Any) -> None:
            raise AnyLogError(502, "almgm has much to do")

        while_it_ends.setattr(Registry, "finish", refused)
        for number in range(3):
            copies.put(first, f"a{number}")
        copies.world.until(lambda: len(first.disk.names(first.places.folder("distr_dir"))) == 3, SOON)
        copies.world.run(first, "exit distributor")
    copies.world.until(lambda: len(first.copying.unpushed) == 3, 10)
    assert len(first.disk.names(first.places.folder("distr_dir"))) == 3
    copies.world.run(first, PUSHES)
    copies.until_equal(first, other, SOON)
    copies.world.advance(10)
    assert pushed(other) == (3, 0)
    assert first.disk.names(first.places.folder("distr_dir")) == []
    assert len(lying(first)) == 3


def test_before_the_distributor(copies: Copies) -> None:
    """What was archived before it is brought to each that did not fetch it meanwhile, and stays where it lies."""
    first, second, third = settled(copies, 1, 2, 3)
    for number in range(5):
        copies.put(first, f"a{number}")
    copies.world.until(lambda: len(first.copying.unpushed) == 5, SOON)
    second.copying.consumer.nudge()  # type: ignore[union-attr]
    copies.until_equal(first, second, SOON)
    assert (pulled(second), pulled(third)) == (5, 0)
    before = lying(first)
    assert len(before) == 5
    copies.world.run(first, PUSHES)
    copies.until_equal(first, third, SOON)
    assert (pushed(third), pulled(third)) == ((5, 0), 0)
    assert (pushed(second), pulled(second)) == ((0, 0), 5)
    assert lying(first) == before
    distributor = first.processes.find("distributor")
    assert distributor is not None and distributor.describe().endswith("Files Waiting: 0")
    copies.world.advance(70)
    assert [(pushed(node), pulled(node)) for node in (second, third)] == [((0, 0), 5), ((5, 0), 0)]


def test_told_not_to_distribute(copies: Copies) -> None:
    """`distributor = false` holds: such files are pulled."""
    second = settled(copies, 2)[0]
    first = copies.add(1)
    copies.world.run(first, "exit operator")
    run = f"run operator where policy = {copies.policies[1]} and update_tsd_info = true and distributor = false"
    copies.world.run(first, f"{run} and master_node = 10.0.0.1:32048", PUSHES)
    copies.put(first, "a")
    copies.until_equal(first, second, 90)
    assert (pushed(second), pulled(second)) == ((0, 0), 1)


def test_long_before(copies: Copies) -> None:
    """Who is there has asked for it: it is not offered; and what is remembered has a limit."""
    (first,) = settled(copies, 1)
    copies.put(first, "a")
    copies.world.advance(RECENT + 1)
    copies.put(first, "b")
    unpushed = first.copying.unpushed
    copies.world.until(lambda: len(unpushed) == 2, SOON)
    last = copies.entries(first)[-1].id
    assert [path.name.split(".")[6] for path, _ in unpushed.take()] == [str(last)]
    assert unpushed.take() == []
    path = first.places.folder("archive_dir")
    unpushed.note({id: path / str(id) for id in range(1, MOST + 11)})
    assert [int(path.name) for path, _ in unpushed.take()] == list(range(11, MOST + 11))


def test_a_distributor_that_is_ended_before_it_has_the_answer(copies: Copies) -> None:
    """The file is on its way then: one that is run behind it does not send it again, and not beside it either."""
    first, second = settled(copies, 1, 2)
    copies.world.run(first, PUSHES)
    came, deliver = [], second.copying.delivery

    def late(head: Any, body: bytes, asker: Any) -> Any:
        came.append(len(head["files"]))
        return task.deferLater(copies.world.clock, 13.0, deliver, head, body, asker)  # type: ignore[arg-type]

    second.peers.serve("deliver", late)
    copies.put(first, "a")
    copies.world.advance(2)
    ending = copies.world.begin(first, "exit distributor")
    with pytest.raises(AnyLogError, match="distributor is still ending"):
        copies.world.run(first, PUSHES)
    copies.world.wait(ending)
    copies.world.run(first, PUSHES)
    copies.until_equal(first, second, 90)
    copies.world.advance(30)
    assert came == [1]
    assert first.disk.names(first.places.folder("distr_dir")) == []
