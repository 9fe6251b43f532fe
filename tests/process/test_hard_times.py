"""One of three members stands still, has a full disk or a clock that jumps: the others go on, and all get equal."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import files_laws
import pytest
from copies_laws import check, fed, told_by, unequal
from files_load import THRESHOLDS
from network import Network
from node import NodeProcess
from small_disk import small_disk
from test_files_full import fill

DAY = 86_400
PRELOADED = "libfaketimeMT.so.1"


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    made = Network(tmp_path / "network", 3, clusters=(1, 1, 1), every="2", copies=True, more=(THRESHOLDS,))
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture
def small(network: Network) -> Iterator[Path]:
    """The home of the last operator is a file system of 150 MB."""
    with small_disk(network.operators[2].home, 150) as home:
        yield home


@pytest.fixture
def clock(network: Network, tmp_path: Path) -> Callable[[int], None]:
    """Sets how many seconds the wall clock of the last operator is ahead; the time since boot is left alone."""
    found = sorted(Path("/usr/lib").glob(f"*/faketime/{PRELOADED}"))
    if not found:
        pytest.skip(f"{PRELOADED} is missing: install libfaketime")
    path = tmp_path / "ahead"

    def ahead(seconds: int) -> None:
        draft = path.with_suffix(".draft")
        draft.write_text(f"{seconds:+d}\n")
        draft.rename(path)

    ahead(0)
    network.operators[2].environ = {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME_TIMESTAMP_FILE": str(path),
        "FAKETIME_CACHE_DURATION": "1",  # seconds; without a cache every look at the clock opens the file
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    return ahead


def until(network: Network, holds: Callable[[], Any], seconds: float, doing: str) -> float:
    """Wait for it; gives the seconds that took."""
    begin = time.monotonic()
    while not holds():
        assert time.monotonic() - begin < seconds, f"{doing}: not within {seconds:g} seconds\n{told_by(network)}"
        time.sleep(0.05)
    return time.monotonic() - begin


def put(node: NodeProcess, name: str, count: int = 4) -> set[str]:
    """A file of so many rows; gives their names."""
    rows = [{"name": f"{name}-{n}", "timestamp": "2026-11-21T10:00:00Z", "value": n / 2} for n in range(count)]
    status, said = node.request("PUT", "/", json.dumps(rows).encode(), type="json", dbms="town", table="t0")
    assert status == 200, said
    return {str(row["name"]) for row in rows}


def told(node: NodeProcess, command: str) -> Any:
    return json.loads(node.command(f"{command} where format = json"))


def meet(network: Network) -> None:
    """Until all know each other."""
    peers = lambda node: [each["Status"] for each in told(node, "get distributor")["Peers"]]  # noqa: E731
    until(network, lambda: all(peers(node) == ["Active"] * 2 for node in network.operators), 60, "meeting")


@contextmanager
def asked(network: Network) -> Iterator[list[int]]:
    """Somebody counts the readings over and over, each time in the whole network. Gives what was answered."""
    counts: list[int] = []
    troubles: list[str] = []
    enough = threading.Event()

    def ask() -> None:
        while not enough.wait(0.1):
            try:
                counts.append(int(network.ask("select count(*) as n from t0")[0]["n"]))
            except Exception as trouble:
                troubles.append(repr(trouble))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield counts
    finally:
        enough.set()
        thread.join(60)
    assert not troubles, f"{len(troubles)} questions failed, {len(counts)} did not, such as {troubles[0]}"


@pytest.mark.parametrize("seconds", [10.0, pytest.param(60.0, marks=pytest.mark.long)])
def test_a_member_stands_still(network: Network, seconds: float) -> None:
    """Stopped under load by SIGSTOP: its kernel goes on taking connections, nothing else answers."""
    network.start()
    meet(network)
    put(network.operators[0], "first")
    victim = network.operators[2].process
    assert victim is not None
    assert network.ask_until("select count(*) as n from t0", [{"n": 4}]) == [{"n": 4}]
    with fed(network, 1) as senders:
        time.sleep(1.0)
        os.kill(victim.pid, signal.SIGSTOP)
        try:
            with asked(network) as counts:
                before = {sender.number: len(sender.acknowledged) for sender in senders}
                went_on = lambda: {s.number for s in senders if len(s.acknowledged) > before[s.number]}  # noqa: E731
                time.sleep(seconds)
                until(
                    network,
                    lambda: went_on() >= {0, 1, 2, 10, 11, 12} and len(counts) > 5 and counts[-1] > counts[0],
                    60,
                    "the others going on",
                )
        finally:
            os.kill(victim.pid, signal.SIGCONT)
        time.sleep(1.0)
    senders[0].acknowledged |= {f"first-{n}" for n in range(4)}
    senders[0].sent += [f"first-{n}" for n in range(4)]
    check(network, senders)


def filled(network: Network, small: Path, rows: set[str], number: int) -> None:
    """The disk of the last member is full for a while; `rows` grows by what the others take meanwhile."""
    full, filler = network.operators[2], small / "filler"
    fill(filler)
    for body in range(1000):  # some have room in what was reserved before
        names = [f"last{number}-{body}-{n}" for n in range(100)]
        sent = json.dumps([{"name": name, "timestamp": "2026-11-21T10:00:00Z", "value": body} for name in names])
        status, said = full.request("PUT", "/", sent.encode(), type="json", dbms="town", table="t0")
        if status != 200:
            break
        rows |= set(names)
    assert status in (503, 507), said
    assert b"err_code" in said
    for body in range(20):
        for place in (0, 1):
            rows |= put(network.operators[place], f"full{number}-{body}-{place}", 100)
    others = {name for name in rows if not name.startswith(f"last{number}-")}  # those may wait where there is no room
    until(network, lambda: not unequal(network.operators[:2], others), 120, "the others being equal")
    peers = told(network.operators[0], "get distributor")["Peers"]
    assert any(each["Last Error"] for each in peers), peers
    assert full.command("get status").endswith(b"running")
    filler.unlink()
    took = until(network, lambda: not unequal(network.operators, rows), 120, "catching up")
    print(f"equal {took:.1f} s after there was room")


@pytest.mark.parametrize("times", [1, pytest.param(6, marks=pytest.mark.long)])
def test_the_disk_of_a_member_is_full(network: Network, small: Path, times: int) -> None:
    """It says so to sources and members, keeps what it promised, and pulls what it missed once there is room."""
    network.start()
    meet(network)
    rows = put(network.operators[2], "own")
    until(network, lambda: not unequal(network.operators, rows), 60, "being equal at first")
    for number in range(times):
        filled(network, small, rows, number)
    for node in network.operators:
        assert set(files_laws.names(node.home).values()) == {1}


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_disk_is_full_under_load(network: Network, small: Path, seed: int) -> None:
    """The same while all are fed, also the one that has no room."""
    network.start()
    meet(network)
    with fed(network, seed) as senders:
        for _ in range(1 if seed == 1 else 8):
            time.sleep(1.0)
            filler = small / "filler"
            fill(filler)
            time.sleep(1.0)
            filler.unlink()
        time.sleep(1.0)
    check(network, senders)


@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.long)])
def test_the_clock_of_a_member_jumps(network: Network, clock: Callable[[int], None], times: int) -> None:
    """A day ahead, then two days back, under load: nothing that waits for a time is early or never comes."""
    network.start()
    meet(network)
    with fed(network, times) as senders:
        for _ in range(times):
            for ahead in (0, DAY, -DAY):
                clock(ahead)
                before = sum(len(each.acknowledged) for each in senders if each.number >= 20)
                time.sleep(2.5)
                after = sum(len(each.acknowledged) for each in senders if each.number >= 20)
                assert after > before, f"nothing is taken while the clock is {ahead} seconds ahead"
    check(network, senders)
    rows = set().union(*(sender.acknowledged for sender in senders))
    rows |= put(network.operators[0], "after") | put(network.operators[2], "behind")
    until(network, lambda: not unequal(network.operators, rows), 120, "being equal after")
    for node in network.operators:
        entries = [entry for entry in files_laws.read(node.home).entries if entry.into == "tsd_info"]
        assert len({entry.id for entry in entries}) == len(entries)
