"""Real readings: a year of hourly temperatures goes in over REST, and its daily means come out of SQL."""

from __future__ import annotations

import csv
import importlib.util
import json
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from node import NodeProcess


def temperatures() -> list[tuple[str, float]]:
    """Time (ISO, UTC) and degrees Fahrenheit of the NOAA series of Seattle; only the CSV of the package is read."""
    found = importlib.util.find_spec("vega_datasets")
    if found is None or found.origin is None:
        pytest.skip("the package vega_datasets, which holds the temperatures of Seattle, is not installed")
    path = Path(found.origin).parent / "_data" / "seattle-temps.csv"
    with path.open(newline="") as file:
        return [
            (row["date"].replace("/", "-").replace(" ", "T") + ":00Z", float(row["temp"]))
            for row in csv.DictReader(file)
        ]


def test_daily_means(tmp_path: Path) -> None:
    """8,759 readings, one kill -9 in the middle: all are there and the daily means are those of the file."""
    readings = temperatures()
    assert len(readings) == 8759
    node = NodeProcess(tmp_path / "home")
    node.start()
    try:
        for first in range(0, len(readings), 200):
            rows = [{"timestamp": at, "station": "Seattle", "temp": temp} for at, temp in readings[first : first + 200]]
            status, answer = node.request(
                "PUT", "/", json.dumps(rows), type="json", dbms="town", table="temps", mode="streaming"
            )
            assert (status, json.loads(answer)["AnyLog.status"]) == (200, "Success")
            if first == 4000:
                node.kill()
                node.start()
        end = time.monotonic() + 60
        while node.count("temps") < 8759 and time.monotonic() < end:
            time.sleep(0.02)
        assert node.count("temps") == 8759
        by_day = defaultdict(list)
        for at, temp in readings:
            by_day[at[:10]].append(temp)
        for statement in (
            "select date(timestamp) as day, avg(temp) as mean, count(*) as n from temps group by date(timestamp)",
            "select increments(day, 1, timestamp) as day, avg(temp) as mean, count(*) as n from temps",
        ):
            answer = node.command(f'sql town format = json and stat = false "{statement}"')
            found = json.loads(answer)["Query"]
            assert [row["day"][:10] for row in found] == sorted(by_day)
            for row in found:
                temps = by_day[row["day"][:10]]
                assert row["n"] == len(temps)
                assert row["mean"] == pytest.approx(statistics.fmean(temps), abs=1e-9)
    finally:
        node.remove()
