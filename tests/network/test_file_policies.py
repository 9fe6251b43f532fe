"""Contents that name a mapping policy, on whole nodes in memory: each member makes the same rows of them, once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import define
from test_publisher import MASTER, WATCH, Fleet

from anylog.errors import AnyLogError
from anylog.interfaces import Receipt
from anylog.mapping.body import content_hash, normal_form
from anylog.node import Node
from anylog.testing import laws

T = "2027-01-15T08:00:0{}Z"
PUMP = {
    "mapping": {
        "id": "pump",
        "dbms": "elsewhere",
        "table": "other",
        "condition": "if [kind] != ignored",
        "schema": {
            "timestamp": {"type": "timestamp", "bring": "[ts]", "default": "now()"},
            "v": {"type": "int", "bring": "[reading][n]"},
            "label": {"type": "varchar", "bring": "[label]", "default": "none"},
        },
    }
}
STAR = {
    "mapping": {
        "id": "star", "dbms": "town", "table": "t", "readings": "readings",
        "schema": {
            "seen": {"type": "timestamp", "default": "now()", "bring": "[nothing]"},
            "*": {"type": "*", "bring": ["*"]},
        },
    }
}  # fmt: skip
PANEL = {
    "transform": {
        "id": "panel", "dbms": "town", "table": "t", "re_match": "^raw_(.*)$", "column": "re.group(1)",
        "schema": {"kind": {"type": "varchar", "value": "panel"}},
    }
}  # fmt: skip


def raw(value: int, kind: str = "flow") -> dict[str, Any]:
    return {"ts": T.format(value % 10), "kind": kind, "reading": {"n": value}}


@define
class Plant(Fleet):
    """Two operators of one cluster."""

    def insert(self, *policies: dict[str, Any]) -> None:
        for policy in policies:
            self.policy(policy)
        self.world.advance(6)

    def op(self, number: int) -> Node:
        return self.world.nodes[f"op{number}"]

    def drop(self, name: str, rows: list[dict[str, Any]], number: int = 1) -> None:
        watch = Path(f"/op{number}/AnyLog-Network/data/watch")
        self.world.places[f"op{number}"].disk.put(watch / name, normal_form(rows))

    def put_at(self, rows: list[dict[str, Any]], policy: str, number: int = 1, **options: Any) -> Receipt:
        door = self.op(number).intake
        body = json.dumps(rows).encode()
        receipt: Receipt = self.world.wait(door.accept("town", "t", body, rows, instructions=policy, **options))
        return receipt

    def table(self, number: int) -> list[dict[str, Any]]:
        """The rows of `t`, without what each member adds."""
        rows = self.holdings()[f"op{number}"].rows.get("t", [])
        return sorted(rows, key=str)

    def both(self) -> list[dict[str, Any]]:
        """The rows of both members, which are the same; each file is loaded once, and lies where it should."""
        self.rest()
        held = list(self.holdings().values())
        broken = [*laws.same_rows(held), *laws.same_files(held)]
        for each in held:
            broken += [*laws.loaded_once(each), *laws.archived(each), *laws.in_one_place(each)]
        assert not broken
        assert self.table(1) == self.table(2)
        return self.table(1)

    def errors(self, number: int) -> list[str]:
        return [path.name for path in map(Path, self.holdings()[f"op{number}"].files["err_dir"])]

    def lying_at(self, number: int) -> list[str]:
        disk = self.world.places[f"op{number}"].disk
        return [name for name in disk.names(Path(f"/op{number}/AnyLog-Network/data/watch")) if ".json" in name]

    def said(self, number: int) -> str:
        return "; ".join(entry.text for entry in self.op(number).logs.error.find())

    def flush(self) -> None:
        """What streamed becomes files."""
        self.world.advance(5)
        self.world.run(self.op(1), "flush buffers")
        self.world.advance(5)


@pytest.fixture
def plant() -> Iterator[Plant]:
    with Plant() as made:
        yield made


def values(rows: list[dict[str, Any]]) -> list[int]:
    return sorted(row["v"] for row in rows)


def test_dropped_at_one_mapped_on_both(plant: Plant) -> None:
    """The names of the file win; skipped rows are skipped on both; the archive has the content as it came."""
    plant.insert(PUMP)
    rows = [raw(1), raw(2, "ignored"), raw(3)]
    plant.drop("town.t.0.0.pump.json", rows)
    plant.world.advance(5)
    assert plant.both() == [
        {"timestamp": f"2027-01-15 08:00:0{n}.000000", "v": n, "label": "none"} for n in (1, 3)
    ]  # fmt: skip
    hash = content_hash("town", "t", normal_form(rows))
    for held in plant.holdings().values():
        (name,) = [Path(path).name for path in held.files["archive_dir"]]
        assert name.split(".")[:5] == ["town", "t", "0", hash, "pump"]
        ((_, entry),) = held.all()
        assert (entry.hash, entry.rows, entry.instructions) == (hash, 2, "pump")
    columns = plant.op(1).ledger.policies.of_table("table", "town", "t")[0].get("create")
    assert '"timestamp" TIMESTAMP NOT NULL DEFAULT NOW(), "v" INT, "label" VARCHAR)' in columns, columns
    plant.drop("town.t.0.0.pump.json", rows)  # the same once more
    plant.drop("town.t.0.0.0.json", [{"v": 9, "timestamp": T.format(9), "label": "plain"}], number=2)
    plant.world.advance(5)
    assert values(plant.both()) == [1, 3, 9]
    assert [name.split(".err_")[1][:2] for name in plant.errors(1)] == ["86"]


@pytest.mark.parametrize("policy", [PUMP, STAR, PANEL], ids=["condition", "star", "transform"])
@pytest.mark.parametrize(
    ("victim", "moments"), [*((1, n) for n in range(1, 90, 6)), *((2, n) for n in range(1, 50, 6))]
)
def test_killed_at_any_moment(plant: Plant, policy: dict[str, Any], victim: int, moments: int) -> None:
    """Dropped at one, and one dies on the way and comes back: mapped once from the content as it came, on both."""
    plant.insert(policy)
    ident = next(iter(policy.values()))["id"]
    rows = {
        "pump": [raw(1), raw(2, "ignored"), raw(3)],
        "star": [{"readings": [{"v": 1, "a": "x"}, {"v": 2}]}, {"readings": [{"v": 3, "readings": [{"v": 9}]}]}],
        "panel": [{"raw_v": 1, "v": 7}, {"raw_v": 2, "raw_raw_v": 8}],
    }[ident]
    name = f"op{victim}"
    plant.world.crash_after(name, moments, power=moments % 2 == 0)
    plant.drop(f"town.t.0.0.{ident}.json", rows)
    plant.world.until(lambda: name not in plant.world.nodes, 30)
    plant.world.restart(name)
    plant.world.advance(20)
    assert values(plant.both()) == {"pump": [1, 3], "star": [1, 2, 3], "panel": [1, 2]}[ident]
    if ident == "star":
        assert len({row["seen"] for row in plant.table(1)}) == 1


@pytest.mark.parametrize("policy", [STAR, PANEL], ids=["star", "transform"])
def test_what_streamed_is_not_mapped_again(plant: Plant, policy: dict[str, Any]) -> None:
    """Rows that a policy made become a file with its id; the other member loads them as they are, also anew."""
    plant.insert(policy)
    ident = next(iter(policy.values()))["id"]
    rows = [{"readings": [{"v": 1, "readings": "x"}]}] if ident == "star" else [{"raw_v": 1, "raw_raw_v": 2}]
    assert plant.put_at(rows, ident) == Receipt("0", 1)
    plant.flush()
    (row,) = plant.both()
    assert row["v"] == 1 and row.get("readings", row.get("raw_v")) in ("x", 2)


@pytest.mark.parametrize("policy", [PUMP, STAR], ids=["condition", "star"])
def test_loaded_again_from_the_archive(plant: Plant, policy: dict[str, Any]) -> None:
    """A member that loses its readings has the same rows again, also those of which the policy told the time."""
    plant.insert(policy)
    ident = next(iter(policy.values()))["id"]
    rows = [{"readings": [{"v": 1}, {"v": 2}]}] if ident == "star" else [{**raw(1), "ts": None}, raw(2, "ignored")]
    plant.drop(f"town.t.0.0.{ident}.json", rows)
    plant.put_at([{**rows[0], "x": 1}], ident)
    plant.flush()
    before = plant.both()
    assert len(before) == (4 if ident == "star" else 2)
    plant.world.advance(100)
    plant.world.crash("op2", power=False)
    files = plant.world.places["op2"].files
    assert files is not None
    files.remove(Path("/op2/AnyLog-Network/data/dbms/town.dbms"))
    plant.world.restart("op2")
    plant.world.advance(40)
    assert plant.both() == before


def test_repair(plant: Plant) -> None:
    """Rows that were changed by hand are made anew of the content as it came; those that are right stay."""
    plant.insert(PUMP)
    plant.drop("town.t.0.0.pump.json", [raw(1), raw(2, "ignored"), {"reading": 5}, raw(3)])
    plant.world.advance(5)
    before = plant.both()
    repair = "repair table t where dbms = town and format = json"
    assert plant.world.run(plant.op(2), repair).data["Loaded again"] == []
    town: Any = plant.op(2).databases.get("town")
    plant.world.wait(town.execute("update t set v = 7 where v = 1"))
    assert len(plant.world.run(plant.op(2), repair).data["Loaded again"]) == 1
    assert plant.both() == before


def test_no_such_policy(plant: Plant) -> None:
    """It is put aside, with the id in the reason; once the policy is there it can be put back."""
    plant.drop("town.t.0.0.pump.json", [raw(1)])
    plant.drop("town.t.0.0.device.json", [{"v": 5}])
    plant.insert({"device": {"id": "device", "name": "d"}})
    plant.world.advance(5)
    assert [name.split(".err_")[0] for name in sorted(plant.errors(1))] == ["town.t.0.0.device", "town.t.0.0.pump"]
    told = plant.said(1)
    assert "there is no policy 'pump'" in told, told
    assert list(plant.holdings()["op1"].all()) == []
    plant.insert(PUMP)
    assert "Files: 2" in str(plant.world.run(plant.op(1), "file retry all").text)
    plant.world.advance(8)
    assert values(plant.both()) == [1]
    assert [name.split(".err_")[0] for name in plant.errors(1)] == ["town.t.0.0.device"]
    assert "'device': neither a 'mapping' nor a 'transform' policy" in plant.said(1)


def test_while_the_ledger_is_away(plant: Plant) -> None:
    """A policy that is not known here may be in the ledger: the file waits, others do not, and nothing is put aside."""
    plant.insert({"device": {"id": "d", "name": "d"}})
    plant.drop("town.t.0.0.0.json", [{"v": 1}])
    plant.world.advance(5)
    plant.world.network.cut("10.0.0.1", "10.0.1.1")
    plant.policy(PUMP)
    plant.drop("town.t.0.0.pump.json", [raw(2)])
    plant.world.advance(3)
    plant.drop("town.t.1.0.0.json", [{"v": 3}])
    plant.world.advance(60)
    assert plant.errors(1) == [] and values(plant.table(1)) == [1, 3]
    assert plant.lying_at(1) == ["town.t.0.0.pump.json"]
    waiting = plant.op(1).intake.waiting()
    assert "there is no policy 'pump'" in waiting["town.t"], waiting
    plant.world.network.heal("10.0.0.1", "10.0.1.1")
    plant.world.advance(20)
    assert values(plant.both()) == [1, 2, 3]


def test_rows_that_do_not_map(plant: Plant) -> None:
    """They are parked on both members with the reason, as misfits are; a file of which no row maps is put aside."""
    plant.insert(PUMP)
    plant.drop("town.t.0.0.pump.json", [raw(1), {"kind": "flow", "reading": 5}, raw(3)])
    plant.world.advance(5)
    assert values(plant.both()) == [1, 3]
    for held in plant.holdings().values():
        ((reason, row),) = parked(plant, held)
        assert "'pump'" in reason and "'v'" in reason and json.loads(row) == {"kind": "flow", "reading": 5}
    plant.drop("town.t.0.0.pump.json", [{"reading": "x"}])
    plant.world.advance(5)
    assert len(plant.errors(1)) == 1 and "no row fits: policy 'pump', column 'v'" in plant.said(1)
    plant.drop("town.t.2.0.pump.json", [raw(7, "ignored")])
    plant.world.advance(5)
    assert plant.lying_at(1) == [] and len(plant.errors(1)) == 1 and values(plant.both()) == [1, 3]


def parked(plant: Plant, held: laws.Holding) -> list[tuple[str, str]]:
    name = f"op{held.member - 10}"
    town: Any = plant.world.nodes[name].databases.get("town")
    return [(row[0], row[1]) for row in plant.world.wait(town.execute("select reason, row from anylog_parked"))]


def test_put_of_a_content(plant: Plant) -> None:
    """It is kept as it came, with the id, and mapped on both members; refused is what has no policy."""
    plant.insert(PUMP, {"device": {"id": "device", "name": "d"}})
    rows = [raw(1), raw(2, "ignored"), {"reading": 1, "kind": "x"}]
    hash = content_hash("town", "t", normal_form(rows))
    assert plant.put_at(rows, "pump", whole=True) == Receipt(hash, 3)
    plant.world.advance(8)
    assert values(plant.both()) == [1]
    assert [len(parked(plant, held)) for held in plant.holdings().values()] == [1, 1]
    assert plant.put_at([raw(4, "ignored")], "pump", whole=True) == Receipt("0", 0)
    for policy, told in (("nosuch", "there is no policy 'nosuch'"), ("device", "'device': neither")):
        for whole in (True, False):
            with pytest.raises(AnyLogError, match=told) as refused:
                plant.put_at([raw(5)], policy, whole=whole)
            assert refused.value.http == 400
    with pytest.raises(AnyLogError, match="nowhere") as refused:
        skipped = [raw(4, "ignored")]
        door = plant.op(1).intake
        plant.world.wait(door.accept("nowhere", "t", b"", skipped, instructions="pump", whole=True))
    assert refused.value.http == 400


def test_put_of_which_nothing_maps(plant: Plant) -> None:
    """What was acknowledged is parked, and lies in the error directory for who mends it."""
    plant.insert(PUMP)
    plant.put_at([{"reading": 1}, {"reading": 2}], "pump", whole=True)
    plant.world.advance(8)
    assert len(parked(plant, plant.holdings()["op1"])) == 2
    assert plant.table(1) == [] and len(plant.errors(1)) == 1


def test_nothing_is_taken_without_a_word(plant: Plant) -> None:
    """A row of which a policy makes nothing, without skipping it, is parked; a file that is skipped is kept aside."""
    plant.insert({"mapping": {**STAR["mapping"], "readings": "", "schema": {"*": {"type": "*", "bring": ["v"]}}}}, PUMP)
    for whole in (True, False):
        plant.put_at([{"v": 1 + whole}, {"other": 1, "also": whole}], "star", whole=whole)
    plant.drop("town.t.0.0.pump.json", [raw(5, "ignored")])
    plant.flush()
    assert values(plant.both()) == [1, 2]
    told = [reason for reason, _ in parked(plant, plant.holdings()["op1"])]
    assert told == ["policy 'star': none of the columns has a value"] * 2
    disk, kept = plant.world.places["op1"].disk, Path("/op1/AnyLog-Network/data/bkup")
    assert [name for name in disk.names(kept) if name.startswith("town.t.0.0.pump.json")] and not plant.lying_at(1)


def test_an_id_that_no_file_can_carry(plant: Plant) -> None:
    """Rows that cannot be mapped would be kept with another policy's id: such a request is refused as a whole."""
    schema = {"v": {"type": "int", "bring": "[reading]"}}
    for ident in ("a.b", "a_b"):
        plant.insert({"mapping": {"id": ident, "dbms": "town", "table": "t", "schema": schema}})
    with pytest.raises(AnyLogError, match=r"1 of 2 rows are not mapped: policy 'a\.b', column 'v'"):
        plant.put_at([{"reading": 1}, {"reading": "x"}], "a.b")
    plant.put_at([{"reading": 2}], "a.b")
    plant.flush()
    assert values(plant.both()) == [2] and not parked(plant, plant.holdings()["op1"])


def test_put_that_streams(plant: Plant) -> None:
    """Its rows are mapped before they are kept; those that cannot be mapped are parked and told, and hold up none."""
    plant.insert(PUMP)
    assert plant.put_at([raw(1), {"reading": 1}, raw(2, "ignored"), raw(3)], "pump", key="a") == Receipt("0", 2)
    assert plant.put_at([raw(1), {"reading": 1}, raw(2, "ignored"), raw(3)], "pump", key="a").repeated
    assert plant.put_at([raw(2, "ignored")], "pump") == Receipt("0", 0)
    plant.flush()
    assert values(plant.both()) == [1, 3]
    assert "1 of 4 rows for town.t were not mapped" in plant.said(1)
    assert len(parked(plant, plant.holdings()["op1"])) == 1
    streamed = [entry for entry in plant.holdings()["op1"].entries["tsd_info"] if entry.rows]
    assert [entry.instructions for entry in streamed] == ["pump"]
    columns = plant.op(1).ledger.policies.of_table("table", "town", "t")[0].get("create")
    assert '"v" INT, "label" VARCHAR)' in columns, columns


@pytest.mark.parametrize("moments", range(1, 60, 4))
def test_put_and_killed(plant: Plant, moments: int) -> None:
    """What was acknowledged is there once on both, whenever the node that took it is killed."""
    plant.insert(PUMP)
    heard: list[Any] = []
    node = plant.op(1)
    plant.world.crash_after("op1", moments, power=True)
    for whole in (True, False):
        rows = [raw(3 if whole else 4), raw(2, "ignored")]
        node.intake.accept(
            "town", "t", json.dumps(rows).encode(), rows, instructions="pump", whole=whole
        ).addBoth(lambda got, value=3 if whole else 4: heard.append((got, value, plant.world.lives(node))))  # fmt: skip
    plant.world.advance(4)
    if "op1" not in plant.world.nodes:
        plant.world.restart("op1")
    plant.world.places["op1"].moments = 0
    plant.world.advance(20)
    plant.flush()
    found = values(plant.both())
    acknowledged = {value for got, value, lived in heard if isinstance(got, Receipt) and lived}
    assert acknowledged <= set(found) <= {3, 4} and len(found) == len(set(found))


def test_the_policy_goes_before_the_load(plant: Plant) -> None:
    """What was acknowledged by its policy is parked if that is gone when it is loaded; a file is put aside."""
    plant.insert(PUMP)
    plant.put_at([raw(1)], "pump", whole=True)
    plant.drop("town.t.5.0.pump.json", [raw(2)])
    plant.world.crash("op1", power=True)
    plant.world.run(plant.world.nodes["master"], f"blockchain delete policy where id = pump and master = {MASTER}")
    plant.world.restart("op1")
    plant.world.advance(30)
    assert [reason for reason, _ in parked(plant, plant.holdings()["op1"])] == ["there is no policy 'pump'"]
    assert plant.table(1) == [] and len(plant.errors(1)) == 2


def test_a_publisher_forwards(plant: Plant) -> None:
    """A file goes on unmapped with its id; what streamed there is mapped there and not again."""
    plant.insert(STAR)
    plant.world.places["pub"].disk.put(
        WATCH / "town.t.0.0.star.json", normal_form([{"readings": [{"v": 1}, {"v": 2}]}])
    )
    rows = [{"readings": [{"v": 3, "readings": "x"}]}]
    plant.world.wait(plant.publisher.intake.accept("town", "t", b"", rows, instructions="star"))
    plant.world.advance(10)
    assert values(plant.both()) == [1, 2, 3]
    assert {row.get("readings") for row in plant.table(1)} == {None, "x"}
    with pytest.raises(AnyLogError, match="nosuch"):
        plant.world.wait(plant.publisher.intake.accept("town", "t", b"", rows, instructions="nosuch"))


@pytest.mark.parametrize("killed", [0, 4, 8, 12, 16, 20, 25, 30, 40])
@pytest.mark.parametrize("whole", [True, False])
def test_put_is_replayed(plant: Plant, whole: bool, killed: int) -> None:
    """Once the policy was mended, what was parked is loaded by a command, once, on both, whenever it is killed."""
    rows = [{"reading": 1}, {"reading": 2}]
    plant.insert(PUMP)
    plant.put_at(rows, "pump", whole=whole)
    plant.world.advance(8)
    assert len(parked(plant, plant.holdings()["op1"])) == 2
    plant.world.run(plant.world.nodes["master"], f"blockchain delete policy where id = pump and master = {MASTER}")
    plant.world.advance(6)
    plant.insert({"mapping": {**PUMP["mapping"], "schema": {"v": {"type": "int", "bring": "[reading]"}}}})
    plant.world.run(plant.op(1), "file retry all")
    if killed:
        plant.world.crash_after("op1", killed, power=True)
        plant.world.advance(5)
        if "op1" not in plant.world.nodes:
            plant.world.restart("op1")
        plant.world.places["op1"].moments = 0
    plant.world.advance(20)
    assert values(plant.both()) == [1, 2]
    assert parked(plant, plant.holdings()["op1"]) == []
    assert plant.errors(1) == []


@pytest.mark.parametrize("whole", [True, False])
def test_put_stays_parked(plant: Plant, whole: bool) -> None:
    """Rows of a PUT that could not be mapped are parked for good, as misfits are, also if their file is put back."""
    plant.insert(PUMP)
    rows = [{"reading": 1}, {"reading": 2}]
    plant.put_at(rows, "pump", whole=whole)
    plant.world.advance(8)
    plant.world.run(plant.op(1), "file retry all")
    plant.world.advance(8)
    assert [json.loads(row) for _, row in parked(plant, plant.holdings()["op1"])] == rows
    assert plant.table(1) == [] and len(plant.errors(1)) == 1
