"""Two real operators of one cluster: what either of them said yes to is seen through a third node, once."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
from network import DBMS, Network


def put(network: Network, number: int, rows: list[dict[str, int]]) -> None:
    node = network.operators[number]
    status, body = node.request(
        "PUT", "/", json.dumps(rows).encode(), type="json", dbms=DBMS, table="seen", mode="streaming"
    )
    assert status == 200, body


def rows(network: Network, statement: str = "select v from seen") -> list[int]:
    return sorted(row["v"] for row in network.ask(statement))


def has(network: Network, wanted: list[int], seconds: float = 60.0) -> list[int]:
    """The rows as soon as they are the wanted ones, or as they are when the time is over."""
    end, found = time.monotonic() + seconds, []
    while time.monotonic() < end:
        try:
            found = rows(network)
        except RuntimeError as refused:
            found = [str(refused)]  # type: ignore[list-item]
        if found == wanted:
            break
        time.sleep(0.02)
    return found


def answered(what: str, answers: dict[str, int], wrong: list[str]) -> None:
    """Wait until those who ask all the time were answered so; what is wrong ends it."""
    end = time.monotonic() + 60
    while not answers[what] and not wrong:
        assert time.monotonic() < end, (what, answers)
        time.sleep(0.02)


@pytest.mark.parametrize("main", [0, 1])
def test_seen_by_a_third(tmp_path: Path, main: int) -> None:
    """Soon, exactly once, whichever is main; without the main one what the other has, and no error."""
    network = Network(tmp_path / "network", clusters=[0, 0], every="2", main=main)
    over = threading.Event()
    try:
        network.start()
        put(network, 0, [{"v": 0}])
        assert has(network, [0]) == [0]
        wanted = [0]
        for number in range(1, 20):
            put(network, number % 2, [{"v": number}])
            wanted.append(number)
            assert has(network, wanted) == wanted
            assert network.ask("select count(*) as n, sum(v) as s from seen") == [{"n": number + 1, "s": sum(wanted)}]
        options = "format = json and stat = false and nodes = all"
        for _ in range(4):
            found = network.ask("select v from seen order by v", options=options)
            assert [row["v"] for row in found] == wanted

        have = {number: {v for v in wanted if v % 2 == number} for number in (0, 1)}
        left = 1 - main
        wrong: list[str] = []
        answers = {"whole": 0, "of one": 0}

        def ask() -> None:
            while not over.is_set():
                try:
                    found = rows(network)
                except (RuntimeError, OSError) as refused:
                    wrong.append(str(refused))
                    continue
                if set(found) not in (have[left], have[0] | have[1]) or len(found) != len(set(found)):
                    wrong.append(str(found))
                answers["of one" if set(found) == have[left] else "whole"] += 1

        asking = [threading.Thread(target=ask) for _ in range(2)]
        for thread in asking:
            thread.start()
        answered("whole", answers, wrong)
        process = network.operators[main].process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)
        assert has(network, sorted(have[left])) == sorted(have[left])
        answered("of one", answers, wrong)
        os.kill(process.pid, signal.SIGCONT)
        assert has(network, wanted) == wanted
        network.operators[main].kill()
        assert has(network, sorted(have[left])) == sorted(have[left])
        over.set()
        for thread in asking:
            thread.join(30)
        assert not wrong, wrong[:5]
        assert min(answers.values()) > 0, answers
        status = network.query.command("query status").decode()
        assert f"127.0.0.1:{network.tcp[f'operator{left}']}" in status, status
        put(network, left, [{"v": 100}])
        assert has(network, sorted([*have[left], 100]), 20) == sorted([*have[left], 100])
        network.operators[main].start()
        assert has(network, [*wanted, 100]) == [*wanted, 100]
    finally:
        over.set()
        network.remove()
