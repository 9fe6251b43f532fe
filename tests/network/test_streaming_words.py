"""Words about buffers, conditions and aggregation on a whole node: what they refuse, and what they show."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from twisted.internet.defer import Deferred

from anylog.errors import AnyLogError
from anylog.node import Node
from anylog.process import Process
from anylog.testing.world import World


class Town:
    """A node with a database, and rows that come to it."""

    def __init__(self) -> None:
        self.world = World(1613)
        self.node: Node = self.world.add("town", "10.0.0.1")
        self.say("connect dbms town where type = sqlite and memory = true")

    def say(self, *commands: str) -> Any:
        return self.world.run(self.node, *commands)

    def table(self, command: str) -> list[list[str]]:
        """The cells of a table, titles included."""
        lines = [line for line in self.say(command).text.split("\r\n") if line.strip()]
        dashes = next(place for place, line in enumerate(lines) if line.startswith("-"))
        return [[cell.strip() for cell in line.split("|")[:-1]] for line in lines[dashes + 1 :]]

    def put(self, *rows: dict[str, Any], table: str = "weather", **options: Any) -> Any:
        sent = self.node.intake.accept("town", table, orjson.dumps(list(rows)), list(rows), **options)
        return self.world.wait(sent)


@pytest.fixture
def town() -> Any:
    made = Town()
    yield made
    made.world.stop()


REFUSED = [
    ("set buffer threshold where dbms_name = town", 2, "time"),
    ("set buffer threshold where table_name = weather and time = 1 minute", 2, "dbms_name"),
    ("set buffer threshold where time = soon", 175, "soon"),
    ("set buffer threshold where volume = 10 miles", 175, "10 miles"),
    ("get streaming tables", 2, "tables"),
    ("set streaming condition if [v] > 1 then print x", 2, "where"),
    ("set streaming condition where dbms = town if [v] > 1 then print x", 2, "table"),
    ("set streaming condition where dbms = town and table = weather", 2, "if"),
    ("set streaming condition where dbms = town and table = weather if [v] > then print x", 181, "[v] >"),
    ("set streaming condition where dbms = town and table = weather and limit = -1 if [v] then print x", 175, "-1"),
    ("set streaming condition where dbms = town and tables = weather if [v] then print x", 2, "tables"),
    ("get streaming conditions where table = weather", 2, "dbms"),
    ("reset streaming conditions where dbms = town and id = 1", 2, "table"),
    ("reset streaming conditions where dbms = town and table = weather and id = 1", 40, "condition 1"),
    ("set aggregation where table = weather", 2, "dbms"),
    ("set aggregation where dbms = town and time = 0 seconds", 175, "0 seconds"),
    ("set aggregation where dbms = town and intervals = 0", 175, "intervals"),
    ("set aggregation thresholds where dbms = town and table = weather and column = v", 2, "min"),
    ("set aggregation thresholds where dbms = town and table = weather and column = v and max = much", 175, "much"),
    ("set aggregation thresholds where dbms = town and table = weather and column = v and max = nan", 175, "nan"),
    ("set aggregation thresholds where dbms = town and table = weather and column = v and max = inf", 175, "inf"),
    ("set aggregation encoding where dbms = town and table = weather and encoding = zip", 175, "zip"),
    (
        "set aggregation encoding where dbms = town and table = weather and encoding = arle and tolerance = -1",
        175,
        "-1",
    ),
    ("set aggregation ingest where dbms = town and table = weather and source = maybe", 175, "maybe"),
    ("set ingestion in aggregations where frequency = time", 2, "interval"),
    ("set ingestion in aggregations where table = weather and frequency = none", 2, "dbms"),
    ("reset aggregations where dbms = nosuch", 40, "nosuch"),
    ("reset aggregations where dbms = town and value_column = v", 2, "table"),
    ("get aggregation where function = sum", 40, "sum"),
    ("get aggregation where function = avg::round", 195, "round"),
    ("get aggregation by time where dbms = town and table = weather and value_column = nosuch", 40, "nosuch"),
    ("get aggregation by time where dbms = town and table = w and value_column = * and timezone = mars", 173, "mars"),
]


def test_refused(town: Town) -> None:
    """A wrong one is refused and names the culprit; nothing of it holds."""
    for command, number, culprit in REFUSED:
        with pytest.raises(AnyLogError) as caught:
            town.say(command)
        assert caught.value.number == number and culprit in str(caught.value), (command, caught.value)
    assert town.node.intake.accepting.stream is None
    assert town.node.intake.thresholds.default.time == 60


def test_seed_streamer(town: Town) -> None:
    """The streamer of the seed: as printed, once, described, looked at, ended."""
    town.say("run streamer where prep_dir = !prep_dir and watch_dir = !watch_dir and err_dir = !err_dir")
    with pytest.raises(AnyLogError):
        town.say("run streamer")
    assert "Default streaming thresholds are 60 seconds and 10,240 bytes" in town.say("get processes").text
    assert "Running" in town.say("get streaming").text
    town.put({"v": 1})
    assert len(town.node.intake.open_buffers()) == 1
    town.world.advance(62)
    assert not town.node.intake.open_buffers()
    town.say("exit streamer")
    town.put({"v": 1})
    town.world.advance(120)
    assert len(town.node.intake.open_buffers()) == 1  # open and safe: nobody looks at its time
    town.say("flush buffers")
    assert not town.node.intake.open_buffers()


def test_volume_needs_no_streamer(town: Town) -> None:
    """The row that fills a buffer ends it; the next one begins another."""
    town.say("set buffer threshold where dbms = town and table = weather and volume = 1KB")
    town.put({"text": "x" * 500})
    assert len(town.node.intake.open_buffers()) == 1
    town.put({"text": "x" * 600})
    assert not town.node.intake.open_buffers()
    town.put({"text": "x"})
    (buffer,) = town.node.intake.open_buffers()
    assert buffer.rows == 1


def test_what_streaming_shows(town: Town) -> None:
    """Thresholds first, then a line for each table in the columns that clients read."""
    town.say("set buffer threshold where dbms_name = town and table_name = weather and volume = 20KB")
    for _ in range(3):
        town.put(*[{"v": each} for each in range(500)])
    town.put({"v": 1}, {"v": 2}, table="files", whole=True)
    text = town.say("get streaming").text
    for line in ("Default Time     |60 seconds", "Default volume   |10,240 bytes", "Default immediate|true"):
        assert line in text
    table = text[text.index("Statistics") :]
    titles = (
        "DBMS-Table", "files", "Rows", "Calls", "Rows", "Rows", "Immediate", "Volume(KB)", "Fill(%)", "Time(sec)",
        "(Sec)", "HH:MM:SS",
    )  # fmt: skip
    assert table.split("\r\n")[2].split() == list(titles)
    cells = {line.split("|")[0].strip(): [each.strip() for each in line.split("|")] for line in table.split("\r\n")[4:]}
    assert cells["town.weather"][1:6] == ["0", "0", "3", "1,500", "1,500"]
    assert cells["town.weather"][7] == "20"
    assert cells["town.files"][1:6] == ["1", "2", "0", "0", "0"]
    data = {row["table"]: row for row in town.say("get streaming where format = json").data}
    assert data["town.weather"]["Streaming Rows"] == 1500 and data["town.files"]["File Rows"] == 2
    assert list(data["town.weather"]) == [
        "table", "File Put", "File Rows", "Streaming Put", "Streaming Rows", "Streaming Cached", "Immediate",
        "Threshold Volume", "% Buffer Fill", "Threshold Time", "Time Left", "Last Process",
    ]  # fmt: skip
    config = town.say("get streaming config where format = json").data
    assert (config["status"], config["Threshold_Volume"], config["Buffered_Rows"]) == ("Not declared", 10240, 1500)


def test_a_publisher_has_no_tables(town: Town) -> None:
    """There writing at once is refused, the other thresholds are not."""
    publisher = Process()
    publisher.name = "publisher"
    town.world.wait(Deferred.fromCoroutine(town.node.processes.start(publisher)))
    with pytest.raises(AnyLogError, match="publisher"):
        town.say("set buffer threshold where write_immediate = true")
    town.say("set buffer threshold where write_immediate = false")
    town.say("set buffer threshold where time = 5 seconds")


def test_every_spelling(town: Town) -> None:
    """Singular and plural, and the misprint of the manual."""
    town.say(
        "set streaming conditions where dbms = town and table = weather if [v] > 1 then x = [v]",
        "set aggregations where dbms = town and table = weather and value_column = v",
        "set aggregations encodeing where dbms = town and table = weather and encoding = arle and tolerance = 5%",
        "set aggregations ingest where dbms = town and table = weather and derived = true",
        "set aggregations thresholds where dbms = town and table = weather and column = v and max = 4 and count = 9",
        "set ingestion in aggregation where dbms = town and frequency = time and interval = 1 minute",
    )
    assert len(town.say("get streaming condition").data) == 1
    (config,) = town.say("get aggregations config").data
    assert config["Value Column"] == "v" and config["Thresholds"] == "max = 4, count = 9"
    (ingest,) = town.say("get aggregations ingest").data
    assert ingest == {
        "DBMS": "town", "Table": "weather", "Source": True, "Derived": True, "Encoding": "arle", "Tolerance": "5%",
        "Frequency": "time", "Interval": "60 seconds",
    }  # fmt: skip
    town.say(
        "reset aggregation where dbms = town and table = weather and value_column = v", "reset streaming condition"
    )
    assert town.say("get aggregations").text == "Nothing is aggregated"
    assert town.say("get streaming conditions").text == "No streaming conditions"


def test_before_and_after_the_first_row(town: Town) -> None:
    """`Not Started`, then the intervals with their ages, the oldest first."""
    town.say(
        "data monitor where dbms = town and table = weather and intervals = 3 and time = 1 minute and value_column = v"
    )
    assert town.table("get aggregation") == [
        ["town", "agg_town", "weather", "agg_weather", "v", "---", "Not Started", "0", "0", "0", "0", "0"]
    ]
    for value in (1, 2.25, 3):
        town.put(*[{"v": value}] * 6)
        town.world.advance(60)
    rows = [row[5:] for row in town.table("get aggregation where dbms = town and round = true")]
    assert [row[:2] for row in rows] == [["1", "0:3:0"], ["2", "0:2:0"], ["3", "0:1:0"]]
    assert [row[2:] for row in rows][:2] == [["0.1", "6", "1", "1", "1.0"], ["0.1", "6", "2.25", "2.25", "2.25"]]
    assert [row[:3] for row in town.table("get data monitored")] == [
        ["town", "weather", "0:3:0"],
        ["town", "weather", "0:2:0"],
        ["town", "weather", "0:1:0"],
    ]
    (state,) = town.say("get aggregation tables").data
    assert (state["Stored"], state["Waiting"], state["Skipped"]) == (0, 0, 0)


def test_by_time(town: Town) -> None:
    """The oldest first, with a limit the newest; times in a zone; casts."""
    town.say("set aggregation where dbms = town and table = weather and time = 1 minute and value_column = v")
    for minute in range(3):
        town.put({"timestamp": f"2026-11-21T10:0{minute}:00Z", "v": 1000 * minute + 0.26})
        town.world.advance(61)
    asked = "get aggregation by time where dbms = town and table = weather and value_column = v"
    assert [row["timestamp"][14:16] for row in town.say(asked).data["v"]] == ["00", "01", "02"]
    newest = town.say(f"{asked} and limit = 2 and timezone = Europe/Rome and function = max::int and function = count")
    assert newest.data == {
        "v": [
            {"timestamp": "2026-11-21 11:02:00.000000", "max": 2000, "count": 1},
            {"timestamp": "2026-11-21 11:01:00.000000", "max": 1000, "count": 1},
        ]
    }
    for cast, value in [("float(1)", 2000.3), ("float(%2)", "2,000.26"), ("str", "2000.26"), ("float", 2000.26)]:
        assert town.say(f"get aggregation where function = max::{cast}").data == value, cast
    assert town.table(asked)[0][1] == "2026-11-21 10:00:00.000000"


def test_a_table_of_its_own(town: Town) -> None:
    """`agg_<dbms>` takes the rows of the intervals once it is connected; the source is as it was."""
    town.say(
        "set aggregation where dbms = town and value_column = v and time = 10 seconds",
        "set aggregation ingest where dbms = town and table = weather and derived = true",
    )
    town.put({"v": 1}, {"v": 2})
    town.world.advance(15)
    (state,) = town.say("get aggregation tables").data
    assert (state["Target DBMS"], state["Waiting"]) == ("agg_town", 1) and "agg_town" in state["Last Error"]
    town.say("connect dbms agg_town where type = sqlite and memory = true")
    town.world.advance(5)
    (state,) = town.say("get aggregation tables").data
    assert (state["Stored"], state["Waiting"], state["Last Error"]) == (1, 0, "")


def test_the_end_of_a_node(town: Town) -> None:
    """What is open when the node is stopped is stored."""
    town.say(
        "set aggregation where dbms = town and table = weather and value_column = v",
        "set aggregation encoding where dbms = town and table = weather and encoding = bounds",
        "set aggregation ingest where dbms = town and table = weather and derived = true",
    )
    town.put({"v": 1})
    node = town.node
    town.world.wait(node.stop())
    assert node.intake.traffic["town", "bounds_weather"].rows == 1
