"""Parts of the publisher: seals, notes, where files go, and what an operator answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from anylog.disk.names import FileName
from anylog.errors import AnyLogError
from anylog.interfaces import Reply
from anylog.ledger.cluster import Clusters
from anylog.ledger.policies import Policies
from anylog.ledger.policy import Policy
from anylog.mapping.body import content_hash, is_sealed, sealed_hash
from anylog.processes import sending, sent_notes
from anylog.processes.audit import fits
from anylog.processes.files import understand
from anylog.processes.placing import Group, Placing, by_hash
from anylog.processes.sending import Keeping, Sending
from anylog.processes.sent_notes import Notes
from anylog.processes.whole import Outcome, WholeFile
from anylog.testing.disk import MemoryDisk
from anylog.testing.lanes import ClockLane, InlineLane, InlineLanes

FOLDER = Path("/notes")
DATA = b'{"v":1}\n'


def test_a_seal_names_a_content_and_a_buffer() -> None:
    """Equal contents under two seals are two; with another content, table or seal a hash does not fit."""
    one, two = (sealed_hash("town", "t", seal * 16, DATA) for seal in "ab")
    assert one != two and len(one) == 32
    assert is_sealed(one, "town", "t", DATA) and fits(one, "town", "t", 11, 5, DATA)
    assert not is_sealed(one, "town", "u", DATA)
    assert not is_sealed(one, "town", "t", DATA + DATA)
    assert not is_sealed("b" * 16 + one[16:], "town", "t", DATA)
    assert not is_sealed(content_hash("town", "t", DATA), "town", "t", DATA)


def test_a_sealed_name_is_believed_if_it_fits() -> None:
    """A file keeps the hash of its seal; one that does not fit is replaced by the one of the content, and noted."""
    hash = sealed_hash("town", "t", "0123456789abcdef", DATA)
    assert understand(FileName(dbms="town", table="t", hash=hash), DATA, 1).hash == hash
    other = understand(FileName(dbms="town", table="t", hash=hash), b'{"v":2}\n', 1)
    assert other.hash == content_hash("town", "t", b'{"v":2}\n') and hash in other.note


def noted(disk: MemoryDisk) -> Notes:
    made = Notes(disk=disk, lane=InlineLanes().open("disk"), folder=FOLDER)
    result(Deferred.fromCoroutine(made.recall()))
    return made


def result(waited: Deferred[Any]) -> Any:
    found: list[Any] = []
    waited.addBoth(found.append)
    assert found, "it has not fired"
    if hasattr(found[0], "raiseException"):
        found[0].raiseException()
    return found[0]


def test_notes_outlive_a_power_cut() -> None:
    """What was said to be noted is there; what was torn is left out; the newest value of a key holds."""
    for seed in range(20):
        disk = MemoryDisk()
        notes = noted(disk)
        result(notes.add([("k", "a", 1), ("k", "b", [1, "é"])]))
        result(notes.add([("k", "a", 2), ("other", "a", 9)]))
        disk.fails.add("sync")
        lost = notes.add([("k", "c", 3)])
        with pytest.raises(OSError):
            result(lost)
        disk = disk.crash(Random(seed))
        again = noted(disk)
        assert {key: again.of("k")[key] for key in "ab"} == {"a": 2, "b": [1, "é"]}
        assert again.of("other") == {"a": 9} and again.of("none") == {}
        result(again.add([("k", "d", 4)]))
        assert noted(disk).of("k")["d"] == 4


class Busy(InlineLane):
    """A lane that has too much to do the next few times."""

    refusals = 0
    fault: Exception = AnyLogError(502, "1000 pieces of work wait")

    def run(self, work: Any, *args: Any) -> Any:
        if self.refusals:
            self.refusals -= 1
            return fail(self.fault)
        return super().run(work, *args)


@pytest.mark.parametrize("fault", [AnyLogError(502, "full"), OSError(5, "no"), RuntimeError("a mistake")])
def test_who_waits_for_a_note_hears_of_it(fault: Exception) -> None:
    """Whatever keeps a note from being written: all who wait are told, and the next one is written."""
    disk, lane = MemoryDisk(), Busy()
    notes = Notes(disk=disk, lane=lane, folder=FOLDER)
    result(Deferred.fromCoroutine(notes.recall()))
    lane.refusals, lane.fault = 1, fault
    with pytest.raises(type(fault)):
        result(notes.add([("k", "a", 1)]))
    result(notes.add([("k", "b", 2)]))
    assert dict(noted(disk).of("k")) == {"b": 2}


def test_notes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest of a kind go, and files of notes are written together."""
    monkeypatch.setattr(sent_notes, "MOST", 10)
    monkeypatch.setattr(sent_notes, "SIZE", 200)
    monkeypatch.setattr(sent_notes, "FILES", 4)
    disk = MemoryDisk()
    notes = noted(disk)
    for number in range(200):
        result(notes.add([("k", f"key{number}", number)]))
    wanted = {f"key{number}": number for number in range(190, 200)}
    assert dict(notes.of("k")) == wanted and dict(noted(disk).of("k")) == wanted
    assert len(disk.names(FOLDER)) < 12


def policy(kind: str, **body: Any) -> Policy:
    return Policy(kind, body)


def placing(*more: Policy, company: str = "", fixed: Mapping[tuple[str, str], list[str]] | None = None) -> Placing:
    """Two clusters of acme, of which the first has two operators; both have the table t."""
    listed = [{"dbms": "town", "name": "t"}]
    policies = Policies(
        [
            policy("cluster", id="c1", name="one", company="acme", table=listed),
            policy("cluster", id="c2", name="two", company="acme", table=listed),
            policy("operator", id="o1", name="o1", company="acme", cluster="c1", ip="10.0.0.1", port=1),
            policy("operator", id="o2", name="o2", company="acme", cluster="c1", ip="10.0.0.2", port=1),
            policy("operator", id="o3", name="o3", company="acme", cluster="c2", ip="10.0.0.3", port=1),
            *more,
        ]
    )
    return Placing(
        clusters=Clusters(policies=lambda: policies),
        policies=lambda: policies.of_type("distribution"),
        own=lambda: policy("publisher", id="p1", name="Press"),
        company=company,
        fixed=fixed or {},
    )


def places(made: Placing, table: str = "t", source: str = "0", dbms: str = "town") -> list[tuple[str, list[str]]]:
    return [(group.key, list(group.addresses)) for group in made.groups(dbms, table, source)]


ONE, TWO = ("c1", ["10.0.0.1:1", "10.0.0.2:1"]), ("c2", ["10.0.0.3:1"])


def test_clusters_of_the_table() -> None:
    """Who lists it; for an unknown table who has others of the database, or belongs to the company that is named."""
    assert places(placing()) == [ONE, TWO]
    assert places(placing(), "u") == [ONE, TWO]
    assert places(placing(company="acme"), "u", dbms="other") == [ONE, TWO]
    assert places(placing(company="nobody"), "u", dbms="other") == []
    assert places(placing(), "u", dbms="other") == [ONE, TWO]  # there is only one company
    extra = (
        policy("cluster", id="c3", name="x", company="zed"),
        policy("operator", id="o4", name="o4", company="zed", cluster="c3", ip="10.0.0.4", port=1),
    )
    assert places(placing(*extra), "u", dbms="other") == []
    assert places(placing(*extra), "u", dbms="zed") == [("c3", ["10.0.0.4:1"])]


def test_policies_and_what_was_set() -> None:
    """The most specific one wins: of a source, of this publisher, of the table, of the database; what was set first."""
    rules = [
        policy("distribution", id="d1", dbms="town", table="*", operator="o3"),
        policy("distribution", id="d2", dbms="town", table="t", operator=["o1", "o3"]),
        policy("distribution", id="d3", dbms="town", table="*", dest="10.9.9.9:9", publisher="press"),
        policy("distribution", id="d4", dbms="town", table="*", operator="o2", source="s"),
        policy("distribution", id="d5", dbms="town", table="t", operator="o2", publisher="somebody else"),
    ]
    assert places(placing(rules[0])) == [TWO]
    assert places(placing(*rules[:2])) == [("c1", ["10.0.0.1:1"]), TWO]
    assert places(placing(*rules[:3])) == [("10.9.9.9:9", ["10.9.9.9:9"])]
    assert places(placing(*rules), source="s") == [("c1", ["10.0.0.2:1"])]
    assert places(placing(rules[4])) == [ONE, TWO]
    fixed = {("town", "*"): ["10.0.0.3:1"], ("town", "t"): ["10.0.0.1:1", "10.0.0.2:1", "10.8.8.8:8"]}
    assert places(placing(*rules, fixed=fixed)) == [ONE, ("10.8.8.8:8", ["10.8.8.8:8"])]
    assert places(placing(*rules, fixed=fixed), "u") == [TWO]


def test_a_content_has_its_cluster() -> None:
    """The same one whoever asks and in whatever order the clusters come; all get their share."""
    groups = [Group(f"c{number}", "", ("10.0.0.1:1",)) for number in range(4)]
    first = [by_hash(groups, f"{number:032x}")[0].key for number in range(400)]
    assert first == [by_hash(groups[::-1], f"{number:032x}")[0].key for number in range(400)]
    assert all(70 < first.count(group.key) < 130 for group in groups)


class Table:
    """A sender before operators that answer as they are told."""

    def __init__(self) -> None:
        self.clock, self.disk, self.asked = Clock(), MemoryDisk(), list[tuple[str, int]]()
        self.answers: dict[str, Any] = {}  # address -> texts, or the number of an error
        self.groups = [Group("c1", "", ("a:1", "b:1")), Group("c2", "", ("c:1",))]
        self.sending = self.new()

    def new(self) -> Sending:
        lanes = InlineLanes()
        notes = noted(self.disk)
        return Sending(
            clock=self.clock, disk=self.disk, lane=lanes.open("disk"), cpu=lanes.open("cpu"), ask=self.ask,
            groups=lambda dbms, table, source: self.groups,
            known=lambda key: next((group for group in self.groups if group.key == key), None),
            state=lambda address: None, notes=notes,
            keeping=Keeping(bkup_dir=Path("/bkup"), archive_dir=Path("/archive"), delete=True),
        )  # fmt: skip

    def ask(self, address: str, kind: str, head: Any, body: bytes = b"", *, until: float | None = None) -> Any:
        assert kind == "publish"
        self.asked.append((address, len(head["files"])))
        answer = self.answers.get(address, "taken")
        if isinstance(answer, int):
            return fail(AnyLogError(answer, "so"))
        return succeed(Reply(head={"told": [answer] * len(head["files"])}))

    def bring(self, data: bytes = DATA, table: str = "t", now: bool = True) -> list[Any]:
        hash = content_hash("town", table, data)
        path = Path(f"/watch/town.{table}.0.{hash}.0.json")
        self.disk.publish(path, data)
        size, time, _ = self.disk.stat(path)
        file = WholeFile(
            path=path, dbms="town", table=table, source="0", instructions="0", hash=hash, rows=[], normal=data,
            stamp=(size, time),
        )  # fmt: skip
        found: list[Any] = []
        self.sending.bring(file).addBoth(found.append)
        if now:
            self.clock.advance(0)
            self.clock.advance(0)
        return found

    def first(self) -> tuple[str, str]:
        """The cluster that gets the content, and the other one."""
        keys = [group.key for group in by_hash(self.groups, content_hash("town", "t", DATA))]
        return keys[0], keys[1]

    def addresses(self, key: str) -> list[str]:
        return [address for group in self.groups if group.key == key for address in group.addresses]


def test_taken() -> None:
    """It leaves the watch directory once it is confirmed, by one operator that was asked."""
    table = Table()
    (outcome,) = table.bring()
    assert isinstance(outcome, Outcome) and outcome.kind == "loaded" and outcome.rows == 1
    assert len(table.asked) == 1 and table.disk.names(Path("/watch")) == []


@pytest.mark.parametrize("number", [208, 203, 502, 503, 10, 212])
def test_surely_refused_goes_on(number: int) -> None:
    """Where nothing was taken for sure the next operator is asked, then the next cluster."""
    table = Table()
    here, other = table.first()
    for address in table.addresses(here):
        table.answers[address] = number if number != 10 else "10 not connected"
    found = table.bring()
    table.clock.advance(0)
    assert [outcome.kind for outcome in found] == ["loaded"]
    assert {address for address, _ in table.asked} >= {*table.addresses(here), table.asked[-1][0]}
    assert table.asked[-1][0] in table.addresses(other)


@pytest.mark.parametrize("number", [15, 26, "86 another", "14 disk"])
def test_doubtful_stays(number: Any) -> None:
    """Where somebody may have it nobody of another cluster is asked, ever, also after a start."""
    table = Table()
    here, other = table.first()
    for address in table.addresses(here):
        table.answers[address] = number
    found = table.bring()
    for _ in range(50):
        table.clock.advance(1)
    table.answers = dict.fromkeys(table.addresses(here), 208)
    for _ in range(50):
        table.clock.advance(1)
    assert not found and table.sending.waits[here]
    table.sending.stop()
    assert found[0].value.number == 506
    table.sending = table.new()
    found = table.bring()
    for _ in range(50):
        table.clock.advance(1)
    assert not found
    assert not {address for address, _ in table.asked} & set(table.addresses(other))
    table.answers.clear()
    for _ in range(10):
        table.clock.advance(1)
    assert [outcome.kind for outcome in found] == ["loaded"]


def test_what_is_wrong_everywhere() -> None:
    """A table that nobody may have fails, and is not tried for ever."""
    table = Table()
    table.answers = dict.fromkeys("abc", "") | {f"{name}:1": "28 a reserved name" for name in "abc"}
    (outcome,) = table.bring()
    assert (outcome.kind, outcome.code) == ("failed", 28)


def test_each_table_has_its_operators() -> None:
    """Files of two tables come to one cluster: those of each only to the operators that are named for it."""
    table = Table()
    named = {"t": ("a:1", "b:1"), "u": ("b:1",), "v": ("a:1",)}
    table.sending._groups = lambda dbms, name, source: [Group("c1", "", named[name])]
    sent: list[tuple[str, str]] = []
    ask = table.ask

    def note(address: str, kind: str, head: Any, body: bytes = b"", **more: Any) -> Any:
        sent.extend((name.split(".")[1], address) for name, _ in head["files"])
        return ask(address, kind, head, body, **more)

    table.sending._ask = note
    found = [table.bring(b'{"v":%d}\n' % number, name, now=False) for number in range(4) for name in "tuuvt"]
    for _ in range(5):
        table.clock.advance(1)
    assert all(outcome.kind == "loaded" for (outcome,) in found) and len(sent) == 20
    assert all(address in named[name] for name, address in sent), sent


@pytest.mark.parametrize("lane", ["_notes", "_cpu", "_lane"])
def test_a_lane_that_is_full(lane: str) -> None:
    """A file is sent though the disk or the processor have too much to do for a while."""
    table = Table()
    busy = Busy()
    busy.refusals = 2
    setattr(table.sending._notes if lane == "_notes" else table.sending, "_lane" if lane == "_notes" else lane, busy)
    found = table.bring()
    for _ in range(10):
        table.clock.advance(1)
    assert [outcome.kind for outcome in found] == ["loaded"] and not busy.refusals


def test_confirmed_and_not_removed_yet() -> None:
    """What an operator took stays with its cluster, also if that refuses when it is asked once more."""
    table = Table()
    here, other = table.first()
    busy = table.sending._lane = Busy()
    busy.refusals = 1
    found = table.bring()
    assert not found and len(table.asked) == 1
    table.answers = dict.fromkeys(table.addresses(here), 502)
    for _ in range(10):
        table.clock.advance(1)
    assert not {address for address, _ in table.asked} & set(table.addresses(other))
    table.answers.clear()
    for _ in range(10):
        table.clock.advance(1)
    assert [outcome.kind for outcome in found] == ["loaded"]


@pytest.mark.parametrize("full", [1, 2, 3])
def test_one_content_twice(full: int) -> None:
    """Two files of one content that come at the same time go to one cluster, whichever takes the first of them."""
    table = Table()
    here, _ = table.first()
    table.answers = dict.fromkeys(table.addresses(here), 502)
    taken: list[str] = []
    ask = table.ask

    def asked(address: str, *told: Any, **more: Any) -> Any:
        if len(table.asked) == full:  # it has room again
            table.answers.clear()
        if address not in table.answers:
            taken.append(address)
        return ask(address, *told, **more)

    table.sending._ask = asked
    found = [table.bring(now=False), table.bring(now=False)]
    for _ in range(20):
        table.clock.advance(1)
    assert [outcome.kind for (outcome,) in found] == ["loaded"] * 2
    assert len(taken) == 2
    assert len({address in table.addresses(here) for address in taken}) == 1, taken


def test_one_content_twice_and_wrong() -> None:
    """The second fails as the first did; when the publisher stops both are given back."""
    table = Table()
    table.answers = {f"{name}:1": "28 a reserved name" for name in "abc"}
    found = [table.bring(now=False), table.bring(now=False)]
    for _ in range(20):
        table.clock.advance(1)
    assert [(outcome.kind, outcome.code) for (outcome,) in found] == [("failed", 28)] * 2
    table.answers = dict.fromkeys(table.answers, 208)
    found = [table.bring(b'{"v":2}\n') for _ in range(3)]
    table.sending.stop()
    found.append(table.bring())  # it was read while the publisher stopped
    assert [outcome.value.number for (outcome,) in found] == [506] * 4


def test_stopped_while_files_are_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    """All files are given back, also one that is put aside for the next question at that moment."""
    monkeypatch.setattr(sending, "BYTES", 1)
    table = Table()
    table.sending._cpu = ClockLane(table.clock, 1.0)  # type: ignore[arg-type]
    table.groups = table.groups[1:]
    found = [table.bring(b'{"v":%d}\n' % number) for number in range(3)]
    table.clock.advance(1)
    table.sending.stop()
    table.clock.advance(5)
    assert [[each.value.number for each in some] for some in found] == [[506]] * 3


def test_no_place_yet() -> None:
    """While nobody takes its table a file waits, with the reason; it goes when somebody does."""
    table = Table()
    groups, table.groups = table.groups, []
    found = table.bring()
    assert not found and "no operator" in table.sending.waits["town.t"]
    table.groups = groups
    table.clock.advance(2)
    table.clock.advance(0)
    table.clock.advance(0)
    assert [outcome.kind for outcome in found] == ["loaded"] and not table.sending.waits
