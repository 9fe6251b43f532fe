"""Files of a real node, by curl: sent, listed, read back; large ones and many, while others are answered."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from node import NodeProcess

OTHERS = 3  # answers that others have at least while large files are worked on: it would be one if they waited


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    process = NodeProcess(tmp_path_factory.mktemp("files") / "home", dbms="")
    process.start()
    yield process
    assert process.command("get status").endswith(b"running")
    process.remove()


def data(node: NodeProcess, name: str) -> Path:
    return node.home / "AnyLog-Network" / "data" / name


def curl(node: NodeProcess, *words: str) -> tuple[int, bytes]:
    """Status and body of a call by curl."""
    url = f"http://127.0.0.1:{node.port}"
    done = subprocess.run(
        ["curl", "-s", "-w", "\n%{http_code}", url, "-H", "User-Agent: AnyLog/1.23", *words],
        capture_output=True,
        check=True,
        timeout=300,  # as those ask for that have most to do
    )
    body, _, status = done.stdout.rpartition(b"\n")
    return int(status), body


def test_there_and_back(node: NodeProcess, tmp_path: Path) -> None:
    """A file goes in as a form and comes out byte for byte; it is listed, hashed, packed, and gone when deleted."""
    content = Random(3).randbytes(3 << 20)
    sent = tmp_path / "sensor data.bin"
    sent.write_bytes(content)
    assert curl(node, "-X", "POST", "-H", "command: file to !prep_dir/", "-F", f"file=@{sent}") == (200, b"")
    assert curl(node, "-X", "POST", "-H", "command: file to !prep_dir/raw.bin", "--data-binary", f"@{sent}")[0] == 200
    assert curl(node, "-H", "command: get files !prep_dir") == (200, b"raw.bin\r\nsensor data.bin")
    assert curl(node, "-H", 'command: file from "!prep_dir/sensor data.bin"') == (200, content)
    assert curl(node, "-H", "command: file from !prep_dir/raw.bin") == (200, content)
    assert curl(node, "-H", "command: file hash !prep_dir/raw.bin") == (200, hashlib.md5(content).hexdigest().encode())
    assert curl(node, "-X", "POST", "-H", "command: file compress !prep_dir/*.bin")[1] == b"2 files compressed"
    assert gzip.decompress((data(node, "prep") / "raw.bin.gz").read_bytes()) == content
    assert curl(node, "-X", "POST", "-H", "command: file move !prep_dir/raw.bin !watch_dir")[0] == 200
    assert curl(node, "-H", "command: file test !watch_dir/raw.bin") == (200, b"true")
    assert curl(node, "-X", "POST", "-H", "command: file delete !watch_dir/raw.bin") == (200, b"")
    assert curl(node, "-H", "command: file test !watch_dir/raw.bin") == (200, b"false")


def test_the_manual(node: NodeProcess) -> None:
    """The listing of an archive day, as the manual prints it."""
    day = data(node, "archive") / "21/04/04"
    day.mkdir(parents=True)
    name = "litsanleandro.ping_sensor.0.bd617b6ddb873750d9db561814297f23.0.120.119.210404201021.json"
    (day / name).touch()
    assert curl(node, "-H", "command: get files !archive_dir/21/04/04") == (200, name.encode())
    assert curl(node, "-H", "command: get directories !archive_dir") == (200, b"21")


@pytest.mark.parametrize(
    ("method", "command", "status", "number"),
    [
        ("GET", "file copy !prep_dir/x !tmp_dir", 400, 156),
        ("POST", "file from !prep_dir/x", 400, 156),
        ("GET", "file from !prep_dir/none", 400, 12),
        ("GET", "file from /etc/passwd", 403, 212),
        ("GET", "file from !prep_dir/../../../../../../../../etc/passwd", 403, 212),
        ("GET", "get files !prep_dir/none", 400, 12),
        ("POST", "file to !prep_dir/x", 400, 301),
    ],
)
def test_refused(node: NodeProcess, method: str, command: str, status: int, number: int) -> None:
    """A clear status and number, whatever is wrong."""
    found, body = curl(node, "-X", method, "-H", f"command: {command}")
    assert (found, json.loads(body)["err_code"]) == (status, number)


def test_from_elsewhere(node: NodeProcess) -> None:
    """A page of somewhere else, or somebody behind a proxy, lists and no more."""
    (data(node, "prep") / "a.json").write_text("{}")
    for header in ("Origin: http://evil.example", "X-Forwarded-For: 10.0.0.9"):
        assert curl(node, "-H", header, "-H", "command: get files in !prep_dir where type = json") == (200, b"a.json")
        for method, command in [("GET", "file from !prep_dir/a.json"), ("POST", "file delete !prep_dir/a.json")]:
            assert curl(node, "-X", method, "-H", header, "-H", f"command: {command}")[0] == 403
        assert curl(node, "-H", header, "-H", "command: get files !pem_dir")[0] == 403


def test_one_target(node: NodeProcess) -> None:
    """Eight clients copy, pack, move and delete the same files at once: what is there at any time is whole."""
    contents = [Random(number).randbytes(2 << 20) for number in range(2)]
    good = {hashlib.md5(content).hexdigest().encode() for content in contents}
    for number, content in enumerate(contents):
        (data(node, "prep") / f"source{number}").write_bytes(content)
    hashes: list[bytes] = []
    statuses: set[tuple[str, int]] = set()

    def client(first: int) -> None:
        for turn in range(first, first + 15):
            words = [
                f"file copy !prep_dir/source{first % 2} !tmp_dir/same",
                "file hash !tmp_dir/same",
                f"file compress !prep_dir/source{first % 2} !tmp_dir/same.gz",
                "file move !tmp_dir/same !tmp_dir/moved",
                "file delete !tmp_dir/same",
            ][turn % 5]
            agent = {"User-Agent": "AnyLog/1.23", "command": words}
            status, body = node.request("GET" if " hash " in words else "POST", "/", None, **agent)
            statuses.add((words.split()[1], status if status == 200 else json.loads(body)["err_code"]))
            if " hash " in words and status == 200:
                hashes.append(body)

    clients = [threading.Thread(target=client, args=(first,)) for first in range(8)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    assert set(hashes) <= good
    assert statuses <= {(word, 200) for word in ("copy", "hash", "compress", "move", "delete")} | {
        (word, 12)
        for word in ("hash", "move", "delete")  # another was faster
    }
    packed = gzip.decompress((data(node, "tmp") / "same.gz").read_bytes())
    assert hashlib.md5(packed).hexdigest().encode() in good
    assert list(data(node, "tmp").glob(".*")) == []


def test_large_and_many(node: NodeProcess) -> None:
    """250 MB copied, packed, hashed and read, and 100,000 names listed: others are answered, memory stays small."""
    (data(node, "prep") / "many").mkdir()
    for number in range(100_000):
        os.close(os.open(data(node, "prep") / "many" / f"reading.{number:06}.json", os.O_CREAT | os.O_WRONLY))
    large = data(node, "prep") / "large.bin"
    piece = Random(4).randbytes(1 << 20)  # which gzip gives up soon, and all of it is written again
    with large.open("wb") as file:
        for _ in range((250 << 20) // len(piece)):
            file.write(piece)
    curl(node, "-H", "command: get status")
    before, peak, waits, over = node.memory(), 0, [], threading.Event()

    def others() -> None:
        nonlocal peak
        while not over.is_set():
            begin = time.perf_counter()
            assert node.command("get status").endswith(b"running")
            waits.append(time.perf_counter() - begin)
            peak = max(peak, node.memory())
            time.sleep(0.01)

    def meanwhile(*words: str) -> tuple[int, bytes]:
        """Like `curl`; others are answered before that ends."""
        first = len(waits)
        answer = curl(node, *words)
        assert len(waits) - first >= OTHERS, words
        return answer

    asking = threading.Thread(target=others)
    asking.start()
    try:
        long = ("-H", "timeout: 5 minutes")
        names = meanwhile(*long, "-H", "command: get files !prep_dir/many")[1].split(b"\r\n")
        assert (len(names), names[0]) == (100_001, b"reading.000000.json")
        sizes = json.loads(meanwhile(*long, "-H", "command: get size !prep_dir where format = json")[1])
        assert sizes[1] == {"Directory": "many", "Files": 100_000, "Size": 0}
        for command in ("file copy !prep_dir/large.bin !tmp_dir", "file compress !tmp_dir/large.bin"):
            assert meanwhile(*long, "-X", "POST", "-H", f"command: {command}") == (200, b"")
        digest = meanwhile(*long, "-H", "command: file hash !tmp_dir/large.bin")[1]
        reading = subprocess.Popen(
            ["curl", "-s", f"http://127.0.0.1:{node.port}", "-H", "command: file from !tmp_dir/large.bin"],
            stdout=subprocess.PIPE,
        )
        found, first = hashlib.md5(), len(waits)
        assert reading.stdout is not None
        while piece := reading.stdout.read(1 << 20):
            found.update(piece)
        assert (reading.wait(), found.hexdigest().encode()) == (0, digest)
        assert len(waits) - first >= OTHERS
    finally:
        over.set()
        asking.join()
    print(f"slowest other answer {max(waits):.3f} s of {len(waits)}, memory {before >> 20} to {peak >> 20} MB")
    assert peak - before < 100 << 20
