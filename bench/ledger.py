"""The figures of the ledger: questions of many policies, inserts through the master, the copy of a fresh node."""

from __future__ import annotations

import json
import sqlite3
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from distributed import Client, Show, seconds_of
from network import Network

MANY = 10_000  # policies
CLIENTS = 8


def policies(count: int) -> list[dict[str, Any]]:
    """Policies as a plant has them: ids and dates, ten attributes, 350 bytes."""
    return [
        {
            "device": {
                "name": f"device {number}", "number": number, "company": f"company {number % 20}",
                "site": f"site {number % 100}", "kind": ("pump", "valve", "motor")[number % 3],
                "loc": f"{number % 180}.5, {number % 90}.25", "floor": number % 7, "active": number % 2 == 0,
                "serial": f"{number * 7919:012d}", "id": f"{number:032x}", "date": f"2026-01-01T00:00:00.{number:06d}Z",
            }
        }
        for number in range(count)
    ]  # fmt: skip


def filled(network: Network, count: int) -> None:
    """The master with so many policies, started."""
    network.master.start()
    path = network.folder / "policies.json"
    path.write_text("".join(json.dumps(each) + "\n" for each in policies(count)))
    told = network.master.command(f"blockchain update dbms {path}", "POST")
    assert told.startswith(f"{count} policies".encode()), told


def copied(network: Network, node: Any, count: int, seconds: float = 60.0) -> float:
    """Seconds until the node has so many devices."""
    begin = time.perf_counter()
    while True:
        if node.command("blockchain get device bring.count").strip() == str(count).encode():
            return time.perf_counter() - begin
        if time.perf_counter() - begin > seconds:
            raise RuntimeError(f"not {count} policies after {seconds:g} seconds")
        time.sleep(0.005)


def ledger(folder: Path, show: Show) -> None:
    """All of them."""
    asked(folder, show)
    inserts(folder, show)


def asked(folder: Path, show: Show) -> None:
    """Many policies: to a fresh node, and then asked for there."""
    network = Network(folder / "ledger-asked", 0)
    try:
        filled(network, MANY)
        sync = network._sync()
        network.query.commands = ()
        network.query.start()
        door = " ".join(network._tcp("query")[1:]).strip("<>")
        network.query.command(door, "POST")
        begin = time.perf_counter()
        network.query.command(sync, "POST")
        copied(network, network.query, MANY)
        seconds = time.perf_counter() - begin
        show(f"{MANY:,} policies to a fresh node", f"{seconds:.2f} s", "", seconds, "<= 2 s", seconds <= 2.0)
        begin = time.perf_counter()
        network.master.command('blockchain push {"site": {"name": "s"}}', "POST")
        while network.query.command("blockchain get site bring.count").strip() != b"1":
            time.sleep(0.002)
        seconds = time.perf_counter() - begin
        show(f"one more of {MANY:,}, until seen", f"{seconds:.2f} s", "", seconds, "<= 1 s", seconds <= 1)

        client = Client(network.query)
        questions = {
            "two keys, none indexed": (
                "site = site 7 and kind = pump",
                sum(n % 100 == 7 and n % 3 == 0 for n in range(MANY)),
            ),
            "two keys, one indexed": ("name = device 77 and kind = motor", 1),
            "two keys, numbers": ("number = 77 and floor = 0", 1),
        }
        for name, (where, count) in questions.items():
            text = f"blockchain get device where {where}"
            status, body = client.ask(text)
            assert status == 200 and len(json.loads(body)) == count, (status, body[:200])
            ours = statistics.median(seconds_of(60, lambda text=text: client.ask(text)))  # type: ignore[misc]
            floor = statistics.median(seconds_of(60, lambda: client.ask("get status")))
            show(f"blockchain get of {MANY:,}, {name}", f"{ours * 1e3:.2f} ms", f"{floor * 1e3:.2f} ms status",
                 ours * 1e3, "<= 5 ms", ours <= 0.005)  # fmt: skip
        client.close()
    finally:
        network.remove()


def commits(folder: Path, count: int) -> float:
    """Seconds that one plain SQLite takes for so many inserts, each committed and synced."""
    path = folder / "bare-ledger.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = full")
    connection.execute("create table ledger (id text unique, policy text)")
    begin = time.perf_counter()
    for number in range(count):
        text = json.dumps({"sensor": {"name": f"sensor {number}", "number": number}})
        connection.execute("insert into ledger values (?, ?)", (f"{number:032x}", text))
    seconds = time.perf_counter() - begin
    connection.close()
    path.unlink()
    return seconds


def inserts(folder: Path, show: Show, count: int = 1000) -> None:
    """`blockchain insert` through the master, into an empty ledger and into one of many: by a script, by eight clients
    at once, and by one client that waits for each answer, for whom every insert is a walk through three processes.

    Each is synced in the database of the master; the file of the node, which follows it, is written every other second.
    """
    for present in (0, MANY):
        network = Network(folder / f"ledger-inserts-{present}", 0)
        try:
            filled(network, present)
            network.query.start()
            copied(network, network.query, present)
            master = f"127.0.0.1:{network.tcp['master']}"

            def command(who: str, number: int, master: str = master) -> str:
                policy = json.dumps({"sensor": {"name": f"sensor {who} {number}", "number": number}})
                return f"blockchain insert where policy = {policy} and local = true and master = {master}"

            def ask(client: Client, text: str) -> None:
                status, body = client.ask(text, "POST")
                assert status == 200 and not body.strip(), (status, body)

            script = network.folder / "inserts.al"
            script.write_text("".join(command("of the script", number) + "\n" for number in range(count)))
            clients = [Client(network.query) for _ in range(CLIENTS)]

            def by_script(client: Client = clients[0], script: Path = script) -> None:
                ask(client, f"process {script}")

            def at_once(clients: Sequence[Client] = clients, command: Callable[[str, int], str] = command) -> None:
                def some(which: int) -> None:
                    for number in range(which, count, CLIENTS):
                        ask(clients[which], command("at once", number))

                with ThreadPoolExecutor(CLIENTS) as pool:
                    list(pool.map(some, range(CLIENTS)))

            def alone(client: Client = clients[0], command: Callable[[str, int], str] = command) -> None:
                for number in range(count):
                    ask(client, command("alone", number))

            done = 0
            for name, reach, do in (
                ("a script", 2.0, by_script), (f"{CLIENTS} clients", 2.0, at_once), ("one client", 5.0, alone),
            ):  # fmt: skip
                yard = commits(folder, count)
                (seconds,) = seconds_of(1, do)
                yard = (yard + commits(folder, count)) / 2
                done += count
                found = network.query.command("blockchain get sensor bring.count").strip()
                assert found == str(done).encode(), found
                show(f"{count:,} blockchain insert, {name}, {present:,} present", f"{seconds:.2f} s",
                     f"{yard:.2f} s SQLite", seconds, f"<= {reach:g} s", seconds <= reach)  # fmt: skip
            for client in clients:
                client.close()
        finally:
            network.remove()
